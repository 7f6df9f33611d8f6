"""RunConfig and CSRunConfig: how to run, apart from what to run."""

import copy
import dataclasses
import os
from collections.abc import Callable
from numbers import Integral
from typing import Any

import tensorflow.compat.v1 as tf1

from wafer_runtime.errors import UsageError
from wafer_runtime.estimator.cluster import task_from_environment

_DEFAULT_SAVE_SECS = 600
_SessionConfig = tf1.ConfigProto
_UNSET: Any = object()


@dataclasses.dataclass
class RunConfig:
    """Settings of a run, with the names and order of `tf.estimator.RunConfig`.

    They are changed by `replace` only; other attributes are the user's to set.

    Checkpoints are saved every `save_checkpoints_steps` steps or
    `save_checkpoints_secs` seconds, and at the end (600 when neither is given; None and
    None: never). `keep_checkpoint_max` 0 or None keeps all. `tf_random_seed` makes two
    runs on CPU give the same numbers, of TensorFlow's operations and Keras's
    initializers (a model's own use of Python's or numpy's random is its own to seed).
    `TF_CONFIG` in the environment sets `cluster_spec` and what follows it.
    `protocol`, `experimental_max_worker_delay_secs` and `session_creation_timeout_secs`
    are accepted; one machine has no use for them.
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
    master: str = dataclasses.field(init=False)
    evaluation_master: str = dataclasses.field(init=False)
    num_ps_replicas: int = dataclasses.field(init=False)
    num_worker_replicas: int = dataclasses.field(init=False)
    global_id_in_cluster: int | None = dataclasses.field(init=False)
    service: dict[str, Any] | None = dataclasses.field(init=False)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.__dataclass_fields__:
            object.__setattr__(self, name, value)
        elif name in vars(self):
            raise AttributeError(f"{name} is set: use config.replace({name}=...)")
        else:
            self._set(name, value)

    def __post_init__(self) -> None:
        self._settle_checkpoint_intervals()
        task = task_from_environment()
        if self.model_dir is None:
            self._set("model_dir", task.model_dir)
        else:
            self._set("model_dir", os.fspath(self.model_dir))
        if task.model_dir not in (None, self.model_dir):
            raise UsageError(
                f"model_dir is {self.model_dir!r} and that of TF_CONFIG is "
                f"{task.model_dir!r}; give one of them"
            )
        for name, value in task._asdict().items():
            if name != "model_dir":
                self._set(name, value)
        self._check()

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
        self._check_kinds()
        for name in ("train_distribute", "eval_distribute", "experimental_distribute"):
            strategy = getattr(self, name)
            # That of one device, as scripts choose where there is no more, is as none.
            if strategy and getattr(strategy, "num_replicas_in_sync", None) != 1:
                raise UsageError(
                    f"{name} is {strategy!r}, but this driver runs one replica, on one "
                    "machine; leave it None"
                )

    def _check_kinds(self) -> None:
        wanted: dict[str, tuple[str, Callable[[Any], bool]]] = {
            "model_dir": ("a path that is not empty", lambda x: x != ""),
            "session_config": (
                "a ConfigProto",
                lambda x: isinstance(x, _SessionConfig),
            ),
            "tf_random_seed": ("a whole number", lambda x: isinstance(x, Integral)),
            "keep_checkpoint_every_n_hours": ("above 0", lambda x: x > 0),
            "session_creation_timeout_secs": ("above 0", lambda x: x > 0),
            "device_fn": ("a function of an operation, op", callable),
            "protocol": ("grpc or grpc+verbs", lambda x: x in ("grpc", "grpc+verbs")),
        }
        for name, (kind, is_it) in wanted.items():
            value = getattr(self, name)
            if value is not None and not is_it(value):
                raise UsageError(f"{name} is {value!r}; it must be {kind}")

    def _set(self, name: str, value: Any) -> None:
        # Past a property of that name in a user's subclass.
        vars(self)[name] = value


@dataclasses.dataclass
class CSRunConfig(RunConfig):
    """RunConfig plus what a CS system needs.

    cs_ip: its address, or `sim` for the simulated wafer, with or without a port;
    `sim:SYSTEM` or `sim:FILE.yaml` for another than `runconfig.system`. system_name,
    cs_config and stack_params are accepted for code written for the vendor's stack.
    """

    cs_ip: str | None = dataclasses.field(default=None, kw_only=True)
    system_name: str | None = dataclasses.field(default=None, kw_only=True)
    cs_config: Any = dataclasses.field(default=None, kw_only=True)
    stack_params: Any = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        # The vendor's programs put a port behind whatever address they are given.
        address, _, port = (self.cs_ip or "").rpartition(":")
        if address.partition(":")[0] == "sim" and port.isdecimal():
            self._set("cs_ip", address)
