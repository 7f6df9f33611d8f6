"""What `make demo` runs, once its virtual environment is there."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def demo(folder):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [ROOT / ".ci/demo", folder],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_demo_trains_to_97_percent_twice(tmp_path):
    for _ in range(2):
        began = time.monotonic()
        result = demo(tmp_path / "a demo")
        assert result.returncode == 0, result.stderr
        assert time.monotonic() - began < 90
        accuracy = re.findall(r"Evaluation of .* accuracy = ([0-9.]+)", result.stderr)
        assert float(accuracy[-1]) >= 0.97
        assert f"The project is in {tmp_path}/a demo" in result.stdout
    assert (tmp_path / "a demo/model_dir/predict/outputs.npz").exists()


def test_the_demo_leaves_other_folders_alone(tmp_path):
    (tmp_path / "model_dir").mkdir()
    result = demo(tmp_path)
    assert result.returncode == 2
    assert "holds something else" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model_dir"]
