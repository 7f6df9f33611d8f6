"""Reads checkpoints, and says in plain words why one cannot be loaded."""

import os
import re
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
    """Settings from the path of a checkpoint, a folder or a SavedModel, or None."""
    if value is None or isinstance(value, WarmStartSettings):
        return value
    path = os.fsdecode(value)
    of_saved_model = os.path.join(path, "variables", "variables")
    is_saved_model = tf.io.gfile.exists(f"{of_saved_model}.index")
    return WarmStartSettings(of_saved_model if is_saved_model else path)


def warm_start(settings: WarmStartSettings) -> None:
    """Make the graph's variables start from another checkpoint's values."""
    source = settings.ckpt_to_initialize_from
    if tf.io.gfile.isdir(source) and tf.train.latest_checkpoint(source) is None:
        raise CheckpointError(
            f"{source}: holds no checkpoint to warm-start from. "
            "Give the model_dir of a finished training, or a checkpoint's path."
        )
    if not tf.io.gfile.isdir(source):
        _load(source, tf.train.list_variables)  # raises what is plainer than warm_start
    try:
        tf1.train.warm_start(*settings)
    except (tf.errors.OpError, ValueError) as error:
        raise CheckpointError(
            f"{source}: cannot be warm-started from: {error}. Name the variables that "
            'fit: WarmStartSettings(path, vars_to_warm_start="regex").'
        ) from error


def prepare(
    path: str | None, settings: WarmStartSettings | None, scaffold: Any
) -> None:
    """Check that a checkpoint can be loaded; without one, warm-start if that is set."""
    if path:
        check_fits(path, scaffold)
    elif settings:
        warm_start(settings)


def latest(model_dir: str) -> str | None:
    """The path of the newest checkpoint, without suffix; None if there never was one.

    Raises CheckpointError when there was one, but it cannot be found any more: to start
    anew in silence would overwrite what is left.
    """
    state_file = os.path.join(model_dir, "checkpoint")
    if not tf.io.gfile.exists(state_file):
        return None
    state = tf.train.get_checkpoint_state(model_dir)
    if state is None:
        wrong = "cannot be read"
    elif not _is_there(state.model_checkpoint_path):
        wrong = f"names {state.model_checkpoint_path}, whose files are missing"
    else:
        return str(state.model_checkpoint_path)
    names = [os.path.basename(path) for path in all_checkpoints(model_dir)]
    raise CheckpointError(
        f"{state_file}: {wrong}. Name one of those that are there "
        f'({", ".join(names) or "none"}) in it, or remove "{state_file}".'
    )


def _is_there(path: str) -> bool:
    folder, name = os.path.split(path)
    files = tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else []
    parts = [file.removeprefix(name) for file in files if file.startswith(name)]
    # Format V1 has one file, of that very name.
    return "" in parts or all(
        any(p.startswith(s) for p in parts) for s in (".index", ".data-")
    )


def all_checkpoints(model_dir: str) -> list[str]:
    """The paths of all checkpoints kept in `model_dir`, oldest first."""
    # The state file lists only the newest one when all are kept.
    files = tf.io.gfile.listdir(model_dir) if tf.io.gfile.isdir(model_dir) else []
    found = [re.fullmatch(r"model\.ckpt-(\d+)\.index", file) for file in files]
    steps = sorted(int(match[1]) for match in found if match)
    return [os.path.join(model_dir, f"model.ckpt-{step}") for step in steps]


def latest_global_step(model_dir: str) -> int:
    """The global step of the newest checkpoint in `model_dir`; 0 if there is none."""
    path = latest(model_dir)
    if path is None:
        return 0
    if "global_step" in dict(_load(path, tf.train.list_variables)):
        return int(_load(path, tf.train.load_variable, "global_step"))
    # A saver that renames: the number in the file's name is the step too.
    number = re.search(r"-(\d+)$", path)
    return int(number[1]) if number else 0


def check_fits(path: str, scaffold: Any) -> None:
    """Refuse a checkpoint that lacks variables of the graph, or has other shapes.

    A saver of the user's own decides by itself what is loaded.
    """
    if scaffold.saver is not None or tf1.get_collection(tf1.GraphKeys.SAVERS):
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
    except tf.errors.NotFoundError:
        raise CheckpointError(
            f"{path}: there is no such checkpoint; give its path without suffix, such "
            "as model_dir/model.ckpt-100"
        ) from None
    # The reader turns what went wrong into these.
    except (tf.errors.OpError, ValueError, IndexError, RuntimeError) as error:
        raise CheckpointError(
            f"{path}: cannot be read: {error}. Remove its files, and name an older "
            'checkpoint in the file "checkpoint" beside them.'
        ) from error
