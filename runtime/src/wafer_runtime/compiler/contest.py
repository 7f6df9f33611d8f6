"""The formats of the ISPD 2020 contest on wafer-scale placement.

A .kgraph has settings and comments between (* and *), one node a line

    conv[1] W=14 H=14 R=1 S=1 C=1024 K=512 T=1 U=1 name='k1'
    dblock[2] f=256 h=56 w=56 name='k2'

and one edge a line, `conv[1]:y -> dblock[2]:x, shape:[14][14][512]`. A solution has two
lines a kernel, `k1=conv(H W R S C K T U h w c k)` or `k2=dblock(h w f h w c... k...)`,
and `k1: place(x y R0)` or R90, of the rectangle's lower left corner.
"""

import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from wafer_runtime.compiler.kernels.cost import Conv, ConvKernel
from wafer_runtime.compiler.placing import Kernel, Placement, Task, Weights
from wafer_runtime.errors import UsageError, did_you_mean

_SETTINGS = ("width", "height", "wdeltat", "wlength", "wadapter", "memlimit")
_SIZES = {
    "conv": ("H", "W", "R", "S", "C", "K", "T", "U"),
    "dblock": ("h", "w", "f"),
    "cblock": ("h", "w", "f"),
}
_KINDS = (*_SIZES, "input", "output")
_SETTING = re.compile(r"(\w+)\s*=\s*(\S+)")
_NODE = re.compile(r"(\w+)\s*\[\s*(\d+)\s*\]\s*((?:\w+=(?:\[[^]]*\]|'[^']*'|\S+)\s*)+)")
_VALUE = re.compile(r"(\w+)=(\[[^]]*\]|'[^']*'|\S+)")
_EDGE = re.compile(
    r"(\w+)\s*\[\s*(\d+)\s*\]:\w+\s*->\s*(\w+)\s*\[\s*(\d+)\s*\]:\w+\s*(?:,.*)?"
)


@dataclasses.dataclass(frozen=True)
class Node:
    """A kernel, input or output of a .kgraph; sizes as the file names them."""

    kind: str
    name: str
    sizes: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class KGraph:
    """A .kgraph: its kernels, in the order of the task's, and the task."""

    nodes: tuple[Node, ...]
    task: Task


def read_kgraph(path: str | os.PathLike[str]) -> KGraph:
    """Read and check a .kgraph; raises UsageError with file and line."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is no text in UTF-8: {error}") from None
    return _Reader(path).read(text)


def solution(graph: KGraph, placement: Placement) -> str:
    """The contest's text of a placement of `graph.task`."""
    lines = []
    for node, placed in zip(graph.nodes, placement.placed, strict=True):
        run = placed.execution
        values = (*node.sizes, run.h, run.w, *run.c, *run.k)
        lines.append(f"{node.name}={node.kind}({' '.join(map(str, values))})")
    for node, placed in zip(graph.nodes, placement.placed, strict=True):
        turned = "R90" if placed.rotated else "R0"
        lines.append(f"{node.name}: place({placed.x} {placed.y} {turned})")
    return "\n".join(lines) + "\n"


def _conv(values: tuple[int, ...]) -> tuple[Conv, ...]:
    return (Conv(*values),)


