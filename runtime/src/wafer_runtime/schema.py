"""The schema of `params.yaml`: its sections as pydantic models."""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PositiveInt,
    Tag,
    model_validator,
)

Mode = Literal["train", "eval", "eval_all", "train_and_eval", "predict"]


_SCIENTIFIC = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def _yaml_float(value: Any) -> Any:
    """YAML 1.1 reads `1e-3` as text (it wants `1.0e-3`); people write both."""
    written = isinstance(value, str) and _SCIENTIFIC.fullmatch(value)
    return float(value) if written else value


def _known_system(name: str) -> str:
    if name not in SYSTEMS and not name.endswith((".yaml", ".yml")):
        raise ValueError(f"not one of {', '.join(SYSTEMS)}, and no .yaml file")
    return name


SYSTEMS = ("wse1", "wse2", "wse3")
Float = Annotated[float, BeforeValidator(_yaml_float)]


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, protected_namespaces=(), allow_inf_nan=False
    )


class InputParams(_Section):
    """What an `input_fn` may be told; `num_parallel_calls: 0` means autotune.

    `on_bad_record`: whether a record that cannot be parsed ends the run, or is skipped
    and counted.
    When a training goes on from a checkpoint, the runner adds `skip_batches` to
    `train_input`: the batches that were seen already, if their order is deterministic
    (no shuffle, or a seed), so that the data go on where they stopped.
    """

    data_dir: str | None = None
    batch_size: PositiveInt = 32
    shuffle: bool = False
    shuffle_seed: int | None = None
    num_parallel_calls: int = Field(0, ge=0)
    on_bad_record: Literal["fail", "skip"] = "fail"


class Constant(_Section):
    """The same rate throughout; `steps` only before another schedule."""

    scheduler: Literal["Constant"]
    learning_rate: Float = Field(ge=0)
    steps: PositiveInt | None = None


class _Ramp(_Section):
    initial_learning_rate: Float = Field(ge=0)
    end_learning_rate: Float = Field(ge=0)
    steps: PositiveInt


class Linear(_Ramp):
    """From one rate to another in `steps` steps; from 0 it is a warm-up."""

    scheduler: Literal["Linear"]


class Polynomial(_Ramp):
    """As Linear, along a power of what is left of the way."""

    scheduler: Literal["Polynomial"]
    power: Float = Field(1.0, gt=0)


class Cosine(_Section):
    """Half a cosine wave, down to `alpha` times the first rate."""

    scheduler: Literal["Cosine"]
    initial_learning_rate: Float = Field(ge=0)
    decay_steps: PositiveInt
    alpha: Float = Field(0.0, ge=0)


class Exponential(_Section):
    """Times `decay_rate` every `decay_steps` steps; in jumps if `staircase`."""

    scheduler: Literal["Exponential"]
    initial_learning_rate: Float = Field(ge=0)
    decay_steps: PositiveInt
    decay_rate: Float = Field(gt=0)
    staircase: bool = False
    steps: PositiveInt | None = None


class PiecewiseConstant(_Section):
    """`values[0]` up to step `boundaries[0]`, then `values[1]`, and so on."""

    scheduler: Literal["PiecewiseConstant"]
    boundaries: list[PositiveInt]
    values: list[Float]
    steps: PositiveInt | None = None

    @model_validator(mode="after")
    def _one_value_more(self) -> "PiecewiseConstant":
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError(
                f"{len(self.boundaries)} boundaries need {len(self.boundaries) + 1} "
                f"values, not {len(self.values)}"
            )
        if sorted(set(self.boundaries)) != self.boundaries:
            raise ValueError(f"boundaries {self.boundaries} do not rise")
        return self


SCHEDULES: dict[str, type[_Section]] = {
    kind.__name__: kind
    for kind in (Constant, Linear, Polynomial, Cosine, Exponential, PiecewiseConstant)
}
_Schedule = Annotated[
    Constant | Linear | Polynomial | Cosine | Exponential | PiecewiseConstant,
    Field(discriminator="scheduler"),
]


def _form_of_rate(value: Any) -> str:
    if isinstance(value, list):
        return "<schedules>"
    return "<schedule>" if isinstance(value, dict | _Section) else "<number>"


LearningRate = Annotated[
    Annotated[Float, Field(gt=0), Tag("<number>")]
    | Annotated[_Schedule, Tag("<schedule>")]
    | Annotated[list[_Schedule], Field(min_length=1), Tag("<schedules>")],
    Discriminator(_form_of_rate),
]


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from None
    return text


# The keys that only some update rules read.
_RULES = {
    "momentum": ("momentum",),
    "rmsprop_decay": ("rmsprop",),
    "rmsprop_momentum": ("rmsprop",),
    "beta1": ("adam", "adamw", "lamb"),
    "beta2": ("adam", "adamw", "lamb"),
    "epsilon": ("adam", "adamw", "lamb", "rmsprop"),
}


