"""The key metrics of a compilation, as people submit them with a proposal."""

from collections.abc import Iterable
from pathlib import Path

from wafer_runtime.compiler.plan import Plan
from wafer_runtime.errors import UsageError
from wafer_runtime.report.plan import limit

_PLAN = "plan.json"


def find_plan(folder: Path) -> Path:
    """The newest plan.json of a model_dir, or that of one of its compilations.

    Raises UsageError if there is none.
    """
    if not folder.is_dir():
        raise UsageError(
            f"{folder}: is no folder; name a model_dir or a cs_<hash> in it"
        )
    found = [*folder.glob(_PLAN), *folder.glob(f"cs_*/{_PLAN}")]
    if not found:
        raise UsageError(
            f"{folder}: holds no compilation with a plan; run.py --compile_only makes "
            "one"
        )
    return max(found, key=lambda path: path.stat().st_mtime)


def read_plan(path: Path) -> Plan:
    """The plan in a file. Raises UsageError if it is none, or damaged."""
    try:
        return Plan.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path}: is no whole plan ({type(error).__name__}: {error}). Remove its "
            "folder and compile again"
        ) from None


def metrics(plan: Plan, samples: int | None) -> str:
    """As text, one a line. samples: how many the dataset has, if known."""
    return "\n".join(f"{name + ':':26}{value}" for name, value in _lines(plan, samples))


def _lines(plan: Plan, samples: int | None) -> Iterable[tuple[str, str]]:
    cycles, size = plan.delta_t_cycles, plan.host_bytes_per_sample
    rate = plan.samples_per_s(cycles)
    fullest = max(kernel.memory_bytes for kernel in plan.kernels)
    yield "system", f"{plan.system}, {plan.clock_hz / 1e6:,.0f} MHz"
    yield "mode", plan.mode
    yield "fabric utilization", f"{plan.total_utilization:.2%} ({plan.pes:,} PEs)"
    yield "compute utilization", f"{plan.compute_utilization:.2%} of these PEs' time"
    yield "cycles per sample", f"{cycles / plan.replicas:,.0f} (delta_t {cycles:,})"
    yield "limited by", limit(plan)
    yield "samples per second", f"{rate:,.0f}"
    yield "sample size", f"{size:,} bytes to and from the host"
    yield "input rate needed", f"{rate * size / 1e6:,.1f} MB/s"
    if samples:
        total = samples * size / 1e9
        yield "dataset size", f"{samples:,} samples, {total:,.3g} GB"
        yield "time of an epoch", f"{samples / rate:,.1f} s"
    else:
        yield "dataset size", "unknown; give --samples N"
    yield "batch size", f"{plan.batch_size:,}"
    yield (
        "largest batch",
        "any: samples pass one by one, a batch only says when weights are updated",
    )
    yield "fullest PE", f"{fullest:,} bytes"
