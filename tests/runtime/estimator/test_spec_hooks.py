"""The hooks that a model_fn puts into its specification run in their mode."""

import toy
from wafer_runtime.estimator import SessionRunHook


class Counter(SessionRunHook):
    """Counts the steps it is shown."""

    def __init__(self):
        self.count = 0

    def after_run(self, run_context, run_values):
        self.count += 1


def test_each_mode_runs_its_own_hooks(tmp_path):
    names = (
        "training_hooks",
        "training_chief_hooks",
        "evaluation_hooks",
        "prediction_hooks",
    )
    hooks = {name: Counter() for name in names}

    def model_fn(features, labels, mode, params):
        spec = toy.model_fn(features, labels, mode, params)
        return spec._replace(**{name: (hook,) for name, hook in hooks.items()})

    estimator = toy.estimator(tmp_path, {}, model_fn)
    given = Counter()
    estimator.train(toy.input_fn, steps=3)
    estimator.evaluate(toy.input_fn, steps=5)
    next(estimator.predict(toy.input_fn, hooks=[given]))
    counts = {name: hook.count for name, hook in hooks.items()}
    assert counts == dict(zip(names, (3, 3, 5, 1), strict=True))
    assert given.count == 1
