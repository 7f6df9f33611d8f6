"""The kernel library for people: `wafer ops`. Everything is read from the kernels."""

from collections.abc import Iterable

from wafer_runtime.compiler.kernels import LIBRARY, UPDATE_RULES, KernelType
from wafer_runtime.compiler.kernels.elementwise import ACTIVATIONS
from wafer_runtime.compiler.kernels.refused import REFUSED, Refusal
from wafer_runtime.errors import UsageError, did_you_mean
from wafer_runtime.report.text import table


def listing() -> str:
    """Every kernel with its layers, dtypes and limits, then the optimizers."""
    kernels = [("kernel", "layers and operations", "dtypes", "limits")]
    for kind in LIBRARY:
        limits = "; ".join(f"not {limit.text}" for limit in kind.limits)
        for number, layer in enumerate(kind.layers):
            first = number == 0
            dtypes = ", ".join(kind.dtypes) if first else ""
            kernels.append((kind.name * first, layer, dtypes, limits * first))
    rules = [("optimizer", "states a weight", "how to ask for it")]
    rules += [(r.name, str(r.states), ", ".join(r.layers)) for r in UPDATE_RULES]
    refused = [("not on the wafer", "why", "instead")]
    for name, told in REFUSED.items():
        refused.append((", ".join([name, *told.also]), told.reason, told.instead))
    tables = [table(kernels), table(rules), table(refused)]
    return "\n\n".join([*tables, "wafer ops NAME explains one of them."])


def describe(name: str) -> str:
    """What the library says of a kernel, layer, operation, optimizer or offender.

    Raises UsageError for a name that it does not have.
    """
    if name == "optimizers":
        return "\n".join(f"{r.name}: {', '.join(r.layers)}" for r in UPDATE_RULES)
    found = [_kernel(kind) for kind in LIBRARY if _is_named(name, _names(kind))]
    found += [
        f"{rule.name}: an update rule with {rule.states} states a weight, run in the "
        f"kernel of the weight\n  written as: {', '.join(rule.layers)}"
        for rule in UPDATE_RULES
        if _is_named(name, [rule.name, *rule.layers])
    ]
    found += [
        f"{refused}: not on the wafer: {told.reason}\n  instead: {told.instead}"
        for refused, told in REFUSED.items()
        if _is_named(name, _refused_names(refused, told))
    ]
    if not found:
        raise _unknown(name)
    return "\n\n".join([f"{name} is found in:", *found])


def _unknown(name: str) -> UsageError:
    known = [n for kind in LIBRARY for n in _names(kind)]
    known += [rule.name for rule in UPDATE_RULES]
    known += [n for refused in REFUSED.items() for n in _refused_names(*refused)]
    # `tf.` and `layers.`, which most begin with, make no two names alike.
    hint = did_you_mean(_last(name), map(_last, known), cutoff=0.75)
    return UsageError(f"{name}: not in the kernel library{hint}. `wafer ops` lists it")


def _refused_names(name: str, told: Refusal) -> list[str]:
    return [name, *told.opcodes, *told.also, *told.ops]


def _kernel(kind: KernelType) -> str:
    lines = [f"{kind.name}: {kind.summary}", f"  written as: {', '.join(kind.layers)}"]
    if kind.ops:
        lines.append(f"  TensorFlow operations: {', '.join(sorted(kind.ops))}")
    opcodes = sorted(kind.opcodes | kind.takes | kind.measured)
    lines.append(f"  HLO instructions: {', '.join(opcodes) or 'any arithmetic'}")
    lines.append(f"  dtypes: {', '.join(kind.dtypes)}")
    for limit in kind.limits:
        lines.append(f"  not {limit.text}; instead {limit.instead}")
    return "\n".join(lines)


def _names(kind: KernelType) -> list[str]:
    activations = ACTIVATIONS if kind.name == "elementwise" else ()
    return [kind.name, *kind.layers, *kind.ops, *activations]


def _is_named(name: str, names: Iterable[str]) -> bool:
    """`Dense` finds tf_keras.layers.Dense, and `matmul` tf.matmul(x, y)."""
    wanted = name.lower()
    return any(
        wanted == n.lower() or f".{n.partition('(')[0]}".lower().endswith(f".{wanted}")
        for n in names
    )


def _last(name: str) -> str:
    """`matmul` of tf.matmul(x, y)."""
    return name.partition("(")[0].rpartition(".")[2]
