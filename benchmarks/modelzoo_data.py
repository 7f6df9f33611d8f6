"""Small data in the formats that the vendor's public model repository reads.

Values are random; numbers of tokens, of labels and of pixels are those of the
configurations in modelzoo.py.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

SAMPLES = 64
LENGTH = 32  # tokens a sequence
PREDICTIONS = 4  # masked tokens a sequence
SENTENCES = 4  # of a text to summarise
WORDS = [f"word{i}" for i in range(60)]
BERT_VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
TEXT_VOCAB = ["<pad>", "</s>", "<unk>", "<s>", *WORDS]
LABELS = 7  # of a token

_random = np.random.default_rng(0)


def write_all(folder: Path) -> None:
    """Write every family's data into sub-folders of `folder`."""
    _lines(folder / "bert.vocab", BERT_VOCAB)
    _lines(folder / "text.vocab", TEXT_VOCAB)
    for name, features in _RECORDS.items():
        for split in ("train", "eval"):
            write_records(folder / name / split, features)
    _write_images(folder / "unet")
    _write_token_sequences(folder / "linformer")
    for name in ("t5", "transformer.en", "transformer.de"):
        sentences = [" ".join(_random.choice(WORDS, 12)) for _ in range(SAMPLES)]
        _lines(folder / name / "part.txt", sentences)
    _lines(folder / "labels.json", ["{", *_label_lines(), "}"])
    _write_mnist(folder / "tfds")
    _write_sst2(folder / "tfds")


def write_records(folder: Path, features: Callable[[], Mapping[str, Any]]) -> None:
    """Write SAMPLES tf.train.Examples of what `features()` gives."""
    folder.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / "part.tfrecord")) as writer:
        for _ in range(SAMPLES):
            writer.write(_example(features()).SerializeToString())


def bert(length: int = LENGTH, predictions: int = PREDICTIONS) -> dict[str, Any]:
    """A sample of masked tokens and a next sentence; `write_records` writes it."""
    return _tokens(length) | {
        "masked_lm_positions": _random.integers(1, length, predictions),
        "masked_lm_ids": _ids(predictions),
        "masked_lm_weights": np.ones(predictions, np.float32),
        "next_sentence_labels": _random.integers(0, 2, 1),
    }


def gpt(length: int = LENGTH) -> dict[str, Any]:
    """A sample of tokens and of those that follow them."""
    tokens = _ids(length + 1)
    mask = np.ones(length, np.int64)
    return {"input_ids": tokens[:-1], "input_mask": mask, "labels": tokens[1:]}


def _tokens(length: int = LENGTH) -> dict[str, Any]:
    return {
        "input_ids": _ids(length),
        "input_mask": np.ones(length, np.int64),
        "segment_ids": (np.arange(length) >= length // 2).astype(np.int64),
    }


def _qa() -> dict[str, Any]:
    start = _random.integers(0, LENGTH - 1, 1)
    return _tokens() | {"start_positions": start, "end_positions": start + 1}


def _named_entities() -> dict[str, Any]:
    return _tokens() | {"label_ids": _random.integers(0, LABELS, LENGTH)}


def _summary() -> dict[str, Any]:
    return _tokens() | {
        "cls_indices": np.arange(SENTENCES) * (LENGTH // SENTENCES),
        "labels": _random.integers(0, 2, SENTENCES),
        "cls_weights": np.ones(SENTENCES, np.float32),
    }


_RECORDS = {
    "bert": bert,
    "gpt": gpt,
    "qa": _qa,
    "token_classifier": _named_entities,
    "summarization": _summary,
}


def _ids(count: int) -> Any:
    return _random.integers(5, len(WORDS), count)


def _example(features: Mapping[str, Any]) -> tf.train.Example:
    def feature(values: Any) -> tf.train.Feature:
        if values.dtype.kind == "f":
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    named = {name: feature(values) for name, values in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=named))


def _write_images(folder: Path) -> None:
    def sample() -> dict[str, Any]:
        mask = (_random.random(32 * 32) > 0.5).astype(np.float32)
        return {"image": mask + _random.normal(0, 0.1, 32 * 32), "mask": mask}

    for split in ("train", "test"):
        write_records(folder / split, sample)
        (folder / split / "part.tfrecord").rename(
            folder / split / f"{split}-0.tfrecords"
        )


def _write_token_sequences(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / "part.tfrecord")) as writer:
        for _ in range(SAMPLES):
            words = [w.encode() for w in _random.choice(WORDS, LENGTH - 2)]
            values = [
                tf.train.Feature(bytes_list=tf.train.BytesList(value=[w]))
                for w in words
            ]
            lists = {"tokens": tf.train.FeatureList(feature=values)}
            sequence = tf.train.SequenceExample(
                feature_lists=tf.train.FeatureLists(feature_list=lists)
            )
            writer.write(sequence.SerializeToString())


def _lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _label_lines() -> list[str]:
    ends = [","] * (LABELS - 1) + [""]
    return [f'"label{i}": {i}{end}' for i, end in enumerate(ends)]


def _write_mnist(folder: Path) -> None:
    from tensorflow_datasets.image_classification import mnist

    def samples() -> Any:
        for i in range(SAMPLES):
            image = _random.integers(0, 256, (28, 28, 1)).astype(np.uint8)
            yield i, {"image": image, "label": i % 10}

    _prepare(mnist.MNIST, folder, {"train": samples, "test": samples})


def _write_sst2(folder: Path) -> None:
    from tensorflow_datasets.text.glue import Glue

    def samples() -> Any:
        for i in range(SAMPLES):
            sentence = " ".join(_random.choice(WORDS, 8))
            yield i, {"sentence": sentence, "label": i % 2, "idx": i}

    splits = dict.fromkeys(("train", "validation", "test"), samples)
    _prepare(Glue, folder, splits, config="sst2")


def _prepare(
    builder: Any, folder: Path, splits: dict[str, Any], **settings: str
) -> None:
    """Have a builder of TensorFlow Datasets write our samples in place of its own."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    made = builder(data_dir=str(folder), **settings)
    made._split_generators = lambda manager: {k: v() for k, v in splits.items()}
    made.download_and_prepare()
