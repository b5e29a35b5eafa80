"""Every word a caption can use, and every colour a picture can use (sRGB, 0-255)."""

__all__ = [
    "ADJECTIVES",
    "CATEGORIES",
    "COLOURS",
    "COUNTS",
    "DIRECTIONS",
    "GROUNDS",
    "HORIZONS",
    "INKS",
    "LANDS",
    "LETTERS",
    "NOUNS",
    "PLURALS",
    "POSES",
    "RELATIONS",
    "SCALES",
    "SHAPES",
    "SIDES",
    "SIZES",
    "SKIES",
    "VOCABULARY",
]

CATEGORIES = (
    "single",
    "counting",
    "position",
    "binding",
    "size",
    "text",
    "anatomy",
    "landscape",
    "texture",
    "emblem",
)

# Things. No two are nearer than 80 in RGB, and none is nearer than 100 to a ground.
COLOURS = {
    "red": (215, 30, 40),
    "orange": (250, 130, 20),
    "yellow": (240, 210, 30),
    "green": (35, 150, 65),
    "cyan": (45, 190, 215),
    "blue": (35, 70, 210),
    "purple": (130, 45, 165),
    "pink": (245, 110, 185),
    "brown": (120, 68, 30),
    "black": (20, 20, 20),
}
# Plain light backgrounds.
GROUNDS = {
    "white": (248, 248, 248),
    "grey": (200, 200, 200),
    "cream": (250, 236, 196),
    "mint": (198, 240, 214),
    "lilac": (218, 206, 246),
}
# Times of day, as the colour of the sky.
SKIES = {
    "dawn": (246, 188, 198),
    "noon": (130, 200, 250),
    "dusk": (226, 110, 58),
    "night": (20, 24, 72),
}
# The land below a horizon.
LANDS = {
    "green": (60, 150, 60),
    "brown": (115, 75, 40),
    "yellow": (222, 198, 110),
    "white": (240, 244, 248),
    "blue": (30, 85, 175),
    "grey": (140, 142, 140),
    "red": (170, 40, 45),
}
INKS = ("black", "red", "green", "blue", "purple", "brown")

PLURALS = {
    "circle": "circles",
    "square": "squares",
    "triangle": "triangles",
    "diamond": "diamonds",
    "cross": "crosses",
    "ring": "rings",
    "star": "stars",
}
SHAPES = tuple(PLURALS)
COUNTS = ("one", "two", "three", "four", "five")
RELATIONS = {"left": "left of", "right": "right of", "above": "above", "below": "below"}
SIZES = ("small", "large")
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
POSES = ("up", "out", "down")
HORIZONS = ("low", "middle", "high")
SIDES = {"left": "on the left", "centre": "in the centre", "right": "on the right"}
SCALES = ("thin", "medium", "wide")
DIRECTIONS = ("horizontal", "vertical", "diagonal")

ADJECTIVES = tuple(
    """
    amber ancient arctic bitter bold brave bright bronze calm clever cold copper cosmic
    crimson crystal curious daring deep distant eager early eternal fierce frozen gentle
    giant gilded golden grand hidden hollow humble icy iron ivory jolly keen lively lone
    lucky lunar mighty misty noble pale patient proud quick quiet rapid royal rustic secret
    silent silver sly solar solemn stormy swift tender velvet wild young
    """.split()  # noqa: SIM905
)
NOUNS = tuple(
    """
    anchor anvil apple arrow badger basket beacon bear bell boat bridge candle castle clover
    comet compass crow crown dragon drum eagle falcon feather fish flame flower fox gate
    hammer harp hawk heron horse island jewel key kite ladder lantern leaf lion lotus moth
    mountain oak otter owl phoenix pine raven river rose sail shield spear spider sword
    temple tower turtle whale wheel wolf wren
    """.split()  # noqa: SIM905
)

_FUNCTION = (
    "a and arm at emblem field horizon in letter letters moon no of on person stripes sun the with"
)

VOCABULARY: tuple[str, ...] = tuple(
    sorted(
        {
            *COLOURS, *GROUNDS, *SKIES, *LANDS, *SHAPES, *PLURALS.values(), *COUNTS, *RELATIONS,
            *SIZES, *LETTERS, *POSES, *HORIZONS, *SIDES, *SCALES, *DIRECTIONS, *ADJECTIVES,
            *NOUNS, *_FUNCTION.split(),
        }
    )
)  # fmt: skip
