"""Every family maps to the wafer: in each configuration, precision and mode."""

import json
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
RUNTIME = HERE.parents[1] / "runtime" / "src"
COUNTING = HERE.parent / "runtime" / "compiler"

# What there must be a kernel of, and at how many weights the well-known sizes are known.
KINDS = {
    "mlp": {"dense", "cross_entropy"},
    "cnn": {"conv2d", "normalization", "reduction", "dense", "cross_entropy"},
    "unet": {"conv2d", "pooling", "cross_entropy"},
    "encoder": {"embedding", "dense", "batched_matmul", "softmax", "normalization"},
    "decoder": {"embedding", "dense", "batched_matmul", "softmax", "normalization"},
}
# Millions of weights: of the publications that each configuration names.
LARGE = {
    ("cnn", "resnet50"): 25.6,
    ("unet", "unet_512"): 31.0,
    ("encoder", "bert_base"): 110,
    ("encoder", "bert_large"): 336,
    ("decoder", "gpt2_small"): 124,
    ("decoder", "gpt2_medium"): 355,
    ("decoder", "gpt2_xl"): 1558,
    ("decoder", "gptj_size"): 5853,
}
# Of those that are placed, too: whether the WSE-2 has the memory.
FITS = {"resnet50": True, "unet_512": True, "bert_large": True, "gptj_size": False}
# Samples/s, batch 1024, release 1.7.1: ALCF user guides, example-programs.md.
BERT_LARGE = 6370


@pytest.fixture
def compile_project(tmp_path, render, run):
    """Renders a project and compiles it as a process of its own."""

    def compile_it(model, config, *ways):
        path = render(tmp_path / "project", model=model, optimizer="adamw")
        words = (HERE / "compile_project.py", config, *ways)
        paths = f"{RUNTIME}:{COUNTING}"
        done = run(sys.executable, *words, cwd=path, PYTHONPATH=paths)
        return json.loads(done.stdout.splitlines()[-1])

    return compile_it


@pytest.mark.slow
@pytest.mark.parametrize("model", KINDS)
def test_small_configurations_in_every_mode_and_precision(compile_project, model):
    found = compile_project(
        model, "params", "train,eval,infer", "none,float16,bfloat16"
    )["found"]
    assert len(found) == 9
    for way, graph in found.items():
        wanted = KINDS[model] - ({"cross_entropy"} if "infer" in way else set())
        assert wanted <= set(graph["kinds"]), way
        assert graph["macs"] == graph["counted"] > 0, way
        precision = way.split()[1]
        assert precision == "none" or precision in graph["dtypes"]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "config"), LARGE)
def test_well_known_sizes_from_configuration_alone(compile_project, model, config):
    # The largest in one mode, so that it does not take minutes.
    modes = "train" if config == "gpt2_xl" else "train,eval"
    place = ["place"] if config in FITS else []
    result = compile_project(model, config, modes, "float16", *place)
    assert set(result["found"]) == {f"{mode} float16" for mode in modes.split(",")}
    graph = result["found"]["train float16"]
    assert graph["macs"] == graph["counted"] > 0
    assert KINDS[model] <= set(graph["kinds"])
    assert graph["weights"] / 4e6 == pytest.approx(LARGE[model, config], rel=0.03)
    # A model of six billion weights has to do with less than 2 GB.
    assert result["MB"] < 2000 or config == "gpt2_xl"
    if config in FITS:
        assert ("delta_t" in graph["plan"]) == FITS[config]
    if config == "bert_large":
        # Measured end to end on a CS-2, so that the wafer itself was no slower.
        assert 1.0 < graph["plan"]["samples_per_s"] / BERT_LARGE < 1.25


INT64 = """
import sys
sys.path.insert(0, ".")
import data
import tensorflow as tf
from model import model_fn
from utils import set_defaults
from wafer_runtime.estimator import CerebrasEstimator
from wafer_runtime.params import load_params

def input_fn(params, mode):
    batches = data.input_fn(params, mode, None)
    return batches.map(lambda x, y: (x, tf.cast(y, tf.int64)))

params = load_params("configs/params.yaml", set_defaults)
for mode in ("train", "eval"):
    CerebrasEstimator(model_fn, "md", params=params).validate(input_fn, mode)
"""


def test_labels_in_int64_are_taken(tmp_path, render, run):
    path = render(tmp_path / "project", model="mlp")
    run(sys.executable, "-c", INT64, cwd=path, PYTHONPATH=str(RUNTIME))
