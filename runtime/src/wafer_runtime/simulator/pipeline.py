"""Pipelined execution: samples stream from the host through the kernels of a plan.

A recurrence, sample by sample and stage by stage in their order, over four times:

- begin: a stage takes in a sample when it has taken in the one before, the first of all
  its inputs is there, every stage behind it has room for what will come of it, and, for
  the first sample of a batch, its weights are updated.
- end: it works for its `cycles`, longer if inputs come more slowly.
- first: the outputs begin `fill_cycles` after the sample, and after those of the one
  before.
- last: they take the stage's cycles, or end `fill_cycles` after the last input.

Links are stages of arcs: a sample takes `transfer_cycles`, its first wavelet
`flight_cycles`. Between batches the pipeline drains: the steps computed beside are
those of a descent in which every batch sees the weights that the one before has left,
so that a kernel must not take in a batch before its own update. Updates take no time
of their own: `PlacedKernel.compute_cycles` has their arithmetic, spread over samples.

Room is bounded: an arc holds as many samples as pass, at the plan's delta_t, from the
begin at its source to the end at its target, in a run of one sample. These times rise
along every arc by its delay at least, and fall along room given back by delta_t for
each sample that it holds: no ring of waiting takes more than delta_t a sample.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import numba
import numpy as np

from wafer_runtime.compiler.plan import Plan
from wafer_runtime.simulator.stages import Pipeline, pipeline_of
from wafer_runtime.simulator.timeline import (
    HOST_CONNECTION,
    Span,
    Timeline,
    Usage,
)

STATES = ("starved", "updating", "blocked", "busy")
# Of the times of a sample at a stage that are kept until they are not asked for.
BEGIN, END, FIRST, LAST = range(4)
_SHOWN = 8  # of the first samples, and of the last
_EXECUTED = 2000  # of a batch: after so many the pipeline is full


class _Graph(NamedTuple):
    """Of stages int64: cycles, fill, updates. Of arcs int64, sorted by target: source,
    target, flight, transfer, room. starts: of each stage's arcs, and the end. leaving,
    leaving_starts: the same by source, as indices of arcs.
    """

    cycles: Any
    fill: Any
    updates: Any
    source: Any
    target: Any
    flight: Any
    transfer: Any
    room: Any
    starts: Any
    leaving: Any
    leaving_starts: Any


def execute(
    plan: Plan, samples: int, input_samples_per_s: float = math.inf
) -> Timeline:
    """Run a number of samples, for each replica, through the plan's pipeline.

    input_samples_per_s: that the host can give to all replicas.
    """
    pipeline = pipeline_of(plan)
    graph = _graph(pipeline, max(1, plan.delta_t_cycles))
    input_cycles = plan.replicas * plan.clock_hz / input_samples_per_s
    shown = sorted({*range(samples)[:_SHOWN], *range(samples)[-_SHOWN:]})
    run = _run(graph, samples, _batch(plan), input_cycles, np.array(shown))
    return _timeline(plan, pipeline, graph, input_cycles, shown, run)


def cycles_in_batches(plan: Plan) -> float:
    """Cycles a sample of one replica in the long run, with the drain between batches:
    of two batches, and, where these are large, of their first samples.
    """
    batch = _batch(plan)
    if not batch:
        return float(plan.delta_t_cycles)
    few = min(batch, _EXECUTED)
    run = execute(dataclasses.replace(plan, batch_size=few * plan.replicas), 2 * few)
    more = (batch - few) * plan.delta_t_cycles
    return (run.cycles_per_sample * few + more) / batch


def _batch(plan: Plan) -> int:
    """Samples of a replica in a batch, after which weights change; 0 in evaluation."""
    return plan.replica_batch_size if plan.mode == "train" else 0


def _graph(pipeline: Pipeline, delta_t_cycles: int) -> _Graph:
    stages, arcs = pipeline.stages, sorted(pipeline.arcs, key=lambda a: a.target)
    numbers = range(len(stages) + 1)

    def column(rows: Any, name: str) -> Any:
        return np.array([getattr(row, name) for row in rows], np.int64)

    source, target = column(arcs, "source"), column(arcs, "target")
    leaving = np.argsort(source, kind="stable")
    graph = _Graph(
        cycles=column(stages, "cycles"),
        fill=column(stages, "fill_cycles"),
        updates=column(stages, "updates"),
        source=source,
        target=target,
        flight=column(arcs, "flight_cycles"),
        transfer=column(arcs, "transfer_cycles"),
        room=np.full(len(arcs), 2, np.int64),
        starts=np.searchsorted(target, numbers),
        leaving=leaving,
        leaving_starts=np.searchsorted(source[leaving], numbers),
    )
    times = _run(graph, 1, 0, 0.0, np.array([0])).shown[0]
    passing = times[target, -1] + graph.flight - times[source, -2]
    return graph._replace(room=np.maximum(1, -(-passing // delta_t_cycles)))


class _Run(NamedTuple):
    """done: int64 [samples], when each had left. waits: int64 [stages, 3], cycles in
    the first three states. shown: int64 [shown, stages, 5], of some samples: when a
    stage was ready, when each of these states was over, and when it ended.
    """

    done: Any
    waits: Any
    shown: Any


jit = numba.njit(cache=True, nogil=True, error_model="numpy")


@jit
def _run(g: Any, samples: int, batch: int, input_cycles: float, shown: Any) -> Any:
    stages = len(g.cycles)
    kept = 2
    for room in g.room:
        kept = max(kept, room + 1)
    times = np.zeros((kept, stages, 4), np.int64)
    free = np.zeros(len(g.source), np.int64)
    done = np.zeros(samples, np.int64)
    waits = np.zeros((stages, 3), np.int64)
    trace = np.zeros((len(shown), stages, 5), np.int64)
    step = np.zeros(5, np.int64)
    row = 0
    for n in range(samples):
        last, now = times[(n - 1) % kept], times[n % kept]
        for s in range(stages):
            step[0] = last[s, END]
            first, whole = _arrival(g, s, now, free)
            if s == 0:
                first = math.ceil((n + 1) * input_cycles)
            step[1] = max(step[0], first)
            is_updated = n and batch and n % batch == 0 and g.updates[s] >= 0
            step[2] = max(step[1], last[g.updates[s], LAST] if is_updated else 0)
            step[3] = max(step[2], _room(g, s, n, times))
            step[4] = max(step[3] + g.cycles[s], whole)
            now[s, BEGIN], now[s, END] = step[3], step[4]
            now[s, FIRST] = max(step[3] + g.fill[s], last[s, LAST])
            now[s, LAST] = max(now[s, FIRST] + g.cycles[s], whole + g.fill[s])
            done[n] = max(done[n], now[s, LAST])
            waits[s] += step[1:4] - step[:3]
            if row < len(shown) and n == shown[row]:
                trace[row, s] = step
        row += row < len(shown) and n == shown[row]
    return _Run(done, waits, trace)


@jit
def _arrival(g: Any, s: int, now: Any, free: Any) -> tuple[int, int]:
    """When the first of all of a stage's inputs is there, and when the last is."""
    first = whole = 0
    for a in range(g.starts[s], g.starts[s + 1]):
        begin = max(now[g.source[a], FIRST] + g.flight[a], free[a])
        free[a] = begin + g.transfer[a]
        first = max(first, begin)
        whole = max(whole, free[a], now[g.source[a], LAST] + g.flight[a])
    return first, whole


