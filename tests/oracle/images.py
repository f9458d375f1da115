"""Images that are resized, cropped, sampled; boxes."""

import numpy as np
import torch
import torch.nn.functional as F

from case import NUMPY, TORCH, Input, case, numbers

f32 = np.float32

# Weighted means of numbers up to 24, with places that are computed once more in fp32 on either side.
NEAR = "abs:1e-5"


def t(array):
    return torch.tensor(np.asarray(array, dtype=np.float64))


def grid(mode, n, out):
    """The places to sample an axis of `n` at, as the documentation of `resize_bilinear` has them."""
    i = np.arange(out, dtype=np.float64)
    if mode == "ALIGN_CORNERS" and out == 1:
        places = np.array([(n - 1) / 2])
    elif mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        places = i * ((n - 1) / (out - 1) if out > 1 else 0)
    elif mode == "DEFAULT":
        places = i * ((n - n / out) / (out - 1) if out > 1 else 0)
    elif mode == "OFFSET_CORNERS":
        delta = max(1, n - 1) / out
        places = 0.5 * delta + i * delta
    else:
        places = (i + 0.5) * (n / out) - 0.5
    return np.clip(places, 0, n - 1)


def bilinear(x, rows, columns):
    """`x` at each pair of these places."""

    def along(x, places, axis):
        low = np.minimum(np.floor(places).astype(int), x.shape[axis] - 1)
        high = np.minimum(low + 1, x.shape[axis] - 1)
        share = (places - low).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
        return np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share

    return along(along(x.astype(np.float64), rows, x.ndim - 2), columns, x.ndim - 1)


def record():
    resized()
    sampled()
    cropped()
    boxes()


