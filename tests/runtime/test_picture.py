"""The kernel graph as a picture: everything in it, and small enough to look at."""

import itertools
import re
from xml.etree import ElementTree

import pytest
from wafer_runtime.compiler.kernel_graph import HOST, Edge, Kernel, KernelGraph
from wafer_runtime.report.picture import svg
from wafer_runtime.report.picture_edges import HEIGHT, WIDTH

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
WIDE = [*((HOST, k) for k, _ in FAN), *FAN]


@pytest.mark.smoke
@pytest.mark.parametrize("pairs", [CHAIN, WIDE], ids=["long", "wide"])
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


def areas(path):
    """Of each piece of a line, what it is within: the span of its points."""
    x = y = 0
    for letter, text in re.findall(r"([MCV])([^MCV]+)", path):
        numbers = [int(number) for number in text.split()]
        points = [x, *numbers] if letter == "V" else numbers
        xs, ys = points[::2], points[1::2]
        if letter != "M":
            yield (min(x, *xs), max(x, *xs)), (min(y, *ys), max(y, *ys))
        x, y = points[-2:]


def overlap(one, other):
    return all(a < d and c < b for (a, b), (c, d) in zip(one, other, strict=True))


SKIPS = [(f"k{i}", f"k{i + d}") for i in range(0, 100, 2) for d in (2, 5, 70)]
TOWERS = [(f"{t}{i}", f"{t}{i + 1}") for i in range(9) for t in "abc"]
ACROSS = [("a2", "c7"), ("c1", "a8"), ("b0", "b9"), (HOST, "b5"), ("a1", "b6")]


@pytest.mark.smoke
@pytest.mark.parametrize(
    "pairs",
    [[*CHAIN[:180], *SKIPS], [*TOWERS, *ACROSS], WIDE],
    ids=["folded", "towers", "wide"],
)
def test_edges_pass_no_box_and_labels_are_apart(pairs):
    root = ElementTree.fromstring(picture := svg(graph(pairs)))
    lines = [areas(path.get("d")) for path in root.iterfind(".//{*}path")]
    assert len(lines) == len(pairs)
    pieces = [piece for line in lines for piece in line]
    for x, y in boxes(picture).values():
        box = (x, x + WIDTH), (y, y + HEIGHT)
        assert not any(overlap(piece, box) for piece in pieces)
    whole = int(root.get("width")), int(root.get("height"))
    for piece, axis in itertools.product(pieces, (0, 1)):
        assert 0 <= piece[axis][0] <= piece[axis][1] <= whole[axis]
    labels = [
        ((x := int(e.get("x")), x + 5 * len(e.text)), (y := int(e.get("y")), y + 9))
        for e in root.iterfind("{*}text")
    ]
    assert not any(overlap(*pair) for pair in itertools.combinations(labels, 2))


@pytest.mark.smoke
def test_edges_that_no_label_has_room_for_are_counted():
    texts = [e.text for e in ElementTree.fromstring(svg(graph(WIDE)))]
    assert "and 297 more edges: 1,188 B" in texts
