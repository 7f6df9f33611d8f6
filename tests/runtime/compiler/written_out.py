"""More models that the compiler must take, in other ways that people write them.

Each is (model_fn, input_fn): raw variables, einsum, unrolled recurrence, several
optimizers, gradients of gradients, memories.
"""

import models
import numpy as np
import tensorflow as tf
import tensorflow.compat.v1 as tf1
import tf_keras
from models import BATCH, CLASSES, classifier, images, spec
from tf_keras import layers


def vectors(length=8, width=6):
    x = np.zeros([BATCH, length, width], np.float32)
    return models.dataset(x, np.zeros([BATCH], np.int32))


def cross_entropy(labels, logits):
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return tf.reduce_mean(losses)


def unrolled(x, training):
    x = layers.Bidirectional(layers.GRU(8, unroll=True, return_sequences=True))(x)
    return layers.Dense(CLASSES)(layers.LSTM(8, unroll=True)(x))


def multi_head(x, training):
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 4)(x, x))
    return layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(x))


def gathered(x, training):
    """Gather, scatter, running sums and products."""
    places = tf.constant([3, 1, 0, 2])
    x = tf.gather(layers.Dense(8)(x), places, axis=1)
    x = tf.scatter_nd(places[:, None], tf.transpose(x, [1, 0, 2]), [8, BATCH, 8])
    x = tf.math.cumprod(tf.sigmoid(tf.cumsum(x, 0)), 0)
    return layers.Dense(CLASSES)(tf.reduce_mean(x, 0))


def weight_norm(x, training):
    x = layers.Flatten()(x)
    for name, width in (("first", 16), ("last", CLASSES)):
        with tf1.variable_scope(name):
            v = tf1.get_variable("v", [x.shape[-1], width])
            g = tf1.get_variable("g", [width])
            x = tf.nn.elu(tf.matmul(x, v) * (g / tf.norm(v, axis=0)))
    return x


def spectral_norm(x, training):
    """The greatest singular value, by a power iteration whose vector is kept."""
    x = layers.Flatten()(x)
    w = tf1.get_variable("w", [x.shape[-1], CLASSES])
    u = tf1.get_variable("u", [1, CLASSES], trainable=False)
    v = tf.stop_gradient(tf.nn.l2_normalize(tf.matmul(u, w, transpose_b=True)))
    new_u = tf.stop_gradient(tf.nn.l2_normalize(tf.matmul(v, w)))
    sigma = tf.matmul(tf.matmul(v, w), new_u, transpose_b=True)
    with tf.control_dependencies([u.assign(new_u)]):
        return tf.matmul(x, w / sigma)


def low_rank(x, training):
    """A product of two weights, the first held near to orthogonal."""
    x = layers.Flatten()(x)
    u = tf1.get_variable("u", [x.shape[-1], 4])
    v = tf1.get_variable("v", [4, CLASSES])
    penalty = tf.matmul(u, u, transpose_a=True) - tf.eye(4)
    return tf.matmul(x, tf.matmul(u, v)) + tf.reduce_sum(penalty**2)


def einsum_decoder(features, labels, mode, params):
    x = layers.Embedding(50, 16)(features["source"])
    with tf1.variable_scope("attention"):
        q, k, v, out = (tf1.get_variable(name, [16, 2, 8]) for name in "qkvo")
    q, k, v = (tf.einsum("bld,dhk->blhk", x, weight) for weight in (q, k, v))
    scores = tf.einsum("bqhk,bmhk->bhqm", q, k) * 8**-0.5
    mask = tf.linalg.band_part(tf.ones_like(scores[0, 0]), -1, 0)
    shares = tf.nn.softmax(scores * mask - 1e9 * (1 - mask))
    x += tf.einsum("bqhk,dhk->bqd", tf.einsum("bhqm,bmhk->bqhk", shares, v), out)
    return spec(mode, cross_entropy(labels, layers.Dense(50)(x)))


def mixture_of_softmaxes(features, labels, mode, params):
    h = layers.Dense(16, "tanh")(layers.Flatten()(features))
    shares = tf.nn.softmax(layers.Dense(3)(h))
    contexts = tf.reshape(layers.Dense(3 * 8, "tanh")(h), [BATCH, 3, 8])
    each = tf.nn.softmax(layers.Dense(CLASSES)(contexts))
    mixed = tf.reduce_sum(each * shares[..., None], 1)
    wanted = tf.one_hot(labels, CLASSES)
    logs = tf.reduce_sum(wanted * tf.math.log(mixed + 1e-8), -1)
    return spec(mode, -tf.reduce_mean(logs))


def capsules(features, labels, mode, params):
    """Routing by agreement (S. Sabour et al., 2017)."""

    def squash(s):
        square = tf.reduce_sum(s**2, -1, keepdims=True)
        return square / (1 + square) * s / tf.sqrt(square + 1e-9)

    x = layers.Conv2D(16, 5, strides=2, activation="relu")(features)
    u = squash(tf.reshape(layers.Conv2D(16, 3, strides=2)(x), [BATCH, -1, 8]))
    count = u.shape[1]
    w = tf1.get_variable("w", [count, CLASSES, 6, 8])
    votes = tf.einsum("nkij,bnj->bnki", w, u)
    b = tf.zeros([BATCH, count, CLASSES])
    for _ in range(2):
        v = squash(tf.reduce_sum(tf.nn.softmax(b, 2)[..., None] * votes, 1))
        b += tf.reduce_sum(votes * v[:, None], -1)
    length = tf.norm(v + 1e-9, axis=-1)
    wanted = tf.one_hot(labels, CLASSES)
    there = wanted * tf.maximum(0.0, 0.9 - length) ** 2
    absent = 0.5 * (1 - wanted) * tf.maximum(0.0, length - 0.1) ** 2
    return spec(mode, tf.reduce_mean(tf.reduce_sum(there + absent, 1)))


