"""Kernel graphs of real models: every number against what one can count by hand."""

import math

import models
import pytest
import tensorflow as tf
import tensorflow.compat.v1 as tf1
import tf_keras
import toy
from counting import instructions, macs_of_hlo
from tf_keras import layers

ACTIVATIONS = ["gelu", "relu", "tanh", "elu", "selu", "hard_sigmoid", "swish", "linear"]


def check(mapped):
    """What holds for every kernel graph."""
    graph = mapped.graph
    assert graph.macs == macs_of_hlo(mapped.hlo)
    order = {kernel.name: n for n, kernel in enumerate(graph.kernels)}
    assert len(order) == len(graph.kernels)
    for edge in graph.edges:
        if "host" not in (edge.source, edge.target):
            assert order[edge.source] < order[edge.target]
        if edge.tensor == "gradient":
            assert edge.gradient_bytes > 0
        else:
            size = 1 if edge.dtype == "bool" else tf.as_dtype(edge.dtype).size
            sizes = math.prod(edge.shape) * size
            # What is there once a batch counts a sample's share of it.
            assert edge.bytes in (sizes, -(-sizes // graph.batch_size))
    assert any(edge.target == "host" and edge.tensor == "loss" for edge in graph.edges)
    for kernel in graph.kernels:
        assert kernel.lines or kernel.kind == "gradient_scaling"
        trained = any(weight.trained for weight in kernel.weights)
        assert ("update" in kernel.passes) == (trained and graph.mode == "train")


def trained(graph):
    return {w.name: w for k in graph.kernels for w in k.weights if w.trained}


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", models.MODELS)
def test_real_models_map(compile_model, name, mode):
    model_fn, input_fn = models.MODELS[name]
    mapped = compile_model(model_fn, input_fn, mode)
    check(mapped)
    assert ("weight_gradient" in str(mapped.graph)) == (mode == "train")


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


def test_edges_carry_a_sample_and_its_gradient(compile_model):
    graph = compile_model(toy.model_fn, toy.input_fn).graph
    edges = {(e.source, e.target): e for e in graph.edges}
    given = edges["host", "hidden"]
    assert (given.tensor, given.shape, given.bytes) == ("features", (8,), 32)
    assert given.gradient_bytes == 0
    between = edges["hidden", "out"]
    assert (between.shape, between.dtype) == ((16,), "float32")
    assert (between.bytes, between.gradient_bytes) == (64, 64)


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


def test_written_out_normalisations_are_recognised(compile_model):
    mapped = compile_model(*models.MODELS["normalised"])
    assert len(mapped.kernels("normalization")) == 2
    weights = [w.name for k in mapped.kernels("normalization") for w in k.weights]
    assert weights == ["scale"]


@pytest.mark.parametrize("name", models.OPTIMIZERS)
def test_optimizers(compile_model, name):
    model_fn = models.classifier(models.plain, models.OPTIMIZERS[name])
    mapped = compile_model(model_fn, models.images(1, 4))
    check(mapped)
    (dense,) = mapped.kernels("dense")
    assert dense.optimizer == name
    states = {"SGD": 0, "Momentum": 1, "Adagrad": 1, "RMSProp": 3}.get(name, 2)
    if name == "Adafactor":
        assert dense.state_bytes == 4 * (16 + 10 + 10)
    else:
        assert dense.state_bytes == states * dense.weight_bytes


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


def test_functions_and_branches_are_opened(compile_model):
    def network(x, training):
        x = layers.Flatten()(x)
        wide = tf.reduce_mean(x) > 0.5
        x = tf.cond(wide, lambda: x * 2.0, lambda: tf.exp(x))
        with tf1.variable_scope("inner"):
            kernel = tf1.get_variable("w", [16, 16])
        double = tf.function(lambda y: tf.nn.relu(tf.matmul(y, kernel)))
        return layers.Dense(models.CLASSES)(double(x))

    mapped = compile_model(models.classifier(network), models.images(1, 4))
    check(mapped)
    assert {k.name for k in mapped.kernels("dense")} >= {"dense"}
    assert sum(k.macs for k in mapped.kernels("dense")) == mapped.graph.macs


def test_the_partition_says_where_and_why(compile_model):
    partition = compile_model(toy.model_fn, toy.input_fn).partition
    rows = [line.split() for line in partition.splitlines()]
    assert any(row[:3] == ["hidden", "wafer", "dense:"] for row in rows)
    assert "input pipeline: input_fn" in partition
    assert "global step and what follows from it alone" in partition


def test_a_schedule_is_the_hosts(compile_model):
    def rule():
        step = tf1.train.get_global_step()
        return tf1.train.AdamOptimizer(tf1.train.cosine_decay(0.1, step, 100))

    mapped = compile_model(models.classifier(models.plain, rule), models.images(1, 4))
    check(mapped)
    by_id = instructions(mapped.hlo)
    assert "cosine" not in {i.opcode for i in by_id.values()}


def old_variables(x, training):
    weight = tf1.get_variable("w", [16, models.CLASSES], use_resource=False)
    return tf.matmul(layers.Flatten()(x), weight)


def test_variables_that_are_no_resources(compile_model):
    mapped = compile_model(models.classifier(old_variables), models.images(1, 4))
    check(mapped)
    (dense,) = mapped.kernels("dense")
    assert [w.name for w in dense.weights] == ["w"]
    assert (dense.optimizer, dense.state_bytes) == ("Adam", 2 * dense.weight_bytes)
    assert mapped.graph.macs == models.BATCH * 16 * models.CLASSES * 2


def test_layers_in_a_branch_belong_to_their_kernels(compile_model):
    def network(x, training):
        conv = layers.Conv2D(2, 3)
        conv.build(x.shape)
        x = tf.cond(tf.reduce_mean(x) > 0, lambda: conv(x), lambda: 2 * conv(x))
        return models.plain(x, training)

    mapped = compile_model(models.classifier(network), models.images(1, 4))
    check(mapped)
    convs = mapped.kernels("conv2d")
    assert len(convs) == 2
    one_pass = models.BATCH * 2 * 2 * 9 * 2
    assert [k.macs for k in convs] == [2 * one_pass] * 2


def test_an_enlargement_is_no_product(compile_model):
    def network(x, training):
        x = layers.UpSampling2D(2)(layers.Conv2D(2, 3)(x))
        return models.plain(x, training)

    mapped = compile_model(models.classifier(network), models.images(1, 6))
    check(mapped)
    conv, dense = models.BATCH * 16 * 9 * 2, models.BATCH * 128 * models.CLASSES
    assert mapped.graph.macs == 2 * conv + 3 * dense


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


@pytest.mark.parametrize(
    "name", ["SGD", "Momentum", "Adam", "RMSProp", "Adagrad", "Adadelta"]
)
def test_optimizers_of_looked_up_rows(compile_model, name):
    def model_fn(features, labels, mode, params):
        table = layers.Embedding(50, 8)
        logits = layers.Dense(50)(table(features["source"]))
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return models.spec(mode, tf.reduce_mean(loss), models.OPTIMIZERS[name]())

    mapped = compile_model(model_fn, models.tokens())
    check(mapped)
    (embedding,) = mapped.kernels("embedding")
    assert embedding.optimizer == name
    assert "weight_gradient" in embedding.passes


def test_a_penalty_of_weights_leaves_them_in_their_layers(compile_model):
    def model_fn(features, labels, mode, params):
        hidden = layers.Dense(8, "relu")(layers.Flatten()(features))
        logits = layers.Dense(models.CLASSES)(hidden)
        penalty = tf.add_n([tf.nn.l2_loss(v) for v in tf1.trainable_variables()])
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return models.spec(mode, 0.01 * penalty + tf.reduce_mean(loss))

    mapped = compile_model(model_fn, models.images(1, 4))
    check(mapped)
    assert [len(k.weights) for k in mapped.kernels("dense")] == [2, 2]


def test_gradients_in_a_host_call_stay_backward(compile_model):
    def model_fn(features, labels, mode, params):
        logits = models.plain(features, True)
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        )
        norm = tf.linalg.global_norm(tf.gradients(loss, tf1.trainable_variables()))
        step = tf1.train.get_global_step()
        train_op = tf1.train.AdamOptimizer(0.1).minimize(loss, step)
        metrics = (lambda *tensors: {}, [norm, labels, step])
        return models.CSEstimatorSpec(
            mode=mode, loss=loss, train_op=train_op, host_call=metrics
        )

    mapped = compile_model(model_fn, models.images(1, 4))
    (dense,) = mapped.kernels("dense")
    assert dense.passes == ("forward", "weight_gradient", "update")
    assert not mapped.kernels("normalization")


def test_an_evaluation_of_the_loss_alone_scales_nothing(compile_model):
    def model_fn(features, labels, mode, params):
        logits = models.plain(features, False)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return models.spec(mode, tf.reduce_mean(loss))

    mapped = compile_model(model_fn, models.images(1, 4), "eval")
    check(mapped)
    assert not mapped.kernels("gradient_scaling")


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


def test_what_is_kept_for_the_backward_pass(compile_model):
    def network(x, training):
        x = layers.Dense(32)(layers.Flatten()(x))
        x = layers.Dropout(0.5)(tf.tanh(x), training=training)
        return layers.Dense(models.CLASSES, name="out")(tf.reshape(x, [-1, 32]))

    mapped = compile_model(models.classifier(network), models.images(1, 4))
    first, out = mapped.kernels("dense")
    # The sample, what tanh gave, and a truth value for each number kept.
    assert first.saved_bytes == 16 * 4 + 32 * 4 + 32
    # Its input, which was reshaped and back.
    assert out.saved_bytes == 32 * 4


def with_a_tape(features, labels, mode, params):
    variables = []
    with tf.GradientTape() as tape:
        hidden = layers.Dense(8, "relu", name="hidden")
        norm = layers.LayerNormalization(name="norm")
        out = layers.Dense(models.CLASSES, name="out")
        logits = out(norm(hidden(layers.Flatten()(features))))
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        loss = tf.reduce_mean(losses)
    for layer in (hidden, norm, out):
        variables += layer.trainable_variables
    pairs = zip(tape.gradient(loss, variables), variables, strict=True)
    optimizer = tf1.train.AdamOptimizer(0.1)
    step = tf1.train.get_global_step()
    train_op = optimizer.apply_gradients(pairs, step)
    return models.CSEstimatorSpec(mode=mode, loss=loss, train_op=train_op)


def test_gradients_of_a_tape_belong_to_their_layers(compile_model):
    mapped = compile_model(with_a_tape, models.images(1, 4))
    check(mapped)
    all_of_them = ("forward", "input_gradient", "weight_gradient", "update")
    found = {k.layer: k for k in mapped.graph.kernels if k.layer}
    assert found["hidden"].passes == ("forward", "weight_gradient", "update")
    assert found["norm"].passes == found["out"].passes == all_of_them
    assert found["hidden"].macs == models.BATCH * 16 * 8 * 2
    assert found["out"].macs == models.BATCH * 8 * models.CLASSES * 3
    (loss,) = mapped.kernels("cross_entropy")
    assert "input_gradient" in loss.passes


@pytest.mark.parametrize(
    ("name", "rule", "states"),
    [("SGD", "Momentum", 1), ("Nadam", "Nadam", 2), ("Adamax", "Adamax", 2)],
)
def test_optimizers_of_keras(compile_model, name, rule, states):
    def model_fn(features, labels, mode, params):
        dense = layers.Dense(models.CLASSES)
        logits = dense(layers.Flatten()(features))
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        loss = tf.reduce_mean(losses)
        more = {"momentum": 0.9} if name == "SGD" else {}
        optimizer = getattr(tf_keras.optimizers.legacy, name)(0.1, **more)
        optimizer.iterations = tf1.train.get_global_step()
        train_op = optimizer.get_updates(loss, dense.trainable_variables)
        return models.CSEstimatorSpec(
            mode=mode, loss=loss, train_op=tf.group(*train_op)
        )

    mapped = compile_model(model_fn, models.images(1, 4))
    check(mapped)
    (dense,) = mapped.kernels("dense")
    assert dense.optimizer == rule
    assert dense.state_bytes == states * dense.weight_bytes


def test_control_flow_of_tensorflow_1(compile_model):
    def network(x, training):
        wide = tf.reduce_mean(x) > 0.5
        return models.plain(tf1.cond(wide, lambda: x * 2.0, lambda: x), training)

    tf1.disable_control_flow_v2()
    try:
        check(compile_model(models.classifier(network), models.images(1, 4)))
        assert not tf1.control_flow_v2_enabled()
    finally:
        tf1.enable_control_flow_v2()


def test_a_step_that_trains_nothing_is_told(compile_model, caplog):
    def model_fn(features, labels, mode, params):
        loss = tf.reduce_mean(models.plain(features, True))
        count = tf1.assign_add(tf1.train.get_global_step(), 1)
        return models.CSEstimatorSpec(mode=mode, loss=loss, train_op=count)

    compile_model(model_fn, models.images(1, 4))
    assert "changes no trained variable" in caplog.text


def test_accumulated_gradients_reach_the_update(compile_model):
    """On their way through the accumulator, which is read after it was written."""
    mapped = compile_model(*models.MODELS["accumulating"])
    by_id = instructions(mapped.hlo)
    (root,) = [i for i in by_id.values() if i.opcode == "tuple"][-1:]
    dots = {i.id for i in by_id.values() if i.opcode == "dot"}

    def reaches_a_product(start):
        seen, stack = set(), [start]
        while stack:
            number = stack.pop()
            if number in dots:
                return True
            if number not in seen:
                seen.add(number)
                stack += by_id[number].operand_ids
        return False

    assert all(map(reaches_a_product, root.operand_ids))


def test_an_imported_graph(compile_model):
    """Its operations have no lines, and its functions no Python graph."""

    def network(x, training):
        with tf.Graph().as_default() as graph:
            given = tf1.placeholder(tf.float32, [models.BATCH, 16], name="given")
            wide = tf.reduce_mean(given) > 0
            chosen = tf.cond(wide, lambda: given * 2.0, lambda: given)
            tf.identity(tf.function(tf.nn.relu)(chosen), name="out")
        inputs = {"given": tf.reshape(x, [models.BATCH, 16])}
        definition = graph.as_graph_def()
        (x,) = tf.graph_util.import_graph_def(definition, inputs, ["out:0"])
        return models.plain(x, training)

    mapped = compile_model(models.classifier(network), models.images(1, 4))
    assert mapped.graph.macs == macs_of_hlo(mapped.hlo)
    assert {"relu", "Relu"} & {op for k in mapped.graph.kernels for op in k.ops}


def test_sums_of_gradients_go_with_what_takes_them(compile_model):
    """Of two towers on one input, where each sends back its own."""
    mapped = compile_model(*models.MODELS["translator"])
    back = {e.target for e in mapped.graph.edges if e.tensor == "gradient"}
    assert not {name for name in back if name.startswith("transpose")}


def test_a_loss_of_a_second_optimizer_has_kernels(compile_model):
    def model_fn(features, labels, mode, params):
        x = layers.Dense(8, name="body")(layers.Flatten()(features))
        logits = layers.Dense(models.CLASSES, name="head")(x)
        probe = layers.Dense(models.CLASSES, name="probe")(tf.stop_gradient(x))
        cost = tf.nn.sparse_softmax_cross_entropy_with_logits
        loss, other = (tf.reduce_mean(cost(labels, y)) for y in (logits, probe))
        step = tf1.train.get_global_step()
        trains = [
            tf1.train.AdamOptimizer(0.1).minimize(loss, step),
            tf1.train.AdamOptimizer(0.1).minimize(other),
        ]
        return models.CSEstimatorSpec(mode=mode, loss=loss, train_op=tf.group(*trains))

    mapped = compile_model(model_fn, models.images(1, 4))
    check(mapped)
    found = {k.layer: k for k in mapped.kernels("dense")}
    assert found["probe"].macs == models.BATCH * 8 * models.CLASSES * 2
    assert len(mapped.kernels("cross_entropy")) == 2


def test_pooling_of_any_rank_is_built(compile_model):
    def network(x, training):
        return models.plain(tf.nn.pool(x, [2, 2], "MAX", padding="SAME"), training)

    assert compile_model(models.classifier(network), models.images(1, 4)).graph
