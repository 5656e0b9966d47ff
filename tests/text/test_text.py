"""Prompts become words, words become pieces."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lsdjax.core.errors import UserError
from lsdjax.text.encoder import TextEncoder
from lsdjax.text.tokenizer import BUCKETS, MAX_WORDS, tokenize


def test_tokens_are_stable_and_ignore_case_and_punctuation() -> None:
    ids = tokenize("Pencil sketch!")
    np.testing.assert_array_equal(ids, tokenize("pencil, SKETCH"))
    assert ids.dtype == np.int32 and ids.max() < BUCKETS
    assert (ids[:2, 0] > 0).all() and (ids[2:] == 0).all()
    assert ids[0, 0] == 7866  # the hash must never change: shipped weights depend on it


def test_related_words_share_pieces() -> None:
    sketch, sketches, snow = (
        set(tokenize(w)[0].tolist()) - {0} for w in ("sketch", "sketches", "snow")
    )
    assert len(sketch & sketches) > len(sketch) / 2
    assert not sketch & snow


@pytest.mark.parametrize("prompt", ["", "   ", "?!", "_"])
def test_empty_prompts_are_refused(prompt: str) -> None:
    with pytest.raises(UserError, match="empty prompt"):
        tokenize(prompt)


def test_long_prompts() -> None:
    assert (tokenize("word " * 100)[:, 0] > 0).sum() == MAX_WORDS
    with pytest.raises(UserError, match="100000 characters"):
        tokenize("x" * 100_000)


def test_padding_does_not_change_the_embedding(random_like) -> None:
    graph, shapes = nnx.split(nnx.eval_shape(lambda: TextEncoder(32, 1, rngs=nnx.Rngs(0))))
    params = random_like(shapes)
    ids = jnp.asarray(tokenize("neon night"))
    embed = functools.partial(jax.jit(lambda params, ids: nnx.merge(graph, params)(ids)), params)
    embedding = embed(ids)
    assert embedding.mask.tolist() == [True, True] + [False] * (MAX_WORDS - 2)
    # A padded row that held garbage n-grams after an empty first piece is still padding.
    dirty = embed(ids.at[5, 3].set(7))
    np.testing.assert_allclose(dirty.pooled, embedding.pooled, atol=1e-6)
    other = embed(jnp.asarray(tokenize("night neon")))
    assert float(jnp.abs(other.pooled - embedding.pooled).max()) > 1e-4
