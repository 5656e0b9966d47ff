"""Prompt -> words -> hashed character n-grams.

Each word becomes the set of its character 3- to 5-grams plus the word itself, hashed into a fixed
number of buckets (Bojanowski et al. 2017, fastText): spelling variants and unseen inflections share
most of their pieces with words that were trained, and no vocabulary file has to ship.
"""

import re
import zlib

import numpy as np

from lsdjax.core.errors import UserError

BUCKETS = 16384
MAX_WORDS = 24
MAX_NGRAMS = 20
MAX_CHARACTERS = 2000

_WORD = re.compile(r"[^\W_]+")


def _pieces(word: str) -> list[str]:
    marked = f"<{word}>"
    grams = [marked[i : i + n] for n in (3, 4, 5) for i in range(len(marked) - n + 1)]
    return [marked, *(gram for gram in grams if gram != marked)]


def _bucket(piece: str) -> int:
    return 1 + zlib.crc32(piece.encode()) % (BUCKETS - 1)


def find_words(prompt: str) -> list[str]:
    """The words of a prompt in lower case; whatever reads prompts refuses those without any.

    Raises:
        UserError: the prompt has no word in it, or is longer than `MAX_CHARACTERS`.
    """
    if len(prompt) > MAX_CHARACTERS:
        raise UserError(
            f"prompt of {len(prompt)} characters; at most {MAX_CHARACTERS} characters are expected"
        )
    words = _WORD.findall(prompt.lower())
    if not words:
        raise UserError(
            f"empty prompt {prompt!r}; a few words such as 'pencil sketch' are expected"
        )
    return words


def tokenize(prompt: str) -> np.ndarray:
    """Hashed n-gram ids of a prompt: int32 (words, n-grams), 0 where there is nothing.

    Words past `MAX_WORDS` are left out.

    Raises:
        UserError: see `find_words`.
    """
    ids = np.zeros((MAX_WORDS, MAX_NGRAMS), np.int32)
    for row, word in enumerate(find_words(prompt)[:MAX_WORDS]):
        pieces = [_bucket(piece) for piece in _pieces(word)[:MAX_NGRAMS]]
        ids[row, : len(pieces)] = pieces
    return ids
