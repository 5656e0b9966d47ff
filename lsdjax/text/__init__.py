"""From a prompt to what the model is told."""

from lsdjax.text.registry import FrozenEncoder as FrozenEncoder
from lsdjax.text.registry import register_text_encoder as register_text_encoder
