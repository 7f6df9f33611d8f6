"""The placer: a population of floorplans, annealed in turns until the time is up."""

import dataclasses
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from wafer_runtime.compiler.placing import Placed, Placement, Task
from wafer_runtime.compiler.placing.annealing import Plane, anneal, appraise
from wafer_runtime.compiler.placing.bound import area_bound, least_area
from wafer_runtime.compiler.placing.finish import finish
from wafer_runtime.compiler.placing.plane import Variants
from wafer_runtime.compiler.placing.slicing import Tree
from wafer_runtime.compiler.placing.starts import dataflow_order, rows, tree_of_rows
from wafer_runtime.errors import MappingError

_POPULATION = 8  # not the number of cores: the result must not depend on it
_REPLACED = 2
_TRIED = 8  # iterations at least, whatever time they take, while nothing fits
_COARSE_LEVELS, _LEVELS = 32, 96
_MOST_ROWS = 8
_CHOICES = 5  # of (h, w) that all kernels share, beside any
_HOT, _COLD = 0.02, 1e-4  # temperatures, in shares of the objective
# The most time a sample that is tried, in times the bound.
_MOST_TIMES = 64


class _Plan(NamedTuple):
    """A floorplan, the share of the fabric's width by which it sticks out, its cost."""

    excess: float
    cost: float
    tree: Tree


Progress = Callable[[int, float], None]


def place(
    task: Task,
    seconds: float = 10.0,
    seed: int = 0,
    iterations: int | None = None,
    progress: Progress = lambda iteration, objective: None,
) -> Placement:
    """The best of the `placements` of a task."""
    return placements(task, seconds, seed, iterations, progress)[0]


def placements(
    task: Task,
    seconds: float = 10.0,
    seed: int = 0,
    iterations: int | None = None,
    progress: Progress = lambda iteration, objective: None,
    patience: int | None = None,
) -> list[Placement]:
    """Place the kernels of a task: the best placements that were found, best first.

    iterations: how many to do, whatever time they take; without it, those that end
    within `seconds`, at least one, and more while nothing fits. The result depends on
    the task, the seed and the number of iterations only. progress: is told the
    iterations done and the objective, infinite while nothing fits. patience: end after
    so many iterations that found nothing better. Raises MappingError if the kernels do
    not fit.
    """
    bound = area_bound(task)
    _load(task, bound)
    began = time.monotonic()
    search = _Search(task, bound, seed)
    done, last, stale, ended = 0, 0.0, 0, ""

    def reason_to_end() -> str:
        if iterations is not None:
            return "all that were asked for" if done >= iterations else ""
        if stale == patience:
            return f"the last {stale} found nothing better"
        is_late = time.monotonic() - began + last > seconds
        fits = search.best.excess == 0
        return "time is up" if is_late and (fits or done >= _TRIED) else ""

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        while not ended:
            started, before = time.monotonic(), _rank(search.best)
            search.step(threads)
            done += 1
            stale = stale + 1 if _rank(search.best) == before else 0
            last = (time.monotonic() - started) * (done + 2) / (done + 1)
            progress(done, search.best.cost if search.best.excess == 0 else np.inf)
            ended = reason_to_end()
    if search.best.excess > 0 or search.best.cost == np.inf:
        raise _does_not_fit(task, done, seed)
    took = f"{time.monotonic() - began:.1f} s, {ended}"
    found = [Placement(task, p, bound, seed, done, took) for p in search.finished()]
    return sorted(found, key=lambda placement: placement.objective)


def _load(task: Task, bound: float) -> None:
    """Have numba compile the loops; once on a machine, and not in the search's time."""
    few = dataclasses.replace(task, kernels=task.kernels[:1], edges=(), loads=())
    search = _Search(few, bound, 0)
    anneal(search.plane, search.best.tree.copy(), 0, 0, _HOT, _COLD)


