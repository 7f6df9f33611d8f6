"""What a generated `run.py` calls: flags and params.yaml -> one driver call."""

import argparse
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from wafer_runtime import console
from wafer_runtime.errors import (
    CheckpointError,
    ParamsError,
)
from wafer_runtime.params import load_params, save_params
from wafer_runtime.schema import Mode
from wafer_runtime.system import check_simulated, load_system, simulated_system

if TYPE_CHECKING:
    from wafer_runtime.estimator import CerebrasEstimator

log = logging.getLogger("wafer_runtime")

UserFn = Callable[..., Any]
MODES = get_args(Mode)
_TRAINS = ("train", "train_and_eval")
# The flags that only some modes read.
_FLAGS = {
    "steps": ("train",),
    "max_steps": _TRAINS,
    "eval_steps": ("eval", "eval_all", "train_and_eval"),
}
_ON_WAFER = ("train", "eval")


def main(
    load_model: Callable[[], tuple[UserFn, UserFn]],
    set_defaults: Callable[[dict[str, Any]], None] | None = None,
    argv: Sequence[str] | None = None,
) -> int:
    """Run what the command line asks for and return the exit code.

    `load_model()` returns `(model_fn, input_fn)`; it is called after the flags and
    params are known to be good, because importing TensorFlow takes seconds.
    """
    args = _parser().parse_args(argv)
    console.log_to_stderr()

    def action() -> None:
        params = load_params(args.params, set_defaults, _overrides(args))
        _check_flags(args, params["runconfig"])
        _check(params)
        console.import_tensorflow()
        run(*load_model(), params)

    return console.exit_code_of(action)


def run(model_fn: UserFn, input_fn: UserFn, params: dict[str, Any]) -> None:
    """Carry out `params["runconfig"]["mode"]` with a CerebrasEstimator."""
    from wafer_runtime.estimator import CerebrasEstimator, CSRunConfig

    runconfig = params["runconfig"]
    mode = runconfig["mode"]
    model_dir = Path(runconfig["model_dir"])
    _check_device(runconfig["device"])
    config = CSRunConfig(model_dir=str(model_dir), **_config_args(runconfig))
    if not config.is_chief:
        log.info(
            "%s %s: without a CS system only the chief works; nothing to do",
            config.task_type,
            config.task_id,
        )
        return
    if runconfig["validate_only"] or runconfig["compile_only"]:
        if runconfig["cs_ip"]:
            log.info("Only compiling for --cs_ip %s: nothing runs", runconfig["cs_ip"])
        estimator = CerebrasEstimator(model_fn, config=config, params=params)
        estimator.compile(input_fn, runconfig["validate_only"], _COMPILED[mode])
        return
    if mode not in _TRAINS:
        _require_checkpoint(model_dir)
    try:
        model_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParamsError(
            f"model_dir {model_dir}: cannot be made: {error.strerror}. "
            "Give another folder with --model_dir"
        ) from None
    save_params(params, model_dir / f"params_{mode}.yaml")
    params["train_input"]["skip_batches"] = _batches_seen(params)
    estimator = CerebrasEstimator(model_fn, config=config, params=params)
    _ACTIONS[mode](estimator, input_fn, runconfig)


def _check_device(name: str | None) -> None:
    import tensorflow as tf

    try:
        wanted = tf.DeviceSpec.from_string(name or "")
    except ValueError:
        raise ParamsError(
            f"--device {name}: not a device of TensorFlow, such as /cpu:0 or /gpu:0"
        ) from None
    there = tf.config.list_physical_devices(wanted.device_type)
    if (wanted.device_index or 0) >= len(there):
        raise ParamsError(
            f"--device {name}: TensorFlow finds {len(there)} such devices here; leave "
            "it out to run on what there is"
        )


def _batches_seen(params: dict[str, Any]) -> int:
    """Where in a deterministic input the checkpoint is that training goes on from."""
    from wafer_runtime.estimator import latest_global_step

    given = params["train_input"]
    is_deterministic = not given["shuffle"] or given["shuffle_seed"] is not None
    return latest_global_step(params["runconfig"]["model_dir"]) * is_deterministic


def _train(estimator: "CerebrasEstimator", input_fn: UserFn, runconfig: Any) -> None:
    estimator.train(
        input_fn, steps=runconfig["steps"], max_steps=runconfig["max_steps"]
    )


def _eval(estimator: "CerebrasEstimator", input_fn: UserFn, runconfig: Any) -> None:
    estimator.evaluate(input_fn, steps=runconfig["eval_steps"], use_cs=True)


def _eval_all(estimator: "CerebrasEstimator", input_fn: UserFn, runconfig: Any) -> None:
    from wafer_runtime.estimator import all_checkpoints

    for path in all_checkpoints(estimator.model_dir):
        estimator.evaluate(
            input_fn, steps=runconfig["eval_steps"], checkpoint_path=path
        )


def _train_and_eval(
    estimator: "CerebrasEstimator", input_fn: UserFn, runconfig: Any
) -> None:
    from wafer_runtime.estimator import EvalSpec, TrainSpec, train_and_evaluate

    train_and_evaluate(
        estimator,
        TrainSpec(input_fn, max_steps=runconfig["max_steps"]),
        EvalSpec(
            input_fn,
            steps=runconfig["eval_steps"],
            throttle_secs=runconfig["throttle_secs"],
        ),
    )


def _predict(estimator: "CerebrasEstimator", input_fn: UserFn, _: Any) -> None:
    from wafer_runtime.estimator import save_predictions

    path = Path(estimator.model_dir, "predict", "outputs.npz")
    count = save_predictions(path, estimator.predict(input_fn))
    log.info("Saved the predictions of %d samples to %s", count, path)


