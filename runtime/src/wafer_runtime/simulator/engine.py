"""The clock: PEs, then routers, cycle after cycle, until nothing is left to do."""

from hashlib import sha256
from pathlib import Path
from typing import Any

from wafer_runtime.simulator import compiled, state
from wafer_runtime.simulator.pe import run_pes
from wafer_runtime.simulator.router import route_wavelets


def _clock_of(sources: str) -> Any:
    @compiled.entry
    def run(m, until):
        busy = len(sources) > 0
        while busy and m.clock[state.CYCLE] < until:
            cycle = m.clock[state.CYCLE]
            run_pes(m, cycle)
            route_wavelets(m, cycle)
            if m.fault[state.CODE]:
                return
            m.clock[state.CYCLE] += 1
            busy = m.clock[state.AWAKE] > 0 or m.clock[state.SCHEDULED] > 0

    return run


def _digest() -> str:
    folder = Path(__file__).parent
    return sha256(
        b"".join(p.read_bytes() for p in sorted(folder.glob("*.py")))
    ).hexdigest()


# numba's cache asks whether this file changed, not whether those did whose functions
# are compiled into `run`; but what a function closes over is part of the cache's key.
run = _clock_of(_digest())
