"""YAML files of users: read safely, with mistakes told by file."""

import os
from typing import Any

import yaml

from wafer_runtime.errors import ParamsError

# What pydantic says in words of its own, by its type of error.
_PLAIN = {
    "dict_type": "wanted keys with values",
    "model_type": "wanted keys with values",
    "model_attributes_type": "wanted keys with values",
    "missing": "is missing",
    "too_short": "wanted at least {min_length}",
    "string_too_short": "is empty",
    "union_tag_not_found": "{discriminator} is missing",
    "union_tag_invalid": "{discriminator} is {tag!r}, wanted one of {expected_tags}",
}


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


def read_yaml(
    path: str | os.PathLike[str], wanted: str, instead: str
) -> dict[str, Any]:
    """The mapping that a file holds; raises ParamsError.

    wanted: what a good file holds. instead: what to do if the file cannot be read.
    """
    try:
        # From the file itself, whose name is then in yaml's own messages.
        with open(path, encoding="utf-8") as file:
            content = yaml.load(file, _Loader)
    except OSError as error:
        raise ParamsError(
            f"{path}: cannot be read: {error.strerror}. {instead}"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise ParamsError(f"{path}: holds {type(content).__name__}, wanted {wanted}")
    return content


def what_is_wrong(item: Any) -> str:
    """Of one of a ValidationError's errors(): what is wrong, and the value."""
    plain, shown = _PLAIN.get(item["type"]), item["input"]
    message = plain.format(**item.get("ctx", {})) if plain else item["msg"]
    value = "" if isinstance(shown, dict) else f" (is {shown!r})"
    return message.removeprefix("Value error, ") + value
