"""`params.yaml`: loading, command-line overrides, saving.

Everything outside `model:` is checked; unknown keys are errors. The `model:` section is
free-form: it belongs to the owner of the model. The values travel as plain nested dicts
(`params["train_input"]["batch_size"]`), the shape that Cerebras users' code expects.
"""

import copy
import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from wafer_runtime.errors import ParamsError, UsageError, did_you_mean
from wafer_runtime.schema import RIVALS, SCHEDULES, Params
from wafer_runtime.yaml_files import read_yaml, what_is_wrong


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
    content = read_yaml(
        path,
        wanted='sections such as "model:" and "runconfig:"',
        instead="Name another file with --params FILE.",
    )
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
        try:
            set_defaults(params)
        except ParamsError as error:
            raise ParamsError(f"{path}: {error}") from None
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
                f"model.{key}: there is no such key{hint}. Correct it, or add it "
                "to MODEL in utils.py"
            )
    for key, (default, is_good, allowed) in table.items():
        value = model.setdefault(key, copy.deepcopy(default))
        if not is_good(value):
            raise ParamsError(f"model.{key}: {value!r} is not {allowed}; correct it")


def save_params(params: Mapping[str, Any], path: Path) -> None:
    """Write `params` as YAML, whole or not at all. Raises UsageError."""
    try:
        text = yaml.dump(dict(params), Dumper=_Dumper, sort_keys=False)
    except yaml.representer.RepresenterError as error:
        raise ParamsError(
            f"the params hold {error.args[-1]!r}, which YAML cannot: set_defaults "
            "should put only numbers, text, lists and dicts there"
        ) from None
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UsageError(
            f"{path}: cannot be written: {error.strerror}. Make room there, or give "
            "another folder with --model_dir"
        ) from None


def _without_rivals(
    runconfig: dict[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """`--steps` beats a `max_steps` of the file, and so on, in both directions."""
    rival = {a: b for pair in RIVALS for a, b in (pair, pair[::-1])}
    beaten = {rival[k] for k in given if k in rival}
    return {k: v for k, v in runconfig.items() if k not in beaten}


class _Dumper(yaml.SafeDumper):
    """Safe YAML that writes paths as text."""


_Dumper.add_multi_representer(PurePath, lambda d, path: d.represent_str(str(path)))


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
    return f"{where}: {what_is_wrong(item)}"


def _names_a_form(part: str) -> bool:
    return part.startswith("<") or part in SCHEDULES


def _known_keys(path: tuple[Any, ...]) -> list[str]:
    model: type[BaseModel] = Params
    for part in path:
        if part in SCHEDULES:
            model = SCHEDULES[part]
        elif part in model.model_fields:
            section = model.model_fields[part].annotation
            model = section if isinstance(section, type) else model
    return list(model.model_fields)
