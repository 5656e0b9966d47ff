"""Prompts that ask for a style, drawn at random from the tables of phrasings."""

import re
from collections.abc import Sequence

import numpy as np

from lsdjax.core.errors import UserError
from lsdjax.core.registry import Registry
from lsdjax.data import phrase_tables
from lsdjax.data.phrase_tables import (
    ALONE_CONTENT,
    CONTENT,
    CONTENT_PHRASES,
    NOT_THINGS,
    NOUN_TEMPLATES,
    PLAIN_TEMPLATES,
)

PHRASES: Registry[tuple[str, ...]] = Registry("style", phrase_tables.PHRASES)
"""What asks for each style; the first phrase stands for it where it is judged."""

MIN_PHRASES = 12

TEMPLATES: tuple[str, ...] = NOUN_TEMPLATES + PLAIN_TEMPLATES
"""All sentences: {style} once, and optionally {content} and {content2}."""

_ALONE = frozenset(ALONE_CONTENT)
_ANY_CONTENT = CONTENT + ALONE_CONTENT

_FREE_SLOT = re.compile(r"(?:^|[,:.?!-] |\b(?:a|the|this|my|our|of|for|with|as|and) )\{content2?\}")
"""A slot that a content without an article fits: no adjective stands between it and its article."""

_POLITE = ("please", "thanks", "thank you", "hey", "just", "pls", "now")


def register_phrases(name: str, phrases: Sequence[str]) -> None:
    """Let `phrases` ask for the style `name`.

    Raises:
        UserError: the style has phrases already, there are fewer than `MIN_PHRASES` different ones,
            one has no word in it or a brace, or asks for another style.
    """
    if isinstance(phrases, str):
        raise UserError(f"style {name!r}: phrases is one text; a tuple of texts is expected")
    said = list(dict.fromkeys(phrase.strip().lower() for phrase in phrases))
    if len(said) < MIN_PHRASES:
        raise UserError(
            f"style {name!r}: {len(said)} different phrases; at least {MIN_PHRASES} are expected"
        )
    taken = {phrase.lower(): other for other in PHRASES for phrase in PHRASES[other]}
    for phrase in said:
        if not re.search(r"[^\W_]", phrase) or "{" in phrase or "}" in phrase:
            raise UserError(f"style {name!r}: phrase {phrase!r}; words without braces are expected")
        if phrase in taken and taken[phrase] != name:
            raise UserError(f"style {name!r}: phrase {phrase!r} asks for {taken[phrase]!r} already")
    PHRASES.register(name, tuple(phrases))


def is_noun_like(phrase: str) -> bool:
    """Whether `phrase` stands for a thing, judged by its first word, and not for an order."""
    return re.split(r"[\s,]", phrase.lower(), maxsplit=1)[0] not in NOT_THINGS


def fill_template(template: str, style: str, content: str, content2: str) -> str:
    """Return `template` with its slots filled and the article before each content made to fit it.

    "a" becomes "an" before a vowel, and a content that takes no article loses the one before it.
    """
    template = _fit_article(template, "{content}", content)
    template = _fit_article(template, "{content2}", content2)
    return template.format(style=style, content=content, content2=content2)


def _fit_article(template: str, slot: str, content: str) -> str:
    if content in _ALONE:
        return re.sub(rf"\b(?:a|the|this|my|our) (?={re.escape(slot)})", "", template)
    article = "an" if content[:1].lower() in "aeiou" else "a"
    return re.sub(rf"\ba (?={re.escape(slot)})", f"{article} ", template)


def sample_phrase(rng: np.random.Generator, name: str) -> str:
    """Draw one prompt that asks for the style `name`.

    Two in five are a bare phrase of the table; the others are a sentence with random content.
    Case, the last mark, politeness and, rarely, a letter of a long word are then disturbed.

    Args:
        rng: where all randomness is drawn from; the same state gives the same prompt.
        name: a key of :data:`PHRASES`.

    Returns:
        The prompt: one line, not empty, without a slot left open.

    Raises:
        UserError: `name` is not a style.
    """
    phrase = _pick(rng, PHRASES[name])
    if rng.random() >= 0.4:
        phrase = _in_a_sentence(rng, name, phrase)
    return _disturb(rng, phrase)


def _pick(rng: np.random.Generator, table: tuple[str, ...]) -> str:
    return table[int(rng.integers(len(table)))]


def _in_a_sentence(rng: np.random.Generator, name: str, phrase: str) -> str:
    """Say `phrase`, or one of the style's phrases about a content, with random content."""
    if rng.random() < 0.4 and name in CONTENT_PHRASES:
        template = _pick(rng, CONTENT_PHRASES[name])
    elif is_noun_like(phrase) and rng.random() < 0.6:
        template = _pick(rng, NOUN_TEMPLATES)
    else:
        template = _pick(rng, PLAIN_TEMPLATES)
    every_slot_is_free = len(_FREE_SLOT.findall(template)) == template.count("{content")
    contents = _ANY_CONTENT if every_slot_is_free else CONTENT
    return fill_template(template, phrase, _pick(rng, contents), _pick(rng, contents))


def _disturb(rng: np.random.Generator, text: str) -> str:
    """Write `text` as one of many people would: polite, in a hurry, or with a slip."""
    if rng.random() < 0.1:
        word = _pick(rng, _POLITE)
        text = f"{word} {text}" if rng.random() < 0.5 else f"{text} {word}"
    if rng.random() < 0.06:
        text = _mistype(rng, text)
    casing = rng.random()
    if casing < 0.4:
        text = text.lower()
    elif casing < 0.7:
        text = text[:1].upper() + text[1:]
    elif casing < 0.74:
        text = text.upper()
    if not text.endswith(("?", ".", "!")):
        ending = rng.random()
        if ending < 0.15:
            text += "."
        elif ending < 0.21:
            text += "!"
    return text


def _mistype(rng: np.random.Generator, text: str) -> str:
    """Drop one inner letter of a word of six letters or more, or swap it with the next one."""
    words = [match.span() for match in re.finditer(r"[A-Za-z]{6,}", text)]
    if not words:
        return text
    start, end = words[int(rng.integers(len(words)))]
    at = int(rng.integers(start + 1, end - 1))
    if rng.random() < 0.5:
        return text[:at] + text[at + 1 :]
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
