"""Layers' programs against numpy."""

import numpy as np
import pytest
from wafer_runtime.simulator import attention, costs, kernels
from wafer_runtime.simulator.fabric import Fabric

EVERY = slice(None)
COLUMNS, ROWS = 3, 2
NEAR = {"float32": 2e-6, "float16": 3e-3}


def whole(*shape):
    """Whole numbers so small that every sum of products is exact."""
    return np.random.default_rng(len(shape)).integers(-3, 4, shape)


def pes(dtype):
    return kernels.Pes(COLUMNS, ROWS, dtype=dtype)


def execute(made, **arrays):
    """Write x into the first row, y into the first column, w everywhere; run."""
    fabric = Fabric(made.layout)
    places = {"x": (EVERY, 0), "y": (0, EVERY), "w": (EVERY, EVERY)}
    for name, values in arrays.items():
        x, y = places[name]
        fabric.write(getattr(made, name), values, x=x, y=y)
    fabric.run()
    return {n: fabric.read(getattr(made, n), *places[n]) for n in "xyw"}


def products(a, b, dtype=None):
    """a b' [..., i, j]: summed in order in float32, rounded once (to a's dtype)."""
    each = a.astype("f4")[..., :, None, :] * b.astype("f4")[..., None, :, :]
    return np.add.accumulate(each, axis=-1)[..., -1].astype(dtype or a.dtype)


