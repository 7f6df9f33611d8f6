"""Compiles the project of the current folder, in many ways in one process.

Arguments: the configuration's name, then modes, then precisions, with commas between;
then, perhaps, `place`: where it trains, it is placed, too. Prints one JSON object: for
each way what the tests look at, and the memory in MB.
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

config, modes, precisions, *place = sys.argv[1:]
params = load_params(f"configs/{config}.yaml", set_defaults)

from data import input_fn
from model import model_fn
from wafer_runtime.errors import MappingError
from wafer_runtime.estimator import CerebrasEstimator

extract = pipeline.extract
modules = []


def keep(*args):
    extracted = extract(*args)
    modules.append(extracted.module)
    return extracted


def placed(estimator):
    """Figures of the plan, or why there is none."""
    try:
        plan = estimator.place(input_fn).plan
    except MappingError as error:
        return {"error": str(error)}
    rate = plan.samples_per_s(plan.delta_t_cycles)
    return {"samples_per_s": rate, "delta_t": plan.delta_t_cycles}


pipeline.extract = keep
found = {}
for precision in precisions.split(","):
    for mode in modes.split(","):
        given = copy.deepcopy(params)
        given["model"]["mixed_precision"] = precision != "none" and precision
        given["runconfig"]["place_iterations"] = 2
        estimator = CerebrasEstimator(model_fn, tempfile.mkdtemp(), params=given)
        graph = estimator.validate(input_fn, mode).graph
        found[f"{mode} {precision}"] = {
            "kinds": [kernel.kind for kernel in graph.kernels],
            "macs": graph.macs,
            "counted": macs_of_hlo(modules.pop()),
            "weights": sum(w.bytes for k in graph.kernels for w in k.weights),
            "dtypes": sorted({d for k in graph.kernels for d in k.dtypes}),
            "plan": placed(estimator) if place and mode == "train" else {},
        }
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"found": found, "MB": peak}))
