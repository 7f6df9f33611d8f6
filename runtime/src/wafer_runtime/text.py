"""Text as tokens: tokenizers, windows, and the masking of masked language models."""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from wafer_runtime.errors import ParamsError
from wafer_runtime.records import BadRecords

log = logging.getLogger("wafer_runtime")

# The first tokens of every vocabulary: padding, start, separator, and a masked token.
PAD, CLS, SEP, MASK = SPECIAL = range(4)


class ByteTokenizer:
    """A token for each byte of the text in UTF-8, after the special ones."""

    vocab_size = len(SPECIAL) + 256

    def encode(self, text: str) -> Any:
        """int32 [length]."""
        return np.frombuffer(text.encode(), np.uint8).astype(np.int32) + len(SPECIAL)

    def decode(self, tokens: Iterable[int]) -> str:
        """The text; special tokens are left out."""
        codes = [token - len(SPECIAL) for token in tokens if token >= len(SPECIAL)]
        return bytes(codes).decode(errors="replace")


class WordPieceTokenizer:
    """Word pieces, learnt from the text once and kept in a file.

    texts: to learn from, if the file is not there yet; it is written if `keep`. Uses
    the package `tokenizers`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        texts: Any,
        vocab_size: int,
        keep: bool = True,
    ):
        self._tokenizer = _word_pieces(Path(path), texts, vocab_size, keep)
        self.vocab_size = self._tokenizer.get_vocab_size()
        if self.vocab_size > vocab_size:
            raise ParamsError(
                f"{path}: has {self.vocab_size} word pieces, but model.vocab_size is "
                f"{vocab_size}. Remove the file, to learn them anew, or raise the size"
            )

    def encode(self, text: str) -> Any:
        """int32 [length]."""
        return np.array(self._tokenizer.encode(text).ids, np.int32)

    def decode(self, tokens: Iterable[int]) -> str:
        """The text; special tokens are left out."""
        return str(self._tokenizer.decode([int(token) for token in tokens]))


def _word_pieces(path: Path, texts: Any, vocab_size: int, keep: bool) -> Any:
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    if path.exists():
        return tokenizers.Tokenizer.from_file(str(path))
    log.info("Learning %d word pieces for %s", vocab_size, path)
    # As in BERT: unknown characters become a token of their own.
    special = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]"]
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    if not keep:
        return tokenizer
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    tokenizer.save(str(partial))
    partial.replace(path)
    return tokenizer


def read_texts(files: Sequence[str], config: Mapping[str, Any]) -> dict[str, str]:
    """The text of each file; one that is not UTF-8 is an error, or skipped if told so.

    config: `train_input` or `eval_input` of params.yaml.
    """
    return BadRecords(config).load(files, _read_text)


def _read_text(file: str) -> str:
    return Path(file).read_text(encoding="utf-8")


def windows(tokens: Any, length: int, stride: int | None = None) -> Any:
    """Stretches of a text: int32 [count, length], each `stride` (`length`) further on.

    What is left at the end is left out; a text shorter than `length` gives none.
    """
    if len(tokens) < length:
        return np.zeros([0, length], np.int32)
    views = np.lib.stride_tricks.sliding_window_view(tokens, length)
    return views[:: stride or length].astype(np.int32)


def masked_positions(length: int, rate: float = 0.15) -> int:
    """How many of `length` tokens are masked: the share of BERT's, at least one."""
    return max(1, round(rate * length))


def mask_tokens(
    tokens: tf.Tensor, count: int, vocab_size: int, seed: Any
) -> Mapping[str, tf.Tensor]:
    """Mask `count` tokens of each sequence, as BERT does (J. Devlin et al., 2018, 3.1).

    tokens: int32 [batch, length]. seed: int [2], as for tf.random.stateless_*; with a
    batch's number in it, a restart masks the same. Of the chosen tokens, 80 % become
    MASK, 10 % any token, 10 % stay. Special tokens are never chosen, as far as there
    are others. Returns `input_ids` [batch, length], and of the chosen ones, each
    [batch, count]: `positions`, `ids` (as they were), and `weights`, float32, 0 for a
    special one that had to be taken.
    """
    batch, length = tokens.shape
    seeds = [[seed[0], seed[1]], [seed[0] + 1, seed[1]], [seed[0] + 2, seed[1]]]
    is_special = tf.cast(tokens < len(SPECIAL), tf.float32)
    rank = tf.random.stateless_uniform([batch, length], seeds[0]) - 2 * is_special
    positions = tf.math.top_k(rank, count).indices
    ids = tf.gather(tokens, positions, batch_dims=1)
    kind = tf.random.stateless_uniform([batch, count], seeds[1])
    other = tf.random.stateless_uniform(
        [batch, count], seeds[2], len(SPECIAL), vocab_size, tf.int32
    )
    written = tf.where(kind < 0.8, MASK, tf.where(kind < 0.9, other, ids))
    written = tf.where(ids < len(SPECIAL), ids, written)
    rows = tf.repeat(tf.range(batch)[:, tf.newaxis], count, axis=1)
    places = tf.stack([rows, positions], axis=-1)
    return {
        "input_ids": tf.tensor_scatter_nd_update(tokens, places, written),
        "positions": positions,
        "ids": ids,
        "weights": tf.cast(ids >= len(SPECIAL), tf.float32),
    }
