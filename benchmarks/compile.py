"""How long `--validate_only` takes, beside TensorFlow's own compilation to HLO.

    python benchmarks/compile.py [--quick]

Projects are rendered by copier and compiled in processes of their own, after TensorFlow
is imported: the MLP, BERT-base, BERT-large and GPT-J's size, and BERT-large with 6, 12,
24 and 48 layers. The peer is what TensorFlow has for it: the same model_fn, wrapped and
called in a `tf.function(jit_compile=True)`, up to its HLO. It allocates the variables,
so it is not asked for GPT-J's size, nor for other depths.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
# (what it is, the model family, its configuration, aim in seconds, with the peer)
CASES = (
    ("MLP", "mlp", "params", 3, True),
    ("BERT-base", "encoder", "bert_base", 12, True),
    ("BERT-large", "encoder", "bert_large", 25, True),
    ("GPT-J's size", "decoder", "gptj_size", 40, False),
)
STAGES = ("trace", "partition", "extract", "match")
LAYERS = (6, 12, 24, 48)


def read_params(config: str) -> dict:
    """The configuration of the current folder's project."""
    sys.path.insert(0, str(Path.cwd()))
    from utils import set_defaults
    from wafer_runtime.params import load_params

    return load_params(f"configs/{config}.yaml", set_defaults)


def peak_mb() -> float:
    """The most memory that this process had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def peer_here(config: str) -> dict[str, float]:
    """What TensorFlow takes for the HLO of the current folder's project."""
    params = read_params(config)
    import tensorflow as tf
    import tensorflow.compat.v1 as tf1
    import wafer_runtime.estimator  # noqa: F401 - as the project's own run.py
    from data import input_fn
    from model import model_fn

    began = time.perf_counter()
    specs = input_fn(params=params, mode="train", config=None).element_spec
    flat = tf.nest.flatten(specs)

    def step(*tensors):
        features, labels = tf.nest.pack_sequence_as(specs, tensors)
        tf1.train.get_or_create_global_step()
        spec = model_fn(features, labels, "train", params)
        with tf.control_dependencies([spec.train_op]):
            return tf.identity(spec.loss)

    wrapped = tf1.wrap_function(step, flat)
    function = tf.function(lambda *t: wrapped(*t), flat, jit_compile=True)
    function.experimental_get_compiler_ir(*flat)(stage="hlo_serialized")
    return {"seconds": time.perf_counter() - began, "MB": peak_mb()}


def compile_here(config: str, layers: int, folder: str) -> dict[str, float]:
    """Compile the project of the current folder; seconds of each stage, MB at most."""
    params = read_params(config)
    if layers:
        params["model"]["num_layers"] = layers
    from data import input_fn
    from model import model_fn
    from wafer_runtime.compiler import pipeline
    from wafer_runtime.estimator import CerebrasEstimator

    noted = []
    close = pipeline.Stages.close
    pipeline.Stages.close = lambda self: (noted.append(self.seconds), close(self))
    estimator = CerebrasEstimator(model_fn, folder, params=params)
    graph = estimator.validate(input_fn).graph
    return noted[0] | {"MB": peak_mb(), "kernels": len(graph.kernels)}


def measure(project: Path, *arguments: str) -> dict[str, float]:
    """What `--here` with these arguments prints, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, __file__, "--here", *arguments, folder]
        done = subprocess.run(words, cwd=project, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def render(folder: Path, family: str) -> Path:
    """A project of a model family, as a user makes it."""
    project = folder / family
    if not project.exists():
        words = [
            sys.executable,
            "-m",
            "copier",
            "copy",
            "--defaults",
            "--quiet",
            "--vcs-ref=HEAD",
        ]
        answers = ["-d", f"project_name={family}", "-d", f"model={family}"]
        answers += ["-d", "mixed_precision=float16", "-d", "optimizer=adamw"]
        subprocess.run(
            [*words, *answers, ROOT, project], check=True, capture_output=True
        )
    return project


def row(
    name: str,
    found: dict[str, float],
    aim: str = "",
    peer: dict[str, float] | None = None,
) -> float:
    """Print a line of the table; the seconds in all."""
    total = sum(found[stage] for stage in STAGES)
    cells = "".join(f"{found[stage]:>10.2f}" for stage in STAGES)
    cells += f"{total:>9.2f}{aim:>5}{found['MB']:>7.0f}{found['kernels']:>9.0f}"
    if peer:
        ratio = total / peer["seconds"]
        cells += f"{peer['seconds']:>9.2f}{peer['MB']:>7.0f}{ratio:>7.2f}"
    print(f"{name:<14}{cells}", flush=True)
    return total


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the MLP alone")
    parser.add_argument("--here", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        config, what, folder = args.here
        found = (
            peer_here(config)
            if what == "peer"
            else compile_here(config, int(what), folder)
        )
        print(json.dumps(found))
        return
    stages = "".join(f"{name:>10}" for name in STAGES)
    print(
        f"{'seconds':<14}{stages}   in all  aim     MB  kernels     peer     MB  ratio"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, family, config, aim, both in CASES[:1] if args.quick else CASES:
            project = render(Path(folder), family)
            peer = measure(project, config, "peer") if both else None
            row(name, measure(project, config, "0"), str(aim), peer)
        if args.quick:
            return
        project = render(Path(folder), "encoder")
        totals = {
            n: row(f"{n} layers", measure(project, "bert_large", str(n)))
            for n in LAYERS
        }
    first, *_, last = LAYERS
    slope = (totals[last] - totals[first]) / (last - first)
    for n in LAYERS:
        straight = totals[first] + slope * (n - first)
        print(f"{n} layers: {totals[n] / straight:.2f} of what a straight line gives")


if __name__ == "__main__":
    main()
