"""Sample sheets: for every style its input, the teacher's picture and the model's, as one PNG."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from lsdjax.codec import PixelCodec
from lsdjax.configs import TrainConfig
from lsdjax.data.examples import DevicePool, make_examples
from lsdjax.data.phrases import PHRASES
from lsdjax.data.styles import NAMES
from lsdjax.diffusion.solver import solve
from lsdjax.evals.sheets import write_png
from lsdjax.text.tokenizer import tokenize
from lsdjax.train.state import Graph

EXAMPLES = 4


class SampleSheet:
    """Draws the same examples each time, so that sheets of one run can be compared."""

    def __init__(self, config: TrainConfig, graph: Graph, pool: DevicePool) -> None:
        shape = (EXAMPLES, 1, config.model.height, config.model.width)
        codec = PixelCodec()

        def draw(params, style, ids, levels, pool):
            key = jax.random.fold_in(jax.random.key(1), style)
            examples = make_examples(key, pool, style, shape)
            model = nnx.merge(graph.model, nnx.State(params))
            prompt = model.prompt(model.embed(ids))
            inputs, previous = codec.encode(examples.inputs), codec.encode(examples.previous)

            def denoise(x, level, size):
                size = jnp.zeros_like(size)
                history = 1 - examples.present
                return model(x, level, size, inputs, previous, history, prompt).sample, level

            sample, _ = solve(denoise, jax.random.normal(key, inputs.shape), levels)
            return examples.inputs, examples.targets, codec.decode(sample)

        self._draw = jax.jit(draw)
        self._pool = pool
        self._prompts = [tokenize(PHRASES[name][0]) for name in NAMES]

    def write(self, path: Path, params) -> None:
        """Write the sheet: a row a style, columns of input, teacher, one step, two steps."""
        rows = []
        for style, ids in enumerate(self._prompts):
            pictures = []
            for levels in ([1.0, 0.0], [1.0, 0.5, 0.0]):
                drawn = self._draw(
                    params, np.int32(style), ids, np.asarray(levels, np.float32), self._pool
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
