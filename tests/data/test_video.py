import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream

from lsdjax.core.errors import UserError
from lsdjax.data.video import VideoWriter, fit_frame, load_image, open_source

NAMES = {(1, 0, 0): "R", (0, 1, 0): "G", (0, 0, 1): "B", (1, 1, 1): "W"}


def corners(frame: np.ndarray) -> str:
    """Colours of the four quarters, row by row."""
    h, w = frame.shape[:2]
    points = [(y, x) for y in (h // 4, 3 * h // 4) for x in (w // 4, 3 * w // 4)]
    return "".join(NAMES.get(tuple((frame[p] > 127).astype(int).tolist()), "?") for p in points)


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2)))


def refusal(source: Path | str) -> str:
    """The message that a source is refused with, by opening it or by reading it."""
    with pytest.raises(UserError) as caught, open_source(source) as opened:
        for _ in opened:
            pass
    message = str(caught.value)
    assert "\n" not in message
    assert str(source) in message
    return message


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mp4", "libx264", "yuv444p10le"),
        ("a.mkv", "ffv1", "yuva420p"),
        ("a.mkv", "ffv1", "bgr0"),
        ("a.avi", "mjpeg", "yuvj420p"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.gif", "gif", "rgb8"),
        ("a.mov", "png", "rgb48be"),
    ],
)
def test_any_pixel_format_becomes_rgb(write_video, tmp_path, name, codec, pix_fmt):
    path = write_video(tmp_path / name, codec=codec, pix_fmt=pix_fmt)
    with open_source(path) as source:
        assert (source.width, source.height, source.frame_count) == (64, 48, 12)
        assert source.fps == pytest.approx(12, abs=0.5)
        frames = list(source)
    assert len(frames) == 12
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
    assert {frame.dtype for frame in frames} == {np.dtype(np.uint8)}
    assert corners(frames[5]) == "RGBW"


@pytest.mark.parametrize("pix_fmt", ["gray", "gray10le"])
def test_grey_video_of_odd_size_has_three_equal_channels(write_video, tmp_path, pix_fmt):
    path = write_video(tmp_path / "grey.mkv", codec="ffv1", pix_fmt=pix_fmt, height=49, width=65)
    with open_source(path) as source:
        frame = next(iter(source))
    assert frame.shape == (49, 65, 3)
    assert np.ptp(frame.astype(int), axis=-1).max() <= 1


@pytest.mark.parametrize(
    ("matrix", "size", "expected"),
    [
        ((0, 1, -1, 0), (64, 48), "BRWG"),  # a quarter turn clockwise, as phones write it
        ((0, -1, 1, 0), (64, 48), "GWRB"),
        ((-1, 0, 0, -1), (48, 64), "WBGR"),
        ((-1, 0, 0, 1), (48, 64), "GRWB"),  # mirrored
        ((1, 0, 0, -1), (48, 64), "BWRG"),
        ((0, 1, 1, 0), (64, 48), "RBGW"),
    ],
)
def test_display_matrix_is_applied(write_video, tmp_path, matrix, size, expected):
    path = write_video(tmp_path / "turned.mp4", matrix=matrix)
    with open_source(path) as source:
        assert (source.height, source.width) == size
        frame = next(iter(source))
    assert frame.shape == (*size, 3)
    assert corners(frame) == expected


