"""The state of a running fabric: a few arrays of records, which the loops share.

A queue holds the wavelets of one color at one port of one router, or those that have
come up the ramp to a PE. A wavelet moves from queue to queue, and every queue knows the
queues it leads to, so that no route is looked up on the way. Ramps are queues whose
wavelets are ready `latency` cycles after they were put in. Only PEs in `awake` and
queues in `wheel` (by the cycle in which they are due) are looked at.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NONE = -1

queue_t = np.dtype(
    [
        ("pe", "i4"),
        ("route", "i4"),  # NONE: the queue's wavelets are the PE's
        ("port", "i1"),  # by which its wavelets come into the router
        ("color", "u1"),
        ("scheduled", "u1"),  # it is in the wheel
        ("granted", "u1"),  # a copy of its head moved in this cycle
        ("contested", "u1"),  # ports that other queues of the router leave by too
        ("pending", "u1"),  # ports that the head has still to leave by; 0: all
        ("latency", "i1"),
        ("capacity", "i2"),
        ("head", "i2"),
        ("count", "i2"),
        ("ring", "i4"),  # where its wavelets begin in `words`
        ("waiter", "i4"),  # first of the queues that wait for room in this one
        ("waiting", "u1"),  # ports whose queue's list it is in itself
        ("next_waiter", "i4", 5),  # in the list of the queue that each port leads to
        ("dest", "i4", 5),  # by port, the queue that its wavelets reach
    ],
    align=True,
)
route_t = np.dtype(
    [
        ("position", "u1"),
        ("positions", "u1"),
        ("rx", "u1", 4),
        ("tx", "u1", 4),
        ("queue", "i4", 5),
    ],
    align=True,
)
link_t = np.dtype([("asked", "i8"), ("move", "i4"), ("last", "i4")], align=True)
word_t = np.dtype(
    [
        ("ready", "i8"),
        ("value", "u4"),
        ("switch", "u1"),
        ("item", "u1"),  # bytes of an element, of the instruction that sent it
    ],
    align=True,
)
pe_t = np.dtype(
    [
        ("program", "i4"),
        ("pc", "i4"),  # NONE: no task runs
        ("ready", "u4"),  # bit t: task t is activated
        ("blocked", "u4"),
        ("last_task", "i1"),
        ("turn", "i1"),  # the thread that comes first
        ("awake", "u1"),
    ],
    align=True,
)
thread_t = np.dtype(
    [("row", "i4"), ("done", "i4"), ("length", "i4"), ("at", "i4", 3)], align=True
)
task_t = np.dtype([("entry", "i4"), ("endpoint", "i4")], align=True)

# Entries of `clock`.
CYCLE, AWAKE, SCHEDULED, LAST_STEP, SENT, RECEIVED, COPIED, HOPS, STEPS = range(9)
# Entries of `fault`, and its codes.
CODE, WHERE, COLOR, DETAIL, ROW = range(5)
NO_ROUTE, OUT_OF_RANGE, COLOR_TWICE, ENDLESS, NEGATIVE_LENGTH = range(1, 6)
OTHER_ITEMS, DIVISION = range(6, 8)


class Machine(NamedTuple):
    """Everything the loops read and write; shapes in the comments."""

    queues: NDArray[np.void]  # [queues]
    routes: NDArray[np.void]  # [routes]
    links: NDArray[np.void]  # [PEs * 5]
    words: NDArray[np.void]  # the queues' rings, one after another
    wheel: NDArray[np.int32]  # [slots, queues]
    due: NDArray[np.int32]  # [slots]: how many
    moves: NDArray[np.int64]  # [PEs * 5]: this cycle's, as queue * 8 + port
    pes: NDArray[np.void]  # [PEs]
    threads: NDArray[np.void]  # [PEs, threads]
    registers: NDArray[np.int32]  # [PEs, registers]
    awake: NDArray[np.int32]  # [PEs]
    endpoints: NDArray[np.int32]  # [PEs, endpoints of a program]: queues
    tasks: NDArray[np.void]  # [programs, tasks]
    code: NDArray[np.void]  # [instructions]
    words32: NDArray[np.uint32]  # [PEs, words]: memory
    words16: NDArray[np.uint16]  # the same memory
    budget: NDArray[np.int64]  # reads, writes of memory a cycle
    clock: NDArray[np.int64]
    fault: NDArray[np.int64]
