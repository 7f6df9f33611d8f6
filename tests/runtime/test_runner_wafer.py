"""What a generated run.py does for the wafer: compilations, and simulated runs."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import tensorflow as tf
import toy
import wafer_runtime.system
import yaml
from wafer_runtime import runner
from wafer_runtime.estimator import read_eval_metrics


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["eval_all"], "--mode eval_all runs on CPU and GPU only: leave out --cs_ip"),
        (["predict"], "The wafer does --mode train and eval"),
        (["train_and_eval"], "--mode train_and_eval runs on CPU and GPU only"),
        (["eval"], "give --eval_steps N"),
    ],
)
def test_modes_of_the_wafer(run, argv, message):
    code, err = run("--cs_ip", "sim", "-m", *argv)
    assert code == 2
    assert message in err


def test_a_run_on_the_wafer_trains_then_evaluates(run, params, tmp_path):
    text = params.read_text().replace("{max_steps", "{place_iterations: 1, max_steps")
    params.write_text(text)
    code, log = run("-m", "train", "--cs_ip", "sim", "--multireplica")
    assert code == 0
    assert "Training finished with 1920 samples" in log
    told = json.loads((tmp_path / "model" / "performance.json").read_text())
    assert told["total_samples"] == 1920
    code, log = run("-m", "eval", "--cs_ip", "sim:wse3", "--eval_steps", "4")
    assert code == 0
    assert "Programming the simulated WSE-3" in log
    assert list(read_eval_metrics(f"{tmp_path}/model/eval")) == [60]


def test_validate_only_maps_the_model_and_leaves_the_rest_alone(run, params, tmp_path):
    params.write_text(params.read_text().replace("max_steps: 60, ", ""))
    code, log = run("-m", "train", "--validate_only")
    assert code == 0
    [entry] = (tmp_path / "model").iterdir()
    assert re.fullmatch("cs_[0-9a-f]{64}", entry.name)
    assert f"The model maps to 6 kernels: {entry}" in log
    for number, stage in enumerate(("trace", "partition", "extract", "match"), 1):
        assert re.search(rf"Compiling: {number}/4 {stage}, \d+\.\d s", log)
    code, log = run("-m", "train", "--validate_only")
    assert code == 0
    assert f"Cached compilation found for this model configuration: {entry}" in log
    code, log = run("-m", "eval", "--validate_only", "--cs_ip", "sim")
    assert code == 0
    assert "Only compiling for --cs_ip sim: nothing runs" in log
    assert len(list((tmp_path / "model").iterdir())) == 2


def test_compile_only_places_the_model_and_writes_the_reports(run, params, tmp_path):
    params.write_text(params.read_text().replace("max_steps: 60, ", ""))
    assert run("-m", "train", "--validate_only")[0] == 0
    compile_only = ("-m", "train", "--compile_only", "--place_seconds", "0.1")
    code, log = run(*compile_only)
    assert code == 0
    # What validation found is taken from there.
    stages = re.findall(r"Compiling: (\d)/7 (\w+), \d+\.\d s", log)
    assert stages == [
        ("1", "trace"),
        ("2", "partition"),
        ("5", "size"),
        ("6", "place"),
        ("7", "route"),
    ]
    [plan] = (tmp_path / "model").glob("cs_*/plan.json")
    content = json.loads(plan.read_text())
    cycles = content["delta_t"]
    assert 0 < content["total_utilization"] < 1
    estimate = json.loads((plan.parent / "deltat_estimate.json").read_text())
    assert estimate == {"estimated_deltat": cycles}
    report = (plan.parent / "compile_report.txt").read_text().splitlines()
    heads = [line.partition(": ")[0] for line in report[:5]]
    assert heads == [
        "Samples/s",
        "Compute Samples/s",
        "Transmission Samples/s",
        "Active PEs",
        "Compute Utilization",
    ]
    rates = [float(line.split(": ")[1].replace(",", "")) for line in report[:3]]
    assert rates[0] == min(rates[1:]) == pytest.approx(850e6 / cycles, abs=0.1)
    assert re.fullmatch(r"Active PEs: \d+%", report[3])
    hidden = re.split("  +", next(line for line in report if "hidden" in line))
    assert [h.replace(",", "").isdigit() for h in hidden] == [False, *[True] * 4, False]
    ElementTree.parse(plan.parent / "wafer_map.svg")
    code, log = run(*compile_only)
    assert (
        f"Cached compilation found for this model configuration: {plan.parent}" in log
    )
    names = {path.name[:3] for path in (tmp_path / "model").iterdir()}
    assert names == {"cs_"}


def test_what_does_not_fit_on_a_system_of_ones_own_is_told(
    run, params, tmp_path, capsys
):
    package = Path(wafer_runtime.system.__file__).parent
    small = yaml.safe_load((package / "wse2.yaml").read_text())
    small |= {"name": "tiny", "program_width": 2, "program_height": 2}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(small))
    text = params.read_text().replace("{max", f"{{system: '{tmp_path}/tiny.yaml', max")
    params.write_text(text)
    code, log = run("-m", "train", "--compile_only")
    assert code == 3
    assert "out: needs 3 PEs, limit 2, 1 short" in log
    small["program_width"] = 1000
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(small))
    argv = ["-p", str(params), "-m", "train", "--compile_only"]
    assert runner.main(lambda: pytest.fail("was not checked first"), argv=argv) == 2
    told = "tiny.yaml: program_width: 1000 is more than fabric_width, 757"
    assert told in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_multireplica_places_several_copies(run, tmp_path):
    code, _ = run("-m", "train", "--compile_only", "--place_seconds", "0.1",
                  "--multireplica")  # fmt: skip
    assert code == 0
    [report] = (tmp_path / "model").glob("cs_*/compile_report.txt")
    assert re.search(r"Replicas: \d\d+, each \d+ PEs high", report.read_text())


def test_a_model_that_does_not_map_has_an_exit_code_of_its_own(run, tmp_path):
    def model_fn(features, labels, mode, params):
        return toy.model_in_section(tf.sort(features), labels, mode, params)

    code, log = run("-m", "train", "--validate_only", model_fn=model_fn)
    assert code == 3
    assert "Error: The model does not map to the wafer: 1 operation cannot" in log
    assert re.search(r"test_runner_wafer.py:\d+: TopKV2.* the wafer does not sort", log)
    assert not (tmp_path / "model").exists()
