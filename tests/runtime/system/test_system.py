"""The machines, and what a user's own file may say."""

import subprocess
import sys

import pytest
import yaml
from pydantic import ValidationError
from wafer_runtime.errors import ParamsError
from wafer_runtime.schema import SYSTEMS
from wafer_runtime.system import System, load_system, simulated_system

pytestmark = pytest.mark.smoke


@pytest.fixture
def own(tmp_path):
    """A function that writes a system's file with some keys changed."""

    def write(**changes):
        content = load_system("wse2").model_dump(mode="json") | changes
        path = tmp_path / "own.yaml"
        kept = {key: value for key, value in content.items() if value is not None}
        path.write_text(yaml.safe_dump(kept))
        return path

    return write


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_figure_of_ours_has_a_source(name):
    system = load_system(name)
    assert set(system.sources) == set(System.model_fields) - {"name", "sources"}


def test_the_figures_that_people_know():
    wse1, wse2, wse3 = map(load_system, SYSTEMS)
    assert (wse1.fabric_width, wse1.fabric_height) == (633, 633)
    # psc-wpdocs: 745,500 cores on the fabric.
    assert wse2.program_width * wse2.program_height == 745_500
    assert [s.sram_bytes for s in (wse1, wse2, wse3)] == [48 * 1024] * 3
    assert wse2.clock_hz == 850e6
    assert wse3.simd_lanes == 2 * wse2.simd_lanes
    assert wse2.host_bytes_per_s * 8 == 1.2e12


def test_a_system_does_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        load_system("wse2").clock_hz = 1.0


def test_a_file_of_ones_own(own):
    system = load_system(own(name="half", program_height=497, clock_hz="1e9"))
    assert (system.name, system.program_height) == ("half", 497)
    assert system.clock_hz == 1e9


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"clock_herz": 1.0}, 'clock_herz: there is no such key (did you mean "clock'),
        ({"colors": None}, "colors: is missing"),
        ({"colors": 0}, "colors: Input should be greater than 0 (is 0)"),
        ({"colors": "many"}, "colors: Input should be a valid integer (is 'many')"),
        ({"input_queue_words": [2, -1]}, "input_queue_words.1: Input should be great"),
        ({"output_queue_words": [0]}, "output_queue_words.0: Input should be great"),
        (
            {"clock_hz": 0.85},
            "clock_hz: Input should be greater than or equal to 1000000",
        ),
        (
            {"host_bytes_per_s": 150},
            "host_bytes_per_s: Input should be greater than or",
        ),
        (
            {"ramp_latency_cycles": 10**9},
            "ramp_latency_cycles: Input should be less than or equal to 1000 (is 10000",
        ),
        (
            {"fabric_width": 10**7},
            "fabric_width: Input should be less than or equal to 10000 (is 10000000)",
        ),
        ({"input_queue_words": []}, "input_queue_words: wanted at least one queue (is"),
        ({"program_width": 758}, "program_width: 758 is more than fabric_width, 757"),
        (
            {"program_bytes": 49152},
            "program_bytes: 49152 leave nothing of sram_bytes, 49152, for data",
        ),
        ({"sources": {"colours": "-"}}, "sources.colours: there is no such key (did"),
    ],
)
def test_a_mistake_is_told_by_file_and_key(own, changes, told):
    path = own(**changes)
    with pytest.raises(ParamsError) as caught:
        load_system(path)
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"{path}: {told}")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("wse22", 'wse22: not one of wse1, wse2, wse3 (did you mean "wse2"?)'),
        ("none.yaml", "none.yaml: cannot be read: No such file or directory. Name"),
    ],
)
def test_a_system_that_is_not_there(name, told):
    with pytest.raises(ParamsError) as caught:
        load_system(name)
    assert told in str(caught.value)


def test_loading_leaves_tensorflow_alone():
    code = (
        "import sys\n"
        "from wafer_runtime.system import load_system\n"
        "load_system('wse2')\n"
        "assert not {'tensorflow', 'numba'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("cs_ip", "name"),
    [("sim", None), ("sim:9000", None), ("sim:wse1", "wse1"), ("sim:a.yaml", "a.yaml"),
     ("10.0.0.1:9000", None), (None, None)],
)  # fmt: skip
def test_the_system_that_is_simulated(cs_ip, name):
    assert simulated_system(cs_ip) == name
