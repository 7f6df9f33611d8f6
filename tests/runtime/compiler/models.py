"""Models that the compiler must take, beside those of the template.

Each is (model_fn, input_fn), small, written as people write them.
"""

import numpy as np
import tensorflow as tf
import tensorflow.compat.v1 as tf1
from tf_keras import layers
from wafer_runtime.estimator import CSEstimatorSpec

BATCH = 4
CLASSES = 10


def dataset(features, labels):
    def input_fn(mode, params=None):
        return tf.data.Dataset.from_tensors((features, labels)).repeat()

    return input_fn


def images(channels=3, size=28):
    x = np.zeros([BATCH, size, size, channels], np.float32)
    return dataset(x, np.zeros([BATCH], np.int32))


def tokens(length=12, **more):
    x = {"source": np.zeros([BATCH, length], np.int32)} | {
        name: np.zeros([BATCH, n], np.int32) for name, n in more.items()
    }
    return dataset(x, np.zeros([BATCH, more.get("target", length)], np.int32))


def spec(mode, loss, optimizer=None, host_call=None):
    if mode != "train":
        return CSEstimatorSpec(mode=mode, loss=loss, host_call=host_call)
    optimizer = optimizer or tf1.train.AdamOptimizer(0.001)
    train_op = optimizer.minimize(loss, tf1.train.get_global_step())
    return CSEstimatorSpec(mode=mode, loss=loss, train_op=train_op)


def classifier(network, optimizer=None):
    """A model_fn of a function from features to logits."""

    def model_fn(features, labels, mode, params):
        logits = network(features, mode == "train")
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        )
        rule = optimizer() if optimizer else None
        classes = tf.argmax(logits, -1, output_type=tf.int32)
        return spec(mode, loss, rule, (accuracy, [labels, classes]))

    return model_fn


def accuracy(labels, classes):
    return {"accuracy": tf1.metrics.accuracy(labels, classes)}


def lenet(x, training):
    x = layers.Conv2D(6, 5, padding="same", activation="tanh")(x)
    x = layers.AveragePooling2D(2)(x)
    x = layers.Conv2D(16, 5, activation="tanh")(x)
    x = layers.AveragePooling2D(2)(x)
    x = layers.Dense(120, activation="tanh")(layers.Flatten()(x))
    return layers.Dense(CLASSES)(x)


def separable(x, training):
    """Depthwise-separable, strided, dilated and grouped convolutions."""
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x, training=training)
    x = layers.Activation("relu")(x)
    for strides in (1, 2):
        x = layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x, training=training)
        x = tf.nn.relu6(x)
        x = layers.Conv2D(16, 1, use_bias=False)(x)
    x = layers.SeparableConv2D(16, 3, dilation_rate=2)(x)
    x = layers.Conv2D(16, 3, groups=4, padding="same")(x)
    x = layers.Conv2DTranspose(8, 3, strides=2, padding="same")(x)
    x = layers.MaxPool2D(2)(x)
    x = layers.GlobalAveragePooling2D()(x)
    return layers.Dense(CLASSES)(layers.Dropout(0.1)(x, training=training))


