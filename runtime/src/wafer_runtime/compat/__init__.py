"""Runs existing Estimator and Cerebras code unchanged.

`install()` makes today's TensorFlow look, to code that runs after it, like the one that
this code was written for. What is provided is in `table`; a module or a name of it is
made when it is asked for, and the code's own modules of the same name come first.
"""

from wafer_runtime import console, keras_2
from wafer_runtime.compat import lending


def install() -> None:
    """Provide the modules and names of `table` from here on, in this process.

    Call it before the old code is imported, and before tf.keras is used. A second call
    changes nothing. Raises KerasVersionError when it comes too late.
    """
    tensorflow = console.import_tensorflow()
    keras_2.choose()
    # The old code's own warnings are to be seen; they go through the same logger.
    tensorflow.get_logger().setLevel("WARNING")
    lending.lend_all()
