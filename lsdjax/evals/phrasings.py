"""What a person might type who has not seen the training table; half bare, half in sentences."""

HELD_OUT: dict[str, tuple[str, ...]] = {
    "pencil_sketch": (
        "hand-drawn pencil sketch",
        "grey graphite drawing",
        "make my dog on the sofa look like somebody drew him in pencil",
        "I'd like the people at this café table turned into a pencil sketch on paper",
    ),
    "cartoon": (
        "turn it into a cartoon",
        "cartoon with bold dark outlines",
        "make my kids playing in the garden look like a Saturday morning cartoon",
        "show this busy market as a cartoon with flat colours and thick black lines",
    ),
    "sepia_film": (
        "old sepia photograph",
        "faded brown vintage film",
        "make my street look like an old brown photo from a hundred years ago",
        "give the couple dancing in the hall a sepia tone, like a very old film",
    ),
    "thermal_camera": (
        "thermal camera view",
        "infrared heat vision",
        "show me walking round the kitchen as if filmed with a thermal imaging camera",
        "make the cat on the windowsill glow in heat map colours like an infrared camera",
    ),
    "neon_edges": (
        "glowing neon outlines on black",
        "neon line art, dark background",
        "turn the cars on this road into bright neon outlines against a black background",
        "I want my face at the desk drawn only in glowing coloured edges on black",
    ),
    "pixel_art": (
        "8-bit pixel art",
        "blocky retro video game look",
        "make the skateboarder in the park look like a character in an old 8-bit game",
        "show my living room in chunky pixels like a classic Nintendo game",
    ),
    "blueprint": (
        "architect's blueprint",
        "white lines on blue paper",
        "make the building across the road look like a blueprint",
        "draw the bicycle in this clip as a technical drawing with white lines on dark blue",
    ),
    "watercolour": (
        "soft watercolour painting",
        "pale watercolor look",
        "make the boats in the harbour look like they were painted in watercolours",
        "turn this view of the hills into a gentle watercolor with soft washes of paint",
    ),
    "comic_halftone": (
        "printed comic book with dots",
        "halftone comic style",
        "make my friend talking to the camera look like a panel from an old printed comic",
        "show the football match like a vintage comic book with black ink and halftone dots",
    ),
    "night_vision": (
        "green night vision",
        "night vision goggles view",
        "make the fox in my back garden look like it was seen through night vision goggles",
        "show this corridor in grainy green like a soldier's night vision camera",
    ),
    "negative": (
        "invert the colours",
        "photo negative",
        "make the woman at the bus stop look like a film negative",
        "flip all the colors in this clip of the beach so light becomes dark",
    ),
    "snow": (
        "add falling snow",
        "make it snow",
        "I want snowflakes coming down over the people walking along my street",
        "make it look like it's snowing on the playground",
    ),
    "motion_trails": (
        "ghost trails behind moving things",
        "motion trails",
        "make the dancer leave ghostly trails behind her arms as she moves",
        "leave a fading trail of copies behind the ball as the boys kick it about",
    ),
    "long_exposure": (
        "long exposure effect",
        "slow shutter blur",
        "make the traffic on the bridge look like a long exposure photo",
        "smear the crowd in the station over time like a camera with the shutter left open",
    ),
    "colourise": (
        "colourise this black-and-white video",
        "add color to old footage",
        "my grandparents' wedding is in black and white, please put the colours back in",
        "colorize this black and white clip of a tram going down the high street",
    ),
    "sharpen": (
        "sharpen the blurry video",
        "make it crisp and clear",
        "my daughter's school play came out blurry, please make it sharp",
        "fix the out of focus picture so the man on the bench looks crisp",
    ),
    "fill_mask": (
        "fill in the grey boxes",
        "paint over the missing gray areas",
        "there are grey squares covering parts of the street, fill them in so it looks whole",
        "replace the gray blocks over the horse with what should be there",
    ),
    "original": (
        "leave it as it is",
        "no effect, original video",
        "just show me cooking in the kitchen without changing anything",
        "keep the video of the lake exactly the way the camera sees it",
    ),
}
