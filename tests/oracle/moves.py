"""Slices, pads, gathers, scatters, sorts, and the moves between space, depth and batch."""

import numpy as np
import torch

from case import NUMPY, TORCH, Input, case
from shapes import counted

f32, i32 = np.float32, np.int32


def record():
    slices()
    pads()
    gathers()
    scatters()
    sorts()
    blocks()


def slices():
    x = Input(counted(3, 4))
    case("slice_by_size", "exact", {"x": x, "begin": [1, 0], "size": [2, -1]}, "-1 reaches to the end")
    case("slice_by_size", "exact", {"x": x, "begin": [-2, 1], "size": [1, 2]}, "a negative begin counts from the end")

    def by_index(note, begin, end, tensor=x, **more):
        args = {"x": tensor, "begin": begin, "end": end} | more
        case("slice_by_index", "exact", args, note)

    by_index("plain", [0, 1], [2, 3])
    by_index("negative places count from the end", [-2, -3], [-1, 4])
    by_index("an end beyond the end", [1, 2], [7, 9])
    by_index("strides", [0, 0], [3, 4], stride=[2, 3])
    by_index("negative strides", [2, 3], [0, 0], stride=[-1, -2])
    by_index(
        "masked ends of negative strides are the far ends",
        [0, 0],
        [0, 0],
        stride=[-1, -2],
        begin_mask=[True, True],
        end_mask=[True, True],
    )
    by_index("a mask wins over the value", [2, 1], [1, 2], begin_mask=[True, False], end_mask=[True, True])
    by_index("a squeezed axis", [1, 0], [2, 4], squeeze_mask=[True, False])
    by_index("a squeezed axis needs no end", [-1, 1], [0, 3], squeeze_mask=[True, False])
    by_index("all axes squeezed", [1, 2], [2, 3], squeeze_mask=[True, True])
    by_index(
        "a mask and a squeezed axis",
        [1, 0, 1],
        [2, 0, 2],
        Input(counted(2, 3, 2)),
        end_mask=[False, True, False],
        squeeze_mask=[False, False, True],
    )
    by_index("int8", np.int8([1]), np.int8([3]), Input(np.int8([5, -6, 7])))

    def update(note, part, begin, end, **more):
        case(
            "slice_update",
            "exact",
            {"x": x, "update": Input(-counted(*part) * 0.5), "begin": begin, "end": end} | more,
            note,
        )

    update("a corner", (2, 2), [0, 2], [2, 4])
    update("every other column, from a negative place", (1, 2), [-1, 0], [3, 4], stride=[1, 2])
    update("a whole row by masks", (1, 4), [1, 3], [2, 0], begin_mask=[False, True], end_mask=[False, True])
    update("a squeezed axis", (3,), [0, 1], [3, 2], squeeze_mask=[False, True])
    update("backwards", (3, 4), [2, 3], [0, 0], stride=[-1, -1], end_mask=[True, True])
    w = counted(2, 5)
    windows = np.lib.stride_tricks.sliding_window_view
    case("sliding_windows", "exact", {"x": Input(w), "axis": 1, "size": 3}, "one by one", windows(w, 3, 1), NUMPY)
    case(
        "sliding_windows",
        "exact",
        {"x": Input(w), "axis": -1, "size": 2, "stride": 2},
        "two by two, the last is left out",
        windows(w, 2, 1)[:, ::2],
        NUMPY,
    )
    v = counted(5, 2)
    case(
        "sliding_windows",
        "exact",
        {"x": Input(v), "axis": 0, "size": 3, "stride": 2},
        "the first axis",
        np.moveaxis(windows(v, 3, 0)[::2], -1, 1),
        NUMPY,
    )


