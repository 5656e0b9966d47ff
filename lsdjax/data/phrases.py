"""The phrasings that name each style, and the sentences they are said in.

The text encoder is trained from nothing on what :func:`sample_phrase` draws, so the breadth of
these tables is what lets it recognise a prompt that nobody wrote down. The content words carry
no style on purpose, a few of them misleadingly ("pencil case", "blue door"): the encoder has to
learn that they do not choose one.
"""

import re

import numpy as np


def _split(table: str) -> tuple[str, ...]:
    """Split a table written as phrases between semicolons, over any number of lines."""
    return tuple(phrase for item in table.split(";") if (phrase := " ".join(item.split())))


PHRASES: dict[str, tuple[str, ...]] = {
    "pencil_sketch": _split("""
        pencil sketch; a pencil drawing; graphite; graphite drawing on paper; charcoal;
        charcoal sketch; hand-drawn lines; hand drawn; sketch; sketched; sketchy pencil strokes;
        a grey pencil drawing; a gray pencil sketch; cross-hatching; cross-hatched shading;
        hatching and fine strokes; an artist's sketchbook page; sketchbook drawing;
        drawn with a soft pencil; drawn by hand in pencil; draw it with a pencil;
        sketch this by hand; sketch it in graphite; turn it into a pencil drawing;
        shade it with charcoal; make it look hand-drawn; draw everything in grey pencil;
        pencil on white paper; a rough pencil study; a quick life-drawing sketch;
        monochrome pencil, fine lines, paper texture; sketch, graphite, hatching;
        pencil lines; lead pencil; a 2B pencil drawing; a portrait artist's pencil work;
        delicate pencil shading; smudged charcoal on paper; a doodle in pencil; scribbled pencil;
        pencilled outlines; penciled outlines; a drawing; a line drawing on white paper;
        the look of a pencil illustration; an etching; etched lines;
        draughtsman's hand sketch; as if drawn by a street artist; drawing style;
        like a sketch someone drew; conte and graphite study; trace it in pencil;
        a storyboard sketch; grayscale sketch; greyscale drawing
    """),
    "cartoon": _split("""
        cartoon; a cartoon; cartoonish; cartoon style; a toon; toon shading; cel shading;
        cel-shaded; cel shaded animation; an animated film look; animation; animated series;
        anime; anime style; Saturday morning cartoon; flat colours with dark outlines;
        flat colors with dark edges; bold outlines and flat colour; flat fills, thick outlines;
        simplified shapes and flat colors; posterised flat colours; posterized flat shading;
        cartoonify; cartoonise it; cartoonize this; turn everybody into cartoon characters;
        make it a cartoon; make it look animated; draw it like an animated show;
        turn it into an animation; animate it in a toon style; a children's cartoon;
        a kids' TV cartoon; Disney-like animation; Pixar-like cartoon; a Simpsons look;
        a Studio Ghibli look; Japanese animation; a hand-painted animation cel; vector art;
        vector illustration with flat colours; a flat illustration; a caricature;
        cartoon, flat colours, black outlines; toon, cel shading, bold edges;
        like a scene from a cartoon; cartoon characters; a cute cartoon world;
        simple bright shapes with dark contours; smooth colour regions with outlines;
        cartoon filter; toonify; Looney-style toon; an animated movie; storybook cartoon
    """),
    "sepia_film": _split("""
        sepia; sepia film; sepia tone; sepia-toned; an old photograph; an antique photo;
        a vintage photograph; vintage film; a vintage look; old film; old-timey film;
        an old brown photograph; warm brown tones; warm brown vintage tint; brown and cream tones;
        brownish old picture; a faded antique print; an aged photograph; aged film;
        a daguerreotype; a tintype portrait; an albumen print; Victorian photograph;
        nineteenth century photo; 1900s film reel; the 1920s; a silent movie; silent film era;
        an old western movie; Wild West photo; great-grandmother's photo album; retro brown film;
        nostalgic warm film; old-fashioned photograph; antique brown tint;
        vintage, sepia, film grain;
        sepia, warm, grainy, faded; grainy old footage; film grain and faded brown;
        tone it sepia; age it like an old photo; make it look a hundred years old;
        make it look vintage; give it an old brown tint; tint it brown;
        turn it into an old photograph;
        filmed a century ago; shot on old film stock; yellowed with age; a yellowed old photograph;
        archival brown film; turn back time to an old-time film; old cinema; early cinema reel;
        tea-stained photograph; a historical photo; vignette and brown tone; old-world photo
    """),
    "thermal_camera": _split("""
        thermal camera; thermal; thermal imaging; thermal image; a thermogram; thermography;
        thermographic view; FLIR; a FLIR camera; FLIR footage; heat map; heatmap; heat vision;
        a heat-sensing camera; heat signature; heat signatures; infrared; infrared camera;
        infrared heat view; an IR camera; IR heat palette; infra-red; predator vision;
        Predator movie heat view; hot and cold colours; hot and cold colors; temperature map;
        temperature colours; temperature palette; body heat; false-colour heat image;
        false color temperature; iron palette; ironbow palette; inferno colour map;
        purple to yellow heat colours; warm things glowing orange and cold things purple;
        hot spots in yellow and red; thermal, infrared, heat palette; FLIR, ironbow, hot spots;
        show the heat; show how hot everything is; show the temperature; see body heat;
        reveal heat signatures; visualise the heat; visualize heat; view it in infrared;
        make it look like a thermal scan; scan for heat; a firefighter's thermal imager;
        heat detector; a thermal scope; thermal goggles; thermal drone view; warmth map;
        a thermal scanner; rainbow heat palette; infrared thermometer picture
    """),
    "neon_edges": _split("""
        neon edges; neon; neon lines; neon outlines; neon glow; glowing outlines; glowing edges;
        glowing coloured outlines on black; glowing colored lines on black; neon lights on black;
        luminous contours; fluorescent outlines; fluorescent lines; electric glowing lines;
        Tron; Tron style; a Tron-like world; cyberpunk; cyberpunk neon; synthwave; synthwave glow;
        vaporwave neon; laser lines; laser-traced outlines; light tubes; neon tubes; neon sign look;
        neon signage; neon contours in the dark; bright edges on a black background;
        colourful edges on black; colorful edge detection; edge detection; glowing edge filter;
        black background with glowing lines; rainbow outlines; rave lights; blacklight outlines;
        UV glow lines; ultraviolet glow; outline everything in neon;
        trace the edges with neon light;
        light up the edges; make the edges glow; make every contour glow; make it glow neon;
        draw only glowing outlines; wireframe glow; a glowing wireframe;
        neon, glow, black background; electric, luminous, outlines; glow in the dark outlines;
        a hologram of glowing lines; arcade neon; glow sticks; retro-futuristic neon;
        bright pink and cyan outlines; lit-up edges; vivid light contours
    """),
    "pixel_art": _split("""
        pixel art; pixelated; pixelate; pixelated blocks; pixels; big pixels; chunky pixels;
        blocky; blocky 8-bit; 8-bit; 8 bit; eight-bit game; 16-bit; 16-bit console graphics;
        retro video game; an old video game; a retro game; an arcade game; NES graphics;
        Nintendo game; Super Nintendo look; a Game Boy game; a Sega game; Atari; Atari graphics;
        Commodore 64 graphics; DOS game graphics; Minecraft; Minecraft blocks; a voxel world;
        low resolution; low-res squares; low-res retro graphics; large square pixels;
        square tiles of colour; sprites; sprite art; a sprite from a platform game; pixel game;
        limited palette pixels; coarse blocks with few colours; mosaic; mosaic of squares;
        pixel graphics, limited palette; 8-bit, blocky, retro game; pixelise it; pixelize this;
        pixelate everything; make it blocky; make it look like a retro video game;
        turn it into pixels; turn it into an 8-bit game; convert to pixel graphics;
        render with chunky pixels; like an early computer game; a side-scroller game;
        a Lego brick look; downsampled squares; dithered pixels; Tetris-like blocks
    """),
    "blueprint": _split("""
        blueprint; a blueprint; blue print; an architect's blueprint; architectural drawing;
        architectural plan; architect's plan; technical drawing; a technical diagram;
        technical schematic; schematic; a schematic diagram; engineering drawing;
        engineering plan; engineer's draft; drafting; a draughtsman's plan; a draftsman's plan;
        a CAD drawing; CAD; cyanotype; cyanotype print; white lines on blue;
        white lines on a deep blue background; white ink on blue paper; white outlines on navy;
        white on blue line work; chalk-white lines on Prussian blue; Prussian blue plan;
        navy paper with white lines; a construction plan; construction drawings; building plans;
        floor plan; a patent diagram; design plans; a machine's design drawing; mechanical drawing;
        blue paper plan with a grid; blue grid paper; blueprint, white lines, technical;
        schematic, drafting, blue paper; draft it as a blueprint; turn it into a blueprint;
        make it look like building plans; draw it as a technical plan; convert to a schematic;
        plan it like an architect; diagram it in white on blue; diazo print; surveyor's plan;
        an inventor's plan; ship builder's plans; spaceship schematics; plotted on blue paper;
        blueprints; an engineer's diagram
    """),
    "watercolour": _split("""
        watercolour; watercolor; a watercolour painting; a watercolor painting; aquarelle;
        water colour; water color paint; soft pale painting; a soft painting; pale washes;
        soft washes of colour; soft washes of color; wet-on-wet; wet on wet washes; gouache;
        paint washes on textured paper; paint bleeding into paper; bleeding pigments;
        diluted paint; translucent paint; brush painted; brush strokes; loose brushwork;
        painted; painterly; a painting; a pastel painting; pastel washes; light pastel colours;
        delicate pale colors; soft edges and pale paint; impressionist painting; impressionism;
        a Monet-like painting; a Turner watercolour; paint it; paint it in watercolour;
        paint this with soft brushes; paint it with water and pigment; make it a painting;
        make it look painted; turn it into a watercolor; wash it with pale paint;
        watercolour, soft, pale, washes; aquarelle, paper texture, bleeding edges;
        an artist's brush painting; a hand-painted landscape; picture-book watercolour;
        storybook watercolor illustration; canvas painting; a dreamy soft painting;
        paint on paper; faded paint; watercolours; watercolors;
        a painter's study; a wet brush; painted with a wet brush; tinted washes
    """),
    "comic_halftone": _split("""
        comic halftone; comic; a comic book; comic book style; comic strip; comic panel;
        a printed comic; printed comic with dots; halftone; halftone dots; half-tone print;
        dot screen; Ben-Day dots; benday dots; dotted print; printed dots; ink dots;
        ink and dots; black ink and printed dots; inked; inked comic lines; heavy black ink;
        newspaper print; newsprint; newsprint dots; Sunday newspaper comic; a graphic novel;
        graphic novel page; pop art; Lichtenstein; Roy Lichtenstein; Warhol pop print; manga;
        manga screentone; screentone; screen print; screen-printed dots; a superhero comic;
        Marvel comic; DC comics; Spider-Verse look; pulp comic; risograph; CMYK dots;
        offset print dots; comic, halftone, ink; pop art, dots, bold ink; ink it like a comic;
        turn it into a comic; turn it into a comic strip; make it a comic book page;
        print it with dots; print it like a newspaper comic; cover it with halftone dots;
        like a page from a comic; a superhero page; a bande dessinee; dotted shading;
        speckled comic shading; retro comic print; a cheap printed comic; comics
    """),
    "night_vision": _split("""
        night vision; night-vision; nightvision; night vision goggles; NVG; NVGs;
        night vision camera; night vision scope; green phosphor; green phosphor goggles;
        phosphor screen; green night scope; green goggles; military goggles; army goggles;
        soldier's goggles; military night optics; special forces night raid; black ops footage;
        spy camera in the dark; a surveillance view in the dark; image intensifier;
        light amplification; low-light scope; starlight scope; a sniper scope at night;
        green and grainy; grainy green; noisy green glow; green monochrome;
        all green, dark and noisy;
        green tinted night footage; bright green vision; glowing green surveillance;
        a green-tinted goggle view; Splinter Cell goggles; ghost hunting camera;
        a paranormal investigation camera; a wildlife camera at night; see in the dark;
        seeing in the dark; view it through night goggles; look through green goggles;
        put on night vision goggles; make it look like night vision; turn it green like goggles;
        switch to night vision; night vision, green, grain; phosphor, goggles, low light;
        tactical green view; commando night view; green radar-like screen; nocturnal vision;
        nocturnal camera; gen 3 intensifier tube; helmet-mounted night optics; green-lit night op
    """),
    "negative": _split("""
        negative; a negative; photo negative; photographic negative; film negative;
        a colour negative; color negative; inverted colours; inverted colors; inverted;
        inverse; inverse colours; inverse colors; invert; invert the colours; invert the colors;
        invert it; invert everything; invert the image; reversed colours; reversed colors;
        reverse the colours; reverse all the colors; opposite colours; opposite colors;
        flipped colours; flip the colors; swap light and dark; swap black and white;
        light becomes dark and dark becomes light; dark turned light; white turned black;
        black turned white; complementary colours; complement of every color; an X-ray;
        x-ray look; x ray film; radiograph; undeveloped film; a darkroom negative;
        a strip of negatives; negative, inverted, reversed; invert, opposite, negative;
        make it a negative; make a negative of it; turn it into a negative; negate;
        negate the colours;
        negated; negative image; negative effect; color inversion; colour inversion; inversion;
        inverted palette; all colours the wrong way round; upside-down colours; anti-colours;
        every tone inverted; solarised negative; inverted brightness
    """),
    "snow": _split("""
        snow; snowing; snowy; snowfall; falling snow; falling snowflakes; snowflakes;
        snow flakes drifting down; white flakes falling; flakes of snow; a blizzard; blizzard;
        flurries; snow flurries; a flurry; a snowstorm; snow storm; winter storm; winter;
        a winter scene; winter weather; wintry; wintertime; a winter wonderland; a snow shower;
        heavy snow; light snow; gentle snow; thick snowfall; a snow globe; inside a snow globe;
        Christmas snow; a white Christmas; December weather; January blizzard; frosty snowy day;
        arctic storm; a polar storm; Siberian winter; cold snowy weather; sleet; whiteout;
        wind-blown snow; make it snow; let it snow; add snow; add falling snow;
        add snowflakes; add a snowstorm; cover it with falling snow; fill the air with snow;
        bring on the winter; put it in a blizzard; drop snowflakes over it;
        snow, flakes, winter; blizzard, wind, white flakes; as if it is snowing;
        while it snows; in the middle of a blizzard; snow drifting past the lens;
        powdery snow; icy flakes
    """),
    "motion_trails": _split("""
        motion trails; motion trail; movement trails; ghost trails; ghost trail; ghosting;
        ghostly trails; trails; trails behind moving things; a trail behind everything that moves;
        moving things leave trails; moving people leave ghosts; echo; video echo; echo effect;
        echoes of movement; visual echoes; after-image; afterimages; afterimage trails;
        lingering ghosts; lingering images of movement; ghost copies; repeated ghost copies;
        phantom copies; stroboscopic; stroboscopic trails; strobe echo; chronophotography;
        Marey chronophotograph; multiple exposure of movement; comet tails;
        comet trail behind motion;
        a fading tail behind moving objects; tails; video feedback; feedback loop trails;
        psychedelic trails; trippy trails; tracers; acid tracers; speed trails; mouse-trail look;
        persistence of vision; leave a trail; leave trails;
        leave ghosts behind moving things; make movement leave a trail; make motion leave echoes;
        add motion trails; add ghosting; add trails to whatever moves; let motion linger;
        show where things moved; trails, echo, ghosting; ghosts, afterimage, movement;
        a decaying trace of motion; slow fading copies; dancing with ghost trails
    """),
    "long_exposure": _split("""
        long exposure; long-exposure; long exposure photograph; a long exposure photo;
        slow shutter; slow shutter speed; a slow shutter photograph; open shutter;
        shutter left open; bulb mode exposure; a thirty second exposure; time exposure;
        an exposure of several seconds; smeared over time; everything smeared together;
        smeared; smear; smearing; smooth silky water; silky smooth water; silky waterfall look;
        milky water; misty smooth water; light streaks; light painting; light trails of cars;
        car light streaks; streaks of headlights; star trails; averaged over time; time average;
        averaged frames; frame averaging; accumulated light; time-blended; blended frames;
        temporal blur; motion blur; heavy motion blur; blur everything that moves;
        crowd blurred away;
        moving things dissolve into mist; moving things melt away; ND filter photo;
        neutral density filter; tripod slow exposure; smear it over time; average it over time;
        blend the frames together; keep the shutter open; expose it for a long time;
        slow the shutter; make a long exposure; let the movement blur into mist;
        long exposure, smooth, streaks; slow shutter, silky, blurred motion;
        a dreamy slow exposure; a smooth time blur; a temporal average; prolonged exposure
    """),
    "colourise": _split("""
        colourise; colorize; colourised; colorized; colourisation; colorization;
        colourise it; colorize this; colourise the footage; colorize the footage;
        colorize this black and white video; colourise this black-and-white film;
        add colour; add color; add colour to this black and white footage;
        add color to the grayscale video; add realistic colours; add natural colors;
        restore the colours; restore the colors; restore colour; bring back the colours;
        bring back the color; bring colour to monochrome footage; give it colour; give it color;
        give the greyscale picture colours; put the colours back; put color back in;
        fill in the colours; fill in natural colors; make it colourful again; make it full colour;
        make it a colour film; make black and white into colour; turn grey into colour;
        turn grayscale into color; convert black and white to color; convert monochrome to colour;
        from black and white to colour; from grayscale to full color; full colour; full color;
        Technicolor; true colours; true-to-life colour; realistic colours; natural colours restored;
        living colour; hand-coloured film; hand-tinted in natural colours; recolour; recolor it;
        undo the black and white; no more black and white; DeOldify;
        colourise, restore, natural colours; colorized, lifelike, full color;
        guess the missing colours; predict the colours; colour restoration; tint with real colours
    """),
    "sharpen": _split("""
        sharpen; sharpened; sharpening; sharp; sharper; crisp; crisper; crisp detail;
        crisp and clear; clear and sharp; clearer; deblur; deblurred; de-blur; deblurring;
        remove the blur; remove blur; get rid of the blur; take away the blur; undo the blur;
        fix the blur; fix the blurry picture; fix the focus; fix soft focus; refocus;
        bring it into focus; in focus; in sharp focus; put it in focus; unblur; unblurred;
        no more blur; less blurry; not blurry any more; make it sharp; make it sharper;
        make it crisp;
        make it clearer; make it high definition; make the details clear; sharpen it;
        sharpen the blurry video; sharpen the edges; sharpen the details; enhance; enhance it;
        enhance detail; enhance the details; restore detail; restore the fine details;
        recover lost detail; bring out the detail; clean up the blurry footage; super resolution;
        super-resolution; upscale; HD; high definition; 4K quality; ultra sharp; razor sharp;
        fine detail; unsharp mask; clarity; more clarity; improve the sharpness; increase sharpness;
        sharp, crisp, detailed; deblur, enhance, clarity; out-of-focus footage made crisp;
        a crystal clear picture
    """),
    "fill_mask": _split("""
        fill mask; fill the mask; fill in the mask; fill the masked areas; inpaint; inpainting;
        in-painting; inpainted; inpaint the holes; inpaint the grey boxes; inpaint the gray boxes;
        fill the holes; fill in the holes; fill the gaps; fill in the gaps; fill the blanks;
        fill in the blanks; fill the grey boxes; fill the gray boxes; fill in the grey rectangles;
        fill in the missing parts; fill in the missing pieces; fill what is missing;
        paint in the grey boxes; paint in the missing areas; paint over the gray rectangles;
        remove the grey boxes; remove the gray squares; get rid of the grey patches;
        erase the grey blocks; take away the gray boxes; hide the grey rectangles;
        complete the picture; complete the missing regions; complete the image; image completion;
        content-aware fill; generative fill; patch the holes; patch it up; patch the missing spots;
        repair the missing areas; repair the damaged regions; repair holes; restore missing areas;
        reconstruct the hidden parts; reconstruct the missing regions; reconstruct what is covered;
        guess what is behind the boxes; imagine what is behind the grey boxes; uncover hidden parts;
        reveal what is under the boxes; cover up the gaps; mend the gaps; hole filling;
        mask filling; masked region completion; object removal; remove the occlusion;
        uncensor the covered areas; inpaint, fill, complete; holes, missing parts, fill in;
        replace the grey boxes with the scene; missing pieces painted in; gaps filled in
    """),
    "original": _split("""
        original; the original; the original video; original footage; the original picture;
        unchanged; unaltered; unedited; unmodified; untouched; unprocessed; unfiltered;
        leave it alone; leave it unchanged; leave it as it is; leave the video unchanged;
        leave everything the same; keep it the same; keep it as it is; keep the original;
        keep the video exactly as it is; keep everything normal; do nothing; do not change anything;
        don't change anything; don't touch it; don't edit it; change nothing; nothing;
        no effect; no effects; no filter; without a filter; without any effect; no style;
        no change; no changes; no changes please; no edits; no transformation; none; off;
        effect off; turn the effect off; turn off the filter; remove all effects; remove the filter;
        stop the effect; passthrough; pass-through; pass it through; pass the video through;
        bypass; identity; as is; as it is; as-is; just as it was; same as the input;
        same video; the same as before; just the video; just the plain camera; plain video;
        plain camera feed; raw; raw camera; raw feed; raw footage; normal; normal view;
        normal video;
        regular video; the real thing; reality; back to normal; back to the original;
        show the camera as it is; show the original; copy the input; the input itself; default;
        ordinary video; original, untouched, no filter; plain, unmodified, as is
    """),
}
"""Phrases that name a style, by the style's name in the order of the teachers; none is shared."""

