"""Kernel graphs of real models: every number against what one can count by hand."""

import models
import pytest
import tensorflow as tf
import tensorflow.compat.v1 as tf1
import toy
from checking import check, trained
from tf_keras import layers
from written_out import WRITTEN_OUT


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", models.MODELS)
def test_real_models_map(compile_model, name, mode):
    model_fn, input_fn = models.MODELS[name]
    mapped = compile_model(model_fn, input_fn, mode)
    check(mapped)
    assert ("weight_gradient" in str(mapped.graph)) == (mode == "train")


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_models_that_are_written_out_map(compile_model, name, mode):
    mapped = compile_model(*WRITTEN_OUT[name], mode)
    check(mapped)
    (scaling,) = mapped.kernels("gradient_scaling") or [None]
    assert scaling is None or scaling.weights == ()


def test_a_dense_layer_is_one_kernel(compile_model):
    mapped = compile_model(toy.model_fn, toy.input_fn)
    check(mapped)
    hidden, out = mapped.kernels("dense")
    assert (hidden.name, out.name) == ("hidden", "out")
    assert hidden.dims == {"positions": 1, "inputs": 8, "outputs": 16}
    # The features need no gradient.
    assert hidden.passes == ("forward", "weight_gradient", "update")
    assert hidden.macs == toy.BATCH * 8 * 16 * 2
    assert out.passes == ("forward", "input_gradient", "weight_gradient", "update")
    assert out.macs == toy.BATCH * 16 * 2 * 3
    assert [(w.name, w.shape) for w in out.weights] == [
        ("out/kernel", (16, 2)),
        ("out/bias", (2,)),
    ]
    assert (out.optimizer, out.state_bytes) == ("Adam", 2 * out.weight_bytes)
    # bias, relu and dropout flow through the layer's own kernel
    assert {"MatMul", "BiasAdd", "Relu", "RandomUniform"} <= set(hidden.ops)
    assert all("toy.py:" in line for line in hidden.lines)


def test_evaluation_streams_to_host_call(compile_model):
    mapped = compile_model(toy.model_fn, toy.input_fn, "eval")
    check(mapped)
    to_host = {e.tensor for e in mapped.graph.edges if e.target == "host"}
    assert {"loss", "host_call/1"} <= to_host
    assert all(k.passes == ("forward",) for k in mapped.graph.kernels)


def test_predictions_map(compile_model):
    graph = compile_model(toy.model_fn, toy.input_fn, "infer").graph
    to_host = {e.tensor for e in graph.edges if e.target == "host"}
    assert to_host == {"predictions/class", "predictions/probabilities"}


def test_a_transformer_shares_its_embedding(compile_model):
    mapped = compile_model(*models.MODELS["translator"])
    kinds = [kernel.kind for kernel in mapped.graph.kernels]
    assert kinds.count("embedding") == 2
    assert kinds.count("batched_matmul") == 3 * 2
    assert kinds.count("softmax") == 3
    assert kinds.count("normalization") == 4
    assert kinds.count("cross_entropy") == 1
    logits = [k for k in mapped.kernels("dense") if k.shared]
    assert [k.shared for k in logits] == [("embedding/embeddings",)]
    assert logits[0].dims == {"positions": 9, "inputs": 16, "outputs": 50}
    scores = mapped.kernels("batched_matmul")
    assert {k.dims["groups"] for k in scores} == {2}
    assert [n for n in trained(mapped.graph) if "embedding" in n] == [
        "embedding/embeddings"
    ]


def test_the_partition_says_where_and_why(compile_model):
    partition = compile_model(toy.model_fn, toy.input_fn).partition
    rows = [line.split() for line in partition.splitlines()]
    assert any(row[:3] == ["hidden", "wafer", "dense:"] for row in rows)
    assert "input pipeline: input_fn" in partition
    assert "global step and what follows from it alone" in partition


def test_an_evaluation_of_the_loss_alone_scales_nothing(compile_model):
    def model_fn(features, labels, mode, params):
        logits = models.plain(features, False)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return models.spec(mode, tf.reduce_mean(loss))

    mapped = compile_model(model_fn, models.images(1, 4), "eval")
    check(mapped)
    assert not mapped.kernels("gradient_scaling")


def test_printing_hands_on_what_it_prints(compile_model):
    def network(x, training):
        x = tf1.Print(layers.Flatten()(x), [tf.reduce_mean(x)], "mean")
        return layers.Dense(models.CLASSES)(x)

    mapped = compile_model(models.classifier(network), models.images(1, 4))
    check(mapped)
    assert mapped.graph.macs == 2 * models.BATCH * 16 * models.CLASSES
