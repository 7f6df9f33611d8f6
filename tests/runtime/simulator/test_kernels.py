"""Layers' programs against numpy."""

import numpy as np
import pytest
from wafer_runtime.simulator import attention, kernels
from wafer_runtime.simulator.fabric import Fabric

EVERY = slice(None)
COLUMNS, ROWS = 3, 2


def whole(*shape):
    """Whole numbers so small that every sum of products is exact."""
    return np.random.default_rng(len(shape)).integers(-3, 4, shape)


def execute(made, **arrays):
    """Write x into the first row, y into the first column, w everywhere; run."""
    fabric = Fabric(made.layout)
    places = {"x": (EVERY, 0), "y": (0, EVERY), "w": (EVERY, EVERY)}
    for name, values in arrays.items():
        x, y = places[name]
        fabric.write(getattr(made, name), values, x=x, y=y)
    fabric.run()
    return {n: fabric.read(getattr(made, n), *places[n]) for n in "xyw"}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
class TestDense:
    tile = kernels.Dense(samples=2, inputs=5, outputs=4)
    x = whole(2, COLUMNS * 5)
    w = whole(COLUMNS * 5, ROWS * 4, 1)[..., 0]
    dy = whole(2, ROWS * 4)

    def parts(self):
        """x [1, column, ...], dy [row, 1, ...] and w [row, column, ...]."""
        x = self.x.reshape(2, COLUMNS, 5).transpose(1, 0, 2).reshape(1, COLUMNS, -1)
        dy = self.dy.reshape(2, ROWS, 4).transpose(1, 0, 2).reshape(ROWS, 1, -1)
        w = self.w.reshape(COLUMNS, 5, ROWS, 4).transpose(2, 0, 1, 3)
        return x, dy, w.reshape(ROWS, COLUMNS, -1)

    def test_forward(self, dtype):
        x, _, w = self.parts()
        made = kernels.forward(self.tile, COLUMNS, ROWS, dtype)
        found = execute(made, x=x, w=w)["y"].reshape(ROWS, 2, 4).transpose(1, 0, 2)
        np.testing.assert_array_equal(found.reshape(2, -1), self.x @ self.w)

    def test_input_gradient(self, dtype):
        _, dy, w = self.parts()
        made = kernels.input_gradient(self.tile, COLUMNS, ROWS, dtype)
        found = execute(made, y=dy, w=w)["x"].reshape(COLUMNS, 2, 5).transpose(1, 0, 2)
        np.testing.assert_array_equal(found.reshape(2, -1), self.dy @ self.w.T)

    def test_weight_gradient(self, dtype):
        x, dy, _ = self.parts()
        made = kernels.weight_gradient(self.tile, COLUMNS, ROWS, dtype)
        found = execute(made, x=x, y=dy)["w"].reshape(ROWS, COLUMNS, 5, 4)
        found = found.transpose(1, 2, 0, 3).reshape(COLUMNS * 5, -1)
        np.testing.assert_array_equal(found, self.x.T @ self.dy)


