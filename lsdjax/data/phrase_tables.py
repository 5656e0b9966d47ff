"""The phrasings that name each style, and the sentences and contents they are said with.

The text encoder is trained from nothing on what is drawn from these tables, so their breadth is
what lets it recognise a prompt that nobody wrote down. The content words carry no style on
purpose, a few of them misleadingly ("pencil case", "snow leopard"): the encoder has to learn
that they do not choose one.
"""


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
        monochrome pencil, fine lines, paper texture; sketch, graphite, hatching; pencil lines;
        lead pencil; a 2B pencil drawing; a portrait artist's pencil work; delicate pencil shading;
        smudged charcoal on paper; a doodle in pencil; scribbled pencil; pencilled outlines;
        penciled outlines; a drawing; a line drawing on white paper;
        the look of a pencil illustration; an etching; etched lines; draughtsman's hand sketch;
        as if drawn by a street artist; drawing style; like a sketch someone drew;
        conte and graphite study; trace it in pencil; a storyboard sketch; grayscale sketch;
        greyscale drawing; pencil art; graphite pencil portrait; pencil shading; pencil strokes;
        shaded in graphite; shading with the side of a pencil; pencil on cartridge paper; HB pencil;
        a 4B pencil sketch; mechanical pencil lines; silverpoint; charcoal portrait;
        charcoal stick on rough paper; black chalk drawing; a sheet from a sketch pad;
        a page of a sketchpad; sketched out by hand; roughly sketched; freehand drawing;
        a freehand sketch; a courtroom sketch; a police sketch artist's drawing;
        Leonardo's notebook drawing; a figure drawing class; an art student's drawing;
        the A-ha Take On Me video; rub it in with graphite; jot it down in pencil; drawn in lead;
        rendered in graphite; scratchy pencil marks; grey lines on white paper;
        gray shading on paper; blended with a paper stump; eraser smudges and pencil marks;
        a concept artist's rough sketch; do a quick pencil drawing; stippled pencil shading
    """),
    "cartoon": _split("""
        cartoon; a cartoon; cartoonish; cartoon style; a toon; toon shading; cel shading;
        cel-shaded; cel shaded animation; an animated film look; animation; animated series; anime;
        anime style; Saturday morning cartoon; flat colours with dark outlines;
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
        cartoon filter; toonify; Looney-style toon; an animated movie; storybook cartoon;
        a cartoon drawing; cartoon look; cartoon world; an animated cartoon; animated;
        animated characters; animated TV show; 2D animation; hand-drawn animation; cel animation;
        toon style; toon shader; a toon world; cartoony; toony; comical cartoon figures;
        an anime scene; an anime character; anime look; like an anime; Family Guy style;
        South Park style; Rick and Morty style; Scooby-Doo; Tom and Jerry; Looney Tunes;
        Mickey Mouse; Bugs Bunny; Hanna-Barbera; Cartoon Network; Nickelodeon show;
        DreamWorks animation; a Miyazaki film; Totoro; Pokemon cartoon; SpongeBob; kids' animation;
        flat cartoon colouring; solid colours with thick black contours; become a cartoon character;
        turn us into cartoons; turn me into an anime character; exaggerated toon faces
    """),
    "sepia_film": _split("""
        sepia; sepia film; sepia tone; sepia-toned; an old photograph; an antique photo;
        a vintage photograph; vintage film; a vintage look; old film; old-timey film;
        an old brown photograph; warm brown tones; warm brown vintage tint; brown and cream tones;
        brownish old picture; a faded antique print; an aged photograph; aged film; a daguerreotype;
        a tintype portrait; an albumen print; Victorian photograph; nineteenth century photo;
        1900s film reel; the 1920s; a silent movie; silent film era; an old western movie;
        Wild West photo; great-grandmother's photo album; retro brown film; nostalgic warm film;
        old-fashioned photograph; antique brown tint; vintage, sepia, film grain;
        sepia, warm, grainy, faded; grainy old footage; film grain and faded brown; tone it sepia;
        age it like an old photo; make it look a hundred years old; make it look vintage;
        give it an old brown tint; tint it brown; turn it into an old photograph;
        filmed a century ago; shot on old film stock; yellowed with age; a yellowed old photograph;
        archival brown film; turn back time to an old-time film; old cinema; early cinema reel;
        tea-stained photograph; a historical photo; vignette and brown tone; old-world photo;
        sepia photograph; sepia photo; sepia print; sepia movie; sepia colours; sepia filter;
        sepia look; in sepia; brown monochrome; brown-toned; brown-tinted; brown tinted film;
        antique film; antique look; antiqued; olden days; old-time photo; an old brown movie;
        brown old-timey picture; from the nineteenth century; from the 1890s; the 1910s;
        1920s newsreel in brown; the year 1900; turn of the century photograph;
        Edwardian photograph; the Victorian era; Civil War photograph; gold rush photograph;
        a cowboy film from the old days; Lumiere brothers film; Charlie Chaplin era;
        nickelodeon reel; hand-cranked camera film; scratched old film; worn brown film with dust;
        dusty old reel; coffee-coloured tint; caramel and cream tones; golden brown tint;
        a cabinet card portrait; a carte de visite; found in grandpa's attic;
        faded brown photograph; weathered old picture
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
        a thermal scanner; rainbow heat palette; infrared thermometer picture; thermal view;
        thermal vision; thermal video; thermal footage; thermal colours; thermal filter;
        thermal sensor; thermal map; thermal sight; heat camera; heat cam; heat sensor;
        heat imaging; heat scan; heat scanner; heat picture; heat colours; heat view;
        heat-map colours; heat mapped; infrared imaging; infrared vision; infrared video;
        infrared footage; long-wave infrared; LWIR; IR; IR camera view; IR imaging; IR thermography;
        temperature view; temperature scan; temperature readings as colours; warm bodies glowing;
        warm is yellow, cold is purple; cold blue and hot red; body temperature colours;
        fever screening camera; Predator's vision; a police helicopter heat camera;
        a building heat-loss survey; see heat; see the warmth; detect the heat;
        measure the temperature; colour by temperature; color everything by how hot it is;
        the hottest parts light up; where is the heat?; how warm is it?
    """),
    "neon_edges": _split("""
        neon edges; neon; neon lines; neon outlines; neon glow; glowing outlines; glowing edges;
        glowing coloured outlines on black; glowing colored lines on black; neon lights on black;
        luminous contours; fluorescent outlines; fluorescent lines; electric glowing lines; Tron;
        Tron style; a Tron-like world; cyberpunk; cyberpunk neon; synthwave; synthwave glow;
        vaporwave neon; laser lines; laser-traced outlines; light tubes; neon tubes; neon sign look;
        neon signage; neon contours in the dark; bright edges on a black background;
        colourful edges on black; colorful edge detection; edge detection; glowing edge filter;
        black background with glowing lines; rainbow outlines; rave lights; blacklight outlines;
        UV glow lines; ultraviolet glow; outline everything in neon;
        trace the edges with neon light; light up the edges; make the edges glow;
        make every contour glow; make it glow neon; draw only glowing outlines; wireframe glow;
        a glowing wireframe; neon, glow, black background; electric, luminous, outlines;
        glow in the dark outlines; a hologram of glowing lines; arcade neon; glow sticks;
        retro-futuristic neon; bright pink and cyan outlines; lit-up edges; vivid light contours;
        neon style; neon look; neon filter; neon effect; neon colours; neon light; neon lights;
        neon light drawing; neon wireframe; neon silhouettes; neon contour lines; neon strips;
        neon signs; glowing neon; glowing lines; glowing contours; glowing silhouettes;
        glowing strokes on black; luminous lines; luminous edges; radiant outlines;
        shining outlines on black; bright outlines in darkness; fluorescent edges; fluorescent glow;
        fluorescent tubes; fluorescent contours; LED outlines; LED strip outlines;
        LED tubes on black; electric blue and pink edges; electric outlines; laser outlines;
        laser show lines; laser light edges; lightsaber lines; only the edges, lit up;
        edges only, in bright colours; edges lit in pink and cyan;
        colourful outlines on a black background; Blade Runner neon; Las Vegas lights; Tron Legacy;
        outrun; disco lights outlines; retrowave; eighties neon; neonise it; outline it with light;
        trace the contours in glowing colours; turn the edges into light; light tracing on black
    """),
    "pixel_art": _split("""
        pixel art; pixelated; pixelate; pixelated blocks; pixels; big pixels; chunky pixels; blocky;
        blocky 8-bit; 8-bit; 8 bit; eight-bit game; 16-bit; 16-bit console graphics;
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
        a Lego brick look; downsampled squares; dithered pixels; Tetris-like blocks; pixel;
        pixels everywhere; pixel style; pixel look; pixel filter; pixel effect; pixel blocks;
        pixel characters; pixel sprites; pixel mosaic; pixelation; pixellated; pixelart;
        pixelated game; pixely; huge pixels; large pixels; fat pixels; blocks; block graphics;
        blocky pixels; blocky graphics; blocky video game; colour blocks; little coloured squares;
        8bit; 8-bit style; 8-bit graphics; 8-bit video game; 8-bit console; 16 bit; 16-bit game;
        4-bit colours; 32 by 32 pixels; retro gaming; retro console; retro game graphics;
        vintage computer game; old-school video game; eighties video game; nineties console game;
        Super Mario; Mario Bros; Zelda on the NES; Pac-Man; Space Invaders; Tetris; Donkey Kong;
        Sonic on the Mega Drive; Stardew Valley; Terraria; Amiga game; ZX Spectrum; Apple II game;
        a Tamagotchi; a sprite sheet; tile-based game; a platformer; jump and run game;
        an RPG from the nineties; build it from blocks; chop it into squares;
        lower the resolution to blocks
    """),
    "blueprint": _split("""
        blueprint; a blueprint; blue print; an architect's blueprint; architectural drawing;
        architectural plan; architect's plan; technical drawing; a technical diagram;
        technical schematic; schematic; a schematic diagram; engineering drawing; engineering plan;
        engineer's draft; drafting; a draughtsman's plan; a draftsman's plan; a CAD drawing; CAD;
        cyanotype; cyanotype print; white lines on blue; white lines on a deep blue background;
        white ink on blue paper; white outlines on navy; white on blue line work;
        chalk-white lines on Prussian blue; Prussian blue plan; navy paper with white lines;
        a construction plan; construction drawings; building plans; floor plan; a patent diagram;
        design plans; a machine's design drawing; mechanical drawing; blue paper plan with a grid;
        blue grid paper; blueprint, white lines, technical; schematic, drafting, blue paper;
        draft it as a blueprint; turn it into a blueprint; make it look like building plans;
        draw it as a technical plan; convert to a schematic; plan it like an architect;
        diagram it in white on blue; diazo print; surveyor's plan; an inventor's plan;
        ship builder's plans; spaceship schematics; plotted on blue paper; blueprints;
        an engineer's diagram; blueprint style; blueprint look; blueprint drawing; blueprint paper;
        blueprint plan; blueprint of a machine; blueprint lines; blueprint effect; old blueprint;
        engineering blueprint; blueprint with dimensions; architecture plan;
        architectural blueprint; architect's drawing; an architect's design; an architect's draft;
        technical plan; technical illustration in white on blue; technical line drawing;
        technical blueprint; tech drawing; engineering diagram; engineering schematic;
        engineering sheet; engineer's plan; engineer's drawing; engineering design; AutoCAD;
        CAD plan; CAD wireframe on blue; computer aided design; working drawing; workshop drawing;
        shop drawing; assembly drawing; exploded diagram; site plan; elevation drawing;
        cross-section plan; ground plan; plan view; house plans; a builder's plan;
        a master plan drawing; patent drawing; circuit schematic; wiring diagram;
        white lines on blue paper; white line drawing on blue; white on navy;
        white lines on navy blue; thin white lines, blue background; blue paper, white lines;
        sun print; Death Star plans; schematise it; draught it; draw up the plans;
        draw the construction plan; turn it into a technical drawing; drafted
    """),
    "watercolour": _split("""
        watercolour; watercolor; a watercolour painting; a watercolor painting; aquarelle;
        water colour; water color paint; soft pale painting; a soft painting; pale washes;
        soft washes of colour; soft washes of color; wet-on-wet; wet on wet washes; gouache;
        paint washes on textured paper; paint bleeding into paper; bleeding pigments; diluted paint;
        translucent paint; brush painted; brush strokes; loose brushwork; painted; painterly;
        a painting; a pastel painting; pastel washes; light pastel colours; delicate pale colors;
        soft edges and pale paint; impressionist painting; impressionism; a Monet-like painting;
        a Turner watercolour; paint it; paint it in watercolour; paint this with soft brushes;
        paint it with water and pigment; make it a painting; make it look painted;
        turn it into a watercolor; wash it with pale paint; watercolour, soft, pale, washes;
        aquarelle, paper texture, bleeding edges; an artist's brush painting;
        a hand-painted landscape; picture-book watercolour; storybook watercolor illustration;
        canvas painting; a dreamy soft painting; paint on paper; faded paint; watercolours;
        watercolors; a painter's study; a wet brush; painted with a wet brush; tinted washes;
        watercolour style; watercolor style; watercolour look; watercolor effect; watercolour paint;
        watercolor paints; watercolour picture; watercolor wash; watercolour wash;
        watercolour portrait; watercolor landscape; watercolor art; watercolour artwork;
        watercolour on paper; watercolor brush; watercolour brush strokes; watery paint;
        watery colours; watery brush strokes; wet paint; runny paint; running colours;
        colours running into each other; colors bleeding together; blooms of pigment; paint blooms;
        thin paint; washed-out paint; soft brush; a soft brush painting; soft painted colours;
        soft painting with pale colours; painting style; art painting; a delicate painting;
        a gentle painting; a light painting on wet paper; tempera painting; acrylic wash;
        a paint box picture; a paintbrush picture; painted by an artist; painted by hand;
        painted picture; painted on wet paper; Beatrix Potter illustration; a Cezanne watercolour;
        an English landscape painting; a Sunday painter's picture; Chinese brush painting;
        dab it with wet colour; brush it with watercolour; turn it into a painting;
        turn it into a watercolour; make it a watercolour; paint everything
    """),
    "comic_halftone": _split("""
        comic halftone; comic; a comic book; comic book style; comic strip; comic panel;
        a printed comic; printed comic with dots; halftone; halftone dots; half-tone print;
        dot screen; Ben-Day dots; benday dots; dotted print; printed dots; ink dots; ink and dots;
        black ink and printed dots; inked; inked comic lines; heavy black ink; newspaper print;
        newsprint; newsprint dots; Sunday newspaper comic; a graphic novel; graphic novel page;
        pop art; Lichtenstein; Roy Lichtenstein; Warhol pop print; manga; manga screentone;
        screentone; screen print; screen-printed dots; a superhero comic; Marvel comic; DC comics;
        Spider-Verse look; pulp comic; risograph; CMYK dots; offset print dots;
        comic, halftone, ink; pop art, dots, bold ink; ink it like a comic; turn it into a comic;
        turn it into a comic strip; make it a comic book page; print it with dots;
        print it like a newspaper comic; cover it with halftone dots; like a page from a comic;
        a superhero page; a bande dessinee; dotted shading; speckled comic shading;
        retro comic print; a cheap printed comic; comics; comic style; comic look; comic effect;
        comic page; comic-book look; comic book panel; comic book art; comic book print;
        comic print; comic ink; comic dots; comic book hero; comic illustration with ink; comicbook;
        an inked comic panel; old comic; vintage comic book; golden age comic; silver age comics;
        underground comic; superhero comic page; superhero comic style; Batman comic;
        Spider-Man comic; X-Men comic; Watchmen; Sin City; Tintin; Asterix; Jack Kirby; Stan Lee;
        2000 AD; graphic novel style; Sunday funnies; the funny pages; half tone; halftone print;
        halftone pattern; halftone shading; halftone printing; halftone newspaper; dot pattern;
        dot pattern print; dots and ink; dotted; dotted newsprint; dotted ink shading;
        polka dot shading; raster dots; print raster; rasterised print dots; printing dots;
        printed in four colours; printed page; printed ink; cheap newsprint comic; screen tone;
        manga style; manga page; manga panel; Japanese manga; Andy Warhol; pop-art; pop art print;
        pop art dots; ink and halftone; bold black ink; speech bubble comic; ink it; ink it heavily;
        print it in dots; comicify it; turn it into pop art; put it in a comic
    """),
    "night_vision": _split("""
        night vision; night-vision; nightvision; night vision goggles; NVG; NVGs;
        night vision camera; night vision scope; green phosphor; green phosphor goggles;
        phosphor screen; green night scope; green goggles; military goggles; army goggles;
        soldier's goggles; military night optics; special forces night raid; black ops footage;
        spy camera in the dark; a surveillance view in the dark; image intensifier;
        light amplification; low-light scope; starlight scope; a sniper scope at night;
        green and grainy; grainy green; noisy green glow; green monochrome;
        all green, dark and noisy; green tinted night footage; bright green vision;
        glowing green surveillance; a green-tinted goggle view; Splinter Cell goggles;
        ghost hunting camera; a paranormal investigation camera; a wildlife camera at night;
        see in the dark; seeing in the dark; view it through night goggles;
        look through green goggles; put on night vision goggles; make it look like night vision;
        turn it green like goggles; switch to night vision; night vision, green, grain;
        phosphor, goggles, low light; tactical green view; commando night view;
        green radar-like screen; nocturnal vision; nocturnal camera; gen 3 intensifier tube;
        helmet-mounted night optics; green-lit night op; night vision view; night vision video;
        night vision footage; night vision effect; night vision mode; night vision filter;
        night vision device; night vision lens; night vision binoculars; nightvision goggles;
        night goggles; night scope; night sight; night camera, green; night cam; green night;
        green night view; green night vision; green and noisy; green screen of a night scope;
        green phosphor display; green grainy footage; green grainy picture; green-tinted and grainy;
        grainy green video; greenish night view; green glow of night goggles;
        everything green and grainy; everything glowing green in the dark; soldier's night view;
        a soldier's night sight; army night scope; military night vision; Navy SEALs raid;
        SWAT team goggles; special ops goggles; a spy's night view; spy goggles;
        sniper's night scope; a night patrol; a night raid; covert surveillance at night;
        security camera at night, green; trail camera at night; a badger cam;
        an owl's view at night; starlight camera; low light amplifier; amplified starlight;
        amplify the light; intensify the light; photomultiplier view; PVS-14; AN/PVS-7;
        The Blair Witch hunt in green; Zero Dark Thirty raid; Call of Duty night mission;
        let me see in the dark; help me see in pitch black; use night vision; wear night goggles;
        noctovision
    """),
    "negative": _split("""
        negative; a negative; photo negative; photographic negative; film negative;
        a colour negative; color negative; inverted colours; inverted colors; inverted; inverse;
        inverse colours; inverse colors; invert; invert the colours; invert the colors; invert it;
        invert everything; invert the image; reversed colours; reversed colors; reverse the colours;
        reverse all the colors; opposite colours; opposite colors; flipped colours; flip the colors;
        swap light and dark; swap black and white; light becomes dark and dark becomes light;
        dark turned light; white turned black; black turned white; complementary colours;
        complement of every color; an X-ray; x-ray look; x ray film; radiograph; undeveloped film;
        a darkroom negative; a strip of negatives; negative, inverted, reversed;
        invert, opposite, negative; make it a negative; make a negative of it;
        turn it into a negative; negate; negate the colours; negated; negative image;
        negative effect; color inversion; colour inversion; inversion; inverted palette;
        all colours the wrong way round; upside-down colours; anti-colours; every tone inverted;
        solarised negative; inverted brightness; negative film; negative colours; negative colors;
        negative filter; negative photo; negative picture; negative video; negative style;
        negative look; negative version; negative of a photograph; negative strip; in negative;
        as a negative; like a film negative; photo negatives; photographic negatives;
        camera negative; 35mm negative; a Kodak negative; darkroom film strip; colour-inverted;
        color inverted; inverted video; inverted image; inverted picture; inverted tones;
        inverted light; inverted light and dark; inverted filter; inverting; inverting all colours;
        inverts every colour; invert filter; invert all tones; invert the brightness;
        invert the video; invert the palette; inverse image; inverse video; inverse tones;
        reverse colours; reverse image tones; reversed tones; reversed light and dark;
        reverse black and white; opposite tones; opposite light; every colour becomes its opposite;
        every color swapped for its opposite; bright becomes dark; make bright things dark;
        dark areas bright, bright areas dark; light and shadow swapped;
        shadows bright and highlights dark; black is white and white is black; blacks become whites;
        swapped colours; swapped light and dark; flip light and dark; flip all the tones;
        exchange light and dark; complementary palette; X-ray film; xray; like an X-ray picture;
        a radiology image; MS Paint invert colours
    """),
    "snow": _split("""
        snow; snowing; snowy; snowfall; falling snow; falling snowflakes; snowflakes;
        snow flakes drifting down; white flakes falling; flakes of snow; a blizzard; blizzard;
        flurries; snow flurries; a flurry; a snowstorm; snow storm; winter storm; winter;
        a winter scene; winter weather; wintry; wintertime; a winter wonderland; a snow shower;
        heavy snow; light snow; gentle snow; thick snowfall; a snow globe; inside a snow globe;
        Christmas snow; a white Christmas; December weather; January blizzard; frosty snowy day;
        arctic storm; a polar storm; Siberian winter; cold snowy weather; sleet; whiteout;
        wind-blown snow; make it snow; let it snow; add snow; add falling snow; add snowflakes;
        add a snowstorm; cover it with falling snow; fill the air with snow; bring on the winter;
        put it in a blizzard; drop snowflakes over it; snow, flakes, winter;
        blizzard, wind, white flakes; as if it is snowing; while it snows;
        in the middle of a blizzard; snow drifting past the lens; powdery snow; icy flakes;
        snowy weather; snowy day; snowy winter; snowy scene; snowy night; snow effect; snow filter;
        snow weather; snow everywhere; snow coming down; snow falling; snow falling softly;
        snow in the air; snow drifting down; snow in big flakes; snow blowing sideways;
        snow showers; snow shower; snow flake; snowflake; snowflakes everywhere;
        snowflakes in the air; snowflakes coming down; it's snowing; it is snowing;
        it starts to snow; when it snows; falling flakes; falling white flakes; drifting flakes;
        drifting snow; swirling snow; swirling snowflakes; fluffy snowflakes; fat snowflakes;
        big white flakes; tiny snowflakes; white winter; winter snow; winter blizzard; winter day;
        winter time; deep winter; midwinter; midwinter snow; a snowy Christmas; Christmas weather;
        Christmas Eve snow; first snow of the year; Alpine snowfall; an Alaskan winter;
        the North Pole; Lapland in winter; Narnia; Elsa's Frozen world; Arctic weather;
        Antarctic blizzard; ski resort weather; a nor'easter; flurry of snow; heavy snowfall;
        light snowfall; soft snowfall; a dusting of snow; a raging snowstorm; snow squall;
        frozen weather; sprinkle snowflakes over it; make snow fall; start snowing;
        turn it into winter; cause a snowstorm; give me snow; snow on it
    """),
    "motion_trails": _split("""
        motion trails; motion trail; movement trails; ghost trails; ghost trail; ghosting;
        ghostly trails; trails; trails behind moving things; a trail behind everything that moves;
        moving things leave trails; moving people leave ghosts; echo; video echo; echo effect;
        echoes of movement; visual echoes; after-image; afterimages; afterimage trails;
        lingering ghosts; lingering images of movement; ghost copies; repeated ghost copies;
        phantom copies; stroboscopic; stroboscopic trails; strobe echo; chronophotography;
        Marey chronophotograph; multiple exposure of movement; comet tails;
        comet trail behind motion; a fading tail behind moving objects; tails; video feedback;
        feedback loop trails; psychedelic trails; trippy trails; tracers; acid tracers;
        speed trails; mouse-trail look; persistence of vision; leave a trail; leave trails;
        leave ghosts behind moving things; make movement leave a trail; make motion leave echoes;
        add motion trails; add ghosting; add trails to whatever moves; let motion linger;
        show where things moved; trails, echo, ghosting; ghosts, afterimage, movement;
        a decaying trace of motion; slow fading copies; dancing with ghost trails; motion echo;
        motion echoes; motion ghosts; motion tail; motion tails; motion traces; motion trail effect;
        movement trail; movement echoes; movement leaves ghosts; movement ghosts; moving ghosts;
        moving echoes; trail effect; trailing; trailing ghosts; trailing copies; trailing images;
        trailing echoes; fading trails; fading trail; fading ghosts; fading ghost copies;
        fading echoes; fading copies; fading afterimages; ghost images; ghost image; ghost effect;
        ghosted movement; ghosts of past frames; ghosts of earlier positions; ghost tails;
        ghosts following movement; see-through copies following movement;
        transparent copies behind motion; past positions fade slowly; frame echo; frame echoes;
        echo trail; echo trails; echoing frames; echoing movement; visual echo; delayed copies;
        delay effect; video delay; stutter copies; stroboscope; stroboscopic movement;
        strobing copies; onion skin animation; onion skinning; after images; after-images;
        lingering trail; lingering trails; lingering movement; lingering copies;
        hallucination trails; LSD trails; a comet's tail; shadow clones; Flash speed ghosts;
        bullet time echoes; Windows cursor trail; copies follow whoever moves;
        draw trails behind movement; multiply the moving things; have motion fade away slowly
    """),
    "long_exposure": _split("""
        long exposure; long-exposure; long exposure photograph; a long exposure photo; slow shutter;
        slow shutter speed; a slow shutter photograph; open shutter; shutter left open;
        bulb mode exposure; a thirty second exposure; time exposure; an exposure of several seconds;
        smeared over time; everything smeared together; smeared; smear; smearing;
        smooth silky water; silky smooth water; silky waterfall look; milky water;
        misty smooth water; light streaks; light painting; light trails of cars; car light streaks;
        streaks of headlights; star trails; averaged over time; time average; averaged frames;
        frame averaging; accumulated light; time-blended; blended frames; temporal blur;
        motion blur; heavy motion blur; blur everything that moves; crowd blurred away;
        moving things dissolve into mist; moving things melt away; ND filter photo;
        neutral density filter; tripod slow exposure; smear it over time; average it over time;
        blend the frames together; keep the shutter open; expose it for a long time;
        slow the shutter; make a long exposure; let the movement blur into mist;
        long exposure, smooth, streaks; slow shutter, silky, blurred motion; a dreamy slow exposure;
        a smooth time blur; a temporal average; prolonged exposure; long exposure photography;
        long exposure effect; long exposure look; long exposure shot; long exposure picture;
        long exposure video; long exposure at night; long-exposure photograph; long-exposure shot;
        longer exposure; very long exposure; extended exposure; extra long exposure time;
        minute-long exposure; a ten second exposure; an hour-long exposure; slow exposure;
        slow-shutter; slow shutter effect; slow shutter photography; slow shutter shot;
        slow shutter look; slow shutter smear; slow shutter blur; low shutter speed; shutter drag;
        dragging the shutter; dragged shutter; lazy shutter; open shutter photography;
        one second shutter; half-second shutter; bulb exposure; B setting on the camera;
        time-smeared; time smear; time blur; smeared motion; smeared movement; smeared into streaks;
        smeared lights; streaks; streaking lights; streaky lights; light smears; light trails;
        light trails on a motorway; headlight streaks; tail-light streaks;
        red and white car streaks; blurred crowds; blurred movement; blurred by motion;
        movement blurred into mist; smooth blur of motion; soft blur over time; silky blur;
        silky water; silky river; silky sea; cotton-wool water; foggy water;
        smooth clouds and water; cloud streaks; ten-stop filter; integrated over many seconds;
        integrate the light; accumulate the light; average many frames; mean of many frames;
        stack the exposures; stacked exposures; use a slow shutter; expose for thirty seconds;
        hold the shutter open
    """),
    "colourise": _split("""
        colourise; colorize; colourised; colorized; colourisation; colorization; colourise it;
        colorize this; colourise the footage; colorize the footage;
        colorize this black and white video; colourise this black-and-white film; add colour;
        add color; add colour to this black and white footage; add color to the grayscale video;
        add realistic colours; add natural colors; restore the colours; restore the colors;
        restore colour; bring back the colours; bring back the color;
        bring colour to monochrome footage; give it colour; give it color;
        give the greyscale picture colours; put the colours back; put color back in;
        fill in the colours; fill in natural colors; make it colourful again; make it full colour;
        make it a colour film; make black and white into colour; turn grey into colour;
        turn grayscale into color; convert black and white to color; convert monochrome to colour;
        from black and white to colour; from grayscale to full color; full colour; full color;
        Technicolor; true colours; true-to-life colour; realistic colours; natural colours restored;
        living colour; hand-coloured film; hand-tinted in natural colours; recolour; recolor it;
        undo the black and white; no more black and white; DeOldify;
        colourise, restore, natural colours; colorized, lifelike, full color;
        guess the missing colours; predict the colours; colour restoration; tint with real colours;
        colouring; coloring; colour it; color it; colour it in; color it in; colour this old film;
        color this old movie; color the black and white; colour the black and white footage;
        coloured; colorise; colorised; colorising; colourize; colorizing; colourising; colorize it;
        colorise the film; colorize old film; colourise old footage; automatic colourisation;
        automatic colorization; AI colorization; colourised film; colorized movie;
        colourised archive footage; a colourised newsreel; adding colour; adding color;
        add the colours; add the colors; add colour to grey footage; add natural colour;
        add realistic color; add lifelike color; add some colour; put colour into it; put colour in;
        put some color in; put in the colours; put the color back; bring in colour;
        bring in some color; bring it to life in colour; colour back in; colours back;
        get the colours back; get rid of the black and white; make it colour; make it color;
        make it colored; make it in colour; make a color version; turn it to colour;
        turn it into a colour film; turn this to color; to colour; to full color; in colour;
        in color; in full colour; in natural colours; in Technicolor; Kodachrome; Eastmancolor;
        colour television; colour TV; colour version; color version; colour film; color film;
        colour movie; not black and white; from monochrome to colour; black and white to colour;
        black-and-white to color; greyscale to colour; grayscale to color; They Shall Not Grow Old;
        restoring colour; natural skin tones and blue skies; give skin and sky their colours;
        recolour the greys; retrieve the lost colours; missing colour added
    """),
    "sharpen": _split("""
        sharpen; sharpened; sharpening; sharp; sharper; crisp; crisper; crisp detail;
        crisp and clear; clear and sharp; clearer; deblur; deblurred; de-blur; deblurring;
        remove the blur; remove blur; get rid of the blur; take away the blur; undo the blur;
        fix the blur; fix the blurry picture; fix the focus; fix soft focus; refocus;
        bring it into focus; in focus; in sharp focus; put it in focus; unblur; unblurred;
        no more blur; less blurry; not blurry any more; make it sharp; make it sharper;
        make it crisp; make it clearer; make it high definition; make the details clear; sharpen it;
        sharpen the blurry video; sharpen the edges; sharpen the details; enhance; enhance it;
        enhance detail; enhance the details; restore detail; restore the fine details;
        recover lost detail; bring out the detail; clean up the blurry footage; super resolution;
        super-resolution; upscale; HD; high definition; 4K quality; ultra sharp; razor sharp;
        fine detail; unsharp mask; clarity; more clarity; improve the sharpness; increase sharpness;
        sharp, crisp, detailed; deblur, enhance, clarity; out-of-focus footage made crisp;
        a crystal clear picture; sharpen up; sharpen up the picture; sharpen this;
        sharpen everything; sharpen the image; sharpen the footage; sharpen the video;
        sharpen the focus; sharpening filter; sharpened edges; sharpened picture; sharpness;
        sharpness, please; sharp focus; sharp picture; sharp image; sharp video; sharp details;
        sharp edges; sharper image; sharper picture; sharper video; sharper focus; sharper details;
        more sharpness; more detail; more details; more focus; crispness; crisp edges; crisp image;
        crisp picture; crisp video; crisp focus; crispen; clear; clear picture; clear image;
        clear details; clear focus; clear it up; clearer picture; clearer image; clearer video;
        clear up the blur; clear up the blurriness; crystal clear; deblur it; deblur this;
        deblur the video; deblur the footage; deblur filter; motion deblur; blind deconvolution;
        deconvolution; deconvolve; reduce the blur; reduce blurriness; remove blurriness;
        remove the blurriness; remove the fuzziness; rid it of blur; less blur; less fuzzy;
        not so blurry; not so fuzzy; blur removal; focus; focus it; focus the picture;
        focus the camera; focused; focussed; refocus the lens; autofocus; correct the focus;
        correct the blur; perfect focus; fix the blurred video; it's blurry, fix it;
        it is out of focus; too blurry; too fuzzy, fix it; defuzz; unsharp masking;
        restore sharpness; regain the detail; high resolution; higher resolution; high-res; hi-res;
        full HD; ultra HD; 8K; 1080p; enhanced; enhanced detail; detail enhancement;
        bring back the detail; bring out fine texture; wipe the lens clean; well-focused; pin sharp;
        tack sharp
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
        replace the grey boxes with the scene; missing pieces painted in; gaps filled in;
        fill it in; fill in; fill them in; fill in what is missing; fill in the missing areas;
        fill in the missing regions; fill in the missing bits; fill in the empty spots;
        fill in the empty areas; fill in the grey areas; fill in the gray areas;
        fill in the grey boxes; fill in the gray squares; fill in the holes in the picture;
        fill in the blanked parts; fill in the covered parts; fill in the hidden parts;
        fill the missing area; fill the missing regions; fill the missing parts;
        fill the empty boxes; fill the grey squares; fill the grey patches; fill the gray patches;
        fill the grey rectangles; fill the grey masks; fill every hole; fill every gap;
        filling in the blanks; filling the holes; filled-in holes; mask fill; mask removal;
        mask inpainting; remove the mask; remove the masks; remove the grey blocks;
        remove the grey patches; remove the gray rectangles; remove the boxes;
        remove the blocks hiding the picture; get rid of the boxes; get rid of the gray blocks;
        take the grey squares away; take off the grey boxes; erase the boxes;
        erase the gray patches; delete the grey boxes; delete the gray squares;
        clear away the grey boxes; paint over the grey boxes; paint in the holes; inpaint it;
        inpaint this; inpaint the gaps; inpaint the missing parts; inpaint the masked areas;
        inpaint the picture; video inpainting; image inpainting; missing parts; missing regions;
        missing region completion; missing areas restored; hole repair; patch it; patch the gaps;
        patch the picture; patch over the grey boxes; plug the holes; plug the gaps;
        close the holes; close the gaps; complete the video; complete the missing parts;
        complete it; make the picture complete; make it whole; make it whole again;
        restore the missing parts; restore the hidden parts; restore what is hidden;
        reconstruct the gaps; rebuild the missing parts; regenerate the missing areas;
        repair the gaps; repair the missing parts; invent what is missing; guess the missing parts;
        guess what is hidden; predict the hidden parts; predict the missing regions;
        what is behind the grey boxes?; what's under the gray squares?; show what the boxes hide;
        scene completion; video completion; Photoshop content-aware fill; blanks filled in;
        grey boxes gone; no more grey boxes
    """),
    "original": _split("""
        original; the original; the original video; original footage; the original picture;
        unchanged; unaltered; unedited; unmodified; untouched; unprocessed; unfiltered;
        leave it alone; leave it unchanged; leave it as it is; leave the video unchanged;
        leave everything the same; keep it the same; keep it as it is; keep the original;
        keep the video exactly as it is; keep everything normal; do nothing; do not change anything;
        don't change anything; don't touch it; don't edit it; change nothing; nothing; no effect;
        no effects; no filter; without a filter; without any effect; no style; no change;
        no changes; no changes please; no edits; no transformation; none; off; effect off;
        turn the effect off; turn off the filter; remove all effects; remove the filter;
        stop the effect; passthrough; pass-through; pass it through; pass the video through; bypass;
        identity; as is; as it is; as-is; just as it was; same as the input; same video;
        the same as before; just the video; just the plain camera; plain video; plain camera feed;
        raw; raw camera; raw feed; raw footage; normal; normal view; normal video; regular video;
        the real thing; reality; back to normal; back to the original; show the camera as it is;
        show the original; copy the input; the input itself; default; ordinary video;
        original, untouched, no filter; plain, unmodified, as is; original video; original image;
        original picture; original camera; original camera view; original version; original feed;
        the original image; the original camera picture; the original scene; the original footage;
        the original look; keep original; show original; show me the original; give me the original;
        go back to the original; return to the original; return to normal; go back to normal;
        revert; revert it; revert to the original; reset; reset it; reset the filter;
        undo the effect; undo everything; undo the filter; cancel the effect; cancel the filter;
        disable the effect; disable all filters; turn it off; turn everything off; switch it off;
        switch off the effect; take the filter off; take off the effect; drop the effect;
        remove the effect; filter off; filters off; effects off; stop it; stop filtering;
        stop changing it; no filters; no filter please; no effect please; no alteration;
        no modification; no modifications; no processing; no editing; no style at all;
        no stylisation; not changed; not edited; not modified; nothing changed; nothing special;
        nothing at all; nothing added; nothing, thanks; don't do anything; don't change it;
        don't alter it; don't modify it; don't apply anything; do not touch it; do not edit it;
        do not modify the video; do not apply a filter; leave it; leave it be; leave as is;
        leave it as is; leave it untouched; leave everything as it is; leave the picture alone;
        leave it natural; let it be; keep as is; keep it as is; keep it natural; keep it unchanged;
        keep the video the same; keep everything as it is; keep everything unchanged; the same;
        the same video; same picture; exactly the same; exactly as it is; exactly as filmed;
        as filmed; as recorded; as it was; as the camera sees it; what the camera sees;
        what my webcam sees; just the camera; just the original; just normal; just as it is;
        just leave it; just show it; plain; plain camera; plain footage; plain picture; ordinary;
        ordinary footage; ordinary camera picture; everyday view; unstyled; unaffected; unretouched;
        natural view; natural look; real life; real video; real world; without effects;
        without effect; without filters; without changes; without any change; without editing;
        straight from the camera; straight through; direct camera feed; live camera
    """),
}
"""Phrases that name a style, by the style's name in the order of the teachers; none is shared."""

