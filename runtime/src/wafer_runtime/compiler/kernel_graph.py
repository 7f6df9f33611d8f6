"""What a model is on the wafer: kernels, and the edges that samples travel along."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

HOST = "host"


@dataclasses.dataclass(frozen=True)
class Weight:
    """A variable on the wafer.

    trained: it is trainable, and in training the step's optimizer changes it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    trained: bool


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A layer's forward, backward and weight update, on one rectangle of the wafer.

    kind: its name in the kernel library. dims: its sizes for one sample, as the library
    names them. passes: of forward, input_gradient, weight_gradient, update, those it
    does. macs: multiply-accumulates for one batch, all passes. operations: other
    arithmetic results for one batch, all passes. weights: its variables, trained or
    not, moving averages of what it saw among them; states: those kept with a weight for
    its updates, such as moments, accumulated gradients, averages of the weight; shared:
    weights of other kernels that it uses. saved_bytes: of one sample, kept from the
    forward to the backward pass. optimizer: the update rule. ops: types of the
    TensorFlow operations in it. lines: of the user's code.
    """

    name: str
    kind: str
    layer: str
    dims: Mapping[str, int]
    passes: tuple[str, ...]
    macs: int
    operations: int
    weights: tuple[Weight, ...]
    states: tuple[Weight, ...]
    shared: tuple[str, ...]
    saved_bytes: int
    optimizer: str | None
    dtypes: tuple[str, ...]
    ops: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def weight_bytes(self) -> int:
        """Of its own weights, moving averages of what it saw among them."""
        return sum(weight.bytes for weight in self.weights)

    @property
    def state_bytes(self) -> int:
        """Of what the optimizer keeps for them."""
        return sum(state.bytes for state in self.states)


@dataclasses.dataclass(frozen=True)
class Edge:
    """A tensor on its way from kernel to kernel, or from or to the host.

    shape: of one sample. bytes: for one sample. gradient_bytes: what comes back from
    target to source, for one sample. per_batch: whether it travels once a batch, as
    a weight does that both kernels use, and its gradient: it has its whole shape and a
    sample's share of the bytes.
    """

    source: str
    target: str
    tensor: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    gradient_bytes: int
    per_batch: bool = False


@dataclasses.dataclass(frozen=True)
class KernelGraph:
    """A whole model: kernels in an order in which edges point forward."""

    mode: str
    batch_size: int
    kernels: tuple[Kernel, ...]
    edges: tuple[Edge, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one batch."""
        return sum(kernel.macs for kernel in self.kernels)

    @property
    def weight_bytes(self) -> int:
        """Of all weights."""
        return sum(kernel.weight_bytes for kernel in self.kernels)

    def to_json(self) -> str:
        """As text; `from_json` reads it."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> "KernelGraph":
        """What `to_json` wrote. Raises ValueError, KeyError or TypeError for others."""
        content = json.loads(text)
        content["kernels"] = tuple(_kernel(k) for k in content["kernels"])
        content["edges"] = tuple(made(Edge, edge) for edge in content["edges"])
        return cls(**content)


def _kernel(content: dict[str, Any]) -> Kernel:
    for name in ("weights", "states"):
        content[name] = [made(Weight, weight) for weight in content[name]]
    kernel: Kernel = made(Kernel, content)
    return kernel


def made(kind: Any, content: dict[str, Any]) -> Any:
    """A value from what JSON kept of it, which knows lists only."""
    return kind(
        **{k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
    )
