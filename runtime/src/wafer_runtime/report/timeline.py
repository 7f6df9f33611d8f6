"""timeline.json: a run of the simulated wafer, in the form that Perfetto opens.

The form is Chrome's "Trace Event Format": complete events (`ph: X`) on the threads of
three processes, host, streamers and wafer, with times in microseconds.
"""

import itertools
import json
import math
from collections.abc import Iterator
from typing import Any

from wafer_runtime.simulator.timeline import Span, Timeline

_HOST, _STREAMERS, _WAFER = range(1, 4)
_PROCESSES = {_HOST: "host", _STREAMERS: "streamers", _WAFER: "wafer"}
# A process and a thread each. Perfetto takes thread 0, or one with a process's number,
# for something else.
_INPUT, _OTHERS = (_HOST, 11), (_HOST, 12)
_FIRST_STAGE = 101
_WAITS = {
    "starved": "waits for a sample",
    "updating": "waits for its update",
    "blocked": "waits for room",
}
_SHARES = ("busy", "starved", "updating", "blocked")


def trace(timeline: Timeline) -> str:
    """The text of timeline.json.

    It has the first and the last samples of the run, not more; what lies between is one
    event, with the figures that hold for all of it.
    """
    content = {
        "traceEvents": [
            *_names(timeline),
            *(_input(timeline, n) for n in _shown(timeline)),
            *(_event(timeline, span) for span in timeline.spans),
            *_between(timeline),
        ],
        "displayTimeUnit": "ns",
        "otherData": _summary(timeline),
    }
    return json.dumps(content)


def _names(timeline: Timeline) -> list[dict[str, Any]]:
    tracks = [(process, process, name) for process, name in _PROCESSES.items()]
    named = [_name("process_name", *track) for track in tracks]
    named += [_name("process_sort_index", p, p, sort_index=p) for p in _PROCESSES]
    named.append(_name("thread_name", *_INPUT, "input_fn"))
    named.append(_name("thread_name", *_OTHERS, "samples that are not shown"))
    for number, stage in enumerate(timeline.stages):
        name = stage.kernel + (", backward" if stage.is_backward else "")
        if stage.kernel == "host":
            name = "from the wafer" if stage.is_backward else "to the wafer"
        process = _process(timeline, number)
        thread = _FIRST_STAGE + number
        named.append(_name("thread_name", process, thread, name))
        named.append(_name("thread_sort_index", process, thread, sort_index=number))
    return named


def _name(
    what: str, process: int, thread: int, name: str = "", **more: Any
) -> dict[str, Any]:
    arguments = {"name": name} if name else more
    return {"ph": "M", "name": what, "pid": process, "tid": thread, "args": arguments}


def _process(timeline: Timeline, stage: int) -> int:
    return _STREAMERS if timeline.stages[stage].kernel == "host" else _WAFER


def _complete(
    timeline: Timeline, track: tuple[int, int], name: str, begin: float, end: float
) -> dict[str, Any]:
    begin_ns, end_ns = (round(n * 1e9 / timeline.clock_hz) for n in (begin, end))
    return {
        "ph": "X",
        "name": name,
        "pid": track[0],
        "tid": track[1],
        # Perfetto cuts to whole ns: a tenth more, or one of them may be lost.
        "ts": round(begin_ns / 1e3 + 1e-4, 4),
        "dur": (end_ns - begin_ns) / 1e3,
    }


def _input(timeline: Timeline, sample: int) -> dict[str, Any]:
    """A sample that the host prepares."""
    begin, end = (math.ceil(n * timeline.input_cycles) for n in (sample, sample + 1))
    return _complete(timeline, _INPUT, f"sample {sample}", begin, end)


def _event(timeline: Timeline, span: Span) -> dict[str, Any]:
    name = _WAITS.get(span.state, f"sample {span.sample}")
    track = _process(timeline, span.stage), _FIRST_STAGE + span.stage
    event = _complete(timeline, track, name, span.begin_cycle, span.end_cycle)
    event["cat"] = span.state
    if timeline.batch_size:
        event["args"] = {"batch": span.sample // timeline.batch_size}
    return event


def _between(timeline: Timeline) -> Iterator[dict[str, Any]]:
    """The samples that are not shown, as one event."""
    for before, after in itertools.pairwise(_shown(timeline)):
        if after > before + 1:
            begin = max(s.end_cycle for s in timeline.spans if s.sample == before)
            end = min(s.begin_cycle for s in timeline.spans if s.sample == after)
            name = f"samples {before + 1} to {after - 1}"
            event = _complete(timeline, _OTHERS, name, begin, max(begin, end))
            yield event | {"args": {"delta_t_cycles": timeline.delta_t_cycles}}


def _shown(timeline: Timeline) -> list[int]:
    return sorted({span.sample for span in timeline.spans})


def _summary(timeline: Timeline) -> dict[str, Any]:
    stages = {
        stage.kernel + (" backward" if stage.is_backward else ""): {
            share: round(getattr(stage, share), 4) for share in _SHARES
        }
        for stage in timeline.stages
    }
    return {
        "samples": timeline.samples,
        "cycles": timeline.cycles,
        "clock_hz": timeline.clock_hz,
        "latency_cycles": timeline.latency_cycles,
        "delta_t_cycles": timeline.delta_t_cycles,
        "cycles_per_sample": timeline.cycles_per_sample,
        "slowest": timeline.slowest,
        "limit": "input" if timeline.is_input_bound else "wafer",
        "shares": stages,
    }
