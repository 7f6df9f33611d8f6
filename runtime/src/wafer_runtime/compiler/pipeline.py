"""The stages from a traced model to its kernels, one after the other."""

import contextlib
import hashlib
import logging
import time
from collections.abc import Iterator, Sequence

from tqdm import tqdm

from wafer_runtime.compiler import offenders
from wafer_runtime.compiler.attribute import line_of
from wafer_runtime.compiler.extract import Extracted, UnsupportedError, extract
from wafer_runtime.compiler.kernel_graph import KernelGraph
from wafer_runtime.compiler.match import match
from wafer_runtime.compiler.node import closure
from wafer_runtime.compiler.offenders import Offender
from wafer_runtime.compiler.partition import Partition
from wafer_runtime.compiler.rewrites import emitted
from wafer_runtime.compiler.step import Step
from wafer_runtime.compiler.trace import Traced
from wafer_runtime.errors import MappingError

log = logging.getLogger("wafer_runtime")


class Stages:
    """Shows how far a compilation is: a bar on a terminal, else a line a stage."""

    def __init__(self, names: Sequence[str]):
        self._names = names
        self._bar = tqdm(total=len(names), unit="stage", leave=False, disable=None)
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self._bar.set_description(f"Compiling: {name}")
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began
        self._bar.update()
        if self._bar.disable:
            number = f"{1 + self._names.index(name)}/{self._bar.total}"
            log.info("Compiling: %s %s, %.1f s", number, name, self.seconds[name])

    def close(self) -> None:
        """Take the bar away; what is left is how long it took, if it came to an end."""
        self._bar.close()
        if self._names[-1] not in self.seconds:
            return
        took = ", ".join(f"{name} {s:.1f} s" for name, s in self.seconds.items())
        log.info("Compiled in %.1f s (%s)", sum(self.seconds.values()), took)


class Candidate:
    """The wafer's share of a model on its way to the kernels.

    found: the offenders so far, first those that show in the graph.
    """

    def __init__(self, part: Partition, keras_metrics: Sequence[str]):
        self.part = part
        self._stubs = offenders.in_graph(part)
        self._metrics = [offenders.keras_metric(line) for line in keras_metrics]
        self._emitter = emitted(part, self._stubs)

    def content_hash(self, *more: str) -> str:
        """64 hex digits that are the same for the same model."""
        digest = hashlib.sha256(
            self._emitter.graph_def.SerializeToString(deterministic=True)
        )
        ref = self._emitter.ref
        described = [
            *(f"{name} {spec}" for name, spec in self._emitter.arguments.items()),
            *(f"{name} {ref(value)}" for name, value in self.part.outputs.items()),
            *(f"{name} {new}" for name, new in self._emitter.written.items()),
            *(f"{name} {trained}" for name, trained in self.part.variables.items()),
            *(f"{op.name} {reason}" for op, reason in self.part.host.items()),
            # Kernels name the user's lines.
            *map(line_of, self.part.wafer),
            *more,
        ]
        digest.update("\n".join(described).encode())
        return digest.hexdigest()

    def extract(self) -> Extracted:
        """The HLO; what XLA refuses becomes an offender, and the rest is looked at.

        Raises MappingError when nothing can be said about the rest.
        """
        while True:
            try:
                return extract(self.part, self._emitter)
            except UnsupportedError as error:
                refused = offenders.refused(error, self.part)
                if refused.keys() <= self._stubs.keys():
                    self._fail([], f"The rest was not looked at: XLA says {error}")
                    raise MappingError(
                        f"The model does not map to the wafer: XLA says {error}"
                    ) from error
                for node, offender in refused.items():
                    # It may be an offender before it that XLA refuses it for.
                    follows = offenders.in_xla(node) and (
                        not self._stubs.keys().isdisjoint(closure([node]))
                    )
                    self._stubs.setdefault(node, None if follows else offender)
                self._emitter = emitted(self.part, self._stubs)

    def match(self, extracted: Extracted, traced: Traced) -> KernelGraph:
        """The kernels. Raises MappingError with all offenders, if there are any."""
        step = Step(self.part, extracted)
        self._fail(offenders.in_hlo(step))
        return match(step, traced.mode, traced.batch_size)

    def _fail(self, more: Sequence[Offender], note: str = "") -> None:
        found = offenders.distinct(
            filter(None, [*self._metrics, *self._stubs.values(), *more])
        )
        if found:
            raise MappingError(offenders.report(found, note), found)
