"""The worked examples of the README's section on the fabric."""

import re
from pathlib import Path

README = Path(__file__).parents[3] / "README.md"


def test_the_examples_print_what_is_said(capsys):
    section = README.read_text().partition("## The fabric, cycle by cycle")[2]
    first, *others = re.findall("```python\n(.*?)```", section, re.DOTALL)
    assert len(others) == 3
    names = {}
    for script in ("import numpy as np\n" + first, *others):
        exec(script, names)
        assert capsys.readouterr().out.strip() == script.strip().rpartition("  # ")[2]
