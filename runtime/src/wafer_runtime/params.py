"""`params.yaml`: schema, loading, command-line overrides.

Everything outside `model:` is checked; unknown keys are errors. The `model:` section is
free-form: it belongs to the owner of the model. The values travel as plain nested dicts
(`params["train_input"]["batch_size"]`), the shape that Cerebras users' code expects.
"""

import copy
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PositiveInt,
    Tag,
    ValidationError,
    model_validator,
)

from wafer_runtime.errors import ParamsError, did_you_mean

Mode = Literal["train", "eval", "eval_all", "train_and_eval", "predict"]


_SCIENTIFIC = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def _yaml_float(value: Any) -> Any:
    """YAML 1.1 reads `1e-3` as text (it wants `1.0e-3`); people write both."""
    written = isinstance(value, str) and _SCIENTIFIC.fullmatch(value)
    return float(value) if written else value


def _known_system(name: str) -> str:
    if name not in SYSTEMS:
        raise ValueError(f"not one of {', '.join(SYSTEMS)}")
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


_SCHEDULES: dict[str, type[_Section]] = {
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
    exclude_from_weight_decay: list[str] = []
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
        if isinstance(self.learning_rate, list):
            for schedule in self.learning_rate[:-1]:
                known = getattr(schedule, "steps", None) or isinstance(schedule, Cosine)
                if not known:
                    raise ValueError(
                        f"learning_rate: {schedule.scheduler} stands before another "
                        "schedule and needs steps"
                    )
        return self


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

    @model_validator(mode="after")
    def _one_of_each_pair(self) -> "RunConfigParams":
        for a, b in (
            ("steps", "max_steps"),
            ("save_checkpoints_steps", "save_checkpoints_secs"),
            ("validate_only", "compile_only"),
        ):
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


def load_params(
    path: str | os.PathLike[str],
    set_defaults: Callable[[dict[str, Any]], None] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Load and check a params.yaml.

    `overrides` are `runconfig` values from the command line: those that are not None
    win. `set_defaults` is the model's own hook: it may fill in and check `model:`.
    Returns the sections as nested dicts, defaults filled in. Raises ParamsError.
    """
    content = _read_yaml(path)
    runconfig = content.get("runconfig") or {}
    if isinstance(runconfig, dict):
        given = {k: v for k, v in (overrides or {}).items() if v is not None}
        content["runconfig"] = _without_rivals(runconfig, given) | given
    # An empty `section:` is None in YAML and means "all defaults".
    content = {k: v for k, v in content.items() if v is not None}
    try:
        params = Params.model_validate(content).model_dump()
    except ValidationError as error:
        raise ParamsError(_explain(error, path)) from None
    if set_defaults is not None:
        set_defaults(params)
    return params


ModelTable = Mapping[str, tuple[Any, Callable[[Any], Any], str]]


def check_model(params: Mapping[str, Any], table: ModelTable) -> None:
    """Fill in and check the `model:` section; raises ParamsError for what is wrong.

    table: for each key its default, a function that says whether a value is good, and
    the words for a good one.
    """
    model = params["model"]
    for key in model:
        if key not in table:
            hint = did_you_mean(key, table) or f"; there are {', '.join(table)}"
            raise ParamsError(
                f"model.{key}: there is no such key{hint}. Correct it in params.yaml, "
                "or add it to MODEL in utils.py"
            )
    for key, (default, is_good, allowed) in table.items():
        value = model.setdefault(key, copy.deepcopy(default))
        if not is_good(value):
            raise ParamsError(
                f"model.{key}: {value!r} is not {allowed}. Correct it in params.yaml"
            )


def save_params(params: Mapping[str, Any], path: Path) -> None:
    """Write `params` as YAML, whole or not at all."""
    try:
        text = yaml.dump(dict(params), Dumper=_Dumper, sort_keys=False)
    except yaml.representer.RepresenterError as error:
        raise ParamsError(
            f"the params hold {error.args[-1]!r}, which YAML cannot: set_defaults "
            "should put only numbers, text, lists and dicts there"
        ) from None
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _without_rivals(
    runconfig: dict[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """`--steps` beats a `max_steps` of the file, and the other way round."""
    rival = {"steps": "max_steps", "max_steps": "steps"}
    beaten = {rival[k] for k in given if k in rival}
    return {k: v for k, v in runconfig.items() if k not in beaten}


class _Loader(yaml.SafeLoader):
    """Safe YAML that does not let a later key replace an earlier one in silence."""

    # On the text as written: merge keys (<<) put the keys of others in, later.
    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(
                    f'the key "{key}" stands there twice\n{node.start_mark}'
                )
        return node


class _Dumper(yaml.SafeDumper):
    """Safe YAML that writes paths as text."""


_Dumper.add_multi_representer(PurePath, lambda d, path: d.represent_str(str(path)))


def _read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ParamsError(
            f"{path}: cannot be read: {error.strerror}. "
            "Name another file with --params FILE."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ParamsError(
            f"{path}: holds {type(content).__name__}, wanted sections such as "
            f'"model:" and "runconfig:"'
        )
    return content


def _explain(error: ValidationError, path: object) -> str:
    return "\n".join(f"{path}: {_explain_one(item)}" for item in error.errors())


def _explain_one(item: Any) -> str:
    # pydantic puts the members of a union into the path that it tried.
    keys = [str(part) for part in item["loc"] if not _names_a_form(str(part))]
    where = ".".join(keys) or "top level"
    if item["type"] == "extra_forbidden":
        known = _known_keys(item["loc"][:-1])
        hint = did_you_mean(keys[-1], known) or f"; known keys: {', '.join(known)}"
        free = ". Keys of your own belong under model:"
        return f'{where}: unknown key "{keys[-1]}"{hint}{free}'
    message = item["msg"].removeprefix("Value error, ")
    shown = item["input"]
    value = "" if isinstance(shown, dict) else f" (is {shown!r})"
    return f"{where}: {message}{value}"


def _names_a_form(part: str) -> bool:
    return part.startswith("<") or part in _SCHEDULES


def _known_keys(path: tuple[Any, ...]) -> list[str]:
    model: type[BaseModel] = Params
    for part in path:
        if part in _SCHEDULES:
            model = _SCHEDULES[part]
        elif part in model.model_fields:
            section = model.model_fields[part].annotation
            model = section if isinstance(section, type) else model
    return list(model.model_fields)
