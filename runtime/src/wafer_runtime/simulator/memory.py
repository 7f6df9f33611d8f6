"""What a PE remembers: arrays in its memory, views of them, registers, streams."""

from dataclasses import dataclass, replace

import numpy as np

from wafer_runtime.errors import FabricError
from wafer_runtime.simulator import isa


@dataclass(frozen=True)
class Register:
    """A 32-bit register of a PE: a scalar, a counter, or an offset into an array.

    `owner` is the program that it was made by, in which alone it may be used.
    """

    number: int
    owner: object


@dataclass(frozen=True)
class Stream:
    """The wavelets of a color, received or sent.

    A float32 or int32 travels in a wavelet, or two float16, so that both ends need the
    same dtype; `mov` between streams and registers moves wavelets as they are.
    `length` is the number of elements; None when the instruction's arrays tell it.
    """

    color: int
    outward: bool
    length: int | None = None


def receive(color: int, length: int | None = None) -> Stream:
    """The stream of wavelets that arrive by `color`, as a source."""
    return Stream(color, outward=False, length=length)


def send(color: int, length: int | None = None) -> Stream:
    """The stream of wavelets that leave by `color`, as a destination."""
    return Stream(color, outward=True, length=length)


@dataclass(frozen=True)
class View:
    """Elements `start + k * stride` of an array, k from 0 to `length - 1`.

    Stride 0 is the same element again and again: the sum of a vector, say.
    """

    array: "Array"
    start: int
    length: int
    stride: int
    register: Register | None = None

    def shifted(self, register: Register) -> "View":
        """The same, further on in the array by as many elements as `register` says."""
        return replace(self, register=register)

    def times(self, length: int) -> "View":
        """The first element of this view, `length` times."""
        return replace(self, length=length, stride=0)


@dataclass(frozen=True)
class Array:
    """An array in the memory of every PE; `offset` counts elements of its dtype."""

    name: str
    offset: int
    length: int
    dtype: np.dtype

    def __getitem__(self, where: int | slice) -> View:
        """A view of one element, or of start:stop:step (within the array)."""
        if not isinstance(where, slice):
            where = slice(where, where + 1)
        step = where.step or 1
        start = where.start or 0
        stop = self.length if where.stop is None else where.stop
        inside = 0 <= start <= stop <= self.length and step > 0
        if not inside:
            raise FabricError(
                f"{self.name}[{start}:{stop}:{step}] reaches outside the array, whose "
                f"length is {self.length}"
            )
        return View(self, start, len(range(start, stop, step)), step)

    def every(self) -> View:
        """A view of the whole array."""
        return self[:]


class Memory:
    """The memory map, which all PEs of a layout share."""

    def __init__(self, limit_bytes: int):
        self._limit_bytes = limit_bytes
        self.used_bytes = 0
        self.arrays: list[Array] = []

    def array(self, name: str, length: int, dtype: np.dtype) -> Array:
        """Reserve `length` elements; FabricError when the memory is full."""
        isa.type_of(dtype)
        if length < 1:
            raise FabricError(f"array {name!r} of {length} elements: at least 1")
        nbytes = -(-length * dtype.itemsize // 4) * 4
        if self.used_bytes + nbytes > self._limit_bytes:
            raise FabricError(
                f"memory is full: array {name!r} of {length} {dtype} needs {nbytes} "
                f"bytes, {self._limit_bytes - self.used_bytes} of {self._limit_bytes} "
                "for arrays are free in each PE; spread the array over more PEs"
            )
        made = Array(name, self.used_bytes // dtype.itemsize, length, dtype)
        self.used_bytes += nbytes
        self.arrays.append(made)
        return made
