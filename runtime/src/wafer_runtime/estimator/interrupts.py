"""Ctrl-C and SIGTERM end training after the step reached, with a checkpoint."""

import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Which signal asked for a stop, if any did."""

    signum: int | None = None


@contextlib.contextmanager
def stop_request() -> Iterator[StopRequest]:
    """While open, the first signal is noted; a second one acts at once as ever.

    Only the main thread receives signals; elsewhere nothing is ever noted.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {number: signal.getsignal(number) for number in _SIGNALS}

    def note(signum: int, _: object) -> None:
        request.signum = signum
        _restore(previous)

    for number in _SIGNALS:
        signal.signal(number, note)
    try:
        yield request
    finally:
        _restore(previous)


def _restore(previous: Mapping[signal.Signals, object]) -> None:
    for number, handler in previous.items():
        # None: installed by something else than Python, and not ours to name.
        if handler is not None:
            signal.signal(number, handler)  # type: ignore[arg-type]
