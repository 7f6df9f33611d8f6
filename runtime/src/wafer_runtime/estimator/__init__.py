"""The estimator driver: what `tf.estimator` gave, and what the Cerebras stack added."""

import tensorflow as tf

from wafer_runtime import keras_2
from wafer_runtime.estimator.checkpoints import (
    WarmStartSettings,
    all_checkpoints,
    latest_global_step,
)
from wafer_runtime.estimator.driver import CerebrasEstimator
from wafer_runtime.estimator.early_stopping import (
    make_early_stopping_hook,
    read_eval_metrics,
    stop_if_higher_hook,
    stop_if_lower_hook,
    stop_if_no_decrease_hook,
    stop_if_no_increase_hook,
)
from wafer_runtime.estimator.export import (
    ClassificationOutput,
    PredictOutput,
    RegressionOutput,
    ServingInputReceiver,
    build_parsing_serving_input_receiver_fn,
    build_raw_serving_input_receiver_fn,
)
from wafer_runtime.estimator.exporters import (
    BestExporter,
    Exporter,
    FinalExporter,
    LatestExporter,
)
from wafer_runtime.estimator.predict import save_predictions
from wafer_runtime.estimator.run_config import CSRunConfig, RunConfig
from wafer_runtime.estimator.specs import (
    CSEstimatorSpec,
    EstimatorSpec,
    EvalSpec,
    ModeKeys,
    TrainSpec,
)
from wafer_runtime.estimator.train_eval import train_and_evaluate

keras_2.choose()

CheckpointSaverHook = tf.compat.v1.train.CheckpointSaverHook
CheckpointSaverListener = tf.compat.v1.train.CheckpointSaverListener
FeedFnHook = tf.compat.v1.train.FeedFnHook
FinalOpsHook = tf.compat.v1.train.FinalOpsHook
GlobalStepWaiterHook = tf.compat.v1.train.GlobalStepWaiterHook
LoggingTensorHook = tf.compat.v1.train.LoggingTensorHook
NanTensorHook = tf.compat.v1.train.NanTensorHook
ProfilerHook = tf.compat.v1.train.ProfilerHook
SessionRunArgs = tf.compat.v1.train.SessionRunArgs
SessionRunContext = tf.compat.v1.train.SessionRunContext
SessionRunHook = tf.compat.v1.train.SessionRunHook
SessionRunValues = tf.compat.v1.train.SessionRunValues
StepCounterHook = tf.compat.v1.train.StepCounterHook
StopAtStepHook = tf.compat.v1.train.StopAtStepHook
SummarySaverHook = tf.compat.v1.train.SummarySaverHook

__all__ = [
    "BestExporter",
    "CSEstimatorSpec",
    "CSRunConfig",
    "CerebrasEstimator",
    "CheckpointSaverHook",
    "CheckpointSaverListener",
    "ClassificationOutput",
    "EstimatorSpec",
    "EvalSpec",
    "Exporter",
    "FeedFnHook",
    "FinalExporter",
    "FinalOpsHook",
    "GlobalStepWaiterHook",
    "LatestExporter",
    "LoggingTensorHook",
    "ModeKeys",
    "NanTensorHook",
    "PredictOutput",
    "ProfilerHook",
    "RegressionOutput",
    "RunConfig",
    "ServingInputReceiver",
    "SessionRunArgs",
    "SessionRunContext",
    "SessionRunHook",
    "SessionRunValues",
    "StepCounterHook",
    "StopAtStepHook",
    "SummarySaverHook",
    "TrainSpec",
    "WarmStartSettings",
    "all_checkpoints",
    "build_parsing_serving_input_receiver_fn",
    "build_raw_serving_input_receiver_fn",
    "latest_global_step",
    "make_early_stopping_hook",
    "read_eval_metrics",
    "save_predictions",
    "stop_if_higher_hook",
    "stop_if_lower_hook",
    "stop_if_no_decrease_hook",
    "stop_if_no_increase_hook",
    "train_and_evaluate",
]