CONTENT_PHRASES: dict[str, tuple[str, ...]] = {
    "pencil_sketch": _split("""
        sketch the {content} in pencil; draw this {content} with charcoal;
        a pencil sketch of the {content}; the {content} drawn by hand; {content}, sketched;
        a graphite study of a {content} by the {content2}; the {content} as a drawing
    """),
    "cartoon": _split("""
        cartoonify the {content}; turn my {content} into a cartoon character;
        draw the {content} as an animated cartoon; an anime {content}; a cartoon {content};
        the {content} in flat cartoon colours; {content} from an animated movie
    """),
    "sepia_film": _split("""
        an old sepia photo of the {content}; the {content} a hundred years ago, brown and faded;
        age the {content} like an antique print; a vintage {content}, sepia;
        old film of a {content} by the {content2}; the {content} in warm brown tones
    """),
    "thermal_camera": _split("""
        show the heat of the {content}; the {content} seen by a thermal camera;
        the {content} in infrared; how hot is the {content}; heat map of the {content};
        FLIR view of a {content} by the {content2}; scan the {content} for body heat
    """),
    "neon_edges": _split("""
        outline the {content} in neon; make the {content} glow with neon lines;
        a neon {content}; glowing outlines around the {content}; a Tron version of the {content};
        the {content} traced in neon light; only the glowing edges of the {content}
    """),
    "pixel_art": _split("""
        pixelate the {content}; the {content} in an 8-bit video game; a pixelated {content};
        pixel art of a {content}; turn the {content} into chunky pixels; a blocky {content};
        a retro game about a {content} at the {content2}
    """),
    "blueprint": _split("""
        draft a blueprint of the {content}; technical drawing of the {content};
        the {content} in white lines on blue; a schematic of my {content};
        engineering plans for a {content}; the {content} drawn up by an architect
    """),
    "watercolour": _split("""
        paint the {content} in watercolour; paint my {content} with soft washes;
        a watercolor of the {content}; the {content} painted with a wet brush;
        a soft painting of a {content} by the {content2}; an aquarelle of the {content}
    """),
    "comic_halftone": _split("""
        ink the {content} like a comic; a comic panel showing a {content};
        the {content} in halftone dots; pop art {content}; the {content} printed with ink dots;
        a comic book page with the {content} and the {content2}
    """),
    "night_vision": _split("""
        the {content} through night vision goggles; see the {content} in the dark;
        the {content} in green phosphor; a soldier's night scope aimed at the {content};
        a green night vision {content}; spy on the {content} in the dark
    """),
    "negative": _split("""
        invert the {content}; invert the colours of the {content}; a negative of the {content};
        the {content} with inverted colors; reverse all the colours of my {content};
        swap light and dark on the {content}; an X-ray of the {content}
    """),
    "snow": _split("""
        make it snow on the {content}; add snow to the {content}; snow falling on the {content};
        a blizzard over the {content}; put the {content} in a snowstorm; the {content} in winter;
        snowflakes drifting past the {content}; it is snowing at the {content}; a snowy {content}
    """),
    "motion_trails": _split("""
        the {content} leaves a trail; ghost trails behind the {content};
        let the {content} leave ghosts as it moves; echoes of the {content} as it moves;
        add motion trails to the {content}; afterimages of the {content};
        the moving {content} drags a fading tail
    """),
    "long_exposure": _split("""
        a long exposure of the {content}; smear the {content} over time;
        the {content} with a slow shutter; leave the shutter open on the {content};
        the {content} blurred into streaks; average the {content} over time
    """),
    "colourise": _split("""
        colourise the {content}; colorize the {content}; add colour to the {content};
        add color to my black and white {content}; bring back the colours of the {content};
        restore the {content} to full colour; give the grey {content} its natural colors;
        the black and white {content} in full color; turn the grayscale {content} to colour
    """),
    "sharpen": _split("""
        sharpen the {content}; make the {content} sharper; deblur the {content};
        the {content} is blurry, fix it; bring the {content} into focus; a crisp {content};
        remove the blur from the {content}; enhance the {content}; a clearer view of the {content};
        make the blurry {content} crisp
    """),
    "fill_mask": _split("""
        fill in the missing parts of the {content}; remove the grey boxes over the {content};
        inpaint the {content}; paint in what hides the {content}; fill the holes in the {content};
        complete the {content} behind the gray boxes; repair the missing areas of the {content};
        fill the gaps in the {content}
    """),
    "original": _split("""
        leave the {content} alone; leave the {content} as it is; keep the {content} unchanged;
        do not change the {content}; don't touch the {content}; the {content} as it really is;
        just show the {content}; nothing done to the {content}; the {content} with no filter;
        the plain {content}, no effect; keep my {content} exactly the same
    """),
}
"""Phrases that name a style and say what it is done to; slots as in the templates."""