def test_wide_pixels_are_stretched_to_square_ones(tmp_path, picture_of):
    path = tmp_path / "anamorphic.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)
        frame = av.VideoFrame.from_ndarray(picture_of(48, 64), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with open_source(path) as source:
        assert (source.width, source.height) == (96, 48)
        assert next(iter(source)).shape == (48, 96, 3)


def test_variable_spacing_survives_reading_and_writing(tmp_path, picture_of):
    times = [0.0, 0.1, 0.15, 0.8, 0.85, 2.0]
    path = tmp_path / "variable.mp4"
    with VideoWriter(path, fps=25, height=48, width=64) as writer:
        for index, time_s in enumerate(times):
            writer.write(picture_of(48, 64, index), time_s)
    with open_source(path) as source:
        read = [time_s for time_s, _ in source.timed()]
    assert read == pytest.approx(times, abs=1e-3)


def test_folder_of_pictures_plays_in_the_order_of_names(tmp_path, picture_of):
    for index, name in enumerate(["b.png", "a.jpg", "c.webp"]):
        codec = {"png": "png", "jpg": "mjpeg", "webp": "libwebp"}[name[2:]]
        format_of = {"png": "rgb24", "jpg": "yuvj420p", "webp": "yuv420p"}[name[2:]]
        image = picture_of(48, 64 + 16 * index)
        with av.open(str(tmp_path / name), "w", format="image2") as container:
            stream = container.add_stream(codec, rate=1)
            assert isinstance(stream, VideoStream)
            stream.height, stream.width, stream.pix_fmt = 48, 64 + 16 * index, format_of
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
    (tmp_path / "notes.txt").write_text("not a picture")
    with open_source(tmp_path) as source:
        assert (source.width, source.height, source.frame_count) == (80, 48, 3)
        frames = list(source)
    assert [frame.shape for frame in frames] == [(48, 80, 3)] * 3
    assert [corners(frame) for frame in frames] == ["RGBW"] * 3
    assert load_image(tmp_path / "b.png").shape == (48, 64, 3)


def test_a_colon_in_a_name_is_no_protocol(write_video, tmp_path):
    path = write_video(tmp_path / "plain.mp4").rename(tmp_path / "take:1.mp4")
    with open_source(path) as source:
        assert len(list(source)) == 12


def test_missing_file_is_refused(tmp_path):
    assert "no such file" in refusal(tmp_path / "missing.mp4")


def test_text_named_mp4_is_refused(tmp_path):
    path = tmp_path / "text.mp4"
    path.write_text("this is no video\n" * 100)
    assert "neither a video nor a picture" in refusal(path)


def test_empty_file_and_empty_folder_are_refused(tmp_path):
    path = tmp_path / "empty.mp4"
    path.touch()
    assert "an empty file" in refusal(path)
    (tmp_path / "folder").mkdir()
    assert "an empty folder" in refusal(tmp_path / "folder")


def test_sound_without_pictures_is_refused(tmp_path):
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 800), np.int16), format="s16", layout="mono"
        )
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert "no video in it" in refusal(path)


def test_missing_camera_is_refused():
    assert "no such camera" in refusal("93")


@pytest.mark.parametrize(
    ("width", "height", "codec", "pix_fmt"),
    [(1, 1, "libx264", "yuv444p"), (20_000, 16, "mjpeg", "yuvj420p")],
)
def test_absurd_sizes_are_refused_by_their_header(
    write_video, tmp_path, width, height, codec, pix_fmt
):
    path = write_video(
        tmp_path / "size.mp4", frames=1, width=width, height=height, codec=codec, pix_fmt=pix_fmt
    )
    assert f"{width}x{height} pixels; a side must have 16 to 8192" in refusal(path)


def test_truncated_mp4_yields_its_frames_and_then_says_so(truncated_video):
    frames = []
    with (
        open_source(truncated_video) as source,
        pytest.raises(UserError, match=r"truncated\.mp4: (truncated|damaged)"),
    ):
        for frame in source:
            frames.append(frame)
    assert 10 < len(frames) < 36


def test_truncated_mp4_without_its_index_is_refused(write_video, tmp_path):
    path = write_video(tmp_path / "cut.mp4", frames=36, noise=True)
    path.write_bytes(path.read_bytes()[:-2000])
    assert "truncated or still being written" in refusal(path)


def test_truncated_matroska_is_noticed_by_its_duration(write_video, tmp_path):
    path = write_video(tmp_path / "cut.mkv", frames=36, noise=True)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert "truncated" in refusal(path)


def test_damage_in_the_middle_is_reported_where_it_is(write_video, tmp_path):
    path = write_video(tmp_path / "damaged.mp4", frames=36, noise=True)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    path.write_bytes(data)
    assert "damaged after frame" in refusal(path)


