"""A user's own pairs in place of the teachers: the batches and the recipe that they need."""

import dataclasses
from collections.abc import Sequence

import grain
import numpy as np

from lsdjax.configs import TrainConfig
from lsdjax.core.errors import UserError
from lsdjax.data.pipeline import DecodedPair, PairedGroup, paired_batches
from lsdjax.text.registry import Tokenizer
from lsdjax.train.steps import PromptBatch, tokenize_all


def without_text_stages(config: TrainConfig) -> TrainConfig:
    """The recipe without the stages on prompts alone: pairs have no styles to tell apart.

    Raises:
        UserError: nothing is left.
    """
    stages = tuple(stage for stage in config.stages if stage.groups)
    if not stages:
        raise UserError("every stage of this recipe trains on prompts alone; pairs need pictures")
    return dataclasses.replace(config, stages=stages)


class PairedDraws:
    """The batches of a run: pure functions of the seed and the step."""

    def __init__(
        self, config: TrainConfig, tokenize: Tokenizer, pairs: Sequence[DecodedPair]
    ) -> None:
        """Raises UserError where a prompt has no word in it."""
        self._config, self._pairs = config, pairs
        self._nothing = tokenize_all(tokenize, [])
        self._tokens = {prompt: tokenize(prompt) for pair in pairs for prompt in pair.prompts}
        self._datasets: dict[tuple[int, bool], grain.MapDataset[list[PairedGroup]]] = {}

    def draw(self, step: int, *, single: bool) -> PromptBatch:
        """Windows and prompts of one step, on single frames or on sequences."""
        number, _ = self._config.stage_at(step)
        if (number, single) not in self._datasets:
            self._datasets[number, single] = self._dataset(number, single)
        groups = self._datasets[number, single][step]
        assert groups is not None  # grain's word for a filtered element; nothing filters here
        prompts = np.stack([self._tokens[group.prompt] for group in groups])
        none = np.zeros(0, np.int32)
        return PromptBatch(none, prompts, none, self._nothing, groups)

    def _dataset(self, number: int, single: bool) -> grain.MapDataset[list[PairedGroup]]:
        stage, model = self._config.stages[number], self._config.model
        shape = (*stage.group_shape(single=single), model.height, model.width)
        return paired_batches(self._pairs, shape, groups=stage.groups, seed=self._config.seed)
