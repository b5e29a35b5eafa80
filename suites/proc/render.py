"""Draw a spec as a picture of 64 x 64 pixels.

What the caption does not state (placement, exact size, a plain light ground) comes from
`rng`. Coordinates are in pixels, x to the right and y down, pixel centres at +0.5. Edges
are anti-aliased by coverage = clip(0.5 - signed distance, 0, 1).
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from suites.proc.scene import EMBLEM_COLOURS, Spec
from suites.proc.words import COLOURS, GROUNDS, LANDS, LETTERS, SHAPES, SKIES

__all__ = [
    "ARM_ANGLES",
    "FIGURE",
    "GLYPHS",
    "GLYPH_PITCH",
    "HORIZON_ROWS",
    "LIGHTS",
    "PERIODS",
    "SIZE",
    "SPRITE_CELL",
    "SPRITE_ORIGIN",
    "render",
    "shape_coverage",
    "sprite",
]

SIZE = 64
PERIODS = {"thin": 8.0, "medium": 14.0, "wide": 24.0}  # px, across the stripes
HORIZON_ROWS = {"high": 22, "middle": 34, "low": 46}  # px from the top
LIGHTS = {"sun": (255, 228, 60), "moon": (236, 236, 214)}
GLYPH_PITCH = 16  # px from letter to letter, two tokens of 8 px; a glyph is 10 x 14
SPRITE_CELL = 4  # px; 8 x 8 cells
SPRITE_ORIGIN = 16  # px; four by four tokens of 8 px


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """The stick figure in px: origin at the top of the head, x from the axis, y down."""

    height: float = 54.0
    head: float = 6.5  # radius
    shoulder_x: float = 4.0
    shoulder_y: float = 20.0
    arm: float = 11.0  # length
    hip_x: float = 2.0
    hip_y: float = 33.0
    foot_x: float = 9.0
    foot_y: float = 51.5
    stroke: float = 5.0  # width of a limb
    trunk: float = 8.0  # width of the torso


FIGURE = Figure()
ARM_ANGLES = {"up": -45.0, "out": 0.0, "down": 45.0}  # degrees below the horizontal

_ALL_COLOURS = {**COLOURS, "white": GROUNDS["white"]}

# 5 x 7 capitals, one row of five bits a hexadecimal pair.
_FONT = (  # noqa: SIM905
    "0e11111f111111 1e11111e11111e 0e11101010110e 1e11111111111e 1f10101e10101f 1f10101e101010 "
    "0e11101713110f 1111111f111111 0e04040404040e 0702020202120c 11121418141211 1010101010101f "
    "111b1515111111 11191513111111 0e11111111110e 1e11111e101010 0e11111115120d 1e11111e141211 "
    "0f10100e01011e 1f040404040404 1111111111110e 11111111110a04 1111111515150a 11110a040a1111 "
    "11110a04040404 1f01020408101f"
).split()


def _glyph(code: str) -> np.ndarray:
    rows = np.array(list(bytes.fromhex(code)), dtype=np.uint8)
    bits = (rows[:, None] >> np.arange(4, -1, -1)) & 1
    return np.kron(bits, np.ones((2, 2))).astype(np.float32)


GLYPHS: dict[str, np.ndarray] = {
    k: _glyph(c) for k, c in zip(LETTERS, _FONT, strict=True)
}  # [14, 10]

_CENTRES = np.arange(SIZE, dtype=np.float32) + 0.5
_X, _Y = _CENTRES[None, :], _CENTRES[:, None]  # [1, W], [H, 1]
_GROUND_COLOURS = np.array(list(GROUNDS.values()), dtype=np.float32)


def _cover(distance: np.ndarray) -> np.ndarray:
    covered: np.ndarray = np.clip(0.5 - distance, 0.0, 1.0)
    return covered


Point = tuple[float, float]
Colour = tuple[int, int, int] | np.ndarray


def _length(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    squared: np.ndarray = x * x + y * y
    return np.sqrt(squared)  # rounded alike on every machine; np.hypot is not


def _star_distance(x: np.ndarray, y: np.ndarray, r: float) -> np.ndarray:
    """Signed distance to the edges' lines of a five-pointed star, inner radius 0.48 r."""
    u, v = np.abs(x), -y
    for degrees in (108, 36):  # fold the tips onto the one that points up
        nx, ny = math.cos(math.radians(degrees)), -math.sin(math.radians(degrees))
        beyond = 2.0 * np.maximum(u * nx + v * ny, 0.0)
        u, v = u - beyond * nx, v - beyond * ny
    ex = 0.48 * math.cos(math.radians(36)) - 1.0
    ey = 0.48 * math.sin(math.radians(36))
    across: np.ndarray = (v - r) * ey - np.abs(u) * ex
    return across / math.hypot(ex, ey)


