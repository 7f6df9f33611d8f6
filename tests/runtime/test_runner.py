"""What a generated run.py does with its flags: results, messages, exit codes."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import toy
import yaml
from wafer_runtime import runner
from wafer_runtime.estimator import all_checkpoints, read_eval_metrics


def test_train_then_eval_then_predict(run, tmp_path):
    assert run("-m", "train")[0] == 0
    code, log = run("--mode", "eval", "--eval_steps", "4")
    assert code == 0
    assert "accuracy = " in log
    assert list(read_eval_metrics(f"{tmp_path}/model/eval")) == [60]
    code, log = run("--mode", "predict")
    assert code == 0
    assert "Saved the predictions of 512 samples" in log
    outputs = np.load(tmp_path / "model" / "predict" / "outputs.npz")["arr_0"]
    assert outputs["class"].shape == (512,)


def test_runconfig_and_device_reach_the_driver(run, params, tmp_path):
    devices = []

    def model_fn(features, labels, mode, params):
        spec = toy.model_in_section(features, labels, mode, params)
        devices.append(spec.loss.op.device)
        return spec

    text = params.read_text().replace(
        "{max_steps", "{keep_checkpoint_max: 2, max_steps"
    )
    params.write_text(text)
    assert run("-m", "train", "--device", "/cpu:0", model_fn=model_fn)[0] == 0
    assert devices == ["/cpu:0"]
    kept = [p.rpartition("-")[2] for p in all_checkpoints(str(tmp_path / "model"))]
    assert kept == ["40", "60"]


@pytest.mark.parametrize(
    ("train_input", "skipped"),
    [
        ("{}", 60),
        ("{shuffle: true, shuffle_seed: 1}", 60),
        ("{shuffle: true}", 0),
    ],
)
def test_data_in_a_fixed_order_go_on_where_they_stopped(
    run, params, train_input, skipped
):
    seen = []

    def input_fn(params, mode):
        seen.append(params["train_input"]["skip_batches"])
        return toy.input_fn(mode)

    params.write_text(params.read_text() + f"train_input: {train_input}\n")
    run("-m", "train", input_fn=input_fn)
    run("-m", "train", "--max_steps", "70", input_fn=input_fn)
    assert seen == [0, skipped]


def test_eval_all_evaluates_every_checkpoint(run, tmp_path):
    run("-m", "train")
    assert run("-m", "eval_all")[0] == 0
    assert list(read_eval_metrics(f"{tmp_path}/model/eval")) == [0, 20, 40, 60]


def test_train_and_eval_alternates(run, tmp_path):
    assert run("-m", "train_and_eval", "--max_steps", "40")[0] == 0
    assert list(read_eval_metrics(f"{tmp_path}/model/eval")) == [20, 40]


def test_flags_win_and_what_was_used_is_saved(run, tmp_path):
    assert run("-m", "train", "--steps", "7", "-o", str(tmp_path / "other"))[0] == 0
    used = yaml.safe_load((tmp_path / "other" / "params_train.yaml").read_text())
    assert used["runconfig"]["steps"] == 7
    assert used["runconfig"]["max_steps"] is None
    assert used["model"] == {"width": 8}
    assert all_checkpoints(str(tmp_path / "other"))[-1].endswith("-7")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--cs_ip", "10.0.0.1"], "--cs_ip 10.0.0.1: a real CS system is reached only"),
        (["--cs_ip", "cs2:9000"], "--cs_ip cs2:9000: a real CS system"),
        (["--cs_ip", "sim:wse9"], 'not one of wse1, wse2, wse3 (did you mean "wse'),
        (["--cs_ip", "sim:none.yaml"], "none.yaml: cannot be read"),
        (["--multireplica"], "--multireplica is for the wafer: give --compile_only"),
        (["--place_seconds", "1"], "--place_seconds is for placing: give --compile"),
        (
            ["--cs_ip", "sim", "--validate_only", "--place_seconds", "1"],
            "and not --validate_only",
        ),
        (["--device", "nonsense"], "--device nonsense: not a device of TensorFlow"),
        (["--params", "none.yaml"], "none.yaml: cannot be read: No such file"),
    ],
)
def test_what_cannot_be_run_says_so_in_one_line_and_exits_2(
    run, tmp_path, argv, message
):
    code, err = run("-m", "train", *argv)
    assert code == 2
    assert err.startswith("Error: ")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--mode", "trian"], "invalid choice: 'trian'"),
        (["--max_step", "3"], '--max_step 3 (did you mean "--max_steps"?)'),
        (["--steps", "0"], "argument --steps: 0 is below 1"),
        (
            ["--validate_only", "--compile_only"],
            "argument --compile_only: not allowed with argument --validate_only",
        ),
        (["--steps", "many"], "argument --steps: invalid whole number value: 'many'"),
    ],
)
def test_wrong_flags_exit_2(run, capsys, argv, message):
    with pytest.raises(SystemExit) as caught:
        run(*argv)
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("Error: ")


def test_a_mode_and_an_end_are_needed(params, run):
    assert "no mode: give --mode" in run()[1]
    params.write_text("model: {width: 8}\n")
    code, err = run("-m", "train")
    assert code == 2
    assert "give --max_steps N (in all) or --steps N (more)" in err


@pytest.mark.parametrize("mode", ["eval", "eval_all", "predict"])
def test_without_a_checkpoint_there_is_nothing_to_evaluate(run, mode, tmp_path):
    code, err = run("-m", mode)
    assert code == 1
    assert "holds no checkpoint to load. Run --mode train first" in err
    assert "Traceback" not in err
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("mode", "flag", "modes"),
    [
        ("eval", "--steps", "train"),
        ("predict", "--max_steps", "train or train_and_eval"),
        ("predict", "--eval_steps", "eval or eval_all or train_and_eval"),
        ("train", "--eval_steps", "eval or eval_all or train_and_eval"),
        ("train_and_eval", "--steps", "train"),
    ],
)
def test_a_flag_that_the_mode_does_not_read_is_refused(run, params, mode, flag, modes):
    code, err = run("-m", mode, flag, "3")
    told = f"Error: {flag} is for --mode {modes}, not for --mode {mode}\n"
    assert (code, err) == (2, told)


def test_a_mistake_in_model_fn_is_shown_with_its_lines(run):
    def model_fn(features, labels, mode, params):
        return params["model"]["depth"]

    code, err = run("-m", "train", model_fn=model_fn)
    assert code == 1
    assert err.startswith("Error: KeyError: 'depth'\n")
    assert "test_runner.py:" in err
    assert 'return params["model"]["depth"]' in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("mistake", "advice"),
    [
        (lambda x: x.numpy(), "return them in predictions or host_call to see them"),
        (lambda x: 1 if x[0, 0] > 0 else 2, "choose with tf.where or tf.cond"),
        (lambda x: x - tf.ones([8], tf.float64), "or cast here: tf.cast(x, tf.float32"),
    ],
)
def test_what_graphs_do_not_take_comes_with_advice(run, mistake, advice):
    def model_fn(features, labels, mode, params):
        return mistake(features)

    code, err = run("-m", "train", model_fn=model_fn)
    assert code == 1
    assert advice in err.splitlines()[-1]


@pytest.mark.parametrize("batch", [0, 50], ids=["first step", "in the loop"])
def test_a_failing_operation_is_shown_with_the_line_that_made_it(run, batch):
    def bad_labels(mode):
        labels = toy.Y.copy()
        labels[0] = 8
        data = tf.data.Dataset.from_tensor_slices((toy.X, labels)).batch(32)
        return tf.data.Dataset.concatenate(toy.input_fn(mode).take(batch), data)

    code, err = run("-m", "train", input_fn=bad_labels)
    assert code == 1
    assert "Error: InvalidArgumentError: operation 'SparseSoftmax" in err
    assert "Received a label value of 8 which is outside the valid range" in err
    assert re.search(r"\n  \S*toy.py:\d+, in model_fn: ", err)
    assert "Traceback" not in err
    assert "[[" not in err


@pytest.mark.parametrize("batch", [0, 50], ids=["first step", "in the loop"])
def test_a_failing_generator_is_shown_with_its_line(run, batch):
    def generated(mode):
        def batches():
            for number in range(60):
                if number == batch:
                    raise ValueError("row 7 has no label")
                yield toy.X[:32], toy.Y[:32]

        signature = tf.TensorSpec((32, 8)), tf.TensorSpec((32,), tf.int32)
        return tf.data.Dataset.from_generator(batches, output_signature=signature)

    code, err = run("-m", "train", input_fn=generated)
    assert code == 1
    assert "Error: InvalidArgumentError: ValueError: row 7 has no label\n" in err
    assert 'in batches: raise ValueError("row 7 has no label")' in err
    assert "Traceback" not in err


def test_a_model_dir_that_is_a_file_is_told_without_a_traceback(run, tmp_path):
    (tmp_path / "model").write_text("")
    code, err = run("-m", "train")
    assert code == 2
    assert err.startswith(f"Error: model_dir {tmp_path}/model: cannot be made: ")
    assert "--model_dir" in err


def test_a_device_that_is_not_there_is_refused(run):
    code, err = run("-m", "train", "--device", "/gpu:7")
    assert code == 2
    assert err.startswith("Error: --device /gpu:7: TensorFlow finds ")


def test_steps_and_max_steps_exclude_each_other_as_flags(run, capsys):
    with pytest.raises(SystemExit) as stopped:
        run("-m", "train", "--steps", "1", "--max_steps", "2")
    assert stopped.value.code == 2
    assert "not allowed with argument --steps" in capsys.readouterr().err


def test_a_bug_of_ours_keeps_its_traceback(params):
    with pytest.raises(TypeError):
        runner.main(lambda: 3, argv=["-p", str(params), "-m", "train"])


def test_a_worker_of_a_cluster_leaves_the_work_to_the_chief(run, tmp_path, monkeypatch):
    monkeypatch.setenv(
        "TF_CONFIG",
        '{"cluster": {"chief": ["a:1"], "worker": ["b:1"]},'
        ' "task": {"type": "worker", "index": 0}}',
    )
    code, log = run("-m", "train")
    assert code == 0
    assert "worker 0: without a CS system only the chief works" in log
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_as_a_process_it_is_quiet_and_its_help_is_quick(tmp_path, params):
    script = tmp_path / "run.py"
    script.write_text(
        "import sys\nfrom wafer_runtime import runner\n"
        f"sys.path.insert(0, {str(Path(toy.__file__).parent)!r})\n"
        "def load():\n    import toy\n    return toy.model_in_section, toy.input_fn\n"
        "sys.exit(runner.main(load))\n"
    )

    def process(*argv):
        return subprocess.run(
            [sys.executable, str(script), "-p", str(params), *argv],
            capture_output=True,
            text=True,
            check=False,
        )

    assert "--validate_only" in process("--help").stdout
    # Enough checkpoints that some are deleted.
    result = process("-m", "train", "--max_steps", "140")
    assert result.returncode == 0
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    ours = [line for line in lines if "global step" in line or "Training fin" in line]
    assert lines == ours
