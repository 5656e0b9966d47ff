"""`lsdjax connect`, `lsdjax token`, and the benchmark's figures."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from wire import run

from lsdjax import cli
from lsdjax.core.errors import UserError
from lsdjax.data.writer import VideoWriter
from lsdjax.serve import bench
from lsdjax.serve.auth import check_token
from lsdjax.serve.bench import BenchServeOptions, bench_serve, soak_figures
from lsdjax.serve.benchclient import Tally, percentile, summarise
from lsdjax.serve.connect import ConnectOptions
from lsdjax.serve.instant import InstantStreamer, make
from lsdjax.serve.protocol import DROP_REASONS
from lsdjax.serve.proxy import ThrottledProxy


@pytest.fixture
def clip(tmp_path: Path, picture_of: Callable[..., np.ndarray]) -> Path:
    path = tmp_path / "in.mp4"
    with VideoWriter(path, fps=10, height=48, width=64) as writer:
        for index in range(12):
            writer.write(picture_of(48, 64, index))
    return path


def test_connect_streams_a_file_through_a_server_into_a_file(
    server: Any, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.mp4"
    arguments = ["connect", "--source", str(clip), "--sink", str(out), "--url", server.url]
    assert cli.main([*arguments, "--prompt", "negative"]) == 0
    assert "frames" in capsys.readouterr().out
    with av.open(str(clip)) as before, av.open(str(out)) as after:
        first = next(before.decode(video=0)).to_ndarray(format="rgb24").astype(int)
        frames = [frame.to_ndarray(format="rgb24") for frame in after.decode(video=0)]
    assert 1 <= len(frames) <= 12
    assert np.abs(frames[0].astype(int) - (255 - first)).mean() < 12
    assert cli.main(arguments) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--strength", "2"), "--strength"),
        (("--fps", "0"), "--fps"),
        (("--source", "nowhere.mp4"), "nowhere.mp4"),
    ],
)
def test_connect_refuses_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    out = str(tmp_path / "out.mp4")
    assert cli.main(["connect", "--sink", out, "--source", "x.mp4", *arguments]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("lsdjax: ") and errors.count("\n") == 1 and words in errors


def test_connect_says_where_there_is_no_server(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--source", str(clip), "--sink", str(tmp_path / "o.mp4")]
    assert cli.main(["connect", *options, "--url", "http://127.0.0.1:9"]) == 2
    assert "cannot connect" in capsys.readouterr().err
    assert not (tmp_path / "o.mp4").exists()


def test_options_of_connect_are_checked() -> None:
    with pytest.raises(UserError, match="--strength"):
        ConnectOptions("webcam", "window", "http://x", "snow", strength=-1)


def test_a_token_of_the_command_line_is_one_that_a_server_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"0123456789abcdef\n")
    assert cli.main(["token", "--secret", str(secret), "--minutes", "2"]) == 0
    assert check_token(secret.read_bytes().strip(), capsys.readouterr().out.strip()).max_s == 120
    assert cli.main(["token", "--secret", str(secret), "--hours", "0"]) == 2
    assert "--hours" in capsys.readouterr().err


# -- the benchmark -------------------------------------------------------------------------------


def test_bench_measures_the_protocol_alone_behind_a_slow_link(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = BenchServeOptions(
        instant=True, size="64x48", link=4.0, minutes=0.05, fps=10, switch=0.5
    )
    (run,) = bench_serve(options)["runs"]
    assert run["sent"] > 0 and run["broken_accounts"] == 0
    assert run["received"] == run["sent"] + sum(run["dropped"].values())
    assert run["received"] <= run["offered"] <= 60
    assert run["prompt_to_effect_ms"]["p50"] > 0
    assert run["memory_mb"]["end"] > 1 and run["open_files"]["end"] > 3
    table = capsys.readouterr().out
    assert "effect" in table and "memory_mb" in table


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_bench_kills_a_worker_and_lets_clients_vanish(capsys: pytest.CaptureFixture[str]) -> None:
    options = BenchServeOptions(
        instant=True, size="64x48", seconds=12.0, fps=5, switch=None, kill=True, disconnects=6
    )
    (run,) = bench_serve(options)["runs"]
    assert len(run["recovery_ms"]) == 1 and run["recovery_ms"][0] > 0
    assert run["reconnects"] == 0 and run["broken_accounts"] == 0
    assert "from the kill" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kill": True, "url": "http://x"}, "--kill"),
        ({"disconnects": -1}, "disconnects"),
        ({"sessions": (0,)}, "sessions"),
        ({"minutes": 0.0}, "minutes"),
        ({"link": -1.0}, "link"),
        ({"codec": "gif"}, "gif"),
        ({"instant": True, "url": "http://x"}, "--instant"),
    ],
)
def test_bench_refuses_what_it_cannot_measure(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        BenchServeOptions(**fields)


def test_figures_of_a_run_are_those_of_its_clients() -> None:
    stats = {"received": 10, "sent": 8, "dropped": dict.fromkeys(DROP_REASONS, 0) | {"egress": 2}}
    tallies = [
        Tally(
            ages_ms=[float(n) for n in range(1, 101)],
            arrivals_s=[0.04 * n + (0.01 if n == 50 else 0.0) for n in range(100)],
            effects_ms=[30.0, 50.0],
            stats=stats,
            offered=12,
        )
        for _ in range(2)
    ]
    run = summarise(tallies, seconds=4.0)
    assert run["fps"] == 25.0
    assert run["frame_age_ms"] == {"p50": 51.0, "p95": 96.0, "p99": 100.0, "max": 100.0}
    assert run["jitter_ms"] == pytest.approx(0.0, abs=0.05)  # two of a hundred intervals are off
    assert run["prompt_to_effect_ms"]["p50"] == 50.0
    assert (run["offered"], run["received"], run["sent"]) == (24, 20, 16)
    assert run["dropped"]["egress"] == 4
    assert percentile([], 50) is None
    assert "egress" in bench.as_table([run])


def test_a_soak_compares_its_end_with_its_beginning() -> None:
    samples = [(500.0 + second, 30) for second in range(100)]
    figures = soak_figures(samples, [0.0] * 100, [20.0] * 50 + [40.0] * 50)
    assert figures["memory_mb"] == {"begin": 514.5, "end": 594.5}
    assert figures["open_files"] == {"begin": 30.0, "end": 30.0}
    assert figures["frame_age_ms_median"] == {"begin": 20.0, "end": 40.0}
    assert soak_figures([], [], [])["memory_mb"] == {"begin": None, "end": None}


def test_the_instant_model_has_the_size_that_it_is_told() -> None:
    streamer, _ = make("320x240", None, None, None, None, lambda _: None)
    assert isinstance(streamer, InstantStreamer) and streamer.size == (240, 320)
    with pytest.raises(UserError, match="12x"):
        make("12x", None, None, None, None, lambda _: None)


def test_the_proxy_is_as_slow_as_it_is_told_and_loses_nothing() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(30_000))
        await writer.drain()
        writer.close()

    async def work() -> None:
        target = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = target.sockets[0].getsockname()[1]
        async with ThrottledProxy("127.0.0.1", port, 4) as proxy:
            start = asyncio.get_running_loop().time()
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            data = bytes(range(250)) * 120
            writer.write(data)
            assert await reader.readexactly(30_000) == data
            took_s = asyncio.get_running_loop().time() - start
            assert took_s >= 0.06  # 30 KB each way, at half a megabyte a second
            writer.close()
        target.close()

    run(work())
