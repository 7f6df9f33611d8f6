"""What the steps of a run are done on, as far as the loops over them care."""

import logging

from wafer_runtime.estimator.specs import EstimatorSpec

log = logging.getLogger("wafer_runtime")


class Machine:
    """The CPU or GPU that computes the steps."""

    def check(self, spec: EstimatorSpec) -> None:
        """Refuse a specification that cannot run here: there is none."""

    def trained(
        self, steps: int, batch_size: int | None, seconds: float, steps_per_s: float
    ) -> None:
        """Tell of a training that has ended. seconds: that it took to compute."""
        if batch_size is None:
            log.info("Training finished with %d steps in %.2f seconds", steps, seconds)
            return
        log.info(
            "Training finished with %d samples in %.2f seconds, %.2f samples / second",
            steps * batch_size,
            seconds,
            steps_per_s * batch_size,
        )

    def data_ended(self, steps: int, asked: int) -> None:
        """Tell that they have, after fewer steps than were asked for."""
        log.warning(
            "The training data ended after %d of %d steps: to go on, .repeat() them.",
            steps,
            asked,
        )

    def evaluated(self, steps: int) -> None:
        """Take note of an evaluation that has ended."""
