"""The kernel graph as a picture: SVG, from the host above to the loss below."""

from html import escape

from wafer_runtime.compiler.kernel_graph import HOST, Kernel, KernelGraph
from wafer_runtime.report.picture_edges import (
    GAP_X,
    GAP_Y,
    HEIGHT,
    WIDTH,
    Places,
    edges_svg,
)

_MARGIN = GAP_Y  # edges go around boxes on the outside, too
# More boxes than that, side by side or above one another, are laid further on.
_COLUMNS, _ROWS = 8, 60
_COLOURS = {
    "dense": "#bcd4f6",
    "batched_matmul": "#a8c6ef",
    "conv2d": "#bfe3c6",
    "conv2d_transpose": "#a9d8b3",
    "embedding": "#e4cdf2",
    "normalization": "#f8e3b0",
    "softmax": "#f6cfa8",
    "cross_entropy": "#f3b7a4",
    "gradient_scaling": "#e3e3e3",
}
_OTHER = "#efefef"


def colour_of(kind: str) -> str:
    """Of a kernel, by its name in the library."""
    return _COLOURS.get(kind, _OTHER)


def svg(graph: KernelGraph) -> str:
    """One box a kernel, its line and work in it; the edges say how many bytes a sample.

    Every box carries all its numbers as a tooltip.
    """
    rows = _rows(graph)
    places = _places(rows)
    height = min(len(rows), _ROWS) * (HEIGHT + GAP_Y) + 2 * _MARGIN
    width = max(x for x, _ in places.values()) + WIDTH + _MARGIN
    boxes = [_box(HOST, "host", "input_fn, metrics", "#ffffff", "", places)]
    boxes += [_kernel(kernel, graph, places) for kernel in graph.kernels]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" font-family="sans-serif">',
            '<rect width="100%" height="100%" fill="white"/>',
            *edges_svg(graph.edges, places),
            *boxes,
            "</svg>\n",
        ]
    )


def _rows(graph: KernelGraph) -> list[list[str]]:
    """The kernels by how far they are from the host, each just before what uses it.

    What has no place in a row is in another below.
    """
    depth = {HOST: 0}
    inputs: dict[str, list[str]] = {}
    for edge in graph.edges:
        inputs.setdefault(edge.target, []).append(edge.source)
    for kernel in graph.kernels:
        depth[kernel.name] = 1 + max(
            (depth[source] for source in inputs.get(kernel.name, ())), default=0
        )
    users: dict[str, list[str]] = {}
    for edge in graph.edges:
        users.setdefault(edge.source, []).append(edge.target)
    for kernel in reversed(graph.kernels):
        below = [depth[user] for user in users.get(kernel.name, ()) if user != HOST]
        depth[kernel.name] = min(below, default=depth[kernel.name] + 1) - 1
    rows: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for name, row in depth.items():
        rows[row].append(name)
    starts = [(row, i) for row in rows for i in range(0, len(row), _COLUMNS)]
    return [row[i : i + _COLUMNS] for row, i in starts]


def _places(rows: list[list[str]]) -> Places:
    """The left upper corners; a long model goes on at the top, beside what it was."""
    fold = max(map(len, rows)) * (WIDTH + GAP_X) + GAP_X
    return {
        name: (
            _MARGIN + row // _ROWS * fold + column * (WIDTH + GAP_X),
            _MARGIN + row % _ROWS * (HEIGHT + GAP_Y),
        )
        for row, names in enumerate(rows)
        for column, name in enumerate(names)
    }


def _kernel(kernel: Kernel, graph: KernelGraph, places: Places) -> str:
    work = f"{kernel.macs / graph.batch_size:,.0f} MAC/sample"
    facts = [
        f"{kernel.kind}: {', '.join(kernel.passes)}",
        ", ".join(f"{name} {size}" for name, size in kernel.dims.items()),
        work,
        f"{kernel.weight_bytes:,} bytes of weights, {kernel.state_bytes:,} of state",
        *kernel.lines,
    ]
    below = f"{kernel.kind}, {work}" if kernel.macs else kernel.kind
    return _box(
        kernel.name,
        kernel.name,
        below,
        colour_of(kernel.kind),
        "\n".join(facts),
        places,
    )


def _box(
    key: str,
    title: str,
    below: str,
    colour: str,
    tooltip: str,
    places: Places,
) -> str:
    x, y = places[key]
    middle = x + WIDTH // 2
    return (
        f'<g><title>{escape(tooltip or title)}</title><rect x="{x}" y="{y}" '
        f'width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{colour}" stroke="#555"/>'
        f'<text x="{middle}" y="{y + 22}" font-size="13" text-anchor="middle">'
        f"{escape(_short(title, 28))}</text>"
        f'<text x="{middle}" y="{y + 40}" font-size="10" fill="#444" '
        f'text-anchor="middle">{escape(_short(below, 38))}</text></g>'
    )


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else "…" + text[1 - length :]
