"""Read a spec back from the pixels of a picture: does it show what its caption states?

Only pixels are read, never the renderer's draws: the plain ground is measured on the
border, things are connected components of what differs from it, colours are the nearest
of the palette, and geometry is compared with ideal shapes of the measured size. A thing
too many counts as wrong, and so do edges that are not crisp. Thresholds leave room for
mild blur and noise (about 28 dB), as autoencoders leave them; a texture may hold 8% of
foreign pixels, and an emblem is compared cell by cell, its edges not.

In `anatomy`, left and right are as seen in the picture.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage

from suites.proc.render import (
    FIGURE,
    GLYPH_PITCH,
    GLYPHS,
    HORIZON_ROWS,
    LIGHTS,
    PERIODS,
    SIZE,
    SPRITE_CELL,
    SPRITE_ORIGIN,
    sprite,
)
from suites.proc.scene import EMBLEM_COLOURS
from suites.proc.things import (
    DIFFERS,
    EIGHT,
    MIN_OVERLAP,
    MIN_PIXELS,
    NEAR,
    PLAIN,
    Thing,
    coverage_of,
    crisp,
    intersection_over_union,
    nearest,
    read_ground,
    read_things,
)
from suites.proc.words import COLOURS, GROUNDS, LANDS, LETTERS, SIDES, SKIES

__all__ = ["verify"]
_MIN_LETTER = 0.75  # correlation with the ideal glyph
_ROWS, _COLS = np.mgrid[0:SIZE, 0:SIZE] + 0.5

Spec = Mapping[str, Any]


def _match(objects: Sequence[Spec], things: Sequence[Thing]) -> list[Thing] | None:
    """Order the things as the objects (of different colours) they show; None unless one to one."""
    if len(things) != len(objects):
        return None
    by_colour = {thing.colour: thing for thing in things}
    if {o["colour"] for o in objects} != set(by_colour):
        return None
    ordered = [by_colour[o["colour"]] for o in objects]
    if any(thing.shape() != o["shape"] for thing, o in zip(ordered, objects, strict=True)):
        return None
    return ordered


def _single(spec: Spec, image: np.ndarray) -> bool:
    ground, things = read_things(image)
    return ground == spec["ground"] and _match([spec], things) is not None


def _counting(spec: Spec, image: np.ndarray) -> bool:
    ground, things = read_things(image)
    return (
        ground is not None
        and len(things) == spec["count"]
        and all(t.colour == spec["colour"] and t.shape() == spec["shape"] for t in things)
    )


def _position(spec: Spec, image: np.ndarray) -> bool:
    ground, things = read_things(image)
    ordered = _match(spec["objects"], things)
    if ground is None or ordered is None:
        return False
    first, second = ordered
    dx, dy = second.cx - first.cx, second.cy - first.cy
    along, across = {"left": (dx, dy), "right": (-dx, dy), "above": (dy, dx), "below": (-dy, dx)}[
        spec["relation"]
    ]
    return along >= 12 and along >= 1.5 * abs(across)


def _binding(spec: Spec, image: np.ndarray) -> bool:
    ground, things = read_things(image)
    return ground is not None and _match(spec["objects"], things) is not None


def _size(spec: Spec, image: np.ndarray) -> bool:
    ground, things = read_things(image)
    ordered = _match(spec["objects"], things)
    if ground is None or ordered is None:
        return False
    extents = {o["size"]: t.extent() for o, t in zip(spec["objects"], ordered, strict=True)}
    return extents["large"] >= 2.0 * extents["small"]


# Glyphs with a margin of one px, zero mean and unit norm: [26, 16 * 12].
_MARGINED = np.stack([np.pad(GLYPHS[letter], 1).ravel() for letter in LETTERS])
_TEMPLATES = _MARGINED - _MARGINED.mean(axis=1, keepdims=True)
_TEMPLATES /= np.linalg.norm(_TEMPLATES, axis=1, keepdims=True)


def _ink(colour: np.ndarray, ground: np.ndarray) -> str | None:
    """Name the colour of thin strokes, which blur mixes with the ground: nearest line to it."""
    misses = {}
    for name, value in COLOURS.items():
        axis = np.array(value, dtype=float) - ground
        t = float((colour - ground) @ axis / (axis @ axis))
        if t >= 0.5:
            misses[name] = float(np.linalg.norm(colour - ground - min(t, 1.0) * axis))
    miss, nearest = min(((miss, name) for name, miss in misses.items()), default=(math.inf, None))
    return nearest if miss <= PLAIN else None


def _text(spec: Spec, image: np.ndarray) -> bool:
    ground, name = read_ground(image)
    distance = np.linalg.norm(image - ground, axis=-1)
    inked = distance > DIFFERS
    if name is None or inked.sum() < MIN_PIXELS:
        return False
    # Blur changes the peak of a thin stroke, not the direction of its summed difference.
    towards = (image[ndimage.binary_dilation(inked, EIGHT)] - ground).sum(axis=0)
    peak = np.percentile(distance[inked], 90)
    colour = ground + towards / np.linalg.norm(towards) * peak
    coverage = coverage_of(image, ground, colour)
    if _ink(colour, ground) != spec["colour"] or not crisp(coverage):
        return False
    left = (SIZE - GLYPH_PITCH * len(spec["letters"]) + 6) // 2
    unexplained = inked.copy()
    for i, letter in enumerate(spec["letters"]):
        read, y, x = _read_letter(coverage, left + GLYPH_PITCH * i, 25)
        if read != letter:
            return False
        unexplained[max(y - 1, 0) : y + 15, max(x - 1, 0) : x + 11] = False
    return int(unexplained.sum()) < MIN_PIXELS


def _read_letter(coverage: np.ndarray, left: int, top: int) -> tuple[str | None, int, int]:
    """Return the letter that correlates best within 4 px of a place, and where it stands."""
    padded = np.pad(coverage, 8)
    y0, x0 = top - 5 + 8, left - 5 + 8  # a margin of one px and a reach of four, padded by eight
    windows = sliding_window_view(padded[y0 : y0 + 24, x0 : x0 + 20], (16, 12)).reshape(81, 192)
    centred = windows - windows.mean(axis=1, keepdims=True)
    scores = centred @ _TEMPLATES.T / np.maximum(np.linalg.norm(centred, axis=1), 1.0)[:, None]
    place, best = (int(v) for v in np.unravel_index(int(np.argmax(scores)), scores.shape))
    letter = LETTERS[best] if scores[place, best] >= _MIN_LETTER else None
    return letter, top - 4 + place // 9, left - 4 + place % 9


def _arm_angle(
    coverage: np.ndarray, scale: float, axis: float, top: float, side: int
) -> float | None:
    """Return the one arm's angle below the horizontal in degrees, None without exactly one arm."""
    angles = np.arange(-80, 81, 4.0)
    radii = np.arange(5.5, FIGURE.arm, 1.0) * scale
    turn = np.deg2rad(angles)[:, None]
    xs = axis + side * (FIGURE.shoulder_x * scale + radii * np.cos(turn))
    ys = top + FIGURE.shoulder_y * scale + radii * np.sin(turn)
    samples = ndimage.map_coordinates(coverage, [ys - 0.5, xs - 0.5], order=1)
    profile = samples.mean(axis=1)
    seen = profile > 0.5
    runs = int(seen[0]) + int((seen[1:] & ~seen[:-1]).sum())
    if runs != 1 or seen.sum() > 20 or profile.max() < 0.75:
        return None
    return float((angles * profile * seen).sum() / (profile * seen).sum())


