"""Compilations are kept in `cs_<64 hex digits>/`, named by what they were made from.

An entry is written beside its place and moved there whole, so that a compilation that
is broken off, or two at once, leave no half of one. `manifest.json` holds a checksum of
every file: an entry that was cut off or edited is told, and made anew.
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from wafer_runtime import __version__
from wafer_runtime.errors import UsageError

log = logging.getLogger("wafer_runtime")

_MANIFEST = "manifest.json"
_HOURS_OF_A_COMPILATION = 24


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Raises UsageError if a compilation could not be kept in a folder."""
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    try:
        with tempfile.TemporaryDirectory(prefix=".cs_", dir=place):
            pass
    except OSError as error:
        raise UsageError(
            f"{folder}: compilations cannot be kept there: {place}: {error.strerror}. "
            "Give another folder with --model_dir"
        ) from None


class DamagedError(Exception):
    """What is wrong with an entry."""


class Entry:
    """The compilation with content hash `key` in `folder`."""

    def __init__(self, folder: str | os.PathLike[str], key: str):
        self.path = Path(folder, f"cs_{key}")

    def load(self) -> dict[str, str] | None:
        """The texts of its files by name; None if there is no whole entry."""
        if not self.path.exists():
            return None
        try:
            return read_entry(self.path)
        except DamagedError as damage:
            log.warning("%s is damaged (%s): compiling again", self.path, damage)
            return None

    def store(self, files: Mapping[str, str]) -> None:
        """Write the entry, in place of a damaged one; a whole one stays.

        Raises UsageError, such as for a full disk, and then leaves nothing.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._remove_leftovers()
            self._write(self._beside(), files)
        except OSError as error:
            raise UsageError(
                f"{self.path}: the compilation cannot be kept: {error.strerror}. Make "
                "room there, or give another folder with --model_dir"
            ) from None

    def _write(self, partial: Path, files: Mapping[str, str]) -> None:
        sums = {name: _checksum(text) for name, text in files.items()}
        try:
            for name, text in {**files, _MANIFEST: json.dumps(sums, indent=1)}.items():
                (partial / name).write_text(text, encoding="utf-8")
            while not self._moved_in(partial) and self._is_damaged():
                self._set_aside()
        finally:
            _remove(partial)

    def _moved_in(self, partial: Path) -> bool:
        try:
            partial.rename(self.path)
        except OSError as error:
            # Another process was first, or what is there is damaged.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            return False
        return True

    def _beside(self) -> Path:
        """A new folder that nobody else has."""
        folder = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}")
        folder.mkdir()
        return folder

    def _is_damaged(self) -> bool:
        try:
            read_entry(self.path)
        except DamagedError:
            return True
        return False

    def _remove_leftovers(self) -> None:
        """What processes that were killed left beside the entries."""
        long_ago = time.time() - _HOURS_OF_A_COMPILATION * 3600
        for folder in self.path.parent.glob(".cs_*"):
            with contextlib.suppress(FileNotFoundError):
                if folder.stat().st_mtime < long_ago:
                    _remove(folder)

    def _set_aside(self) -> None:
        aside = self._beside()
        # It may be that another process does the same.
        with contextlib.suppress(FileNotFoundError):
            self.path.rename(aside / "damaged")
        _remove(aside)


def read_entry(path: Path) -> dict[str, str]:
    """The texts of an entry's files by name. Raises DamagedError."""
    sums = _manifest(path)
    files = {name: _text(path / name) for name in sums}
    for name, text in files.items():
        if _checksum(text) != sums[name]:
            raise DamagedError(f"{name} is not as it was written")
    return files


def _manifest(path: Path) -> dict[str, str]:
    try:
        sums = json.loads(_text(path / _MANIFEST))
    except ValueError:
        sums = None
    if not isinstance(sums, dict) or not sums:
        raise DamagedError(f"{_MANIFEST} is not as it was written")
    return sums


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DamagedError(f"{path.name} is missing") from None
    except (OSError, UnicodeDecodeError):
        raise DamagedError(f"{path.name} cannot be read") from None


def key_of(*parts: str) -> str:
    """64 hex digits for what a compilation is made from, this package's version too."""
    return hashlib.sha256("\0".join([__version__, *parts]).encode()).hexdigest()


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
