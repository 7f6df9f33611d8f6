"""Keras layers as they were: attributes that could be set, arguments in their order."""

import functools
from pkgutil import resolve_name
from typing import Any

from wafer_runtime.compat import table


class Assignable:
    """A property that an instance may shadow by setting it, as a plain attribute."""

    def __init__(self, original: property):
        self._original = original
        self.__doc__ = original.__doc__

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else self._original.__get__(instance, owner)


def lend_old_forms() -> None:
    """Change what the table's `ASSIGNABLE`, `WITHOUT_GROUPS` and `REPLACED` name."""
    for row in table.ASSIGNABLE:
        owner = resolve_name(row.module)
        for name in row.leads_to():
            setattr(owner, name, Assignable(vars(owner)[name]))
    for row in table.WITHOUT_GROUPS:
        for path in row.leads_to().values():
            _accept_without_groups(resolve_name(path))
    for row in table.REPLACED:
        module = resolve_name(row.module)
        for name, path in row.leads_to().items():
            setattr(module, name, resolve_name(path))


def _accept_without_groups(layer: Any) -> None:
    """Take positional arguments with and without the number of groups among them."""
    original = layer.__init__
    # filters, kernel_size, strides, padding, data_format, dilation_rate
    before = 6

    @functools.wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        # What followed was the activation, which is no number.
        if len(args) > before and not isinstance(args[before], int):
            args = (*args[:before], 1, *args[before:])
        original(self, *args, **kwargs)

    layer.__init__ = init
