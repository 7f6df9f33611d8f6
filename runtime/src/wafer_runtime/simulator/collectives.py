"""Broadcasts, reduces and allreduces of an array, in rows, columns and rectangles.

    phases = Phases(layout)
    allreduce(rows(phases), x)      # x is the sum of the row's, in every PE
    phases.place()

Algorithms and their cycles: HPDC'24, see `costs`; the routes and programs are ours. The
array is an operand and the result: a reduce leaves the sum in the root and partial sums
in others. All values are added in the array's dtype, in the order of the algorithm.
"""

from collections.abc import Iterable
from functools import partial
from math import inf

from wafer_runtime.errors import FabricError, did_you_mean
from wafer_runtime.simulator import costs
from wafer_runtime.simulator.lines import Line, Phase, Phases
from wafer_runtime.simulator.memory import Array, receive, send
from wafer_runtime.simulator.program import Program, Task


def rows(phases: Phases) -> Line:
    """All rows of the layout, each with its root at x = 0."""
    return Line(phases, "x", phases.layout.width, phases.layout.height)


def columns(phases: Phases) -> Line:
    """All columns of the layout, each with its root at y = 0."""
    return Line(phases, "y", phases.layout.height, phases.layout.width)


def first_column(phases: Phases) -> Line:
    """The column of the rows' roots, with its root at y = 0."""
    return Line(phases, "y", phases.layout.height, 1)


def broadcast(line: Line, x: Array) -> None:
    """The root's array to all: a message that every router passes on and up."""
    if line.length == 1:
        return
    phase, last = line.phases.add(), line.length - 1
    (color,) = line.phases.colors(1)
    line.route(color, "R->A", at=0)
    line.route(color, "T->AR", at=slice(1, last))
    line.route(color, "T->R", at=last)
    line.assign(phase, 0, partial(_send, color=color, x=x))
    line.assign(phase, slice(1, None), partial(_store, color=color, x=x))


def broadcast_2d(phases: Phases, x: Array) -> None:
    """From the corner along the first row, and from each of its PEs down."""
    if 1 in (phases.layout.width, phases.layout.height):
        broadcast(rows(phases) if phases.layout.height == 1 else columns(phases), x)
        return
    phase, line = phases.add(), rows(phases)
    (color,) = phases.colors(1)
    right, bottom = line.length - 1, line.across - 1
    layout, every = phases.layout, slice(None)
    layout.route(color, "R->ES", x=0, y=0)
    layout.route(color, "W->ESR", x=slice(1, right), y=0)
    layout.route(color, "W->SR", x=right, y=0)
    layout.route(color, "N->SR", x=every, y=slice(1, bottom))
    layout.route(color, "N->R", x=every, y=bottom)
    line.assign(phase, slice(None), partial(_store, color=color, x=x))
    phase.roles[0, 0] = phase.role(partial(_send, color=color, x=x))


def star(line: Line, x: Array) -> None:
    """Everybody sends to the root, which adds: first the next, then those behind it."""
    phase, last = line.phases.add(), line.length - 1
    (color,) = line.phases.colors(1)
    line.route(color, "A->R", at=0)
    line.route(color, "R->T", "A->T", at=slice(1, last))
    line.route(color, "R->T", at=last)
    line.assign(phase, slice(1, None), partial(_send, color=color, x=x))
    line.assign(phase, 0, partial(_add_all, color=color, x=x, times=last))


def chain(line: Line, x: Array) -> None:
    """From the far end on everybody adds to the sum that passes."""
    _chains(line, x, [list(range(line.length))])


def two_phase(line: Line, x: Array) -> None:
    """Chains in groups of about sqrt(P), then a chain of the groups' first PEs."""
    size = costs.group_size(line.length)
    # A smaller group comes first, where its chain is not on the longest path.
    starts = [0, *range((line.length - 1) % size + 1, line.length, size)]
    ends = [*starts[1:], line.length]
    _chains(line, x, [list(range(*group)) for group in zip(starts, ends, strict=True)])
    _chains(line, x, [starts])


