"""A small prompt encoder, trained together with the model."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from lsdjax.text.tokenizer import BUCKETS, MAX_WORDS

PIECE_DIM = 64


class PromptEmbedding(NamedTuple):
    """words (MAX_WORDS, dim), mask (MAX_WORDS,) bool, pooled (dim,)."""

    words: jax.Array
    mask: jax.Array
    pooled: jax.Array


class TextEncoder(nnx.Module):
    """Mean of hashed n-gram embeddings a word, self-attention over the words, attention pooling.

    Pooling by a learned query lets the words that name a style outweigh the words that describe
    what the video shows.
    """

    def __init__(self, dim: int, depth: int, *, rngs: nnx.Rngs) -> None:
        self.heads = 4
        normal = jax.nn.initializers.normal
        self.pieces = nnx.Param(normal(0.3)(rngs.params(), (BUCKETS, PIECE_DIM), jnp.float32))
        self.project = nnx.Linear(PIECE_DIM, dim, rngs=rngs)
        self.position = nnx.Param(normal(0.02)(rngs.params(), (MAX_WORDS, dim), jnp.float32))
        self.qkv = nnx.List([nnx.Linear(dim, 3 * dim, rngs=rngs) for _ in range(depth)])
        self.out = nnx.List([nnx.Linear(dim, dim, rngs=rngs) for _ in range(depth)])
        self.norms = nnx.List([nnx.LayerNorm(dim, rngs=rngs) for _ in range(2 * depth + 1)])
        self.up = nnx.List([nnx.Linear(dim, 2 * dim, rngs=rngs) for _ in range(depth)])
        self.down = nnx.List([nnx.Linear(2 * dim, dim, rngs=rngs) for _ in range(depth)])
        self.score = nnx.Linear(dim, 1, rngs=rngs)
        self.null_words = nnx.Param(normal(0.5)(rngs.params(), (MAX_WORDS, dim), jnp.float32))
        self.null_pooled = nnx.Param(normal(0.5)(rngs.params(), (dim,), jnp.float32))

    def __call__(self, ids: jax.Array) -> PromptEmbedding:
        """Embed one tokenised prompt, ids (MAX_WORDS, n-grams) int32 with 0 as padding."""
        present = (ids > 0).astype(jnp.float32)
        summed = jnp.einsum("wgc,wg->wc", self.pieces[...][ids], present)
        mask = present[:, 0] > 0
        x = summed / jnp.maximum(jnp.sqrt(present.sum(axis=1)), 1.0)[:, None]
        x = self.project(x) + self.position[...]
        for i in range(len(self.qkv)):
            x = x + self.out[i](self._attend(self.qkv[i](self.norms[2 * i](x)), mask))
            x = x + self.down[i](jax.nn.gelu(self.up[i](self.norms[2 * i + 1](x))))
        x = self.norms[-1](x)
        scores = jnp.where(mask, self.score(x)[:, 0], -1e30)
        return PromptEmbedding(x, mask, jax.nn.softmax(scores) @ x)

    def null(self) -> PromptEmbedding:
        """The embedding of no prompt, for guidance (Ho & Salimans 2022)."""
        mask = jnp.arange(MAX_WORDS) == 0
        return PromptEmbedding(self.null_words[...], mask, self.null_pooled[...])

    def _attend(self, qkv: jax.Array, mask: jax.Array) -> jax.Array:
        q, k, v = (part.reshape(MAX_WORDS, self.heads, -1) for part in jnp.split(qkv, 3, axis=-1))
        logits = jnp.einsum("qhd,khd->hqk", q, k) / math.sqrt(q.shape[-1])
        weights = jax.nn.softmax(jnp.where(mask[None, None, :], logits, -1e30), axis=-1)
        return jnp.einsum("hqk,khd->qhd", weights, v).reshape(MAX_WORDS, -1)