def _runs(row: np.ndarray) -> list[tuple[int, int]]:
    """Return the [start, end) runs of a boolean row."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _has_head(coverage: np.ndarray, scale: float, axis: float, top: float) -> bool:
    """Say whether a disc sits on top: overlap with the ideal head, above the neck."""
    r = FIGURE.head * scale
    ideal = np.clip(0.5 + r - np.hypot(_COLS - axis, _ROWS - (top + r)), 0, 1)
    above = top + 1.7 * r > _ROWS
    return intersection_over_union(coverage[above], ideal[above]) >= 0.7


def _anatomy(spec: Spec, image: np.ndarray) -> bool:
    ground, things = read_things(image)
    if ground != spec["ground"] or len(things) != 1 or things[0].colour != spec["colour"]:
        return False
    coverage = things[0].whole()
    top, bottom, _, _ = things[0].box
    scale = (bottom - top) / FIGURE.height
    if not 0.75 <= scale <= 1.2:
        return False
    head = coverage * (top + 1.6 * FIGURE.head * scale > _ROWS)
    axis = float((head * _COLS).sum() / head.sum())
    if not _has_head(coverage, scale, axis, top):
        return False
    for side, pose in ((-1, spec["left"]), (1, spec["right"])):
        angle = _arm_angle(coverage, scale, axis, top, side)
        if angle is None or pose != ("up" if angle < -22.5 else "down" if angle > 22.5 else "out"):
            return False
    hip = coverage[int(top + 32 * scale)] >= 0.5
    legs = _runs(coverage[int(top + 47 * scale)] >= 0.5)
    return (
        len(_runs(hip)) == 1
        and len(legs) == 2
        and all(2 <= end - start <= 10 for start, end in legs)
        and legs[0][1] - 1 < axis < legs[1][0] + 1
    )


def _landscape(spec: Spec, image: np.ndarray) -> bool:
    sky = np.median(image[:2].reshape(-1, 3), axis=0)
    land = np.median(image[-4:].reshape(-1, 3), axis=0)
    if nearest(sky, SKIES, PLAIN) != spec["time"] or nearest(land, LANDS, PLAIN) != spec["land"]:
        return False
    landed = np.linalg.norm(image - land, axis=-1) < np.linalg.norm(image - sky, axis=-1)
    heights = SIZE - np.argmin(np.concatenate([landed[::-1], np.zeros((1, SIZE), bool)]), axis=0)
    row = float(np.median(heights))
    name = min(HORIZON_ROWS, key=lambda k: abs(HORIZON_ROWS[k] - row))
    if name != spec["horizon"] or abs(HORIZON_ROWS[name] - row) > 5:
        return False
    if np.mean(np.abs(heights - row) > 2) > 0.1:
        return False
    if not crisp(coverage_of(image[int(row) - 5 : int(row) + 5], sky, land)):
        return False
    below = np.linalg.norm(image[int(row) + 2 :] - land, axis=-1) > DIFFERS
    light = np.array(LIGHTS["moon" if spec["time"] == "night" else "sun"])
    side = _sun_side(image[: int(row) - 2], sky, light)
    return bool(np.mean(below) < 0.02) and side == spec["sun"]


def _sun_side(upper: np.ndarray, sky: np.ndarray, light: np.ndarray) -> str | None:
    """Say where in a sky [h, W, 3] the one sun or moon stands; "none" if the sky is empty."""
    labels, n = ndimage.label(np.linalg.norm(upper - sky, axis=-1) > DIFFERS, EIGHT)
    sizes = np.bincount(labels.ravel(), minlength=n + 1)
    found = [i for i in range(1, n + 1) if sizes[i] >= MIN_PIXELS]
    if not found:
        return "none"
    mask = labels == found[0]
    coverage = coverage_of(upper, sky, light) * ndimage.binary_dilation(mask, EIGHT)
    area = float(coverage.sum())
    colour = np.median(upper[mask & (coverage > 0.6)], axis=0) if (coverage > 0.6).any() else sky
    if (
        len(found) > 1
        or area < MIN_PIXELS
        or np.linalg.norm(colour - light) > 60
        or not crisp(coverage)
    ):
        return None
    rows, cols = _ROWS[: len(upper)], _COLS[: len(upper)]
    cx, cy = (coverage * cols).sum() / area, (coverage * rows).sum() / area
    disc = np.clip(0.5 + np.sqrt(area / np.pi) - np.hypot(cols - cx, rows - cy), 0, 1)
    if intersection_over_union(disc, coverage) < MIN_OVERLAP:
        return None
    return tuple(SIDES)[int(np.digitize(cx, (22.5, 41.5)))]


_WINDOW = np.outer(np.hanning(SIZE), np.hanning(SIZE))
_PADDED = 256  # FFT length: bins of 1/256 cycle a px


def _texture(spec: Spec, image: np.ndarray) -> bool:
    first, second = (np.array(COLOURS[c], dtype=float) for c in spec["colours"])
    axis = second - first
    t = (image - first) @ axis / (axis @ axis)
    low, high = np.percentile(t, (30, 70))
    for part, name in ((t <= low, spec["colours"][0]), (t >= high, spec["colours"][1])):
        if nearest(np.median(image[part], axis=0), COLOURS, NEAR) != name:
            return False
    off_line = np.linalg.norm(image - first - np.clip(t, 0, 1)[..., None] * axis, axis=-1)
    if np.mean(off_line > DIFFERS) > 0.08 or not crisp(np.clip(t, 0, 1)):
        return False
    power = np.abs(np.fft.rfft2((t - t.mean()) * _WINDOW, s=(_PADDED, _PADDED)))
    row, col = np.unravel_index(int(np.argmax(power)), power.shape)
    fy, fx = (row if row < _PADDED // 2 else row - _PADDED) / _PADDED, col / _PADDED
    period = 1.0 / np.hypot(fx, fy)
    scale = min(PERIODS, key=lambda k: abs(np.log(PERIODS[k] / period)))
    tilt = np.rad2deg(np.arctan2(abs(fy), fx))  # 90: horizontal stripes
    direction = "horizontal" if tilt > 67.5 else "vertical" if tilt < 22.5 else "diagonal"
    return (
        abs(np.log(PERIODS[scale] / period)) < 0.25
        and scale == spec["scale"]
        and direction == spec["direction"]
        and _regular(t, fx, fy)
    )


def _regular(t: np.ndarray, fx: float, fy: float) -> bool:
    """Say whether one square wave of the peak's frequency explains the stripes [H, W]."""
    wave = np.exp(2j * np.pi * (fx * _COLS + fy * _ROWS))
    phase = np.angle(np.vdot(wave, t - t.mean()))
    ideal = np.cos(2 * np.pi * (fx * _COLS + fy * _ROWS) + phase) >= 0
    return float(np.mean((t >= 0.5) == ideal)) >= 0.8