CONTENT_PHRASES: dict[str, tuple[str, ...]] = {
    "pencil_sketch": _split("""
        sketch the {content} in pencil; draw this {content} with charcoal;
        a pencil sketch of the {content}; the {content} drawn by hand; {content}, sketched;
        a graphite study of a {content} by the {content2}; the {content} as a drawing;
        could somebody sketch the {content} with a soft pencil?;
        I'd like the {content} turned into a pencil drawing;
        as if an artist had drawn the {content} on paper;
        the {content} and the {content2}, both shaded in graphite;
        I want the {content} to look like it was drawn by hand;
        make a drawing out of this {content};
        fine grey pencil lines for the {content} by the {content2};
        a page of a sketchbook with the {content} on it;
        what would the {content} look like if you drew it in pencil?;
        have the {content} drawn in charcoal, please; let me see the {content} as a rough sketch;
        at the {content2}, a {content} drawn with a lead pencil;
        pencil strokes should make up the {content};
        someone sat by the {content2} and sketched the {content};
        the {content}'s outline in pencil with cross-hatched shadows;
        my {content}, but sketched on white paper; use hatching to shade the {content};
        can the {content} be a charcoal drawing?; so that the {content} looks sketched by hand;
        an artist's pencil portrait of the {content};
        this {content} deserves a hand-drawn portrait in graphite;
        draw us and the {content} with a pencil; I wish I could draw the {content} in my sketchbook;
        grab a pencil and draw the {content} next to the {content2};
        show the {content} as though it had been scribbled in pencil;
        pencil and paper only for the {content}
    """),
    "cartoon": _split("""
        cartoonify the {content}; turn my {content} into a cartoon character;
        draw the {content} as an animated cartoon; an anime {content}; a cartoon {content};
        the {content} in flat cartoon colours; {content} from an animated movie;
        I'd like the {content} turned into a cartoon;
        make the {content} look like something from Cartoon Network;
        as if the {content} were in an animated film;
        the {content} and the {content2} as cartoon characters;
        could you animate the {content} like a kids' show?;
        the {content} with thick outlines and flat colours;
        flat fills and bold dark outlines on the {content}; I want to see the {content} in an anime;
        if the {content} were in the Simpsons, what would it look like?;
        toon shading on the {content}, please; put the {content} in a Saturday morning cartoon;
        redraw my {content} in the way Disney would;
        make a toon out of the {content} by the {content2};
        the {content} should look animated, not real;
        at the {content2}, a {content} with cel shading;
        turn us and the {content} into cartoon figures;
        my {content} could be a character in a children's cartoon;
        simplify the {content} into flat colour shapes with dark edges;
        let the {content} look as though Studio Ghibli had made it;
        a funny cartoon about a {content} and a {content2};
        so that the {content} looks like an animation; I wish the {content} were a cartoon;
        the {content}'s cartoon version;
        give the {content} big black outlines and plain bright fills;
        this {content} belongs in an animated series; cartoonise my {content} and the {content2};
        make him and the {content} into cartoons
    """),
    "sepia_film": _split("""
        an old sepia photo of the {content}; the {content} a hundred years ago, brown and faded;
        age the {content} like an antique print; a vintage {content}, sepia;
        old film of a {content} by the {content2}; the {content} in warm brown tones;
        as if filmed in 1900, the {content} in faded brown;
        I'd like the {content} to look like a very old photograph;
        make the {content} look as though it was shot a century ago;
        the {content} and the {content2} on old brown film; could the {content} be toned sepia?;
        give the {content} an antique brown tint; a sepia portrait of the {content};
        my great-grandfather could have filmed the {content} like this;
        faded brown film of the {content};
        so that the {content} looks like it came from a Victorian album;
        take the {content} back to the silent film era;
        the {content} at the {content2} in an old western;
        old-fashioned brown footage of a {content};
        yellowed and brown with age, that's how I want the {content};
        tint the {content} brown like old film;
        let the {content} look vintage, with grain and scratches;
        put the {content} on a daguerreotype; I wish this {content} looked a hundred years old;
        brown and cream colours for the {content} near the {content2};
        turn my {content} into an antique picture;
        what did the {content} look like in the nineteenth century?;
        an old-timey movie with a {content} and a {content2};
        the {content}'s picture, browned with age;
        show the {content} the way a camera in 1910 would have;
        the {content} as found in an old photo album; film us and the {content} as in the olden days
    """),
    "thermal_camera": _split("""
        show the heat of the {content}; the {content} seen by a thermal camera;
        the {content} in infrared; how hot is the {content}; heat map of the {content};
        FLIR view of a {content} by the {content2}; scan the {content} for body heat;
        I'd like to know how warm the {content} is; where is the {content} hottest?;
        show which parts of the {content} are warm;
        look at the {content} with a heat-sensing camera; point a thermal camera at the {content};
        the {content} and the {content2} in heat-map colours;
        as if filmed with an infrared camera, the {content}; the {content}'s heat signature;
        the {content}'s temperature in false colours; colour the {content} by temperature;
        what does the Predator see when it looks at the {content}?;
        can you see the warmth of the {content}?;
        firefighters looking for a {content} by the {content2} with a thermal imager;
        make the {content} look like FLIR footage;
        hot parts of the {content} in yellow, cold ones in purple;
        so that the {content} shows up as heat; find the heat coming off the {content};
        a thermogram of the {content} in front of the {content2};
        I want the {content} as a heat map;
        is the {content} warmer than the {content2}? show the temperatures;
        infrared heat picture of my {content}; let me see the body heat of the {content};
        thermal vision on the {content}, please;
        the {content} glowing with heat on an infrared screen;
        scan him and the {content} with a thermal camera;
        how cold is this {content}? use the heat camera;
        a police helicopter tracks the {content} by its heat
    """),
    "neon_edges": _split("""
        outline the {content} in neon; make the {content} glow with neon lines; a neon {content};
        glowing outlines around the {content}; a Tron version of the {content};
        the {content} traced in neon light; only the glowing edges of the {content};
        I'd like the {content} outlined in glowing colours; trace the {content} with laser light;
        the {content} as a neon sign; as if the {content} were made of neon tubes;
        the {content} and the {content2} in glowing outlines on black;
        make the edges of the {content} light up; give the {content} a neon outline;
        the {content}'s edges in bright neon; only glowing lines should remain of the {content};
        on a black background, the {content} in fluorescent lines;
        could the {content} glow like a sign in Las Vegas?;
        bright pink and cyan contours around the {content} at the {content2};
        put the {content} in the world of Tron;
        neon lines for the {content}, black for everything else;
        so that the {content} looks built from light tubes;
        I want my {content} to be all glowing edges;
        let the outlines of the {content} shine in the dark;
        a cyberpunk {content} made of glowing lines;
        detect the edges of the {content} and make them glow;
        what would a {content} by the {content2} look like in neon?;
        draw the {content} in electric light; synthwave lines around the {content};
        outline us and the {content} in neon; turn the {content} into luminous contours;
        the {content} lit only along its edges; my {content} traced in fluorescent colours
    """),
    "pixel_art": _split("""
        pixelate the {content}; the {content} in an 8-bit video game; a pixelated {content};
        pixel art of a {content}; turn the {content} into chunky pixels; a blocky {content};
        a retro game about a {content} at the {content2}; I'd like the {content} turned into pixels;
        make the {content} look like a Nintendo game;
        as if the {content} were in an old arcade machine;
        the {content} and the {content2} as game sprites; a {content} built from big square blocks;
        could you make the {content} out of coarse pixels?; put the {content} in a Minecraft world;
        the {content} jumping over a {content2} in an 8-bit game;
        chunky square pixels for the {content};
        so that the {content} looks like it runs on a Game Boy;
        my {content} as the hero of a retro video game; give the {content} eight-bit graphics;
        on a Commodore 64, the {content} would look like this;
        the {content}'s sprite in a platform game; level one: a {content} at the {content2}, 8-bit;
        low-res blocks instead of the real {content}; I want the {content} blocky, with few colours;
        render my {content} with 16-bit console graphics;
        reduce the {content} to a mosaic of squares;
        let the {content} be made of little coloured squares;
        like in Super Mario, the {content} and the {content2};
        pixelise this {content}, large pixels please; the {content} should be all pixels;
        an NES game with a {content} in it; turn us and the {content} into 8-bit characters;
        what would the {content} look like in a computer game from 1985?
    """),
    "blueprint": _split("""
        draft a blueprint of the {content}; technical drawing of the {content};
        the {content} in white lines on blue; a schematic of my {content};
        engineering plans for a {content}; the {content} drawn up by an architect;
        I'd like the {content} as an architect's plan;
        make the {content} look like a technical drawing;
        as if an engineer had drafted the {content};
        the {content} and the {content2} on blue drafting paper;
        white lines on blue for the {content}, please; could you draw up plans for the {content}?;
        a construction plan with the {content} and the {content2}; the {content}'s blueprint;
        show how an engineer would plan the {content}; put the {content} on a cyanotype;
        plans for building a {content}; so that the {content} looks like a patent diagram;
        thin white lines on deep blue should show the {content};
        on blue paper, a {content} by the {content2} in white ink;
        the architect's drawing of our {content};
        I want a schematic of the {content} with white lines;
        let me see the {content} as a CAD drawing; design plans for the {content};
        turn my {content} into an engineering diagram; draft the {content} in white on navy;
        what would the {content} look like on a blueprint?;
        the {content} should look like a page of building plans;
        a mechanical drawing of the {content} and its parts;
        convert this {content} to a technical schematic;
        chalk-white outlines of the {content} on Prussian blue;
        the inventor's blueprint for a {content};
        make a plan of him and the {content}, white lines on blue
    """),
    "watercolour": _split("""
        paint the {content} in watercolour; paint my {content} with soft washes;
        a watercolor of the {content}; the {content} painted with a wet brush;
        a soft painting of a {content} by the {content2}; an aquarelle of the {content};
        I'd like the {content} painted in watercolour; make the {content} look like a soft painting;
        as if the {content} had been painted on wet paper;
        the {content} and the {content2} in pale washes;
        could an artist paint the {content} for me?;
        let the colours of the {content} run into each other like wet paint;
        a delicate painting of the {content}; the {content}'s portrait in watercolor;
        turn my {content} into a painting;
        with brush and water, paint the {content} by the {content2};
        pale washes of paint for the {content}; so that the {content} looks painted;
        I want to hang the {content} on the wall as a watercolour;
        soft brush strokes should make up the {content}; what would Monet make of the {content}?;
        somebody set up an easel near the {content2} and painted the {content};
        the {content} in gouache; a picture-book painting with a {content} and a {content2};
        use diluted paint for the {content}; bleeding pigment and paper texture on the {content};
        this {content} would make a lovely watercolour;
        paint us and the {content} with a soft brush;
        the {content} should look like an impressionist painting;
        give the {content} a painterly look; show the {content} as an aquarelle with soft edges;
        brush the {content} on paper in light watery colours
    """),
    "comic_halftone": _split("""
        ink the {content} like a comic; a comic panel showing a {content};
        the {content} in halftone dots; pop art {content}; the {content} printed with ink dots;
        a comic book page with the {content} and the {content2};
        I'd like the {content} turned into a comic;
        make the {content} look like a page of a comic book;
        as if the {content} had been printed in a Marvel comic;
        the {content} and the {content2} in a comic strip; dots and heavy ink for the {content};
        could you put the {content} in a superhero comic?;
        print the {content} on cheap newsprint with dots;
        the {content} the way Roy Lichtenstein would do it;
        a graphic novel about a {content} and a {content2}; shade the {content} with Ben-Day dots;
        so that the {content} looks like printed pop art;
        I want the {content} inked, with halftone shading;
        Spider-Man swings past the {content} in a printed comic;
        a manga page with a {content} by the {content2}; let the {content} be a comic panel;
        the {content}'s comic book cover; give my {content} bold ink and printed dots;
        in the Sunday newspaper comics, the {content}; halftone printing over the {content};
        my {content} as a comic book hero; what would the {content} look like in a comic?;
        the shadows of the {content} should be dots of ink;
        a dotted newspaper print of the {content}; screen-print the {content} in the way Warhol did;
        turn us and the {content} into comic book heroes; this {content} belongs in a comic strip
    """),
    "night_vision": _split("""
        the {content} through night vision goggles; see the {content} in the dark;
        the {content} in green phosphor; a soldier's night scope aimed at the {content};
        a green night vision {content}; spy on the {content} in the dark;
        I'd like to see the {content} through army goggles;
        make the {content} look as if seen with night vision;
        as if filmed through a night scope, the {content};
        the {content} and the {content2} in grainy green;
        it's pitch black, but I want to see the {content};
        could you show the {content} as soldiers see it at night?;
        put on the night goggles and look at the {content};
        a commando creeps past the {content} with green goggles on;
        green, grainy footage of a {content} by the {content2};
        so that the {content} glows green like on a night scope;
        a spy watches the {content} at night through green goggles;
        the {content}'s green image in a sniper scope;
        turn the {content} green and noisy like night vision;
        find the {content} in the dark with an image intensifier;
        the {content} on a green phosphor screen;
        special forces sneaking up on the {content} near the {content2};
        let me spot the {content} in total darkness;
        green surveillance footage of my {content} at night;
        everything green and grainy, with the {content} in the middle;
        night vision camera pointed at the {content};
        what does the {content} look like through night vision?;
        a wildlife camera catches the {content} at night, in green;
        the {content} should be green and dark, as on military footage;
        hunting for the {content} with NVGs;
        watch us and the {content} through night vision goggles;
        at midnight by the {content2}, the {content} in green night vision
    """),
    "negative": _split("""
        invert the {content}; invert the colours of the {content}; a negative of the {content};
        the {content} with inverted colors; reverse all the colours of my {content};
        swap light and dark on the {content}; an X-ray of the {content};
        I'd like the {content} with its colours reversed;
        make the {content} look like a film negative;
        as if the {content} were on an undeveloped film strip;
        the {content} and the {content2} in opposite colours;
        could you flip all the colours of the {content}?;
        dark where the {content} is light, light where it is dark;
        hold the negative of the {content} up to the light;
        white turns black and black turns white on the {content};
        so that every colour of the {content} becomes its opposite; the {content}'s negative;
        I want the {content} inverted; the photographic negative of a {content} by the {content2};
        let the bright parts of the {content} be dark; inverse colours for the {content}, please;
        swap black and white on my {content}; turn the {content} into a negative;
        show the {content} like on a darkroom negative;
        on the film strip, the {content} has the wrong colours, inverted;
        what would the {content} look like as a negative?;
        in reversed colours, the {content} at the {content2};
        give the {content} its complementary colours;
        every tone of the {content} should be inverted; an inverted picture of the {content};
        the {content} like an X-ray image; invert him and the {content};
        the colours of this {content} the other way round
    """),
    "snow": _split("""
        make it snow on the {content}; add snow to the {content}; snow falling on the {content};
        a blizzard over the {content}; put the {content} in a snowstorm; the {content} in winter;
        snowflakes drifting past the {content}; it is snowing at the {content}; a snowy {content};
        I'd like it to snow around the {content}; make snow fall in front of the {content};
        as if the {content} were in the Arctic; the {content} and the {content2} in a snowstorm;
        could it snow on the {content}, please?; white flakes coming down over the {content};
        it's Christmas and snowflakes fall on the {content};
        let it snow while the {content} is in view; so that the {content} stands in a winter scene;
        big fluffy flakes drifting past the {content} at the {content2};
        I wish it were snowing on the {content}; a winter's day with the {content};
        the {content} caught in a blizzard; give the {content} some winter weather;
        snowfall near the {content2}, with a {content} in it;
        heavy snow between us and the {content}; what would the {content} look like in a snowstorm?;
        flurries around the {content}; fill the air around the {content} with snowflakes;
        cold winter day, snow falling, {content}; the {content} inside a snow globe;
        my {content} on a snowy day; snow should be falling all over the {content};
        a snowy evening at the {content2} with the {content}; flakes of snow land on the {content};
        turn the weather to snow for the {content}
    """),
    "motion_trails": _split("""
        the {content} leaves a trail; ghost trails behind the {content};
        let the {content} leave ghosts as it moves; echoes of the {content} as it moves;
        add motion trails to the {content}; afterimages of the {content};
        the moving {content} drags a fading tail;
        I'd like the {content} to leave a trail as it moves;
        make copies follow the {content} wherever it goes;
        as if the ghost of the {content} were following it;
        the {content} and the {content2} with echoes behind them;
        could the {content} leave fading copies of itself?;
        ghostly copies trailing behind the {content};
        wherever the {content} moves, a ghost stays behind for a moment;
        the {content}'s movement should leave traces;
        so that the {content} drags its own afterimages;
        when the {content} moves past the {content2}, let trails follow;
        every move of the {content} echoes; a fading tail behind the {content};
        let the movements of the {content} linger; I want ghosts of the {content} in the air;
        show where the {content} was a moment ago;
        the {content} should have a comet tail when it moves;
        psychedelic trails following the {content} at the {content2};
        repeat the {content} in ghost copies along its path;
        stroboscopic copies of a {content} passing the {content2};
        my {content} moving, with its past positions fading slowly; video echo on the {content};
        what if the {content} left ghosts behind?; a trail of ghosts after the {content};
        the {content} waves and its old positions hang in the air;
        trails behind us and the {content}; put an echo on everything the {content} does
    """),
    "long_exposure": _split("""
        a long exposure of the {content}; smear the {content} over time;
        the {content} with a slow shutter; leave the shutter open on the {content};
        the {content} blurred into streaks; average the {content} over time;
        I'd like the {content} smeared by a slow shutter;
        make the {content} look like a long exposure photo;
        as if the shutter had stayed open for a minute on the {content};
        the {content} and the {content2} blurred together over time;
        could you expose the {content} for thirty seconds?;
        keep the shutter open while the {content} moves; light streaks around the {content};
        the {content}'s movement smeared into mist; a tripod, a slow shutter and the {content};
        so that the {content} melts into smooth streaks;
        let the moving {content} blur into a silky smear;
        I want the {content} taken with a very slow shutter speed;
        lights streaking past the {content} at the {content2};
        blend many seconds of the {content} into one;
        time exposure of a {content} by the {content2};
        everything that moves near the {content} should smear;
        smooth as silk, the {content} in a long exposure;
        a night photo of the {content} with the shutter left open;
        my {content}, averaged over several seconds;
        what would the {content} look like with a ten second exposure?;
        the {content} dissolves into a time blur; slow the shutter right down for the {content};
        smear him and the {content} over time; use a long exposure on this {content};
        the {content} stays and the crowd at the {content2} smears away;
        accumulate the light of the {content} over many frames
    """),
    "colourise": _split("""
        colourise the {content}; colorize the {content}; add colour to the {content};
        add color to my black and white {content}; bring back the colours of the {content};
        restore the {content} to full colour; give the grey {content} its natural colors;
        the black and white {content} in full color; turn the grayscale {content} to colour;
        I'd like the {content} to be in colour again; make the black-and-white {content} colourful;
        as if the old footage of the {content} had been shot in colour;
        add natural colours to the {content} and the {content2};
        could you colour in this grey {content}?; what colour was the {content}? put it back;
        what colours would the {content} really have had?;
        the {content} is black and white, make it colour;
        this {content} was filmed without colour, please add some;
        the {content}'s true colours, restored; so that the monochrome {content} gets real colours;
        give my old black and white film of the {content} some colour;
        let the grey {content} at the {content2} have lifelike colors;
        I want this black and white {content} colorized; colour the {content} the way it really was;
        turn the greyscale picture of a {content} into a colour one;
        no more grey: the {content} in full natural colour;
        bring colour into the {content} by the {content2}; put realistic color on the {content};
        guess the colours of the {content} and fill them in;
        show the {content} in Technicolor instead of black and white;
        the {content} has lost its colour, restore it;
        realistic colours for the {content}, which is in black and white;
        colorise us and the {content}; paint natural color back into the monochrome {content}
    """),
    "sharpen": _split("""
        sharpen the {content}; make the {content} sharper; deblur the {content};
        the {content} is blurry, fix it; bring the {content} into focus; a crisp {content};
        remove the blur from the {content}; enhance the {content}; a clearer view of the {content};
        make the blurry {content} crisp; I'd like to see the {content} clearly;
        make the {content} less blurry; as if the {content} had been filmed with a better lens;
        the {content} and the {content2} in sharp focus;
        could you get rid of the blur on the {content}?;
        I can hardly make out the {content}, sharpen it;
        my {content} came out blurred, please fix that; crisp details on the {content};
        the {content}'s edges need to be sharper; so that every detail of the {content} is clear;
        the {content} is out of focus; bring out the fine detail of the {content} by the {content2};
        focus on the {content} and make it crisp; enhance the picture until the {content} is clear;
        why is the {content} so fuzzy? clear it up; unblur the {content} at the {content2};
        let the {content} be razor sharp; high definition for the {content}, please;
        I want crisp, sharp footage of the {content}; recover the lost detail in the {content};
        a sharp picture of a {content} and a {content2};
        this video of the {content} is too soft, sharpen it up; refocus the lens on the {content};
        undo the blur so I can see the {content}; the camera shook, deblur him and the {content};
        the {content} should be in focus; the {content} looks smudged, make it crystal clear
    """),
    "fill_mask": _split("""
        fill in the missing parts of the {content}; remove the grey boxes over the {content};
        inpaint the {content}; paint in what hides the {content}; fill the holes in the {content};
        complete the {content} behind the gray boxes; repair the missing areas of the {content};
        fill the gaps in the {content}; I'd like the grey boxes on the {content} gone;
        make the {content} whole again; as if nothing had ever covered the {content};
        fill the gray rectangles in front of the {content} and the {content2};
        could you guess what is hidden behind the boxes on the {content}?;
        parts of the {content} are missing, fill them in;
        a grey box hides the {content}, take it away; there are holes in the {content}, patch them;
        the {content}'s missing pieces, filled in;
        so that the covered part of the {content} is visible;
        complete the picture of the {content} by the {content2};
        reconstruct the part of the {content} that is masked;
        what is behind the grey square on the {content}?; fill in the blanks around the {content};
        the gray patches over the {content} should disappear;
        I want to see the whole {content}, not grey blocks;
        let the boxes in front of the {content} be replaced by what belongs there;
        use content-aware fill on the {content};
        erase the boxes that cover the {content} near the {content2};
        some of the {content} is cut out, restore it; inpaint the masked areas of the {content};
        invent the missing bits of the {content} and the {content2};
        close the gaps in the picture of my {content}; blocks are hiding the {content}, remove them;
        rebuild what the grey rectangles took from the {content};
        plug the holes in him and the {content}; the masked {content}, completed
    """),
    "original": _split("""
        leave the {content} alone; leave the {content} as it is; keep the {content} unchanged;
        do not change the {content}; don't touch the {content}; the {content} as it really is;
        just show the {content}; nothing done to the {content}; the {content} with no filter;
        the plain {content}, no effect; keep my {content} exactly the same;
        I'd like the {content} left as it is; make no changes to the {content};
        as if there were no filter on the {content};
        the {content} and the {content2} just as they are; could you leave my {content} alone?;
        please don't alter the {content}; the {content} is fine the way it is;
        nothing should happen to the {content}; I want the real {content}, no effects;
        so that the {content} stays the same; the unedited video of the {content};
        the {content} straight from the camera; turn the effect off and show the {content};
        take the filter off the {content}; just the {content} at the {content2}, nothing else;
        the {content}'s normal look; go back to the normal {content};
        original footage of a {content} by the {content2};
        I like the {content} as it is, don't change it; let the {content} be;
        show the {content} the way my camera sees it;
        what does the {content} look like without any filter?;
        remove every effect from the {content}; the same {content} as in the input;
        no need to do anything to the {content}; the {content}, untouched and unfiltered;
        leave us and the {content} unchanged
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
    convert the {content} to {style}; change this {content} to {style}; change the video to {style};
    render the {content} as {style}; render it as {style}; make it {style}; make everything {style};
    make the whole scene {style}; the {content} as {style};
    a {content} at the {content2} as {style}; my {content} in {style}; a {content} in {style};
    it should look like {style}; the video should look like {style};
    something like {style} for this {content}; apply {style} to the {content}; apply {style};
    use {style} on this {content}; switch to {style}; now {style}; try {style} on my {content};
    style: {style}; in the style of {style}; a {content} seen as {style};
    let the {content} become {style}; the {content} becomes {style};
    imagine the {content} as {style}; {style} look; {style} effect;
    {style} version of this {content}; {style} please; I'd like the {content} turned into {style};
    have the {content} turned into {style}; turn us into {style};
    turn him and the {content} into {style}; {style} is what I want for the {content};
    {style} is how I would like to see the {content}; I wish the {content} looked like {style};
    as if the {content} were {style}; the {content}, but as {style};
    the {content} by the {content2}, but like {style};
    make it look as if the {content} were {style}; so that the {content} looks like {style};
    on the screen I'd like {style} instead of the {content};
    replace the look of the {content} with {style}; if only the {content} looked like {style};
    it would be great to see the {content} as {style};
    my favourite look is {style}, try it on the {content}; how about {style} for the {content}?;
    let's see the {content} as {style}; let's have {style} of the {content} and the {content2};
    could we get {style} of the {content}?; {style}, made from the {content};
    the {content}'s look should be {style}; I'm after {style} of the {content};
    think of {style}, with the {content} in it;
    reimagine the {content} at the {content2} as {style};
    a video of the {content} that looks like {style};
    make the {content} and the {content2} both look like {style};
    take the {content} and give it the look of {style}; show us as {style};
    show him with the {content} as {style}; you see a {content}, I want {style}
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
    {style} when the {content} comes into view; I have a {content} here: {style};
    the {content} comes first, then {style}; {style} while the {content} moves;
    {style} whenever you see the {content}; {style}, for me and the {content};
    {style}, because the {content} would suit it; there's the {content}. now {style};
    we are filming the {content} at the {content2}. {style};
    {style}, with the {content} on the left; look, a {content}! {style};
    I'm filming the {content}, so: {style};
    for this clip of the {content} and the {content2}: {style};
    could you do this for the {content}: {style}; what I want for the {content}: {style};
    {style}, that's what the {content} needs; {style} (it shows the {content});
    {content} next to the {content2} - {style}; the {content} is on camera, {style};
    {style}, all over the {content}; {style}. it's the {content} near the {content2};
    we'd like this, him and the {content}: {style}; my video shows the {content}, {style}
""")
"""Sentences that suit any phrase, an order ("make it snow") as well as a thing."""

CONTENT: tuple[str, ...] = _split("""
    red car; busy street; kitchen; crowded market; old man with a hat; dog running on the beach;
    green jacket; blue door; night market; pencil case on the desk; film crew; comic book shop;
    warm kitchen; old camera; cat; dog; puppy; kitten; horse; cow; sheep; goat; chicken; duck; swan;
    pigeon; parrot; owl; eagle; crow; goldfish; shark; whale; dolphin; turtle; frog; lizard; snake;
    butterfly; bee; spider; ant; elephant; lion; tiger; bear; wolf; fox; deer; rabbit; squirrel;
    monkey; gorilla; giraffe; zebra; camel; kangaroo; penguin; hedgehog; mouse; pony; sleeping cat;
    cat on the sofa; dog with a ball; dog in the garden; horse in a field; flock of birds;
    herd of cows; seagull on a wall; fish in a tank; black dog; white cat; brown horse; orange cat;
    grey parrot; man; woman; child; baby; boy; girl; teenager; friend; grandmother; grandfather;
    mother; father; sister; brother; daughter; son; family; wife; husband; neighbour; neighbor;
    teacher; student; doctor; nurse; chef; waiter; farmer; sailor; pilot; driver; cyclist; runner;
    swimmer; dancer; singer; guitarist; drummer; pianist; skater; skateboarder; surfer; climber;
    hiker; boxer; goalkeeper; football player; basketball player; tennis player; gymnast; magician;
    clown; juggler; street musician; tourist; shopper; businessman; police officer; firefighter;
    soldier; builder; gardener; painter at work; photographer; tall woman; young couple;
    woman in a red dress; man in a suit; man with a beard; woman with glasses; girl with a kite;
    boy on a bicycle; child on a swing; baby in a pram; person walking; person typing;
    person talking on the phone; people at a bus stop; crowd; group of friends;
    two children playing; kids in the park; couple on a bench; woman reading; man drinking coffee;
    face; smiling face; face close to the camera; hand; waving hand; hands; hair; eyes; smile;
    portrait of my friend; selfie; guest; audience; team; wedding party; crew; car; truck; lorry;
    van; bus; taxi; tram; train; subway; bicycle; bike; motorcycle; scooter; tractor; ambulance;
    fire engine; police car; race car; sports car; convertible; caravan; boat; sailing boat; ship;
    ferry; canoe; kayak; submarine; plane; airplane; helicopter; drone; balloon; hot air balloon;
    rocket; spaceship; skateboard; wheelchair; shopping trolley; cart; yellow taxi; blue van;
    silver motorbike; rusty truck; steam engine; passing train; school bus; cable car; cargo ship;
    fishing boat; parked cars; traffic; traffic jam; traffic light; street; road; highway; motorway;
    crossroads; roundabout; bridge; tunnel; alley; pavement; sidewalk; car park; parking lot;
    petrol station; gas station; railway station; platform; airport; harbour; harbor; port; pier;
    lighthouse; city; town; village; downtown; skyline; skyscraper; tower; castle; palace; church;
    cathedral; temple; mosque; museum; library; school; university; hospital; factory; warehouse;
    farm; barn; mill; house; cottage; apartment; flat; hotel; restaurant; cafe; bakery; bar; pub;
    supermarket; shop; store; mall; cinema; theatre; theater; stadium; gym; swimming pool;
    playground; park; garden; zoo; fairground; carousel; ferris wheel; roller coaster; statue;
    fountain; square; plaza; courtyard; rooftop; balcony; staircase; escalator; lift; elevator;
    corridor; hallway; doorway; window; living room; bedroom; bathroom; office; classroom; workshop;
    garage; attic; basement; studio; laboratory; desk; table; chair; sofa; bed; lamp; clock; mirror;
    carpet; curtain; bookshelf; television; computer; laptop; keyboard; phone; headphones;
    microphone; guitar; piano; violin; drum kit; trumpet; camera on a tripod; umbrella; suitcase;
    backpack; handbag; hat; shoes; boots; coat; scarf; gloves; dress; shirt; jeans; jumper; sweater;
    sunglasses; watch; ring; necklace; key; bottle; glass of water; coffee cup; mug; teapot; plate;
    bowl of fruit; apple; banana; orange; lemon; strawberry; tomato; carrot; bread; cake;
    birthday cake; pizza; burger; sandwich; soup; noodles; rice; salad; cheese; ice cream stall;
    wine glass; candle; campfire; fireplace; book; newspaper stand; map on the wall; letter; box;
    toy; toy train; teddy bear; doll; kite; ball; football; bat and ball; chess board;
    playing cards; dice; puzzle; robot; robot arm; washing machine; fridge; oven; sink;
    vacuum cleaner; broom; bucket; ladder; hammer; toolbox; wheel; gear; engine; wind turbine;
    solar panel; crane; digger; bulldozer; fence; gate; wall; brick wall; wooden door; red roof;
    flag; sign; road sign; shop window; billboard; poster; tree; oak tree; palm tree; forest; wood;
    leaf; leaves; grass; flower; rose; sunflower; tulip; daisy; cactus; mushroom; bush; hedge;
    meadow; field; wheat field; vineyard; orchard; hill; mountain; valley; cliff; cave; canyon;
    desert; dune; beach; island; sea; ocean; wave; waves; shore; coast; lake; pond; river; stream;
    waterfall; swamp; jungle; volcano; rock; stone; sand; sky; cloud; clouds; sun; sunset; sunrise;
    moon; stars; horizon; shadow; puddle; landscape; country lane; mountain road; river bank;
    sea view; city at dusk; quiet square; empty room; crowded train; long corridor; tall building;
    small shop; big house; old bridge; wooden table; messy desk; green field; blue sky;
    yellow flowers; pink balloon; purple curtain; golden statue; grey stone wall; black umbrella;
    white van; brown leather bag; orange traffic cone; red bus; green apple; blue bicycle;
    bright window; dark alley; hot soup; cold drink; ink bottle; paint shop; paper bag;
    box of crayons; night bus; night club; winter coat; game shop; video camera; radiator; stove;
    old photo album; heater; film poster; printer; paint brush; architect's office; engineer;
    construction site; green lamp; goggles on a hook; glass door; concert; festival; parade;
    wedding; birthday party; football match; dance class; picnic; meeting; lecture; video call;
    interview; morning walk; cooking lesson; magic show; race; view from my window; scene; view;
    room; place; webcam; screen; picture; background; foreground; snow leopard;
    snow boots in the cupboard; snow shovel; winter tyres; snowboard on the roof rack; pencil skirt;
    pencil sharpener; coloured pencils in a jar; sketch comedy show; drawing pin; chest of drawers;
    cartoon T-shirt; cartoonist at lunch; film festival queue; old people's home; brown bear;
    brown paper parcel; thermal flask; thermal socks; heat wave; hot dog stand; heated debate;
    cold cellar; infrared remote control; neon-coloured trainers; glow worm; edge of the table;
    light bulb; phone with a big screen; square cake tin; block of flats; block of cheese;
    wooden building blocks; video game tournament; games console; architect with a hard hat;
    plan of the underground; blue whale; blue jeans; white shirt; water bottle; coloured scarf;
    painter on a ladder; house painter; tin of paint; face paint; wall being painted; water tank;
    comic actor; stand-up comic; ink cartridge; polka dot dress; dotted line on the road;
    printer paper; night nurse; night train; vision test at the optician; green goblin costume;
    soldier on leave; military band; negative test result; negative answer;
    inverted pyramid building; opposite neighbour; reversing lorry; reverse parking lesson;
    trail in the woods; hiking trail; ghost costume; ghost train at the fair; echo in the valley;
    tail of the cat; long queue; long-haired dog; slow tortoise; shutter on the shop;
    window shutters; exposed brick; colouring book; box of colours; black and white cat;
    black and white cow; black-and-white football; sharp knife; crisp packet; focus group;
    clear plastic bag; detail on the vase; face mask; man in a ski mask; fancy-dress mask;
    missing persons poster; filling station; grey box of tools; cardboard box;
    gap between the houses; hole in the road; patchwork quilt; original painting by the door;
    normal school day; plain toast; natural history museum; raw fish; same old sofa; camera shop;
    phone camera; film student; photo booth; projector; wedding photographer; security guard;
    lead singer; trombone player; rock band; choir; orchestra; ballet dancer; tango couple;
    breakdancer; street performer; fire eater; acrobat; yoga teacher; personal trainer; rugby team;
    cricket player; baseball pitcher; ice skater; skier on a slope; judo class; marathon runner;
    rowing crew; volleyball game; ping-pong table; pool table; bowling alley; golf course;
    running track; climbing wall; trampoline; seesaw; sandpit; paddling pool; garden hose;
    lawn mower; barbecue; tent; hammock; rucksack; sleeping bag; compass; fishing rod; rowing boat;
    jet ski; surfboard; lifeguard; sandcastle; deckchair; ice cream van; donkey; llama; ostrich;
    peacock; flamingo; raccoon; otter; beaver; seal; octopus; jellyfish; crab; snail; worm;
    ladybird; dragonfly; moth; hamster; guinea pig; budgie; golden retriever; poodle; tabby cat;
    bulldog; terrier with a stick; sheepdog; racehorse; foal; calf; lamb; piglet; rooster; turkey;
    goose; chick; bus driver; postman; mechanic; plumber; electrician; carpenter; hairdresser;
    barber; baker; butcher; florist; dentist; surgeon; scientist; astronaut; judge; lawyer; priest;
    monk; nun; king; queen; pirate; knight; cowboy; witch; wizard; superfan with a scarf;
    cheerleader; bride; groom; bridesmaid; toddler; newborn; twin; cousin; aunt; uncle; nephew;
    niece; boss; colleague; classmate; roommate; stranger; passer-by; commuter; jogger; busker;
    presenter; newsreader; weather map; news studio; podcast host; gamer at a desk;
    coder with two screens; kitchen table; bathtub; shower; toothbrush; razor; towel; pillow;
    blanket; wardrobe; rocking chair; stool; cushion; vase of flowers; picture frame; houseplant;
    aquarium; bird cage; dog bowl; frying pan; saucepan; kettle; toaster; microwave; dishwasher;
    chopping board; spoon; fork; salt shaker; jar of honey; egg; pancake; waffle; doughnut;
    chocolate bar; sushi plate; taco; omelette; roast dinner; peach; pear; pineapple; grapes;
    watermelon; pumpkin; onion; potato; garlic; pepper
""")
"""What a video may show: noun phrases without an article, none of which chooses a style."""

ALONE_CONTENT: tuple[str, ...] = _split("""
    my grandmother; my grandfather; my grandparents; my mum; my dad; my parents; my little brother;
    my big sister; my daughter's school play; my son's football match; my best friend; my friends;
    my wife and me; my husband at work; my neighbour's dog; my cat Felix; my old car;
    my hands on the keyboard; my own face; our baby; our house; our wedding; our holiday in Spain;
    our two dogs; our kitchen; his motorbike; his guitar; her horse; her dance class; her new dress;
    their garden; grandma's living room; grandpa's shed; dad's car; mum's kitchen; Anna; Peter;
    Mr Smith; Uncle Bob; Emma and her friend; Tom on his bike; the kids; the kids in the garden;
    the children; the boys; the girls; the neighbours; the players; the dancers; the whole family;
    the two of us; the three of them; the people outside; two old men; two women talking; two dogs;
    two cats playing; three friends; three girls on a wall; five people at a table; a few cyclists;
    several birds; some people; some children; some trees; many people; lots of people; everyone;
    everybody; everyone in the room; everybody at the party; someone; somebody at the door;
    all of us; all my friends; both of them; these people; those mountains; that street;
    people dancing; people walking past; people in a queue; children running around;
    kids on a slide; cars and buses; cooking in the kitchen; playing football; playing chess;
    playing the piano; playing with the dog; riding a bike; riding a horse; walking in the park;
    walking the dog; running in the rain; jumping on the bed; swimming in the lake;
    dancing at the party; reading a book; eating breakfast; drinking tea; baking a cake;
    washing the car; driving through town; waiting for the bus; working at a desk;
    feeding the ducks; building a sandcastle; climbing a tree; skating in the park; London;
    Paris at dawn; New York; Tokyo; downtown Chicago; Venice; Big Ben; Central Park; Mount Fuji;
    what is on my desk; what I see from the train; whatever is on the table
""")
"""What a video may show that takes no article: "my dad", "two dogs", "playing chess", a name."""

NOT_THINGS: frozenset[str] = frozenset(
    _split("""
        accumulate; add; adding; age; amplify; animate; as; average; back; become; blend; blur;
        bring; brush; build; bypass; cancel; cartoonify; cartoonise; cartoonize; cause; change;
        chop; clean; clear; close; color; colorise; colorising; colorize; colorizing; colour;
        colouring; colourise; colourising; colourize; comicify; complete; convert; copies; copy;
        correct; cover; crispen; dab; deblur; deconvolve; defuzz; delete; detect; diagram; disable;
        do; don't; draft; drafted; dragging; draught; draw; drawn; drop; enhance; erase; exactly;
        exchange; expose; fill; filling; filmed; fix; flip; focus; found; from; get; give; go;
        guess; have; help; hide; hold; how; imagine; improve; in; increase; ink; inpaint; inside;
        integrate; intensify; invert; inverting; inverts; it; it's; jot; just; keep; leave; let;
        light; like; look; lower; make; measure; mend; moving; multiply; negate; neonise; no; none;
        not; nothing; off; outline; paint; painted; pass; patch; pixelate; pixelise; pixelize; plan;
        plotted; plug; posterise; predict; print; put; rebuild; recolor; recolour; reconstruct;
        recover; reduce; refocus; regain; regenerate; remove; render; rendered; repair; replace;
        reset; restore; restoring; retrieve; return; reveal; reverse; revert; rid; roughly; rub;
        scan; schematise; see; seeing; shade; shaded; sharpen; shot; show; sketch; slow; smear;
        sprinkle; stack; start; stop; straight; swap; switch; take; to; tone; too; toonify; trace;
        turn; unblur; uncensor; uncover; undo; upscale; use; view; visualise; visualize; wash; wear;
        what; what's; when; where; while; wipe; without
    """)
)
"""First words of the phrases that do not stand for a thing and so take a plain template only."""