def _loss_scale(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value == "dynamic" or (is_number and 0 < value < float("inf")):
        return value
    raise ValueError("wanted a number above 0, or dynamic")


class OptimizerParams(_Section):
    """The update rule and what is done to gradients before it.

    Adam's defaults are its paper's; those of loss scaling are the vendor's stack's.
    """

    optimizer_type: Literal["sgd", "momentum", "adam", "adamw", "lamb", "rmsprop"] = (
        "adam"
    )
    learning_rate: LearningRate = 0.001
    momentum: Float = Field(0.9, ge=0, lt=1)
    rmsprop_decay: Float = Field(0.9, ge=0, lt=1)
    rmsprop_momentum: Float = Field(0.0, ge=0, lt=1)
    beta1: Float = Field(0.9, ge=0, lt=1)
    beta2: Float = Field(0.999, ge=0, lt=1)
    epsilon: Float = Field(1e-8, gt=0)
    weight_decay_rate: Float = Field(0.0, ge=0)
    exclude_from_weight_decay: list[Annotated[str, AfterValidator(_regex)]] = []
    max_gradient_norm: Float = Field(0.0, ge=0)
    max_gradient_value: Float = Field(0.0, ge=0)
    grad_accum_steps: PositiveInt = 1
    loss_scaling_factor: Annotated[
        Any, BeforeValidator(_yaml_float), AfterValidator(_loss_scale)
    ] = 1.0
    initial_loss_scale: Float = Field(2.0**15, gt=0)
    steps_per_increase: PositiveInt = 2000
    min_loss_scale: Float = Field(2.0**-14, gt=0)
    max_loss_scale: Float = Field(2.0**15, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> "OptimizerParams":
        if self.max_gradient_norm and self.max_gradient_value:
            raise ValueError(
                "max_gradient_norm and max_gradient_value are both set; keep one"
            )
        if self.min_loss_scale > self.max_loss_scale:
            raise ValueError(
                f"min_loss_scale {self.min_loss_scale:g} is above max_loss_scale "
                f"{self.max_loss_scale:g}"
            )
        for key, rules in _RULES.items():
            # Defaults may stand there: a saved params_train.yaml has all of them.
            given = getattr(self, key) != type(self).model_fields[key].default
            if given and self.optimizer_type not in rules:
                raise ValueError(
                    f"{key} is read by {', '.join(rules)}, not by "
                    f"{self.optimizer_type}; remove it"
                )
        if isinstance(self.learning_rate, list):
            for schedule in self.learning_rate[:-1]:
                known = getattr(schedule, "steps", None) or isinstance(schedule, Cosine)
                if not known:
                    raise ValueError(
                        f"learning_rate: {schedule.scheduler} stands before another "
                        "schedule and needs steps"
                    )
        return self


# Keys of which only one may be given.
RIVALS = (
    ("steps", "max_steps"),
    ("save_checkpoints_steps", "save_checkpoints_secs"),
    ("validate_only", "compile_only"),
)


class RunConfigParams(_Section):
    """How to run; the command line's flags of the same names win over these."""

    mode: Mode | None = None
    model_dir: str = Field("model_dir", min_length=1)
    steps: PositiveInt | None = None
    max_steps: PositiveInt | None = None
    eval_steps: PositiveInt | None = None
    save_summary_steps: PositiveInt = 100
    save_checkpoints_steps: PositiveInt | None = None
    save_checkpoints_secs: PositiveInt | None = None
    keep_checkpoint_max: int = Field(5, ge=0)
    log_step_count_steps: PositiveInt = 100
    tf_random_seed: int | None = Field(None, ge=0, lt=2**32)
    throttle_secs: int = Field(0, ge=0)
    system: Annotated[str, AfterValidator(_known_system)] = "wse2"
    cs_ip: str | None = None
    multireplica: bool = False
    num_wgt_servers: PositiveInt | None = None
    device: str | None = None
    validate_only: bool = False
    compile_only: bool = False
    place_seconds: Float = Field(10.0, gt=0)
    place_seed: int = Field(0, ge=0)
    place_iterations: PositiveInt | None = None

    @model_validator(mode="after")
    def _one_of_each_pair(self) -> "RunConfigParams":
        for a, b in RIVALS:
            if getattr(self, a) and getattr(self, b):
                raise ValueError(f"{a} and {b} are both set; keep one of them")
        return self


class Params(_Section):
    """A whole params.yaml."""

    description: str | None = None
    train_input: InputParams = InputParams()
    eval_input: InputParams = InputParams()
    model: dict[str, Any] = {}
    optimizer: OptimizerParams = OptimizerParams()
    runconfig: RunConfigParams = RunConfigParams()
