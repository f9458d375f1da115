"""Operations on each element by itself, activations, comparisons, casts."""

import math

import numpy as np
import torch

from case import ELEMENTWISE, ONCE, TORCH, NUMPY, Input, case, numbers

f32, f16, i32 = np.float32, np.float16, np.int32


def once(function, *arrays):
    """PyTorch's result in fp64."""
    return function(*[torch.tensor(np.asarray(a, dtype=np.float64)) for a in arrays]).numpy()


def record():
    unary()
    binary()
    activations()
    casts()


def unary():
    halves = f32([-2.5, -1.5, -0.5, -0.49999997, 0.5, 1.5, 2.5, 3.25])
    for op in ("round", "floor", "ceil"):
        case(op, "exact", {"x": Input(halves)}, "halves of either sign")
        case(op, "exact", {"x": Input(f16([[-1.5, 0.5, 2.5], [1025.0, -0.25, 3.75]]))}, "fp16")
    for op in ("abs", "sign", "square"):
        case(op, "exact", {"x": Input(f32([-3.0, -0.25, 0.0, 0.5, 1e-20 if op != "square" else 2.0, np.inf]))}, "fp32")
        case(op, "exact", {"x": Input(i32([-7, 0, 5]))}, "integers")
    unit = f32([-1.0, -0.75, -0.125, 0.0, 0.3, 0.9, 1.0])
    wide = f32([-4.0, -1.5, -0.1, 0.0, 1e-5, 0.7, 2.0, 5.5])
    for op in ("acos", "asin"):
        case(op, ELEMENTWISE, {"x": Input(unit)}, "from -1 to 1")
    for op in ("atan", "sin", "cos", "tan", "sinh", "cosh", "tanh", "exp", "exp2", "erf"):
        case(op, ELEMENTWISE, {"x": Input(wide)}, "both signs, small and large")
    case("atan", ELEMENTWISE, {"x": Input(f32([-np.inf, -1e10, 1e10, np.inf]))}, "its limits")
    case("tanh", ELEMENTWISE, {"x": Input(f32([-np.inf, -50, 50, np.inf]))}, "its limits")
    case("erf", ELEMENTWISE, {"x": Input(f32([-np.inf, -6, 6, np.inf]))}, "its limits")
    case("exp", ELEMENTWISE, {"x": Input(f32([-np.inf, -104, 88.5, 89, np.inf]))}, "beyond the range of fp32")
    case("exp2", "exact", {"x": Input(f32([-149, -126, -1, 0, 10, 128]))}, "powers that fp32 holds, and one too large")
    case("atanh", ELEMENTWISE, {"x": Input(f32([-1, -0.9, 0, 1e-4, 0.5, 1]))}, "its poles")
    case("sqrt", ELEMENTWISE, {"x": Input(f32([0.0, 0.25, 2.0, 3.0, 1e-38, 1e30]))}, "from 0 on")
    positive = f32([0.0, 0.25, 1.0, 3.0, 1e6])
    for op in ("rsqrt", "log"):
        case(op, ELEMENTWISE, {"x": Input(positive), "epsilon": f32(0.125)}, "with an epsilon")
        case(op, ELEMENTWISE, {"x": Input(positive[1:])}, "the epsilon that holds by default")
    case("log", ELEMENTWISE, {"x": Input(f32([0.0]))}, "0 with the epsilon that holds by default")
    signed = f32([-2.0, -0.5, 0.25, 1.0, 3.0])
    case("inverse", ELEMENTWISE, {"x": Input(signed), "epsilon": f32(0.125)}, "with an epsilon")
    case("inverse", ELEMENTWISE, {"x": Input(signed)}, "the epsilon that holds by default")
    case("clip", "exact", {"x": Input(wide), "alpha": f32(-1.5), "beta": f32(0.7)}, "its bounds are values of x")
    case("clip", "exact", {"x": Input(f16([-3, 0, 3])), "alpha": f16(-np.inf), "beta": f16(1)}, "fp16, no lower bound")
    case("threshold", "exact", {"x": Input(wide), "alpha": f32(0.7)}, "the larger of x and alpha")
    case("threshold", "exact", {"x": Input(i32([-3, 0, 2])), "alpha": i32(-1)}, "integers")
    case("logical_not", "exact", {"x": Input(np.array([[True, False]]))}, "both")
    case("identity", "exact", {"x": Input(f32([[1.5, -2]]))}, "nothing changes")
    case("identity", "exact", {"x": Input(i32(7))}, "a scalar")


