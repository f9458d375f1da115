"""Operations that sum: reductions, products, norms, convolutions, pools."""

import numpy as np
import torch
import torch.nn.functional as F

from case import ELEMENTWISE, NUMPY, ONCE, TORCH, Input, case, numbers
from shapes import counted

f32, f16, i32 = np.float32, np.float16, np.int32


def t(array):
    return torch.tensor(np.asarray(array, dtype=np.float64))


def record():
    reductions()
    sums()
    products()
    norms()
    convolutions()
    transposed()
    pools()


def reductions():
    x = numbers("reduce", (2, 2, 3))
    positive = numbers("log", (2, 3), 0.25, 4)
    for op in ("sum", "mean", "max", "min", "prod", "sum_square", "l1_norm", "l2_norm", "log_sum", "log_sum_exp"):
        sample = positive if op == "log_sum" else x
        # Sums of quarters are exact in fp32; what is divided, rooted or logarithmed after is rounded again.
        close = {
            "mean": ELEMENTWISE,
            "l2_norm": ELEMENTWISE,
            "log_sum": "ulp32:8",
            "log_sum_exp": "ulp32:8",
            "prod": ELEMENTWISE,
        }.get(op, "exact")
        name = f"reduce_{op}"
        case(name, close, {"x": Input(sample), "axes": [-1]}, "the last axis")
        case(name, close, {"x": Input(sample), "axes": [0, 1], "keep_dims": True}, "two axes, kept")
        case(name, close, {"x": Input(sample)}, "all axes by default")
        if op in ("sum", "max", "min", "prod", "sum_square"):
            case(name, "exact", {"x": Input(i32([[1, -2, 3], [4, 5, -6]])), "axes": [1]}, "integers")
    case(
        "reduce_log_sum_exp",
        "ulp32:8",
        {"x": Input(f32([[100, 101], [-100, -101]])), "axes": [1]},
        "where exp alone is too large or 0",
    )
    case("reduce_max", "exact", {"x": Input(f32([[-np.inf, -np.inf], [1, np.inf]])), "axes": [-1]}, "infinities")


def sums():
    x = numbers("cumsum", (2, 4))
    X = Input(x)
    case("cumsum", "exact", {"x": X}, "axis 0 by default")
    case("cumsum", "exact", {"x": X, "axis": -1}, "the last axis")
    before = np.cumsum(x, axis=1) - x
    case("cumsum", "exact", {"x": X, "axis": 1, "exclusive": True}, "without the element itself", before, NUMPY)
    case("cumsum", "exact", {"x": X, "axis": 1, "reverse": True}, "from the end")
    behind = x.sum(axis=1, keepdims=True) - np.cumsum(x, axis=1)
    case(
        "cumsum",
        "exact",
        {"x": X, "axis": 1, "exclusive": True, "reverse": True},
        "from the end, without the element itself",
        behind,
        NUMPY,
    )
    case("cumsum", "exact", {"x": Input(i32([1, 2, -5])), "axis": 0}, "integers")