NOUN_TEMPLATES: tuple[str, ...] = _split("""
    turn this {content} into {style}; turn the {content} and the {content2} into {style};
    {style} of a {content} near the {content2}; {style} of the {content}; {style} of my {content};
    {style} with a {content} in it; {style} showing a {content} by the {content2};
    please make the {content} look like {style}; make this {content} look like {style};
    make my {content} look like {style}; I want to see my {content} as {style};
    I would like the {content} in {style}; I'd love to see this {content} in {style};
    what would this {content} be like in {style}?; what if the {content} were {style}?;
    can you make the {content} look like {style}?; could you show this {content} as {style}?;
    show me the {content} as {style}; show the {content} in {style}; show this as {style};
    give the {content} the look of {style}; give me {style}; give me {style} of the {content};
    I want {style}; I want {style} here; we need {style} for the {content};
    transform the {content} into {style}; transform this into {style};
    convert the {content} to {style}; change this {content} to {style};
    change the video to {style}; render the {content} as {style}; render it as {style};
    make it {style}; make everything {style}; make the whole scene {style};
    the {content} as {style}; a {content} at the {content2} as {style}; my {content} in {style};
    a {content} in {style}; it should look like {style}; the video should look like {style};
    something like {style} for this {content}; apply {style} to the {content};
    apply {style}; use {style} on this {content}; switch to {style}; now {style};
    try {style} on my {content}; style: {style}; in the style of {style};
    a {content} seen as {style}; let the {content} become {style};
    the {content} becomes {style}; imagine the {content} as {style}; {style} look; {style} effect;
    {style} version of this {content}; {style} please
""")
"""Sentences that suit a phrase standing for a thing ("a pencil drawing")."""

