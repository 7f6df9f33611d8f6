"""What a process does that stores compilations while others do: without TensorFlow."""

import contextlib

from wafer_runtime.compiler.cache import Entry


def store_and_damage(folder, start, key, files):
    """What one of several processes does; what it reads is whole or damaged."""
    entry = Entry(folder, key)
    start.wait()
    for turn in range(50):
        entry.store(files)
        assert entry.load() in (files, None)
        if turn % 5 == 0:
            with contextlib.suppress(OSError):
                (entry.path / "a.txt").unlink()
