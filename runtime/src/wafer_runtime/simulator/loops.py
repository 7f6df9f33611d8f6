"""Routes that lead wavelets round for ever: a run with one in it would not end."""

import numpy as np

from wafer_runtime.simulator import compiled, state
from wafer_runtime.simulator.state import Machine


def loop_of(machine: Machine) -> int:
    """A queue on a loop of routes, which wavelets never leave; NONE if there is none.

    Only routes without a switch are looked at: one may open a loop.
    """
    count = machine.queues.size
    seen, port = np.zeros(count, np.uint8), np.zeros(count, np.uint8)
    return int(_search(machine, seen, port, np.zeros(count, np.int32)))


@compiled.entry
def _search(m, seen, port, way):
    """Depth first: `way` is how the search came here, `port` where it goes on."""
    for start in range(seen.size):
        depth = 0 if seen[start] == 0 and is_fixed(m, start) else -1
        way[0] = start
        while depth >= 0:
            q = way[depth]
            seen[q] = 1
            if port[q] == 5:
                seen[q] = 2
                depth -= 1
                continue
            to = m.queues[q].dest[port[q]]
            leads = (m.routes[m.queues[q].route].tx[0] >> port[q]) & 1
            port[q] += 1
            if leads and to != state.NONE and is_fixed(m, to):
                if seen[to] == 1:
                    return to
                if seen[to] == 0:
                    depth += 1
                    way[depth] = to
    return state.NONE


@compiled.inlined
def is_fixed(m, q):
    """Whether what is in queue q goes a way that no switch changes."""
    return (
        m.queues[q].route != state.NONE and m.routes[m.queues[q].route].positions == 1
    )