PLAIN_TEMPLATES: tuple[str, ...] = _split("""
    {style}; {content} at the {content2}, {style}; {content}, {style}; {style}, {content};
    {style}, {content}, {content2}; {content}: {style}; {style}: {content};
    {style}, the {content} stays in view; {style}, but keep the {content} recognisable;
    {style}, but keep the {content} recognizable; {style} for the {content};
    {style} - a {content} by the {content2}; a {content} near the {content2}, {style};
    this is a {content}, {style}; there is a {content} here. {style}; my {content}, {style};
    the {content} and the {content2}, {style}; {style}. the {content} is in the middle;
    here is my {content}: {style}; {style}, so I can show my {content}; okay, {style};
    {style}, from now on; {style}, the whole video; hello, {style}; for the {content}, {style};
    video of a {content}, {style}; {style}, video of a {content} in front of the {content2};
    {style} when the {content} comes into view
""")
"""Sentences that suit any phrase, an order ("make it snow") as well as a thing."""

TEMPLATES: tuple[str, ...] = NOUN_TEMPLATES + PLAIN_TEMPLATES
"""All sentences: {style} once, and optionally {content} and {content2}."""

CONTENT: tuple[str, ...] = _split("""
    red car; busy street; kitchen; crowded market; old man with a hat; dog running on the beach;
    green jacket; blue door; night market; pencil case on the desk; film crew; comic book shop;
    warm kitchen; old camera; cat; dog; puppy; kitten; horse; cow; sheep; goat; chicken; duck;
    swan; pigeon; parrot; owl; eagle; crow; goldfish; shark; whale; dolphin; turtle; frog; lizard;
    snake; butterfly; bee; spider; ant; elephant; lion; tiger; bear; wolf; fox; deer; rabbit;
    squirrel; monkey; gorilla; giraffe; zebra; camel; kangaroo; penguin; hedgehog; mouse; pony;
    sleeping cat; cat on the sofa; dog with a ball; dog in the garden; horse in a field;
    flock of birds; herd of cows; seagull on a wall; fish in a tank; black dog; white cat;
    brown horse; orange cat; grey parrot; man; woman; child; baby; boy; girl; teenager; friend;
    grandmother; grandfather; mother; father; sister; brother; daughter; son; family; wife;
    husband; neighbour; neighbor; teacher; student; doctor; nurse; chef; waiter; farmer; sailor;
    pilot; driver; cyclist; runner; swimmer; dancer; singer; guitarist; drummer; pianist; skater;
    skateboarder; surfer; climber; hiker; boxer; goalkeeper; football player; basketball player;
    tennis player; gymnast; magician; clown; juggler; street musician; tourist; shopper;
    businessman; police officer; firefighter; soldier; builder; gardener; painter at work;
    photographer; tall woman; young couple; woman in a red dress; man in a suit; man with a beard;
    woman with glasses; girl with a kite; boy on a bicycle; child on a swing; baby in a pram;
    person walking; person typing; person talking on the phone; people at a bus stop; crowd;
    group of friends; two children playing; kids in the park; couple on a bench; woman reading;
    man drinking coffee; face; smiling face; face close to the camera; hand; waving hand; hands;
    hair; eyes; smile; portrait of my friend; selfie; guest; audience; team; wedding party; crew;
    car; truck; lorry; van; bus; taxi; tram; train; subway; bicycle; bike; motorcycle; scooter;
    tractor; ambulance; fire engine; police car; race car; sports car; convertible; caravan;
    boat; sailing boat; ship; ferry; canoe; kayak; submarine; plane; airplane; helicopter; drone;
    balloon; hot air balloon; rocket; spaceship; skateboard; wheelchair; shopping trolley; cart;
    yellow taxi; blue van; silver motorbike; rusty truck; steam engine; passing train; school bus;
    cable car; cargo ship; fishing boat; parked cars; traffic; traffic jam; traffic light;
    street; road; highway; motorway; crossroads; roundabout; bridge; tunnel; alley; pavement;
    sidewalk; car park; parking lot; petrol station; gas station; railway station; platform;
    airport; harbour; harbor; port; pier; lighthouse; city; town; village; downtown; skyline;
    skyscraper; tower; castle; palace; church; cathedral; temple; mosque; museum; library; school;
    university; hospital; factory; warehouse; farm; barn; mill; house; cottage; apartment; flat;
    hotel; restaurant; cafe; bakery; bar; pub; supermarket; shop; store; mall; cinema; theatre;
    theater; stadium; gym; swimming pool; playground; park; garden; zoo; fairground; carousel;
    ferris wheel; roller coaster; statue; fountain; square; plaza; courtyard; rooftop; balcony;
    staircase; escalator; lift; elevator; corridor; hallway; doorway; window; living room;
    bedroom; bathroom; office; classroom; workshop; garage; attic; basement; studio; laboratory;
    desk; table; chair; sofa; bed; lamp; clock; mirror; carpet; curtain; bookshelf; television;
    computer; laptop; keyboard; phone; headphones; microphone; guitar; piano; violin; drum kit;
    trumpet; camera on a tripod; umbrella; suitcase; backpack; handbag; hat; shoes; boots; coat;
    scarf; gloves; dress; shirt; jeans; jumper; sweater; sunglasses; watch; ring; necklace; key;
    bottle; glass of water; coffee cup; mug; teapot; plate; bowl of fruit; apple; banana; orange;
    lemon; strawberry; tomato; carrot; bread; cake; birthday cake; pizza; burger; sandwich; soup;
    noodles; rice; salad; cheese; ice cream stall; wine glass; candle; campfire; fireplace;
    book; newspaper stand; map on the wall; letter; box; toy; toy train; teddy bear; doll; kite;
    ball; football; bat and ball; chess board; playing cards; dice; puzzle; robot; robot arm;
    washing machine; fridge; oven; sink; vacuum cleaner; broom; bucket; ladder; hammer; toolbox;
    wheel; gear; engine; wind turbine; solar panel; crane; digger; bulldozer; fence; gate; wall;
    brick wall; wooden door; red roof; flag; sign; road sign; shop window; billboard; poster;
    tree; oak tree; palm tree; forest; wood; leaf; leaves; grass; flower; rose; sunflower; tulip;
    daisy; cactus; mushroom; bush; hedge; meadow; field; wheat field; vineyard; orchard; hill;
    mountain; valley; cliff; cave; canyon; desert; dune; beach; island; sea; ocean; wave; waves;
    shore; coast; lake; pond; river; stream; waterfall; swamp; jungle; volcano; rock; stone; sand;
    sky; cloud; clouds; sun; sunset; sunrise; moon; stars; horizon; shadow; puddle; landscape;
    country lane; mountain road; river bank; sea view; city at dusk; quiet square; empty room;
    crowded train; long corridor; tall building; small shop; big house; old bridge; wooden table;
    messy desk; green field; blue sky; yellow flowers; pink balloon; purple curtain; golden statue;
    grey stone wall; black umbrella; white van; brown leather bag; orange traffic cone; red bus;
    green apple; blue bicycle; bright window; dark alley; hot soup; cold drink; ink bottle;
    paint shop; paper bag; box of crayons; night bus; night club; winter coat; game shop;
    video camera; radiator; stove; old photo album; heater; film poster; printer; paint brush;
    architect's office; engineer; construction site; green lamp; goggles on a hook; glass door;
    concert; festival; parade; wedding; birthday party; football match; dance class; picnic;
    meeting; lecture; video call; interview; morning walk; cooking lesson; magic show; race;
    view from my window; scene; view; room; place; webcam; screen; picture; background; foreground
""")
"""What a video may show: noun phrases without an article, none of which chooses a style."""

