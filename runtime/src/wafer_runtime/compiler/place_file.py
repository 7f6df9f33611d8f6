"""`wafer place`: from a .kgraph to a solution file."""

import sys

from wafer_runtime.compiler.contest import read_kgraph, solution
from wafer_runtime.compiler.placing import Placement
from wafer_runtime.compiler.placing.search import place


def place_file(
    source: str, seconds: float, seed: int, iterations: int | None
) -> tuple[Placement, str]:
    """Place the kernels of a file; also the content of the solution file."""
    graph = read_kgraph(source)
    placement = place(graph.task, seconds, seed, iterations, _tell)
    return placement, solution(graph, placement)


def figures(placement: Placement) -> str:
    """What a placement costs, and how to have it again, as text."""
    delta_t, bound = placement.delta_t_cycles, placement.bound_cycles
    return (
        f"delta_t      {delta_t:,.0f} cycles, {delta_t / bound:.3f} of the area bound\n"
        f"wire length  {placement.wire_length:,.1f} PEs\n"
        f"adapters     {placement.adapters}\n"
        f"objective    {placement.objective:,.1f}\n"
        f"again with   --seed {placement.seed} --iterations {placement.iterations}"
    )


def _tell(iteration: int, objective: float) -> None:
    print(f"iteration {iteration}: objective {objective:,.0f}", file=sys.stderr)
