"""From a kernel graph to a plan: what it promises, from its rectangles and paths."""

import contextlib
import dataclasses
import itertools
import re
from collections import defaultdict

import plans
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wafer_runtime.compiler import planning
from wafer_runtime.compiler.kernel_graph import HOST, Edge, Kernel, KernelGraph, Weight
from wafer_runtime.compiler.placing.search import placements
from wafer_runtime.compiler.plan import Link, Plan, Search
from wafer_runtime.compiler.planning import make_plan
from wafer_runtime.compiler.replicas import strip
from wafer_runtime.compiler.route import ports, route
from wafer_runtime.compiler.size import in_flight
from wafer_runtime.errors import MappingError
from wafer_runtime.simulator.pipeline import cycles_in_batches
from wafer_runtime.system import load_system
from wafer_runtime.units import count_text

WSE2 = load_system("wse2")
QUICK = Search(iterations=2)
ALL = ("forward", "input_gradient", "weight_gradient", "update")


def stage(name):
    return contextlib.nullcontext()


def dense(name, positions, inputs, outputs, saved=0):
    """A dense layer in float16, trained with Adam."""
    count = inputs * outputs
    shape = (inputs, outputs)
    weight = Weight(f"{name}/kernel", shape, "float32", 4 * count, trained=True)
    states = [Weight(n, shape, "float32", 4 * count, False) for n in ("m", "v")]
    return Kernel(
        name=name,
        kind="dense",
        layer=name,
        dims={"positions": positions, "inputs": inputs, "outputs": outputs},
        passes=ALL,
        macs=3 * 8 * positions * count,
        operations=10 * count,
        weights=(weight,),
        states=tuple(states),
        shared=(),
        saved_bytes=saved,
        optimizer="Adam",
        dtypes=("float16",),
        ops=(),
        lines=(),
    )


def edge(source, target, values, back=True):
    size = 2 * values
    return Edge(source, target, f"{source}:0", (values,), "float16", size, size * back)


def chain(count, positions=16, width=64, **more):
    """Dense layers, each of which the last one reads too."""
    kernels = [dense(f"d{i}", positions, width, width, **more) for i in range(count)]
    values = positions * width
    edges = [edge(HOST, "d0", values, back=False)]
    edges += [edge(f"d{i}", f"d{i + 1}", values) for i in range(count - 1)]
    edges += [edge(f"d{i}", f"d{count - 1}", values) for i in range(count - 2)]
    edges += [edge(f"d{count - 1}", HOST, 1, back=False)]
    return KernelGraph("train", 8, tuple(kernels), tuple(edges))


@pytest.fixture(scope="module")
def plan():
    return make_plan(chain(6), WSE2, QUICK, stage)


def points(path):
    """The PEs of a path, one after another."""
    found = [path[:2]]
    for goal in (path[2:4], path[4:6], path[6:8]):
        while found[-1] != goal:
            at = found[-1]
            step = [(a < b) - (a > b) for a, b in zip(at, goal, strict=True)]
            found.append((at[0] + step[0], at[1] + step[1]))
    return found


def check_kernels(plan, system):
    """Assert that they are on the fabric, on no other, and that their data fit."""
    boxes = [(k.x, k.y, k.x + k.width, k.y + k.height) for k in plan.kernels]
    for a, b in itertools.combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    assert min(a for box in boxes for a in box[:2]) >= 0
    assert max(box[2] for box in boxes) <= system.program_width
    assert max(box[3] for box in boxes) <= plan.replica_height
    assert plan.replicas * plan.replica_height <= system.program_height
    assert max(k.memory_bytes for k in plan.kernels) <= 49_152 - 512


