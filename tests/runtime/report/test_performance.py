"""performance.json and the line about the limit."""

import dataclasses
import json
import math

import pytest
from plans import chain
from wafer_runtime.report.performance import limit_line, performance
from wafer_runtime.simulator.pipeline import execute

PLAN = chain(100, 200, 100, batch_size=10)


def told(plan, samples, rate=math.inf):
    return json.loads(performance(plan, execute(plan, 100, rate), samples))


def test_published_identities_hold():
    for plan in (PLAN, dataclasses.replace(PLAN, replicas=2)):
        found = told(plan, 1000)
        assert found["est_samples_per_sec"] == found["Frequency"] / found["delta_t"]
        used = found["fabric_utilization"] * found["fabric_cores"]
        assert used == pytest.approx(3 * plan.replicas)
        assert found["samples_per_sec"] == pytest.approx(1000 / found["total_time"])


def test_the_time_is_that_of_the_slower_of_input_and_wafer():
    endless = dataclasses.replace(PLAN, mode="eval")
    assert told(endless, 10**6)["total_time"] == pytest.approx(200, rel=0.01)
    assert told(endless, 10**6, 500)["total_time"] == pytest.approx(2000, rel=0.01)
    # In training, each batch of 10 waits for the update after the one before.
    assert told(PLAN, 10**6)["total_time"] > 250
    two = dataclasses.replace(endless, replicas=2)
    assert told(two, 10**6)["total_time"] == pytest.approx(100, rel=0.01)


@pytest.mark.parametrize(
    ("rate", "line"),
    [
        (
            500,
            "The input pipeline is the limit: it gives 500 samples / second, the wafer "
            "takes 5,000 samples / second; it would need 10 streamers like this one",
        ),
        (
            8000,
            "The wafer is the limit: the wafer takes 5,000 samples / second, the input "
            "pipeline gives 8,000; 1 of its streamers would do",
        ),
    ],
)
def test_the_limit_is_told_with_the_streamers_that_it_takes(rate, line):
    plan = dataclasses.replace(PLAN, mode="eval")
    takes = execute(plan, 100).samples_per_s
    assert limit_line(execute(plan, 100, rate), takes, rate) == line
