"""What people read about a plan: rates, who limits them, kernel by kernel."""

import json
from collections.abc import Iterable, Sequence

from wafer_runtime.compiler.plan import PlacedKernel, Plan
from wafer_runtime.report.text import table


def estimate(plan: Plan) -> str:
    """The content of deltat_estimate.json."""
    return json.dumps({"estimated_deltat": plan.delta_t_cycles}) + "\n"


def plan_report(plan: Plan) -> str:
    """The head of compile_report.txt, as users of the vendor's stack know it."""
    return "\n".join([*_rates(plan), "", _kernels(plan), "", *_notes(plan), ""])


def _rates(plan: Plan) -> Iterable[str]:
    for name, cycles in (
        ("", plan.delta_t_cycles),
        ("Compute ", plan.compute_cycles),
        ("Transmission ", plan.transmission_cycles),
    ):
        yield f"{name}Samples/s: {plan.samples_per_s(cycles):,.1f}"
    yield f"Active PEs: {plan.total_utilization:.0%}"
    yield f"Compute Utilization: {plan.compute_utilization:.0%}"


def _kernels(plan: Plan) -> str:
    heading = (
        "kernel",
        "Samples/s",
        "Compute Samples/s",
        "Transmission Samples/s",
        "Active PEs",
        "Utilization",
    )
    rows: list[Sequence[object]] = [heading]
    for kernel in plan.kernels:
        cycles = (kernel.cycles, kernel.compute_cycles, kernel.transfer_cycles)
        rates = (_rate(plan, n) for n in cycles)
        busy = kernel.compute_cycles / plan.delta_t_cycles
        rows.append((kernel.name, *rates, plan.replicas * kernel.pes, f"{busy:.0%}"))
    return table(rows)


def _rate(plan: Plan, cycles: int) -> str:
    return f"{plan.samples_per_s(cycles):,.0f}" if cycles else "-"


def _notes(plan: Plan) -> Iterable[str]:
    fullest = max(plan.kernels, key=lambda kernel: kernel.memory_bytes)
    yield f"System: {plan.system}, {plan.fabric_width} x {plan.fabric_height} PEs"
    yield f"delta_t: {plan.delta_t_cycles:,} cycles a sample, set by {limit(plan)}"
    yield f"PEs: {plan.pes:,} of {plan.fabric_cores:,}"
    yield f"Fullest PE: {fullest.memory_bytes:,} bytes, in {fullest.name}"
    if plan.replicas > 1:
        yield f"Replicas: {plan.replicas}, each {plan.replica_height} PEs high"
    yield (
        f"Placement: place_seed {plan.seed}, place_iterations {plan.iterations} "
        f"({plan.search_ended})"
    )


def limit(plan: Plan) -> str:
    """What delta_t comes from."""

    def slowest(of: str) -> PlacedKernel:
        return max(plan.kernels, key=lambda kernel: int(getattr(kernel, of)))

    cycles, link = plan.delta_t_cycles, plan.busiest_link
    if plan.compute_cycles == cycles:
        return f"the computation of {slowest('compute_cycles').name}"
    if slowest("transfer_cycles").transfer_cycles == cycles:
        return f"the data at the ports of {slowest('transfer_cycles').name}"
    if link and link.wavelets == cycles:
        return f"the link from PE ({link.x}, {link.y}) to {link.direction}"
    return "the connection to the host"
