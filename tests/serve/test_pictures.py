"""H.264 and the post-processing of pictures, without sockets."""

import numpy as np
import pytest
import simplejpeg

from lsdjax.serve.frames import DecodeError, Decoder, Encoder
from lsdjax.serve.post import Finish, Finisher, sharpen, steady
from lsdjax.serve.protocol import Codec, FrameHeader, Kind

HEIGHT, WIDTH = 48, 64
PURE = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 64, 200)]


def header(width: int = WIDTH, height: int = HEIGHT) -> FrameHeader:
    return FrameHeader(Kind.INPUT, Codec.H264, 0, width, height)


def plain(colour: tuple[int, int, int]) -> np.ndarray:
    return np.broadcast_to(np.array(colour, np.uint8), (HEIGHT, WIDTH, 3)).copy()


def test_colours_survive_h264_because_both_sides_mean_bt709() -> None:
    encoder, decoder = Encoder(Codec.H264), Decoder(HEIGHT * WIDTH)
    for colour in PURE:
        encoder.ask_for_key()
        payload, key = encoder.encode(plain(colour))
        assert key and bytes(payload).startswith(b"\0\0\0\1")
        picture = decoder.decode(header(), memoryview(payload))
        assert np.abs(picture.astype(int) - colour).max() <= 4


@pytest.mark.parametrize(("side", "subsampling"), [(128, "444"), (512, "420")])
def test_jpeg_gives_up_colour_resolution_only_where_pictures_are_large(
    side: int, subsampling: str
) -> None:
    payload, _ = Encoder(Codec.JPEG).encode(np.zeros((side, side, 3), np.uint8))
    assert simplejpeg.decode_jpeg_header(payload)[3] == subsampling


def test_every_h264_frame_comes_out_at_once_and_keys_only_where_asked_for() -> None:
    encoder, decoder = Encoder(Codec.H264), Decoder(HEIGHT * WIDTH)
    keys = []
    for index in range(12):
        if index == 7:
            encoder.ask_for_key()
        frame = plain((20 * index, 100, 250 - 20 * index))
        payload, key = encoder.encode(frame)
        keys.append(key)
        picture = decoder.decode(header(), memoryview(payload))
        assert np.abs(picture.astype(int) - frame).mean() < 12
    assert [index for index, key in enumerate(keys) if key] == [0, 7]


def test_a_late_listener_can_begin_at_a_key_and_not_before() -> None:
    encoder = Encoder(Codec.H264)
    encoder.encode(plain((0, 0, 0)))
    later, _ = encoder.encode(plain((90, 90, 90)))
    encoder.ask_for_key()
    key, _ = encoder.encode(plain((50, 60, 70)))
    decoder = Decoder(HEIGHT * WIDTH)
    with pytest.raises(DecodeError):
        decoder.decode(header(), memoryview(later))
    picture = decoder.decode(header(), memoryview(key))
    assert np.abs(picture.astype(int) - (50, 60, 70)).max() <= 4


@pytest.mark.parametrize("payload", [b"", b"x", b"\0\0\0\1", bytes(500), b"\0\0\0\1\x67" * 30])
def test_what_is_no_h264_is_a_decode_error_and_the_decoder_goes_on(payload: bytes) -> None:
    decoder = Decoder(HEIGHT * WIDTH)
    with pytest.raises(DecodeError):
        decoder.decode(header(), memoryview(payload))
    good, _ = Encoder(Codec.H264).encode(plain((9, 9, 9)))
    assert decoder.decode(header(), memoryview(good)).shape == (HEIGHT, WIDTH, 3)


def test_h264_of_more_pixels_than_allowed_or_another_size_is_refused() -> None:
    payload, _ = Encoder(Codec.H264).encode(plain((1, 2, 3)))
    with pytest.raises(DecodeError):
        Decoder(HEIGHT * WIDTH - 1).decode(header(), memoryview(payload))
    with pytest.raises(DecodeError, match="64x48, the header says 32x48"):
        Decoder(HEIGHT * WIDTH).decode(header(width=32), memoryview(payload))


def test_no_post_processing_changes_nothing() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    assert Finish().does_nothing and not Finish(sharpen=0.1).does_nothing
    out = Finisher().apply(picture, Finish(), discontinuity=False)
    np.testing.assert_array_equal(out, picture)


def test_steadying_removes_flicker_and_leaves_motion() -> None:
    random = np.random.default_rng(0)
    finisher, how = Finisher(), Finish(stabilise=1.0)
    noisy, steadied = [], []
    for index in range(30):
        noise = random.normal(0, 3, (HEIGHT, WIDTH, 3))
        frame = np.clip(100 + noise, 0, 255).astype(np.uint8)
        frame[10:20, index : index + 10] = 250
        out = finisher.apply(frame, how, discontinuity=index == 0)
        assert np.abs(out[10:20, index : index + 10].astype(int) - 250).max() <= 1  # no trail
        noisy.append(frame[30:, :].astype(float))
        steadied.append(out[30:, :].astype(float))
    assert np.std(steadied[10:], axis=0).mean() < 0.6 * np.std(noisy[10:], axis=0).mean()


def test_a_discontinuity_steadies_nothing_over() -> None:
    new, old = np.full((4, 4, 3), 100.0), np.full((4, 4, 3), 104.0)
    assert steady(new, old, 1.0)[0, 0, 0] > 102
    np.testing.assert_array_equal(steady(new, None, 1.0), new)
    finisher, how = Finisher(), Finish(stabilise=1.0)
    finisher.apply(np.full((4, 4, 3), 104, np.uint8), how, discontinuity=True)
    out = finisher.apply(np.full((4, 4, 3), 100, np.uint8), how, discontinuity=True)
    assert (out == 100).all()


def test_sharpening_keeps_the_mean_of_what_is_plain_and_deepens_edges() -> None:
    picture = np.zeros((8, 8, 3))
    picture[:, 4:] = 100.0
    out = sharpen(picture, 1.0)
    np.testing.assert_allclose(out[:, :3], 0.0, atol=1e-9)
    assert out[4, 3, 0] < 0 and out[4, 4, 0] > 100
    np.testing.assert_allclose(sharpen(picture, 0.0), picture)


def test_enlarging_makes_the_picture_larger_and_not_another() -> None:
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[:, WIDTH // 2 :] = (200, 100, 50)
    out = Finisher().apply(picture, Finish(scale=3), discontinuity=False)
    assert out.shape == (3 * HEIGHT, 3 * WIDTH, 3)
    assert np.abs(out[5, -5].astype(int) - (200, 100, 50)).max() <= 1
    assert (out[5, 5] == 0).all()
