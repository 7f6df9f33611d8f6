"""Which kernels the layers of networks become, with their sizes and MACs."""

import models
import pytest
import tensorflow as tf
import tensorflow.compat.v1 as tf1
from checking import check
from tf_keras import layers

ACTIVATIONS = ["gelu", "relu", "tanh", "elu", "selu", "hard_sigmoid", "swish", "linear"]


def test_kinds_of_a_convolutional_network(compile_model):
    mapped = compile_model(*models.MODELS["separable"])
    kinds = [kernel.kind for kernel in mapped.graph.kernels]
    assert kinds.count("conv2d") == 1 + 2 * 2 + 2 + 1
    assert kinds.count("conv2d_transpose") == 1
    assert kinds.count("normalization") == 3
    assert "pooling" in kinds
    first = mapped.kernels("conv2d")[0]
    wanted = {"H": 28, "W": 28, "R": 3, "S": 3, "C": 3, "K": 8, "T": 2, "U": 2}
    assert wanted.items() <= first.dims.items()
    assert (first.dims["output_height"], first.dims["groups"]) == (14, 1)
    depthwise = [k for k in mapped.kernels("conv2d") if k.dims["groups"] == 8]
    assert depthwise[0].macs == 3 * models.BATCH * 8 * (3 * 14 - 2) ** 2


def test_written_out_normalisations_are_recognised(compile_model):
    mapped = compile_model(*models.MODELS["normalised"])
    assert len(mapped.kernels("normalization")) == 2
    weights = [w.name for k in mapped.kernels("normalization") for w in k.weights]
    assert weights == ["scale"]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_flow_through_the_layer_before(compile_model, activation):
    def network(x, training):
        x = layers.Dense(8)(layers.Flatten()(x))
        x = layers.Activation(activation)(x)
        return layers.Dense(models.CLASSES)(layers.LeakyReLU()(x))

    mapped = compile_model(models.classifier(network), models.images(1, 4))
    check(mapped)
    kinds = {k.kind for k in mapped.graph.kernels}
    assert kinds - {"gradient_scaling"} == {"dense", "cross_entropy", "reduction"}


def test_an_enlargement_is_no_product(compile_model):
    def network(x, training):
        x = layers.UpSampling2D(2)(layers.Conv2D(2, 3)(x))
        return models.plain(x, training)

    mapped = compile_model(models.classifier(network), models.images(1, 6))
    check(mapped)
    conv, dense = models.BATCH * 16 * 9 * 2, models.BATCH * 128 * models.CLASSES
    assert mapped.graph.macs == 2 * conv + 3 * dense


def test_a_bilinear_enlargement_is_a_product_with_constants(compile_model):
    def network(x, training):
        x = tf.image.resize(layers.Conv2D(2, 3)(x), [8, 8], name="larger")
        return models.plain(x, training)

    mapped = compile_model(models.classifier(network), models.images(1, 6))
    check(mapped)
    larger = {k.name: k for k in mapped.kernels("dense")}["larger"]
    # Each number is of a window of three by three.
    assert larger.dims == {"positions": 8 * 8 * 2, "inputs": 9, "outputs": 1}
    assert larger.macs == 2 * models.BATCH * 8 * 8 * 2 * 9


def test_a_pooling_takes_every_number_of_its_windows(compile_model):
    def network(x, training):
        return models.plain(layers.MaxPool2D(3, 2)(x), training)

    mapped = compile_model(models.classifier(network), models.images(4, 9))
    (pooling,) = mapped.kernels("pooling")
    # 4 x 4 windows of 3 x 3 numbers in 4 channels; samples have no gradient.
    assert pooling.operations == models.BATCH * 4 * 4 * 4 * 9


