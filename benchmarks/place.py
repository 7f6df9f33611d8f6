"""How good placements are: `python benchmarks/place.py FILE.kgraph...`.

Places each graph of the ISPD 2020 contest's form, and prints delta_t, wire length,
adapters, the objective, and the ratio of delta_t to the bound that the areas of the
kernels alone set.
"""

import argparse
import os
import time

from wafer_runtime.compiler.contest import read_kgraph
from wafer_runtime.compiler.placing.search import place


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("graphs", nargs="+", metavar="FILE.kgraph")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each graph")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iterations", type=int, help="instead of --seconds")
    args = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, seed {args.seed}")
    print(
        f"{'graph':<12}{'kernels':>8}{'delta_t':>12}{'/ bound':>9}{'wire':>10}"
        f"{'adapters':>10}{'objective':>13}{'iterations':>12}{'seconds':>9}"
    )
    for path in args.graphs:
        task = read_kgraph(path).task
        started = time.monotonic()
        found = place(task, args.seconds, args.seed, args.iterations)
        took = time.monotonic() - started
        name = os.path.basename(path).removesuffix(".kgraph")
        print(
            f"{name:<12}{len(task.kernels):>8}{found.delta_t_cycles:>12,.0f}"
            f"{found.delta_t_cycles / found.bound_cycles:>9.3f}"
            f"{found.wire_length:>10,.1f}{found.adapters:>10}"
            f"{found.objective:>13,.1f}{found.iterations:>12}{took:>9.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
