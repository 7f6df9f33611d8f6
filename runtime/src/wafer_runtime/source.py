"""Where in the user's code something comes from, for error messages.

The user's code is what is neither this package, nor an installed one, nor Python's own.
"""

import functools
import linecache
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Sequence
from typing import Any

_OURS = os.path.dirname(os.path.abspath(__file__))
_INSTALLED = tuple(
    {sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")}
)


def is_users(filename: str) -> bool:
    """Whether a file of this name belongs to the user."""
    if filename.startswith("<"):
        # What `python -c` runs has the name that dataclasses give their methods.
        typed = filename.startswith(("<stdin", "<ipython-input", "<python-input"))
        return typed or (filename == "<string>" and sys.argv[0] == "-c")
    return _is_a_file_of_users(filename)


# A graph has many operations, each with a stack of the same few files.
@functools.cache
def _is_a_file_of_users(filename: str) -> bool:
    if not os.path.isabs(filename):
        return False  # compiled into a library, such as numpy/random/mtrand.pyx
    return not filename.startswith((_OURS + os.sep, *_INSTALLED))


def caller() -> str:
    """The innermost line of the user's code on the stack, as `model.py:12`."""
    frame = sys._getframe(1)
    while frame is not None:
        if is_users(frame.f_code.co_filename):
            return place(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back  # type: ignore[assignment]
    return "unknown place"


def of_function(function: Any) -> str:
    """Where a function (or partial, method, callable object) is defined."""
    while isinstance(function, functools.partial):
        function = function.func
    if not hasattr(function, "__code__"):
        function = type(function).__call__
    code = getattr(function, "__code__", None)
    if code is None:
        return "unknown place"
    return place(code.co_filename, code.co_firstlineno)


def of_op(op: Any) -> str:
    """The user's line that created a graph operation."""
    return line_of_op(op) or f'operation "{op.name}"'


def line_of_op(op: Any) -> str | None:
    """The user's line that created a graph operation, if there is one."""
    frames = frames_of(op)
    for i in range(len(frames) - 1, -1, -1):
        if is_users(frames[i].filename):
            return place(frames[i].filename, frames[i].lineno)
    return None


def callers_of(op: Any) -> tuple[str, ...]:
    """The user's lines that called the one that created an operation.

    The innermost first, as far as to the function that this package called.
    """
    frames = [(f.filename, f.lineno) for f in frames_of(op)]
    ours = [i for i, (name, _) in enumerate(frames) if name.startswith(_OURS)]
    lines = [place(*f) for f in frames[max(ours, default=0) :] if is_users(f[0])]
    return tuple(reversed(lines[:-1]))


def frames_of(op: Any) -> Sequence[Any]:
    """The frames of a graph operation's creation; none of an imported one's."""
    return op.traceback or ()


def of_exception(error: BaseException) -> str:
    """The innermost of the user's lines that an exception went through."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) and error.filename:
        return place(error.filename, error.lineno)
    return _innermost((f.filename, f.lineno) for f in frames) or "unknown place"


def traceback_lines(error: BaseException) -> list[str]:
    """The user's lines that an exception went through, outermost first."""
    return [
        f"{place(frame.filename, frame.lineno)}, in {frame.name}: {frame.line}"
        for frame in traceback.extract_tb(error.__traceback__)
        if is_users(frame.filename)
    ]


def lines_in(text: str) -> list[str]:
    """The user's lines in a traceback that is part of `text`, outermost first."""
    frames = re.findall(r'File "([^"]+)", line (\d+), in (\S+)', text)
    return [
        f"{place(name, int(line))}, in {function}: "
        + linecache.getline(name, int(line)).strip()
        for name, line, function in frames
        if is_users(name)
    ]


def without_traces(message: str) -> str:
    """What a TensorFlow error says, without its accounts of where.

    They are a "Detected at node X defined at ..." before it, or the traceback of a
    Python function behind it, and the nodes in double brackets.
    """
    told = message.removeprefix("Graph execution error:").lstrip()
    if told.startswith("Detected at node "):
        told = "operation " + told.partition("\nNode: ")[2]
    told = told.partition("Traceback (most recent call last)")[0]
    return told.partition("\n\t [[")[0].strip()


def place(filename: str, line: int | None) -> str:
    """`model.py:12`, relative to the current folder where that is shorter."""
    if not filename.startswith("<"):
        relative = os.path.relpath(filename)
        filename = relative if len(relative) < len(filename) else filename
    return f"{filename}:{line}"


def _innermost(frames: Iterable[tuple[str, int | None]]) -> str | None:
    users = [place(name, line) for name, line in frames if is_users(name)]
    return users[-1] if users else None
