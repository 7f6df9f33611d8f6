"""TensorFlow's lists of tensors, as loops keep them, as Python's.

Where the turns of a loop stand in line, it is known what is at each place of a list:
what was put there is what is taken from there, and lists are nothing that is computed.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow.compat.v1 as tf1

from wafer_runtime.compiler.node import Value


class Row(NamedTuple):
    """A place of a list that was made of a tensor."""

    tensor: Value
    place: int


# What is at a place; None for zeros.
Item = Value | Row | None
# make(kind, inputs, result, compute) -> Value: see `node.Made`.
Make = Callable[..., Value]

LIST = "(list)"


class Lists:
    """What is at each place of a model's lists."""

    def __init__(self, numbers: dict[Value, Any]):
        """numbers: values that are known, such as the places of items."""
        self._numbers = numbers
        self._of: dict[Value, list[Item]] = {}
        self._scratch = tf.Graph()

    def results(
        self, op: tf.Operation, inputs: Sequence[Value], make: Make
    ) -> list[Value] | None:
        """What an operation on lists gives; None if it is none, or on unknown ones."""
        rule = _RULES.get(op.type)
        return rule(self, op, inputs, make) if rule else None

    def _made(self, op: Any, inputs: Any, make: Make) -> list[Value] | None:
        size: Any = 0
        if op.type == "TensorListReserve":
            size = self._numbers.get(inputs[1])
        return None if size is None else [self._list([None] * int(size), op, make)]

    def _from_tensor(self, op: Any, inputs: Any, make: Make) -> list[Value] | None:
        shape = inputs[0].tensor.shape
        if not shape.rank or shape[0] is None:
            return None
        rows = [Row(inputs[0], i) for i in range(shape[0])]
        return [self._list(rows, op, make)]

    def _zeros_like(self, op: Any, inputs: Any, make: Make) -> list[Value] | None:
        items = self._of.get(inputs[0])
        return None if items is None else [self._list([None] * len(items), op, make)]

    def _added(self, op: Any, inputs: Any, make: Make) -> list[Value] | None:
        if any(value not in self._of for value in inputs):
            return None
        places = zip(*(self._of[value] for value in inputs), strict=True)
        return [self._list([self._sum(p, make) for p in places], op, make)]

    def _sum(self, items: Sequence[Item], make: Make) -> Item:
        there = [item for item in items if item is not None]
        if len(there) < 2:
            return there[0] if there else None
        values = [self._value(item, self._like(item), make) for item in there]
        return make("(sum)", values, values[0].tensor, lambda *x: tf.add_n(x))

    def _changed(self, op: Any, inputs: Any, make: Make) -> list[Value] | None:
        """With an item more, or another one, or of another size."""
        items = self._of.get(inputs[0])
        if items is None:
            return None
        if op.type == "TensorListPushBack":
            return [self._list([*items, inputs[1]], op, make)]
        if inputs[1] not in self._numbers:
            return None
        number = int(self._numbers[inputs[1]])
        if op.type == "TensorListResize":
            return [self._list((items + [None] * number)[:number], op, make)]
        items = items + [None] * (1 + number - len(items))
        items[number] = inputs[2]
        return [self._list(items, op, make)]

    def _scattered(self, op: Any, inputs: Any, make: Make) -> list[Value] | None:
        items, numbers = self._of.get(inputs[0]), self._numbers.get(inputs[2])
        if items is None or numbers is None:
            return None
        rows = {int(n): Row(inputs[1], i) for i, n in enumerate(numbers)}
        places = enumerate(items + [None] * (1 + max(rows) - len(items)))
        return [self._list([rows.get(n, item) for n, item in places], op, make)]

    def _popped(self, op: Any, inputs: Any, make: Make) -> list[Value] | None:
        items = self._of.get(inputs[0])
        if not items:
            return None
        last = self._value(items[-1], op.outputs[1], make)
        return [self._list(items[:-1], op, make), last]

    def _got(self, op: Any, inputs: Any, make: Make) -> list[Value] | None:
        items, number = self._of.get(inputs[0]), self._numbers.get(inputs[1])
        if items is None or number is None:
            return None
        if op.type == "TensorListGather":
            return [self._stacked([items[n] for n in number], op, make)]
        # Beyond the end reads only a side of a branch that is not taken.
        item = items[number] if 0 <= number < len(items) else None
        return [self._value(item, op.outputs[0], make)]

    def _all(self, op: Any, inputs: Any, make: Make) -> list[Value] | None:
        items = self._of.get(inputs[0])
        return [self._stacked(items, op, make)] if items else None

    def _length(self, op: Any, inputs: Any, make: Make) -> list[Value] | None:
        items = self._of.get(inputs[0])
        if items is None:
            return None
        length = len(items)
        value = make("(length)", [], op.outputs[0], lambda: tf.constant(length))
        self._numbers[value] = length
        return [value]

    def _list(self, items: Sequence[Item], op: Any, make: Make) -> Value:
        parts = [i.tensor if isinstance(i, Row) else i for i in items if i is not None]
        value = make(LIST, parts, op.outputs[0], None)
        self._of[value] = list(items)
        return value

    def _stacked(self, items: Sequence[Item], op: Any, make: Make) -> Value:
        first = next((self._like(item) for item in items if item is not None), None)
        row = self._spec(op.outputs[0].dtype, op.outputs[0].shape[1:])
        rows = [self._value(i, row if first is None else first, make) for i in items]
        shape = [len(rows), *rows[0].tensor.shape]
        result = self._spec(rows[0].tensor.dtype, shape)
        return make("(stack)", rows, result, lambda *x: tf.stack(x))

    def _value(self, item: Item, like: tf.Tensor, make: Make) -> Value:
        if isinstance(item, Row):
            place = item.place
            return make("(row)", [item.tensor], self._like(item), lambda x: x[place])
        if item is None:
            zeros = tf.zeros
            return make("(zeros)", [], like, lambda: zeros(like.shape, like.dtype))
        return item

    def _like(self, item: Value | Row) -> tf.Tensor:
        if isinstance(item, Row):
            return self._spec(item.tensor.tensor.dtype, item.tensor.tensor.shape[1:])
        return item.tensor

    def _spec(self, dtype: tf.DType, shape: Any) -> tf.Tensor:
        with self._scratch.as_default():
            return tf1.placeholder(dtype, shape)


_RULES: dict[str, Callable[..., list[Value] | None]] = {
    "AddN": Lists._added,
    "EmptyTensorList": Lists._made,
    "TensorListFromTensor": Lists._from_tensor,
    "TensorListGather": Lists._got,
    "TensorListGetItem": Lists._got,
    "TensorListLength": Lists._length,
    "TensorListPopBack": Lists._popped,
    "TensorListPushBack": Lists._changed,
    "TensorListReserve": Lists._made,
    "TensorListResize": Lists._changed,
    "TensorListScatterIntoExistingList": Lists._scattered,
    "TensorListSetItem": Lists._changed,
    "TensorListStack": Lists._all,
    "ZerosLike": Lists._zeros_like,
}