def shape_coverage(shape: str, x: np.ndarray, y: np.ndarray, r: float) -> np.ndarray:
    """Return a shape's coverage in [0, 1]: radius r px, x and y px from its centre (broadcast)."""
    match shape:
        case "circle":
            return _cover(_length(x, y) - r)
        case "square":
            return _cover(np.maximum(np.abs(x), np.abs(y)) - 0.9 * r)
        case "triangle":
            slope = (2.0 * np.abs(x) - (y + r)) / math.sqrt(5.0)
            return _cover(np.maximum(slope, y - 0.9 * r))
        case "diamond":
            return _cover((np.abs(x) + np.abs(y) - 1.05 * r) / math.sqrt(2.0))
        case "cross":
            u, v = np.abs(x), np.abs(y)
            bars = np.minimum(np.maximum(u - r, v - 0.34 * r), np.maximum(v - r, u - 0.34 * r))
            return _cover(bars)
        case "ring":
            return _cover(np.abs(_length(x, y) - 0.76 * r) - 0.26 * r)
        case "star":
            return _cover(_star_distance(x, y, 1.08 * r))
    raise ValueError(f"unknown shape {shape!r}; use one of {', '.join(SHAPES)}")


def _plain(colour: Colour) -> np.ndarray:
    return np.tile(np.asarray(colour, dtype=np.float32), (SIZE, SIZE, 1))


def _paint(canvas: np.ndarray, coverage: np.ndarray, colour: Colour) -> None:
    """Lay a colour over a canvas [H, W, 3] in place by coverage [H, W]."""
    canvas += coverage[..., None] * (np.asarray(colour, dtype=np.float32) - canvas)


def _stamp(canvas: np.ndarray, shape: str, colour: Colour, cx: float, cy: float, r: float) -> None:
    """Paint one shape, touching only the pixels around it."""
    reach = 1.1 * r + 1.5
    rows = slice(max(int(cy - reach), 0), int(cy + reach) + 1)
    cols = slice(max(int(cx - reach), 0), int(cx + reach) + 1)
    coverage = shape_coverage(shape, _X[:, cols] - cx, _Y[rows] - cy, r)
    _paint(canvas[rows, cols], coverage, colour)


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(rng.random())


def _ground(rng: np.random.Generator) -> np.ndarray:
    return _plain(_GROUND_COLOURS[int(rng.integers(len(_GROUND_COLOURS)))])


def _apart(rng: np.random.Generator, r1: float, r2: float) -> tuple[float, float, float, float]:
    """Draw two centres inside the picture whose boxes are at least 4 px apart in x or y."""
    margin1, margin2 = r1 + 2.5, r2 + 2.5
    while True:
        u = rng.random((16, 4))
        x1, y1 = (margin1 + u[:, :2] * (SIZE - 2 * margin1)).T
        x2, y2 = (margin2 + u[:, 2:] * (SIZE - 2 * margin2)).T
        free = np.maximum(np.abs(x1 - x2), np.abs(y1 - y2)) >= 1.1 * (r1 + r2) + 4
        if free.any():
            i = int(np.argmax(free))
            return float(x1[i]), float(y1[i]), float(x2[i]), float(y2[i])


