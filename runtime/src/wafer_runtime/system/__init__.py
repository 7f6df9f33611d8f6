"""The machines, as data: wse1.yaml, wse2.yaml, wse3.yaml, or a file of the user's."""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from wafer_runtime.errors import NotAvailableError, ParamsError, did_you_mean
from wafer_runtime.schema import SYSTEMS, Float
from wafer_runtime.yaml_files import read_yaml, what_is_wrong

_FOLDER = Path(__file__).parent
_SIMULATED = "sim"


def _some(queues: tuple[int, ...]) -> tuple[int, ...]:
    if not queues:
        raise ValueError("wanted at least one queue")
    return queues


# min_length would count only those that are right, and tell of the others twice.
_Queues = Annotated[tuple[PositiveInt, ...], Field(strict=False), AfterValidator(_some)]

# Ten times those of a wafer. The bounds keep a figure in another unit, such as GHz,
# from being taken for one in ours, and a compilation from taking hours.
_Extent = Annotated[int, Field(ge=1, le=10_000)]


class System(BaseModel):
    """A machine. Extents are in PEs, along x (width) and y (height).

    program_width, program_height: the rectangle that kernels may use; the rest of the
    fabric moves data to and from the host. sram_bytes: of a PE. program_bytes: of
    these, what its program takes, so that data cannot. simd_lanes: 16-bit
    multiply-accumulates of a PE in a cycle, at most. memory_port_bytes: of each of the
    two reads and the write that a PE's memory does in a cycle. ramp_latency_cycles:
    between a PE and its router. colors: routes that a router can tell apart.
    input_queue_words, output_queue_words: the depth of each queue of a PE, in
    32-bit words. link_bytes_per_cycle: between neighbouring routers, in each direction.
    host_bytes_per_s: between the host and the fabric. sources: for a key, where its
    figure comes from.
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False
    )

    name: str = Field(min_length=1)
    fabric_width: _Extent
    fabric_height: _Extent
    program_width: PositiveInt
    program_height: PositiveInt
    sram_bytes: PositiveInt
    program_bytes: NonNegativeInt = 0
    clock_hz: Float = Field(ge=1e6)
    simd_lanes: PositiveInt
    memory_port_bytes: PositiveInt
    ramp_latency_cycles: int = Field(ge=1, le=1000)
    colors: PositiveInt
    input_queue_words: _Queues
    output_queue_words: _Queues
    link_bytes_per_cycle: PositiveInt
    host_bytes_per_s: Float = Field(ge=1e6)
    sources: dict[str, str] = {}

    @model_validator(mode="after")
    def _consistent(self) -> "System":
        for axis in ("width", "height"):
            program, fabric = (
                getattr(self, f"{part}_{axis}") for part in ("program", "fabric")
            )
            if program > fabric:
                raise ValueError(
                    f"program_{axis}: {program} is more than fabric_{axis}, {fabric}"
                )
        if self.program_bytes >= self.sram_bytes:
            raise ValueError(
                f"program_bytes: {self.program_bytes} leave nothing of sram_bytes, "
                f"{self.sram_bytes}, for data"
            )
        for key in self.sources:
            if key not in type(self).model_fields:
                hint = did_you_mean(key, type(self).model_fields)
                raise ValueError(f"sources.{key}: there is no such key{hint}")
        return self

    @property
    def data_bytes(self) -> int:
        """Of a PE's memory, what is there for a kernel's data."""
        return self.sram_bytes - self.program_bytes


def simulated_system(cs_ip: str | None) -> str | None:
    """The name or file that `sim:NAME` asks for; None for `sim`, which may have a port
    that scripts added, and for real addresses.
    """
    kind, _, name = (cs_ip or "").partition(":")
    is_name = kind == _SIMULATED and name and not name.isdigit()
    return name if is_name else None


def check_simulated(cs_ip: str) -> None:
    """Raise NotAvailableError for the address of a real system."""
    if cs_ip.partition(":")[0] != _SIMULATED:
        raise NotAvailableError(
            f"--cs_ip {cs_ip}: a real CS system is reached only by its vendor's "
            f"software, which is not part of this. Give {_SIMULATED}, "
            f"{_SIMULATED}:{SYSTEMS[0]} (or another system) or {_SIMULATED}:FILE.yaml "
            "for a simulated one, or leave it out to run on CPU or GPU"
        )


def load_system(name: str | os.PathLike[str]) -> System:
    """The system of this name, `wse1`, `wse2` or `wse3`, or of this YAML file.

    Raises ParamsError, with the file and the key.
    """
    path = _FOLDER / f"{name}.yaml" if name in SYSTEMS else Path(name)
    if name not in SYSTEMS and path.suffix not in (".yaml", ".yml"):
        hint = did_you_mean(str(name), SYSTEMS)
        raise ParamsError(
            f"{name}: not one of {', '.join(SYSTEMS)}{hint}, and no .yaml file"
        )
    content = read_yaml(
        path,
        wanted='keys such as "fabric_width:"',
        instead=f"Name another file, or one of {', '.join(SYSTEMS)}.",
    )
    try:
        return System.model_validate(content)
    except ValidationError as error:
        lines = [f"{path}: {_explain(item)}" for item in error.errors()]
        raise ParamsError("\n".join(lines)) from None


def _explain(item: Any) -> str:
    key = ".".join(map(str, item["loc"]))
    if item["type"] == "extra_forbidden":
        known = System.model_fields
        hint = did_you_mean(key, known) or f"; known keys: {', '.join(known)}"
        return f"{key}: there is no such key{hint}"
    return f"{key}: {what_is_wrong(item)}" if key else what_is_wrong(item)
