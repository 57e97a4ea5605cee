"""The SDKs' own commands, against our server."""

from __future__ import annotations

import json

import pytest

from tests.clients import roster
from tests.clients.cases import LONG, Case
from tests.clients.reports import arrays, check_arrays, engine_arrays

#: Client -> its command, and the variable that holds its token.
STATUS = {
    roster.CLASSES_0_1: ("biolmai", "BIOLMAI_TOKEN"),
    roster.BIOLMAI_0_2: ("biolmai", "BIOLMAI_TOKEN"),
    roster.BIOLMAI_0_4: ("biolmai", "BIOLMAI_TOKEN"),
    roster.HOSTED: ("biolm", "BIOLM_TOKEN"),
}
FASTA = Case("FASTA", "encode", ("MKTAYIAKQR", LONG[:30]))


@pytest.mark.parametrize("client", STATUS, ids=lambda client: client.name)
def test_status_tells_a_good_token_from_a_bad_one(session, table, client):
    command, variable = STATUS[client]
    good = session(client).command(command, "status")
    assert "Validating token...\n{'status': 'ok'}" in good
    bad = session(client).command(command, "status", **{variable: "wrong-secret"})
    assert "'code': 'auth.unauthenticated'" in bad
    assert "Invalid token" in bad
    table.record(client, "command `status`, good and wrong token", "200, 401")


@pytest.mark.parametrize("client", [roster.BIOLMAI_0_4, roster.HOSTED], ids=lambda c: c.name)
def test_the_models_of_the_server_are_listed(session, table, client):
    command = STATUS[client][0]
    listed = json.loads(session(client).command(command, "model", "list", "--format", "json"))
    assert [model["model_slug"] for model in listed] == ["esm2-8m", "esm2-demo"]
    said = session(client).command(command, "model", "show", "esm2-8m", "--format", "json")
    assert json.loads(said)["actions"] == ["encode", "predict", "log_prob", "score", "scan", "pll"]
    table.record(client, "commands `model list`, `model show`", "what is served")


def test_the_hub_mode_finds_the_server_and_its_models(session, table):
    """As a user does it: no address in the environment, `biolm hub set` once."""
    ran = session(roster.HUB)
    unset = {"BIOLM_BASE_API_URL": "", "BIOLM_BASE_DOMAIN": ""}
    assert "Connected to biolm-hub" in ran.command("biolm", "hub", "set", ran.tap.url, **unset)
    status = ran.command("biolm", "hub", "status", **unset)
    assert f"{ran.tap.url}/api/v1" in status
    assert "Hub is reachable" in status
    assert "2 variants, 6 routes" in status
    listed = json.loads(ran.command("biolm", "model", "list", "--format", "json", **unset))
    assert [model["slug"] for model in listed] == ["esm2-8m", "esm2-demo"]
    assert all(model["actions"] == ["encode", "log_prob", "predict"] for model in listed)
    table.record(roster.HUB, "commands `hub set`, `hub status`, `model list`", "what is served")


def test_a_fasta_file_is_encoded_by_the_command(session, model, table):
    client = roster.BIOLMAI_0_4
    ran = session(client)
    fasta, answers = ran.user.home / "in.fasta", ran.user.home / "out.json"
    fasta.write_text("".join(f">p{len(s)} a protein\n{s}\n" for s in FASTA.sequences))
    words = ("model", "run", "esm2-8m", "encode", "-i", str(fasta), "-o", str(answers))
    ran.command("biolmai", *words)
    got = [arrays(client, result) for result in json.loads(answers.read_text())]
    check_arrays(got, engine_arrays(model, FASTA))
    table.record(client, "command `model run` with a FASTA file", "=")