class _Search:
    """The population, and how it goes on."""

    def __init__(self, task: Task, bound: float, seed: int):
        self._bound, self._seed, self._iteration = bound, seed, 0
        slowest = max(kernel.shapes.slowest_cycles for kernel in task.kernels)
        high = max(min(_MOST_TIMES * bound, slowest), bound * 1.01)
        with_ports = task.weights.adapter > 0
        variants = Variants(task, [None, *_shared_spreads(task)])
        plane = variants.plane(np.geomspace(bound, high, _COARSE_LEVELS), with_ports)
        starts = _starts(variants, plane, bound)
        if starts[0].excess == 0 and task.weights.delta_t > 0:
            # More time a sample than this cannot pay.
            high = max(min(high, starts[0].cost / task.weights.delta_t), bound * 1.01)
        self._variants = Variants(task, _best_spreads(variants, starts))
        self.plane = self._variants.plane(
            np.geomspace(bound, high, _LEVELS), with_ports
        )
        self._plans = _starts(self._variants, self.plane, bound)[:_POPULATION]

    @property
    def best(self) -> _Plan:
        """The best floorplan so far."""
        return self._plans[0]

    def finished(self) -> list[tuple[Placed, ...]]:
        """The kernels placed, by each floorplan that fits."""
        fitting = {plan.cost: plan.tree for plan in self._plans if plan.excess == 0}
        return [
            finish(self._variants, self.plane, tree, self._bound)
            for tree in fitting.values()
        ]

    def step(self, threads: ThreadPoolExecutor) -> None:
        """Anneal every floorplan; every other time the best replace the worst."""
        annealed = list(threads.map(self._annealed, range(len(self._plans))))
        pairs = zip(self._plans, annealed, strict=True)
        self._plans = sorted((min(pair, key=_rank) for pair in pairs), key=_rank)
        if self._iteration % 2 and len(self._plans) > 2 * _REPLACED:
            self._plans[-_REPLACED:] = self._plans[:_REPLACED]
        self._iteration += 1

    def _annealed(self, index: int) -> _Plan:
        tree = self._plans[index].tree.copy()
        # The first takes about half a second on two cores; each adds a half of it.
        moves = 200_000 * (2 + self._iteration) // (len(tree.picks) + 84)
        hot = _HOT / (1 + self._iteration / 8)
        source = np.random.SeedSequence([self._seed, self._iteration, index])
        seed = int(source.generate_state(1)[0])
        excess, cost = anneal(self.plane, tree, seed, moves, hot, _COLD)
        return _Plan(excess, cost, tree)


def _rank(plan: _Plan) -> tuple[float, float]:
    return plan.excess, plan.cost


def _starts(variants: Variants, plane: Plane, bound: float) -> list[_Plan]:
    """For each choice and number of rows the best floorplan, best first."""
    task = variants.task
    side = max(task.width, task.height)
    areas = [least_area(kernel.shapes, bound, side) for kernel in task.kernels]
    order = dataflow_order(task)
    plans = []
    for count in range(1, min(_MOST_ROWS, len(order)) + 1):
        lines = rows(order, areas, count)
        for choice in range(plane.choices):
            trees = (
                tree_of_rows(lines, variants.picks(choice), level, task.height)
                for level in range(0, len(plane.cycles), _LEVELS // _COARSE_LEVELS)
            )
            found = [_appraised(plane, tree) for tree in trees]
            plans.append(min(found, key=_rank))
    return sorted(plans, key=_rank)


def _appraised(plane: Plane, tree: Tree) -> _Plan:
    excess, cost = appraise(plane, tree)
    return _Plan(excess, cost, tree)


def _shared_spreads(task: Task) -> list[Any]:
    """Where adapters count, each (h, w) that is useful to all kernels."""
    if task.weights.adapter == 0:
        return []
    useful = [
        set(map(tuple, kernel.shapes.fast_spreads.tolist())) for kernel in task.kernels
    ]
    shared = sorted(set.intersection(*useful))
    return [np.array([spread], np.int64) for spread in shared]


def _best_spreads(variants: Variants, starts: list[_Plan]) -> list[Any]:
    """Those of the best floorplans, and the one that leaves the choice open."""
    choices = [int(plan.tree.picks[0]) % len(variants.spreads) for plan in starts]
    best = [choice for choice in dict.fromkeys(choices) if choice][:_CHOICES]
    return [variants.spreads[choice] for choice in [0, *best]]


def _does_not_fit(task: Task, iterations: int, seed: int) -> MappingError:
    side = max(task.width, task.height)
    slowest = max(kernel.shapes.slowest_cycles for kernel in task.kernels)
    areas = sum(least_area(kernel.shapes, slowest, side) for kernel in task.kernels)
    return MappingError(
        f"no placement was found on the fabric of {task.width} x {task.height} PEs in "
        f"{iterations} iterations (seed {seed}): the kernels fit, but fill "
        f"{areas / (task.width * task.height):.1%} of it at least. "
        "Try more seconds, another seed, a smaller model, or a larger fabric"
    )