@jit
def _room(g: Any, s: int, n: int, times: Any) -> int:
    """When there is room for what a stage will make of the n-th sample."""
    when = 0
    for i in range(g.leaving_starts[s], g.leaving_starts[s + 1]):
        a = g.leaving[i]
        if n >= g.room[a]:
            target = times[(n - g.room[a]) % len(times), g.target[a]]
            when = max(when, target[END] + g.flight[a])
    return when


def _timeline(
    plan: Plan,
    pipeline: Pipeline,
    graph: _Graph,
    input_cycles: float,
    shown: list[int],
    run: _Run,
) -> Timeline:
    samples, batch, cycles = len(run.done), _batch(plan), int(run.done[-1])
    delta_t = _cycles_between(run.done, batch)
    each = delta_t
    if batch and samples >= 2 * batch:
        ends = run.done[batch - 1 :: batch]
        each = (ends[-1] - ends[-2]) / batch
    return Timeline(
        clock_hz=plan.clock_hz,
        replicas=plan.replicas,
        samples=samples,
        batch_size=batch,
        input_cycles=input_cycles,
        cycles=cycles,
        latency_cycles=int(run.done[0]),
        delta_t_cycles=delta_t,
        cycles_per_sample=float(each),
        slowest=_slowest(pipeline),
        stages=_usages(pipeline, graph, samples, cycles, run.waits),
        spans=_spans(shown, run.shown),
    )


def _cycles_between(done: Any, batch: int) -> float:
    """Cycles from sample to sample in the second half of the last batch."""
    last = len(done) - 1
    middle = (last + (last // batch * batch if batch else 0)) // 2
    if middle == last:
        return float(done[last] / len(done))
    return float((done[last] - done[middle]) / (last - middle))


def _slowest(pipeline: Pipeline) -> str:
    """What takes the most cycles for a sample."""
    host, *kernels = pipeline.stages
    times = [(stage.cycles, stage.kernel) for stage in kernels]
    times += [(arc.transfer_cycles, arc.label) for arc in pipeline.arcs]
    times += [(host.cycles, HOST_CONNECTION)]
    return max(times, key=lambda time: time[0])[1]


def _usages(
    pipeline: Pipeline, graph: _Graph, samples: int, cycles: int, waits: Any
) -> tuple[Usage, ...]:
    held = {
        (int(a), int(b)): int(room)
        for a, b, room in zip(graph.source, graph.target, graph.room, strict=True)
    }
    usages = []
    for i, stage in enumerate(pipeline.stages):
        busy = samples * stage.cycles / cycles
        updating, blocked = (waits[i, 1:] / cycles).tolist()
        usages.append(
            Usage(
                kernel=stage.kernel,
                is_backward=stage.is_backward,
                cycles=stage.cycles,
                samples_held=held.get((i, stage.updates), 0),
                busy=busy,
                starved=1 - busy - updating - blocked,
                updating=updating,
                blocked=blocked,
            )
        )
    return tuple(usages)


def _spans(shown: list[int], times: Any) -> tuple[Span, ...]:
    return tuple(
        Span(stage, sample, state, int(step[i]), int(step[i + 1]))
        for sample, rows in zip(shown, times, strict=True)
        for stage, step in enumerate(rows)
        for i, state in enumerate(STATES)
        if step[i + 1] > step[i]
    )