def products():
    a, b = numbers("matmul", (2, 3)), numbers("matmul", (3, 4))
    case("matmul", "exact", {"x": Input(a), "y": Input(b)}, "plain")
    case("matmul", "exact", {"x": Input(a.T.copy()), "y": Input(b), "transpose_x": True}, "the first transposed")
    case("matmul", "exact", {"x": Input(a), "y": Input(b.T.copy()), "transpose_y": True}, "the second transposed")
    case(
        "matmul",
        "exact",
        {"x": Input(numbers("m", (2, 1, 2, 3))), "y": Input(numbers("m", (3, 3, 2)))},
        "batches that are broadcast",
    )
    case("matmul", "exact", {"x": Input(numbers("v", (3,))), "y": Input(b)}, "a vector at the left")
    case("matmul", "exact", {"x": Input(i32([[1, -2], [3, 4]])), "y": Input(i32([[5, 6], [-7, 8]]))}, "integers")
    case("linear", "exact", {"x": Input(a), "weight": b.T.copy(), "bias": f32([1, -1, 0.5, 2])}, "a bias")
    case("linear", "exact", {"x": Input(numbers("l", (2, 2, 3))), "weight": b.T.copy()}, "no bias, rank 3")
    case("linear", "exact", {"x": Input(a[0]), "weight": b.T.copy()}, "no bias, rank 1")
    einsum = lambda note, equation, *values: case(
        "einsum", "exact", {"values": tuple(map(Input, values)), "equation": equation}, note
    )  # noqa: E731
    einsum("one letter summed away in each", "nchw,nwhu->nchu", numbers("e", (1, 2, 2, 3)), numbers("e", (1, 3, 2, 2)))
    einsum("rank 3, other letters", "iaj,jak->iak", numbers("e", (2, 2, 3)), numbers("e", (3, 2, 2)))
    einsum("batches that are broadcast", "nchw,nwhu->nchu", numbers("e", (2, 1, 1, 3)), numbers("e", (1, 3, 2, 2)))
    q, k, v = (numbers(c, (1, 2, 3, 4), -1, 1) for c in "qkv")
    attention = {"query": Input(q), "key": Input(k), "value": Input(v)}
    # Weights of at most 1 on values of at most 1, each rounded to fp32 a few times.
    case("scaled_dot_product_attention", "abs:1e-6", attention, "no mask")
    mask = np.tril(np.ones((3, 3), dtype=bool))
    case("scaled_dot_product_attention", "abs:1e-6", attention | {"attn_mask": Input(mask)}, "a mask of booleans")
    added = numbers("mask", (3, 3), -2, 2)
    case("scaled_dot_product_attention", "abs:1e-6", attention | {"attn_mask": Input(added)}, "a mask that is added")
    want = F.scaled_dot_product_attention(t(q), t(k), t(v), t(added)).numpy()
    case(
        "scaled_dot_product_attention",
        "abs:2e-7",
        attention | {"attn_mask": Input(added)},
        "a mask that is added",
        want,
        TORCH,
    )
    q, k, v = numbers("q", (1, 2, 3), -1, 1), numbers("k", (1, 4, 3), -1, 1), numbers("v", (1, 4, 2), -1, 1)
    case(
        "scaled_dot_product_attention",
        "abs:2e-7",
        {"query": Input(q), "key": Input(k), "value": Input(v)},
        "of other lengths, rank 3",
        F.scaled_dot_product_attention(t(q), t(k), t(v)).numpy(),
        TORCH,
    )