def adversaries(features, labels, mode, params):
    """A generator and a critic, each with its optimizer, and a gradient penalty."""
    generator = tf_keras.Sequential(
        [layers.Dense(64, "tanh"), layers.Reshape([8, 8, 1])], name="generator"
    )
    steps = [layers.Conv2D(4, 3, strides=2), layers.LeakyReLU(), layers.Flatten()]
    critic = tf_keras.Sequential([*steps, layers.Dense(1)], name="critic")
    fake = generator(tf.random.normal([BATCH, 16]))
    between = features + tf.random.uniform([BATCH, 1, 1, 1]) * (fake - features)
    (slope,) = tf.gradients(critic(between), [between])
    norm = tf.sqrt(tf.reduce_sum(slope**2, [1, 2, 3]) + 1e-12)
    score = tf.reduce_mean(critic(fake))
    loss = score - tf.reduce_mean(critic(features))
    loss += 10 * tf.reduce_mean((norm - 1) ** 2)
    if mode != "train":
        return spec(mode, loss)
    step = tf1.train.get_global_step()
    adam = tf1.train.AdamOptimizer
    first = adam(0.1).minimize(loss, step, var_list=critic.trainable_variables)
    with tf.control_dependencies([first]):
        second = adam(0.1).minimize(-score, var_list=generator.trainable_variables)
    return models.CSEstimatorSpec(mode=mode, loss=loss + score, train_op=second)


def codes(features, labels, mode, params):
    """A vector-quantised autoencoder."""
    z = layers.Conv2D(8, 3, strides=2)(features)
    table = tf1.get_variable("codes", [16, 8])
    flat = tf.reshape(z, [-1, 8])
    far = tf.reduce_sum(table**2, 1) - 2 * tf.matmul(flat, table, transpose_b=True)
    nearest = tf.argmin(far, 1, output_type=tf.int32)
    q = tf.reshape(tf.gather(table, nearest), z.shape)
    loss = tf.reduce_mean((tf.stop_gradient(z) - q) ** 2)
    loss += 0.25 * tf.reduce_mean((z - tf.stop_gradient(q)) ** 2)
    y = layers.Conv2DTranspose(3, 3, strides=2)(z + tf.stop_gradient(q - z))
    return spec(mode, loss + tf.reduce_mean((y - features) ** 2))


def momentum_contrast(features, labels, mode, params):
    """A queue of keys, and an average of the weights that makes them."""
    x = layers.Flatten()(features)
    own = {"trainable": False}
    q = tf1.get_variable("q", [x.shape[-1], 8])
    k = tf1.get_variable("k", [x.shape[-1], 8], **own)
    queue = tf1.get_variable("queue", [16, 8], **own)
    zero = tf1.zeros_initializer()
    place = tf1.get_variable("place", [], tf.int32, initializer=zero, **own)
    a = tf.nn.l2_normalize(tf.matmul(x, q), 1)
    b = tf.stop_gradient(tf.nn.l2_normalize(tf.matmul(x, k), 1))
    same = tf.reduce_sum(a * b, 1, keepdims=True)
    logits = tf.concat([same, tf.matmul(a, queue, transpose_b=True)], 1)
    loss = cross_entropy(tf.zeros([BATCH], tf.int32), logits)
    if mode != "train":
        return spec(mode, loss)
    optimizer = tf1.train.MomentumOptimizer(0.1, 0.9)
    train_op = optimizer.minimize(loss, tf1.train.get_global_step())
    with tf.control_dependencies([train_op]):
        rows = (place + tf.range(BATCH)) % 16
        kept = [k.assign(0.99 * k + 0.01 * q), tf1.scatter_update(queue, rows, b)]
        with tf.control_dependencies(kept):
            moved = place.assign((place + BATCH) % 16)
    return models.CSEstimatorSpec(mode=mode, loss=loss, train_op=moved.op)


def focal(features, labels, mode, params):
    logits = layers.Dense(CLASSES)(layers.Flatten()(features))
    wanted = tf.one_hot(labels, CLASSES)
    p = tf.sigmoid(logits)
    right = tf.where(wanted > 0, p, 1 - p)
    losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=wanted, logits=logits)
    return spec(mode, tf.reduce_mean(0.25 * (1 - right) ** 2.0 * losses))


WRITTEN_OUT = {
    "unrolled": (classifier(unrolled), vectors(3)),
    "multi_head": (classifier(multi_head), vectors()),
    "gathered": (classifier(gathered), vectors(4)),
    "weight_norm": (classifier(weight_norm), images(1, 8)),
    "spectral_norm": (classifier(spectral_norm), images(1, 8)),
    "low_rank": (classifier(low_rank), images(1, 8)),
    "einsum_decoder": (einsum_decoder, models.tokens(12)),
    "mixture_of_softmaxes": (mixture_of_softmaxes, images(1, 8)),
    "capsules": (capsules, images(1, 12)),
    "adversaries": (adversaries, images(1, 8)),
    "codes": (codes, images(3, 9)),
    "momentum_contrast": (momentum_contrast, images(1, 8)),
    "focal": (focal, images(1, 8)),
}