def group_norm(x, groups):
    _, height, width, channels = x.shape
    x = tf.reshape(x, [BATCH, height, width, groups, channels // groups])
    mean, variance = tf.nn.moments(x, [1, 2, 4], keepdims=True)
    x = (x - mean) * tf.math.rsqrt(variance + 1e-5)
    return tf.reshape(x, [BATCH, height, width, channels])


def rms_norm(x):
    weight = tf1.get_variable(
        "scale", [x.shape[-1]], initializer=tf1.ones_initializer()
    )
    return x * tf.math.rsqrt(tf.reduce_mean(x * x, -1, keepdims=True) + 1e-6) * weight


def normalised(x, training):
    """Group and RMS normalisation, written out."""
    x = group_norm(layers.Conv2D(8, 3)(x), 2)
    x = tf.nn.silu(x)
    x = layers.Dense(16, activation="gelu")(layers.Flatten()(x))
    return layers.Dense(CLASSES)(rms_norm(x))


def attention(query, memory, width, heads=2):
    def split(x):
        x = tf.reshape(x, [BATCH, x.shape[1], heads, width // heads])
        return tf.transpose(x, [0, 2, 1, 3])

    q, k, v = (split(layers.Dense(width)(x)) for x in (query, memory, memory))
    scores = tf.matmul(q, k, transpose_b=True) / (width // heads) ** 0.5
    x = tf.transpose(tf.matmul(tf.nn.softmax(scores), v), [0, 2, 1, 3])
    return layers.Dense(width)(tf.reshape(x, [BATCH, query.shape[1], width]))


def translator(features, labels, mode, params):
    """An encoder-decoder with cross-attention, shared embeddings, label smoothing."""
    width, vocabulary = 16, 50
    table = layers.Embedding(vocabulary, width)

    def norm(x):
        return layers.LayerNormalization()(x)

    memory, x = table(features["source"]), table(features["target"])
    memory = norm(memory + attention(memory, memory, width))
    memory = norm(memory + layers.Dense(width)(layers.Dense(32, "relu")(memory)))
    x = norm(x + attention(x, x, width))
    x = norm(x + attention(x, memory, width))
    logits = tf.einsum("bld,vd->blv", x, table.embeddings)
    smooth = tf.one_hot(labels, vocabulary) * 0.9 + 0.1 / vocabulary
    loss = tf.nn.softmax_cross_entropy_with_logits(smooth, logits)
    return spec(mode, tf.reduce_mean(loss))


def two_towers(features, labels, mode, params):
    """Dict features, embeddings, and several losses."""
    users = layers.Dense(8, "relu")(layers.Embedding(100, 8)(features["user"])[:, 0])
    items = layers.Dense(8, "elu")(features["item"])
    score = tf.reduce_sum(users * items, 1)
    likes = tf.nn.sigmoid_cross_entropy_with_logits(labels["likes"], score)
    stars = layers.Dense(1)(tf.concat([users, items], 1))[:, 0]
    losses = [
        tf.reduce_mean(likes),
        tf1.losses.mean_squared_error(labels["stars"], stars),
        0.01 * tf.nn.l2_loss(users),
    ]
    metrics = {"mean": tf1.metrics.mean(score)}
    return spec(mode, tf.add_n(losses), host_call=metrics)


def two_towers_input(mode, params=None):
    features = {
        "user": np.zeros([BATCH, 1], np.int32),
        "item": np.zeros([BATCH, 5], np.float32),
    }
    labels = {"likes": np.zeros([BATCH], np.float32)}
    labels["stars"] = np.zeros([BATCH], np.float32)
    return tf.data.Dataset.from_tensors((features, labels)).repeat()


def accumulating(features, labels, mode, params):
    """Gradient accumulation with loss scaling and clipping."""
    from wafer_runtime.schema import OptimizerParams
    from wafer_runtime.training import minimize

    logits = layers.Dense(CLASSES)(layers.Flatten()(features))
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    )
    if mode != "train":
        return spec(mode, loss)
    given = {
        "grad_accum_steps": 4,
        "loss_scaling_factor": "dynamic",
        "max_gradient_norm": 1.0,
        "optimizer_type": "lamb",
        "weight_decay_rate": 0.01,
    }
    optimizer = OptimizerParams(**given).model_dump()
    return CSEstimatorSpec(mode=mode, loss=loss, train_op=minimize(loss, optimizer))


class AdafactorOptimizer(tf1.train.Optimizer):
    """Factored second moments (N. Shazeer and M. Stern, 2018), without momentum."""

    def __init__(self, rate):
        super().__init__(False, "Adafactor")
        self._rate = rate

    def _create_slots(self, variables):
        for v in variables:
            if v.shape.rank == 2:
                self._zeros_slot_of(v, v.shape[:1], "vr")
                self._zeros_slot_of(v, v.shape[1:], "vc")
            else:
                self._zeros_slot(v, "v", self._name)

    def _zeros_slot_of(self, variable, shape, name):
        self._get_or_make_slot_with_initializer(
            variable, tf1.zeros_initializer(), shape, tf.float32, name, self._name
        )

    def _resource_apply_dense(self, grad, var):
        square = tf.square(grad) + 1e-30
        if var.shape.rank == 2:
            row, column = self.get_slot(var, "vr"), self.get_slot(var, "vc")
            row = row.assign(0.9 * row + 0.1 * tf.reduce_mean(square, 1))
            column = column.assign(0.9 * column + 0.1 * tf.reduce_mean(square, 0))
            scale = tf.math.rsqrt(row / tf.reduce_mean(row))[:, None]
            step = grad * scale * tf.math.rsqrt(column)[None]
        else:
            v = self.get_slot(var, "v")
            v = v.assign(0.9 * v + 0.1 * square)
            step = grad * tf.math.rsqrt(v)
        return var.assign_sub(self._rate * step)


def plain(x, training):
    return layers.Dense(CLASSES)(layers.Flatten()(x))


MODELS = {
    "lenet": (classifier(lenet), images(1)),
    "separable": (classifier(separable), images()),
    "normalised": (classifier(normalised), images()),
    "translator": (translator, tokens(12, target=9)),
    "two_towers": (two_towers, two_towers_input),
    "accumulating": (accumulating, images(1, 8)),
}
OPTIMIZERS = {
    "SGD": lambda: tf1.train.GradientDescentOptimizer(0.1),
    "Momentum": lambda: tf1.train.MomentumOptimizer(0.1, 0.9, use_nesterov=True),
    "Adam": lambda: tf1.train.AdamOptimizer(0.001),
    "RMSProp": lambda: tf1.train.RMSPropOptimizer(0.001, centered=True),
    "Adagrad": lambda: tf1.train.AdagradOptimizer(0.1),
    "Adadelta": lambda: tf1.train.AdadeltaOptimizer(0.1),
    "Adafactor": lambda: AdafactorOptimizer(0.1),
}
