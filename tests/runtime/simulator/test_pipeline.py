"""Pipelined execution: as an event-by-event simulation has it, and as planned."""

import dataclasses
import itertools
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import chain, kernel, plan, plans, reference, route
from wafer_runtime.compiler.kernel_graph import HOST
from wafer_runtime.simulator.pipeline import execute


@settings(max_examples=60, deadline=None)
@given(plans(), st.integers(1, 24), st.sampled_from([math.inf, 1e6, 2e4, 5e4 / 3]))
def test_it_is_what_a_simulation_of_events_gives(made, samples, rate):
    timeline = execute(made, samples, rate)
    done, times = reference(made, samples, 1e6 / rate)
    assert timeline.cycles == max(done)
    assert timeline.latency_cycles == done[0]
    begun = {
        (span.stage, span.sample): (span.begin_cycle, span.end_cycle)
        for span in timeline.spans
        if span.state == "busy"
    }
    shown = {n for _, n in begun}
    assert {min(samples, 16)} == {len(shown)}
    for (stage, sample), (begin, end) in begun.items():
        assert begin == times[stage, "begin", sample]
        assert end == times[stage, "end", sample]


@settings(max_examples=50, deadline=None)
@given(plans())
def test_in_the_steady_state_it_agrees_with_the_plan(made):
    endless = dataclasses.replace(made, batch_size=3000)
    timeline = execute(endless, 3000)
    assert timeline.delta_t_cycles == pytest.approx(made.delta_t_cycles, rel=0.02)
    assert not timeline.is_input_bound


@settings(max_examples=50, deadline=None)
@given(plans(), st.floats(1.1, 50))
def test_a_slow_host_sets_the_rate(made, slower):
    cycles = slower * made.delta_t_cycles
    timeline = execute(
        dataclasses.replace(made, batch_size=3000), 3000, made.clock_hz / cycles
    )
    assert timeline.delta_t_cycles == pytest.approx(cycles, rel=0.02)
    assert timeline.is_input_bound


@settings(max_examples=50, deadline=None)
@given(plans(), st.integers(2, 40))
def test_samples_pass_every_stage_once_and_in_order(made, samples):
    timeline = execute(made, samples)
    for stage, usage in enumerate(timeline.stages):
        spans = [span for span in timeline.spans if span.stage == stage]
        busy = [span.sample for span in spans if span.state == "busy"]
        if usage.cycles:
            assert busy == sorted({*range(samples)[:8], *range(samples)[-8:]})
        for before, after in itertools.pairwise(spans):
            assert before.end_cycle <= after.begin_cycle
        shares = usage.busy, usage.starved, usage.updating, usage.blocked
        assert sum(shares) == pytest.approx(1)
        assert min(shares) >= -1e-12


def test_a_batch_waits_for_the_weights_of_the_one_before():
    made = chain(100, 100, 100, batch_size=4)
    timeline = execute(made, 12)
    # 6 visits of a sample and 3 more samples behind it, flights aside.
    assert timeline.cycles == pytest.approx(3 * 100 * (4 + 6), rel=0.05)
    assert timeline.delta_t_cycles == 100
    assert timeline.cycles_per_sample == pytest.approx(100 * (4 + 6) / 4, rel=0.05)
    assert timeline.stages[1].updating > 0.3


def test_an_evaluation_does_not_wait():
    made = dataclasses.replace(chain(100, 100, 100, batch_size=4), mode="eval")
    assert execute(made, 1200).cycles_per_sample == 100


def test_a_kernel_that_no_sample_reaches_keeps_step_with_the_samples():
    kernels = [kernel("slow", 100), kernel("scale", 1)]
    routes = [route(HOST, "slow"), route("slow", HOST)]
    spans = execute(plan(kernels, routes), 1000).spans
    shown = [span.begin_cycle for span in spans if span.sample == 992]
    assert min(shown) > 90_000


def test_kernels_behind_a_slow_one_starve_and_those_before_are_blocked():
    made = dataclasses.replace(chain(10, 100, 10), mode="eval", batch_size=1)
    timeline = execute(made, 1000)
    of = {(u.kernel, u.is_backward): u for u in timeline.stages}
    assert of["k0", False].blocked > 0.75
    assert of["k1", False].busy == pytest.approx(1, abs=0.01)
    assert of["k2", False].starved == pytest.approx(0.9, abs=0.01)
    assert timeline.slowest == "k1"


@pytest.mark.parametrize(
    ("routes", "host_cycles", "slowest"),
    [(50, 1, "k0 -> host"), (1, 60, "host connection")],
)
def test_what_is_slowest_may_be_no_kernel(routes, host_cycles, slowest):
    ways = [route(HOST, "k0"), route("k0", HOST, routes)]
    made = plan([kernel("k0", 9)], ways, 100, host_cycles, "eval")
    timeline = execute(made, 1000)
    assert timeline.slowest == slowest
    assert timeline.delta_t_cycles == made.delta_t_cycles


def test_a_longer_run_is_told_from_a_short_one():
    made = chain(70, 90, 30, batch_size=8)
    for rate in (math.inf, 7e3):
        told = execute(made, 80, rate).cycles_of(8000)
        assert told == pytest.approx(execute(made, 8000, rate).cycles, rel=0.01)


def test_replicas_share_the_host_and_the_batch():
    made = chain(100, 100, 100, batch_size=16)
    two = dataclasses.replace(made, replicas=2)
    assert execute(two, 800).cycles_per_sample == pytest.approx(
        execute(chain(100, 100, 100, batch_size=8), 800).cycles_per_sample
    )
    slow = execute(two, 800, input_samples_per_s=1e3)
    assert slow.cycles_per_sample == pytest.approx(2e3)


def test_ten_thousand_samples_of_a_large_model_take_seconds():
    made = chain(*[100] * 376, batch_size=1000)
    execute(made, 1)
    began = time.perf_counter()
    execute(made, 10_000)
    assert time.perf_counter() - began < 10


def test_kernels_without_any_tensor_between_them_and_the_host_are_executed():
    made = plan([kernel("k0", 9, trains=False)], [], mode="eval")
    assert execute(made, 10).cycles_per_sample == 9


def test_ramps_are_those_of_the_system():
    ways = [route(HOST, "k0"), route("k0", HOST)]
    slow, fast = (
        plan([kernel("k0", 1)], ways, 1, 1, "eval", ramp_latency_cycles=cycles)
        for cycles in (20, 2)
    )
    longer = execute(slow, 1).latency_cycles - execute(fast, 1).latency_cycles
    # A ramp into the fabric and a ramp out of it, on the way there and back.
    assert longer == 2 * 2 * 18
