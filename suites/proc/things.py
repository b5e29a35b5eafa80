"""Things in a picture: the ground, what differs from it, and each one's colour and shape."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from suites.proc.render import (
    SIZE,
    shape_coverage,
)
from suites.proc.words import COLOURS, GROUNDS, SHAPES

__all__ = [
    "DIFFERS",
    "EIGHT",
    "MIN_OVERLAP",
    "MIN_PIXELS",
    "NEAR",
    "PLAIN",
    "Thing",
    "coverage_of",
    "crisp",
    "intersection_over_union",
    "nearest",
    "read_ground",
    "read_things",
]

DIFFERS = 48.0  # RGB distance from the ground at which a pixel belongs to a thing
PLAIN = 40.0  # RGB distance within which a ground counts as the one it is nearest to
NEAR = 75.0  # the same for a thing's colour
MIN_PIXELS = 20  # smaller components are noise
MIN_OVERLAP = 0.74  # soft intersection over union with the ideal shape
_MIN_SLOPE = 0.17  # contrast per px across an edge; a blur of sigma 3 leaves 0.13
EIGHT = np.ones((3, 3), dtype=bool)

_ROWS, _COLS = np.mgrid[0:SIZE, 0:SIZE] + 0.5
_BORDER = np.pad(np.zeros((SIZE - 4, SIZE - 4), dtype=bool), 2, constant_values=True)


Colour = tuple[int, int, int]


def nearest(colour: np.ndarray, palette: Mapping[str, Colour], limit: float) -> str | None:
    """Name the palette's nearest colour, None when it is further than the limit."""
    distances = {name: float(np.linalg.norm(colour - value)) for name, value in palette.items()}
    name = min(distances, key=lambda k: distances[k])
    return name if distances[name] <= limit else None


def crisp(coverage: np.ndarray) -> bool:
    """Say whether the half-level edges of a coverage map [H, W] are steep, in the median."""
    gy, gx = np.gradient(coverage)
    edge = (coverage > 0.3) & (coverage < 0.7)
    inner = ndimage.binary_erosion(coverage >= 0.5, border_value=1)
    steep = (coverage >= 0.5) & ~inner  # a hard edge has no pixel between the levels
    slope = np.hypot(gx, gy)[edge | steep]
    return slope.size > 0 and float(np.median(slope)) >= _MIN_SLOPE


def _soften(coverage: np.ndarray) -> np.ndarray:
    """Blur a coverage map by a binomial step (sigma 0.7 px): overlap then forgives soft edges."""
    padded = np.pad(coverage, 1)
    rows = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
    return 0.25 * rows[:, :-2] + 0.5 * rows[:, 1:-1] + 0.25 * rows[:, 2:]


def intersection_over_union(a: np.ndarray, b: np.ndarray) -> float:
    """Overlap of two coverage maps, 1 where they are equal."""
    return float(np.minimum(a, b).sum() / np.maximum(a, b).sum())


