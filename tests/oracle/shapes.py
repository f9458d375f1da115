"""Operations that make or name shapes and constants, and those that move whole tensors around."""

import numpy as np

from case import DEGENERATE, NUMPY, Input, case

f32, f16, i32 = np.float32, np.float16, np.int32


def record():
    reshaped()
    joined()
    made()
    random()


def counted(*shape, dtype=np.float32):
    """1, 2, 3, … in `shape`."""
    return np.arange(1, np.prod(shape) + 1).astype(dtype).reshape(shape)


def reshaped():
    x = Input(counted(2, 3, 4))
    case("reshape", "exact", {"x": x, "shape": [4, -1]}, "one size is inferred")
    case("reshape", "exact", {"x": x, "shape": [0, -1, 2]}, "0 keeps the size of that axis")
    case("reshape", "exact", {"x": Input(counted(4, dtype=i32)), "shape": [1, 2, 2]}, "integers", opset="ios15")
    case(
        "reshape",
        "exact",
        {"x": Input(counted(4, dtype=np.int8)), "shape": np.int16([2, 2])},
        "int8, a shape of int16",
        opset="ios17",
    )
    case("transpose", "exact", {"x": x, "perm": [2, 0, 1]}, "all axes")
    case("transpose", "exact", {"x": x, "perm": [-1, -3, -2]}, "negative axes")
    case("transpose", "exact", {"x": Input(np.array([[True, False, True]])), "perm": [1, 0]}, "booleans")
    case(
        "expand_dims",
        "exact",
        {"x": Input(counted(2, 2)), "axes": [0, -1]},
        "both ends; negative axes count in the result",
    )
    case("expand_dims", "exact", {"x": Input(counted(3)), "axes": [1]}, "one axis")
    case("squeeze", "exact", {"x": Input(counted(1, 2, 1, 3)), "axes": [-2]}, "a negative axis")
    case("squeeze", "exact", {"x": Input(counted(1, 2, 1, 3))}, "all axes of size 1")
    for axis in (1, 2, -1):
        case("flatten2d", "exact", {"x": x, "axis": axis}, f"before and behind axis {axis}")
    case("flatten2d", "exact", {"x": x}, "axis 1 by default")
    case("shape", "exact", {"x": x}, "rank 3")
    case("shape", "exact", {"x": Input(f32([5]))}, "rank 1")
    ref, other = Input(counted(2, 3)), Input(counted(1, 4, 1))
    like = counted(2, 3, 4).reshape(2, 12)
    args = {
        "x": Input(like),
        "ref_tensors": (ref, other),
        "begins": (i32(0), i32(1)),
        "ends": (i32(2), i32(2)),
        "end_masks": (np.bool_(False), np.bool_(False)),
    }
    case("reshape_like", "exact", args, "two axes of one, one of the other", like.reshape(2, 3, 4), NUMPY)
    args |= {"ends": (i32(2), i32(0)), "end_masks": (np.bool_(False), np.bool_(True))}
    case("reshape_like", "exact", args, "a mask reaches to the end", like.reshape(2, 3, 4, 1), NUMPY)


def joined():
    a, b = Input(counted(2, 2)), Input(-counted(2, 2))
    for axis in (0, -1):
        case("concat", "exact", {"values": (a, b), "axis": axis}, f"along axis {axis}")
    case("concat", "exact", {"values": (a, Input(f32([[9], [8]]))), "axis": 1}, "of different sizes")
    # What coremltools infers for these ignores `interleave`.
    one, other = a.value, b.value
    args = {"values": (a, b), "axis": 0, "interleave": True}
    case("concat", "exact", args, "slice by slice in turn", np.stack([one, other], 1).reshape(4, 2), NUMPY)
    args = {"values": (a, b, a), "axis": -1, "interleave": True}
    case("concat", "exact", args, "three in turn", np.stack([one, other, one], -1).reshape(2, 6), NUMPY)
    for axis in (0, 1, -1):
        case("stack", "exact", {"values": (a, b), "axis": axis}, f"a new axis {axis}")
    x = Input(counted(2, 6))
    case("split", "exact", {"x": x, "num_splits": 3, "axis": 1}, "equal parts")
    case("split", "exact", {"x": x, "split_sizes": [1, 3, 2], "axis": -1}, "parts of given sizes")
    case("split", "exact", {"x": x, "num_splits": 2, "split_sizes": [1, 1], "axis": 0}, "both, which agree")
    case("tile", "exact", {"x": Input(counted(2, 2)), "reps": [2, 3]}, "both axes")
    case("tile", "exact", {"x": Input(counted(1, 3, dtype=i32)), "reps": [2, 1]}, "integers, one axis")
    m = Input(counted(2, 3))
    case("reverse", "exact", {"x": m}, "all axes by default")
    case("reverse", "exact", {"x": m, "axes": [-1]}, "a negative axis")
    case("reverse", "exact", {"x": m, "axes": [0, 1]}, "two axes")
    for note, shape, lengths, seq, batch in (
        ("a length for each row", (3, 4), [2, 4, 1], 1, 0),
        ("a length for each column", (3, 4), [3, 0, 1, 2], 0, 1),
        ("a negative axis", (2, 3, 2), [3, 2], -2, 0),
    ):
        s = counted(*shape)
        want = s.copy()
        for at, length in enumerate(lengths):
            row = np.moveaxis(s, (batch, seq), (0, 1))[at]
            np.moveaxis(want, (batch, seq), (0, 1))[at, :length] = row[:length][::-1]
        args = {"x": Input(s), "lengths": lengths, "seq_axis": seq, "batch_axis": batch}
        case("reverse_sequence", "exact", args, note, want, NUMPY)


