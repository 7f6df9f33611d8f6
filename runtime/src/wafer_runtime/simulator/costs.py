"""Cycles that the published model gives to messages, reduces and broadcasts.

Source of all formulas: HPDC'24, "Near-Optimal Wafer-Scale Reduce", whose authors found
them within 4 % of a CS-2. P PEs in a row, B wavelets in each, T_R the ramp latency.
"""

from collections.abc import Callable
from math import ceil, isqrt, log2

Formula = Callable[[int, int, int], float]


def broadcast(p: int, b: int, t_r: int) -> float:
    """To all of a row from its end, as one multicast message: B + P + 2 T_R."""
    return b + p + 2 * t_r


def broadcast_2d(m: int, n: int, b: int, t_r: int) -> float:
    """To all of an M x N rectangle from its corner: B + M + N - 2 + 2 T_R + 1."""
    return b + m + n - 2 + 2 * t_r + 1


def star(p: int, b: int, t_r: int) -> float:
    """Everybody sends to the root: B (P - 1) + 2 T_R + 1.

    The formula leaves out the hop from the root's neighbour: a machine that takes
    a cycle for it, as `broadcast` says, needs one cycle more.
    """
    return b * (p - 1) + 2 * t_r + 1


def chain(p: int, b: int, t_r: int) -> float:
    """A sum that is passed on and added to: B + (2 T_R + 2) (P - 1)."""
    return b + (2 * t_r + 2) * (p - 1)


def tree(p: int, b: int, t_r: int) -> float:
    """Pairs, pairs of pairs, ...: D = log2 P steps, E / N wavelets a link.

    max(B D, B P D / (2 (P - 1)) + P - 1) + (2 T_R + 1) D.
    """
    steps = ceil(log2(p))
    loaded = b * p * steps / (2 * (p - 1)) + p - 1
    return max(b * steps, loaded) + (2 * t_r + 1) * steps


def tree_bound(p: int, b: int, t_r: int) -> float:
    """Below this no machine reduces along a binary tree, whatever `tree` says.

    A PE adds what comes in round after round, a wavelet a cycle. For a round it needs
    the sum of the up to 2^r PEs that begin 2^r hops on, which is that far away. Where P
    is a power of two: B + 2 T_R + 2 + the sum over r of max(B, 2^r + 2 T_R + 1).
    """
    cycles = b
    for r in range(ceil(log2(p))):
        come = tree_bound(min(2**r, p - 2**r), b, t_r) + 2**r + 2 * t_r + 1
        cycles = max(cycles + b if r else 0, come)
    return cycles


def group_size(p: int) -> int:
    """PEs in a group of the two-phase reduce: the square root of P, rounded."""
    root = isqrt(p)
    return root + (p - root * root > root)


def two_phase(p: int, b: int, t_r: int) -> float:
    """Chains in groups, then a chain of their ends.

    max(2 B, E / N + P - 1) + (2 T_R + 1) (2 sqrt(P) - 2), with E / N = 2 B. Steps are
    whole: where P is no square, 2 sqrt(P) is the size and the number of the groups.
    """
    size = group_size(p)
    return 2 * b + p - 1 + (2 * t_r + 1) * (size + ceil(p / size) - 2)


def ring(p: int, b: int, t_r: int) -> float:
    """Allreduce in 2 (P - 1) rounds: 2 (P-1) B/P + 4 P - 6 + 2 (P-1) (2 T_R + 1)."""
    return 2 * (p - 1) * b / p + 4 * p - 6 + 2 * (p - 1) * (2 * t_r + 1)


REDUCES: dict[str, Formula] = {
    "star": star,
    "chain": chain,
    "tree": tree,
    "two_phase": two_phase,
}


def allreduce(name: str, p: int, b: int, t_r: int) -> float:
    """Of `ring`, or of a reduce by that name and a broadcast after it."""
    if name == "ring":
        return ring(p, b, t_r)
    return REDUCES[name](p, b, t_r) + broadcast(p, b, t_r)


# What the programs take, where that is not what is published.
_EXPECTED: dict[str, Formula] = REDUCES | {
    "star": lambda p, b, t_r: star(p, b, t_r) + 1,
    "tree": tree_bound,
}


def best_reduce(p: int, b: int, t_r: int) -> tuple[str, float]:
    """The reduce that takes the fewest cycles, and how many that should be."""
    cycles = {name: cost(p, b, t_r) for name, cost in _EXPECTED.items()}
    best = min(cycles, key=lambda name: cycles[name])
    return best, cycles[best]