def pads():
    x = Input(counted(2, 3))
    case("pad", "exact", {"x": x, "pad": [1, 0, 0, 2]}, "0 by default")
    case("pad", "exact", {"x": x, "pad": [1, 2], "mode": "constant", "constant_val": f32(-1.5)}, "the last axis alone")
    case("pad", "exact", {"x": x, "pad": [1, 1, 2, 1], "mode": "reflect"}, "mirrored at the edge")
    case("pad", "exact", {"x": x, "pad": [1, 0, 2, 2], "mode": "replicate"}, "the edge repeated")
    case("pad", "exact", {"x": Input(counted(1, 2, 3)), "pad": [2, 1], "mode": "reflect"}, "the last axis of three")
    y = counted(1, 2, 2, 2)
    case(
        "crop",
        "exact",
        {"x": Input(counted(2, 4, 5)), "crop_height": [1, 0], "crop_width": [0, 2]},
        "above and at the right",
        counted(2, 4, 5)[:, 1:, :3],
        NUMPY,
    )
    case("crop", "exact", {"x": Input(y), "crop_height": [0, 1], "crop_width": [0, 0]}, "one row", y[:, :, :1], NUMPY)


def gathers():
    x = counted(3, 4)
    X = Input(x)
    for axis in (0, 1, -1):
        case("gather", "exact", {"x": X, "indices": [2, 0, 2], "axis": axis}, f"along axis {axis}, one twice")
    case(
        "gather", "exact", {"x": X, "indices": [[-1, 0], [1, -3]], "axis": 0}, "a matrix of indices, some from the end"
    )
    case("gather", "exact", {"x": X, "indices": i32(1), "axis": 1}, "a scalar takes the axis away")
    case("gather", "exact", {"x": X, "indices": [1, 2]}, "axis 0 by default", opset="ios15")
    case(
        "gather",
        "exact",
        {"x": X, "indices": [[3, 0], [1, 1], [2, 3]], "axis": 1, "batch_dims": 1},
        "in each row by itself",
    )
    case(
        "gather",
        "exact",
        {"x": Input(np.int16([5, 6, 7])), "indices": np.uint16([2, 1]), "axis": 0, "validate_indices": True},
        "int16 by uint16",
        opset="ios17",
    )
    B = counted(2, 2, 3)
    case(
        "gather",
        "exact",
        {"x": Input(B), "indices": [[0, 1, 1], [1, 0, 0]], "axis": 1, "batch_dims": 1},
        "of each batch by itself, with more axes behind",
    )
    along = [[2, 0, 1, -1], [0, 0, 1, 2]]
    case("gather_along_axis", "exact", {"x": X, "indices": along, "axis": 0}, "an index for each place")
    case("gather_along_axis", "exact", {"x": X, "indices": [[3], [-2], [0]], "axis": -1}, "a negative axis and index")
    case(
        "gather_along_axis",
        "exact",
        {"x": Input(i32([[1, 2], [3, 4]])), "indices": [[1, 1], [0, 1]]},
        "integers, axis 0 by default",
        opset="ios15",
    )
    case(
        "gather_nd",
        "exact",
        {"x": X, "indices": [[0, 1], [2, 3], [-1, 0]]},
        "elements, one from the end",
        x[[0, 2, -1], [1, 3, 0]],
        NUMPY,
    )
    case("gather_nd", "exact", {"x": X, "indices": [[2], [0]]}, "rows", x[[2, 0]], NUMPY)
    case(
        "gather_nd",
        "exact",
        {"x": Input(B), "indices": [[[0, 1]], [[1, 0]]]},
        "rows, indices of rank 3",
        np.stack([B[0, 1][None], B[1, 0][None]]),
        NUMPY,
    )
    case(
        "gather_nd",
        "exact",
        {"x": Input(B), "indices": [[[1], [0]], [[0], [0]]], "batch_dims": 1},
        "of each batch by itself",
        np.stack([B[0][[1, 0]], B[1][[0, 0]]]),
        NUMPY,
        opset="ios16",
    )


MODES = {
    "update": lambda a, b: b,
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "max": np.maximum,
    "min": np.minimum,
}


