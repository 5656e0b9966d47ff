"""The controller on looks that are made up: what is drift, and what is a scene that changes."""

import numpy as np
import pytest

from lsdjax.stream.controllers import COLOUR_LIMIT, LEARN_FRAMES, Controller, RepairEvent


def looks(given: float = 0.5, shown: float = 0.3, sharpness: float = 0.1) -> np.ndarray:
    """Brightness of the input and of the output; sharpness of the output."""
    rows = [[value] * 3 + [0.2] * 3 + [0.1, 0.1] for value in (given, shown)]
    rows[1][7] = sharpness
    return np.array(rows, np.float32)


def first(controller: Controller, frames: list[np.ndarray]) -> RepairEvent | None:
    events = (controller.judge(index, frame) for index, frame in enumerate(frames))
    return next((event for event in events if event is not None), None)


LEARN = [looks()] * LEARN_FRAMES


def test_a_steady_stream_has_not_drifted() -> None:
    rng = np.random.default_rng(0)
    frames = [looks(*(rng.uniform(-0.02, 0.02, 2) + np.array([0.5, 0.3]))) for _ in range(500)]
    assert first(Controller(), frames) is None


def test_an_output_that_leaves_a_steady_input_has_drifted() -> None:
    event = first(Controller(), LEARN + [looks(shown=0.3 + 0.002 * i) for i in range(200)])
    assert event is not None and event.reason == "colour"
    assert event.value > event.limit == pytest.approx(COLOUR_LIMIT)
    assert LEARN_FRAMES + 60 <= event.frame_index < LEARN_FRAMES + 75


@pytest.mark.parametrize("sharpness", [0.005, 1.0])
def test_an_output_that_blurs_or_breaks_up_has_drifted(sharpness: float) -> None:
    event = first(Controller(), [*LEARN, *[looks(sharpness=sharpness)] * 20])
    assert event is not None and event.reason == "sharpness"


def test_a_flash_is_not_drift() -> None:
    assert first(Controller(), [*LEARN, looks(shown=1.0), *[looks()] * 20] * 3) is None


def test_an_output_that_follows_its_input_has_not_drifted() -> None:
    there = [looks(given=0.7, shown=0.05)] * 20
    assert first(Controller(), [*LEARN, *there, *[looks()] * 20]) is None


def test_a_look_that_remembers_may_come_back_later_than_the_input() -> None:
    away = [looks(given=0.9, shown=0.7)] * 20
    fading = [looks(shown=0.3 + 0.4 * 0.85**i) for i in range(60)]
    assert first(Controller(), LEARN + away + fading) is None


def test_the_relation_is_learnt_again_in_another_scene() -> None:
    scene = [looks(given=0.9, shown=0.7)] * 200
    drifting = [looks(given=0.9, shown=0.7 + 0.002 * i) for i in range(140)]
    assert first(Controller(), LEARN + scene) is None
    event = first(Controller(), LEARN + scene + drifting)
    assert event is not None and event.limit == pytest.approx(COLOUR_LIMIT)


def test_what_is_not_finite_is_left_to_the_seal() -> None:
    nothing = np.full((2, 8), np.nan, np.float32)
    assert first(Controller(), [nothing, *LEARN, *[nothing] * 20, *[looks()] * 9]) is None


def test_the_score_says_how_near_to_drift_a_stream_is() -> None:
    controller = Controller()
    assert first(controller, LEARN) is None and controller.score == 0.0
    scores, event = [], None
    while event is None:
        event = controller.judge(len(scores), looks(shown=0.3 + 0.002 * len(scores)))
        scores.append(controller.score)
    assert scores[0] == 0.0 and scores[-1] == pytest.approx(event.value / event.limit)
    assert scores == sorted(scores) and scores[-1] > 1.0
