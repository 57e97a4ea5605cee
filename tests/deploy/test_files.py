"""The files of deploy/ and the commands of docs/deploy.md name what there is, and start."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from esm2 import settings
from esm2.catalog import find
from esm2.cli import app
from esm2.server.metrics import Metrics

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
FILES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (*sorted(DEPLOY.rglob("*")), ROOT / "docs" / "deploy.md")
    if path.is_file() and path.name != ".env"
}
COMMANDS = typer.main.get_command(app)
DOCKERFILE = FILES["deploy/Dockerfile"]
KUBERNETES = list(yaml.safe_load_all(FILES["deploy/kubernetes/cpu/esm2.yaml"]))
COMPOSE = yaml.safe_load(FILES["deploy/compose.yaml"])
UNIT = dict(
    line.split("=", 1)
    for line in FILES["deploy/esm2.service"].splitlines()
    if "=" in line and not line.startswith("#")
)
SECRET = "postgresql://esm2:secret@postgres/esm2"  # what a Secret or .env has


def kind(name: str) -> dict[str, Any]:
    """The one object of a kind."""
    [own] = (own for own in KUBERNETES if own["kind"] == name)
    return own


POD = kind("Deployment")["spec"]["template"]["spec"]
[SERVER] = POD["containers"]


def of_kubernetes() -> dict[str, str]:
    return {own["name"]: own.get("value", SECRET) for own in SERVER["env"]}


def of_compose() -> dict[str, str]:
    given = COMPOSE["services"]["esm2"]["environment"]
    return {name: re.sub(r"\$\{.*?\}", "secret", str(value)) for name, value in given.items()}


def of_systemd() -> dict[str, str]:
    return dict(word.split("=", 1) for word in UNIT["Environment"].split())


def of_the_image() -> dict[str, str]:
    lines = re.findall(r"^ENV (.+)", DOCKERFILE, re.MULTILINE)
    return dict(word.split("=", 1) for line in lines for word in line.split())


def written(pattern: str) -> Iterator[tuple[str, str]]:
    """(file, what matches) of every place."""
    for name, text in FILES.items():
        yield from ((name, found) for found in re.findall(pattern, text.replace("\\\n", " ")))


def test_every_variable_is_a_setting():
    known = {f"ESM2_{name.upper()}" for name in settings.Settings.model_fields}
    found = [(name, own) for name, own in written(r"\bESM2_[A-Z_]+\b") if own != "ESM2_PORT"]
    assert found
    assert [own for own in found if own[1] not in known] == []


def test_every_command_has_every_flag_that_it_is_given():
    seen = set()
    for name, command in COMMANDS.commands.items():
        inside = getattr(command, "commands", {"": command})
        for word, own in inside.items():
            flags = {flag for option in own.params for flag in (*option.opts, "--help")}
            said = r"\s+".join(filter(None, ("esm2", name, word)))
            for file, line in written(rf"\b{said}\s([^\n`|#&]*)"):
                given = set(re.findall(r"(?<!\S)--?[a-z][a-z0-9-]*", line))
                assert given <= flags, (file, line)
                seen.add(name)
    assert seen >= {"serve", "embed", "merge", "fetch", "token"}


def test_every_command_is_one():
    before = r"(?:^|`|\$\(|-- |srun |bin/|esm2 )(?:# +)?"
    words = {own for _, own in written(rf"(?m){before}esm2 ([a-z]+)\b(?=[ `\n])")}
    assert words >= {"embed", "fetch", "merge", "serve", "token"}
    assert words <= set(COMMANDS.commands)


def test_every_metric_is_shown():
    metrics = Metrics()
    metrics.follow({}, lambda: 0)
    shown = metrics.exposition().body.decode()
    found = {own for _, own in written(r"\besm2_[a-z]+_[a-z_]+\b")}
    assert "esm2_queue_cost_tokens" in found
    assert {own for own in found if f"# TYPE {own} " not in shown} == set()


def test_every_file_that_is_named_is_there():
    found = {own for _, own in written(r"(?<![\w-])(?:deploy|docs|tests)/[\w./-]*\w")}
    assert found
    assert [own for own in found - {"deploy/.env"} if not (ROOT / own).exists()] == []


def test_every_model_is_an_official_one():
    found = {own for _, own in written(r"\besm2-\d+[mMbB]\b")}
    assert found
    assert [own for own in found if find(own) is None] == []


@pytest.mark.parametrize("given", [of_kubernetes, of_compose, of_systemd, of_the_image])
def test_the_settings_of_a_file_are_taken(given, monkeypatch):
    variables = given()
    if given is not of_systemd:  # which is on loopback until it is told otherwise
        image = {"ESM2_TOKEN_DATABASE": SECRET} | of_the_image()
        variables = image | variables
        assert variables["ESM2_HOST"] == "0.0.0.0"
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    chosen = settings.load({})
    assert bool(chosen.cache_url) <= bool(chosen.cache_mb)
    assert chosen.port == 8000


def test_an_image_without_tokens_does_not_start(monkeypatch):
    for name, value in of_the_image().items():
        monkeypatch.setenv(name, value)
    with pytest.raises(settings.SettingsError, match="there are no tokens"):
        settings.load({})


def test_nobody_is_killed_before_what_it_accepted_is_answered():
    default = settings.Settings.model_fields["grace_seconds"].default
    own = of_kubernetes()
    needed = int(own["ESM2_DRAIN_SECONDS"]) + int(own["ESM2_GRACE_SECONDS"])
    assert POD["terminationGracePeriodSeconds"] > needed
    assert int(COMPOSE["services"]["esm2"]["stop_grace_period"].removesuffix("s")) > default
    assert int(UNIT["TimeoutStopSec"]) > int(of_systemd()["ESM2_GRACE_SECONDS"])


def test_probes_ask_the_admin_port_for_what_is_there():
    ports = {port["name"]: port["containerPort"] for port in SERVER["ports"]}
    assert ports == {"http": 8000, "admin": int(of_kubernetes()["ESM2_ADMIN_PORT"])}
    asked = {
        name: SERVER[f"{name}Probe"]["httpGet"]["path"]
        for name in ("startup", "readiness", "liveness")
    }
    ready = "/health/ready"
    assert asked == {"startup": ready, "readiness": ready, "liveness": "/health/live"}
    assert {SERVER[f"{name}Probe"]["httpGet"]["port"] for name in asked} == {"admin"}
    notes = kind("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert notes["prometheus.io/port"] == str(ports["admin"])
    assert "'127.0.0.1', 8000," in DOCKERFILE
    assert f"'GET', '{ready}'" in DOCKERFILE
    [port] = kind("Service")["spec"]["ports"]
    assert port["targetPort"] == "http"


def test_the_objects_of_kubernetes_mean_each_other():
    labels = kind("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert kind("Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert kind("Service")["spec"]["selector"] == labels
    assert kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    scaled = kind("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    name = kind("Deployment")["metadata"]["name"]
    assert (scaled["kind"], scaled["name"]) == ("Deployment", name)
    claims = [own["persistentVolumeClaim"] for own in POD["volumes"] if own["name"] == "weights"]
    assert claims == [{"claimName": kind("PersistentVolumeClaim")["metadata"]["name"]}]
    overlay = yaml.safe_load(FILES["deploy/kubernetes/gpu/kustomization.yaml"])
    [patch] = (yaml.safe_load(own["patch"]) for own in overlay["patches"])
    assert patch["metadata"]["name"] == name
    [patched] = patch["spec"]["template"]["spec"]["containers"]
    assert patched["name"] == SERVER["name"]
    assert [own["name"] for own in patched["env"]] == ["ESM2_DEVICE"]
    assert POD["enableServiceLinks"] is False


def test_nobody_is_root_and_nothing_of_the_image_is_written():
    [user] = re.findall(r"^USER (\d+):\d+$", DOCKERFILE, re.MULTILINE)
    security = POD["securityContext"]
    assert security["runAsNonRoot"]
    assert int(user) == security["runAsUser"] == security["fsGroup"] == 10001
    for container in (SERVER, *POD["initContainers"]):
        assert container["securityContext"]["readOnlyRootFilesystem"]
    assert COMPOSE["services"]["esm2"]["read_only"]
    assert UNIT["DynamicUser"] == "yes"


def test_the_image_is_built_of_files_that_are_there_and_are_sent():
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    sent = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert sources == sent
    assert all((ROOT / source).exists() for source in sources)


def test_no_file_has_a_secret():
    for name, text in FILES.items():
        urls = re.findall(r"\w+://[^:/\s]+:([^@\s]+)@", text)
        assert set(urls) <= {"PASSWORD", "${POSTGRES_PASSWORD:?put it into deploy/.env}"}, name