def scatters():
    data, updates = counted(3, 4), f32([[2, -4, 0.5, 8], [4, 2, 16, -1]])
    for mode, f in MODES.items():
        want = data.copy()
        for i, at in enumerate([2, 0]):
            want[at] = f(want[at], updates[i])
        case(
            "scatter",
            "exact",
            {"data": Input(data), "indices": [2, 0], "updates": Input(updates), "axis": 0, "mode": mode},
            mode,
            want,
            NUMPY,
        )
    want = data.copy()
    want[2] += updates[0]
    want[2] += updates[1]
    case(
        "scatter",
        "exact",
        {"data": Input(data), "indices": [-1, 2], "updates": Input(updates)},
        "add by default; one place twice, once from the end",
        want,
        NUMPY,
    )
    want = data.copy()
    want[:, [3, 1]] += updates.T[:3]
    case(
        "scatter",
        "exact",
        {"data": Input(data), "indices": [3, 1], "updates": Input(updates.T[:3].copy()), "axis": -1, "mode": "add"},
        "the last axis",
        want,
        NUMPY,
    )
    ints = i32([5, 6, 7])
    case(
        "scatter",
        "exact",
        {"data": Input(ints), "indices": [1], "updates": Input(i32([-2])), "mode": "mul"},
        "integers",
        i32([5, -12, 7]),
        NUMPY,
    )

    def along(note, kind, indices, updates, **more):
        """What coremltools infers is `update`, whatever the mode."""
        want = data.copy()
        for at in np.ndindex(updates.shape):
            to = list(at)
            to[more["axis"]] = np.array(indices)[at]
            want[tuple(to)] = MODES[kind](want[tuple(to)], updates[at])
        known = (None, None) if kind == "update" else (want, NUMPY)
        args = {"data": Input(data), "indices": indices, "updates": Input(updates)} | more
        case("scatter_along_axis", "exact", args, note, *known)

    for mode in MODES:
        along(mode, mode, [[2, 0, 1, 0], [0, 1, 2, 2]], updates, axis=0, mode=mode)
    along("a negative axis and index", "update", [[-1], [0], [1]], f32([[9], [8], [7]]), axis=-1, mode="update")
    along("add by default, one place twice", "add", [[0, 0], [1, 1], [2, 3]], f32([[1, 2], [3, 4], [5, 6]]), axis=1)
    for mode, f in MODES.items():
        want = data.copy()
        for i, at in enumerate([(2, 1), (0, 3)]):
            want[at] = f(want[at], f32([4, -2])[i])
        case(
            "scatter_nd",
            "exact",
            {"data": Input(data), "indices": [[2, 1], [0, 3]], "updates": Input(f32([4, -2])), "mode": mode},
            mode,
            want,
            NUMPY,
        )
    want = data.copy()
    want[1] += updates[0] + updates[1]
    case(
        "scatter_nd",
        "exact",
        {"data": Input(data), "indices": [[1], [-2]], "updates": Input(updates)},
        "rows; add by default; one twice, once from the end",
        want,
        NUMPY,
    )


def sorts():
    x = f32([[3, -1, 4, 1], [5, 9, -2, 6]])
    X = Input(x)
    for ascending in (True, False):
        case("argsort", "exact", {"x": X, "axis": -1, "ascending": ascending}, f"ascending: {ascending}")
    case("argsort", "exact", {"x": X}, "descending along the last axis by default")
    case("argsort", "exact", {"x": X, "axis": 0, "ascending": True}, "the first axis")
    case("argsort", "exact", {"x": Input(i32([2, 7, 2, 7, 2])), "axis": 0, "ascending": True}, "equals stay in order")
    case("topk", "exact", {"x": X, "k": 2, "axis": -1}, "the largest", opset="ios15")
    case("topk", "exact", {"x": X, "k": 2, "axis": 1, "ascending": True}, "the smallest", opset="ios15")
    case("topk", "exact", {"x": X, "k": 1, "axis": 0}, "the first axis", opset="ios15")
    case("topk", "exact", {"x": X}, "one, along the last axis", opset="ios15")
    case(
        "topk",
        "exact",
        {"x": X, "k": 3, "axis": -1, "sort": True, "return_indices": False},
        "without indices",
        opset="ios16",
    )
    case(
        "topk",
        "exact",
        {"x": X, "k": 3, "axis": -1, "output_indices_dtype": "uint16"},
        "indices of uint16",
        opset="ios17",
    )
    for op in ("reduce_argmax", "reduce_argmin"):
        ties = f32([[2, 7, 7, 1], [1, 1, 5, 5]])
        case(op, "exact", {"x": Input(ties), "axis": 1}, "the first of equals")
        case(op, "exact", {"x": Input(ties), "axis": -2, "keep_dims": True}, "the axis is kept")
        case(op, "exact", {"x": Input(i32([4, -1, 9]))}, "integers, the last axis by default")
        case(op, "exact", {"x": Input(ties), "axis": 0, "output_dtype": "uint16"}, "indices of uint16", opset="ios17")


