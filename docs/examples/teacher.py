"""A style of its own: the picture in two inks, dark blue on warm paper."""

import jax.numpy as jnp

from lsdjax.data import filters
from lsdjax.data.styles import register_teacher
from lsdjax.data.teacher import stateless

PHRASES = """
    duotone; a duotone; duotone print; two-tone picture; two inks; printed in two inks;
    blue ink on warm paper; dark blue and cream; two-tone print; make it a duotone;
    turn it into a two-colour print; navy and cream print; give it a duotone look
"""


def duotone(frames):
    """Frames (b, t, h, w, 3) in [0, 1] to the same: luminance chooses between ink and paper."""
    grey = filters.smoothstep(0.1, 0.9, filters.luminance(frames))
    ink, paper = filters.rgb(0.05, 0.08, 0.35), filters.rgb(0.98, 0.92, 0.80)
    return jnp.broadcast_to(filters.mix(ink, paper, grey), frames.shape)


register_teacher(stateless("duotone", duotone), [text.strip() for text in PHRASES.split(";")])
