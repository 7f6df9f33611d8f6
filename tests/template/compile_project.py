"""Compiles the project of the current folder, in many ways in one process.

Arguments: the configuration's name, then modes, then precisions, with commas between.
Prints one JSON object: for each way what the tests look at, and the memory in MB.
"""

import copy
import json
import resource
import sys
import tempfile

sys.path.insert(0, ".")

from counting import macs_of_hlo
from utils import set_defaults
from wafer_runtime.compiler import pipeline
from wafer_runtime.params import load_params

config, modes, precisions = sys.argv[1:]
params = load_params(f"configs/{config}.yaml", set_defaults)

from data import input_fn
from model import model_fn
from wafer_runtime.estimator import CerebrasEstimator

extract = pipeline.extract
modules = []


def keep(*args):
    extracted = extract(*args)
    modules.append(extracted.module)
    return extracted


pipeline.extract = keep
found = {}
for precision in precisions.split(","):
    for mode in modes.split(","):
        given = copy.deepcopy(params)
        given["model"]["mixed_precision"] = precision != "none" and precision
        estimator = CerebrasEstimator(model_fn, tempfile.mkdtemp(), params=given)
        graph = estimator.validate(input_fn, mode).graph
        found[f"{mode} {precision}"] = {
            "kinds": [kernel.kind for kernel in graph.kernels],
            "macs": graph.macs,
            "counted": macs_of_hlo(modules.pop()),
            "weights": sum(w.bytes for k in graph.kernels for w in k.weights),
            "dtypes": sorted({d for k in graph.kernels for d in k.dtypes}),
        }
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"found": found, "MB": peak}))