@pytest.mark.parametrize(("dtype", "lanes"), [("float32", 2), ("float16", 4)])
def test_what_a_product_costs(dtype, lanes):
    made = kernels.weight_gradient(kernels.Dense(7, 6, 21), 1, 1, dtype)
    # For every sample and input: its value into a register, then a row of outputs.
    assert Fabric(made.layout).run().cycles == 7 * 6 * (1 + -(-21 // lanes))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    "tile",
    [
        kernels.Conv(2, 3, 6, 7, kernel=(3, 3)),
        kernels.Conv(1, 2, 7, 6, kernel=(3, 2), strides=(2, 2)),
        kernels.Conv(4, 4, 3, 3, kernel=(1, 1)),
    ],
    ids=["3x3", "strided", "1x1"],
)
class TestConv:
    def operands(self, tile):
        """x [C, H, W], w [R, S, K, C], dy [K, h, w], of the whole layer."""
        c, k = tile.channels * COLUMNS, tile.filters * ROWS
        x = whole(c, tile.height, tile.width)
        return x, whole(*tile.kernel, k, c), whole(k, *tile.output)

    def windows(self, tile, x):
        """[C, h, w, R, S], a view of x."""
        found = np.lib.stride_tricks.sliding_window_view(
            x, tile.kernel, axis=(1, 2), writeable=True
        )
        return found[:, :: tile.strides[0], :: tile.strides[1]]

    def weights_in_pes(self, tile, w):
        r, s, k, c = w.shape
        w = w.reshape(r, s, ROWS, k // ROWS, COLUMNS, c // COLUMNS)
        return w.transpose(2, 4, 0, 1, 3, 5).reshape(ROWS, COLUMNS, -1)

    def test_forward(self, tile, dtype):
        x, w, _ = self.operands(tile)
        made = kernels.forward(tile, COLUMNS, ROWS, dtype)
        found = execute(
            made, x=x.reshape(1, COLUMNS, -1), w=self.weights_in_pes(tile, w)
        )["y"]
        want = np.einsum("chwrs,rskc->khw", self.windows(tile, x), w)
        np.testing.assert_array_equal(found.reshape(want.shape), want)

    def test_input_gradient(self, tile, dtype):
        x, w, dy = self.operands(tile)
        made = kernels.input_gradient(tile, COLUMNS, ROWS, dtype)
        found = execute(
            made, y=dy.reshape(ROWS, 1, -1), w=self.weights_in_pes(tile, w)
        )["x"]
        want = np.zeros_like(x)
        for r, s in np.ndindex(tile.kernel):
            window = self.windows(tile, want)[..., r, s]
            window += np.einsum("khw,kc->chw", dy, w[r, s])
        np.testing.assert_array_equal(found.reshape(want.shape), want)

    def test_weight_gradient(self, tile, dtype):
        x, w, dy = self.operands(tile)
        made = kernels.weight_gradient(tile, COLUMNS, ROWS, dtype)
        found = execute(made, x=x.reshape(1, COLUMNS, -1), y=dy.reshape(ROWS, 1, -1))[
            "w"
        ]
        want = np.einsum("chwrs,khw->rskc", self.windows(tile, x), dy)
        assert want.shape == w.shape
        np.testing.assert_array_equal(found, self.weights_in_pes(tile, want))


@pytest.mark.parametrize(("dtype", "error"), [("float32", 2e-6), ("float16", 1e-2)])
def test_attention_and_its_gradients(dtype, error):
    heads, n, d = 3, 6, 4
    generator = np.random.default_rng(0)
    q, k, v, do = generator.standard_normal((4, heads, n, d)).astype(dtype)
    made = attention.attention(heads, n, d, dtype)
    attention.forward(made)
    given = {"q": q, "k": k, "v": v}
    o, p = run_attention(made, given, "o", "p")
    exact = [a.astype("f8") for a in (q, k, v, do)]
    scores = np.einsum("hid,hjd->hij", exact[0], exact[1]) / d**0.5
    weights = np.exp(scores) / np.exp(scores).sum(axis=2, keepdims=True)
    np.testing.assert_allclose(p.reshape(weights.shape), weights, atol=error)
    np.testing.assert_allclose(
        o.reshape(q.shape), weights @ exact[2], atol=error, rtol=error
    )

    made = attention.attention(heads, n, d, dtype)
    attention.gradient(made)
    given |= {"do": do, "p": weights}
    dq, dk, dv = run_attention(made, given, "dq", "dk", "dv")
    dp = exact[3] @ exact[2].transpose(0, 2, 1)
    ds = weights * (dp - (dp * weights).sum(axis=2, keepdims=True)) / d**0.5
    want = (ds @ exact[1], ds.transpose(0, 2, 1) @ exact[0])
    want += (weights.transpose(0, 2, 1) @ exact[3],)
    for found, exactly in zip((dq, dk, dv), want, strict=True):
        np.testing.assert_allclose(
            found.reshape(q.shape), exactly, atol=4 * error, rtol=error
        )


def run_attention(made, given, *wanted):
    heads = made.layout.width
    fabric = Fabric(made.layout)
    for name, values in given.items():
        fabric.write(made.arrays[name], values.reshape(heads, -1), x=EVERY)
    fabric.run()
    return [fabric.read(made.arrays[name], x=EVERY) for name in wanted]
