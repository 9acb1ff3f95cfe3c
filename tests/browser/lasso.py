"""A lasso around exactly so many points of the map, worked out from the coordinates that the map is drawn from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from playwright.sync_api import Locator, Page

LEFT, RIGHT, TOP, BOTTOM, MARGIN = 8, 8, 44, 48, 0.04  # the chart's grid and the room around its points
LASSO_TOOL = (25 + 29.5, 25)  # centre of the second tool of the chart's toolbox
NARROW = 520  # below this width the chart has another margin
_WIDE_ENOUGH = 5.0  # pixels: the mouse moves by whole ones
_DIRECTIONS = 180

Corners = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Lasso:
    """An outline on the chart, in pixels from its top left, and the positions of the points inside."""

    outline: Corners
    inside: frozenset[int]


def kept_coordinates(workspace: Path) -> np.ndarray:
    """(n, 2) float64, the only map that a workspace holds."""
    (path,) = workspace.glob("utility/*/maps/*.npy")
    coordinates: np.ndarray = np.load(path).astype(float)
    return coordinates


def lasso_around(count: int, coordinates: np.ndarray, width: float, height: float) -> Lasso:
    """Cuts off `count` points by a straight line, in the direction in which it passes them at the greatest distance."""
    assert width > NARROW
    points = pixels(coordinates, width, height)
    best, gap = np.zeros(2), 0.0
    for angle in np.linspace(0, 2 * np.pi, _DIRECTIONS, endpoint=False):
        direction = np.array([np.cos(angle), np.sin(angle)])
        ordered = np.sort(points @ direction)
        if ordered[count] - ordered[count - 1] > gap:
            best, gap = direction, float(ordered[count] - ordered[count - 1])
    assert gap >= _WIDE_ENOUGH, f"no line around {count} points that the mouse can follow"
    along = points @ best
    cut = float(np.sort(along)[count - 1]) + gap / 2
    return Lasso(_half(best, cut, width, height), frozenset(np.flatnonzero(along < cut).tolist()))


def pixels(coordinates: np.ndarray, width: float, height: float) -> np.ndarray:
    """(n, 2) where each point lies on a chart of this size, from its top left."""
    low, high = coordinates.min(axis=0), coordinates.max(axis=0)
    low, high = low - MARGIN * (high - low), high + MARGIN * (high - low)
    share = (coordinates - low) / (high - low)
    inner = np.array([width - LEFT - RIGHT, height - TOP - BOTTOM])
    return np.stack([LEFT + share[:, 0] * inner[0], TOP + (1 - share[:, 1]) * inner[1]], axis=1)


def _half(direction: np.ndarray, cut: float, width: float, height: float) -> Corners:
    """The part of the grid that lies before a line, as corners in order."""
    left, right, top, bottom = LEFT + 2, width - RIGHT - 2, TOP + 2, height - BOTTOM - 2
    grid = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], dtype=float)
    corners: Corners = []
    for here, there in zip(grid, np.roll(grid, -1, axis=0), strict=True):
        before, after = float(here @ direction) - cut, float(there @ direction) - cut
        if before < 0:
            corners.append((float(here[0]), float(here[1])))
        if before * after < 0:
            x, y = here + (there - here) * before / (before - after)
            corners.append((float(x), float(y)))
    return corners


def draw(page: Page, chart: Locator, lasso: Lasso) -> None:
    """Takes the lasso tool and drags the mouse around the outline."""
    box = chart.bounding_box()
    assert box
    page.mouse.click(box["x"] + LASSO_TOOL[0], box["y"] + LASSO_TOOL[1])
    at = [(box["x"] + x, box["y"] + y) for x, y in lasso.outline]
    page.mouse.move(*at[0])
    page.mouse.down()
    for x, y in [*at[1:], at[0]]:
        page.mouse.move(x, y, steps=8)
    page.mouse.up()
