"""Sample sheets: of every style or pair input, target and the model's picture, as one PNG."""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lsdjax.codec import PixelCodec
from lsdjax.configs import TrainConfig
from lsdjax.data.phrases import PHRASES
from lsdjax.data.pipeline import DecodedPair, draw_group
from lsdjax.data.styles import TEACHERS
from lsdjax.diffusion.solver import solve
from lsdjax.evals.sheets import write_png
from lsdjax.model.dit import Told
from lsdjax.text.registry import Tokenizer
from lsdjax.train.objective import Scenes, Source
from lsdjax.train.state import Graph

EXAMPLES = 4
MAX_PAIRS = 18

Row = tuple[Source, np.ndarray]


def taught_rows(config: TrainConfig, tokenize: Tokenizer, scenes: Scenes) -> list[Row]:
    """Every style that is taught, on its scenes, with the tokens of its first phrase."""
    return [
        (scenes.taught(np.asarray(TEACHERS.index(name), np.int32)), tokenize(PHRASES[name][0]))
        for name in config.styles or TEACHERS
    ]


def paired_rows(
    config: TrainConfig, tokenize: Tokenizer, pairs: Sequence[DecodedPair]
) -> list[Row]:
    """Windows of the first pairs, each with the tokens of one of its prompts."""
    shape = (EXAMPLES, 1, config.model.height, config.model.width)
    drawn = [draw_group(pair, shape, np.random.default_rng(0)) for pair in pairs[:MAX_PAIRS]]
    return [(group.windows, tokenize(group.prompt)) for group in drawn]


class SampleSheet:
    """Draws the same examples each time, so that sheets of one run can be compared."""

    def __init__(self, config: TrainConfig, graph: Graph, rows: Sequence[Row]) -> None:
        shape = (EXAMPLES, 1, config.model.height, config.model.width)
        codec = PixelCodec()

        def draw(params, number, source: Source, tokens, levels):
            key = jax.random.fold_in(jax.random.key(1), number)
            examples = source.examples(key, shape)
            model = nnx.merge(graph.model, nnx.State(params))
            prompt = model.prompt(model.embed(tokens))
            present = examples.present
            told = Told(
                inputs=codec.encode(examples.inputs),
                input_level=jnp.zeros_like(present),
                previous=codec.encode(examples.previous),
                previous_level=1 - present,
                events=examples.events,
            )

            def denoise(x, level, size):
                return model(x, level, size, told, prompt).sample, level

            sample, _ = solve(denoise, jax.random.normal(key, told.inputs.shape), levels)
            return examples.inputs, examples.targets, codec.decode(sample)

        self._draw = jax.jit(draw)
        self._rows = rows

    def write(self, path: Path, params) -> None:
        """Write the sheet: a row a style or pair, columns of input, target, one step, two steps."""
        rows = []
        for number, (source, tokens) in enumerate(self._rows):
            pictures = []
            for levels in ([1.0, 0.0], [1.0, 0.5, 0.0]):
                drawn = self._draw(
                    params, np.int32(number), source, tokens, np.asarray(levels, np.float32)
                )
                pictures.append([np.asarray(part[:, 0]) for part in drawn])
            inputs, targets, one = pictures[0]
            two = pictures[1][2]
            cells = [
                np.concatenate([inputs[i], targets[i], one[i], two[i]], axis=1)
                for i in range(EXAMPLES)
            ]
            rows.append(np.concatenate(cells, axis=1))
        sheet = np.clip((np.concatenate(rows) + 1) * 127.5, 0, 255).astype(np.uint8)
        write_png(path, sheet)
