"""`wafer place`: from a .kgraph to a solution file."""

import sys
from pathlib import Path

from wafer_runtime.compiler.contest import read_kgraph, solution
from wafer_runtime.compiler.placing.search import place
from wafer_runtime.errors import UsageError


def place_file(
    source: str, output: str, seconds: float, seed: int, iterations: int | None
) -> str:
    """Place the kernels of a file and write the solution; the figures, as text."""
    graph = read_kgraph(source)
    target = Path(output)
    if not target.parent.is_dir():
        raise UsageError(f"-o {target}: there is no folder {target.parent}")
    placement = place(graph.task, seconds, seed, iterations, _tell)
    try:
        target.write_text(solution(graph, placement), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"-o {target}: cannot be written: {error.strerror}") from None
    delta_t, bound = placement.delta_t_cycles, placement.bound_cycles
    return (
        f"Wrote {len(placement.placed)} kernels to {target}\n"
        f"delta_t      {delta_t:,.0f} cycles, {delta_t / bound:.3f} of the area bound\n"
        f"wire length  {placement.wire_length:,.1f} PEs\n"
        f"adapters     {placement.adapters}\n"
        f"objective    {placement.objective:,.1f}\n"
        f"again with   --seed {placement.seed} --iterations {placement.iterations}"
    )


def _tell(iteration: int, objective: float) -> None:
    print(f"iteration {iteration}: objective {objective:,.0f}", file=sys.stderr)