def test_a_normalisation_behind_a_pooling_is_a_kernel_of_its_own(compile_model):
    def network(x, training):
        x = layers.AveragePooling2D(2)(layers.Conv2D(4, 3, padding="same")(x))
        return models.plain(layers.GroupNormalization(2)(x), training)

    mapped = compile_model(models.classifier(network), models.images(1, 8))
    check(mapped)
    (pooling,) = mapped.kernels("pooling")
    assert pooling.weights == ()
    (norm,) = mapped.kernels("normalization")
    assert norm.layer == "group_normalization"
    assert len(norm.weights) == 2


def test_a_dilated_convolution_stays_whole(compile_model):
    def network(x, training):
        x = layers.Conv2D(4, 3, dilation_rate=2)(x)
        x = layers.DepthwiseConv2D(3, dilation_rate=3, padding="same")(x)
        x = layers.SeparableConv2D(5, 3, dilation_rate=2)(x)
        return models.plain(x, training)

    mapped = compile_model(models.classifier(network), models.images(1, 12))
    check(mapped)
    first, depthwise, separable, pointwise = mapped.kernels("conv2d")
    wanted = {"H": 12, "W": 12, "R": 3, "C": 1, "K": 4, "dilation": 2}
    assert wanted.items() <= first.dims.items()
    assert first.dims["output_height"] == 8
    assert first.macs == 2 * models.BATCH * 4 * 64 * 9
    assert (depthwise.dims["dilation"], depthwise.dims["groups"]) == (3, 4)
    # Of three places of the window one or two lie in the padding at the borders.
    assert depthwise.macs == 3 * models.BATCH * 4 * (8 + 5 + 5) ** 2
    assert (separable.dims["dilation"], separable.dims["output_height"]) == (2, 4)
    assert separable.macs == 3 * models.BATCH * 4 * 16 * 9
    assert pointwise.macs == 3 * models.BATCH * 4 * 5 * 16


def test_weights_on_the_left_of_a_product(compile_model):
    def network(x, training):
        weight = tf1.get_variable("w", [5, 16])
        x = tf.matmul(weight, layers.Flatten()(x), transpose_b=True)
        return layers.Dense(models.CLASSES)(tf.transpose(x))

    mapped = compile_model(models.classifier(network), models.images(1, 4))
    check(mapped)
    assert mapped.kernels("dense")[0].dims == {
        "positions": 1,
        "inputs": 16,
        "outputs": 5,
    }


def test_a_transposed_convolution_along_one_dimension(compile_model):
    def network(x, training):
        x = layers.Conv1DTranspose(2, 3, strides=2)(x[:, 0])
        return models.plain(x, training)

    mapped = compile_model(models.classifier(network), models.images(1, 4))
    check(mapped)
    (enlarging,) = mapped.kernels("conv2d_transpose")
    assert enlarging.dims["upsampling"] == 2


def test_pooling_of_any_rank_is_built(compile_model):
    def network(x, training):
        return models.plain(tf.nn.pool(x, [2, 2], "MAX", padding="SAME"), training)

    assert compile_model(models.classifier(network), models.images(1, 4)).graph


def test_sizes_of_products_of_samples_with_one_another(compile_model):
    """A sample's share: a row of what all have in common, a term of a covariance."""

    def model_fn(features, labels, mode, params):
        x = layers.Dense(6, name="body")(layers.Flatten()(features))
        with tf1.name_scope("contrast"):
            similar = tf.matmul(x, x, transpose_b=True)
        with tf1.name_scope("covariance"):
            spread = tf.matmul(x, x, transpose_a=True)
        loss = tf.reduce_mean(tf.square(similar)) + tf.reduce_mean(tf.square(spread))
        return models.spec(mode, loss)

    mapped = compile_model(model_fn, models.images(1, 4))
    check(mapped)
    contrast, covariance = mapped.kernels("batched_matmul")
    rows = {"groups": 1, "rows": 1, "inner": 6, "columns": models.BATCH}
    assert (contrast.name, contrast.dims) == ("contrast", rows)
    terms = {"groups": 1, "rows": 6, "inner": 1, "columns": 6}
    assert (covariance.name, covariance.dims) == ("covariance", terms)
    assert covariance.macs == 3 * models.BATCH * 6 * 6
