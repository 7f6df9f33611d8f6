"""The kernel graph as a picture: everything in it, and small enough to look at."""

from xml.etree import ElementTree

import pytest
from wafer_runtime.compiler.kernel_graph import HOST, Edge, Kernel, KernelGraph
from wafer_runtime.report.picture import svg

SCREENS = 8000  # pixels, each way


def kernel(name):
    nothing = ()
    return Kernel(
        name=name,
        kind="dense",
        layer=name,
        dims={},
        passes=("forward",),
        macs=1,
        operations=0,
        weights=nothing,
        states=nothing,
        shared=nothing,
        saved_bytes=0,
        optimizer=None,
        dtypes=nothing,
        ops=nothing,
        lines=nothing,
    )


def graph(pairs):
    edges = tuple(Edge(*pair, "x", (1,), "float32", 4, 0) for pair in pairs)
    names = dict.fromkeys(n for pair in pairs for n in pair if n != HOST)
    return KernelGraph("train", 1, tuple(map(kernel, names)), edges)


def boxes(picture):
    """(x, y) by the text in it, of all boxes."""
    found = {}
    for group in ElementTree.fromstring(picture):
        rect = [e for e in group if e.tag.endswith("rect")]
        texts = [e.text for e in group if e.tag.endswith("text")]
        if rect:
            found[texts[0]] = (int(rect[0].get("x")), int(rect[0].get("y")))
    return found


CHAIN = [(HOST, "k0"), *((f"k{i}", f"k{i + 1}") for i in range(500))]
FAN = [(f"k{i}", "sum") for i in range(300)]


@pytest.mark.smoke
@pytest.mark.parametrize(
    "pairs", [CHAIN, [*((HOST, k) for k, _ in FAN), *FAN]], ids=["long", "wide"]
)
def test_a_large_graph_is_laid_out_to_be_looked_at(pairs):
    drawn = graph(pairs)
    picture = svg(drawn)
    places = boxes(picture)
    assert places.keys() == {k.name for k in drawn.kernels} | {HOST}
    assert len(set(places.values())) == len(places)
    root = ElementTree.fromstring(picture)
    assert int(root.get("width")) < SCREENS
    assert int(root.get("height")) < SCREENS


@pytest.mark.smoke
def test_a_kernel_stands_just_before_what_uses_it():
    mask, last = [(HOST, "mask")], [("mask", "k9")]
    places = boxes(svg(graph([*mask, *CHAIN[:10], *last])))
    assert places["mask"][1] == places["k8"][1]
