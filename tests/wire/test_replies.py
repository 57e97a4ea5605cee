"""The forms of a reply: JSON or arrays, float32 or float16, in pieces, compressed."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load as load_safetensors

from tests.proteins import residues
from tests.wire.dialects import KINDS, NPZ, PROTEIN, V3, Arrays, unpacked
from tests.wire.server import PATIENCE, Server

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SAFETENSORS = "application/vnd.safetensors"
INFLATE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "zstd": zstd.decompress,
}
LONG = "".join(residues(1000))
PATH = V3.path("esm2-demo", "encode")

in_proc = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="reads /proc, which is Linux"
)


def body_of(*sequences: str, **params: Any) -> dict[str, Any]:
    return {"items": [{"sequence": sequence} for sequence in sequences], "params": params}


def everything(server: Server, accept: str) -> tuple[bytes, str]:
    """The reply to an encode of all outputs at two layers."""
    answer = V3.ask(
        server, "encode", PROTEIN, "W", accept=accept, include=list(KINDS), repr_layers=[0, -1]
    )
    return answer.body, answer.headers["Content-Type"]


def same(got: Arrays, want: Arrays) -> bool:
    return got.keys() == want.keys() and all(
        np.array_equal(got[name], want[name]) and got[name].dtype == want[name].dtype
        for name in want
    )


# --- arrays ----------------------------------------------------------------------------------


def test_safetensors_holds_the_arrays_of_npz_bit_for_bit(server, tmp_path):
    body, media_type = everything(server, SAFETENSORS)
    assert media_type == SAFETENSORS
    npz, _ = everything(server, NPZ)
    with np.load(io.BytesIO(npz), allow_pickle=False) as file:
        assert same(load_safetensors(body), dict(file))


def test_safetensors_says_in_the_file_whose_numbers_they_are(server, tmp_path):
    answer = V3.ask(server, "encode", PROTEIN, accept=SAFETENSORS)
    file = tmp_path / "reply.safetensors"
    file.write_bytes(answer.body)
    with safe_open(file, framework="np") as opened:
        said = opened.metadata()
    assert said["X-ESM2-Model"] == "my-slug"
    assert said == {name: answer.headers[name] for name in said}


@pytest.mark.parametrize("media_type", [NPZ, SAFETENSORS])
def test_float16_is_the_float32_rounded_and_the_type_says_so(server, media_type):
    exact, _ = everything(server, NPZ)
    body, told = everything(server, f"{media_type};dtype=float16")
    assert told == f"{media_type};dtype=float16"
    got = load_safetensors(body) if media_type == SAFETENSORS else dict(np.load(io.BytesIO(body)))
    with np.load(io.BytesIO(exact), allow_pickle=False) as file:
        assert same(got, {name: file[name].astype(np.float16) for name in file})


def test_a_dtype_that_there_is_not_is_406(server):
    answer = server.post(PATH, body_of(PROTEIN), {"Accept": f"{NPZ};dtype=bfloat16"})
    assert (answer.status, answer.json()["code"]) == (406, "request.not_acceptable")


@pytest.mark.parametrize("accept", [NPZ, SAFETENSORS])
def test_arrays_that_are_sent_in_pieces_are_whole(server, direct, accept):
    body = body_of(LONG, LONG[:500], include=["per_token"], repr_layers=[0, 3])
    answer = server.post(V3.path("my-slug", "encode"), body, {"Accept": accept})
    assert answer.headers["Transfer-Encoding"] == "chunked"
    got = unpacked(answer) if accept == NPZ else load_safetensors(answer.body)
    own = direct("my-slug").encode([LONG, LONG[:500]], ["per_token"], [0, 3])
    assert same(
        got,
        {f"{i}.per_token.{n}": a for i, item in enumerate(own) for n, a in item.per_token.items()},
    )


# --- JSON ------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", INFLATE)
@pytest.mark.parametrize("sequence", [PROTEIN, LONG], ids=["whole", "pieces"])
def test_json_is_compressed_when_that_is_asked_for(server, coding, sequence):
    body = body_of(sequence, "W", include=["per_token", "contacts"])
    plain = server.post(PATH, body, {"Accept-Encoding": "identity"})
    packed = server.post(PATH, body, {"Accept-Encoding": f"br, {coding}"})
    assert plain.headers["Content-Encoding"] is None
    assert packed.headers["Content-Encoding"] == coding
    assert INFLATE[coding](packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 2
    assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept, Accept-Encoding"
    content = json.loads(plain.body)["results"]
    assert np.shape(content[0]["contacts"]) == (len(sequence), len(sequence))


def test_a_reply_of_one_packet_is_not_compressed(server):
    answer = server.post(
        V3.path("esm2-demo", "log_prob"), body_of(PROTEIN), {"Accept-Encoding": "gzip"}
    )
    assert answer.status == 200
    assert answer.headers["Content-Encoding"] is None


def test_json_in_pieces_has_the_numbers_of_the_arrays(server):
    params = {"include": ["per_token", "contacts"], "repr_layers": [0, 6]}
    answer = V3.ask(server, "encode", LONG, "W", slug="esm2-demo", **params)
    assert answer.headers["Transfer-Encoding"] == "chunked"
    arrays = unpacked(V3.ask(server, "encode", LONG, "W", slug="esm2-demo", accept=NPZ, **params))
    assert same(V3.arrays("encode", answer), arrays)


def test_http_1_0_gets_a_large_reply_whole(server):
    content = json.dumps(body_of(LONG, include=["contacts"])).encode()
    with socket.create_connection(server.address, PATIENCE) as connection:
        connection.sendall(
            f"POST {PATH} HTTP/1.0\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content
        )
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.headers["Transfer-Encoding"] is None
        body = response.read()
    assert len(body) == int(response.headers["Content-Length"]) > 1 << 20
    assert np.shape(json.loads(body)["results"][0]["contacts"]) == (1000, 1000)


# --- meanwhile -------------------------------------------------------------------------------


@in_proc
def test_a_large_reply_takes_no_memory_and_holds_nobody_up(server):
    """50 MB of JSON, which the caller is slow to take."""
    body = body_of(LONG, LONG, include=["per_token"], repr_layers=[0, 1, 2, 3, 4, 5, 6])
    process = Path(f"/proc/{server.pid}")
    arrays = 2 * 7 * 1000 * 192 * 4
    V3.ask(server, "encode", LONG, LONG, slug="esm2-demo", include=["mean"])  # at its working size
    process.joinpath("clear_refs").write_text("5")
    before = memory(process, "VmRSS")
    connection = server.connect()
    connection.request("POST", PATH, json.dumps(body).encode())
    response = connection.getresponse()
    for _ in range(3):
        assert server.get("/health/live").status == 200
        assert len(response.read(1 << 20)) == 1 << 20
    size = 3 << 20
    while piece := response.read(1 << 20):
        size += len(piece)
    connection.close()
    assert size > 50e6
    assert memory(process, "VmHWM") - before < 3 * arrays < size


@in_proc
def test_a_caller_who_leaves_in_the_middle_of_a_reply_costs_nothing_more(server):
    body = body_of(LONG, LONG, include=["per_token"], repr_layers=[0, 1, 2, 3, 4, 5, 6])
    connection = server.connect()
    connection.request("POST", PATH, json.dumps(body).encode())
    assert connection.getresponse().read(1000)
    connection.close()
    assert server.get("/health/ready").status == 200


def memory(process: Path, field: str) -> int:
    lines = process.joinpath("status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024


DNA, GAPS, PROTEIN = "ATGGCCATTGTA", "-" * 12, "MKTAYIAKQR"


@pytest.mark.parametrize("accept", ["application/json", "application/x-npz"])
def test_what_is_hardly_a_protein_is_answered_and_said_in_a_header(server, accept):
    items = [{"sequence": sequence} for sequence in (DNA, PROTEIN, GAPS, DNA)]
    answer = server.post("/api/v3/my-slug/encode/", {"items": items}, {"Accept": accept})
    assert answer.status == 200
    assert answer.headers["X-ESM2-Warnings"] == (
        "items 0, 3: it looks like DNA or RNA; items 2: no residue in it is known"
    )


@pytest.mark.parametrize("action", ["predict", "log_prob", "score", "scan", "pll"])
def test_every_action_says_it_and_none_of_a_protein(server, action):
    more = {"predict": "<mask>"}.get(action, "")
    variants = {"variants": ["WT"]} if action == "score" else {}
    for sequence, said in ((DNA, "items 0: it looks like DNA or RNA"), (PROTEIN, None)):
        body = {"items": [{"sequence": sequence + more, **variants}]}
        answer = server.post(f"/api/v3/my-slug/{action}/", body)
        assert (answer.status, answer.headers["X-ESM2-Warnings"]) == (200, said)
