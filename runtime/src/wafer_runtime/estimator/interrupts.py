"""Ctrl-C and SIGTERM end training after the step reached, with a checkpoint."""

import contextlib
import contextvars
import signal
import threading
from collections.abc import Iterator, Mapping

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Request:
    signum: int | None = None


_saved = contextvars.ContextVar("_saved", default=False)
_open = contextvars.ContextVar[_Request | None]("_open", default=None)


def noted() -> int | None:
    """The signal that asked the training around this call to stop, if one did."""
    request = _open.get()
    return request.signum if request else None


def noted_in_evaluation() -> int | None:
    """The same in an evaluation, which may end at once only if all steps are saved."""
    return noted() if _saved.get() else None


@contextlib.contextmanager
def all_steps_saved() -> Iterator[None]:
    """While open, every step of the training around this call is in a checkpoint."""
    token = _saved.set(True)
    try:
        yield
    finally:
        _saved.reset(token)


@contextlib.contextmanager
def signals_noted() -> Iterator[None]:
    """While open, the first signal is noted; a second one acts at once as ever.

    Only the main thread receives signals; elsewhere nothing is ever noted. A signal
    that is ignored (by a shell, for its background jobs) stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    # None: a handler that Python could not put back.
    previous = {n: h for n, h in handlers.items() if h not in (signal.SIG_IGN, None)}
    request = _Request()

    def note(signum: int, _: object) -> None:
        request.signum = signum
        _restore(previous)

    for number in previous:
        signal.signal(number, note)
    token = _open.set(request)
    try:
        yield
    finally:
        _open.reset(token)
        _restore(previous)


def _restore(previous: Mapping[signal.Signals, object]) -> None:
    for number, handler in previous.items():
        signal.signal(number, handler)  # type: ignore[arg-type]