def binary():
    column, row = f32([[-3.0], [0.5], [2.0]]), f32([1.5, -0.75, 4.0])
    for op in ("add", "sub", "mul", "real_div", "floor_div", "mod", "maximum", "minimum"):
        close = ELEMENTWISE if op in ("real_div", "mod") else "exact"
        case(op, close, {"x": Input(column), "y": Input(row)}, "a column with a row, both signs")
        case(
            op,
            close,
            {"x": Input(f32([[[1.0, -2.5]], [[3.5, 4.0]]])), "y": f32(-2.0)},
            "a tensor with a constant scalar",
        )
        if op != "real_div":
            x, y = i32([-7, -7, 7, 7, 0, 6]), i32([2, -2, 2, -2, 5, -3])
            case(op, "exact", {"x": Input(x), "y": Input(y)}, "integers of either sign")
    case("real_div", "exact", {"x": Input(f32([1, -1, 0])), "y": Input(f32([0, 0, 4]))}, "division by 0")
    case(
        "mod",
        "exact",
        {"x": Input(f32([5.5, -5.5, 5.5, -5.5, 6])), "y": Input(f32([2, 2, -2, -2, 3]))},
        "the sign of the divisor",
    )
    case(
        "floor_div",
        "exact",
        {"x": Input(f32([5.5, -5.5, 5.5, -5.5, 6])), "y": Input(f32([2, 2, -2, -2, 3]))},
        "towards minus infinity",
    )
    case("add", "exact", {"x": Input(f16([2048, 0.1])), "y": Input(f16([1, 0.2]))}, "fp16, rounded to even")
    case(
        "pow",
        ELEMENTWISE,
        {"x": Input(f32([[2.0], [0.5], [3.0]])), "y": Input(f32([0.5, -1, 2, 0]))},
        "a column with a row",
    )
    case(
        "pow",
        ELEMENTWISE,
        {"x": Input(f32([-2, -2, -2, 0, 0])), "y": Input(f32([3, -1, 0, 0, 2]))},
        "negative bases, whole exponents, 0",
    )
    case("pow", "exact", {"x": Input(i32([2, -3, 5])), "y": Input(i32([10, 3, 0]))}, "integers")
    a, b = f32([[-1.0], [2.0]]), f32([-1.0, 2.0, 3.0])
    for op in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"):
        case(op, "exact", {"x": Input(a), "y": Input(b)}, "a column with a row")
        case(
            op,
            "exact",
            {"x": Input(i32([16777216, 5, -1])), "y": Input(i32([16777217, 5, 0]))},
            "integers that fp32 does not hold",
        )
    for op in ("logical_and", "logical_or", "logical_xor"):
        case(op, "exact", {"x": Input(np.array([[True], [False]])), "y": Input(np.array([True, False]))}, "all pairs")
    cond = np.array([[True, False, True]])
    case(
        "select",
        "exact",
        {"cond": Input(cond), "a": Input(f32([[1, 2, 3]])), "b": Input(f32([[-1, -2, -3]]))},
        "element by element",
    )
    case(
        "select",
        "exact",
        {"cond": Input(np.array([[True], [False]])), "a": Input(i32([[1, 2]])), "b": Input(i32([[-1], [-2]]))},
        "everything is broadcast",
    )


