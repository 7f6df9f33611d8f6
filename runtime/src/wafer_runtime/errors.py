"""Every error a user can meet.

Exception
 └── WaferError                  exit code 1: the run failed
      ├── UsageError             exit code 2: nothing was run
      │    ├── ParamsError       params.yaml or a flag is wrong
      │    ├── NotAvailableError this release does not do that yet
      │    └── KerasVersionError TensorFlow was told to use Keras 3
      ├── ContractError          a model_fn or input_fn breaks its contract
      │    ├── InputFnError
      │    ├── BadRecordError    a record of the data cannot be parsed
      │    ├── ModelFnError
      │    └── FillThisInError   a generated blank was run before it was written
      ├── MappingError           exit code 3: the model does not map to the wafer
      ├── FabricError            a program for the fabric is wrong, or failed on it
      │    └── DeadlockError     PEs wait for one another, or wavelets for nobody
      ├── CheckpointError        a checkpoint is missing, damaged or of another model
      └── TrainingError          a step failed
           ├── NonFiniteLossError
           └── DatasetEndedError

KeyboardInterrupt
 └── TrainingInterrupted         exit code 128 + signal: SIGINT 130, SIGTERM 143

UsageError, ContractError and CheckpointError are ValueErrors and TypeErrors too, as
tf.estimator raised now the one, now the other. A message says what, the value, the
limit or the allowed values, where, and what to do.
"""

import difflib
from collections.abc import Iterable
from typing import Any


class WaferError(Exception):
    """Base of all errors that a user can cause; `exit_code` is the process's."""

    exit_code = 1


class UsageError(WaferError, ValueError, TypeError):
    """Nothing was run: the command or its configuration is wrong."""

    exit_code = 2


class ParamsError(UsageError):
    """A key or value of params.yaml, or a flag, is wrong."""


class NotAvailableError(UsageError):
    """A documented feature that this release does not have."""


class KerasVersionError(UsageError):
    """`tf.keras` is Keras 3, whose layers do not work in Estimator graphs."""


class ContractError(WaferError, ValueError, TypeError):
    """The user's `model_fn` or `input_fn` breaks its contract."""


class InputFnError(ContractError):
    """`input_fn` returned something else than batches of features and labels."""


class BadRecordError(ContractError):
    """A record of the data cannot be read or parsed; the message names it."""


class ModelFnError(ContractError):
    """`model_fn` failed, or returned a specification that cannot be run."""


class FillThisInError(ContractError):
    """A generated blank was called before its owner wrote it."""


class MappingError(WaferError):
    """The model does not map to the wafer; `offenders` lists what of it cannot.

    Each has `layer`, `op`, `line`, `reason`, `instead` and `calls`.
    """

    exit_code = 3

    def __init__(self, message: str, offenders: tuple[Any, ...] = ()):
        super().__init__(message)
        self.offenders = offenders


class CheckpointError(WaferError, ValueError, TypeError):
    """A checkpoint is missing, damaged, or belongs to another model."""


class FabricError(WaferError):
    """A route, a program or a run of the simulated fabric; names PE, color, cycle."""


class DeadlockError(FabricError):
    """Nothing moves and something waits; the message lists PEs, colors and queues."""


class TrainingError(WaferError):
    """A training, evaluation or prediction step failed."""


class NonFiniteLossError(TrainingError):
    """The loss became NaN or infinite; nothing was saved after that step."""


class DatasetEndedError(TrainingError):
    """The dataset ended before the requested number of steps."""


class TrainingInterrupted(KeyboardInterrupt):
    """A signal stopped training after a checkpoint was saved.

    `signum` is the signal, `global_step` the step that the checkpoint holds.
    """

    def __init__(self, signum: int, global_step: int):
        super().__init__(f"stopped by signal {signum} at global step {global_step}")
        self.signum = signum
        self.global_step = global_step

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells report it."""
        return 128 + self.signum


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """` (did you mean "x"?)` for the closest known word, or an empty string.

    cutoff: how alike the words have to be, from 0 to 1, as difflib measures it.
    """
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return f' (did you mean "{close[0]}"?)' if close else ""
