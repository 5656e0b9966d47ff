"""Named presets, and nothing else that runs."""

if __name__ != "lsdjax.configs":
    raise ImportError("import lsdjax.configs, not configs")

from lsdjax.configs.presets import PRESETS as PRESETS
from lsdjax.configs.presets import preset as preset
from lsdjax.configs.training import MATCHING as MATCHING
from lsdjax.configs.training import Stage as Stage
from lsdjax.configs.training import TrainConfig as TrainConfig
