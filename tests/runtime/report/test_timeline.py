"""timeline.json: what Perfetto needs to open it, and what a person looks for in it."""

import dataclasses
import itertools
import json
import math
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import chain
from wafer_runtime.report.timeline import trace
from wafer_runtime.simulator.pipeline import execute
from wafer_runtime.simulator.timeline import Span


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
            assert event["ts"] + event["dur"] <= timeline.cycles + 1e-3


def test_events_of_a_thread_do_not_overlap_in_whole_nanoseconds():
    content, _ = events_of(100, 4e3)
    tracks = defaultdict(list)
    for event in content["traceEvents"]:
        if event["ph"] == "X":
            tracks[event["tid"]].append(event)
            # Threads have numbers of their own, which are no process's.
            assert {event["pid"]} == {e["pid"] for e in tracks[event["tid"]]}
            assert event["tid"] not in (0, 1, 2, 3)
    for events in tracks.values():
        events.sort(key=lambda event: event["ts"])
        for before, after in itertools.pairwise(events):
            # As Perfetto reads them: cut to whole ns. Events that overlap a little are
            # not nested, and would be left out.
            begin, lasts = int(before["ts"] * 1e3), int(before["dur"] * 1e3)
            assert begin + lasts <= int(after["ts"] * 1e3)


@settings(max_examples=200, deadline=None)
@given(st.floats(1e8, 2e9), st.integers(0, 10**12), st.integers(0, 10**6))
def test_whole_nanoseconds_are_not_lost(clock_hz, cycle, more):
    made = dataclasses.replace(execute(chain(1), 1), clock_hz=clock_hz)
    spans = (Span(0, 0, "busy", cycle, cycle + more),
             Span(0, 1, "busy", cycle + more, cycle + more))  # fmt: skip
    events = json.loads(trace(dataclasses.replace(made, spans=spans)))["traceEvents"]
    first, second = (e for e in events if e.get("cat") == "busy")
    assert int(first["ts"] * 1e3) == round(cycle * 1e9 / clock_hz)
    assert int(first["ts"] * 1e3) + int(first["dur"] * 1e3) <= int(second["ts"] * 1e3)


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
