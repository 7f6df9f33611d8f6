"""Runs scripts as people do: `wafer exec`, each in a process of its own."""

import subprocess
import sys
import textwrap

import pytest

_WAFER = "import sys; from wafer_runtime.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def wafer_exec(tmp_path):
    """`wafer_exec(code, *args)` -> the finished process; the script is script.py."""

    def run(code, *args):
        (tmp_path / "script.py").write_text(textwrap.dedent(code))
        return subprocess.run(
            [sys.executable, "-c", _WAFER, "exec", "script.py", *args],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return run
