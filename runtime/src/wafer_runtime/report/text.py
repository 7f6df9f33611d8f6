"""The compile report and the table of what runs where, as text."""

from collections.abc import Iterable, Sequence

from wafer_runtime.compiler.kernel_graph import HOST, Kernel, KernelGraph
from wafer_runtime.units import bytes_text

# A part of the model on the host: what it is, how many operations, for example which.
HostPart = tuple[str, int, str]


def table(rows: Sequence[Sequence[object]]) -> str:
    """Rows in columns; the first is the heading."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = [
        "  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)).rstrip()
        for row in texts
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def partition_table(graph: KernelGraph, host: Iterable[HostPart]) -> str:
    """Per layer of the model: where it runs, and why."""
    rows: list[Sequence[object]] = [("layer", "runs on", "why", "line")]
    for kernel in graph.kernels:
        rows.append((kernel.name, "wafer", _why(kernel), ", ".join(kernel.lines[:2])))
    for reason, count, example in host:
        rows.append((f"{count} operations", HOST, reason, f"such as {example}"))
    return table(rows)


def _why(kernel: Kernel) -> str:
    passes = ", ".join(kernel.passes).replace("_", " ") or "for all weights"
    return f"{kernel.kind}: {passes}"


def kernel_table(graph: KernelGraph) -> str:
    """Per kernel: sizes, work and memory, for one sample."""
    heading = (
        "kernel",
        "kind",
        "sizes",
        "MAC/sample",
        "weights",
        "kept/sample",
        "line",
    )
    rows: list[Sequence[object]] = [heading]
    for kernel in graph.kernels:
        sizes = ", ".join(f"{name} {size}" for name, size in kernel.dims.items())
        rows.append(
            (
                kernel.name,
                kernel.kind,
                sizes,
                f"{kernel.macs / graph.batch_size:,.0f}",
                bytes_text(kernel.weight_bytes),
                bytes_text(kernel.saved_bytes),
                ", ".join(kernel.lines[:2]),
            )
        )
    return table(rows)


def mode_text(mode: str) -> str:
    """A graph's mode by the name that --mode has for it."""
    return "predict" if mode == "infer" else mode


def compile_report(graph: KernelGraph, host: Iterable[HostPart], system: str) -> str:
    """What validation found: the model's kernels, and what runs where."""
    states = bytes_text(sum(kernel.state_bytes for kernel in graph.kernels))
    head = [
        f"Mode: {mode_text(graph.mode)}",
        f"System: {system}",
        f"Batch size: {graph.batch_size}",
        f"Kernels: {len(graph.kernels)}",
        f"MAC/sample: {graph.macs / graph.batch_size:,.0f}",
        f"Weights: {bytes_text(graph.weight_bytes)}, optimizer state: {states}",
    ]
    parts = ["\n".join(head), kernel_table(graph), partition_table(graph, host)]
    return "\n\n".join(parts) + "\n"
