"""The part of the model that reads prompts, trained together with it."""

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
    """An embedding of each word, self-attention over the words, attention pooling.

    A word is the mean of its hashed n-grams' embeddings or, with `width`, the projection of what a
    frozen encoder makes of it. Pooling by a learned query lets the words that name a style outweigh
    the words that describe what the video shows.
    """

    def __init__(self, dim: int, depth: int, *, width: int = 0, rngs: nnx.Rngs) -> None:
        """width: features a word of a frozen encoder; 0 is a trained table of n-grams."""
        self.heads = 4
        normal = jax.nn.initializers.normal
        table = (BUCKETS, PIECE_DIM)
        self.pieces = None if width else nnx.Param(normal(0.3)(rngs.params(), table, jnp.float32))
        self.project = nnx.Linear(width or PIECE_DIM, dim, rngs=rngs)
        self.position = nnx.Param(normal(0.02)(rngs.params(), (MAX_WORDS, dim), jnp.float32))
        self.qkv = nnx.List([nnx.Linear(dim, 3 * dim, rngs=rngs) for _ in range(depth)])
        self.out = nnx.List([nnx.Linear(dim, dim, rngs=rngs) for _ in range(depth)])
        self.norms = nnx.List([nnx.LayerNorm(dim, rngs=rngs) for _ in range(2 * depth + 1)])
        self.up = nnx.List([nnx.Linear(dim, 2 * dim, rngs=rngs) for _ in range(depth)])
        self.down = nnx.List([nnx.Linear(2 * dim, dim, rngs=rngs) for _ in range(depth)])
        self.score = nnx.Linear(dim, 1, rngs=rngs)
        self.null_words = nnx.Param(normal(0.5)(rngs.params(), (MAX_WORDS, dim), jnp.float32))
        self.null_pooled = nnx.Param(normal(0.5)(rngs.params(), (dim,), jnp.float32))

    def __call__(self, tokens: jax.Array) -> PromptEmbedding:
        """Embed one prompt, of which its `Tokenizer` made `tokens`.

        Either n-gram ids (MAX_WORDS, n-grams) int32 with 0 as padding, or features of a frozen
        encoder (MAX_WORDS, width) float32 with rows of zeros as padding.
        """
        if self.pieces is None:
            mask = jnp.any(tokens != 0, axis=1)
            # Frozen encoders differ in scale: as in RMSNorm (Zhang & Sennrich 2019), none counts.
            x = tokens * jax.lax.rsqrt(jnp.mean(tokens**2, axis=1, keepdims=True) + 1e-6)
        else:
            present = (tokens > 0).astype(jnp.float32)
            summed = jnp.einsum("wgc,wg->wc", self.pieces[...][tokens], present)
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
