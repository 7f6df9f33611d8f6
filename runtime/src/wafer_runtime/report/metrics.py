"""The key metrics of a compilation, as people submit them with a proposal."""

import logging
from collections.abc import Iterable
from pathlib import Path

from wafer_runtime.compiler.cache import DamagedError, read_entry
from wafer_runtime.compiler.plan import Plan
from wafer_runtime.errors import UsageError
from wafer_runtime.report.plan import (
    in_batches,
    limit,
    rate_in_batches,
    share,
    use_of_more,
)
from wafer_runtime.report.text import mode_text
from wafer_runtime.units import count_text

log = logging.getLogger("wafer_runtime")

_PLAN = "plan.json"


def find_plans(folder: Path) -> dict[Path, Plan]:
    """The newest plan of each mode in a model_dir, or that of one of its compilations,
    by its folder, the newest first.

    Raises UsageError if there is none, or one that is damaged.
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
    found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    plans = {path.parent: _read_plan(path.parent) for path in found}
    newest: dict[str, Path] = {}
    for path, plan in plans.items():
        newest.setdefault(plan.mode, path)
    if others := len(plans) - len(newest):
        log.info(
            "%s holds %s beside the newest of each mode: to take one, name its "
            "folder, %s/cs_<hash>",
            *(folder, count_text(others, "older plan"), folder),
        )
    return {path: plans[path] for path in newest.values()}


def _read_plan(folder: Path) -> Plan:
    try:
        return Plan.from_json(read_entry(folder)[_PLAN])
    except DamagedError as error:
        damage = str(error)
    except (ValueError, KeyError, TypeError):
        damage = f"{_PLAN} is not as this release writes it"
    raise UsageError(
        f"{folder}: is no whole plan: {damage}. Remove this folder; compiling again "
        "makes it anew"
    )


def metrics(plan: Plan, samples: int | None) -> str:
    """As text, one a line. samples: how many the dataset has, if known."""
    return "\n".join(f"{name + ':':26}{value}" for name, value in _lines(plan, samples))


def _lines(plan: Plan, samples: int | None) -> Iterable[tuple[str, str]]:
    cycles, size = plan.delta_t_cycles, plan.host_bytes_per_sample
    rate = rate_in_batches(plan)
    fullest = max(kernel.memory_bytes for kernel in plan.kernels)
    yield "system", f"{plan.system}, {plan.clock_hz / 1e6:,.0f} MHz"
    yield "mode", mode_text(plan.mode)
    yield "fabric utilization", f"{share(plan)} ({plan.pes:,} PEs)"
    if plan.replicas > 1:
        yield "replicas", f"{plan.replicas}, a sample in each every delta_t"
    yield "compute utilization", f"{plan.compute_utilization:.2%} of these PEs' time"
    yield "cycles per sample", f"{cycles / plan.replicas:,.0f} (delta_t {cycles:,})"
    yield "limited by", limit(plan)
    yield "more PEs", use_of_more(plan)
    steady = f"{plan.samples_per_s(cycles):,.0f} in the steady state"
    yield "samples per second", steady
    yield f"in batches of {plan.batch_size:,}", in_batches(plan, rate)
    yield "sample size", f"{size:,} bytes to and from the host"
    yield "input rate needed", f"{rate * size / 1e6:,.1f} MB/s"
    if samples:
        total = samples * size / 1e9
        yield "dataset size", f"{samples:,} samples, {total:,.3g} GB"
        yield "time of an epoch", _seconds(samples / rate)
    else:
        yield "dataset size", "unknown; give --samples N"
    yield "batch size", f"{plan.batch_size:,}"
    yield (
        "largest batch",
        "no limit: memory holds the samples on their way, not a batch",
    )
    yield "fullest PE", f"{fullest:,} bytes"


def _seconds(seconds: float) -> str:
    """In three digits, or more of whole seconds."""
    return f"{seconds:,.0f} s" if seconds >= 100 else f"{seconds:.3g} s"