_NOT_THINGS = frozenset(
    _split("""
        add; age; animate; as; average; back; blend; blur; bring; bypass; cartoonify; cartoonise;
        cartoonize; change; clean; colorize; colourise; complete; convert; copy; cover; deblur;
        diagram; do; don't; draft; draw; drawn; drop; enhance; erase; expose; fill; filmed; fix;
        flip;
        from; get; give; guess; hide; imagine; improve; in; increase; ink; inpaint; inside; invert;
        just; keep; leave; let; light; like; look; make; mend; moving; negate; no; none; not;
        nothing;
        off; outline; paint; painted; pass; patch; pixelate; pixelise; pixelize; plan; plotted;
        posterise; predict; print; put; recolor; recolour; reconstruct; recover; refocus; remove;
        render; repair; replace; restore; reveal; reverse; scan; see; seeing; shade; sharpen; shot;
        show; sketch; slow; smear; stop; swap; switch; take; toonify; tone; trace; turn; unblur;
        uncensor; uncover; undo; upscale; view; visualise; visualize; wash; while; without
    """)
)
"""First words of the phrases that do not stand for a thing and so take a plain template only."""

_POLITE = ("please", "thanks", "thank you", "hey", "just", "pls", "now")


def is_noun_like(phrase: str) -> bool:
    """Whether `phrase` stands for a thing, judged by its first word, and not for an order."""
    return re.split(r"[\s,]", phrase.lower(), maxsplit=1)[0] not in _NOT_THINGS


