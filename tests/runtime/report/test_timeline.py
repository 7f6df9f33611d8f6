"""timeline.json: what Perfetto needs to open it, and what a person looks for in it."""

import json
import math
from collections import defaultdict

import pytest
from plans import chain
from wafer_runtime.report.timeline import trace
from wafer_runtime.simulator.pipeline import execute


def events_of(samples, rate=math.inf, **more):
    timeline = execute(chain(100, 200, 100, **more), samples, rate)
    return json.loads(trace(timeline)), timeline


def test_it_is_in_the_trace_event_format():
    content, timeline = events_of(100, 4e3)
    threads = {
        (e["pid"], e["tid"])
        for e in content["traceEvents"]
        if e["ph"] == "M" and e["name"] == "thread_name"
    }
    for event in content["traceEvents"]:
        assert event["ph"] in "MX"
        if event["ph"] == "X":
            assert (event["pid"], event["tid"]) in threads
            assert event["ts"] >= 0
            assert event["dur"] >= 0
            # Times are in microseconds; the plan's clock has one a cycle.
            assert event["ts"] + event["dur"] <= timeline.cycles


def test_events_of_a_thread_do_not_overlap():
    content, _ = events_of(100, 4e3)
    tracks = defaultdict(list)
    for event in content["traceEvents"]:
        if event["ph"] == "X":
            tracks[event["pid"], event["tid"]].append(event)
    for events in tracks.values():
        events.sort(key=lambda event: event["ts"])
        ends = [event["ts"] + event["dur"] for event in events]
        begins = [event["ts"] for event in events[1:]]
        assert all(e <= b + 1e-6 for e, b in zip(ends, begins, strict=False))


def test_host_streamers_kernels_and_what_they_wait_for_are_there():
    content, _ = events_of(100)
    names = {e["args"].get("name") for e in content["traceEvents"] if e["ph"] == "M"}
    assert {"host", "streamers", "wafer", "k0", "k1", "k1, backward"} <= names
    told = {e["name"] for e in content["traceEvents"] if e["ph"] == "X"}
    assert {"sample 0", "sample 99", "samples 8 to 91"} <= told
    assert {"waits for a sample", "waits for its update", "waits for room"} <= told


@pytest.mark.parametrize(("rate", "limit"), [(math.inf, "wafer"), (100.0, "input")])
def test_the_steady_state_is_told_in_figures(rate, limit):
    figures = events_of(400, rate, batch_size=100)[0]["otherData"]
    assert figures["limit"] == limit
    assert figures["delta_t_cycles"] == (200 if limit == "wafer" else 1e4)
    assert sum(figures["shares"]["k1"].values()) == pytest.approx(1, abs=1e-3)


def test_its_size_does_not_grow_with_the_run():
    long, short = (trace(execute(chain(100, 200), n)) for n in (20_000, 200))
    assert len(long) < 1.2 * len(short)