def norms():
    x = numbers("norm", (2, 3, 2, 2))
    X = Input(x)
    # Results of a norm are of size 1; fp32 rounds them and the few sums before.
    near = "abs:1e-6"
    gamma, beta = f32([0.5, 2, -1]), f32([1, 0, -0.25])
    mean, variance = f32([0.5, -1, 0.25]), f32([1, 0.5, 4])
    stats = {"mean": mean, "variance": variance}
    m, v, g, b = map(t, (mean, variance, gamma, beta))
    case(
        "batch_norm",
        near,
        {"x": X} | stats,
        "without scale, the epsilon that holds by default",
        F.batch_norm(t(x), m, v, eps=1e-5).numpy(),
        TORCH,
    )
    case(
        "batch_norm",
        near,
        {"x": X, "gamma": gamma, "beta": beta, "epsilon": f32(0.125)} | stats,
        "with scale and epsilon",
        F.batch_norm(t(x), m, v, g, b, eps=0.125).numpy(),
        TORCH,
    )
    case(
        "batch_norm",
        near,
        {"x": Input(x[..., 0]), "gamma": gamma, "beta": beta} | stats,
        "rank 3",
        F.batch_norm(t(x[..., 0]), m, v, g, b).numpy(),
        TORCH,
    )
    case(
        "instance_norm",
        near,
        {"x": X},
        "without scale, the epsilon that holds by default",
        F.instance_norm(t(x), eps=1e-5).numpy(),
        TORCH,
    )
    case(
        "instance_norm",
        near,
        {"x": X, "gamma": gamma, "beta": beta, "epsilon": f32(0.125)},
        "with scale and epsilon",
        F.instance_norm(t(x), weight=g, bias=b, eps=0.125).numpy(),
        TORCH,
    )
    case(
        "instance_norm",
        near,
        {"x": Input(x[..., 0]), "epsilon": f32(0.5)},
        "rank 3",
        F.instance_norm(t(x[..., 0]), eps=0.5).numpy(),
        TORCH,
    )
    y = numbers("layer", (2, 4))
    scale, shift = f32([1, 0.5, -2, 1]), f32([0, 1, 0.25, -1])
    case(
        "layer_norm",
        near,
        {"x": Input(y), "axes": [-1], "gamma": scale, "beta": shift, "epsilon": f32(0.125)},
        "the last axis, with scale and epsilon",
    )
    case("layer_norm", near, {"x": Input(y), "axes": [1]}, "the epsilon that holds by default")
    case("layer_norm", near, {"x": Input(y), "axes": [0, 1]}, "all axes")
    want = F.layer_norm(t(x), (2, 2), t([[1, 2], [0.5, -1]]), eps=1e-5).numpy()
    case(
        "layer_norm",
        near,
        {"x": X, "axes": [2, 3], "gamma": f32([[1, 2], [0.5, -1]])},
        "two axes, scale alone",
        want,
        TORCH,
    )
    case("l2_norm", near, {"x": X, "epsilon": f32(0.5)}, "over all but the batch")
    case("l2_norm", near, {"x": Input(x[0])}, "rank 3, the epsilon that holds by default")
    z = numbers("lrn", (1, 5, 2, 2))
    case(
        "local_response_norm",
        near,
        {"x": Input(z), "size": 3, "alpha": f32(0.5), "beta": f32(0.75), "k": f32(2)},
        "three channels",
        F.local_response_norm(t(z), 3, 0.5, 0.75, 2).numpy(),
        TORCH,
    )
    case(
        "local_response_norm",
        near,
        {"x": Input(z), "size": 5},
        "what holds by default",
        F.local_response_norm(t(z), 5, 1e-4, 0.75, 1).numpy(),
        TORCH,
    )


