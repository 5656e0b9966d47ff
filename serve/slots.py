"""The memory that the front and the device process share: frames cross in it without a copy.

The block has no name in the file system, only a descriptor that the child inherits, so nothing is
left behind however either process ends.
"""

import mmap
import os
import tempfile

import numpy as np

SLOTS_PER_SEAT = 6  # decoding, waiting, two in the device, waiting to be sent, being encoded


def create_memory() -> int:
    """An empty, anonymous, shareable block; its file descriptor."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("lsdjax-slots")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Slots:
    """The block seen as frames.

    `inputs` and `outputs` are uint8 (seats, SLOTS_PER_SEAT, h, w, 3). A slot belongs to the front
    until it rings the bell for it, and to the device process until that one answers.
    """

    def __init__(self, descriptor: int, seats: int, height: int, width: int) -> None:
        shape = (seats, 2, SLOTS_PER_SEAT, height, width, 3)
        size = int(np.prod(shape))
        if os.fstat(descriptor).st_size < size:
            os.ftruncate(descriptor, size)
        frames = np.frombuffer(mmap.mmap(descriptor, size), np.uint8).reshape(shape)
        self.inputs = frames[:, 0]
        self.outputs = frames[:, 1]
