"""Stage 5: what each kernel of a graph can be spread over, and whether it all fits."""

import math
from collections.abc import Iterable

from wafer_runtime.compiler import placing
from wafer_runtime.compiler.kernel_graph import HOST, Edge, Kernel, KernelGraph
from wafer_runtime.compiler.kernels import LIBRARY
from wafer_runtime.compiler.kernels.library import Sizes, share
from wafer_runtime.compiler.kernels.spread import WORD_BYTES, Spread, rates_of
from wafer_runtime.errors import MappingError
from wafer_runtime.system import System
from wafer_runtime.units import bytes_text

# The length of an edge counts for a part of the cycles by which its tensors load the
# average link, so that what carries much is short, and links beside it are not too
# busy: less, and routes are slower than kernels; more, and kernels are slow for short
# routes. A little more for each PE, so that all is close together.
WEIGHTS = placing.Weights(delta_t=1.0, wire=1.0, adapter=0.0)
_PE_CYCLES = 0.01
_LOAD = 0.3
_LINKS = 4  # of a PE
_GRADIENT_BYTES = 4  # of the sum of a batch's gradients, for each weight
_ITEM_BYTES = {"float16": 2, "bfloat16": 2}
_TYPES = {kind.name: kind for kind in LIBRARY}
_SHOWN = 8


def size(graph: KernelGraph, system: System) -> placing.Task:
    """The task of placing a graph on a system.

    Raises MappingError if the memory of the whole fabric does not hold the model.
    """
    flights = in_flight(graph)
    spreads = [spread_of(graph, k, flights[k.name], system) for k in graph.kernels]
    _check_memory(graph, flights, system)
    index = {kernel.name: i for i, kernel in enumerate(graph.kernels)}
    room = system.program_width * system.program_height * _LINKS
    edges: dict[tuple[int, int], float] = {}
    for e in graph.edges:
        if HOST not in (e.source, e.target):
            ends = index[e.source], index[e.target]
            wavelets = (e.bytes + e.gradient_bytes) / system.link_bytes_per_cycle
            edges[ends] = edges.get(ends, _PE_CYCLES) + _LOAD * wavelets / room
    kernels = zip(graph.kernels, spreads, strict=True)
    return placing.Task(
        kernels=tuple(placing.Kernel(kernel.name, s) for kernel, s in kernels),
        edges=tuple(edges),
        width=system.program_width,
        height=system.program_height,
        weights=WEIGHTS,
        loads=tuple(edges.values()),
    )


def spread_of(
    graph: KernelGraph, kernel: Kernel, samples_in_flight: int, system: System
) -> Spread:
    """A kernel's sizes and work for one sample, as its file in the library says."""
    sizes = sizes_of(graph, kernel)
    passes = _passes(sizes, kernel)
    items = math.prod((*sizes.window, sizes.inputs, sizes.outputs))
    one_pass = sizes.rows * sizes.columns / math.prod(sizes.strides) * items
    item_bytes = min((_ITEM_BYTES.get(dtype, 4) for dtype in kernel.dtypes), default=4)
    # Weights, or the sums of their gradients, are in every group; what is needed once
    # a batch can be anywhere in the kernel.
    in_place = max(item_bytes, _GRADIENT_BYTES * passes[2]) if sizes.stored else 0
    once = max(0, trained_bytes(kernel) - in_place * items * sizes.stored)
    held = once + kernel.saved_bytes * samples_in_flight
    return Spread(
        rows=sizes.rows,
        columns=sizes.columns,
        inputs=sizes.inputs,
        outputs=sizes.outputs,
        window=sizes.window,
        reach=sizes.reach,
        strides=sizes.strides,
        work=kernel.macs / graph.batch_size / (one_pass * sum(passes)),
        passes=passes,
        operations=kernel.operations / graph.batch_size,
        transfer_bytes=transfer_bytes(graph, kernel),
        weight_transfer_bytes=float(weight_transfer_bytes(graph, kernel)),
        sum_rows=float(sizes.products),
        weight_words=in_place / WORD_BYTES,
        weight_rows=sizes.rows if sizes.bilinear else 1,
        held_words=held / WORD_BYTES,
        rates=rates_of(system, item_bytes),
        memory_limit_words=system.data_bytes // WORD_BYTES,
    )


def sizes_of(graph: KernelGraph, kernel: Kernel) -> Sizes:
    """What a kernel is spread by."""
    work = share(kernel.operations, graph.batch_size)
    return _TYPES[kernel.kind].spread({**kernel.dims, "operations": work})


def _passes(sizes: Sizes, kernel: Kernel) -> tuple[float, float, float]:
    """Forward, gradient of the inputs, gradient of the weights (or other operand)."""
    back = "input_gradient" in kernel.passes
    other = "weight_gradient" in kernel.passes or (sizes.bilinear and back)
    return (1.0, float(back), float(other))


def trained_bytes(kernel: Kernel) -> int:
    """Of a kernel's weights, the optimizer's state and the sums of gradients."""
    return kernel.weight_bytes + kernel.state_bytes + gradient_sum_bytes(kernel)


