"""Tokens, windows, and the masking of masked language models."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from wafer_runtime.errors import BadRecordError, ParamsError
from wafer_runtime.text import (
    CLS,
    MASK,
    PAD,
    SEP,
    SPECIAL,
    ByteTokenizer,
    WordPieceTokenizer,
    mask_tokens,
    masked_positions,
    read_texts,
    windows,
)


@given(st.text())
def test_bytes_give_the_text_back(text):
    tokens = ByteTokenizer().encode(text)
    assert all(len(SPECIAL) <= token < ByteTokenizer.vocab_size for token in tokens)
    assert ByteTokenizer().decode([CLS, *tokens, SEP, PAD]) == text


def test_word_pieces_are_learnt_once_and_read_again(tmp_path):
    path = tmp_path / "model" / "tokenizer.json"
    texts = ["the wafer and the wavelet", "a wafer has many wavelets"] * 20
    learnt = WordPieceTokenizer(path, texts, 60)
    tokens = learnt.encode("the wavelets")
    assert learnt.decode(tokens) == "the wavelets"
    again = WordPieceTokenizer(path, ["quite another text"], 60)
    np.testing.assert_array_equal(again.encode("the wavelets"), tokens)
    assert again.vocab_size == learnt.vocab_size <= 60
    with pytest.raises(ParamsError, match=r"word pieces, but model.vocab_size is 20"):
        WordPieceTokenizer(path, texts, 20)


@given(st.integers(0, 50), st.integers(1, 9), st.integers(1, 9))
def test_windows_are_stretches_of_the_text(size, length, stride):
    text = np.arange(size, dtype=np.int32)
    found = windows(text, length, stride)
    starts = range(0, size - length + 1, stride)
    assert found.shape == (len(starts), length)
    assert found.dtype == np.int32
    for row, start in zip(found, starts, strict=True):
        np.testing.assert_array_equal(row, text[start : start + length])


@pytest.mark.parametrize(("length", "count"), [(128, 19), (512, 77), (2, 1)])
def test_a_share_of_15_percent_is_masked(length, count):
    assert masked_positions(length) == count


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 40), st.integers(0, 100), st.data())
def test_masking_follows_its_rules(length, seed, data):
    special = data.draw(st.integers(0, length))
    count = data.draw(st.integers(1, length))
    tokens = np.random.default_rng(seed).integers(4, 100, (3, length)).astype(np.int32)
    tokens[:, :special] = SEP
    found = mask_tokens(tf.constant(tokens), count, 100, [seed, 7])
    found = {name: value.numpy() for name, value in found.items()}

    positions = found["positions"]
    assert positions.shape == (3, count)
    assert all(len(set(row)) == count for row in positions.tolist())
    chosen = np.take_along_axis(tokens, positions, 1)
    np.testing.assert_array_equal(found["ids"], chosen)
    np.testing.assert_array_equal(found["weights"], chosen >= 4)
    # Special tokens only when there are no others left.
    assert (found["weights"].sum(1) == min(count, length - special)).all()
    others = np.ones_like(tokens, bool)
    np.put_along_axis(others, positions, False, 1)
    np.testing.assert_array_equal(found["input_ids"][others], tokens[others])
    assert (found["input_ids"][tokens < 4] == SEP).all()
    again = mask_tokens(tf.constant(tokens), count, 100, [seed, 7])
    np.testing.assert_array_equal(again["input_ids"], found["input_ids"])


def test_masking_is_in_the_shares_of_the_paper():
    tokens = tf.constant(np.full((400, 100), 50, np.int32))
    found = mask_tokens(tokens, 15, 1000, [1, 2])
    written = tf.gather(found["input_ids"], found["positions"], batch_dims=1).numpy()
    assert (written == MASK).mean() == pytest.approx(0.8, abs=0.02)
    assert (written == 50).mean() == pytest.approx(0.1, abs=0.02)
    other = mask_tokens(tokens, 15, 1000, [1, 3])
    assert (other["positions"].numpy() != found["positions"].numpy()).mean() > 0.5


def test_files_that_are_no_text_are_named_or_skipped(tmp_path, caplog):
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text("é", encoding="utf-8")
    bad.write_bytes(b"\xe9")
    files = [str(good), str(bad)]
    with pytest.raises(BadRecordError, match=r"bad.txt: is no text in UTF-8"):
        read_texts(files, {"on_bad_record": "fail"})
    assert read_texts(files, {"on_bad_record": "skip"}) == {str(good): "é"}
    assert "Skipped" in caplog.text