def coverage_of(image: np.ndarray, ground: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Return how much of `colour` over `ground` each pixel [H, W] shows, in [0, 1]."""
    axis = colour - ground
    share: np.ndarray = (image - ground) @ axis / max(float(axis @ axis), 1.0)
    return share.clip(0.0, 1.0)


def read_ground(image: np.ndarray) -> tuple[np.ndarray, str | None]:
    """Measure the ground on the border: its colour [3] and its name, None unless plain, light."""
    colour = np.median(image[_BORDER], axis=0)
    return colour, nearest(colour, GROUNDS, PLAIN)


class Thing:
    """One connected component: its colour's name, its coverage map and where it lies.

    `coverage` [h, w] covers the component and 4 px around it, from row `y0` and column
    `x0`; `box` (top, bottom, left, right) and the centroid `cx`, `cy` are in the picture.
    """

    __slots__ = ("area", "box", "colour", "coverage", "cx", "cy", "x0", "y0")

    def __init__(
        self, image: np.ndarray, ground: np.ndarray, component: np.ndarray, where: Sequence[slice]
    ) -> None:
        rows, cols = (slice(max(s.start - 4, 0), s.stop + 4) for s in where)
        self.y0, self.x0 = rows.start, cols.start
        image, mask = image[rows, cols], component[rows, cols]
        distance = np.linalg.norm(image - ground, axis=-1)
        core = mask & (distance >= 0.8 * np.percentile(distance[mask], 80))
        colour = np.median(image[core], axis=0)
        self.colour = nearest(colour, COLOURS, NEAR)
        self.coverage = coverage_of(image, ground, colour) * ndimage.binary_dilation(mask, EIGHT)
        solid = self.coverage >= 0.5
        if not solid.any():  # nothing but faint noise
            self.colour, self.coverage, solid = None, mask.astype(float), mask
        foreign = np.linalg.norm(image[self.coverage > 0.9] - colour, axis=-1) > NEAR
        if foreign.sum() > 0.2 * foreign.size:
            self.colour = None
        self.area = float(self.coverage.sum())
        self.cx = float((self.coverage * _COLS[rows, cols]).sum() / self.area)
        self.cy = float((self.coverage * _ROWS[rows, cols]).sum() / self.area)
        ys, xs = np.nonzero(solid)
        ys, xs = ys + self.y0, xs + self.x0
        self.box = int(ys.min()), int(ys.max()) + 1, int(xs.min()), int(xs.max()) + 1

    def extent(self) -> float:
        """Return the area of the bounding box in px squared."""
        top, bottom, left, right = self.box
        return float((bottom - top) * (right - left))

    def shape(self) -> str | None:
        """Name the shape that overlaps best at the measured area and centroid."""
        seen = _soften(self.coverage)
        overlaps = {shape: self._overlap(shape, seen) for shape in SHAPES}
        best = max(overlaps, key=lambda k: overlaps[k])
        return best if overlaps[best] >= MIN_OVERLAP else None

    def _overlap(self, shape: str, seen: np.ndarray) -> float:
        unit_area, unit_y = _UNITS[shape]
        r = math.sqrt(self.area / unit_area)
        height, width = seen.shape
        x = np.arange(width)[None, :] + (self.x0 + 0.5 - self.cx)
        y = np.arange(height)[:, None] + (self.y0 + 0.5 - self.cy + unit_y * r)
        return intersection_over_union(seen, _soften(shape_coverage(shape, x, y, r)))

    def whole(self) -> np.ndarray:
        """Return the coverage map in place, [64, 64]."""
        full = np.zeros((SIZE, SIZE))
        height, width = self.coverage.shape
        full[self.y0 : self.y0 + height, self.x0 : self.x0 + width] = self.coverage
        return full


def _unit(shape: str) -> tuple[float, float]:
    """Return the area over r squared and the centroid's height over r of a shape."""
    r = 24.0
    coverage = shape_coverage(shape, _COLS - 32, _ROWS - 32, r)
    return float(coverage.sum() / r**2), float((coverage * (_ROWS - 32)).sum() / coverage.sum() / r)


_UNITS = {shape: _unit(shape) for shape in SHAPES}


def read_things(image: np.ndarray) -> tuple[str | None, list[Thing]]:
    """Return the ground's name and every component; none at all if one of them is not crisp."""
    ground, name = read_ground(image)
    labels, n = ndimage.label(np.linalg.norm(image - ground, axis=-1) > DIFFERS, EIGHT)
    sizes = np.bincount(labels.ravel(), minlength=n + 1)
    things = [
        Thing(image, ground, labels == i, where)
        for i, where in enumerate(ndimage.find_objects(labels), start=1)
        if sizes[i] >= MIN_PIXELS
    ]
    if not all(crisp(thing.coverage) for thing in things):
        return name, []
    return name, things
