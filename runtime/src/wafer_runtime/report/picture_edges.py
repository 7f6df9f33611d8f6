"""The edges of a picture of a kernel graph, led around its boxes.

Boxes stand in a grid. An edge to the row below bends in the gap between the rows; a
longer one runs from gap to gap in the lane beside its target's column, where no box is.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from html import escape

from wafer_runtime.compiler.kernel_graph import HOST, Edge

WIDTH, HEIGHT, GAP_X, GAP_Y = 210, 54, 40, 46

# The left upper corner of each box, by its name.
Places = dict[str, tuple[int, int]]

_TRACKS, _TRACK = 6, 6  # of a lane, and pixels between them; further edges share them
_LABELS, _LABEL, _CHARACTER = 4, 10, 5  # in a gap, their height and width in pixels


def edges_svg(edges: Iterable[Edge], places: Places) -> list[str]:
    """The paths, and above every box how many bytes a sample its edges bring."""
    drawn = [edge for edge in edges if edge.target != HOST]
    starts = _ports(drawn, "source", "target", places)
    ends = _ports(drawn, "target", "source", places)
    lines = _lines(drawn, starts, ends, places)
    into: dict[str, list[Edge]] = defaultdict(list)
    for edge in ends:
        into[edge.target].append(edge)
    return [
        *(_path(edge, line) for edge, line in zip(drawn, lines, strict=True)),
        *(_labels(into[name], ends, places[name]) for name in into),
    ]


def _ports(
    edges: Sequence[Edge], end: str, other: str, places: Places
) -> dict[Edge, int]:
    """The x of each edge at one of its ends, side by side as their other ends are."""
    at: dict[str, list[Edge]] = defaultdict(list)
    for edge in sorted(edges, key=lambda edge: places[getattr(edge, other)]):
        at[getattr(edge, end)].append(edge)
    return {
        edge: places[name][0] + WIDTH * i // (len(there) + 1)
        for name, there in at.items()
        for i, edge in enumerate(there, 1)
    }


def _lines(
    edges: Sequence[Edge],
    starts: dict[Edge, int],
    ends: dict[Edge, int],
    places: Places,
) -> Iterable[str]:
    tracks: dict[int, dict[str, int]] = defaultdict(dict)
    for edge in edges:
        (left, y), (column, top) = places[edge.source], places[edge.target]
        lane = column + WIDTH if left >= column else column - GAP_X
        track = tracks[lane].setdefault(edge.source, len(tracks[lane]))
        x = lane + (track % _TRACKS + 1) * _TRACK
        yield _line((starts[edge], y + HEIGHT), (ends[edge], top), x)


def _line(start: tuple[int, int], end: tuple[int, int], lane: int) -> str:
    (x1, y1), (x2, y2) = start, end
    if y2 - y1 == GAP_Y:
        return f"M{x1} {y1}{_bend(x1, x2, y1)}"
    above = y2 - GAP_Y
    return f"M{x1} {y1}{_bend(x1, lane, y1)} V{above}{_bend(lane, x2, above)}"


def _bend(x1: int, x2: int, top: int) -> str:
    """Through the gap between two rows, from its upper side to its lower."""
    middle = top + GAP_Y // 2
    return f" C{x1} {middle} {x2} {middle} {x2} {top + GAP_Y}"


def _path(edge: Edge, line: str) -> str:
    tooltip = f"{edge.tensor}: {list(edge.shape)} {edge.dtype}, {_bytes(edge)}"
    return (
        f"<g><title>{escape(tooltip)}</title>"
        f'<path d="{line}" fill="none" stroke="#888"/></g>'
    )


def _bytes(edge: Edge) -> str:
    back = f", back {edge.gradient_bytes:,} B" if edge.gradient_bytes else ""
    return f"{edge.bytes:,} B{back}"


def _labels(
    edges: Sequence[Edge], ends: dict[Edge, int], place: tuple[int, int]
) -> str:
    """Above one another, each beside its edge as far as its length lets it."""
    texts = [_bytes(edge) for edge in edges]
    if rest := edges[_LABELS - 1 :] if len(edges) > _LABELS else ():
        total = sum(edge.bytes for edge in rest)
        texts[_LABELS - 1 :] = [f"and {len(rest)} more edges: {total:,} B"]
    left, top = place
    found = []
    for i, (edge, text) in enumerate(zip(edges, texts, strict=False)):
        x = min(ends[edge] + 4, left + WIDTH + GAP_X - _CHARACTER * len(text))
        found.append(
            f'<text x="{x}" y="{top - 4 - i * _LABEL}" font-size="9" fill="#444" '
            f'stroke="white" stroke-width="3" paint-order="stroke">{text}</text>'
        )
    return "\n".join(found)
