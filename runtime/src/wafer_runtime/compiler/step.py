"""A step's instructions with what is known about each of them."""

from collections.abc import Iterator

from wafer_runtime.compiler.attribute import FORWARD, UPDATE, Attribution, Origin
from wafer_runtime.compiler.extract import Extracted
from wafer_runtime.compiler.hlo import Instruction, entry
from wafer_runtime.compiler.partition import Partition
from wafer_runtime.compiler.variables import variable_of


class Step:
    """The instructions that run on the wafer, in order, without constants.

    origins: where each comes from, or None.
    """

    def __init__(self, part: Partition, extracted: Extracted):
        self.part = part
        self.extracted = extracted
        self.attribution = Attribution(part)
        names = enumerate(extracted.arguments)
        samples = {n for n, name in names if name.startswith("input:")}
        everything = entry(extracted.module, samples)
        # XLA gives a single result by itself, taken out of the tuple again.
        everything = [
            i
            for i in everything
            if i.opcode != "get-tuple-element" or i.op_name != "XLA_Retvals"
        ]
        self.root = next(i for i in reversed(everything) if i.opcode == "tuple")
        self.parameters = [i for i in everything if i.opcode == "parameter"]
        self.instructions = [
            i
            for i in everything
            if not i.is_constant and i.opcode != "parameter" and i is not self.root
        ]
        self.origins = {i: self._origin(i) for i in self.instructions}

    def argument(self, parameter: Instruction) -> str:
        """The name of the argument that a parameter stands for."""
        return self.extracted.arguments[parameter.proto.parameter_number]

    def role(self, instruction: Instruction) -> str:
        """FORWARD, BACKWARD or UPDATE."""
        origin = self.origins.get(instruction)
        return origin.role if origin else UPDATE

    def forward(self) -> Iterator[tuple[Instruction, Origin]]:
        """The instructions of the forward pass, each with its origin."""
        for instruction, origin in self.origins.items():
            if origin and origin.role == FORWARD:
                yield instruction, origin

    def weights(self) -> dict[str, None]:
        """The names of the variables that the forward pass reads."""
        return {
            op.name: None
            for node in self.part.wafer
            if self.attribution.is_forward(node)
            for value in node.inputs
            if (op := variable_of(value)) is not None
        }

    def results(self) -> Iterator[tuple[str, Instruction]]:
        """What the step gives back: names and the instructions they come from."""
        yield from zip(self.extracted.results, self.root.operands, strict=True)

    def _origin(self, instruction: Instruction) -> Origin | None:
        origin = self.attribution.origin(instruction)
        operands = [o for o in instruction.operands if not o.is_constant]
        if origin is None and operands and operands[0].opcode != "parameter":
            # XLA's own reshapes go with what they reshape.
            return self.attribution.origin(operands[0])
        return origin