def test_written_video_is_tagged_and_keeps_its_colours(tmp_path):
    colours = np.array([[255, 0, 0], [0, 255, 0], [200, 100, 50], [30, 60, 220]], np.uint8)
    image = np.repeat(np.repeat(colours[None], 16, axis=1), 64, axis=0)
    path = tmp_path / "colours.mp4"
    with VideoWriter(path, fps=30000 / 1001, height=64, width=64) as writer:
        for _ in range(5):
            writer.write(image)
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        tags = context.colorspace, context.color_primaries, context.color_trc, context.color_range
        assert tags == (1, 1, 1, 1)
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
    with open_source(path) as source:
        assert source.fps == pytest.approx(29.97, abs=0.01)
        assert source.frame_count == 5
        last = list(source)[-1]
    assert np.abs(last[32, 8::16].astype(int) - colours).max() <= 4


def test_odd_sizes_are_padded(tmp_path):
    path = tmp_path / "odd.mp4"
    with VideoWriter(path, fps=10, height=33, width=35) as writer:
        writer.write(np.full((33, 35, 3), 90, np.uint8))
    with open_source(path) as source:
        frame = next(iter(source))
    assert frame.shape == (34, 36, 3)
    assert np.abs(frame.astype(int) - 90).max() <= 3


def test_nothing_is_left_of_a_video_that_failed(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"as it was")
    with (
        pytest.raises(RuntimeError, match="halfway"),
        VideoWriter(path, fps=10, height=32, width=32) as writer,
    ):
        writer.write(np.zeros((32, 32, 3), np.uint8))
        raise RuntimeError("halfway")
    assert path.read_bytes() == b"as it was"
    with (
        pytest.raises(UserError, match="no frame to write"),
        VideoWriter(path, fps=10, height=32, width=32),
    ):
        pass
    assert list(tmp_path.iterdir()) == [path]


def test_bad_outputs_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"must end in \.mp4"):
        VideoWriter(tmp_path / "out.gif", fps=10, height=32, width=32)
    with pytest.raises(UserError, match="cannot be written"):
        VideoWriter(tmp_path / "nowhere" / "out.mp4", fps=10, height=32, width=32)
    with (
        pytest.raises(ValueError, match=r"\(32, 32, 3\)"),
        VideoWriter(tmp_path / "out.mp4", fps=10, height=32, width=32) as writer,
    ):
        writer.write(np.zeros((32, 16, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def area_mean(size: int, target: int) -> np.ndarray:
    """(target, size): each output is the mean over its share of the inputs."""
    edges = np.arange(target + 1) * size / target
    low = np.maximum(edges[:-1, None], np.arange(size)[None, :])
    high = np.minimum(edges[1:, None], np.arange(1, size + 1)[None, :])
    return np.maximum(high - low, 0) * target / size


@pytest.mark.parametrize("size", [(48, 64), (45, 50), (60, 110)])
def test_stretching_to_less_averages_over_areas(size: tuple[int, int]):
    rng = np.random.default_rng(1)
    frame = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    rows, columns = area_mean(120, size[0]), area_mean(160, size[1])
    expected = np.einsum("ai,ijc,bj->abc", rows, frame, columns, optimize=True)
    assert psnr_db(fit_frame(frame, *size, how="stretch"), expected) > 45


def test_cropping_keeps_the_centre_and_the_proportions():
    frame = np.zeros((60, 200, 3), np.uint8)
    frame[:, 70:130] = 255
    assert fit_frame(frame, 30, 30).min() == 255
    tall = np.ascontiguousarray(frame.swapaxes(0, 1))
    assert fit_frame(tall, 30, 30).min() == 255


def test_fitting_a_frame_that_fits_changes_nothing():
    frame = np.random.default_rng(2).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    np.testing.assert_array_equal(fit_frame(frame, 32, 48), frame)


def test_enlarging_keeps_plain_colours():
    frame = np.full((16, 16, 3), (10, 200, 250), np.uint8)
    large = fit_frame(frame, 64, 96, how="crop")
    assert large.shape == (64, 96, 3)
    assert np.abs(large.astype(int) - (10, 200, 250)).max() <= 2


def test_fit_refuses_what_is_no_frame():
    with pytest.raises(ValueError, match="uint8"):
        fit_frame(np.zeros((8, 8, 3), np.float32), 4, 4)
    with pytest.raises(ValueError, match="'squeeze'"):
        fit_frame(np.zeros((8, 8, 3), np.uint8), 4, 4, how="squeeze")  # pyright: ignore[reportArgumentType]


def test_video_needs_no_jax():
    code = "import sys, lsdjax.data.video; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
