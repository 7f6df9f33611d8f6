"""Which evaluations LatestExporter and BestExporter write models after."""

import pytest
import toy
from wafer_runtime.errors import UsageError
from wafer_runtime.estimator import BestExporter, LatestExporter


class Exports:
    """Stands for an estimator: notes exports, in folders named as the real ones."""

    def __init__(self, model_dir):
        self.model_dir = str(model_dir)
        self.count = 0

    def export_saved_model(self, folder, serving_input_receiver_fn, **_):
        self.count += 1
        path = folder / f"{1_600_000_000 + self.count}"
        path.mkdir(parents=True)
        return str(path)


def exported(exporter, estimator, folder, losses):
    results = [
        exporter.export(estimator, folder, "checkpoint", {"loss": loss}, False)
        for loss in losses
    ]
    return [result is not None for result in results]


def test_the_latest_keeps_the_newest(tmp_path):
    exporter = LatestExporter("latest", None, exports_to_keep=2)
    assert exporter.name == "latest"
    folder = tmp_path / "export"
    assert exported(exporter, Exports(tmp_path), folder, [3, 2, 1]) == [True] * 3
    assert sorted(p.name for p in folder.iterdir()) == ["1600000002", "1600000003"]


def test_the_best_is_written_once_it_is_better(tmp_path):
    exporter = BestExporter(serving_input_receiver_fn=None)
    losses = [3.0, 4.0, 2.0, 2.0, 1.0]
    found = exported(exporter, Exports(tmp_path), tmp_path / "export", losses)
    assert found == [True, False, True, False, True]


def test_the_best_looks_at_evaluations_of_earlier_runs(tmp_path):
    estimator = toy.estimator(tmp_path)
    estimator.train(toy.input_fn, steps=5)
    loss = estimator.evaluate(toy.input_fn, steps=2)["loss"]
    exporter = BestExporter(serving_input_receiver_fn=None)
    losses = [loss + 2, loss + 1, loss - 0.1]
    found = exported(exporter, Exports(tmp_path), tmp_path / "export", losses)
    # The first is written anyway, and is what is best then.
    assert found == [True, True, True]
    forgetful = BestExporter(serving_input_receiver_fn=None, event_file_pattern=None)
    assert exported(forgetful, Exports(tmp_path), tmp_path / "b", [2.0, 3.0]) == [
        True,
        False,
    ]


def test_another_comparison(tmp_path):
    def higher(best_eval_result, current_eval_result):
        return current_eval_result["loss"] > best_eval_result["loss"]

    exporter = BestExporter(serving_input_receiver_fn=None, compare_fn=higher)
    found = exported(exporter, Exports(tmp_path), tmp_path / "e", [1.0, 2.0, 1.5])
    assert found == [True, True, False]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LatestExporter("x", None, exports_to_keep=0), "positive number"),
        (lambda: BestExporter(compare_fn=None), "compare_fn is None"),
        (lambda: BestExporter(compare_fn=lambda a, b: True), "takes best_eval_result"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_an_evaluation_without_a_loss_cannot_be_compared(tmp_path):
    exporter = BestExporter(serving_input_receiver_fn=None, event_file_pattern=None)
    exported(exporter, Exports(tmp_path), tmp_path / "e", [1.0])
    with pytest.raises(UsageError, match="no loss is found"):
        exporter.export(Exports(tmp_path), tmp_path, "checkpoint", {}, False)
