"""The HTTP side of the port."""

import asyncio
import json
import re
import shutil
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from lsdjax.core.errors import UserError
from lsdjax.serve import web
from lsdjax.serve.bench import BenchServeOptions, bench_serve
from lsdjax.serve.client import LiveClient
from lsdjax.serve.options import ServeOptions
from lsdjax.serve.protocol import DROP_REASONS
from lsdjax.serve.web import origin_allowed


def test_health_and_readiness(server: Any) -> None:
    assert server.get("/healthz")[0] == 200
    status, _, body = server.get("/readyz")
    assert status == 200 and json.loads(body)["ready"]


def test_not_ready_while_it_warms_up(start_server: Callable[..., Any]) -> None:
    server = start_server(ready=False, FAKE_WARM_UP_S="600", **{"PYTHONUNBUFFERED": "1"})
    # The port is only known once it is ready, so the page of a loading server is asked for by one
    # with a fixed port in test_page; here the lines that it prints must tell the story.
    assert server.process.stdout is not None
    seen = []
    while not seen or "compiling" not in seen[-1]:
        seen.append(server.process.stdout.readline())
    assert "loading checkpoint" in "".join(seen)
    assert all(line.split()[1] == "s" for line in seen)  # each with its elapsed seconds


def test_info_describes_the_model_and_the_limits(server: Any) -> None:
    info = server.get_json("/api/info")
    assert info["protocol"] == 1 and info["state"] == "ready"
    assert info["model"]["width"] == 64 and info["model"]["height"] == 48
    assert info["presets"] and all({"label", "prompt"} <= set(p) for p in info["presets"])
    assert info["sessions"]["max"] == 16
    messages = [line["message"] for line in info["progress"]]
    assert messages[:2] == ["importing the model's code", "loading checkpoint"]