def fill_template(template: str, style: str, content: str, content2: str) -> str:
    """Return `template` with its slots filled and "a" or "an" chosen for the content's sake."""
    article = "an" if content[:1].lower() in "aeiou" else "a"
    template = re.sub(r"\ba (?=\{content\})", f"{article} ", template)
    return template.format(style=style, content=content, content2=content2)


def sample_phrase(rng: np.random.Generator, name: str) -> str:
    """Draw one prompt that asks for the style `name`.

    Two in five are a bare phrase of the table; the others are a sentence with random content.
    Case, the last mark, politeness and, rarely, a letter of a long word are then disturbed.

    Args:
        rng: where all randomness is drawn from; the same state gives the same prompt.
        name: a key of :data:`PHRASES`.

    Returns:
        The prompt: one line, not empty, without a slot left open.

    Raises:
        KeyError: `name` is not a style.
    """
    phrase = _pick(rng, PHRASES[name])
    if rng.random() >= 0.4:
        phrase = _in_a_sentence(rng, name, phrase)
    return _disturb(rng, phrase)


def _pick(rng: np.random.Generator, table: tuple[str, ...]) -> str:
    return table[int(rng.integers(len(table)))]


def _in_a_sentence(rng: np.random.Generator, name: str, phrase: str) -> str:
    """Say `phrase`, or one of the style's phrases about a content, with random content."""
    if rng.random() < 0.2:
        template = _pick(rng, CONTENT_PHRASES[name])
    elif is_noun_like(phrase) and rng.random() < 0.6:
        template = _pick(rng, NOUN_TEMPLATES)
    else:
        template = _pick(rng, PLAIN_TEMPLATES)
    return fill_template(template, phrase, _pick(rng, CONTENT), _pick(rng, CONTENT))


def _disturb(rng: np.random.Generator, text: str) -> str:
    """Write `text` as one of many people would: polite, in a hurry, or with a slip."""
    if rng.random() < 0.1:
        word = _pick(rng, _POLITE)
        text = f"{word} {text}" if rng.random() < 0.5 else f"{text} {word}"
    if rng.random() < 0.06:
        text = _mistype(rng, text)
    casing = rng.random()
    if casing < 0.4:
        text = text.lower()
    elif casing < 0.7:
        text = text[:1].upper() + text[1:]
    elif casing < 0.74:
        text = text.upper()
    if not text.endswith(("?", ".", "!")):
        ending = rng.random()
        if ending < 0.15:
            text += "."
        elif ending < 0.21:
            text += "!"
    return text


def _mistype(rng: np.random.Generator, text: str) -> str:
    """Drop one inner letter of a word of six letters or more, or swap it with the next one."""
    words = [match.span() for match in re.finditer(r"[A-Za-z]{6,}", text)]
    if not words:
        return text
    start, end = words[int(rng.integers(len(words)))]
    at = int(rng.integers(start + 1, end - 1))
    if rng.random() < 0.5:
        return text[:at] + text[at + 1 :]
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
