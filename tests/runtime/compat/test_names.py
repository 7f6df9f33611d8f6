"""Which names old code finds, and what it is told about others."""

import json


def test_every_name_leads_somewhere_in_all_the_ways_it_is_asked_for(wafer_exec):
    done = wafer_exec(
        """
        import inspect
        import numpy as np
        import tensorflow as tf
        import tensorflow.compat.v1 as tf1
        from tensorflow import estimator
        from tensorflow.estimator import *
        from tensorflow.estimator.export import ServingInputReceiver
        from tensorflow_estimator.python.estimator import estimator as estimator_lib
        from tensorflow_estimator.python.estimator.inputs import numpy_io
        from tensorflow_estimator.python.estimator.run_config import RunConfig, TaskType
        import cerebras.pb.common.cerebras_type_pb2 as cb_types
        from collections import Mapping

        assert estimator is tf.estimator
        assert estimator_lib.Estimator is Estimator is tf1.estimator.Estimator
        assert tf.compat.v2.estimator.RunConfig is RunConfig
        assert numpy_io.numpy_input_fn is tf.estimator.inputs.numpy_input_fn
        assert tf.estimator.export.ServingInputReceiver is ServingInputReceiver
        assert tf.estimator.experimental.stop_if_no_decrease_hook
        assert tf.estimator.CheckpointSaverHook is tf1.train.CheckpointSaverHook
        assert isinstance({}, Mapping) and TaskType.CHIEF == "chief" and cb_types.T_F16
        assert np.float_ is np.float64 and np.product([2, 3]) == 6
        assert np.asfarray([1]).dtype == np.asfarray([1], int).dtype == np.float64
        assert np.cast["int32"](2.7) == 2 and np.NINF == -np.Infinity < np.PINF
        assert np.in1d([[1, 2]], [2]).tolist() == [False, True]
        assert np.msort([[3, 1], [2, 4]]).tolist() == [[2, 1], [3, 4]]
        args = inspect.getargspec(tf.estimator.EstimatorSpec).args
        assert args[:3] == ["cls", "mode", "predictions"]

        import importlib, pkgutil
        from wafer_runtime.compat import table

        names = 0
        for row in table.MODULES:
            module = importlib.import_module(row.module)
            for name, path in row.leads_to().items():
                assert getattr(module, name) is pkgutil.resolve_name(path), name
                assert name in module.__all__ and row.gone_since
                names += 1
        for row in table.ATTRIBUTES:
            module = pkgutil.resolve_name(row.module)
            for name in row.leads_to():
                assert hasattr(module, name), (row.module, name)
        print(names)
        """
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 200


def test_what_is_not_provided_says_what_is(wafer_exec):
    done = wafer_exec(
        """
        import json
        import tensorflow as tf

        def told(statement):
            try:
                exec(statement)
            except (ImportError, AttributeError) as error:
                return type(error).__name__, str(error)

        print(json.dumps([told(statement) for statement in (
            "import cerebras.tf.ws.cs_estimator_ws",
            "from cerebras.tf.tf_helper import GetWeight",
            "from tensorflow_estimator.python.estimator.canned import dnn",
            "from tensorflow.estimator import DNNClassifier",
            "tf.estimator.EstimatorSpek",
            "import tfwse",
            "tf.kontrib",
            "tf.contrib",
            "from tensorflow import contrib",
            "from tensorflow.examples.tutorials.mnist import input_data",
            "tf.compat.v1.contrib",
            "tf.logging",
            "from tensorflow import placeholder",
            "tf.train.AdamOptimizer",
            "tf.losses.sparse_softmax_cross_entropy",
            "tf.metrics.accuracy",
            "tf.metrics.acuracy",
        )]))
        assert not hasattr(tf.estimator, "DNNClassifier")
        """
    )
    assert done.returncode == 0, done.stderr
    ws, weight, canned, dnn, spek, tfwse, kontrib, *of_1 = json.loads(done.stdout)
    assert ws[0] == weight[0] == canned[0] == dnn[0] == "ImportError"
    assert "cerebras.tf.ws is not provided by wafer_runtime.compat" in ws[1]
    assert "of cerebras.tf there are cs_estimator, cs_estimator_spec," in ws[1]
    assert '(did you mean "GetWeights"?)' in weight[1]
    assert "early_stopping, estimator," in canned[1]
    assert "of tensorflow.estimator there are BestExporter," in dnn[1]
    assert spek[0] == "AttributeError"
    assert '(did you mean "EstimatorSpec"?)' in spek[1]
    # Names that are nobody's fail as they would without.
    assert tfwse == ["ModuleNotFoundError", "No module named 'tfwse'"]
    assert kontrib == [
        "AttributeError",
        "module 'tensorflow' has no attribute 'kontrib'",
    ]
    *left_out, logging, placeholder, adam, loss, accuracy, acuracy = of_1
    for kind, told in left_out:
        assert kind in ("AttributeError", "ImportError")
        assert "left with TensorFlow 2.0: " in told
    for kind, told in (logging, placeholder, adam, loss, accuracy):
        assert kind in ("AttributeError", "ImportError")
        assert 'write "import tensorflow.compat.v1 as tf" in the script' in told
    assert adam[1].startswith("tensorflow.train.AdamOptimizer is of TensorFlow 1")
    assert acuracy[1].endswith("has no attribute 'acuracy'")


def test_the_users_own_modules_come_first(wafer_exec, tmp_path):
    folder = tmp_path / "common/tf/estimator"
    folder.mkdir(parents=True)
    (folder / "cs_estimator.py").write_text("CerebrasEstimator = 'mine'\n")
    (folder / "__init__.py").write_text("")
    done = wafer_exec(
        """
        from common.tf.estimator.cs_estimator import CerebrasEstimator
        from common.tf.estimator.cs_estimator_spec import CSEstimatorSpec
        from common.tf.estimator.run_config import CSRunConfig
        import wafer_runtime.estimator

        assert CerebrasEstimator == "mine"
        assert CSEstimatorSpec is wafer_runtime.estimator.CSEstimatorSpec
        """
    )
    assert done.returncode == 0, done.stderr
