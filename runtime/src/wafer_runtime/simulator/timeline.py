"""What the engine tells: what ran where, from cycle to cycle."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Span:
    """A stage at work on a sample, or kept from it; from cycle to cycle.

    state: busy, or starved, updating or blocked, as in `Usage`.
    """

    stage: int
    sample: int
    state: str
    begin_cycle: int
    end_cycle: int


@dataclasses.dataclass(frozen=True)
class Usage:
    """A stage, and the shares of the whole run in which it was so; together 1.

    kernel: `host` for the connection to it. starved: waiting for a sample, or done.
    updating: waiting for the weights of the last batch. blocked: waiting for room where
    its outputs go. samples_held: those that may be between its forward and backward
    pass; 0 for stages that keep none.
    """

    kernel: str
    is_backward: bool
    cycles: int
    samples_held: int
    busy: float
    starved: float
    updating: float
    blocked: float


@dataclasses.dataclass(frozen=True)
class Timeline:
    """A run of the pipeline: of one replica, the others do the same.

    batch_size: samples after which weights are updated; 0 for never. input_cycles:
    between two samples that the host gives. cycles: until the last sample is done.
    latency_cycles: until the first is. delta_t_cycles: between two samples in the
    second half of the last batch. cycles_per_sample: in the long run, with the drain
    between batches. slowest: the kernel, route or `host connection` that takes the most
    cycles for a sample. spans: of the first and the last samples; others are alike.
    """

    clock_hz: float
    replicas: int
    samples: int
    batch_size: int
    input_cycles: float
    cycles: int
    latency_cycles: int
    delta_t_cycles: float
    cycles_per_sample: float
    slowest: str
    stages: tuple[Usage, ...]
    spans: tuple[Span, ...]

    @property
    def is_input_bound(self) -> bool:
        """Whether samples come more slowly than the wafer could take them."""
        return self.input_cycles > _JUST * self.cycles_per_sample

    @property
    def samples_per_s(self) -> float:
        """Of all replicas, in the long run."""
        return self.replicas * self.clock_hz / self.cycles_per_sample

    def cycles_of(self, samples: int) -> int:
        """Of a longer run, whose further batches take as long as the last one."""
        return self.cycles + round((samples - self.samples) * self.cycles_per_sample)


HOST_CONNECTION = "host connection"
# Of an input that keeps the pipeline waiting: the last batch's time is its own.
_JUST = 0.99
