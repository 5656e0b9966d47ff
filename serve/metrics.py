"""What the front counts, as Prometheus text. Never labelled by session."""

import platform

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from lsdjax.serve.protocol import DROP_REASONS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REPAIR_REASONS = ("cache", "previous", "colour", "sharpness")
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.25, 0.5, 1, 2.5)  # fmt: skip # noqa: E501


class Metrics:
    """One server's registry."""

    def __init__(self, version: str) -> None:
        registry = self._registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        def histogram(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(name, text, labels, registry=registry, buckets=_SECONDS)

        self.received = counter("lsd_frames_received_total", "Input frames received.")
        self.sent = counter("lsd_frames_sent_total", "Output frames sent.")
        self.dropped = counter("lsd_frames_dropped_total", "Frames dropped.", "reason")
        self.stage = histogram("lsd_stage_seconds", "Time spent in a stage.", "stage")
        self.age = histogram("lsd_frame_age_seconds", "From receipt to send.")
        self.deadline_misses = counter("lsd_deadline_misses_total", "Frames sent after deadline.")
        self.repeated = counter("lsd_frames_repeated_total", "Still frames that cost no step.")
        self.degraded = counter("lsd_frames_degraded_total", "Frames of reduced quality.")
        self.repairs = counter("lsd_repairs_total", "Repairs of running streams.", "reason")
        self.sessions = gauge("lsd_sessions", "Sessions by state.", "state")
        self.rejected = counter("lsd_sessions_rejected_total", "Sessions refused.", "reason")
        self.closes = counter("lsd_ws_closes_total", "WebSocket connections closed.", "code")
        self.ignored = counter("lsd_messages_ignored_total", "JSON messages of unknown type.")
        self.loop_lag = histogram("lsd_event_loop_lag_seconds", "How late the event loop wakes.")
        self.restarts = counter("lsd_device_restarts_total", "Device processes started again.")
        self.rung = gauge("lsd_overload_rung", "How much is given up: 0 nothing, 4 most.")
        self.throttled = gauge("lsd_device_throttled", "1 while the device slows itself down.")
        self.drift = gauge("lsd_drift_score", "The worst stream's drift; from 1 on it is mended.")
        build = gauge("lsd_build_info", "Constant 1.", "version", "python")
        build.labels(version, platform.python_version()).set(1)
        for reason in DROP_REASONS:
            self.dropped.labels(reason)
        for reason in REPAIR_REASONS:
            self.repairs.labels(reason)
        for state in ("active", "queued", "detached"):
            self.sessions.labels(state).set(0)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self._registry)