def _emblem(spec: Spec, image: np.ndarray) -> bool:
    palette = {**COLOURS, "white": GROUNDS["white"]}
    ink, ground = EMBLEM_COLOURS[spec["adjective"]]
    area = image[SPRITE_ORIGIN : SPRITE_ORIGIN + 32, SPRITE_ORIGIN : SPRITE_ORIGIN + 32]
    cells = area.reshape(8, SPRITE_CELL, 8, SPRITE_CELL, 3)[:, 1:3, :, 1:3].mean(axis=(1, 3))
    axis = np.subtract(palette[ink], palette[ground], dtype=float)
    t = (cells - np.array(palette[ground], dtype=float)) @ axis / (axis @ axis)
    truth = sprite(spec["adjective"], spec["noun"]).astype(bool)
    outside = image.copy()
    outside[SPRITE_ORIGIN - 1 : SPRITE_ORIGIN + 33, SPRITE_ORIGIN - 1 : SPRITE_ORIGIN + 33] = (
        palette[ground]
    )
    return bool(
        np.sum((t >= 0.5) == truth) >= 60  # of 64 cells
        and _correlation(t, truth) >= 0.85
        and nearest(np.median(cells[truth], axis=0), palette, NEAR) == ink
        and nearest(np.median(cells[~truth], axis=0), palette, NEAR) == ground
        and np.mean(np.linalg.norm(outside - palette[ground], axis=-1) > NEAR) < 0.02
    )


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) if a.std() > 0 else 0.0


_READ: dict[str, Callable[[Spec, np.ndarray], bool]] = {
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


def verify(spec: Spec, image: np.ndarray) -> bool:
    """Say whether a picture (uint8 [64, 64, 3], sRGB) shows what a spec states and nothing else."""
    if image.shape != (SIZE, SIZE, 3) or image.dtype != np.uint8:
        raise ValueError(
            f"verify takes uint8 images [64, 64, 3], got {image.dtype} {list(image.shape)}; "
            "resize and quantise before verifying"
        )
    return bool(_READ[spec["category"]](spec, image.astype(np.float64)))
