"""params.yaml: what is accepted, and how mistakes are told."""

import contextlib
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from wafer_runtime.errors import ParamsError, UsageError
from wafer_runtime.params import check_model, load_params, save_params
from wafer_runtime.schema import Params

pytestmark = pytest.mark.smoke

GOOD = """
train_input: {batch_size: 64, shuffle: true, shuffle_seed: 1}
model: {anything: [goes, {here: 1}]}
optimizer: {optimizer_type: adam, learning_rate: 1e-3}
runconfig: {max_steps: 100}
"""


@pytest.fixture
def load(tmp_path):
    def load_text(text, **kwargs):
        path = tmp_path / "params.yaml"
        path.write_text(text)
        return load_params(path, **kwargs)

    return load_text


def test_defaults_are_filled_in_and_the_model_section_is_left_alone(load):
    params = load(GOOD)
    assert params["train_input"]["batch_size"] == 64
    assert params["eval_input"]["batch_size"] == 32
    assert params["model"] == {"anything": ["goes", {"here": 1}]}
    assert params["optimizer"]["learning_rate"] == 0.001
    assert params["runconfig"]["save_summary_steps"] == 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "train_input: {batch_sise: 3}",
            'train_input.batch_sise: unknown key "batch_sise" (did you mean "batch_s',
        ),
        ("trian_input: {}", '"trian_input" (did you mean "train_input"?)'),
        ("runconfig: {zzz: 1}", 'unknown key "zzz"; known keys: mode, model_dir,'),
        ("train_input: {batch_size: 0}", "train_input.batch_size: Input should be gr"),
        ("train_input: {batch_size: 2.5}", "should be a valid integer (is 2.5)"),
        ("train_input: {batch_size: '32'}", "should be a valid integer (is '32')"),
        (
            "train_input: {shuffle: 1}",
            "train_input.shuffle: Input should be a vali",
        ),
        (
            "optimizer: {optimizer_type: adamm}",
            "optimizer.optimizer_type: Input shou",
        ),
        (
            "optimizer: {learning_rate: fast}",
            "optimizer.learning_rate: Input should",
        ),
        ("optimizer: {learning_rate: -1.0}", "greater than 0 (is -1.0)"),
        (
            "optimizer: {loss_scaling_factor: 0}",
            "loss_scaling_factor: wanted a number above 0, or dynamic (is 0)",
        ),
        (
            "optimizer: {loss_scaling_factor: dynamc}",
            "wanted a number above 0, or dynamic (is 'dynamc')",
        ),
        (
            "optimizer: {exclude_from_weight_decay: [ok, '(']}",
            "optimizer.exclude_from_weight_decay.1: no regular expression: missing ), "
            "unterminated subpattern at position 0 (is '(')",
        ),
        (
            "optimizer: {min_loss_scale: 2.0, max_loss_scale: 1}",
            "optimizer: min_loss_scale 2 is above max_loss_scale 1",
        ),
        (
            "optimizer: {momentum: 0.5}",
            "optimizer: momentum is read by momentum, not by adam; remove it",
        ),
        (
            "optimizer: {optimizer_type: sgd, beta2: 0.95}",
            "optimizer: beta2 is read by adam, adamw, lamb, not by sgd",
        ),
        ("optimizer: {learning_rate: .inf}", "finite number (is inf)"),
        ("optimizer: {epsilon: .nan}", "finite number (is nan)"),
        ("optimizer: {epsilon: '1_0'}", "valid number (is '1_0')"),
        ("runconfig: {system: wse9}", "wse2, wse3, and no .yaml file (is 'wse9')"),
        ("runconfig: {model_dir: ''}", "runconfig.model_dir: "),
        ("runconfig: {steps: 1, max_steps: 2}", "steps and max_steps are both set"),
        ("runconfig: {tf_random_seed: -1}", "greater than or equal to 0 (is -1)"),
        ("runconfig: {mode: trian}", "runconfig.mode: Input should be 'train', 'eval'"),
        ("model: [1, 2]", "model: wanted keys with values (is [1, 2])"),
        ("runconfig: {model_dir: ''}", "runconfig.model_dir: is empty (is '')"),
        (
            "optimizer: {learning_rate: [1]}",
            "optimizer.learning_rate.0: wanted keys with values (is 1)",
        ),
        (
            "optimizer: {learning_rate: {steps: 1}}",
            "optimizer.learning_rate: 'scheduler' is missing",
        ),
        ("train_input: 3", "train_input: wanted keys with values"),
        ("just text", "holds str, wanted sections"),
        ("", "holds NoneType, wanted sections"),
        ("a: [1", "not valid YAML"),
        ("a: 1\nb: [1", 'params.yaml", line 2, column 4'),
        ("a: !!python/object:os.system {}", "not valid YAML"),
        ("model: {a: 1}\nmodel: {b: 2}", 'the key "model" stands there twice'),
    ],
)
def test_mistakes_are_told_with_their_place(load, text, message):
    with pytest.raises(ParamsError) as caught:
        load(text)
    assert message in str(caught.value)
    assert "params.yaml: " in str(caught.value)


