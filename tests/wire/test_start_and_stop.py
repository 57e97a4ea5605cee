"""How a server begins and ends: what it refuses to start with, what it prints, how it stops."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

from tests import services
from tests.wire.refusals import ALL, GOOD_BODY, SECRET, TOKENS
from tests.wire.server import ESM2, PATIENCE, environment, not_starting, serving

MAIN = "from esm2.cli import main; main()"

# --- refusing to start: one of each kind; every setting's own is in tests/unit/test_settings.py ---


@pytest.mark.parametrize(
    ("flags", "variables", "words"),
    [
        ([], {"ESM2_TOKEN": "s3cret"}, ["ESM2_TOKEN is not a setting", "ESM2_TOKENS"]),
        ([], {"ESM2_HOST": "0.0.0.0"}, ["0.0.0.0", "no tokens"]),
        ([], {"ESM2_PORT": "70000", "ESM2_TOKENS": "s3cret"}, ["ESM2_PORT: ", "65535"]),
        (["--port", "-1", "--max-residues", "0"], {}, ["--port: ", "--max-residues: "]),
        (["--port", "0", "--device", "gpu"], {}, ["--device: 'gpu' is not a device"]),
        ([], {"ESM2_PORT": "0", "ESM2_DTYPE": "int4"}, ["ESM2_DTYPE: ", "not supported"]),
        ([], {"ESM2_PORT": "0", "ESM2_MODEL": "=/a"}, ["ESM2_MODEL: ", "SLUG=PATH"]),
        ([], {"ESM2_PORT": "0", "ESM2_LIMITS_STORAGE": "ftp://a"}, ["ESM2_LIMITS_STORAGE: "]),
        ([], {"ESM2_PORT": "0", "ESM2_TOKEN_DATABASE": "ftp://a"}, ["ESM2_TOKEN_DATABASE: "]),
    ],
    ids=lambda value: " ".join(value) or "none",
)
def test_a_setting_that_cannot_be_is_one_sentence_and_no_server(flags, variables, words):
    refused = not_starting(*flags, **variables)
    assert_one_sentence(refused, "settings.invalid", words)
    assert "s3cret" not in refused.stderr


@pytest.mark.parametrize(
    ("model", "code", "words"),
    [
        ("esm2-65m", "model.unknown", ["esm2-65m", "did you mean", "esm2-650m"]),
        ("mine=/no/such/path", "checkpoint.invalid", ["/no/such/path", "no such file"]),
        ("esm2-demo=/some/path", "settings.invalid", ["esm2-demo", "another slug"]),
        ("=/some/path", "settings.invalid", ["SLUG=PATH"]),
    ],
)
def test_a_model_that_cannot_be_served_is_one_sentence_and_no_server(model, code, words):
    refused = not_starting("--port", "0", "--model", model)
    assert_one_sentence(refused, code, words)


def test_a_taken_port_is_one_sentence_and_no_server(server):
    port = str(server.address[1])
    refused = not_starting("--port", port)
    assert_one_sentence(refused, "settings.invalid", [port, "in use", "--port"])


def test_two_servers_that_start_at_once_do_not_both_get_the_port():
    from esm2.cli.ports import listen
    from esm2.errors import SettingsError

    with listen("127.0.0.1", 0, "--port") as first, pytest.raises(SettingsError):
        listen("127.0.0.1", first.getsockname()[1], "--port").close()


def assert_one_sentence(refused: subprocess.CompletedProcess[str], code: str, words: list[str]):
    assert refused.returncode == 1
    assert refused.stdout == ""
    [line] = refused.stderr.splitlines()
    assert line.startswith("esm2: ")
    assert line.endswith(f"[{code}]")
    assert [word for word in words if word not in line] == [], line


# --- starting ----------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_a_server_prints_a_call_that_works_and_ends_well_on_ctrl_c():
    with serving() as server:
        call = server.printed_curl()
        done = subprocess.run(
            ["bash", "-c", f"{call.strip()} --silent --show-error"],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        [result] = json.loads(done.stdout)["results"]
        assert np.argmax(result["logits"][14]) == result["alphabet_tokens"].index("G")
        status, stderr = server.stop(signal.SIGINT)
    assert status == 0
    assert re.search(
        r"esm2-demo .*a tiny model, trained for two hours: to try things, not for science", stderr
    )
    assert stderr.endswith("esm2: stopped\n")
    assert "Traceback" not in stderr


@pytest.mark.parametrize("how", ["<&- >&- 2>&-", ">/dev/full 2>/dev/full"])
def test_a_server_starts_serves_and_ends_without_anything_to_print_to(how):
    port = services.free_port()
    command = ["bash", "-c", f'exec "$@" {how}', "bash", ESM2, "serve", "--port", str(port)]
    with subprocess.Popen(command, env=environment()) as process:
        try:
            services.until(lambda: process.poll() is not None or live(port), "it never answered")
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def test_what_a_server_has_loaded_is_not_looked_through_for_garbage_while_it_serves():
    at_exit = "import atexit, gc; atexit.register(lambda: print('spared', gc.get_freeze_count()))"
    port = services.free_port()
    with subprocess.Popen(
        [sys.executable, "-c", f"{at_exit}; {MAIN}", "serve", "--port", str(port)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        services.until(lambda: process.poll() is not None or live(port), "it never answered")
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=PATIENCE)
    assert int(printed.split()[-1]) > 10_000, printed


def live(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == 200
    except ConnectionRefusedError:
        return False
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("host", "url"), [("0.0.0.0", "http://127.0.0.1:"), ("::", "http://[::1]:")]
)
def test_a_server_on_every_address_prints_one_that_can_be_asked(host, url):
    with serving("--host", host, tokens="s3cret") as server:
        assert server.url.startswith(url)
        assert server.get("/api/v3/schema/esm2-demo/encode/").status == 200
        call = server.printed_curl()
        assert f"curl {server.url}/api/v2/" in call
        assert "'Authorization: Token YOUR_TOKEN'" in call
        _, stderr = server.stop()
    assert "and every other address of this machine" in stderr
    assert f"//{host}" not in stderr
    assert "[::]" not in stderr


def test_a_unix_socket_is_one_servers_alone_and_a_dead_ones_is_taken_over(tmp_path):
    place = tmp_path / "a socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place))
    with serving("--uds", str(place)) as server:
        assert f"curl --unix-socket '{place}' http://localhost/api/v2/" in server.printed_curl()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(place))
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        refused = not_starting("--uds", str(place))
        assert_one_sentence(refused, "settings.invalid", ["a server listens there", "--uds"])
        assert server.stop()[0] == 0
    assert not place.exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [("file", ["a file of that name"]), ("no/such/place", ["No such file"]), ("a" * 200, ["long"])],
)
def test_a_unix_socket_that_cannot_be_is_one_sentence_and_no_server(tmp_path, name, words):
    (tmp_path / "file").touch()
    refused = not_starting("--uds", str(tmp_path / name))
    assert_one_sentence(refused, "settings.invalid", ["cannot listen on", "--uds", *words])
    assert (tmp_path / "file").exists()


def test_on_a_signal_a_server_tells_where_it_is_and_goes_on():
    head = (
        b"POST /api/v2/esm2-demo/encode/ HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n"
    )
    with serving("--grace-seconds", "1") as server:
        with socket.create_connection(server.address, timeout=PATIENCE) as connection:
            connection.sendall(head)
            assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
            connection.sendall(f'{{"items": "{SECRET}'.encode())
            os.kill(server.pid, signal.SIGUSR1)
            assert server.get("/health/live").status == 200
            services.until(lambda: "child.py" in server.said, "its worker says nothing")
        status, stderr = server.stop()
    assert status == 0
    for told in (r"Thread 0x.*batcher", "Task .*in read_body", r"Thread 0x.*child\.py.*main"):
        assert re.search(told, stderr, re.DOTALL)
    assert SECRET not in stderr


# --- stopping ----------------------------------------------------------------------------------


def test_its_log_is_still_empty_after_everything_and_it_finishes_what_it_has_begun(guarded_flags):
    """All refusals, callers who hang up, then SIGTERM while a body is still coming."""
    with serving(*guarded_flags, tokens=TOKENS) as server:
        for refusal in ALL:
            refusal.send(server)
        head = (
            "POST /api/v2/my-slug/encode/ HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: {server.headers['Authorization']}\r\n"
            f"Content-Length: {len(GOOD_BODY)}\r\nExpect: 100-continue\r\n\r\n"
        ).encode()
        for portion in (head, head + GOOD_BODY[:20], head + GOOD_BODY):
            with socket.create_connection(server.address) as connection:
                connection.sendall(portion)
        with socket.create_connection(server.address, timeout=PATIENCE) as connection:
            connection.sendall(head)
            # From here on the server is known to be waiting for the body.
            assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
            os.kill(server.pid, signal.SIGTERM)
            connection.sendall(GOOD_BODY)
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        status, stderr = server.stop()
    assert status == 0
    lines = stderr.splitlines()
    assert "listening on" in lines[0]
    assert [line.split()[1] for line in lines[1:]] == [
        "my-slug",
        "esm2-8m",
        "headless",
        "esm2-demo",
    ], stderr
    assert SECRET not in stderr
    assert "secret" not in stderr


@pytest.mark.parametrize("numbers", ["INT INT INT", "TERM INT"])
def test_further_signals_do_not_make_its_end_a_traceback(numbers):
    head = b"POST /api/v1/esm2-demo/encode HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
    with (
        serving("--grace-seconds", "1") as server,
        socket.create_connection(server.address, timeout=PATIENCE) as connection,
    ):
        connection.sendall(head + b"Expect: 100-continue\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        for name in numbers.split():
            os.kill(server.pid, signal.Signals[f"SIG{name}"])
        status, stderr = server.stop(signal.SIGINT)
    assert status == 0
    assert "Traceback" not in stderr


def test_half_a_body_does_not_keep_it_from_stopping():
    with serving("--grace-seconds", "1") as server:
        head = (
            b"POST /api/v2/esm2-demo/encode/ HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n"
        )
        with socket.create_connection(server.address, timeout=PATIENCE) as connection:
            connection.sendall(head)
            assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
            connection.sendall(b'{"items"')
            status, stderr = server.stop()
    assert status == 0
    assert "Traceback" not in stderr