def same_pads(sizes, kernel, strides, dilations, lower=False):
    """Padding to ceil(size / stride), the odd one behind or, if `lower`, before: TensorFlow's, which coremltools
    converts to `same`."""
    pads = []
    for n, k, s, d in zip(sizes, kernel, strides, dilations):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        pads += [-(-total // 2), total // 2] if lower else [total // 2, -(-total // 2)]
    return pads


def padded(x, pads, value=0.0):
    """`x` with pads of each spatial axis, in order; PyTorch wants the last axis first."""
    pairs = [pads[i : i + 2] for i in range(0, len(pads), 2)]
    return F.pad(x, [p for pair in reversed(pairs) for p in pair], value=value)


CONV = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}


def convolutions():
    def conv(note, x, w, pads=None, constant=True, opset="ios18", **args):
        spatial = x.ndim - 2
        s, d = args.get("strides", [1] * spatial), args.get("dilations", [1] * spatial)
        kind = args.get("pad_type", "valid")
        if kind in ("same", "same_lower"):
            pads = same_pads(x.shape[2:], w.shape[2:], s, d, kind == "same_lower")
        elif kind == "custom":
            pads = args["pad"]
        bias = args.get("bias")
        input_ = padded(t(x), pads or [0] * 2 * spatial)
        want = CONV[x.ndim](input_, t(w), None if bias is None else t(bias), s, 0, d, args.get("groups", 1)).numpy()
        weight = w if constant else Input(w)
        case("conv", "exact", {"x": Input(x), "weight": weight} | args, note, want, TORCH, opset)

    x2 = numbers("conv", (1, 2, 4, 5))
    w2 = numbers("conv", (2, 2, 3, 2), -2, 2)
    conv("2 axes, a bias", x2, w2, bias=f32([1, -0.5]))
    conv("strides", x2, w2, strides=[1, 2])
    conv("custom padding, a different one on each side", x2, w2, pad_type="custom", pad=[1, 0, 2, 1], strides=[2, 2])
    conv("dilations", numbers("c", (1, 1, 5, 5)), numbers("c", (1, 1, 2, 3), -2, 2), dilations=[2, 2])
    conv("`same`", x2, w2, pad_type="same")
    conv("`same_lower`", x2, w2, pad_type="same_lower")
    conv("`same` with strides", numbers("c", (1, 1, 4, 5)), w2[:1, :1], pad_type="same", strides=[2, 2])
    conv("`same_lower` with strides", numbers("c", (1, 1, 4, 5)), w2[:1, :1], pad_type="same_lower", strides=[2, 2])
    conv("groups", x2, numbers("g", (4, 1, 2, 2), -2, 2), groups=2)
    conv("1 axis, the weight is an input", numbers("c", (2, 2, 5)), numbers("w", (3, 2, 2), -2, 2), constant=False)
    conv("3 axes", numbers("c", (1, 1, 3, 3, 2)), numbers("w", (1, 1, 2, 2, 2), -2, 2))
    conv("1 axis, an old opset", numbers("c", (1, 1, 6)), numbers("w", (2, 1, 3), -2, 2), opset="ios15", strides=[2])


TRANSPOSED = {3: F.conv_transpose1d, 4: F.conv_transpose2d, 5: F.conv_transpose3d}


def transposed():
    def conv(note, x, w, opset="ios18", **args):
        spatial = x.ndim - 2
        s, d = args.get("strides", [1] * spatial), args.get("dilations", [1] * spatial)
        full = TRANSPOSED[x.ndim](t(x), t(w), None, s, 0, 0, args.get("groups", 1), d)
        pads = args.get("pad", [0] * 2 * spatial)
        size = [n - pads[2 * i] - pads[2 * i + 1] for i, n in enumerate(full.shape[2:])]
        if args.get("pad_type") == "same":
            size = [n * k for n, k in zip(x.shape[2:], s)]
            pads = [p for n, m in zip(full.shape[2:], size) for p in ((n - m) // 2, -(-(n - m) // 2))]
        if "output_shape" in args:
            size = args["output_shape"][2:]
        for i, n in enumerate(size):
            begin = pads[2 * i]
            beyond = max(begin + n - full.shape[2 + i], 0)
            wider = [0] * 2 * spatial
            wider[2 * i + 1] = beyond
            full = padded(full, wider).narrow(2 + i, begin, n)
        if "bias" in args:
            full = full + t(args["bias"]).reshape(-1, *[1] * spatial)
        case("conv_transpose", "exact", {"x": Input(x), "weight": w} | args, note, full.numpy(), TORCH, opset)

    x = numbers("ct", (1, 2, 2, 3))
    w = numbers("ct", (2, 1, 2, 3), -2, 2)
    conv("2 axes, a bias", x, w, bias=f32([0.5]))
    conv("strides", x, w, strides=[2, 1])
    conv("custom padding, a different one on each side", x, w, strides=[2, 2], pad_type="custom", pad=[1, 0, 0, 2])
    conv("dilations", x, w, dilations=[2, 1])
    conv("groups", x, numbers("ctg", (2, 2, 2, 2), -2, 2), groups=2)
    conv("`same` with strides", x, w, strides=[2, 2], pad_type="same")
    conv(
        "a given size, a row more than is needed",
        x,
        w,
        strides=[2, 2],
        pad_type="custom",
        pad=[1, 1, 0, 0],
        output_shape=[1, 1, 3, 7],
    )
    conv("1 axis", numbers("ct", (1, 1, 4)), numbers("ct1", (1, 2, 3), -2, 2), strides=[2])


def pools():
    kinds = {"max_pool": -np.inf, "avg_pool": 0.0, "l2_pool": 0.0}

    def pool(note, x, kernel, **args):
        spatial = len(kernel)
        s = args.get("strides", [1] * spatial)
        kind = args["pad_type"]
        pads = [0] * 2 * spatial
        if kind in ("same", "same_lower"):
            pads = same_pads(x.shape[2:], kernel, s, [1] * spatial, kind == "same_lower")
        elif kind == "custom":
            pads = args["pad"]
        for op, outside in kinds.items():
            if op == "l2_pool" and spatial == 3:
                continue
            excluded = (False, True) if op == "avg_pool" and any(pads) else (False,)
            for exclude in excluded:
                want = pooled(op, t(x), kernel, s, pads, outside, args.get("ceil_mode", False), exclude)
                more = {"exclude_padding_from_average": True} if exclude else {}
                close = "exact" if op == "max_pool" else ONCE
                words = note + (", which is not counted" if exclude else "")
                case(op, close, {"x": Input(x), "kernel_sizes": kernel} | more | args, words, want, TORCH)

    x = numbers("pool", (1, 2, 4, 5))
    pool("2 axes, no padding", x, [2, 3], pad_type="valid")
    pool("strides", x, [2, 2], strides=[2, 2], pad_type="valid")
    pool(
        "custom padding, a different one on each side",
        x[:, :1],
        [3, 2],
        strides=[1, 2],
        pad_type="custom",
        pad=[1, 0, 0, 1],
    )
    pool("`same`", x[:, :1], [2, 3], strides=[1, 2], pad_type="same")
    pool("`same_lower`", x[:, :1], [2, 3], strides=[1, 2], pad_type="same_lower")
    pool("sizes rounded up", x[:, :1], [2, 2], strides=[2, 2], pad_type="valid", ceil_mode=True)
    pool(
        "sizes rounded up, with padding",
        x[:, :1],
        [3, 3],
        strides=[2, 2],
        pad_type="custom",
        pad=[1, 1, 1, 1],
        ceil_mode=True,
    )
    pool("1 axis", numbers("pool", (2, 1, 5)), [3], strides=[2], pad_type="custom", pad=[1, 1])
    pool("3 axes", numbers("pool", (1, 1, 2, 3, 3)), [2, 2, 2], pad_type="valid")


def pooled(op, x, kernel, strides, pads, outside, ceil, exclude):
    """Pooling by PyTorch's windows of the padded input; with `ceil`, windows that begin in the padding behind are left
    out, as PyTorch does."""
    sizes, more = list(x.shape[2:]), [0] * len(pads)
    if ceil:
        for i, (n, k, s) in enumerate(zip(sizes, kernel, strides)):
            whole = n + pads[2 * i] + pads[2 * i + 1]
            out = -(-(whole - k) // s) + 1
            if (out - 1) * s >= n + pads[2 * i]:
                out -= 1
            more[2 * i + 1] = max((out - 1) * s + k - whole, 0)
    y = padded(padded(x, pads, outside), more, outside)
    # What counts in an average: the input, and the padding if it is not excluded, but never what `ceil` adds.
    counts = padded(padded(torch.ones_like(x), pads, 0.0 if exclude else 1.0), more, 0.0)
    for i, (k, s) in enumerate(zip(kernel, strides)):
        y, counts = y.unfold(2 + i, k, s), counts.unfold(2 + i, k, s)
    axes = tuple(range(-len(kernel), 0))
    if op == "max_pool":
        return y.amax(axes).numpy()
    if op == "l2_pool":
        return y.square().sum(axes).sqrt().numpy()
    return (y.sum(axes) / counts.sum(axes)).numpy()
