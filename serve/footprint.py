"""What a server and its device process hold: memory and file descriptors, from /proc (Linux)."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path

_EVERY_S = 1.0
_PROC = Path("/proc")


def measure(process: int) -> tuple[float, int] | None:
    """Resident memory in MB and open files of a process and its children; None where unknown."""
    memory_bytes, files = 0, 0
    try:
        for one in [process, *children(process)]:
            pages = int((_PROC / str(one) / "statm").read_text().split()[1])
            memory_bytes += pages * os.sysconf("SC_PAGE_SIZE")
            files += len(os.listdir(_PROC / str(one) / "fd"))
    except OSError:
        return None
    return memory_bytes / 1e6, files


def children(process: int) -> list[int]:
    """The processes that one has started. Raises: OSError where that cannot be known."""
    found: list[int] = []
    for task in (_PROC / str(process) / "task").iterdir():
        with suppress(OSError):
            found += map(int, (task / "children").read_text().split())
    return found


async def watch(process: int, samples: list[tuple[float, int]]) -> None:
    """Takes a sample every second until cancelled."""
    while True:
        await asyncio.sleep(_EVERY_S)
        if (sample := measure(process)) is not None:
            samples.append(sample)
