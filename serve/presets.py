"""The page's preset prompts, for a checkpoint whose card names none of its own."""

DEFAULT_PROMPT = "pencil sketch"
PRESETS: tuple[tuple[str, str], ...] = (  # (label, prompt)
    ("Pencil sketch", "pencil sketch"),
    ("Cartoon", "a cartoon with bold outlines"),
    ("Watercolour", "watercolour painting"),
    ("Comic", "comic book halftone print"),
    ("Blueprint", "technical blueprint"),
    ("Neon edges", "glowing neon edges"),
    ("Thermal", "thermal camera"),
    ("Night vision", "night vision goggles"),
    ("Sepia film", "old sepia film"),
    ("Pixel art", "pixel art"),
    ("Negative", "photographic negative"),
    ("Snow", "falling snow"),
    ("Motion trails", "motion trails"),
    ("Long exposure", "long exposure"),
    ("Original", "keep the original"),
)
