"""Names of TensorFlow 1, which are told where they are, and not lent.

Beside them a script would meet names that mean another thing in TensorFlow 2, without
an error: `tf.nn.dropout(x, 0.9)` kept nine tenths of x, and now drops them.
"""

from pkgutil import resolve_name

_V1 = "tensorflow.compat.v1"
# Where scripts meet one first: {module: the one that has the names of TensorFlow 1}.
MODULES = {
    "tensorflow": _V1,
    "tensorflow.nn": f"{_V1}.nn",
    "tensorflow.summary": f"{_V1}.summary",
    "tensorflow.train": f"{_V1}.train",
    "tf_keras.api._v2.keras.losses": f"{_V1}.losses",
    "tf_keras.api._v2.keras.metrics": f"{_V1}.metrics",
    _V1: _V1,
}
_LEFT_OUT = {
    "contrib": "what others kept of it is in tensorflow.compat.v1 (layers, metrics, "
    "nn.rnn_cell, train), tf.data, tf.estimator.experimental and the package tf_slim",
    "examples": "tf.keras.datasets has the data of its tutorials",
}


def account_of(module: str, name: str) -> str | None:
    """What to say of a name that a module of `MODULES` lacks, if it had it once."""
    if module in ("tensorflow", _V1) and name in _LEFT_OUT:
        return f"{module}.{name} left with TensorFlow 2.0: {_LEFT_OUT[name]}"
    older = MODULES.get(module, module)
    if name in dir(resolve_name(module)) or name not in dir(resolve_name(older)):
        return None
    return (
        f"{module}.{name} is of TensorFlow 1: write "
        '"import tensorflow.compat.v1 as tf" in the script, which has its names (and '
        "tf.disable_eager_execution() where it opens sessions of its own)"
    )
