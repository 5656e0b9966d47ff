"""Where pictures are decoded and encoded: at once where that is quick, else in threads.

To hand a picture over to a thread and to be told of its end wakes that thread and the event loop,
which between frames sleep: it may take longer than the work. But while the event loop works, nobody
else is served.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lsdjax.serve.protocol import Codec

_THREADS = 2
_QUICK_PIXELS = {Codec.RGB24: 1 << 20, Codec.JPEG: 1 << 18}
"""Of one frame of every session together: about half a millisecond each way."""

InPool = Callable[..., Awaitable[Any]]
"""(codec, pixels, work, *arguments) -> what the work returns."""


class CodecPool:
    """The codec work of all sessions; `sessions` is how many have a client."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="codec")
        self.sessions = 0

    def is_quick(self, codec: Codec, pixels: float) -> bool:
        """Whether to code so many pixels at once keeps nobody waiting."""
        return pixels * self.sessions <= _QUICK_PIXELS.get(codec, 0)

    def submit(self, work: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        """Starts the work in a thread."""
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._threads, work, *arguments)

    def shutdown(self) -> None:
        """Drops what has not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)
