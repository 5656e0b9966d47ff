"""The frame before, and every second older one: twice the window's reach for one slot more."""

import jax.numpy as jnp

from lsdjax.model.policy import CachePolicy, register_cache_policy


class Dilated(CachePolicy):
    """Slot 0 holds the newest odd frame, the others are a ring of even ones."""

    @property
    def slots(self):
        """Frames that are held."""
        return 1 + self.window

    def slot(self, index):
        """Where frame `index` is written."""
        return jnp.where(index % 2 == 0, 1 + index // 2 % self.window, 0)

    def sees(self, index, frames):
        """Ages of `frames`, and which of them the frame `index` sees."""
        age = index - frames
        return age, (age <= 1) | ((frames % 2 == 0) & (age <= 2 * self.window))


register_cache_policy("dilated", Dilated)
