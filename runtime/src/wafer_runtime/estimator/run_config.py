"""RunConfig and CSRunConfig: how to run, apart from what to run."""

import copy
import dataclasses
import json
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from wafer_runtime.errors import UsageError

_DEFAULT_SAVE_SECS = 600
_CHIEFS = {"chief", "master"}
_UNSET: Any = object()


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Settings of a run, with the names and order of `tf.estimator.RunConfig`.

    Checkpoints are saved every `save_checkpoints_steps` steps or
    `save_checkpoints_secs` seconds, and at the end (600 when neither is given; None and
    None: never). `keep_checkpoint_max` 0 or None keeps all. `tf_random_seed` makes two
    runs on CPU give the same numbers, of TensorFlow's operations and Keras's
    initializers (a model's own use of Python's or numpy's random is its own to seed).
    `TF_CONFIG` in the environment sets `cluster_spec`, `task_type`, `task_id` and
    `is_chief`. `protocol`, `experimental_max_worker_delay_secs` and
    `session_creation_timeout_secs` are accepted; one machine has no use for them.
    """

    model_dir: str | None = None
    tf_random_seed: int | None = None
    save_summary_steps: int | None = 100
    save_checkpoints_steps: int | None = _UNSET
    save_checkpoints_secs: int | None = _UNSET
    session_config: Any = None
    keep_checkpoint_max: int | None = 5
    keep_checkpoint_every_n_hours: float = 10_000
    log_step_count_steps: int | None = 100
    train_distribute: Any = None
    device_fn: Callable[..., Any] | None = None
    protocol: str | None = None
    eval_distribute: Any = None
    experimental_distribute: Any = None
    experimental_max_worker_delay_secs: int | None = None
    session_creation_timeout_secs: int = 7200
    checkpoint_save_graph_def: bool = True
    cluster_spec: Any = dataclasses.field(init=False)
    task_type: str = dataclasses.field(init=False)
    task_id: int = dataclasses.field(init=False)
    is_chief: bool = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self._settle_checkpoint_intervals()
        self._check()
        self._read_tf_config()

    def replace(self, **changes: Any) -> "RunConfig":
        """A copy with other values."""
        steps, secs = "save_checkpoints_steps", "save_checkpoints_secs"
        if changes.get(steps) is not None:
            changes.setdefault(secs, None)
        if changes.get(secs) is not None:
            changes.setdefault(steps, None)
        known = {field.name for field in dataclasses.fields(self) if field.init}
        if unknown := sorted(set(changes) - known):
            raise UsageError(
                f"Replacing {', '.join(unknown)} is not supported; there are "
                f"{', '.join(sorted(known))}"
            )
        # Not dataclasses.replace: a user's subclass may be made with other arguments.
        new = copy.copy(self)
        for name, value in changes.items():
            new._set(name, value)
        new._check()
        return new

    def _settle_checkpoint_intervals(self) -> None:
        steps, secs = self.save_checkpoints_steps, self.save_checkpoints_secs
        if steps is _UNSET and secs is _UNSET:
            secs = _DEFAULT_SAVE_SECS
        self._set("save_checkpoints_steps", None if steps is _UNSET else steps)
        self._set("save_checkpoints_secs", None if secs is _UNSET else secs)

    def _check(self) -> None:
        if self.save_checkpoints_steps and self.save_checkpoints_secs:
            raise UsageError(
                f"save_checkpoints_steps ({self.save_checkpoints_steps}) and "
                f"save_checkpoints_secs ({self.save_checkpoints_secs}) are both given; "
                "keep one"
            )
        for name in (
            "save_summary_steps",
            "save_checkpoints_steps",
            "save_checkpoints_secs",
            "keep_checkpoint_max",
            "log_step_count_steps",
        ):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise UsageError(f"{name} is {value}; it must be 0 or more")
        for name in ("train_distribute", "eval_distribute", "experimental_distribute"):
            if getattr(self, name) is not None:
                raise UsageError(
                    f"{name} is set, but this driver runs on one machine; leave it None"
                )

    def _read_tf_config(self) -> None:
        text = os.environ.get("TF_CONFIG") or "{}"
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise UsageError(f"TF_CONFIG is not valid JSON ({error}): {text}") from None
        try:
            cluster = content.get("cluster") or {}
            task = content.get("task") or {}
            self._set("cluster_spec", tf.train.ClusterSpec(cluster))
            self._set("task_type", task.get("type", "worker"))
            self._set("task_id", int(task.get("index", 0)))
        except (AttributeError, TypeError, ValueError) as error:
            raise UsageError(
                'TF_CONFIG should be {"cluster": {"chief": [...]}, "task": {"type": '
                f'"chief", "index": 0}}}} ({error}): {text}'
            ) from None
        if cluster and not _CHIEFS & set(cluster):
            raise UsageError(f'TF_CONFIG names a cluster without a "chief": {text}')
        self._set("is_chief", not cluster or self.task_type in _CHIEFS)

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


@dataclasses.dataclass(frozen=True)
class CSRunConfig(RunConfig):
    """RunConfig plus what a CS system needs.

    cs_ip: its address, or `sim` for the simulated wafer, with or without a port.
    system_name, cs_config and stack_params are accepted for code written for the
    vendor's stack.
    """

    cs_ip: str | None = dataclasses.field(default=None, kw_only=True)
    system_name: str | None = dataclasses.field(default=None, kw_only=True)
    cs_config: Any = dataclasses.field(default=None, kw_only=True)
    stack_params: Any = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cs_ip and self.cs_ip.partition(":")[0] == "sim":
            self._set("cs_ip", "sim")
