"""`LiveClient` for programs without asyncio."""

import asyncio
import threading
from typing import Any, Self

import numpy as np

from lsdjax.serve.client import LiveClient

_LOOK_S = 2.0


class SyncClient:
    """One frame in, one frame out. Use as a context manager; takes what `LiveClient` takes."""

    def __init__(self, url: str, **options: Any) -> None:
        self._url, self._options = url, options

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        try:
            self._client = self._run(self._open())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._run(self._client.__aexit__())
        finally:
            self._stop()

    def transform(self, frame: np.ndarray) -> np.ndarray | None:
        """The output for `frame`, uint8 (h, w, 3); None when it was dropped or lost."""
        return self._run(self._transform(frame))

    def set_params(self, **params: Any) -> dict[str, Any]:
        """As `LiveClient.set_params`."""
        return self._run(self._client.set_params(**params))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the model's frames."""
        return self._client.size

    async def _open(self) -> LiveClient:
        return await LiveClient(self._url, **self._options).__aenter__()

    async def _transform(self, frame: np.ndarray) -> np.ndarray | None:
        client = self._client
        seq = await client.send(frame)
        while client.unanswered or client.has_output:
            if not client.has_output:
                await client.wait_for_change(_LOOK_S)
            elif (output := await client.receive()).seq == seq:
                return output.frame
        return None

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
