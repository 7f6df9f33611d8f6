"""From a model_fn's graph to what runs on the wafer, one module a stage.

trace -> partition -> extract -> match; `pipeline` runs them. Importing this package
imports nothing; `kernels` and `kernel_graph` do without TensorFlow.
"""