def _single(spec: Spec, rng: np.random.Generator) -> np.ndarray:
    canvas = _plain(GROUNDS[spec["ground"]])
    r = _between(rng, 10, 16)
    cx, cy = (32 + _between(rng, -1, 1) * (29 - 1.1 * r) for _ in range(2))
    _stamp(canvas, spec["shape"], COLOURS[spec["colour"]], cx, cy, r)
    return canvas


def _counting(spec: Spec, rng: np.random.Generator) -> np.ndarray:
    canvas = _ground(rng)
    r = _between(rng, 6.25, 7.25)
    cells = np.argsort(rng.random(9), kind="stable")[: spec["count"]]
    for cell in cells.tolist():
        cx = 12 + 20 * (cell % 3) + _between(rng, -0.75, 0.75)
        cy = 12 + 20 * (cell // 3) + _between(rng, -0.75, 0.75)
        _stamp(canvas, spec["shape"], COLOURS[spec["colour"]], cx, cy, r)
    return canvas


def _position(spec: Spec, rng: np.random.Generator) -> np.ndarray:
    canvas = _ground(rng)
    radii = [_between(rng, 9, 11.5) for _ in range(2)]
    half = _between(rng, 15, 16.5)
    shared = _between(rng, -8, 8)
    for sign, o, r in zip((-1, 1), spec["objects"], radii, strict=True):
        along = 32 + (half * sign if spec["relation"] in ("left", "above") else -half * sign)
        across = 32 + shared + _between(rng, -3, 3)
        cx, cy = (along, across) if spec["relation"] in ("left", "right") else (across, along)
        _stamp(canvas, o["shape"], COLOURS[o["colour"]], cx, cy, r)
    return canvas


def _pair(spec: Spec, rng: np.random.Generator, ranges: Sequence[Point]) -> np.ndarray:
    canvas = _ground(rng)
    r1, r2 = (_between(rng, *limits) for limits in ranges)
    x1, y1, x2, y2 = _apart(rng, r1, r2)
    for o, cx, cy, r in zip(spec["objects"], (x1, x2), (y1, y2), (r1, r2), strict=True):
        _stamp(canvas, o["shape"], COLOURS[o["colour"]], cx, cy, r)
    return canvas


def _binding(spec: Spec, rng: np.random.Generator) -> np.ndarray:
    return _pair(spec, rng, ((9, 12), (9, 12)))


def _size(spec: Spec, rng: np.random.Generator) -> np.ndarray:
    limits = {"small": (6, 7.5), "large": (13.5, 16)}
    return _pair(spec, rng, [limits[o["size"]] for o in spec["objects"]])


def _text(spec: Spec, rng: np.random.Generator) -> np.ndarray:
    canvas = _ground(rng)
    width = GLYPH_PITCH * len(spec["letters"]) - 6
    left = (SIZE - width) // 2 + int(rng.integers(-1, 2))
    top = 25 + int(rng.integers(-1, 2))
    for i, letter in enumerate(spec["letters"]):
        x = left + GLYPH_PITCH * i
        _paint(canvas[top : top + 14, x : x + 10], GLYPHS[letter], COLOURS[spec["colour"]])
    return canvas


def _stroke(x: np.ndarray, y: np.ndarray, a: Point, b: Point, width: float) -> np.ndarray:
    """Signed distance to a stroke with round ends from a to b, all in px."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    t = np.clip(((x - a[0]) * dx + (y - a[1]) * dy) / (dx * dx + dy * dy), 0, 1)
    return _length(x - a[0] - t * dx, y - a[1] - t * dy) - width / 2


def _anatomy(spec: Spec, rng: np.random.Generator) -> np.ndarray:
    canvas = _plain(GROUNDS[spec["ground"]])
    scale = _between(rng, 0.94, 1.02)
    x = (_X - (32 + _between(rng, -5, 5))) / scale
    y = (_Y - (4 + _between(rng, 0, 3))) / scale
    f = FIGURE
    distance = _length(x, y - f.head) - f.head
    middle, half = (12 + f.hip_y + 2) / 2, (f.hip_y - 10) / 2
    trunk = np.maximum(np.abs(x) - f.trunk / 2, np.abs(y - middle) - half)
    distance = np.minimum(distance, trunk)
    for side, pose in ((-1, spec["left"]), (1, spec["right"])):
        angle = math.radians(ARM_ANGLES[pose])
        shoulder = (f.shoulder_x - 1.5, f.shoulder_y)
        hand = (f.shoulder_x + f.arm * math.cos(angle), f.shoulder_y + f.arm * math.sin(angle))
        arm = _stroke(side * x, y, shoulder, hand, f.stroke)
        leg = _stroke(side * x, y, (f.hip_x, f.hip_y), (f.foot_x, f.foot_y), f.stroke)
        distance = np.minimum(distance, np.minimum(arm, leg))
    _paint(canvas, _cover(distance * scale), COLOURS[spec["colour"]])
    return canvas


def _landscape(spec: Spec, rng: np.random.Generator) -> np.ndarray:
    canvas = _plain(SKIES[spec["time"]])
    horizon = HORIZON_ROWS[spec["horizon"]] + int(rng.integers(-2, 3))
    canvas[horizon:] = LANDS[spec["land"]]
    if spec["sun"] != "none":
        r = _between(rng, 6, 7)
        cx = {"left": 13, "centre": 32, "right": 51}[spec["sun"]] + _between(rng, -3, 3)
        cy = _between(rng, r + 2, horizon - r - 3)
        _stamp(canvas, "circle", LIGHTS["moon" if spec["time"] == "night" else "sun"], cx, cy, r)
    return canvas


def _texture(spec: Spec, rng: np.random.Generator) -> np.ndarray:
    period = PERIODS[spec["scale"]] * _between(rng, 0.96, 1.04)
    across = {"horizontal": _Y, "vertical": _X, "diagonal": (_X + _Y) / math.sqrt(2.0)}
    phase = (across[spec["direction"]] / period + rng.random()) % 1.0
    coverage = _cover((np.abs(phase - 0.5) - 0.25) * period)
    first, second = (COLOURS[c] for c in spec["colours"])
    canvas = _plain(first)
    _paint(canvas, np.broadcast_to(coverage, (SIZE, SIZE)), second)
    return canvas


@cache
def sprite(adjective: str, noun: str) -> np.ndarray:
    """Return the cells [8, 8] of an emblem, 1 for ink: left-right symmetric, half of them ink."""
    seed = hashlib.sha256(f"proc-1|sprite|{adjective}|{noun}".encode()).digest()
    order = np.argsort(np.frombuffer(seed, dtype=np.uint8), kind="stable")
    bits = np.zeros(32, dtype=np.uint8)
    bits[order[:16]] = 1
    half = bits.reshape(8, 4)
    return np.concatenate([half, half[:, ::-1]], axis=1)


def _emblem(spec: Spec, rng: np.random.Generator) -> np.ndarray:
    ink, ground = (_ALL_COLOURS[c] for c in EMBLEM_COLOURS[spec["adjective"]])
    canvas = _plain(ground)
    cells = sprite(spec["adjective"], spec["noun"])
    inked = np.repeat(np.repeat(cells, SPRITE_CELL, axis=0), SPRITE_CELL, axis=1).astype(bool)
    area = slice(SPRITE_ORIGIN, SPRITE_ORIGIN + 8 * SPRITE_CELL)
    canvas[area, area][inked] = ink
    return canvas


_DRAW: dict[str, Callable[[Spec, np.random.Generator], np.ndarray]] = {
    "single": _single,
    "counting": _counting,
    "position": _position,
    "binding": _binding,
    "size": _size,
    "text": _text,
    "anatomy": _anatomy,
    "landscape": _landscape,
    "texture": _texture,
    "emblem": _emblem,
}


def render(spec: Spec, rng: np.random.Generator) -> np.ndarray:
    """Draw a spec: uint8 image [64, 64, 3], sRGB, the same for the same spec and rng state."""
    return (_DRAW[spec["category"]](spec, rng) + 0.5).astype(np.uint8)
