"""Runs the TensorFlow families of the vendor's public model repository, unmodified.

    python benchmarks/modelzoo.py CHECKOUT [-f FAMILY]... [-a ACTION]...

CHECKOUT is a checkout of github.com/Cerebras/modelzoo at tag R_1.6.0; it is not
changed. Each family's own run.py is run by `wafer exec` with its own configuration,
made small, on small data that modelzoo_data.py writes. Beside what this repository
needs, those programs import pandas, spacy and nltk (3.6, the later ones refuse them).
Prints a row for each action: what came of it (`ok`, or the exit code and the last line
of the error) and the seconds.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import modelzoo_data as data
import wafer_runtime  # noqa: F401 - before TensorFlow
import yaml

_WAFER = "import sys; from wafer_runtime.cli import main; sys.exit(main(sys.argv[1:]))"
_ACTIONS = {
    "train": "--mode train --max_steps 4",
    "resume": "--mode train --max_steps 8",
    "evaluate": "--mode eval --eval_steps 2",
    "validate_only": "--mode train --validate_only",
    "compile_only": "--mode train --compile_only",
    "cs_ip sim": "--mode train --max_steps 12 --cs_ip sim",
}
_BERT = "transformers/tf/bert"
_TUNING = f"{_BERT}/fine_tuning"
_RUN = {
    "save_checkpoints_steps": 4,
    "save_summary_steps": 2,
    "multireplica": False,
    "eval_steps": 2,
}
_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_heads": 2,
    "filter_size": 64,
    "max_position_embeddings": data.LENGTH,
}
_TOKENS = {
    "batch_size": 8,
    "max_sequence_length": data.LENGTH,
    "max_predictions_per_seq": data.PREDICTIONS,
    "buckets": 1,
}


class Family(NamedTuple):
    """A program: its folder, its configuration, and what of that is made small."""

    folder: str
    config: str
    changes: dict[str, Any]
    actions: tuple[str, ...] = tuple(_ACTIONS)


def families(root: Path) -> dict[str, Family]:
    """All of them, on the data in `root`."""
    bert_words = {"vocab_file": str(root / "bert.vocab")}

    def bert(folder: str, name: str, config: str, **inputs: Any) -> Family:
        both = _TOKENS | bert_words | inputs
        train, test = (
            {"data_dir": str(root / name / split)} | both for split in ("train", "eval")
        )
        model = {"pretrain_params_path": str(root / "bert.yaml")}
        sections = {"train_input": train, "eval_input": test, "model": model}
        return Family(f"{_TUNING}/{folder}", config, sections)

    pretraining = {
        "train_input": _TOKENS | bert_words | {"data_dir": str(root / "bert/train")},
        "eval_input": _TOKENS | bert_words | {"data_dir": str(root / "bert/eval")},
        "model": _SIZES,
    }
    tfds = str(root / "tfds")
    qa = {
        "data_file": str(root / "qa/train/part.tfrecord"),
        "data_processor": "QuestionAnsweringDataProcessor",
    }
    labels = {"label_vocab_file": str(root / "labels.json")}
    return {
        "fc_mnist": Family("fc_mnist/tf", "params.yaml", _mnist(tfds)),
        "unet": Family("unet/tf", "params_dagm_tfrecords.yaml", _unet(root)),
        "bert": Family(_BERT, "params_bert_base_msl128.yaml", pretraining),
        "bert classifier": bert(
            "classifier", "bert", "params_bert_base_sst2.yaml", data_dir=tfds
        ),
        "bert qa": bert("qa", "qa", "params_bert_base_squad.yaml", **qa),
        "bert token_classifier": bert(
            "token_classifier",
            "token_classifier",
            "params_bert_base_ner_bc5cdr-chem.yaml",
            **labels,
        ),
        "bert summarization": bert(
            "extractive_summarization",
            "summarization",
            "params_bertsum_base.yaml",
            max_cls_tokens=data.SENTENCES,
        ),
        "gpt2": Family(
            "transformers/tf/gpt2", "params_gpt2_small.yaml", _gpt(root, _SIZES)
        ),
        "gptj": Family(
            "transformers/tf/gptj",
            "params_gptj.yaml",
            _gpt(root, _SIZES | {"rotary_dim": 8}),
        ),
        "t5": Family("transformers/tf/t5", "params_small.yaml", _t5(root)),
        "transformer": Family(
            "transformers/tf/transformer", "params_base.yaml", _transformer(root)
        ),
        "linformer": Family(
            "transformers/tf/linformer",
            "params_linformer_roberta_base_msl512_proj256_shared_kv.yaml",
            _linformer(root),
        ),
        "bert base": Family(
            _BERT,
            "params_bert_base_msl128.yaml",
            {
                "train_input": {"data_dir": str(root / "bert_base")},
                "eval_input": {"data_dir": str(root / "bert_base")},
            },
            ("validate_only", "compile_only"),
        ),
        "gpt2 small": Family(
            "transformers/tf/gpt2",
            "params_gpt2_small.yaml",
            {
                "train_input": {"data_dir": str(root / "gpt2_small")},
                "eval_input": {"data_dir": str(root / "gpt2_small")},
            },
            ("validate_only", "compile_only"),
        ),
    }


def _mnist(tfds: str) -> dict[str, Any]:
    return {
        "train_input": {"data_dir": tfds, "batch_size": 8},
        "model": {"hidden_sizes": [16, 8]},
    }


def _unet(root: Path) -> dict[str, Any]:
    inputs = {
        "dataset_path": str(root / "unet"),
        "train_batch_size": 4,
        "eval_batch_size": 4,
        "image_shape": [32, 32, 1],
    }
    # Channels come last on a CPU, as a comment of the repository's own says.
    model = {
        "data_format": "channels_last",
        "encoder_filters": [4, 8],
        "decoder_filters": [4],
    }
    return {"train_input": inputs, "model": model}


def _gpt(root: Path, model: dict[str, Any]) -> dict[str, Any]:
    inputs = {
        "vocab_size": len(data.BERT_VOCAB),
        "max_sequence_length": data.LENGTH,
        "batch_size": 8,
    }
    return {
        "train_input": inputs | {"data_dir": str(root / "gpt/train")},
        "eval_input": inputs | {"data_dir": str(root / "gpt/eval")},
        "model": model,
    }


def _t5(root: Path) -> dict[str, Any]:
    inputs = {
        "vocab_file": str(root / "text.vocab"),
        "data_dir": str(root / "t5"),
        "src_max_sequence_length": data.LENGTH,
        "tgt_max_sequence_length": data.LENGTH,
        "batch_size": 8,
        "extra_ids": 20,
    }
    model = {
        "d_model": 32,
        "d_kv": 16,
        "num_heads": 2,
        "d_ff": 64,
        "encoder_num_hidden_layers": 2,
        "decoder_num_hidden_layers": 2,
    }
    return {"train_input": inputs, "eval_input": inputs, "model": model}


def _transformer(root: Path) -> dict[str, Any]:
    inputs = {
        "src_data_dir": str(root / "transformer.en/part.txt"),
        "tgt_data_dir": str(root / "transformer.de/part.txt"),
        "src_vocab_file": str(root / "text.vocab"),
        "tgt_vocab_file": str(root / "text.vocab"),
        "src_max_sequence_length": data.LENGTH,
        "tgt_max_sequence_length": data.LENGTH,
        "batch_size": 8,
    }
    layers = {"encoder_num_hidden_layers": 2, "decoder_num_hidden_layers": 2}
    model = _SIZES | layers
    return {"train_input": inputs, "eval_input": inputs, "model": model}


def _linformer(root: Path) -> dict[str, Any]:
    inputs = _TOKENS | {
        "data_dir": str(root / "linformer"),
        "vocab_file": str(root / "bert.vocab"),
    }
    model = _SIZES | {"projected_dims": 8}
    return {"train_input": inputs, "eval_input": inputs, "model": model}


def changed(config: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with some values of its sections replaced."""
    return config | {
        key: changed(config.get(key) or {}, value) if isinstance(value, dict) else value
        for key, value in changes.items()
    }