def check_routes(plan, graph, system):
    """Assert that tensors go from port to port, and links carry what is said."""
    per_batch = {e.tensor for e in graph.edges if e.per_batch}
    wanted = defaultdict(int)
    for e in graph.edges:
        copies = plan.replicas if e.per_batch else 1
        for ends, size in (
            ((e.source, e.target, e.tensor, False), e.bytes),
            ((e.target, e.source, e.tensor, True), e.gradient_bytes),
        ):
            if size:
                wanted[ends] += -(-size * copies // 4)
    got = {(r.source, r.target, r.tensor, r.is_gradient): r for r in plan.routes}
    assert {ends: r.wavelets for ends, r in got.items()} == wanted
    places = {kernel.name: kernel for kernel in plan.kernels}
    load, colors = defaultdict(lambda: defaultdict(int)), defaultdict(set)
    for r in plan.routes:
        part = -(-r.wavelets // len(r.paths))
        own = defaultdict(int)
        for path in r.paths:
            way = points(path)
            for name, end, edge_x in (
                (r.source, way[0], 0),
                (r.target, way[-1], system.program_width - 1),
            ):
                if name == HOST:
                    assert end[0] == edge_x
                else:
                    found = ports(places[name], r.tensor in per_batch)
                    assert any(end in port for port in found)
            for link in itertools.pairwise(way):
                own[link] += part
            for pe in way:
                colors[pe].add(r.source)
        tensor = (r.source, r.tensor, r.is_gradient)
        for link, wavelets in own.items():
            load[link][tensor] = max(load[link][tensor], wavelets)
    total = {link: sum(tensors.values()) for link, tensors in load.items()}
    assert plan.link_cycles == max(total.values(), default=0)
    for r in plan.routes:
        links = (i for path in r.paths for i in itertools.pairwise(points(path)))
        assert r.cycles == max((total[link] for link in links), default=0)
    own_colors = defaultdict(int)
    for k in plan.kernels:
        inside = itertools.product(range(k.width), range(k.height))
        # A kernel of products needs six of its own.
        own_colors |= {(k.x + i, k.y + j): 6 * (k.macs > 0) for i, j in inside}
    assert all(len(found) + own_colors[pe] <= 24 for pe, found in colors.items())


def test_kernels_and_routes_are_as_they_must_be(plan):
    check_kernels(plan, WSE2)
    check_routes(plan, chain(6), WSE2)


def of_numbers(name, elements):
    """A kernel without products."""
    made = dense(name, 1, 1, 1)
    return dataclasses.replace(
        made, kind="elementwise", dims={"elements": elements}, passes=ALL[:2], macs=0,
        operations=16 * elements, weights=(), states=(),
    )  # fmt: skip


@st.composite
def graphs(draw):
    """Any graph of 2 to 40 kernels, each fed by earlier ones, once a batch or more."""
    count = draw(st.integers(2, 40))
    bools, sizes, values = st.booleans(), st.integers(1, 64), st.integers(1, 4000)
    kernels = [
        of_numbers(f"k{i}", draw(values))
        if draw(bools)
        else dense(f"k{i}", draw(sizes), draw(sizes), draw(sizes))
        for i in range(count)
    ]
    edges = []
    for i in range(count):
        for j in draw(st.sets(st.integers(-1, i - 1), min_size=1, max_size=3)):
            source = f"k{j}" if j >= 0 else HOST
            # Each gives two tensors, to any later ones.
            name = f"{source}:{draw(st.integers(0, 1))}"
            made = edge(source, f"k{i}", 900 + 100 * (j % 5), j >= 0 and draw(bools))
            edges.append(dataclasses.replace(made, tensor=name))
            if j >= 0 and draw(st.integers(0, 9)) == 0:
                lent = dataclasses.replace(made, tensor=f"{name}:{i}", per_batch=True)
                edges.append(lent)
    edges.append(edge(f"k{count - 1}", HOST, 1, back=False))
    return KernelGraph("train", 8, tuple(kernels), tuple(edges))


@settings(max_examples=10, deadline=None, derandomize=True)
@given(graphs(), st.booleans())
def test_any_graph_is_placed_and_routed_within_all_limits(graph, multireplica):
    search = Search(iterations=1, multireplica=multireplica)
    fabric = WSE2.model_copy(update={"program_width": 130, "program_height": 170})
    found = make_plan(graph, fabric, search, stage)
    check_kernels(found, fabric)
    check_routes(found, graph, fabric)


def test_links_beside_kernels_that_pass_much_are_free_enough():
    fabric = WSE2.model_copy(update={"program_width": 150, "program_height": 150})
    found = make_plan(chain(12, positions=256, width=32), fabric, QUICK, stage)
    assert found.link_cycles <= found.compute_cycles


def test_a_tensor_loads_a_link_once_whatever_goes_between_its_targets():
    line = WSE2.model_copy(update={"program_width": 9, "program_height": 1})
    kernels = [
        dataclasses.replace(plans.kernel(name, 1000), x=2 * i, y=0)
        for i, name in enumerate("sxyz")
    ]
    edges = [
        dataclasses.replace(edge("s", target, 200, back=False), tensor=tensor)
        for target, tensor in zip("xyz", "aba", strict=True)
    ]
    _, busiest = route(KernelGraph("eval", 1, (), tuple(edges)), kernels, line)
    # 100 wavelets each.
    assert (busiest.x, busiest.wavelets) == (0, 200)


def test_its_figures_follow_from_its_parts(plan):
    assert plan.delta_t_cycles == max(
        [plan.busiest_link.wavelets, plan.host_cycles]
        + [k.compute_cycles for k in plan.kernels]
        + [k.transfer_cycles for k in plan.kernels]
    )
    pes = sum(k.width * k.height for k in plan.kernels)
    assert plan.total_utilization == pes / (750 * 994)
    rate = plan.samples_per_s(plan.delta_t_cycles)
    assert rate == 850e6 / plan.delta_t_cycles
    assert 0.3 < plan.compute_utilization <= 1
    # In float16: what enters d0, and one number that leaves the last.
    assert plan.host_bytes_per_sample == 2 * 16 * 64 + 2


def test_the_host_sends_once_what_several_kernels_take(plan):
    graph = chain(6)
    shared = [edge(HOST, f"d{i}", 16 * 64, back=False) for i in (2, 4)]
    graph = dataclasses.replace(graph, edges=(*graph.edges, *shared))
    found = make_plan(graph, WSE2, QUICK, stage)
    assert found.host_bytes_per_sample == plan.host_bytes_per_sample


def test_it_survives_json(plan):
    assert Plan.from_json(plan.to_json()) == plan
    with pytest.raises(ValueError, match="Expecting"):
        Plan.from_json(plan.to_json()[:100])


def test_the_same_seed_and_iterations_give_it_again(plan):
    assert make_plan(chain(6), WSE2, QUICK, stage) == plan
    again = Search(seed=plan.seed, iterations=plan.iterations)
    assert make_plan(chain(6), WSE2, again, stage) == plan


def test_replicas_too_are_had_again_though_some_failed(monkeypatch):
    def short_of_time(task, seconds, seed, iterations, **more):
        if iterations is None and task.height < 300:
            raise MappingError("nothing was found in this time")
        return placements(task, seconds, seed, iterations, **more)

    monkeypatch.setattr(planning, "placements", short_of_time)
    graph = dataclasses.replace(chain(3), batch_size=64)
    first = make_plan(graph, WSE2, Search(0.2, multireplica=True), stage)
    again = Search(iterations=first.iterations, multireplica=True)
    assert make_plan(graph, WSE2, again, stage) == first


@pytest.mark.parametrize(
    ("search", "why"),
    [
        (QUICK, "all that were asked for"),
        (Search(0.01), "time is up"),
        (Search(60), "the last 4 found nothing better"),
    ],
)
def test_it_says_how_long_was_searched_and_why_no_longer(caplog, search, why):
    caplog.set_level("INFO", "wafer_runtime")
    found = make_plan(chain(1), WSE2, search, stage)
    assert re.fullmatch(rf"\d+\.\d s, {why}", found.search_ended)
    told = (
        f"Placed in {count_text(found.iterations, 'iteration')} ({found.search_ended})"
    )
    assert told in caplog.text


@pytest.mark.parametrize(
    ("found", "taken"),
    [
        ((1,), 1),  # no slower than the kernels: others are not tried
        ((None, 10**6, 1), 1),
        ((10**6, 10**5, 10**7), 10**5),
        ((None, None, None), None),
    ],
)
def test_of_a_few_placements_the_one_is_taken_that_no_link_slows_down(
    monkeypatch, found, taken
):
    links = iter(found)

    def routed(graph, kernels, system):
        if (wavelets := next(links)) is None:
            raise MappingError("all colors are in use")
        return (), Link(0, 0, "E", wavelets)

    def three(*task, **more):
        return placements(*task, **more)[:1] * 3

    monkeypatch.setattr(planning, "placements", three)
    monkeypatch.setattr(planning, "route", routed)
    if taken is None:
        with pytest.raises(MappingError, match="all colors"):
            make_plan(chain(6), WSE2, QUICK, stage)
    else:
        assert make_plan(chain(6), WSE2, QUICK, stage).link_cycles == taken
    assert list(links) == []


def test_an_evaluation_needs_no_copies_for_gradients():
    graph = dataclasses.replace(chain(3), mode="eval")
    forward = tuple(
        dataclasses.replace(k, passes=("forward",), macs=k.macs // 3, states=())
        for k in graph.kernels
    )
    edges = tuple(dataclasses.replace(e, gradient_bytes=0) for e in graph.edges)
    forward = dataclasses.replace(graph, kernels=forward, edges=edges)
    evaluated = make_plan(forward, WSE2, QUICK, stage)
    assert not any(kernel.trains for kernel in evaluated.kernels)
    assert all(route.is_gradient is False for route in evaluated.routes)
    for kernel in evaluated.kernels:
        extents = {kernel.width, kernel.height}
        assert extents == {kernel.h * (kernel.c + 1), kernel.w * kernel.k}


def test_what_needs_too_much_memory_is_told_kernel_by_kernel():
    with pytest.raises(MappingError) as error:
        make_plan(chain(14, width=16_384), WSE2, QUICK, stage)
    lines = str(error.value).splitlines()
    assert lines[0] == (
        "The model does not fit on WSE-2 (CS-2): it needs 56 GiB of memory, limit "
        "33.77 GiB (745,500 PEs of 49,152 bytes, 512 of which are for programs), 22.23 "
        "GiB short."
    )
    assert lines[1] == (
        "  d0: 4 GiB: weights, gradients and optimizer 4 GiB, kept for the backward "
        "pass 0 B"
    )
    assert lines[-2] == "  ... and 6 more kernels"
    assert "weight streaming" in lines[-1]


def test_what_is_kept_of_samples_is_told_as_such():
    with pytest.raises(MappingError, match="kept for the backward pass 6 GiB") as error:
        make_plan(chain(6, saved=2**31), WSE2, QUICK, stage)
    assert "What would help: shorter sequences" in str(error.value)


def test_what_needs_too_many_pes_is_told_kernel_by_kernel():
    small = WSE2.model_copy(update={"program_width": 9, "program_height": 9})
    with pytest.raises(MappingError, match="PEs at least; the fabric of 9 x 9 has 81"):
        make_plan(chain(30), small, QUICK, stage)


def gain(graph):
    """Samples/s of many replicas over those of one copy; and the plan of the many."""
    one = make_plan(graph, WSE2, QUICK, stage)
    search = dataclasses.replace(QUICK, multireplica=True)
    many = make_plan(graph, WSE2, search, stage)
    rates = [p.samples_per_s(cycles_in_batches(p)) for p in (one, many)]
    return rates[1] / rates[0], many


@pytest.mark.parametrize("batch", [8, 16, 64])
def test_the_drain_between_batches_is_part_of_the_choice(batch, monkeypatch):
    graph = dataclasses.replace(chain(3), batch_size=batch)
    chosen, _ = gain(graph)
    others = []
    for count in (2, 4, 8, 16):
        if batch % count == 0:
            rows = WSE2.program_height // count
            copy = strip(graph, WSE2, rows, count)
            monkeypatch.setattr(planning, "strips", lambda *_, c=copy: [c])
            others.append(gain(graph)[0])
    assert chosen > 0.7 * max(others)


def test_replicas_fill_the_fabric():
    gained, many = gain(dataclasses.replace(chain(3), batch_size=1024))
    assert gained > 3
    assert many.replica_height * many.replicas <= 994
    assert max(k.y + k.height for k in many.kernels) <= many.replica_height
    # The host is at both ends of every replica's rows, and serves all of them.
    paths = [p for r in many.routes if HOST in (r.source, r.target) for p in r.paths]
    assert {0, 749} <= {x for path in paths for x in (path[0], path[6])}
    assert many.host_cycles * many.replicas <= many.delta_t_cycles


def test_replicas_add_up_their_gradients_once_a_batch():
    large, small = (
        gain(dataclasses.replace(chain(3), batch_size=batch))[0] for batch in (1024, 8)
    )
    assert small < large / 2


@pytest.mark.parametrize(("batch", "most"), [(1, 1), (6, 6), (7, 7)])
def test_replicas_in_training_divide_the_batch(batch, most):
    graph = dataclasses.replace(chain(2), batch_size=batch)
    search = dataclasses.replace(QUICK, iterations=1, multireplica=True)
    replicas = make_plan(graph, WSE2, search, stage).replicas
    assert batch % replicas == 0
    assert 1 < replicas <= most or most == 1 == replicas


def test_a_model_that_fills_the_fabric_has_one_copy():
    system = WSE2.model_copy(update={"program_width": 18, "program_height": 18})
    search = dataclasses.replace(QUICK, multireplica=True)
    assert make_plan(chain(6, width=256), system, search, stage).replicas == 1


def test_lookups_are_split_over_copies_of_the_table():
    lookups, width = 64, 128
    table = dense("table", 1, 100, width)
    dims = {"vocabulary": 100, "width": width, "lookups": lookups}
    table = dataclasses.replace(table, kind="embedding", dims=dims, macs=0)
    edges = (
        edge(HOST, "table", lookups, back=False),
        edge("table", "d", lookups * width),
        edge("d", HOST, 1, back=False),
    )
    graph = KernelGraph("train", 8, (table, dense("d", lookups, width, 1)), edges)
    plan = make_plan(graph, WSE2, QUICK, stage)
    # Two 16-bit numbers a cycle.
    assert plan.delta_t_cycles < lookups * width / 2 / 4


def test_samples_in_flight_grow_towards_the_start():
    vectors = chain(6, positions=1)
    assert list(in_flight(vectors).values()) == [14, 12, 10, 7, 5, 3]
    evaluated = dataclasses.replace(vectors, mode="eval")
    assert set(in_flight(evaluated).values()) == {1}