def blocks():
    d = counted(1, 8, 1, 2)
    n, c, h, w = d.shape
    want = d.reshape(n, 2, 2, c // 4, h, w).transpose(0, 3, 4, 1, 5, 2).reshape(n, c // 4, h * 2, w * 2)
    tensorflow = "NumPy 2.2.6, TensorFlow's rule, which coremltools converts to this operation"
    case(
        "depth_to_space", "exact", {"x": Input(d), "block_size": 2}, "a channel is row, column, depth", want, tensorflow
    )
    s = counted(1, 2, 2, 4)
    n, c, h, w = s.shape
    want = s.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 3, 5, 1, 2, 4).reshape(n, c * 4, h // 2, w // 2)
    case(
        "space_to_depth", "exact", {"x": Input(s), "block_size": 2}, "a channel is row, column, depth", want, tensorflow
    )
    t = torch.tensor
    case(
        "pixel_shuffle",
        "exact",
        {"x": Input(d), "upscale_factor": 2},
        "a channel is depth, row, column",
        torch.pixel_shuffle(t(d), 2).numpy(),
        TORCH,
    )
    case(
        "pixel_unshuffle",
        "exact",
        {"x": Input(s), "downscale_factor": np.uint32(2)},
        "a channel is depth, row, column",
        torch.pixel_unshuffle(t(s), 2).numpy(),
        TORCH,
    )

    def to_batch(x, block, paddings):
        p = np.pad(x, [(0, 0), (0, 0), *paddings])
        n, c, h, w = p.shape
        a, b = block
        return p.reshape(n, c, h // a, a, w // b, b).transpose(3, 5, 0, 1, 2, 4).reshape(n * a * b, c, h // a, w // b)

    case(
        "space_to_batch",
        "exact",
        {"x": Input(s), "block_shape": [2, 2], "paddings": [[0, 0], [0, 0]]},
        "blocks of 2 by 2",
        to_batch(s, (2, 2), ((0, 0), (0, 0))),
        tensorflow,
    )
    o = counted(2, 1, 3, 4)
    case(
        "space_to_batch",
        "exact",
        {"x": Input(o), "block_shape": [2, 3], "paddings": [[1, 0], [0, 2]]},
        "padded, two images",
        to_batch(o, (2, 3), ((1, 0), (0, 2))),
        tensorflow,
    )

    def from_batch(x, block, crops):
        n, c, h, w = x.shape
        a, b = block
        y = x.reshape(a, b, n // a // b, c, h, w).transpose(2, 3, 4, 0, 5, 1).reshape(n // a // b, c, h * a, w * b)
        (t, u), (l, r) = crops
        return y[:, :, t : y.shape[2] - u, l : y.shape[3] - r]

    q = counted(4, 1, 2, 3)
    case(
        "batch_to_space",
        "exact",
        {"x": Input(q), "block_shape": [2, 2], "crops": [[0, 0], [0, 0]]},
        "blocks of 2 by 2",
        from_batch(q, (2, 2), ((0, 0), (0, 0))),
        tensorflow,
    )
    q = counted(8, 1, 2, 2)
    case(
        "batch_to_space",
        "exact",
        {"x": Input(q), "block_shape": [2, 2], "crops": [[1, 0], [0, 2]]},
        "cropped, two images",
        from_batch(q, (2, 2), ((1, 0), (0, 2))),
        tensorflow,
    )