def configure(checkout: Path, family: Family, path: Path) -> None:
    """Write a family's configuration, made small, to `path`."""
    folder = checkout / "modelzoo" / family.folder
    given = yaml.safe_load((folder / "configs" / family.config).read_text())
    small = changed(given, family.changes | {"runconfig": _RUN})
    path.write_text(yaml.safe_dump(small))


def run(
    checkout: Path, family: Family, name: str, actions: Sequence[str], root: Path
) -> Iterator[str]:
    """A row of the table for each of the actions that a family has."""
    folder = checkout / "modelzoo" / family.folder
    params = root / f"{name}.yaml"
    configure(checkout, family, params)
    for action in filter(family.actions.__contains__, actions):
        flags = _ACTIONS[action].split()
        command = [sys.executable, "-c", _WAFER, "exec", "run.py", *flags]
        command += ["--params", str(params), "--model_dir", str(root / f"{name}.out")]
        began = time.perf_counter()
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False
        )
        (root / f"{name}.{action}.log").write_text(done.stdout + done.stderr)
        seconds = time.perf_counter() - began
        yield f"{name:22} {action:14} {seconds:6.1f} s  {outcome(done)}"


def outcome(done: subprocess.CompletedProcess[str]) -> str:
    """What came of a run, in a line."""
    if not done.returncode:
        return "ok"
    lines = [x for x in done.stderr.splitlines() if x.strip()] or ["no message"]
    told = next((line for line in lines if line.startswith("Error:")), lines[-1])
    there = "not there yet" if " yet" in told else f"exit {done.returncode}"
    return f"{there}: {told}"


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("-f", "--family", action="append")
    parser.add_argument("-a", "--action", action="append", choices=_ACTIONS)
    parser.add_argument("--keep", type=Path, help="a folder for data, logs and results")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = (args.keep or Path(temporary)).resolve()
        data.write_all(root)
        data.write_records(root / "bert_base", lambda: data.bert(128, 20))
        data.write_records(root / "gpt2_small", lambda: data.gpt(1024))
        known = families(root)
        configure(args.checkout, known["bert"], root / "bert.yaml")
        for name in args.family or known:
            actions = args.action or list(_ACTIONS)
            for row in run(args.checkout.resolve(), known[name], name, actions, root):
                print(row, flush=True)


if __name__ == "__main__":
    main()