def tree(line: Line, x: Array) -> None:
    """In round r the PEs at odd multiples of 2^r send to those 2^r before them.

    Rounds use two colors in turn, so that a PE can pass on what it receives in its last
    round. A router first hands a color's wavelets to its PE, then lets that send, then
    lets those behind pass: the last wavelet before each change brings it about. So that
    nobody behind takes the link from a PE's sum, the color which that does not go by
    leads back into the PE: a wavelet that it sends itself after the sum lets them pass.
    """
    phase, colors = line.phases.add(), line.phases.colors(2)
    for at in range(line.length):
        rounds = _rounds(at, line.length)
        own = _round_of(at, line.length)
        for parity, color in enumerate(colors):
            positions = ["A->R"] * any(r % 2 == parity for r in rounds)
            if at > 0:
                positions += ["R->T" if own % 2 == parity else "R->R", "A->T"]
            if positions:
                line.route(color, *positions, at=at)
        write = partial(
            _tree_role, x=x, colors=colors, rounds=rounds, own=own, root=at == 0,
            advance=_advance(at, own, line.length),
        )  # fmt: skip
        line.assign(phase, at, write)


def ring(line: Line, x: Array) -> None:
    """Allreduce: chunks travel round, first adding up, then telling the sums.

    Even PEs lead outward and odd ones back, so that no hop is longer than two. The
    array's length has to be a multiple of the line's.
    """
    p, phase = line.length, line.phases.add()
    if x.length % p:
        raise FabricError(
            f"ring of {p} PEs on array {x.name!r} of {x.length} elements: it deals out "
            f"equal chunks; pad the array to a multiple of {p}"
        )
    order = [*range(0, p, 2), *reversed(range(1, p, 2))]
    colors = line.phases.colors(4)
    out = [colors[k % 2 + 2 * (at % 2)] for k, at in enumerate(order)]
    out[(p - 1) // 2] = colors[((p - 1) // 2) % 2]
    for k, at in enumerate(order):
        to = order[(k + 1) % p]
        onward, back = ("A", "T") if to > at else ("T", "A")
        line.route(out[k], f"R->{onward}", at=at)
        if abs(to - at) == 2:
            line.route(out[k], f"{back}->{onward}", at=(to + at) // 2)
        line.route(out[k], f"{back}->R", at=to)
        write = partial(_ring_role, x=x, k=k, p=p, out=out[k], inward=out[k - 1])
        line.assign(phase, at, write)


ALGORITHMS = {
    "star": star,
    "chain": chain,
    "tree": tree,
    "two_phase": two_phase,
    "ring": ring,
}


def reduce(line: Line, x: Array, name: str = "") -> None:
    """By the algorithm named, or by the one that `costs` finds the fastest.

    FabricError for a name that is not in `ALGORITHMS`. The ring, which is never the
    fastest, leaves the sum in all PEs.
    """
    name = name or costs.best_reduce(*_size(line, x))[0]
    if name not in ALGORITHMS:
        raise FabricError(
            f"no reduce is called {name!r}{did_you_mean(name, ALGORITHMS)}: there are "
            f"{', '.join(ALGORITHMS)}"
        )
    if line.length > 1:
        ALGORITHMS[name](line, x)


def allreduce(line: Line, x: Array, name: str = "") -> None:
    """By the ring, or by the reduce named and a broadcast after it, or the fastest."""
    size = _size(line, x)
    if not name and _rings([line], x) < (
        costs.best_reduce(*size)[1] + costs.broadcast(*size)
    ):
        name = "ring"
    reduce(line, x, name)
    if name != "ring":
        broadcast(line, x)


def reduce_2d(phases: Phases, x: Array, name: str = "") -> None:
    """Every row, then the column of the rows' roots; the sum is at (0, 0)."""
    reduce(rows(phases), x, name)
    reduce(first_column(phases), x, name)


def allreduce_2d(phases: Phases, x: Array, name: str = "") -> None:
    """`reduce_2d`, then `broadcast_2d`; rings in all rows, then in all columns."""
    lines = rows(phases), columns(phases)
    if not name and _rings(lines, x) < (
        sum(costs.best_reduce(*_size(line, x))[1] for line in lines)
        + costs.broadcast_2d(lines[0].length, *_size(lines[1], x))
    ):
        name = "ring"
    if name == "ring":
        for line in lines:
            reduce(line, x, name)
    else:
        reduce_2d(phases, x, name)
        broadcast_2d(phases, x)


def _rings(lines: Iterable[Line], x: Array) -> float:
    """Cycles of a ring in each of the lines; infinite where it deals out no chunks."""
    long = [line for line in lines if line.length > 1]
    if any(x.length % line.length for line in long):
        return inf
    return sum(costs.ring(*_size(line, x)) for line in long)


def _size(line: Line, x: Array) -> tuple[int, int, int]:
    wavelets = -(-x.length * x.dtype.itemsize // 4)
    return line.length, wavelets, line.phases.layout.config.ramp_latency_cycles


def _send(_: Program, task: Task, color: int, x: Array) -> None:
    task.mov(send(color), x, advance="own")


def _store(_: Program, task: Task, color: int, x: Array) -> None:
    task.mov(x, receive(color))


def _add_all(_: Program, task: Task, color: int, x: Array, times: int) -> None:
    with task.repeat(times):
        task.add(x, x, receive(color))


def _pass_on(_: Program, task: Task, to: int, source: int, x: Array) -> None:
    task.add(send(to), receive(source), x)


def _chains(line: Line, x: Array, chains: list[list[int]]) -> None:
    """Chains, each to its first PE; links use two colors in turn."""
    phase, colors = line.phases.add(), line.phases.colors(2)
    for nodes in chains:
        for k, at in enumerate(nodes):
            source = colors[(k + 1) % 2] if k + 1 < len(nodes) else None
            to = colors[k % 2] if k else None
            if source is not None:
                line.route(source, "A->R", at=at)
            if to is not None:
                line.route(to, "R->T", at=at)
                line.route(to, "A->T", at=slice(nodes[k - 1] + 1, at))
            _assign_link(line, phase, at, x, source, to)


def _assign_link(
    line: Line, phase: Phase, at: int, x: Array, source: int | None, to: int | None
) -> None:
    if source is not None and to is not None:
        line.assign(phase, at, partial(_pass_on, to=to, source=source, x=x))
    elif source is not None:
        line.assign(phase, at, partial(_add_all, color=source, x=x, times=1))
    elif to is not None:
        line.assign(phase, at, partial(_send, color=to, x=x))


def _round_of(at: int, p: int) -> int:
    """The round in which a PE sends; for the root, the one after the last."""
    return (at & -at).bit_length() - 1 if at else (p - 1).bit_length()


def _rounds(at: int, p: int) -> list[int]:
    """The rounds in which a PE receives."""
    return [r for r in range(_round_of(at, p)) if at + (1 << r) < p]


def _advance(at: int, own: int, p: int) -> str:
    """Whose switches a PE's last wavelet moves: the receiver's after its last one."""
    to = at - (1 << own) if at else 0
    later = [r for r in _rounds(to, p) if r > own and r % 2 == own % 2]
    return "own" if later or to == 0 else "all"


def _tree_role(
    program: Program,
    task: Task,
    x: Array,
    colors: range,
    rounds: list[int],
    own: int,
    root: bool,
    advance: str,
) -> None:
    """Add what comes in all rounds, and send the sum, with the last round if possible.

    With the same color in and out that is impossible: it has one switch.
    """
    joined = not root and bool(rounds) and rounds[-1] % 2 != own % 2
    for r in rounds[:-1] if joined else rounds:
        task.add(x, x, receive(colors[r % 2]))
    to = send(colors[own % 2])
    if joined:
        task.add(to, receive(colors[rounds[-1] % 2]), x, advance=advance)
    elif not root:
        task.mov(to, x, advance=advance)
    if not root:
        other = colors[1 - own % 2]
        task.mov(send(other), 0.0, length=1, advance="own")
        task.mov(program.register(), receive(other), length=1)


def _ring_role(
    program: Program, task: Task, x: Array, k: int, p: int, out: int, inward: int
) -> None:
    """Send a chunk while the one before it comes in, which is the next to send."""
    size, at = x.length // p, program.register()
    chunk = x[0:size].shifted(at)
    task.set(at, k * size)
    with task.repeat(p - 1):
        task.mov(send(out), chunk, thread=1)
        task.rotate(at, -size, x.length)
        task.add(chunk, chunk, receive(inward))
    with task.repeat(p - 1):
        task.mov(send(out), chunk, thread=1)
        task.rotate(at, -size, x.length)
        task.mov(chunk, receive(inward))
