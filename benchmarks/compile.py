"""How long `--validate_only` takes, beside what XLA alone takes for the same model.

    python benchmarks/compile.py [--quick]

Projects are rendered by copier and compiled in processes of their own, after TensorFlow
is imported: the MLP, BERT-base, BERT-large and GPT-J's size, and BERT-large with 6, 12,
24 and 48 layers. The peer is what nobody who compiles a graph with XLA gets around:
building the graph (`trace`) and TensorFlow's own lowering to HLO (`extract`); the ratio
says what partition, matching and the report add to that.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
# (what it is, the model family, its configuration, aim in seconds)
CASES = (
    ("MLP", "mlp", "params", 3),
    ("BERT-base", "encoder", "bert_base", 12),
    ("BERT-large", "encoder", "bert_large", 25),
    ("GPT-J's size", "decoder", "gptj_size", 40),
)
STAGES = ("trace", "partition", "extract", "match")
LAYERS = (6, 12, 24, 48)


def compile_here(config: str, layers: int | None, folder: str) -> dict[str, float]:
    """Compile the project of the current folder; seconds of each stage, MB at most."""
    sys.path.insert(0, str(Path.cwd()))
    import resource

    from utils import set_defaults
    from wafer_runtime.compiler import pipeline
    from wafer_runtime.params import load_params

    params = load_params(f"configs/{config}.yaml", set_defaults)
    if layers:
        params["model"]["num_layers"] = layers
    from data import input_fn
    from model import model_fn
    from wafer_runtime.estimator import CerebrasEstimator

    noted = []
    close = pipeline.Stages.close
    pipeline.Stages.close = lambda self: (noted.append(self.seconds), close(self))
    estimator = CerebrasEstimator(model_fn, folder, params=params)
    graph = estimator.validate(input_fn).graph
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return noted[0] | {"MB": peak, "kernels": len(graph.kernels)}


def measure(project: Path, config: str, layers: int | None = None) -> dict[str, float]:
    """The same in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, __file__, "--here", config, str(layers or 0), folder]
        done = subprocess.run(words, cwd=project, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def render(folder: Path, family: str) -> Path:
    """A project of a model family, as a user makes it."""
    project = folder / family
    if not project.exists():
        words = ["copier", "copy", "--defaults", "--quiet", "--vcs-ref=HEAD"]
        answers = ["-d", f"project_name={family}", "-d", f"model={family}"]
        answers += ["-d", "mixed_precision=float16", "-d", "optimizer=adamw"]
        subprocess.run(
            [*words, *answers, ROOT, project], check=True, capture_output=True
        )
    return project


def row(name: str, found: dict[str, float], aim: str) -> float:
    """Print a line of the table; the seconds in all."""
    total = sum(found[stage] for stage in STAGES)
    peer = found["trace"] + found["extract"]
    cells = "".join(f"{found[stage]:>10.2f}" for stage in STAGES)
    memory = f"{found['MB']:>7.0f}"
    print(
        f"{name:<14}{cells}{total:>9.2f}{aim:>7}{total / peer:>12.2f}{memory}", end=""
    )
    print(f"{found['kernels']:>9.0f}", flush=True)
    return total


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the MLP alone")
    parser.add_argument("--here", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        config, layers, folder = args.here
        print(json.dumps(compile_here(config, int(layers) or None, folder)))
        return
    stages = "".join(f"{name:>10}" for name in STAGES)
    print(f"{'seconds':<14}{stages}   in all    aim  all / peer     MB  kernels")
    with tempfile.TemporaryDirectory() as folder:
        for name, family, config, aim in CASES[:1] if args.quick else CASES:
            found = measure(render(Path(folder), family), config)
            row(name, found, str(aim))
        if args.quick:
            return
        project = render(Path(folder), "encoder")
        totals = {
            n: row(f"{n} layers", measure(project, "bert_large", n), "") for n in LAYERS
        }
    first, *_, last = LAYERS
    slope = (totals[last] - totals[first]) / (last - first)
    for n in LAYERS:
        straight = totals[first] + slope * (n - first)
        print(f"{n} layers: {totals[n] / straight:.2f} of what a straight line gives")


if __name__ == "__main__":
    main()
