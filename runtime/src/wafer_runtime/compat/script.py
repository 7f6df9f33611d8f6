"""`wafer exec`: runs a Python script as `python` does, on `compat`."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType, TracebackType

from wafer_runtime.compat import install
from wafer_runtime.errors import UsageError, WaferError


def run_script(script: str, args: Sequence[str]) -> None:
    """Run the file `script` as `__main__`, with `args` in sys.argv.

    Raises what stops it: SystemExit with the script's code, 1 after an exception, whose
    traceback is printed. This package's own errors are passed on, as they explain
    themselves, and so is Ctrl-C.
    """
    if script.endswith(".ipynb"):
        raise UsageError(
            f"{script} is a notebook: open it as such, and begin it with a cell of "
            '"from wafer_runtime import compat; compat.install()"'
        )
    path = os.path.abspath(script)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{script}: cannot be read: {error.strerror}") from None
    install()
    main = ModuleType("__main__")
    main.__file__ = path
    sys.modules["__main__"] = main
    sys.argv[:] = [script, *args]
    sys.path[0] = os.path.dirname(os.path.realpath(path))
    code = None
    try:
        code = compile(content, path, "exec", dont_inherit=True)
        exec(code, vars(main))
    except WaferError:
        raise
    except Exception as error:
        error.__traceback__ = _from(code, error.__traceback__)
        sys.excepthook(type(error), error, error.__traceback__)
        raise SystemExit(1) from None


def _from(code: CodeType | None, trace: TracebackType | None) -> TracebackType | None:
    """The part of a traceback that begins at the script's own frame."""
    while trace is not None and trace.tb_frame.f_code is not code:
        trace = trace.tb_next
    return trace
