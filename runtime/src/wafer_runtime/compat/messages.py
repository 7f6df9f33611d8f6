"""The vendor's configuration messages, of which old code fills in fields.

They tune a compiler that is not this one, so they are kept as they were set, and
nothing reads them. Their real definitions are not published: any field is taken.
"""

from typing import Any

TS_DISABLED, TS_ENABLED = "TS_DISABLED", "TS_ENABLED"
AP_DISABLED, AP_ENABLED = "AP_DISABLED", "AP_ENABLED"
T_CB16, T_F16, T_F32 = "T_CB16", "T_F16", "T_F32"


class Message:
    """A message, or a repeated field of one: fields come into being when asked for."""

    def __init__(self, **fields: Any):
        self.__dict__.update(fields)
        self._items: list[Any] = []

    def __getattr__(self, name: str) -> "Message":
        if name.startswith("_"):
            raise AttributeError(name)
        field = Message()
        setattr(self, name, field)
        return field

    def __bool__(self) -> bool:
        """Whether anything was set, as an unset field is a false one."""
        return any(map(bool, self._fields().values())) or bool(self._items)

    def __repr__(self) -> str:
        parts = [f"{name}={value!r}" for name, value in self._fields().items()]
        return f"Message({', '.join([*map(repr, self._items), *parts])})"

    def append(self, value: Any) -> None:
        """Add to a repeated field."""
        self._items.append(value)

    def extend(self, values: Any) -> None:
        """Add to a repeated field."""
        self._items.extend(values)

    def add(self, **fields: Any) -> "Message":
        """Add a message to a repeated field, and return it."""
        message = Message(**fields)
        self._items.append(message)
        return message

    def _fields(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if not k.startswith("_")}


class DebugArgs(Message):
    """The arguments of a debugging session of the vendor's cluster."""

    DebugINI = Message
