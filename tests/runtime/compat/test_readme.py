"""The worked example of the README's section "Bring your own code"."""

import re
from pathlib import Path

README = Path(__file__).parents[3] / "README.md"


def test_an_old_script_up_to_its_report(wafer_exec, tmp_path):
    section = README.read_text().partition("## Bring your own code")[2]
    script, line = re.findall("```python\n(.*?)```", section, re.DOTALL)[:2]
    done = wafer_exec(script + line)
    assert done.returncode == 0, done.stderr
    metrics, path = done.stdout.splitlines()
    assert metrics.startswith("{'accuracy': np.float32(")
    assert "'global_step': np.int64(200)}" in metrics
    assert re.fullmatch("old/cs_[0-9a-f]{64}", path)
    report = (tmp_path / path / "compile_report.txt").read_text()
    told = section.partition("kernel   kind")[2].partition("...")[0].splitlines()[1:]
    assert len(told) == 2
    for row in told:
        assert " ".join(row.split()) in " ".join(report.split())