def dblock(h: int, w: int, f: int) -> tuple[Conv, ...]:
    """The convolutions of a dblock: 1x1, 3x3 and 1x1 on a quarter of the channels."""
    return (
        Conv(h, w, 1, 1, f, f // 4),
        Conv(h, w, 3, 3, f // 4, f // 4),
        Conv(h, w, 1, 1, f // 4, f),
    )


def cblock(h: int, w: int, f: int) -> tuple[Conv, ...]:
    """Those of a cblock, which halves h and w; the last is its shortcut's."""
    return (
        Conv(h, w, 1, 1, f // 2, f // 4),
        Conv(h, w, 3, 3, f // 4, f // 4, 2, 2),
        Conv(h // 2, w // 2, 1, 1, f // 4, f),
        Conv(h, w, 1, 1, f // 2, f, 2, 2),
    )


_CONVS: Mapping[str, Callable[[tuple[int, ...]], tuple[Conv, ...]]] = {
    "conv": _conv,
    "dblock": lambda sizes: dblock(*sizes),
    "cblock": lambda sizes: cblock(*sizes),
}


class _Reader:
    """Reads line by line; `self._where` is the file and line for errors."""

    def __init__(self, path: str | os.PathLike[str]):
        self._path = path
        self._where = str(path)
        self._settings: dict[str, int] = {}
        self._nodes: dict[int, Node] = {}
        self._edges: list[tuple[int, int]] = []

    def read(self, text: str) -> KGraph:
        in_comment = False
        for number, line in enumerate(text.splitlines(), start=1):
            self._where = f"{self._path}:{number}"
            line = line.strip()
            if line.startswith("(*"):
                in_comment, line = True, line[2:].strip()
            ends = in_comment and line.endswith("*)")
            line = line[:-2].strip() if ends else line
            if in_comment:
                self._setting(line)
            elif line:
                self._node_or_edge(line)
            in_comment = in_comment and not ends
        self._where = str(self._path)
        return self._graph()

    def _wrong(self, message: str) -> UsageError:
        return UsageError(f"{self._where}: {message}")

    def _number(self, name: str, text: str, least: int = 1) -> int:
        if not text.isdecimal() or int(text) < least:
            raise self._wrong(f"{name}={text}: wanted a whole number, at least {least}")
        return int(text)

    def _setting(self, line: str) -> None:
        match = _SETTING.fullmatch(line)
        if match and match[1] in _SETTINGS:
            least = 0 if match[1].startswith("w") and match[1] != "width" else 1
            self._settings[match[1]] = self._number(match[1], match[2], least)
        elif match and match[1] != "test":
            hint = (
                did_you_mean(match[1], _SETTINGS) or f"; known: {', '.join(_SETTINGS)}"
            )
            raise self._wrong(f"{match[1]}: there is no such setting{hint}")

    def _node_or_edge(self, line: str) -> None:
        if match := _EDGE.fullmatch(line):
            self._edge(match)
        elif match := _NODE.fullmatch(line):
            self._node(match[1], int(match[2]), dict(_VALUE.findall(match[3])))
        else:
            raise self._wrong(
                f"{line[:60]!r} is neither a node, such as conv[1] H=.. name='k1', nor "
                "an edge, such as conv[1]:y -> conv[2]:x"
            )

    def _node(self, kind: str, index: int, values: dict[str, str]) -> None:
        if kind not in _KINDS:
            hint = did_you_mean(kind, _KINDS) or f"; known: {', '.join(_KINDS)}"
            raise self._wrong(f"{kind}: there is no such kind of node{hint}")
        name = values.pop("name", "").strip("'")
        if not re.fullmatch(r"\w+", name):
            raise self._wrong(
                f"{kind}[{index}] has no name='...' of letters and digits"
            )
        if index in self._nodes or name in {n.name for n in self._nodes.values()}:
            raise self._wrong(f"{kind}[{index}] '{name}': the number or name is taken")
        sizes = self._sizes(kind, values) if kind in _SIZES else ()
        self._nodes[index] = Node(kind, name, sizes)

    def _sizes(self, kind: str, values: dict[str, str]) -> tuple[int, ...]:
        wanted = _SIZES[kind]
        for key in values:
            if key not in wanted:
                raise self._wrong(f"{key}: {kind} has only {', '.join(wanted)}, name")
        values = {"T": "1", "U": "1"} | values
        missing = [key for key in wanted if key not in values]
        if missing:
            raise self._wrong(f"{kind} without {', '.join(missing)}")
        sizes = tuple(self._number(key, values[key]) for key in wanted)
        if kind != "conv" and sizes[2] % 4:
            raise self._wrong(f"f={sizes[2]}: wanted a multiple of 4")
        if kind == "cblock" and (sizes[0] % 2 or sizes[1] % 2):
            raise self._wrong(f"h={sizes[0]} w={sizes[1]}: a cblock halves them")
        return sizes

    def _edge(self, match: re.Match[str]) -> None:
        ends = int(match[2]), int(match[4])
        for kind, index in zip((match[1], match[3]), ends, strict=True):
            if index not in self._nodes or self._nodes[index].kind != kind:
                raise self._wrong(f"{kind}[{index}]: no such node stands above")
        self._edges.append(ends)

    def _graph(self) -> KGraph:
        missing = [name for name in _SETTINGS if name not in self._settings]
        if missing:
            raise self._wrong(f"has no {', '.join(missing)}, between (* and *)")
        kernels = {i: node for i, node in self._nodes.items() if node.kind in _SIZES}
        if not kernels:
            raise self._wrong("has no kernel: no conv, dblock or cblock")
        position = {index: i for i, index in enumerate(kernels)}
        width, height, delta_t, wire, adapter, words = map(
            self._settings.__getitem__, _SETTINGS
        )
        edges = [
            (position[a], position[b])
            for a, b in self._edges
            if a in position and b in position and a != b
        ]
        task = Task(
            tuple(
                Kernel(node.name, ConvKernel(_CONVS[node.kind](node.sizes), words))
                for node in kernels.values()
            ),
            tuple(edges),
            width,
            height,
            Weights(delta_t, wire, adapter),
        )
        return KGraph(tuple(kernels.values()), task)