MODES = ("DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "UNALIGN_CORNERS", "OFFSET_CORNERS")


def resized():
    x = numbers("resize", (1, 1, 2, 3))
    X = Input(x)
    near = {"scale_factor_height": 2, "scale_factor_width": 3}
    case(
        "upsample_nearest_neighbor",
        "exact",
        {"x": X} | near,
        "whole factors",
        F.interpolate(t(x), scale_factor=(2, 3)).numpy(),
        TORCH,
    )
    case(
        "upsample_nearest_neighbor",
        "exact",
        {"x": X, "scale_factor_width": f32(1.5)},
        "a factor of 1.5 for the width alone",
        F.interpolate(t(x), size=(2, 4)).numpy(),
        TORCH,
    )
    # The pixels of coremltools' TensorFlow frontend, which has this operation for `half_pixel_centers`.
    exact = lambda h, w: F.interpolate(t(x), size=(h, w), mode="nearest-exact").numpy()  # noqa: E731
    for h, w in ((4, 6), (1, 2), (3, 5)):
        args = {"x": X, "target_size_height": h, "target_size_width": w}
        case("resize_nearest_neighbor", "exact", args, f"to {h} × {w}", exact(h, w), f"{TORCH}, its nearest-exact")
    for corners in (True, False):
        want = F.interpolate(t(x), size=(4, 9), mode="bilinear", align_corners=corners).numpy()
        case(
            "upsample_bilinear",
            NEAR,
            {"x": X, "align_corners": corners} | near,
            f"align_corners = {corners}",
            want,
            TORCH,
        )
    want = F.interpolate(t(x), size=(2, 4), mode="bilinear", align_corners=False).numpy()
    case(
        "upsample_bilinear",
        NEAR,
        {"x": X, "scale_factor_width": f32(1.5), "align_corners": False},
        "a factor of 1.5 is made one of the sizes",
        want,
        TORCH,
    )
    want = F.interpolate(t(x), size=(4, 9), mode="bilinear", align_corners=True).numpy()
    case("upsample_bilinear", NEAR, {"x": X} | near, "align_corners holds by default", want, TORCH, opset="ios15")
    for mode in MODES:
        for h, w in ((3, 5), (1, 2)):
            source, want = NUMPY, bilinear(x, grid(mode, 2, h), grid(mode, 3, w))
            if mode in ("UNALIGN_CORNERS", "STRICT_ALIGN_CORNERS"):
                other = F.interpolate(
                    t(x), size=(h, w), mode="bilinear", align_corners=mode != "UNALIGN_CORNERS"
                ).numpy()
                assert np.allclose(want, other, atol=1e-12)
                source = f"{TORCH} and the formula in NumPy, which agree"
            args = {"x": X, "target_size_height": h, "target_size_width": w, "sampling_mode": mode}
            case("resize_bilinear", NEAR, args, f"{mode}, to {h} × {w}", want, source)
        want = bilinear(x, grid(mode, 2, 4), grid(mode, 3, 4))
        args = {
            "x": X,
            "shape": [4, 4],
            "resized_dims": np.uint32(2),
            "interpolation_mode": "LINEAR",
            "sampling_mode": mode,
        }
        case("resize", NEAR, args, f"linear, {mode}", want, NUMPY)
    want = bilinear(x, grid("DEFAULT", 2, 4), np.arange(3.0))
    case(
        "resize",
        NEAR,
        {"x": X, "shape": [7, 4, 0], "resized_dims": np.uint32(2)},
        "0 keeps a size, the first one is not used, DEFAULT by default",
        want,
        NUMPY,
    )
    args = {"x": X, "shape": [4, 5], "resized_dims": np.uint32(2), "interpolation_mode": "NEAREST_NEIGHBOR"}
    case("resize", "exact", args, "nearest, DEFAULT by default", exact(4, 5), f"{TORCH}, its nearest-exact")


def sampled():
    x = numbers("sample", (1, 2, 3, 3))
    X = Input(x)
    places = f32([[[[-1, -1], [0.25, -0.5]], [[0.5, 1], [1.5, -1.25]]]])
    base = {
        "x": X,
        "sampling_mode": "bilinear",
        "padding_value": f32(0),
        "coordinates_mode": "normalized_minus_one_to_one",
    }
    for corners in (True, False):
        for name, padding in (
            ("constant", "zeros"),
            ("border", "border"),
            ("reflection" if corners else "symmetric", "reflection"),
        ):
            want = F.grid_sample(t(x), t(places), padding_mode=padding, align_corners=corners).numpy()
            args = base | {"coordinates": Input(places), "padding_mode": name, "align_corners": corners}
            case("resample", NEAR, args, f"{name}, align_corners = {corners}", want, TORCH)
    near = f32([[[[-0.9, -1], [0.4, -0.2]], [[0.6, 0.8], [1.9, 0]]]])
    want = F.grid_sample(t(x), t(near), mode="nearest", align_corners=True).numpy()
    case(
        "resample",
        "exact",
        base
        | {"coordinates": Input(near), "padding_mode": "constant", "align_corners": True, "sampling_mode": "nearest"},
        "the nearest",
        want,
        TORCH,
    )
    pixels = (places + 1) * f32(1)
    want = F.grid_sample(t(x), t(places), padding_mode="border", align_corners=True).numpy()
    case(
        "resample",
        NEAR,
        base
        | {
            "coordinates": Input(pixels),
            "padding_mode": "border",
            "align_corners": True,
            "coordinates_mode": "unnormalized",
        },
        "places in pixels",
        want,
        TORCH,
    )
    unit = (places + 1) / f32(2)
    case(
        "resample",
        NEAR,
        base
        | {
            "coordinates": Input(unit),
            "padding_mode": "border",
            "align_corners": True,
            "coordinates_mode": "normalized_zero_to_one",
        },
        "places from 0 to 1",
        want,
        TORCH,
    )
    matrix = f32([[0.5, 0.25, 0.125, -0.25, 0.75, 0]])
    fixed = {
        "sampling_mode": "bilinear",
        "padding_mode": "constant",
        "padding_value": f32(0),
        "coordinates_mode": "normalized_minus_one_to_one",
        "align_corners": True,
    }

    def affine(x, matrix, h, w):
        theta = t(matrix).reshape(-1, 2, 3).expand(x.shape[0], 2, 3)
        return F.grid_sample(
            t(x), F.affine_grid(theta, [x.shape[0], x.shape[1], h, w], align_corners=True), align_corners=True
        ).numpy()

    case(
        "affine",
        NEAR,
        {"x": X, "transform_matrix": Input(matrix), "output_height": 3, "output_width": 2} | fixed,
        "turned and moved",
        affine(x, matrix, 3, 2),
        TORCH,
    )
    moved = f32([[1, 0, 0.75, 0, 1, -0.5]])
    case(
        "affine",
        NEAR,
        {"x": X, "transform_matrix": Input(moved), "output_height": 3, "output_width": 3} | fixed,
        "partly outside",
        affine(x, moved, 3, 3),
        TORCH,
    )


def cropped():
    """Crops with corners at pixels, so that all descriptions of the sampling agree."""
    x = numbers("crop", (2, 1, 3, 4))
    wide = x.astype(np.float64)

    def patch(image, h0, w0, h1, w1, h, w, mode="STRICT_ALIGN_CORNERS"):
        rows = np.array([(h0 + h1) / 2]) if h == 1 and mode == "ALIGN_CORNERS" else np.linspace(h0, h1, h)
        columns = np.array([(w0 + w1) / 2]) if w == 1 and mode == "ALIGN_CORNERS" else np.linspace(w0, w1, w)
        return bilinear(wide[image], rows, columns)

    strict = {"sampling_mode": "STRICT_ALIGN_CORNERS"}
    corners = f32([[0, 1, 2, 3], [1, 0, 2, 1.5]])
    want = np.stack([patch(i, *corners[i], 3, 2) for i in range(2)])
    args = {"x": Input(x), "boxes": Input(corners), "target_height": 3, "target_width": 2} | strict
    case("crop_resize", NEAR, args, "a box for each image", want, NUMPY, opset="ios17")
    args |= {"box_indices": Input(np.int32([1, 1]))}
    want = np.stack([patch(1, *box, 3, 2) for box in corners])
    case("crop_resize", NEAR, args, "two boxes of one image", want, NUMPY, opset="ios17")
    unit = f32([[0, 0.5, 1, 1]])
    want = patch(1, 0, 1.5, 2, 3, 2, 3)[None]
    args = {
        "x": Input(x),
        "boxes": Input(unit),
        "box_indices": Input(np.int32([1])),
        "target_height": 2,
        "target_width": 3,
        "normalized_coordinates": True,
    } | strict
    case("crop_resize", NEAR, args, "places from 0 to 1", want, NUMPY, opset="ios17")
    swapped = f32([[1, 0, 3, 2]])
    want = patch(0, 0, 1, 2, 3, 2, 2)[None]
    args = {
        "x": Input(x),
        "boxes": Input(swapped),
        "target_height": 2,
        "target_width": 2,
        "box_coordinate_mode": "CORNERS_WIDTH_FIRST",
    } | strict
    case("crop_resize", NEAR, args, "width first", want, NUMPY, opset="ios17")
    centred = f32([[1, 1.5, 2, 3]])
    args = args | {"boxes": Input(centred), "box_coordinate_mode": "CENTER_SIZE_HEIGHT_FIRST"}
    want = patch(0, 0, 0, 2, 3, 2, 2)[None]
    case("crop_resize", NEAR, args, "centre and size", want, NUMPY, opset="ios17")
    half = args | {
        "boxes": Input(f32([[0, 2, 4, 6]])),
        "box_coordinate_mode": "CORNERS_HEIGHT_FIRST",
        "spatial_scale": f32(0.5),
    }
    want = patch(0, 0, 1, 2, 3, 2, 2)[None]
    case("crop_resize", NEAR, half, "a spatial scale", want, NUMPY, opset="ios17")
    one = {"x": Input(x), "boxes": Input(f32([[0, 1, 2, 3]])), "sampling_mode": "ALIGN_CORNERS"}
    case(
        "crop_resize",
        NEAR,
        one,
        "one element, the middle",
        patch(0, 0, 1, 2, 3, 1, 1, "ALIGN_CORNERS")[None],
        NUMPY,
        opset="ios17",
    )
    roi = f32([[0, 1, 2, 3]]).reshape(1, 1, 4, 1, 1)
    want = np.stack([patch(i, 0, 1, 2, 3, 2, 2) for i in range(2)])[None]
    args = {"x": Input(x), "roi": Input(roi), "target_height": 2, "target_width": 2} | strict
    case("crop_resize", NEAR, args, "one box of every image", want, NUMPY, opset="ios15")


def boxes():
    """As many boxes as survive, so that no padding is asked for, which the documentation leaves open. No engine here
    runs this operation; the results wait for one."""
    b = f32([[[1, 1, 2, 2], [1.25, 1, 2, 2], [5, 5, 2, 2], [5, 5.25, 2, 2], [9, 1, 1, 1]]])
    s = f32([[[0.5], [0.75], [0.25], [0.875], [0.125]]])

    def overlap(p, q):
        inner = [
            max(0, min(p[k] + p[k + 2] / 2, q[k] + q[k + 2] / 2) - max(p[k] - p[k + 2] / 2, q[k] - q[k + 2] / 2))
            for k in (0, 1)
        ]
        shared = inner[0] * inner[1]
        return shared / (p[2] * p[3] + q[2] * q[3] - shared)

    def kept(boxes, scores, iou, least=-np.inf, per_class=False):
        best, label = scores.max(axis=1), scores.argmax(axis=1)
        chosen = []
        for i in sorted(range(len(boxes)), key=lambda i: -best[i]):
            rivals = [j for j in chosen if not per_class or label[j] == label[i]]
            if best[i] >= least and all(overlap(boxes[i], boxes[j]) <= iou for j in rivals):
                chosen.append(i)
        return chosen

    k = kept(b[0], s[0], 0.5)
    want = (b[:, k], s[:, k], np.int32([k]), np.int32([len(k)]))
    args = {
        "boxes": Input(b),
        "scores": Input(s),
        "iou_threshold": f32(0.5),
        "score_threshold": f32(0),
        "max_boxes": len(k),
    }
    case("non_maximum_suppression", "exact", args, "two pairs overlap", want, NUMPY, opset="ios15")
    k = kept(b[0], s[0], 0.5, 0.2)
    want = (b[:, k], s[:, k], np.int32([k]), np.int32([len(k)]))
    case(
        "non_maximum_suppression",
        "exact",
        args | {"score_threshold": f32(0.2), "max_boxes": len(k)},
        "one score is too low",
        want,
        NUMPY,
        opset="ios15",
    )
    k = kept(b[0], s[0], 0.5)[:2]
    want = (b[:, k], s[:, k], np.int32([k]), np.int32([len(k)]))
    case(
        "non_maximum_suppression",
        "exact",
        args | {"max_boxes": 2},
        "no more than asked for",
        want,
        NUMPY,
        opset="ios15",
    )
    two = f32([[[0.5, 0.25], [0.125, 0.75], [0.25, 0.0], [0.875, 0.5], [0.0, 0.0625]]])
    for per_class in (False, True):
        k = kept(b[0], two[0], 0.5, per_class=per_class)
        want = (b[:, k].transpose(0, 2, 1), two[:, k].transpose(0, 2, 1), np.int32([k]))
        args = {
            "boxes": Input(b.transpose(0, 2, 1).copy()),
            "scores": Input(two.transpose(0, 2, 1).copy()),
            "iou_threshold": f32(0.5),
            "max_boxes": len(k),
            "per_class_suppression": per_class,
        }
        case(
            "non_maximum_suppression",
            "exact",
            args,
            f"two classes, each by itself: {per_class}",
            want,
            NUMPY,
            opset="ios17",
        )
