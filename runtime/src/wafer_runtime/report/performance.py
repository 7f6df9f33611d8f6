"""performance.json of a run, and what of it people are told."""

import json
import math

from wafer_runtime.compiler.plan import Plan
from wafer_runtime.simulator.timeline import Timeline


def performance(plan: Plan, timeline: Timeline, total_samples: int) -> str:
    """The text of performance.json, with the keys of the vendor's.

    total_samples: of all replicas. est_samples_per_sec = Frequency / delta_t and
    fabric_utilization = PEs used / fabric_cores, as in every published file; delta_t
    is the compiler's, in cycles for a sample. total_time is the wafer's, in s.
    """
    seconds = run_seconds(plan, timeline, total_samples)
    # With replicas, several samples come in the delta_t of one.
    delta_t = plan.delta_t_cycles / plan.replicas
    content = {
        "total_time": seconds,
        "samples_per_sec": total_samples / seconds,
        "est_samples_per_sec": plan.clock_hz / delta_t,
        "total_samples": total_samples,
        "fabric_cores": plan.fabric_cores,
        "fabric_utilization": plan.pes / plan.fabric_cores,
        "delta_t": plan.delta_t_cycles if plan.replicas == 1 else delta_t,
        "Frequency": plan.clock_hz,
    }
    return json.dumps(content, indent=1)


def run_seconds(plan: Plan, timeline: Timeline, total_samples: int) -> float:
    """How long the wafer takes for a run of `total_samples`."""
    each = math.ceil(total_samples / plan.replicas)
    return timeline.cycles_of(each) / timeline.clock_hz


def limit_line(
    timeline: Timeline, wafer_samples_per_s: float, streamer_samples_per_s: float
) -> str:
    """Whether the input or the wafer is the limit, and what would change it.

    wafer_samples_per_s: that it takes when they are there at once.
    streamer_samples_per_s: that one input pipeline like this one gives.
    """
    needed = math.ceil(wafer_samples_per_s / streamer_samples_per_s)
    given = timeline.replicas * timeline.clock_hz / timeline.input_cycles
    wafer = f"the wafer takes {wafer_samples_per_s:,.0f} samples / second"
    if timeline.is_input_bound:
        return (
            f"The input pipeline is the limit: it gives {given:,.0f} samples / second, "
            f"{wafer}; it would need {needed:,} streamers like this one"
        )
    return (
        f"The wafer is the limit: {wafer}, the input pipeline gives {given:,.0f}; "
        f"{needed:,} of its streamers would do"
    )
