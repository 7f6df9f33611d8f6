"""compile_report.txt: what limits a plan, and at which rates it goes."""

import dataclasses
import re

import pytest
from plans import chain, kernel, plan, route
from wafer_runtime.compiler.kernel_graph import HOST
from wafer_runtime.report.plan import plan_report

FULL = dataclasses.replace(chain(100, 200), fabric_width=2, fabric_height=1)


def one(cycles=9, ports=0, links=1, host=1):
    """A plan of one kernel."""
    made = dataclasses.replace(kernel("k0", cycles), transfer_cycles=ports, h=4, w=2)
    ways = [route(HOST, "k0", links), route("k0", HOST)]
    return plan([made], ways, 100, host, "eval")


@pytest.mark.parametrize(
    ("made", "limit", "use"),
    [
        (FULL, "the computation of k1", "would help: nearly all are in use"),
        (one(), "the computation of k0", "no use: k0 is not split further"),
        (one(ports=10), "the data at the ports of k0", "are split into 4 x 2, a port"),
        (one(links=11), r"the link from PE \(0, 0\) to E", "no use: it is the routes"),
        (one(host=12), "the connection to the host", "no use: all samples pass it"),
    ],
)
def test_it_says_what_limits_and_whether_more_pes_would_help(made, limit, use):
    report = plan_report(made)
    assert re.search(f"^delta_t: .*, set by {limit}$", report, re.MULTILINE)
    assert re.search(f"^More PEs: .*{use}", report, re.MULTILINE)


def test_the_rate_in_batches_has_the_drain_and_the_head_has_not():
    made = chain(100, 100, 100, batch_size=4)
    rates = re.findall(r"^(?:S|In b).*: ([\d,.]+)", plan_report(made), re.MULTILINE)
    steady, batched = (float(rate.replace(",", "")) for rate in rates[:2])
    assert steady == 1e6 / 100
    # 6 visits of the first sample, and 3 more samples behind it.
    assert batched == pytest.approx(1e6 / (100 * (4 + 6) / 4), rel=0.05)
    large = dataclasses.replace(made, batch_size=10**6)
    assert "In batches of 1,000,000: 9,99" in plan_report(large)
    evaluated = dataclasses.replace(made, mode="eval")
    assert "In batches of 4: 10,000.0 samples/s\n" in plan_report(evaluated)
