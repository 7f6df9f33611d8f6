"""What the command lines share: errors as one line and an exit code, quiet logs.

Exit codes: 0 done; 1 the run failed; 2 nothing was run (flags, params.yaml, not
available); 3 the model does not map to the wafer; 130 and 143 stopped by Ctrl-C or
SIGTERM, a training that had begun after saving a checkpoint.
"""

import argparse
import atexit
import contextlib
import logging
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from wafer_runtime import source
from wafer_runtime.errors import TrainingInterrupted, WaferError, did_you_mean

log = logging.getLogger("wafer_runtime")

EXIT_CODES = (
    "Exit codes: 0 done; 1 failed; 2 nothing was run (flags, params, not available); "
    "3 the model does not map to the wafer; 130/143 stopped by Ctrl-C/SIGTERM, a "
    "training that had begun after saving a checkpoint."
)
_NOTICE = re.compile(
    rb"I0000 |WARNING: All log messages before absl::|To enable the fo"
)

# What helps with messages of TensorFlow's that do not say it, or not for graphs.
_ADVICE = {
    "object has no attribute 'numpy'": "model_fn builds a graph, whose tensors have no "
    "values yet: return them in predictions or host_call to see them",
    "`tf.Tensor` as a Python `bool`": "model_fn builds a graph, whose tensors have no "
    "values yet: choose with tf.where or tf.cond instead of if",
    "has type float64 that does not match type float32": "give float32 in input_fn, "
    "or cast here: tf.cast(x, tf.float32)",
}


class Parser(argparse.ArgumentParser):
    """argparse, with one `Error:` line and a suggestion for a mistyped flag."""

    def error(self, message: str) -> Any:
        """Exit with code 2."""
        unknown = message.removeprefix("unrecognized arguments: ").split(" ")[0]
        hint = did_you_mean(unknown, self._option_string_actions)
        self.exit(2, f"Error: {message}{hint}. See --help.\n")


def number_above_0(text: str) -> float:
    """A number for a flag, such as seconds."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: wanted a number above 0")
    return value


number_above_0.__name__ = "number"  # argparse names the type in its message


def exit_code_of(action: Callable[[], None]) -> int:
    """Run `action`; an error that is the user's is told in a line, and has a code."""
    try:
        action()
    except WaferError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    except TrainingInterrupted as stop:
        _ignore_further_ctrl_c()
        print(
            f"Stopped at global step {stop.global_step}; its checkpoint is saved. "
            "The same command goes on from there.",
            file=sys.stderr,
        )
        return stop.exit_code
    except KeyboardInterrupt:
        _ignore_further_ctrl_c()
        print("Stopped at once; nothing was saved.", file=sys.stderr)
        return 130
    except Exception as error:
        # Code of the user's on the way makes it the user's; else it is a bug of ours,
        # and its traceback is what helps.
        report = _users_mistake(error)
        if report is None:
            raise
        print(f"Error: {report}", file=sys.stderr)
        return WaferError.exit_code
    return 0


def _ignore_further_ctrl_c() -> None:
    """From when the process ends on: in Python's end it would change the exit code."""
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


def import_tensorflow() -> Any:
    """TensorFlow, imported without its notices; its warnings it keeps to itself."""
    with _start_up_notices_hidden():
        import tensorflow
    # Its warnings are about its own deprecated parts, which this package stands on.
    tensorflow.get_logger().setLevel(logging.ERROR)
    return tensorflow


def log_to_stderr() -> None:
    """Show this package's log, with the time of day."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


def _users_mistake(error: Exception) -> str | None:
    """What went wrong and at which lines of the user's code; None if at none."""
    lines = source.traceback_lines(error)
    message = str(error).strip() or "no message"
    if hasattr(error, "node_def"):
        # A TensorFlow error: the lines that made the operation are those to look at.
        lines = source.lines_in(message)
        message = source.without_traces(message)
        # Behind the names of the iterators that it went through.
        if bad_record := message.partition("BadRecordError: ")[2]:
            return bad_record
    elif isinstance(error, SyntaxError):
        lines = [source.of_exception(error)]
    # What the system refuses (a folder that is a file, a full disk) is no bug either.
    elif not lines and not isinstance(error, OSError):
        return None
    advice = [text for told, text in _ADVICE.items() if told in message]
    first = f"{type(error).__name__}: {message}"
    return "\n  ".join([first, *dict.fromkeys(lines), *advice])


@contextlib.contextmanager
def _start_up_notices_hidden() -> Iterator[None]:
    """Drop what TensorFlow's C++ side prints before it knows its log level."""
    real = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(real, 2)
            os.close(real)
            caught.seek(0)
            lines = caught.read().splitlines(keepends=True)
            os.write(2, b"".join(x for x in lines if not _NOTICE.match(x)))
