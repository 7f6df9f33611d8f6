"""Reads checkpoints, and says in plain words why one cannot be loaded."""

from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow.compat.v1 as tf1

from wafer_runtime.errors import CheckpointError


class WarmStartSettings(NamedTuple):
    """Which variables start from another checkpoint; as `tf.estimator` had it.

    vars_to_warm_start: a regex, or a list of names; "[^/]*/global_step" and the like
    are matched against variable names. The two dicts map variable names to a
    tf.compat.v1.train.VocabInfo, and to the name in the other checkpoint.
    """

    ckpt_to_initialize_from: str
    vars_to_warm_start: Any = ".*"
    var_name_to_vocab_info: dict[str, Any] | None = None
    var_name_to_prev_var_name: dict[str, str] | None = None


def as_warm_start(value: Any) -> WarmStartSettings | None:
    """Settings from a path (of a checkpoint or a folder), settings, or None."""
    if value is None or isinstance(value, WarmStartSettings):
        return value
    return WarmStartSettings(str(value))


def warm_start(settings: WarmStartSettings) -> None:
    """Make the graph's variables start from another checkpoint's values."""
    source = settings.ckpt_to_initialize_from
    if tf.io.gfile.isdir(source) and tf.train.latest_checkpoint(source) is None:
        raise CheckpointError(
            f"{source}: holds no checkpoint to warm-start from. "
            "Give the model_dir of a finished training, or a checkpoint's path."
        )
    try:
        tf1.train.warm_start(*settings)
    except (tf.errors.OpError, ValueError) as error:
        raise CheckpointError(
            f"{source}: cannot be warm-started from: {error}. Name the variables that "
            'fit: WarmStartSettings(path, vars_to_warm_start="regex").'
        ) from error


def latest(model_dir: str) -> str | None:
    """The path of the newest checkpoint, without suffix; None if there never was one.

    Raises CheckpointError when there was one, but it cannot be found any more: to start
    anew in silence would overwrite what is left.
    """
    state_file = Path(model_dir, "checkpoint")
    if not state_file.exists():
        return None
    left = ", ".join(Path(path).name for path in all_checkpoints(model_dir)) or "none"
    advice = (
        f'Name one of those that are there ({left}) in it, or remove "{state_file}".'
    )
    state = tf.train.get_checkpoint_state(model_dir)
    if state is None:
        raise CheckpointError(f"{state_file}: cannot be read. {advice}")
    path = state.model_checkpoint_path
    if not all(tf.io.gfile.glob(f"{path}.{part}*") for part in ("index", "data-")):
        raise CheckpointError(
            f"{state_file}: names {path}, whose files are missing. {advice}"
        )
    return str(path)


def all_checkpoints(model_dir: str) -> list[str]:
    """The paths of all checkpoints kept in `model_dir`, oldest first."""
    # The state file lists only the newest one when all are kept.
    indexes = Path(model_dir).glob("model.ckpt-*.index")
    paths = [str(path.with_suffix("")) for path in indexes]
    return sorted(paths, key=lambda path: int(path.rpartition("-")[2]))


def latest_global_step(model_dir: str) -> int:
    """The global step of the newest checkpoint in `model_dir`; 0 if there is none."""
    path = latest(model_dir)
    return int(_load(path, tf.train.load_variable, "global_step")) if path else 0


def check_fits(path: str, scaffold: Any) -> None:
    """Refuse a checkpoint that lacks variables of the graph, or has other shapes.

    A scaffold with a saver of its own decides by itself what is loaded.
    """
    if scaffold.saver is not None:
        return
    variables = tf1.global_variables()
    stored = dict(_load(path, tf.train.list_variables))
    problems = [
        problem for v in variables if (problem := _misfit(v, stored)) is not None
    ]
    if problems:
        shown = "\n  ".join(problems[:5])
        more = f"\n  and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise CheckpointError(
            f"{path}: is of another model:\n  {shown}{more}\n"
            "Use another --model_dir for the changed model (warm_start_from can take "
            "over the variables that still fit), or change the model back."
        )


def _misfit(variable: Any, stored: dict[str, list[int]]) -> str | None:
    name, shape = variable.op.name, variable.shape
    if part := variable._get_save_slice_info():
        # A partitioned variable is stored whole.
        name, shape = part.full_name, tf.TensorShape(part.full_shape)
    if name not in stored:
        return f'"{name}" is not in the checkpoint'
    if not shape.is_compatible_with(stored[name]):
        return f'"{name}" is {stored[name]} there and {shape} in the model'
    return None


def _load(path: str, function: Any, *args: Any) -> Any:
    try:
        return function(path, *args)
    except (tf.errors.OpError, ValueError) as error:
        raise CheckpointError(
            f"{path}: cannot be read: {error}. Remove its files, and name an older "
            'checkpoint in the file "checkpoint" beside them.'
        ) from error
