"""Estimator driver and wafer simulation engine for `model_fn` code.

Importing this package is cheap: TensorFlow is imported when `wafer_runtime.estimator`
is. Models use Keras *layers* inside TensorFlow graphs, which only `tf_keras` (Keras 2)
supports, so the choice is made here, before TensorFlow reads it.
"""

import os

__version__ = "0.1.0"

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
# TensorFlow's C++ side logs what it raises in Python anyway, missing GPU drivers, and
# every end of a dataset; set the variable to 0 to see it all.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
