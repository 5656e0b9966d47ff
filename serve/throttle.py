"""Whether the accelerator slows itself down to stay cool: NVML, where there is one."""

import ctypes
from contextlib import suppress

# nvml.h: software thermal, hardware slowdown, hardware thermal, power brake
_THERMAL = 0x20 | 0x08 | 0x40 | 0x80


class Throttle:
    """The first NVIDIA device; without one, nothing throttles."""

    def __init__(self) -> None:
        self._nvml: ctypes.CDLL | None = None
        self._device = ctypes.c_void_p()
        with suppress(OSError, AttributeError):
            nvml = ctypes.CDLL("libnvidia-ml.so.1")
            found = nvml.nvmlInit_v2() == 0
            if found and nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(self._device)) == 0:
                self._nvml = nvml

    def read(self) -> bool:
        """Whether it throttles at this moment."""
        if self._nvml is None:
            return False
        reasons = ctypes.c_ulonglong()
        ask = self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons
        return ask(self._device, ctypes.byref(reasons)) == 0 and bool(reasons.value & _THERMAL)