def turned(a):
    return a.swapaxes(-1, -2)


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
        made = kernels.forward(self.tile, pes(dtype))
        found = execute(made, x=x, w=w)["y"].reshape(ROWS, 2, 4).transpose(1, 0, 2)
        np.testing.assert_array_equal(found.reshape(2, -1), self.x @ self.w)

    def test_forward_of_any_values(self, dtype):
        x, _, w = self.parts()
        generator = np.random.default_rng(0)
        x = generator.standard_normal(x.shape).astype(dtype)
        w = generator.standard_normal(w.shape).astype(dtype)
        found = execute(kernels.forward(self.tile, pes(dtype)), x=x, w=w)["y"]
        # [row, column, sample, output]; sums come from the last column on.
        parts = products(x.reshape(1, 3, 2, 5), turned(w.reshape(2, 3, 5, 4)), "f4")
        want = (parts[:, 2] + parts[:, 1]) + parts[:, 0]
        np.testing.assert_array_equal(found.reshape(want.shape), want)

    def test_input_gradient(self, dtype):
        _, dy, w = self.parts()
        made = kernels.input_gradient(self.tile, pes(dtype))
        found = execute(made, y=dy, w=w)["x"].reshape(COLUMNS, 2, 5).transpose(1, 0, 2)
        np.testing.assert_array_equal(found.reshape(2, -1), self.dy @ self.w.T)

    def test_weight_gradient(self, dtype):
        x, dy, _ = self.parts()
        made = kernels.weight_gradient(self.tile, pes(dtype))
        found = execute(made, x=x, y=dy)["w"].reshape(ROWS, COLUMNS, 5, 4)
        found = found.transpose(1, 2, 0, 3).reshape(COLUMNS * 5, -1)
        np.testing.assert_array_equal(found, self.x.T @ self.dy)


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
        """x [H, W, C], w [R, S, C, K], dy [h, w, K], of the whole layer."""
        c, k = tile.channels * COLUMNS, tile.filters * ROWS
        x = whole(tile.height, tile.width, c)
        return x, whole(*tile.kernel, c, k), whole(*tile.output, k)

    def windows(self, tile, x):
        """[h, w, C, R, S], a view of x."""
        found = np.lib.stride_tricks.sliding_window_view(
            x, tile.kernel, axis=(0, 1), writeable=True
        )
        return found[:: tile.strides[0], :: tile.strides[1]]

    def in_columns(self, x):
        """[1, COLUMNS, elements]: each PE's channels."""
        return np.stack(np.split(x, COLUMNS, axis=2)).reshape(1, COLUMNS, -1)

    def in_rows(self, y):
        return np.stack(np.split(y, ROWS, axis=2)).reshape(ROWS, 1, -1)

    def in_pes(self, w):
        """Each PE's [K, R, S, C]."""
        r, s, c, k = w.shape
        w = w.reshape(r, s, COLUMNS, c // COLUMNS, ROWS, k // ROWS)
        return w.transpose(4, 2, 5, 0, 1, 3).reshape(ROWS, COLUMNS, -1)

    def test_forward(self, tile, dtype):
        x, w, _ = self.operands(tile)
        made = kernels.forward(tile, pes(dtype))
        found = execute(made, x=self.in_columns(x), w=self.in_pes(w))["y"]
        want = np.einsum("hwcrs,rsck->hwk", self.windows(tile, x), w)
        np.testing.assert_array_equal(found, self.in_rows(want))

    def test_input_gradient(self, tile, dtype):
        x, w, dy = self.operands(tile)
        made = kernels.input_gradient(tile, pes(dtype))
        found = execute(made, y=self.in_rows(dy), w=self.in_pes(w))["x"]
        want = np.zeros_like(x)
        for r, s in np.ndindex(tile.kernel):
            window = self.windows(tile, want)[..., r, s]
            window += np.einsum("hwk,ck->hwc", dy, w[r, s])
        np.testing.assert_array_equal(found, self.in_columns(want))

    def test_weight_gradient(self, tile, dtype):
        x, w, dy = self.operands(tile)
        made = kernels.weight_gradient(tile, pes(dtype))
        found = execute(made, x=self.in_columns(x), y=self.in_rows(dy))["w"]
        want = np.einsum("hwcrs,hwk->rsck", self.windows(tile, x), dy)
        assert want.shape == w.shape
        np.testing.assert_array_equal(found, self.in_pes(want))


class TestAttention:
    """Equal to numpy in the same precision, and so near to what is exact."""

    heads, n, d = 3, 6, 4

    def operands(self, dtype):
        """q, k, v, do and the weights p."""
        generator = np.random.default_rng(0)
        shape = (4, self.heads, self.n, self.d)
        return generator.standard_normal(shape).astype(dtype)

    def weights(self, q, k):
        scores = products(q, k) * q.dtype.type(self.d**-0.5)
        scores = scores - scores.max(axis=-1, keepdims=True)
        shares = np.exp(scores.astype("f8")).astype(q.dtype)
        total = np.add.accumulate(shares.astype("f4"), axis=-1)[..., -1:]
        return shares / total.astype(q.dtype)

    @pytest.mark.parametrize("dtype", ["float32", "float16"])
    def test_forward(self, dtype):
        q, k, v, _ = self.operands(dtype)
        made = attention.attention(self.heads, self.n, self.d, dtype)
        attention.forward(made)
        o, p = run_attention(made, {"q": q, "k": k, "v": v}, "o", "p")
        weights = self.weights(q, k)
        np.testing.assert_array_equal(p.reshape(weights.shape), weights)
        np.testing.assert_array_equal(o.reshape(v.shape), products(weights, turned(v)))
        exact = np.exp(q.astype("f8") @ turned(k).astype("f8") / self.d**0.5)
        exact /= exact.sum(axis=2, keepdims=True)
        np.testing.assert_allclose(weights, exact, atol=NEAR[dtype])

    @pytest.mark.parametrize("dtype", ["float32", "float16"])
    def test_gradients(self, dtype):
        q, k, v, do = self.operands(dtype)
        p = self.weights(q, k)
        made = attention.attention(self.heads, self.n, self.d, dtype)
        attention.gradient(made)
        given = {"q": q, "k": k, "v": v, "do": do, "p": p}
        dq, dk, dv = run_attention(made, given, "dq", "dk", "dv")
        dp = products(do, v)
        each = dp.astype("f4") * p.astype("f4")
        mean = np.add.accumulate(each, axis=-1)[..., -1:].astype(dtype)
        ds = (dp - mean) * p * p.dtype.type(self.d**-0.5)
        want = {"q": products(ds, turned(k)), "k": products(turned(ds), turned(q))}
        want["v"] = products(turned(p), turned(do))
        for name, found in (("q", dq), ("k", dk), ("v", dv)):
            np.testing.assert_array_equal(found.reshape(q.shape), want[name], name)
        exact = [a.astype("f8") for a in (q, k, v, do, p)]
        exact_dp = exact[3] @ turned(exact[2])
        exact_mean = (exact_dp * exact[4]).sum(axis=2, keepdims=True)
        exact_ds = (exact_dp - exact_mean) * exact[4] / self.d**0.5
        near = 4 * NEAR[dtype]
        np.testing.assert_allclose(want["q"], exact_ds @ exact[1], atol=near)
        np.testing.assert_allclose(want["k"], turned(exact_ds) @ exact[0], atol=near)


def run_attention(made, given, *wanted):
    heads = made.layout.width
    fabric = Fabric(made.layout)
    for name, values in given.items():
        fabric.write(made.arrays[name], values.reshape(heads, -1), x=EVERY)
    fabric.run()
    return [fabric.read(made.arrays[name], x=EVERY) for name in wanted]


@pytest.mark.parametrize("size", [(4, 3), (1, 6), (6, 1)])
@pytest.mark.parametrize(
    "tile", [kernels.Dense(3, 16, 12), kernels.Conv(4, 6, 6, 6, (3, 3))]
)
def test_cycles_are_those_of_one_pe_and_of_the_collectives(tile, size):
    """Broadcasts and chains of more than one PE are as long as published."""

    def of(formula, pes, array):
        wavelets = -(-array.length * array.dtype.itemsize // 4)
        return formula(pes, wavelets, 2) if pes > 1 else 0

    columns, rows = size
    broadcast, chain = costs.broadcast, costs.chain
    for write, parts in (
        (kernels.forward, [(broadcast, rows, "x"), (chain, columns, "y")]),
        (kernels.input_gradient, [(broadcast, columns, "y"), (chain, rows, "x")]),
        (kernels.weight_gradient, [(broadcast, rows, "x"), (broadcast, columns, "y")]),
    ):
        alone = Fabric(write(tile, kernels.Pes()).layout).run().cycles
        made = write(tile, kernels.Pes(columns, rows))
        between = sum(of(how, pes, getattr(made, name)) for how, pes, name in parts)
        assert Fabric(made.layout).run().cycles == alone + between
