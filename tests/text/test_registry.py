"""Text encoders of a user's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lsdjax.core.errors import UserError
from lsdjax.text import register_text_encoder
from lsdjax.text.encoder import TextEncoder
from lsdjax.text.registry import TEXT_ENCODERS, load_encoder, padded
from lsdjax.text.tokenizer import MAX_WORDS


class Lengths:
    """Each word's length, and one."""

    width = 2
    fingerprint = "lengths-1"

    def __call__(self, prompt: str) -> np.ndarray:
        return np.array([[len(word), 1] for word in prompt.split()])


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TEXT_ENCODERS, "_entries", {})


def test_a_registered_encoder_is_found_by_its_name() -> None:
    register_text_encoder("lengths", Lengths)
    name, encoder = load_encoder("lengths")
    assert name == "lengths" and encoder.fingerprint == "lengths-1"
    tokens = padded(name, encoder)("pencil art")
    assert tokens.dtype == np.float32
    np.testing.assert_array_equal(tokens, [[6, 1], [3, 1]] + [[0, 0]] * (MAX_WORDS - 2))
    assert padded(name, encoder)("word " * 100).tolist() == [[4, 1]] * MAX_WORDS


def test_what_cannot_be_found_is_one_clear_line() -> None:
    register_text_encoder("lengths", Lengths)
    with pytest.raises(UserError, match=r"no text encoder 'width'.* or one of \['lengths'\]"):
        load_encoder("width")
    for name in ("ngrams", "bert"):
        with pytest.raises(UserError, match=f"'{name}' is built in"):
            register_text_encoder(name, Lengths)
    with pytest.raises(UserError, match="text encoder 'lengths' exists already"):
        register_text_encoder("lengths", Lengths)


def test_an_encoder_that_cannot_start_is_named() -> None:
    register_text_encoder("broken", lambda: Lengths(1))  # pyright: ignore[reportCallIssue]
    with pytest.raises(UserError, match="text encoder 'broken': TypeError: "):
        load_encoder("broken")


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((3, 5)), r"made features \(3, 5\) of 'snow'; \(words, 2\) is expected"),
        (np.zeros(2), r"made features \(2,\)"),
        (np.array([[1, np.nan]]), "not finite"),
    ],
)
def test_bad_features_are_refused(features: np.ndarray, message: str) -> None:
    class Bad(Lengths):
        def __call__(self, prompt: str) -> np.ndarray:
            return features

    with pytest.raises(UserError, match=message):
        padded("bad", Bad())("snow")


@pytest.mark.parametrize(("prompt", "message"), [("?!", "empty prompt"), ("x" * 9999, "9999")])
def test_every_encoder_refuses_the_same_prompts(prompt: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        padded("lengths", Lengths())(prompt)


def test_rows_of_zeros_and_the_scale_do_not_change_the_embedding(random_like) -> None:
    encoder = nnx.eval_shape(lambda: TextEncoder(32, 1, width=5, rngs=nnx.Rngs(0)))
    graph, shapes = nnx.split(encoder)
    params = random_like(shapes)
    embed = jax.jit(lambda tokens: nnx.merge(graph, params)(tokens))
    tokens = np.zeros((MAX_WORDS, 5), np.float32)
    tokens[:3] = np.random.default_rng(0).standard_normal((3, 5))
    first = embed(jnp.asarray(tokens))
    assert first.mask.tolist() == [True] * 3 + [False] * (MAX_WORDS - 3)
    np.testing.assert_allclose(embed(jnp.asarray(40 * tokens)).pooled, first.pooled, atol=1e-5)
    assert float(jnp.abs(embed(jnp.asarray(tokens[::-1])).pooled - first.pooled).max()) > 1e-3
    nothing = embed(jnp.zeros((MAX_WORDS, 5)))
    assert not nothing.mask.any() and np.isfinite(nothing.pooled).all()
