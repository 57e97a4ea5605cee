"""Behind Debian's nginx and haproxy, with the very lines of docs/deploy.md."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import pytest

from esm2.client import Client
from esm2.errors import ServerUnreachable, UnexpectedReply
from tests.wire.server import PATIENCE, Server, serving

PAGE = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text()
PROTEIN = "MKTAYIAKQRQISFVKSHFSRQ"
BODY = json.dumps({"items": [{"sequence": PROTEIN}]}).encode()
LARGE = {"items": [{"sequence": PROTEIN * 9}] * 8, "params": {"include": ["per_token"]}}
PATH = "/api/v2/esm2-demo/encode/"


@dataclass(frozen=True)
class Proxied:
    """A server, and the port of the proxy in front of it, which has it below /esm2/."""

    server: Server
    port: int
    tls: ssl.SSLContext | None = None

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str):
        if self.tls:
            connection = http.client.HTTPSConnection(
                "localhost", self.port, timeout=PATIENCE, context=self.tls
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        given = {"Host": "lab.example"} | {k.replace("_", "-"): v for k, v in headers.items()}
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content


def lines(kind: str) -> str:
    """The block of the page."""
    found = re.search(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def nginx(place: Path, port: int, to: str) -> list[str]:
    block = lines("nginx").replace("listen 80", f"listen 127.0.0.1:{port}")
    block = block.replace("http://127.0.0.1:8000/", to)
    config = place / "nginx.conf"
    # Its workers are somebody else where it is started by root, who cannot look into our directory.
    user = "user root;\n" if os.geteuid() == 0 else ""
    config.write_text(
        f"{user}daemon off; pid {place}/pid; error_log stderr;\n"
        "events {}\nhttp { access_log off;\n"
        + "".join(
            f"{kind}_temp_path {place}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        + f"{block}\n}}\n"
    )
    return ["/usr/sbin/nginx", "-p", str(place), "-c", str(config)]


def nginx_with_tls(place: Path, port: int, to: str) -> list[str]:
    """As the page says, with a certificate of its own."""
    command = nginx(place, port, to)
    config, key, certificate = (place / name for name in ("nginx.conf", "key.pem", "cert.pem"))
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", key, "-out", certificate, "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
    )
    text = config.read_text()
    listen = f"listen 127.0.0.1:{port}"
    tls = f"{listen} ssl; ssl_certificate {certificate}; ssl_certificate_key {key}"
    config.write_text(text.replace(listen, tls))
    return command


def haproxy(place: Path, port: int, to: str) -> list[str]:
    block = lines("haproxy").replace("bind :80", f"bind 127.0.0.1:{port}")
    config = place / "haproxy.cfg"
    config.write_text(block.replace("127.0.0.1:8000", to.removeprefix("http://").rstrip("/")))
    return ["/usr/sbin/haproxy", "-db", "-f", str(config)]


@contextmanager
def behind(kind, place: Path, server: Server, to: str) -> Iterator[Proxied]:
    program = kind.__name__.partition("_")[0]
    if not Path(f"/usr/sbin/{program}").exists():
        pytest.skip(f"{program} is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen(kind(place, port, to)) as process:
        try:
            certificate = place / "cert.pem"
            tls = certificate.exists() and ssl.create_default_context(cafile=certificate)
            proxied = Proxied(server, port, tls or None)
            while process.poll() is None:
                try:
                    answer, _ = proxied.ask("GET", "/esm2/health/live")
                except ConnectionRefusedError:
                    continue
                if answer.status == 200:
                    break
            assert process.poll() is None
            yield proxied
        finally:
            process.terminate()


@pytest.fixture(scope="module", params=[nginx, haproxy], ids=lambda kind: kind.__name__)
def proxied(request, tmp_path_factory) -> Iterator[Proxied]:
    place = tmp_path_factory.mktemp("proxy")
    with (
        serving("--allow-host", "lab.example", "--trust-proxy", "127.0.0.1") as server,
        behind(request.param, place, server, f"{server.url}/") as found,
    ):
        yield found


def test_a_request_is_answered_as_without_it(proxied):
    answer, content = proxied.ask("POST", f"/esm2{PATH}", BODY)
    assert (answer.status, content) == (200, proxied.server.post(PATH, BODY).body)


def test_a_large_body_and_a_large_reply_pass(proxied):
    body = json.dumps(LARGE).encode().ljust(2_500_000)
    answer, content = proxied.ask("POST", f"/esm2{PATH}", body)
    assert (answer.status, len(content) > 1_000_000) == (200, True)
    assert content == proxied.server.post(PATH, LARGE).body


def test_what_is_compressed_stays_so(proxied):
    answer, content = proxied.ask(
        "POST",
        f"/esm2{PATH}",
        gzip.compress(json.dumps(LARGE).encode()),
        Content_Encoding="gzip",
        Accept_Encoding="gzip",
    )
    assert (answer.status, answer.headers["Content-Encoding"]) == (200, "gzip")
    assert gzip.decompress(content) == proxied.server.post(PATH, LARGE).body


def test_a_connection_is_kept(proxied):
    connection = http.client.HTTPConnection("127.0.0.1", proxied.port, timeout=PATIENCE)
    connection.connect()
    first = connection.sock
    for _ in range(3):
        connection.request("POST", f"/esm2{PATH}", BODY, {"Host": "lab.example"})
        assert connection.getresponse().read()
        assert connection.sock is first
    connection.close()


def test_the_docs_and_what_they_try_out_are_below_its_path(proxied):
    base = "http://lab.example/esm2/docs"
    _, page = proxied.ask("GET", "/esm2/docs")
    [described] = re.findall(r"url: '([^']+)'", page.decode())
    where = urljoin(base, described)
    assert where == "http://lab.example/esm2/openapi.json"
    _, document = proxied.ask("GET", "/esm2/openapi.json")
    [server] = json.loads(document)["servers"]
    assert urljoin(where, server["url"]) == "http://lab.example/esm2/"
    for address in re.findall(r"""(?:src|href)=["']([^"']+)""", page.decode()):
        answer, _ = proxied.ask("GET", urljoin("/esm2/docs", address))
        assert answer.status == 200


def test_a_name_that_was_not_allowed_is_refused_through_it_as_well(proxied):
    answer, content = proxied.ask("GET", "/esm2/info", Host="evil.example")
    assert (answer.status, json.loads(content)["code"]) == (403, "auth.foreign_host")


def test_who_leaves_is_known_to_have_left(proxied):
    """Work of many seconds, of which nothing may be left soon after."""
    body = json.dumps(
        {"items": [{"sequence": PROTEIN * 90}] * 8, "params": {"include": ["contacts"]}}
    ).encode()
    with socket.create_connection(("127.0.0.1", proxied.port)) as connection:
        head = (
            f"POST /esm2{PATH} HTTP/1.1\r\nHost: lab.example\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + body)
        while not waiting(proxied.server):
            pass
    while b'code="caller.left"' not in proxied.server.get("/metrics").body:
        pass


def waiting(server: Server) -> bool:
    [model] = server.get("/status").json()["models"]
    return bool(model["busy_workers"])


def test_pages_and_our_client_are_answered_through_a_proxy_with_a_certificate(
    tmp_path, monkeypatch
):
    with (
        serving("--allow-host", "lab.example", "--trust-proxy", "127.0.0.1") as server,
        behind(nginx_with_tls, tmp_path, server, f"{server.url}/") as proxied,
    ):
        answer, content = proxied.ask("POST", f"/esm2{PATH}", BODY, Origin="https://lab.example")
        assert (answer.status, content) == (200, server.post(PATH, BODY).body)
        answer, _ = proxied.ask("POST", f"/esm2{PATH}", BODY, Origin="https://evil.example")
        assert answer.status == 403
        url = f"https://localhost:{proxied.port}/esm2"
        with Client(url) as client, pytest.raises(ServerUnreachable, match="SSL_CERT_FILE"):
            client.embed([PROTEIN])
        plain = url.replace("https:", "http:")
        with Client(plain) as client, pytest.raises(UnexpectedReply, match="write https://"):
            client.embed([PROTEIN])
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        with Client(url) as client:
            assert client.embed([PROTEIN]).shape == (1, 192)


def test_nginx_may_come_by_a_unix_socket(tmp_path):
    place = tmp_path / "esm2.sock"
    with serving("--uds", str(place), "--allow-host", "lab.example") as server:
        assert place.is_socket()
        with behind(nginx, tmp_path, server, f"http://unix:{place}:/") as proxied:
            answer, _ = proxied.ask("POST", f"/esm2{PATH}", BODY)
            assert answer.status == 200
        assert server.stop()[0] == 0
    assert not place.exists()