def gradient_sum_bytes(kernel: Kernel) -> int:
    """Of the sums of a batch's gradients for a kernel's weights."""
    trained = sum(math.prod(w.shape) for w in kernel.weights if w.trained)
    return trained * _GRADIENT_BYTES if "weight_gradient" in kernel.passes else 0


def transfer_bytes(graph: KernelGraph, kernel: Kernel) -> int:
    """Bytes of a sample that pass the busiest side of a kernel, one way.

    A tensor enters or leaves on one side; of several, the two sides have half each.
    """
    before, after = _edges_around(graph, kernel, per_batch=False)
    given = {e.tensor: e.bytes for e in after}
    entering = [*(e.bytes for e in before), *(e.gradient_bytes for e in after)]
    leaving = [*given.values(), *(e.gradient_bytes for e in before)]
    sides = (max(max(way, default=0), -(-sum(way) // 2)) for way in (entering, leaving))
    return max(sides)


def weight_transfer_bytes(graph: KernelGraph, kernel: Kernel) -> int:
    """A sample's share of the bytes that pass a kernel once a batch, one way."""
    before, after = _edges_around(graph, kernel, per_batch=True)
    entering = sum(e.bytes for e in before) + sum(e.gradient_bytes for e in after)
    leaving = sum(e.bytes for e in after) + sum(e.gradient_bytes for e in before)
    return max(entering, leaving)


def _edges_around(
    graph: KernelGraph, kernel: Kernel, per_batch: bool
) -> tuple[list[Edge], list[Edge]]:
    """Those that end at a kernel, and those that begin there."""
    edges = [e for e in graph.edges if e.per_batch == per_batch]
    before = [e for e in edges if e.target == kernel.name]
    return before, [e for e in edges if e.source == kernel.name]


def in_flight(graph: KernelGraph) -> dict[str, int]:
    """Samples that are between a kernel's forward and backward pass.

    One, and two for each later kernel that has to have a whole sample before it gives
    anything: the sample passes it forward and back. Rounded up to three binary digits,
    so that kernels that hardly differ are tabulated once.
    """
    if graph.mode != "train":
        return {kernel.name: 1 for kernel in graph.kernels}
    users: dict[str, list[str]] = {}
    for edge in graph.edges:
        users.setdefault(edge.source, []).append(edge.target)
    after: dict[str, float] = {}
    for kernel in reversed(graph.kernels):
        latency = sizes_of(graph, kernel).latency
        longest = max(
            (after.get(u, 0.0) for u in users.get(kernel.name, ())), default=0
        )
        after[kernel.name] = longest + latency
    return {
        kernel.name: _rounded_up(1 + 2 * math.ceil(after[kernel.name]))
        for kernel in graph.kernels
    }


def _rounded_up(count: int) -> int:
    step = 1 << max(0, count.bit_length() - 3)
    return -(-count // step) * step


def _check_memory(graph: KernelGraph, flights: dict[str, int], system: System) -> None:
    pes = system.program_width * system.program_height
    limit = pes * system.data_bytes
    demands = {
        kernel.name: (trained_bytes(kernel), kernel.saved_bytes * flights[kernel.name])
        for kernel in graph.kernels
    }
    total = sum(map(sum, demands.values()))
    if total <= limit:
        return
    largest = sorted(demands.items(), key=lambda item: -sum(item[1]))[:_SHOWN]
    raise MappingError(
        f"The model does not fit on {system.name}: it needs {bytes_text(total)} of "
        f"memory, limit {bytes_text(limit)} ({pes:,} PEs of {system.sram_bytes:,} "
        f"bytes, {system.program_bytes:,} of which are for programs), "
        f"{bytes_text(total - limit)} short.\n"
        + "\n".join(_rows(largest, len(demands)))
        + "\n  "
        + _advice(demands.values(), limit)
    )


def _rows(largest: Iterable[tuple[str, tuple[int, int]]], count: int) -> Iterable[str]:
    for name, (trained, kept) in largest:
        yield (
            f"  {name}: {bytes_text(trained + kept)}: weights, gradients and optimizer "
            f"{bytes_text(trained)}, kept for the backward pass {bytes_text(kept)}"
        )
    if count > _SHOWN:
        yield f"  ... and {count - _SHOWN} more kernels"


def _advice(demands: Iterable[tuple[int, int]], limit: int) -> str:
    trained, kept = map(sum, zip(*demands, strict=True))
    advice = ["mixed_precision", "a system with more memory (runconfig.system)"]
    if kept > limit / 2:
        advice[:0] = ["shorter sequences or smaller images", "fewer layers"]
    if trained > limit / 2:
        advice[:0] = ["an optimizer with less state (sgd)", "fewer or narrower layers"]
    if trained > limit:
        advice.append("weight streaming, which this release does not have")
    return f"What would help: {', '.join(advice[:-1])}, or {advice[-1]}"
