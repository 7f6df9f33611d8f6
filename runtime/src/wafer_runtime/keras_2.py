"""Has tf.keras be Keras 2, also if TensorFlow was imported before this package."""

import os
from pathlib import Path

from wafer_runtime.errors import KerasVersionError

_VARIABLE = "TF_USE_LEGACY_KERAS"


def choose() -> None:
    """Lead `tf.keras` and `import tensorflow.keras` to Keras 2.

    TensorFlow reads the variable when `tf.keras` is first used; but where an import
    finds `tensorflow.keras` it settles as soon as it is itself imported.

    Raises KerasVersionError if Keras 3 was wanted, or is in use already.
    """
    import tensorflow as tf
    import tf_keras

    api = Path(tf_keras.__file__).parent / "api"
    for module, version in ((tf, "_v2"), (tf.compat.v1, "_v1")):
        if (folder := str(api / version)) not in module.__path__:
            module.__path__.insert(0, folder)
    # By a class, as `import tensorflow.keras` gives its modules other names.
    if not tf.keras.Model.__module__.startswith("tf_keras"):
        raise KerasVersionError(
            "tf.keras is Keras 3, whose layers do not work in Estimator graphs. "
            + _why()
        )


def _why() -> str:
    if (value := os.environ[_VARIABLE]) not in ("1", "true", "True"):
        return f"{_VARIABLE} is {value!r} in the environment: unset it, or set it to 1."
    return (
        "It was used before wafer_runtime was imported: import that first, in a new "
        f"process (a notebook's kernel restarted), or set {_VARIABLE}=1."
    )