def made():
    case("fill", "exact", {"shape": [2, 3], "value": f32(-1.5)}, "fp32")
    case("fill", "exact", {"shape": [2], "value": i32(7)}, "integers")
    case("fill", "exact", {"shape": [1, 2]}, "0 by default")
    case("fill", "exact", {"shape": [2], "value": np.bool_(True)}, "booleans")
    case(
        "fill_like",
        "exact",
        {"ref_tensor": Input(counted(2, 2)), "value": i32(3)},
        "the shape of one, the type of the other",
    )
    case("fill_like", "exact", {"ref_tensor": Input(i32([1, 2])), "value": f16(0.1)}, "fp16")
    case("fill_like", "exact", {"ref_tensor": Input(counted(1, 3))}, "0 by default")
    for start, end, step in ((0, 5, 1), (2, 9, 3), (5, 0, -2), (3, 3, 1)):
        args = {"start": i32(start), "end": i32(end), "step": i32(step)}
        case("range_1d", "exact", args, f"integers from {start} to {end} by {step}")
    case("range_1d", "exact", {"start": f32(0.5), "end": f32(2), "step": f32(0.5)}, "the end is not reached")
    case("range_1d", "exact", {"start": f32(1), "end": f32(-1), "step": f32(-0.75)}, "downwards")
    x = Input(counted(4, 4))
    for lower, upper in ((-1, 0), (0, -1), (0, 0), (1, 2)):
        case("band_part", "exact", {"x": x, "lower": lower, "upper": upper}, f"{lower} below, {upper} above; -1 is all")
    case("band_part", "exact", {"x": Input(counted(2, 2, 3)), "lower": 1, "upper": 0}, "not square, with a batch")
    case("band_part", "exact", {"x": x}, "all by default")
    hot = i32([[1, 0], [2, 1]])
    eye = np.eye(3)[hot]
    case(
        "one_hot",
        "exact",
        {"indices": Input(hot), "one_hot_vector_size": 3, "on_value": f32(1), "off_value": f32(0)},
        "the new axis is the last",
        eye,
        NUMPY,
    )
    case(
        "one_hot",
        "exact",
        {"indices": Input(hot), "one_hot_vector_size": 3},
        "1 and 0 by default",
        eye.astype(int),
        NUMPY,
    )
    case(
        "one_hot",
        "exact",
        {"indices": Input(hot), "one_hot_vector_size": 3, "axis": 0, "on_value": f32(2.5), "off_value": f32(-1)},
        "the new axis is the first",
        np.moveaxis(np.where(eye == 1, 2.5, -1), -1, 0),
        NUMPY,
    )
    case(
        "one_hot",
        "exact",
        {"indices": Input(hot), "one_hot_vector_size": 3, "axis": -2, "on_value": i32(5), "off_value": i32(1)},
        "a negative axis",
        np.moveaxis(np.where(eye == 1, 5, 1), -1, -2),
        NUMPY,
    )
    case("non_zero", "exact", {"x": np.array([[0, 3, 0], [-1, 0, 2]]).astype(f32)}, "an index for each, in order")
    case("non_zero", "exact", {"x": np.array([True, False, True])}, "booleans")


def random():
    case(
        "random_uniform",
        "exact",
        {"shape": [2, 2], "low": f32(1.5), "high": f32(1.5), "seed": 1},
        "between two equal bounds",
        np.full((2, 2), 1.5),
        DEGENERATE,
    )
    case(
        "random_normal",
        "exact",
        {"shape": [3], "mean": f32(-2.5), "stddev": f32(0), "seed": 1},
        "no deviation",
        np.full(3, -2.5),
        DEGENERATE,
    )
    case("random_bernoulli", "exact", {"shape": [4], "prob": f32(1), "seed": 1}, "always", np.ones(4), DEGENERATE)
    case("random_bernoulli", "exact", {"shape": [4], "prob": f32(0), "seed": 1}, "never", np.zeros(4), DEGENERATE)
    certain = f32([[0, 1, 0], [0, 0, 1]])
    case(
        "random_categorical",
        "exact",
        {"x": Input(certain), "mode": "probs", "size": 2, "seed": 1},
        "one certain outcome a row",
        f32([[1, 1], [2, 2]]),
        DEGENERATE,
    )
    logits = f32([[-np.inf, 0, -np.inf]])
    case(
        "random_categorical",
        "exact",
        {"x": Input(logits), "size": 3, "seed": 1},
        "logits, one of which is possible",
        f32([[1, 1, 1]]),
        DEGENERATE,
    )
