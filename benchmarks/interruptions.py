"""`esm2 embed`, ended at random moments: the results are those of a run that was not.

    python -m benchmarks.interruptions ../shared/data/proteins.fasta.gz

For each format, a run in a process of its own is interrupted until that has happened --times
times: by SIGINT, SIGTERM, SIGKILL and a disk that is full, in turn, each after a time drawn from
that of a whole run, or a size from that of its files. The same command goes on each time. A run
that came to its end before it was ended is compared, and begun anew. What differs by a byte stops
everything. No speed is measured, so it may run beside other work. tests/cli/test_resume.py is the
short form.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.bulk import ROOT, sample
from benchmarks.speed import machine
from esm2 import files

RESULT = ROOT / "benchmarks/results/interruptions.json"
# What a shell starts in the background ignores Ctrl-C, and so would its children.
MAIN = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    " from esm2.cli import main; main()"
)
FULL = "disk full"
#: With the exit statuses of what was ended so; before Python is there, as any program.
KINDS = {
    "SIGINT": (130, -signal.SIGINT, 1),
    "SIGTERM": (143, -signal.SIGTERM),
    "SIGKILL": (-signal.SIGKILL,),
    FULL: (1,),
}


def start(source: Path, output: Path, full_at: int = -1) -> subprocess.Popen[bytes]:
    """The command under test, whose files get no larger than `full_at` bytes, if that is given."""
    limits = f"({full_at}, {full_at})"
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, {limits}); {MAIN}"
    words = [sys.executable, "-c", code, "embed", source, "-o", output, "--pool", "max", "-q"]
    return subprocess.Popen(words, stderr=subprocess.DEVNULL)


def largest(work: Path) -> int:
    """Of the files that a run keeps."""
    return max((path.stat().st_size for path in work.glob("*")), default=0)


def interrupt(source: Path, output: Path, how: str, chance: float, seconds: float) -> bool:
    """Run the command, and end it.

    Args:
        how: one of KINDS.
        chance: 0..1, of the seconds, or of the bytes that the run still has to write.

    Returns:
        whether it was ended by that, and had not come to its end before.
    """
    if how == FULL:
        kept = largest(files.work_directory(output))
        left = max(0, largest(source.parent / "whole") - kept)
        process = start(source, output, kept + int(chance * left))
    else:
        process = start(source, output)
        time.sleep(chance * seconds)
        process.send_signal(signal.Signals[how])
    status = process.wait()
    if status not in (0, *KINDS[how]):
        raise SystemExit(f"{output.name} ended with {status} after {how}")
    return status != 0


def trial(source: Path, suffix: str, times: int, chance: random.Random) -> dict[str, Any]:
    """One format, interrupted `times` times; how often by what, and how often it was compared."""
    whole, output = source.parent / "whole" / f"x{suffix}", source.parent / f"x{suffix}"
    whole.parent.mkdir()
    started = time.perf_counter()
    if status := start(source, whole).wait():
        raise SystemExit(f"the whole run ended with {status}")
    seconds = time.perf_counter() - started
    ended: Counter[str] = Counter()
    compared = 0
    for how in itertools.cycle(KINDS):
        last = ended.total() == times
        if last and start(source, output).wait():
            raise SystemExit(f"{suffix} could not be gone on with, after {dict(ended)}")
        if not last and interrupt(source, output, how, chance.random(), seconds):
            ended[how] += 1
        if output.exists():
            if output.read_bytes() != whole.read_bytes():
                raise SystemExit(f"{suffix} is not as that of a whole run, after {dict(ended)}")
            compared += 1
            output.unlink()
        if last:
            break
    return {"format": suffix, "interruptions": dict(sorted(ended.items())), "compared": compared}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fasta", type=Path)
    parser.add_argument("--records", type=int, default=2_000)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--formats", nargs="+", default=list(files.FORMATS))
    given = parser.parse_args()
    rows = []
    for suffix in given.formats:
        with tempfile.TemporaryDirectory() as work:
            source = Path(work) / "x.fasta"
            sizes = sample(given.fasta, source, given.records)
            chance = random.Random(f"{given.seed} {suffix}")
            rows.append({**sizes, **trial(source, suffix, given.times, chance)})
            print(json.dumps(rows[-1]), flush=True)
    if given.formats == list(files.FORMATS):
        command = f"python -m benchmarks.interruptions FASTA {' '.join(sys.argv[2:])}".strip()
        result = {"command": command, "machine": machine.identity(), "rows": rows}
        RESULT.write_text(json.dumps(result, indent=2) + "\n")


def tables() -> str:
    """The figures as docs/embedding.md has them."""
    if not RESULT.exists():
        return ""
    result = json.loads(RESULT.read_text())
    rows = result["rows"]
    ended: Counter[str] = sum((Counter(row["interruptions"]) for row in rows), Counter())
    counts = ", ".join(f"{count} x {how}" for how, count in sorted(ended.items()))
    return (
        f"{result['machine']['cpu']}, {result['machine']['cores']} cores, `{result['command']}`:"
        f" {len(rows)} formats, {rows[0]['records']:,} proteins each; ended by {counts};"
        f" {sum(row['compared'] for row in rows)} files compared with that of an uninterrupted run,"
        " to the byte.\n"
    )


if __name__ == "__main__":
    main()