def activations():
    x = f32([-7.5, -3.0, -1.0, -0.25, 0.0, 0.5, 1.0, 3.0, 6.0, 8.25])
    for op in ("relu", "relu6"):
        case(op, "exact", {"x": Input(x)}, "on both sides of its corners")
    for op in ("sigmoid", "softsign"):
        case(op, ELEMENTWISE, {"x": Input(x)}, "both signs")
    case("softplus", "abs:1e-6", {"x": Input(x)}, "both signs; coremltools adds 1 in fp32 before the logarithm")
    case("softplus", ONCE, {"x": Input(x)}, "both signs", np.logaddexp(0, x.astype(np.float64)), NUMPY)
    case("sigmoid", "abs:1e-30", {"x": Input(f32([-80.0, 80.0]))}, "far from 0")
    case("softplus", ELEMENTWISE, {"x": Input(f32([50.0, 100.0]))}, "far from 0, where exp is too large")
    for mode in (None, "EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"):
        args = {"x": Input(x)} | ({"mode": mode} if mode else {})
        case(
            "gelu",
            "abs:2e-6",
            args,
            f"{mode or 'the default mode'}; coremltools cancels in fp32 where x is far below 0",
        )
    exact = np.array([v * 0.5 * math.erfc(-v / math.sqrt(2)) for v in x.tolist()])
    case(
        "gelu",
        {"reference": ONCE, "soft": "ulp32:8"},
        {"x": Input(x)},
        "the default mode",
        exact,
        "Python's erfc, in fp64",
    )
    tanh = once(lambda t: torch.nn.functional.gelu(t, approximate="tanh"), x)
    case("gelu", "abs:2e-7", {"x": Input(x), "mode": "TANH_APPROXIMATION"}, "the constants are fp32 ones", tanh, TORCH)
    case("silu", ONCE, {"x": Input(x)}, "both signs", once(torch.nn.functional.silu, x), TORCH)
    alpha, beta = f32(0.5), f32(0.75)
    case("leaky_relu", "exact", {"x": Input(x), "alpha": alpha}, "both signs")
    case("elu", ELEMENTWISE, {"x": Input(x), "alpha": alpha}, "both signs")
    case("sigmoid_hard", "exact", {"x": Input(x), "alpha": f32(0.25), "beta": alpha}, "on both sides of its corners")
    case("scaled_tanh", ELEMENTWISE, {"x": Input(x), "alpha": f32(1.5), "beta": alpha}, "both signs")
    case("clamped_relu", "exact", {"x": Input(x), "alpha": alpha, "beta": f32(2)}, "on both sides of its corners")
    case("thresholded_relu", "exact", {"x": Input(x), "alpha": alpha}, "a value that is alpha stays")
    case("linear_activation", "exact", {"x": Input(x), "alpha": alpha, "beta": beta}, "both signs")
    channels = numbers("prelu", (1, 3, 2, 2))
    case("prelu", "exact", {"x": Input(channels), "alpha": f32([0.5, -0.25, 0])}, "one slope for each channel")
    case(
        "prelu",
        "exact",
        {"x": Input(channels[..., 0]), "alpha": f32([0.5, 0.5, 0.5])},
        "rank 3, where all slopes must be the same",
    )
    slopes = {"alpha": f32([0.5, 1, 2]), "beta": f32([1, 0.5, -1])}
    case("softplus_parametric", "ulp32:8", {"x": Input(channels), **slopes}, "two parameters for each channel")
    a, b = (v.reshape(1, 3, 1, 1).astype(np.float64) for v in slopes.values())
    case(
        "softplus_parametric",
        ONCE,
        {"x": Input(channels), **slopes},
        "two parameters for each channel",
        a * np.log1p(np.exp(b * channels)),
        NUMPY,
    )
    scores = f32([[1, 2, 3, -1], [100, 100, 99, 0]])
    for axis in (-1, 0):
        case(
            "softmax",
            "abs:2e-7",
            {"x": Input(scores), "axis": axis},
            f"along axis {axis}; sums of fp32 numbers below 1",
        )
    case("softmax", "abs:2e-7", {"x": Input(scores)}, "along the last axis by default")
    masked = f32([[0.5, -np.inf, 1.5]])
    case(
        "softmax",
        ONCE,
        {"x": Input(masked)},
        "what is masked has no part",
        once(lambda t: t.softmax(-1), masked),
        TORCH,
    )


def casts():
    floats = f32([-2.75, -0.5, 0.0, 0.5, 1.5, 2.5, 100.9])
    case("cast", "exact", {"x": Input(floats), "dtype": "int32"}, "towards 0")
    case("cast", "exact", {"x": Input(floats), "dtype": "bool"}, "all but 0 is true")
    case("cast", "exact", {"x": Input(floats[[2, 3, 4, 5, 6]]), "dtype": "uint8"}, "towards 0", opset="ios17")
    case(
        "cast",
        "exact",
        {"x": Input(f32([0.1, 65519, 65520, -1e30, 6e-8, 2e-8])), "dtype": "fp16"},
        "rounded, too large, too small",
    )
    case("cast", "exact", {"x": Input(f16([0.1, -65504, np.inf, 6e-8])), "dtype": "fp32"}, "widened")
    case(
        "cast",
        "exact",
        {"x": Input(i32([-7, 0, 16777217])), "dtype": "fp32"},
        "integers that fp32 does not hold are rounded",
    )
    case("cast", "exact", {"x": Input(i32([-7, 0, 3])), "dtype": "bool"}, "all but 0 is true")
    case("cast", "exact", {"x": Input(np.array([True, False])), "dtype": "int32"}, "1 and 0")
    case("cast", "exact", {"x": Input(np.array([True, False])), "dtype": "fp16"}, "1 and 0")
    case("cast", "exact", {"x": Input(np.int8([-128, 0, 127])), "dtype": "int32"}, "widened", opset="ios17")
    case("cast", "exact", {"x": Input(i32([-128, 0, 127])), "dtype": "int8"}, "what fits", opset="ios17")
    case("cast", "exact", {"x": Input(np.uint16([0, 65535])), "dtype": "fp32"}, "widened", opset="ios17")