def test_merge_keys_share_values_between_sections(load):
    text = "train_input: &x {batch_size: 8}\neval_input: {<<: *x, batch_size: 4}\n"
    params = load(text + "model: {a: {<<: *x}, b: *x}\n")
    assert params["eval_input"]["batch_size"] == 4
    assert params["model"] == {"a": {"batch_size": 8}, "b": {"batch_size": 8}}


def test_paths_are_saved_as_text_and_what_yaml_has_no_form_for_is_named(tmp_path):
    path = tmp_path / "params.yaml"
    save_params({"model": {"data": Path("a/b")}}, path)
    assert load_params(path)["model"] == {"data": "a/b"}
    with pytest.raises(ParamsError, match="the params hold <object"):
        save_params({"model": {"x": object()}}, path)
    assert load_params(path)["model"] == {"data": "a/b"}


def test_all_mistakes_are_told_at_once(load):
    with pytest.raises(ParamsError) as caught:
        load("train_input: {batch_size: 0}\nrunconfig: {stepps: 1}")
    assert len(str(caught.value).splitlines()) == 2


def test_a_missing_file_says_how_to_name_another(tmp_path):
    with pytest.raises(ParamsError, match=r"cannot be read: No such file.*--params"):
        load_params(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"max_steps": 7}, {"max_steps": 7, "steps": None}),
        ({"steps": 7}, {"max_steps": None, "steps": 7}),
        ({"steps": None}, {"max_steps": 100, "steps": None}),
        ({"model_dir": "x"}, {"max_steps": 100, "model_dir": "x"}),
    ],
)
def test_the_command_line_wins(load, given, expected):
    runconfig = load(GOOD, overrides=given)["runconfig"]
    assert {key: runconfig[key] for key in expected} == expected


def test_what_the_command_line_asks_for_only_wins(load):
    text = "runconfig: {compile_only: true}"
    runconfig = load(text, overrides={"validate_only": True})["runconfig"]
    assert (runconfig["validate_only"], runconfig["compile_only"]) == (True, False)


def test_empty_sections_mean_defaults(load):
    assert load("model:\nrunconfig:\n") == load("model: {}")


def test_set_defaults_may_fill_in_the_model_section(load):
    params = load(GOOD, set_defaults=lambda p: p["model"].setdefault("width", 5))
    assert params["model"]["width"] == 5


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5)))
def test_any_model_section_survives_saving_and_loading(tmp_path_factory, model):
    path = tmp_path_factory.mktemp("p") / "params.yaml"
    params = Params(model=model).model_dump()
    save_params(params, path)
    assert load_params(path) == params
    assert [p.name for p in path.parent.iterdir()] == ["params.yaml"]


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda c: (
            st.lists(c, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["train_input", "runconfig", "batch_size", "model", "x"]
                ),
                c,
                max_size=3,
            )
        ),
    )
)
def test_whatever_the_yaml_holds_the_answer_is_params_or_a_params_error(
    tmp_path_factory, content
):
    path = tmp_path_factory.mktemp("p") / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    with contextlib.suppress(ParamsError):
        assert set(load_params(path)) == set(Params.model_fields)


def test_what_set_defaults_refuses_is_told_with_the_file(tmp_path):
    path = tmp_path / "other.yaml"
    path.write_text("model: {width: wide}")
    table = {"width": (8, lambda value: value == 8, "a width")}
    with pytest.raises(ParamsError, match=r"other\.yaml: model\.width: 'wide' is not"):
        load_params(path, lambda params: check_model(params, table))


def test_a_disk_without_room_is_told_by_file_and_nothing_is_left(tmp_path, full_disk):
    path = tmp_path / "params_train.yaml"
    with full_disk(100), pytest.raises(UsageError) as caught:
        save_params({"model": {"text": "x" * 200}}, path)
    assert f"{path}: cannot be written: " in str(caught.value)
    assert "Make room there" in str(caught.value)
    assert not list(tmp_path.iterdir())
