"""What people read about a plan: rates, who limits them, kernel by kernel."""

import json
from collections.abc import Iterable, Sequence

from wafer_runtime.compiler.plan import PlacedKernel, Plan
from wafer_runtime.report.text import table

_FULL = 0.9  # of the PEs: what is left has no room for a larger kernel


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
    # In whole %, as the vendor's; the notes below have more digits.
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
    where = f" of each of {plan.replicas} replicas" if plan.replicas > 1 else ""
    cycles = f"{plan.delta_t_cycles:,} cycles a sample{where}"
    yield f"delta_t: {cycles}, set by {limit(plan)}"
    yield f"More PEs: {use_of_more(plan)}"
    batches = in_batches(plan, rate_in_batches(plan))
    yield f"In batches of {plan.batch_size:,}: {batches}"
    yield f"PEs: {plan.pes:,} of {plan.fabric_cores:,} ({share(plan)})"
    yield f"Fullest PE: {fullest.memory_bytes:,} bytes, in {fullest.name}"
    if plan.replicas > 1:
        yield f"Replicas: {plan.replicas}, each {plan.replica_height} PEs high"
    yield (
        f"Placement: place_seed {plan.seed}, place_iterations {plan.iterations} "
        f"({plan.search_ended})"
    )


def share(plan: Plan) -> str:
    """Of the PEs, those under kernels, in three digits."""
    return f"{100 * plan.total_utilization:.3g}%"


def rate_in_batches(plan: Plan) -> float:
    """Samples/s of all replicas in the long run."""
    # Here, as it loads numba, which takes time and memory.
    from wafer_runtime.simulator.pipeline import cycles_in_batches

    return plan.samples_per_s(cycles_in_batches(plan))


def in_batches(plan: Plan, samples_per_s: float) -> str:
    """The rate in batches, and why it is not that of the steady state."""
    rate = f"{samples_per_s:,.1f} samples/s"
    if plan.mode != "train":
        return rate
    return f"{rate}, as the pipeline drains after each, until weights are updated"


def limit(plan: Plan) -> str:
    """What delta_t comes from."""
    return _limit(plan)[0]


def use_of_more(plan: Plan) -> str:
    """Whether more PEs would make it faster."""
    return _limit(plan)[1]


def _limit(plan: Plan) -> tuple[str, str]:
    """What delta_t comes from, and whether more PEs would change it."""

    def slowest(of: str) -> PlacedKernel:
        return max(plan.kernels, key=lambda kernel: int(getattr(kernel, of)))

    cycles, link = plan.delta_t_cycles, plan.busiest_link
    if plan.compute_cycles == cycles:
        name = slowest("compute_cycles").name
        use = f"no use: {name} is not split further; more place_seconds may find how"
        if plan.total_utilization > _FULL:
            use = "would help: nearly all are in use"
        return f"the computation of {name}", use
    kernel = slowest("transfer_cycles")
    if kernel.transfer_cycles == cycles:
        ports = f"its positions are split into {kernel.h} x {kernel.w}, a port for each"
        return f"the data at the ports of {kernel.name}", f"no use: {ports}"
    if link and plan.link_cycles == cycles:
        use = "no use: it is the routes; more place_seconds may find others"
        return f"the link from PE ({link.x}, {link.y}) to {link.direction}", use
    return "the connection to the host", "no use: all samples pass it"
