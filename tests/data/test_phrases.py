"""The phrase tables are broad and unambiguous, and sampling from them is reproducible."""

import string
from collections import Counter

import numpy as np
import pytest

from lsdjax.core.errors import UserError
from lsdjax.data.phrase_tables import (
    ALONE_CONTENT,
    CONTENT,
    CONTENT_PHRASES,
    NOUN_TEMPLATES,
    PHRASES,
)
from lsdjax.data.phrases import TEMPLATES, fill_template, is_noun_like, sample_phrase

NAMES = [
    "pencil_sketch",
    "cartoon",
    "sepia_film",
    "thermal_camera",
    "neon_edges",
    "pixel_art",
    "blueprint",
    "watercolour",
    "comic_halftone",
    "night_vision",
    "negative",
    "snow",
    "motion_trails",
    "long_exposure",
    "colourise",
    "sharpen",
    "fill_mask",
    "original",
]


def slots(template: str) -> list[str]:
    return [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]


def test_the_styles_are_all_there_in_order() -> None:
    assert list(PHRASES) == NAMES
    assert list(CONTENT_PHRASES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_style_has_many_phrases(name: str) -> None:
    assert len(PHRASES[name]) >= 85
    assert len(CONTENT_PHRASES[name]) >= 28
    assert all(0 < len(phrase.split()) <= 10 for phrase in PHRASES[name])
    assert not any("{" in phrase or "}" in phrase for phrase in PHRASES[name])


def test_no_phrase_names_two_styles_or_is_listed_twice() -> None:
    counts = Counter(phrase.lower() for phrases in PHRASES.values() for phrase in phrases)
    assert [phrase for phrase, count in counts.items() if count > 1] == []


def test_content_is_broad_and_is_not_a_phrase() -> None:
    contents = CONTENT + ALONE_CONTENT
    assert len(contents) >= 900
    assert len(set(contents)) == len(contents)
    phrases = {phrase.lower() for table in PHRASES.values() for phrase in table}
    assert phrases.isdisjoint(contents)


def test_there_are_many_templates() -> None:
    assert len(TEMPLATES) >= 130
    assert len(set(TEMPLATES)) == len(TEMPLATES)
    assert "{style}" in TEMPLATES


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_works(template: str) -> None:
    assert slots(template).count("style") == 1
    assert set(slots(template)) <= {"style", "content", "content2"}
    text = fill_template(template, "a cartoon", "red car", "blue door")
    assert "a cartoon" in text
    assert "{" not in text and "}" not in text


@pytest.mark.parametrize("name", NAMES)
def test_a_phrase_about_a_content_works(name: str) -> None:
    for template in CONTENT_PHRASES[name]:
        assert "content" in slots(template)
        assert set(slots(template)) <= {"content", "content2"}
        text = fill_template(template, "", "red car", "blue door")
        assert "red car" in text


def test_the_article_agrees_with_the_content() -> None:
    assert fill_template("a {content}: {style}", "snow", "owl", "cat") == "an owl: snow"
    assert fill_template("a {content}: {style}", "snow", "cat", "owl") == "a cat: snow"
    assert fill_template("a {content2}: {style}", "snow", "cat", "owl") == "an owl: snow"


def test_a_content_that_takes_no_article_gets_none() -> None:
    template = "the {content} by a {content2}, {style}"
    assert fill_template(template, "snow", "my dad", "river") == "my dad by a river, snow"
    assert fill_template(template, "snow", "river", "two dogs") == "the river by two dogs, snow"


def test_no_sample_gives_an_article_to_a_content_that_takes_none() -> None:
    rng = np.random.default_rng(0)
    texts = [sample_phrase(rng, name).lower() for name in NAMES for _ in range(500)]
    assert any("my grandmother" in text for text in texts)
    for article in ("a", "an", "the", "this", "black and white", "blocky"):
        assert not any(f" {article} my grandmother" in f" {text}" for text in texts)


def test_orders_are_told_from_things() -> None:
    assert not is_noun_like("make it snow")
    assert not is_noun_like("Leave it alone")
    assert not is_noun_like("sharpen, crisp")
    assert is_noun_like("a pencil drawing")
    assert len(NOUN_TEMPLATES) < len(TEMPLATES)


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_reproducible_varied_and_complete(name: str) -> None:
    def draw(seed: int) -> list[str]:
        rng = np.random.default_rng(seed)
        return [sample_phrase(rng, name) for _ in range(300)]

    first = draw(7)
    assert first == draw(7)
    assert first != draw(8)
    assert len(set(first)) > 200
    for text in first:
        assert text.strip() == text != ""
        assert "{" not in text and "}" not in text and "\n" not in text
        assert len(text) < 300


def test_about_two_in_five_samples_are_bare_phrases() -> None:
    rng = np.random.default_rng(0)
    bare = {phrase.lower() for phrase in PHRASES["snow"]}
    drawn = [sample_phrase(rng, "snow").rstrip(".!").lower() for _ in range(2000)]
    assert 0.3 < np.mean([text in bare for text in drawn]) < 0.5


def test_an_unknown_style_is_refused() -> None:
    with pytest.raises(UserError, match="no style 'no_such_style'; one of pencil_sketch, "):
        sample_phrase(np.random.default_rng(0), "no_such_style")
