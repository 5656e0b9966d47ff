"""A text encoder of one's own: the words that the styles' phrases share, each a feature."""

import re
import zlib
from collections import Counter

import numpy as np

from lsdjax.data.phrases import PHRASES
from lsdjax.text import register_text_encoder

COUNTS = Counter(re.findall(r"\w+", " ".join(sum(PHRASES.values(), ())).lower()))
NUMBERS = {word: n for n, word in enumerate(sorted(w for w in COUNTS if COUNTS[w] > 2))}


class BagOfWords:
    """Each known word of a prompt in its own row; the model learns what to make of it."""

    width = len(NUMBERS)
    fingerprint = f"{zlib.crc32(' '.join(NUMBERS).encode()):08x}"

    def __call__(self, prompt: str) -> np.ndarray:
        known = [NUMBERS[word] for word in re.findall(r"\w+", prompt.lower()) if word in NUMBERS]
        return np.eye(self.width, dtype=np.float32)[known]


register_text_encoder("bag-of-words", BagOfWords)
