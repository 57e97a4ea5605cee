"""The tables of docs/reliability.md, from benchmarks/results/reliability.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from benchmarks.reliability.result import PARTS, RESULT


def tables() -> str:
    """Markdown; a part that was not measured yet says so."""
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    return "\n".join(_part(part, result.get(part)) for part in PARTS)


def _part(part: str, figures: dict[str, Any] | None) -> str:
    if figures is None:
        return f"**{part}**: not measured yet.\n"
    head = (
        f"**{part}**: {figures['machine']}, {figures['cores']} cores, {figures['when']},"
        f" `{figures['command']}`\n\n"
    )
    return head + "\n".join(_WRITERS[part](figures)) + "\n"


def _overload(own: dict[str, Any]) -> list[str]:
    lines = [
        "| load | offered /s | answered /s | refused (429) | wrong | p50 ms | p99 ms | server MB |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for load in [*own["loads"], {"load": "then 0.8", "offered": "", **own["after"]}]:
        refused = load["statuses"].get("429", 0)
        share = refused / sum(load["statuses"].values())
        lines.append(
            f"| {load['load']} | {load['offered']} | {load['accepted_per_second']} | {share:.0%} |"
            f" {load['wrong_results']} | {load['p50_ms']} | {load['p99_ms']} |"
            f" {load['rss_mb']:.0f} |"
        )
    lines += [
        "",
        f"Capacity {own['capacity']} requests/s, `--max-wait-seconds {own['max_wait_seconds']}`;"
        f" statuses seen: {', '.join(own['statuses'])}. p99 of accepted requests at its worst is"
        f" {own['p99_ratio_to_80_percent']} times that at 80 % load; back to normal after"
        f" {own['recovered_seconds']:.0f} s.",
    ]
    return lines


def _fairness(own: dict[str, Any]) -> list[str]:
    lines = [
        "| workers | short requests alone: p50, p99 ms | beside 8 x 2048 contacts | p99 ratio"
        " | beside `esm2 embed --url` | p99 ratio |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for workers in (1, 2):
        figures = own[f"workers_{workers}"]
        one, *others = (
            f"{figures[beside]['p50_ms']}, {figures[beside]['p99_ms']}"
            for beside in ("alone", "beside", "beside_file")
        )
        ratios = (figures["p99_ratio"], figures["p99_ratio_file"])
        rows = (f"{own} | {ratio}" for own, ratio in zip(others, ratios, strict=True))
        lines.append(f"| {workers} | {one} | {' | '.join(rows)} |")
    return lines


def _kills(own: dict[str, Any]) -> list[str]:
    return [
        f"{own['kills']} times SIGKILL for the worker under load: answers {_statuses(own)},"
        f" {own['wrong_results']} wrong; ready again after {own['ready_again_seconds']} s at most;"
        f" memory {_change(own['rss_mb'])} MB, files {_change(own['files'])}, threads"
        f" {_change(own['threads'])}, zombies {own['zombies']}."
    ]


def _restarts(own: dict[str, Any]) -> list[str]:
    return [
        f"{own['restarts']} restarts under load: answers {_statuses(own)} (refused: nobody"
        f" listened, nothing was accepted), dropped {own['dropped']}, {own['wrong_results']} wrong;"
        f" slowest stop {own['slowest_stop_seconds']} s, exit statuses {own['exit_statuses']}."
    ]


def _fuzz(own: dict[str, Any]) -> list[str]:
    return [
        f"{own['raw_cases']:,} damaged requests as bytes, {own['bodies']:,} odd bodies:"
        f" {own['server_errors']} answers of 5xx, {own['hangs']} hangs, worker restarted:"
        f" {'yes' if own['worker_restarted'] else 'no'}, alive afterwards:"
        f" {'yes' if own['alive'] else 'no'}. Raw: {_counts(own['raw_answers'])}. Bodies:"
        f" {_counts(own['body_answers'])}. `/health/live`, asked {own['live']['asked']:,} times"
        f" meanwhile: {own['live']['late']} took more than 100 ms, one in a thousand more than"
        f" {own['live']['p999_ms']} ms, the slowest {own['live']['slowest_ms']} ms."
    ]


def _described(own: dict[str, Any]) -> list[str]:
    return [
        f"schemathesis, {own['requests']:,} requests made from the description: exit status"
        f" {own['exit_status']} (0: no answer that is not described)."
    ]


def _soak(own: dict[str, Any]) -> list[str]:
    early = " (ended early)" if own["ended_early"] else ""
    return [
        f"{own['hours']} hours{early}, {own['requests']:,} requests: answers {_statuses(own)},"
        f" {own['wrong_results']} wrong; bad requests beside them"
        f" {_counts(own['statuses_of_bad_requests'])}. Memory of server and worker"
        f" {_change(own['rss_mb'])} MB (growth {own['growth_mb']} MB, slope"
        f" {own['slope_mb_per_hour']} MB/h), files {_change(own['files'])}, threads"
        f" {_change(own['threads'])}."
    ]


def _attacks(own: dict[str, Any]) -> list[str]:
    bodies, readiness, asked = own["bodies"], own["readiness"], own["long_request"]
    readers, at_once = own["readers"], own["at_once"]
    waits = bodies["live_ms"]
    return [
        "| attack | what others see |",
        "|---|---|",
        f"| {len(waits)} bodies of {bodies['bytes']:,} bytes, full of bad values | `/health/live`"
        f" waits {bodies['worst_ms']} ms at most ({bodies['worst']}); statuses"
        f" {', '.join(map(str, bodies['statuses']))}; {bodies['rss_mb']:.0f} MB |",
        f"| 128 clients on `/health/ready`, {readiness['checks_per_second']:,} checks/s | 50"
        f" residues: {_waits(readiness)} |",
        f"| 8 x 2048 contacts, one worker | 50 residues: {_waits(asked['short'])}; readiness:"
        f" {_waits(asked['readiness'])} |",
        f"| 12 readers who read nothing of 8 x 2048 contacts, a minute | memory"
        f" {_change(readers['rss_mb'])} MB; 50 residues: {_waits(readers['short'])} |",
        *(
            f"| {silent['connections']} silent connections, `ulimit -n {silent['files']}` |"
            f" {silent['closed']} are closed, {silent['lines_about_them']} line about them;"
            f" exit status {silent['exit_status']} |"
            for silent in own["silent"]
        ),
        f"| {at_once['requests']} requests at once, three times | statuses"
        f" {', '.join(map(str, at_once['statuses']))}; memory"
        f" {', '.join(f'{own:.0f}' for own in at_once['rss_mb'])} MB (before, after each) |",
    ]


def _waits(own: dict[str, float]) -> str:
    return f"{own['median_ms']:g} ms (median), {own['most_ms']:g} ms at most"


_WRITERS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "overload": _overload,
    "fairness": _fairness,
    "kills": _kills,
    "restarts": _restarts,
    "fuzz": _fuzz,
    "described": _described,
    "soak": _soak,
    "attacks": _attacks,
}


def _statuses(own: dict[str, Any]) -> str:
    return _counts(own["statuses"])


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} x {name}" for name, count in counts.items())


def _change(pair: list[float]) -> str:
    return f"{pair[0]:g} to {pair[1]:g}"