def test_the_page_and_its_files_are_served(server: Any) -> None:
    for path, kind in (
        ("/", "text/html; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/lsd.js", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
    ):
        status, headers, body = server.get(path)
        assert (status, headers["Content-Type"]) == (200, kind)
        assert body
        assert "default-src 'self'" in headers["Content-Security-Policy"]


def test_the_page_fetches_nothing_from_elsewhere(server: Any) -> None:
    for path in ("/", *(f"/{file.name}" for file in web.PAGE.iterdir())):
        text = server.get(path)[2].decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://(?!localhost)", text), path


@pytest.mark.parametrize("path", ["/nothing", "/../pyproject.toml", "/page/index.html", "/%2e%2e"])
def test_other_paths_are_not_found(server: Any, path: str) -> None:
    assert server.get(path)[0] == 404


def test_the_sample_clip_is_served_in_ranges(
    start_server: Callable[..., Any], tmp_path: Path
) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(bytes(range(100)))
    server = start_server({"sample": str(clip)})
    status, headers, body = server.get("/sample.mp4")
    assert (status, headers["Accept-Ranges"], len(body)) == (200, "bytes", 100)
    assert headers["Content-Type"] == "video/mp4"
    for wanted, status, content_range, expected in (
        ("bytes=0-", 206, "bytes 0-99/100", bytes(range(100))),
        ("bytes=10-19", 206, "bytes 10-19/100", bytes(range(10, 20))),
        ("bytes=-5", 206, "bytes 95-99/100", bytes(range(95, 100))),
        ("bytes=90-500", 206, "bytes 90-99/100", bytes(range(90, 100))),
        ("bytes=100-", 416, "bytes */100", b""),
        ("bytes=0-1,4-5", 200, None, bytes(range(100))),
        ("lines=1-2", 200, None, bytes(range(100))),
        ("bytes=x-y", 200, None, bytes(range(100))),
    ):
        got, headers, body = server.get("/sample.mp4", {"Range": wanted})
        assert (got, headers["Content-Range"], body) == (status, content_range, expected)


def test_strangers_cannot_make_it_complain(start_server: Callable[..., Any]) -> None:
    server = start_server()
    for rubbish in (
        b"",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS hello
        b"GET / HTTP/1.1\r\nbroken\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
    ):
        with socket.create_connection(("localhost", server.port), timeout=30) as connection:
            connection.sendall(rubbish)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
    assert server.get("/healthz")[0] == 200
    status, _, errors = server.end()
    assert (status, errors) == (0, "")


def test_metrics_count_frames(server: Any) -> None:
    async def work() -> None:
        async with LiveClient(server.url, prompt="original") as client:
            for _ in range(5):
                await client.send(np.zeros((48, 64, 3), np.uint8))
                await client.receive()
            await client.settle()

    asyncio.run(work())
    text = server.get("/metrics")[2].decode()
    for name in (
        "lsd_frames_received_total",
        "lsd_frames_sent_total",
        'lsd_stage_seconds_count{stage="step"}',
        "lsd_frame_age_seconds_count",
    ):
        line = next(line for line in text.splitlines() if line.startswith(name + " "))
        assert float(line.split()[-1]) >= 5
    for reason in DROP_REASONS:
        assert f'lsd_frames_dropped_total{{reason="{reason}"}}' in text
    assert "session_id" not in text


def test_repairs_are_counted_logged_and_told(start_server: Callable[..., Any]) -> None:
    server = start_server()

    told: list[str] = []

    async def work() -> None:
        async with LiveClient(
            server.url, prompt="a broken original", on_notice=told.append
        ) as client:
            for _ in range(3):
                await client.send(np.zeros((48, 64, 3), np.uint8))
                await client.receive()
            await client.settle()

    asyncio.run(work())
    assert any("mended at frame 1" in text for text in told)
    text = server.get("/metrics")[2].decode()
    assert 'lsd_repairs_total{reason="cache"} 3.0' in text
    assert 'lsd_repairs_total{reason="colour"} 0.0' in text
    output = server.end()[1]
    assert "seat 0: repaired at frame 1: cache 2, limit 0" in output


@pytest.mark.parametrize(
    ("origin", "host", "allowed", "local_only", "expected"),
    [
        (None, "x", (), True, True),
        ("http://localhost:8765", "localhost:8765", (), True, True),
        ("http://127.0.0.1:3000", "127.0.0.1:8765", (), True, True),
        ("http://[::1]:8765", "[::1]:8765", (), True, True),
        ("http://rebound.example:8765", "rebound.example:8765", (), True, False),
        ("http://box.lan:8765", "box.lan:8765", (), False, True),
        ("http://box.lan:8765", "box.lan:9000", (), False, False),
        ("http://other.example", "box.lan:8765", (), False, False),
        ("https://Friend.example/", "box.lan", ("https://friend.example",), False, True),
        ("null", "null", (), False, False),
        ("http://[broken", "x", (), False, False),
        ("http://other.example", "x", ("*",), False, True),
    ],
)
def test_origins(
    origin: str | None, host: str, allowed: tuple[str, ...], local_only: bool, expected: bool
) -> None:
    assert origin_allowed(origin, host, allowed, local_only=local_only) == expected


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
def test_with_a_certificate_the_port_speaks_tls(
    start_server: Callable[..., Any], tmp_path: Path
) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert,
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    server = start_server({"tls_cert": str(cert), "tls_key": str(key)})
    assert server.url.startswith("https://localhost:")
    trusting = ssl.create_default_context(cafile=cert)
    with urllib.request.urlopen(f"{server.url}/healthz", context=trusting) as response:
        assert response.status == 200

    async def work() -> None:
        url = server.url.replace("https", "wss") + "/ws"
        async with connect(url, ssl=trusting, subprotocols=[Subprotocol("lsd.v1")]) as client:
            await client.send('{"type": "hello", "version": 1, "codecs": ["jpeg"]}')
            assert '"welcome"' in str(await client.recv())

    asyncio.run(work())
    with socket.create_connection(("localhost", server.port)) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert not plain.recv(100).startswith(b"HTTP")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"queue": -1}, "queue must be at least 0, got -1"),
        ({"batch": 0}, "batch"),
        ({"overload_ratio": 1.0}, "overload-ratio must be above 1"),
        ({"overload_ratio": float("nan")}, "overload-ratio"),
        ({"max_message_bytes": 10}, "max-message-bytes"),
        ({"tls_key": "key.pem"}, "tls-cert"),
        ({"deadline_ms": 0}, "deadline-ms"),
    ],
)
def test_options_that_make_no_sense_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        ServeOptions(**fields)


def test_bench_reports_what_it_measured(server: Any) -> None:
    options = BenchServeOptions(url=server.url, sessions=(1, 2), seconds=0.5, json=True)
    runs = bench_serve(options)["runs"]
    assert [run["sessions"] for run in runs] == [1, 2]
    for run in runs:
        assert run["fps"] > 0
        assert set(run["frame_age_ms"]) == {"p50", "p95", "p99", "max"}
        assert set(run["dropped"]) == set(DROP_REASONS)
        assert run["received"] == run["sent"] + sum(run["dropped"].values())
    json.dumps(runs)


def test_bench_starts_a_server_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    options = BenchServeOptions(engine="fake_engine:make", seconds=0.3, fps=20)
    assert bench_serve(options)["runs"][0]["sent"] > 0
    assert "sessions" in capsys.readouterr().out
