"""`wafer exec` runs a script as `python` does."""

import json
import subprocess
import sys

import pytest


def test_a_script_finds_what_python_would_give_it(wafer_exec, tmp_path):
    (tmp_path / "neighbour.py").write_text("x = 7\n")
    done = wafer_exec(
        """
        import json, sys
        import neighbour
        print(json.dumps([__name__, __file__, sys.argv, sys.path[0], neighbour.x]))
        assert sys.modules["__main__"].neighbour is neighbour
        """,
        "train",
        "--steps=3",
        "--help",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        "__main__",
        str(tmp_path / "script.py"),
        ["script.py", "train", "--steps=3", "--help"],
        str(tmp_path),
        7,
    ]


def test_exit_codes_and_words_are_the_scripts_own(wafer_exec):
    done = wafer_exec("import sys; sys.exit('nothing to do')")
    assert (done.returncode, done.stderr) == (1, "nothing to do\n")


def test_a_traceback_is_that_of_python(wafer_exec, tmp_path):
    code = """
        def fail():
            raise RuntimeError("broken") from KeyError("cause")

        fail()
        """
    done = wafer_exec(code)
    python = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == python.returncode == 1
    assert done.stderr == python.stderr


def test_a_script_that_does_not_parse(wafer_exec):
    done = wafer_exec("x = = 1")
    assert done.returncode == 1
    assert "SyntaxError: invalid syntax" in done.stderr
    assert "wafer_runtime" not in done.stderr


def test_this_packages_own_errors_are_told_in_a_line(wafer_exec):
    done = wafer_exec(
        """
        import tensorflow as tf
        tf.estimator.RunConfig(save_summary_steps=-1)
        """
    )
    assert done.returncode == 2
    assert done.stderr == "Error: save_summary_steps is -1; it must be 0 or more\n"


def test_a_script_that_is_not_there(capsys):
    from wafer_runtime.cli import main

    assert main(["exec", "nowhere.py"]) == 2
    assert main(["exec", "notes.ipynb"]) == 2
    assert "begin it with a cell of" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["exec"])
    assert "are required: SCRIPT.py. See" in capsys.readouterr().err


def test_importing_the_package_alone_changes_nothing():
    code = """
import sys, inspect, numpy, tensorflow as tf
before = list(sys.meta_path)
import wafer_runtime, wafer_runtime.estimator, wafer_runtime.compat
assert sys.meta_path == before
assert not hasattr(tf, "estimator") and not hasattr(numpy, "float")
assert not hasattr(inspect, "getargspec") or sys.version_info < (3, 11)
wafer_runtime.compat.install()
wafer_runtime.compat.install()
assert len(sys.meta_path) == len(before) + 1
assert tf.estimator.ModeKeys.TRAIN == "train" and numpy.float is float
assert "cerebras" not in sys.modules
"""
    environment = {"TF_USE_LEGACY_KERAS": "1", "PATH": ""}
    path = ":".join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
