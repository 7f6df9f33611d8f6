"""A run.py of the toy model."""

import contextlib
import resource

import pytest
import toy
from wafer_runtime import runner


@pytest.fixture
def params(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(
        "model: {width: 8}\n"
        "runconfig: {max_steps: 60, save_checkpoints_steps: 20, tf_random_seed: 1,"
        f" model_dir: '{tmp_path}/model'}}\n"
    )
    return path


@pytest.fixture
def run(params, capsys):
    def call(*argv, model_fn=toy.model_in_section, input_fn=toy.input_fn):
        code = runner.main(
            lambda: (model_fn, input_fn), argv=["-p", str(params), *argv]
        )
        return code, capsys.readouterr().err

    return call


@pytest.fixture
def full_disk():
    """A context in which files cannot grow beyond a number of bytes."""

    @contextlib.contextmanager
    def limited(size):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    return limited
