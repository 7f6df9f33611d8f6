"""Supplies what `table` lists: missing modules, lost names, and no more than asked."""

import functools
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Mapping, Sequence
from pkgutil import resolve_name
from types import ModuleType
from typing import Any, NoReturn

from wafer_runtime.compat import keras_layers, table, tensorflow_1
from wafer_runtime.compat.tensorflow_1 import account_of
from wafer_runtime.errors import did_you_mean


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of `table.MODULES` and their parents, after all other finders.

    So a module that exists, such as the `common` of the user's own checkout, is taken
    as it is, and only those missing in it are supplied.
    """

    def __init__(self) -> None:
        rows = {row.module: row.leads_to() for row in table.MODULES}
        parents: dict[str, dict[str, str]] = {}
        for name in rows:
            while name := name.rpartition(".")[0]:
                parents[name] = {}
        self._modules = parents | rows

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The specification of a module that is provided, or None.

        Raises ImportError for what is missing in a module that this finder made, and
        for what TensorFlow 1 had.
        """
        if fullname in self._modules:
            # All are packages, for `from module import name` to ask here for what is
            # missing, and so to give our message.
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        parent, _, name = fullname.rpartition(".")
        if getattr(sys.modules.get(parent), "__loader__", None) is self:
            raise ImportError(self._not_provided(parent, name), name=fullname)
        if told := parent in tensorflow_1.MODULES and account_of(parent, name):
            # No ModuleNotFoundError, in whose place `from` has a message of its own.
            raise ImportError(told, name=fullname)
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Give a new module its names, each to be resolved when it is asked for."""
        name = module.__name__
        module.__all__ = self._names(name)  # type: ignore[attr-defined]
        lend(module, self._modules[name], functools.partial(self._lookup, name))

    def _lookup(self, module: str, name: str) -> Any:
        """A submodule, as an attribute of its parent."""
        if f"{module}.{name}" in self._modules:
            return importlib.import_module(f"{module}.{name}")
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(self._not_provided(module, name))

    def _names(self, module: str) -> list[str]:
        children = [
            name.removeprefix(f"{module}.")
            for name in self._modules
            if name.rpartition(".")[0] == module
        ]
        return sorted([*self._modules[module], *children])

    def _not_provided(self, module: str, name: str) -> str:
        names = self._names(module)
        return (
            f"{module}.{name} is not provided by wafer_runtime.compat"
            f"{did_you_mean(name, names)}; of {module} there are {', '.join(names)}"
        )


def lend_all() -> None:
    """Provide everything in `table`, once."""
    if any(isinstance(finder, Finder) for finder in sys.meta_path):
        return
    sys.meta_path.append(Finder())
    for name in tensorflow_1.MODULES:
        lend(resolve_name(name), {}, functools.partial(_tell_of_tensorflow_1, name))
    for row in table.ATTRIBUTES:
        lend(resolve_name(row.module), row.leads_to())
    keras_layers.lend_old_forms()


def _tell_of_tensorflow_1(module: str, name: str) -> NoReturn:
    raise AttributeError(
        account_of(module, name) or _no_attribute(module, name), name=name
    )


def _no_attribute(module: str, name: str) -> str:
    return f"module {module!r} has no attribute {name!r}"


def lend(
    module: Any, names: Mapping[str, str], otherwise: Callable[[str], Any] | None = None
) -> None:
    """Let `module` have `names`, `{name: where it leads}`, beside those it has.

    otherwise: asked for any other name; by default what the module did before.
    """
    # TensorFlow wraps some of its modules; attributes are looked up in what is wrapped.
    module = getattr(module, "_tfmw_wrapped_module", module)
    otherwise = otherwise or vars(module).get("__getattr__")

    def look_up(name: str) -> Any:
        if name in names:
            value = resolve_name(names[name])
            setattr(module, name, value)
            return value
        if otherwise:
            return otherwise(name)
        raise AttributeError(_no_attribute(module.__name__, name), name=name)

    module.__getattr__ = look_up