_ACTIONS = {
    "train": _train,
    "eval": _eval,
    "eval_all": _eval_all,
    "train_and_eval": _train_and_eval,
    "predict": _predict,
}


# The mode of the graph that a run of each mode compiles, as in ModeKeys.
_COMPILED = {
    "train": "train",
    "eval": "eval",
    "eval_all": "eval",
    "train_and_eval": "train",
    "predict": "infer",
}


def _require_checkpoint(model_dir: Path) -> None:
    from wafer_runtime.estimator import all_checkpoints

    if not all_checkpoints(str(model_dir)):
        raise CheckpointError(
            f"{model_dir}: holds no checkpoint to load. "
            "Run --mode train first, or name another folder with --model_dir."
        )


def _config_args(runconfig: dict[str, Any]) -> dict[str, Any]:
    device = runconfig["device"]
    keys = (
        "tf_random_seed",
        "cs_ip",
        "save_summary_steps",
        "keep_checkpoint_max",
        "log_step_count_steps",
    )
    args = {key: runconfig[key] for key in keys}
    # RunConfig's own default (every 600 s) holds when neither is given.
    for key in ("save_checkpoints_steps", "save_checkpoints_secs"):
        if runconfig[key] is not None:
            args[key] = runconfig[key]
    return args | {"device_fn": (lambda op: op.device or device) if device else None}


def _check(params: dict[str, Any]) -> None:
    runconfig = params["runconfig"]
    if runconfig["cs_ip"]:
        check_simulated(runconfig["cs_ip"])
    elif runconfig["multireplica"] and not runconfig["compile_only"]:
        raise ParamsError(
            "--multireplica is for the wafer: give --compile_only or --cs_ip too"
        )
    load_system(simulated_system(runconfig["cs_ip"]) or runconfig["system"])
    mode = runconfig["mode"]
    if mode is None:
        raise ParamsError(
            f"no mode: give --mode, or runconfig.mode; one of {', '.join(MODES)}"
        )
    if runconfig["validate_only"] or runconfig["compile_only"]:
        return
    if runconfig["cs_ip"]:
        _check_wafer_mode(mode, runconfig["eval_steps"])
    bound = runconfig["max_steps"] or (mode == "train" and runconfig["steps"])
    if mode in _TRAINS and not bound:
        raise ParamsError(
            f"--mode {mode} does not say how long: give --max_steps N (in all)"
            + (" or --steps N (more)" if mode == "train" else "")
            + ", or set it under runconfig:"
        )


def _check_wafer_mode(mode: str, eval_steps: int | None) -> None:
    if mode not in _ON_WAFER:
        raise ParamsError(
            f"--mode {mode} runs on CPU and GPU only: leave out --cs_ip. The wafer "
            f"does --mode {' and '.join(_ON_WAFER)}"
        )
    if mode == "eval" and not eval_steps:
        raise ParamsError(
            "--mode eval on the wafer does not say how long: give --eval_steps N, or "
            "set it under runconfig:"
        )


def _check_flags(args: argparse.Namespace, runconfig: dict[str, Any]) -> None:
    mode = runconfig["mode"]
    for flag, modes in _FLAGS.items():
        if mode and getattr(args, flag) is not None and mode not in modes:
            raise ParamsError(
                f"--{flag} is for --mode {' or '.join(modes)}, not for --mode {mode}"
            )
    on_wafer = runconfig["cs_ip"] and not runconfig["validate_only"]
    if args.place_seconds and not (on_wafer or runconfig["compile_only"]):
        raise ParamsError(
            "--place_seconds is for placing: give --compile_only or --cs_ip too, and "
            "not --validate_only"
        )


def _parser() -> argparse.ArgumentParser:
    parser = console.Parser(
        description="Train, evaluate or predict with the model of this folder.",
        epilog=console.EXIT_CODES,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("-m", "--mode", choices=MODES, help="what to do (default: runconfig.mode)")
    add("-p", "--params", default="configs/params.yaml", metavar="FILE",
        help="the configuration (default: %(default)s)")  # fmt: skip
    add("-o", "--model_dir", metavar="DIR", help="checkpoints, events, results")
    add("--cs_ip", metavar="ADDRESS",
        help="sim, sim:SYSTEM or sim:FILE.yaml: run on a simulated wafer, or only "
        "compile for it")  # fmt: skip
    steps = parser.add_mutually_exclusive_group().add_argument
    steps("--steps", type=_positive, metavar="N", help="train N more steps")
    steps("--max_steps", type=_positive, metavar="N", help="train until step N in all")
    add("--eval_steps", type=_positive, metavar="N", help="evaluate N batches")
    only = parser.add_mutually_exclusive_group().add_argument
    only("--validate_only", action="store_true", default=None,
         help="does the model map to the wafer? up to kernel matching")  # fmt: skip
    only("--compile_only", action="store_true", default=None,
         help="place it on the wafer: how fast, and how much of it")  # fmt: skip
    add("--place_seconds", type=console.number_above_0, metavar="N",
        help="look for a placement for N seconds (default: 10)")  # fmt: skip
    add("--multireplica", action="store_true", default=None,
        help="on the wafer: as many copies of the model as pay")  # fmt: skip
    add("--device", metavar="NAME", help="force a TensorFlow device, such as /gpu:0")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1")
    return value


_positive.__name__ = "whole number"  # argparse names the type in its message


def _overrides(args: argparse.Namespace) -> dict[str, Any]:
    return {key: value for key, value in vars(args).items() if key != "params"}
