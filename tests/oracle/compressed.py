"""Constants in compressed form, and quantization of values."""

import numpy as np

from case import DECOMPRESS, NUMPY, ONCE, Input, Packed, case, numbers

f32, f16, i8, u8 = np.float32, np.float16, np.int8, np.uint8


def record():
    quantization()
    old()
    new()


def quantization():
    x = f32([[-3.0, -0.75, 0.25, 0.75], [1.25, 100.0, -100.0, 0.1]])
    case(
        "quantize",
        "exact",
        {"input": Input(x), "scale": f32(0.5), "output_dtype": "int8"},
        "halves to even; too large and too small",
    )
    case(
        "quantize",
        "exact",
        {"input": Input(x), "scale": f32(0.5), "zero_point": u8(128), "output_dtype": "uint8"},
        "a zero point",
    )
    args = {"input": Input(x), "scale": f32([0.5, 2]), "zero_point": i8([1, -2]), "axis": 0, "output_dtype": "int8"}
    case("quantize", "exact", args, "a scale for each row")
    q = i8([[-128, -1, 0], [1, 5, 127]])
    wide = q.astype(np.float64)
    case("dequantize", ONCE, {"input": Input(q), "scale": f32(0.3)}, "a scale", f32(0.3).astype(float) * wide, NUMPY)
    case(
        "dequantize",
        ONCE,
        {"input": Input(q), "scale": f32(0.5), "zero_point": i8(-3)},
        "a zero point",
        0.5 * (wide + 3),
        NUMPY,
    )
    each = {"scale": f32([0.5, 2, -1]), "zero_point": i8([1, 0, -128]), "axis": -1}
    case(
        "dequantize",
        ONCE,
        {"input": Input(q)} | each,
        "a scale for each column",
        each["scale"].astype(float) * (wide - each["zero_point"]),
        NUMPY,
    )
    b = u8([[0, 128, 255]])
    case(
        "dequantize",
        "exact",
        {"input": Input(b), "scale": f16(0.25), "zero_point": u8(128)},
        "uint8 to fp16",
        0.25 * (b.astype(float) - 128),
        NUMPY,
    )


def old():
    q = i8([[-128, 0, 5], [1, -7, 127]])
    args = {"quantized_data": q, "zero_point": i8([1, -2]), "scale": f32([0.5, 0.25]), "axis": 0}
    case("constexpr_affine_dequantize", "exact", args, "a scale for each row", opset="ios16")
    args = {"quantized_data": q.astype(u8), "zero_point": u8(3), "scale": f16(0.5), "axis": 1}
    case("constexpr_affine_dequantize", "exact", args, "one scale, uint8 to fp16", opset="ios16")
    case(
        "constexpr_cast",
        "exact",
        {"source_val": f16([0.1, -2, 65504]), "output_dtype": "fp32"},
        "widened",
        opset="ios16",
    )
    # Six indices of 2 bits, the first in the low bits: 2, 3, 0, 1, 1, 2.
    packed = u8([2 | 3 << 2 | 0 << 4 | 1 << 6, 1 | 2 << 2])
    args = {"indices": packed, "lut": f16([-1, 0.5, 2, 7]), "shape": np.uint32([2, 3])}
    case("constexpr_lut_to_dense", "exact", args, "2 bits", opset="ios16")
    # Four indices of 6 bits, which cross bytes: 63, 1, 32, 5.
    bits = [int(b) for n in (63, 1, 32, 5) for b in f"{n:06b}"[::-1]]
    packed = np.packbits(bits, bitorder="little")
    args = {"indices": packed, "lut": numbers("lut", (64,), -8, 8), "shape": np.uint32([4])}
    case("constexpr_lut_to_dense", "exact", args, "6 bits, across bytes", opset="ios16")
    mask = np.packbits([1, 0, 0, 1, 1, 0, 0, 0, 1, 0], bitorder="little")
    args = {"nonzero_data": f16([1.5, -2, 3, 4]), "mask": mask, "shape": np.uint32([2, 5])}
    case("constexpr_sparse_to_dense", "exact", args, "a bit for each element, the lowest first", opset="ios16")


def new():
    data = Packed("int4", [[-8, 7, 1, -1], [0, 3, -4, 2]])
    case(
        "constexpr_blockwise_shift_scale",
        "exact",
        {"data": data, "scale": f32([[0.5, 2], [0.25, -1]])},
        "blocks of 2 in each row, int4",
    )
    args = {"data": data, "scale": f16([[0.5, 2]]), "offset": Packed("int4", [[1, -2]])}
    case("constexpr_blockwise_shift_scale", "exact", args, "blocks of 2 by 2, an offset")
    args = {"data": u8([[0, 128, 255]]), "scale": f32([[0.25]]), "offset": f32([[1.5]])}
    case("constexpr_blockwise_shift_scale", "exact", args, "one block, an offset of another type")
    for bits in (1, 2, 3, 4, 6):
        n = 2**bits
        indices = Packed(f"uint{bits}", np.arange(6).reshape(2, 3) * 7 % n)
        args = {"indices": indices, "lut": numbers("lut", (1, 1, n, 1), -8, 8, dtype=f16)}
        case("constexpr_lut_to_dense", "exact", args, f"{bits} bits")
    indices = Packed("uint2", [[2, 3], [3, 0], [1, 0], [3, 0]])
    lut = numbers("groups", (2, 1, 4, 1))
    case("constexpr_lut_to_dense", "exact", {"indices": indices, "lut": lut}, "a table for each half of the rows")
    indices = Packed("uint1", [[0, 1], [1, 1]])
    vectors = i8([[[[1, 2, 3], [-4, -5, -6]]]])
    for axis in (0, 1, -1):
        args = {"indices": indices, "lut": vectors, "vector_axis": axis}
        case("constexpr_lut_to_dense", "exact", args, f"vectors of 3 along axis {axis}")
    mask = Packed("uint1", [[1, 0, 1], [0, 0, 1]])
    case(
        "constexpr_sparse_to_dense", "exact", {"nonzero_data": f32([1.5, -2, 3]), "mask": mask}, "a mask with the shape"
    )
    case("constexpr_sparse_to_dense", "exact", {"nonzero_data": Packed("int4", [7, -8, 1]), "mask": mask}, "int4")
    args = {
        "indices_mask": mask,
        "indices_nonzero_data": Packed("uint1", [1, 0, 1]),
        "lut": f16([2, 3]).reshape(1, 1, 2, 1),
    }
    case("constexpr_lut_to_sparse", "exact", args, "a number for each")
    args = {
        "indices_mask": mask,
        "indices_nonzero_data": Packed("uint1", [1, 0, 1]),
        "lut": f16([[2, 2.5], [3, 3.5]]).reshape(1, 1, 2, 2),
        "vector_axis": 0,
    }
    case("constexpr_lut_to_sparse", "exact", args, "vectors of 2 along axis 0")
    args = {"data_mask": mask, "nonzero_data": i8([10, -20, 127]), "scale": f32([[0.5], [2]])}
    case("constexpr_sparse_blockwise_shift_scale", "exact", args, "a scale for each row")
    args = {
        "data_mask": mask,
        "nonzero_data": i8([10, -20, 127]),
        "scale": f32([[0.5, 1, 2]]),
        "offset": i8([[1, 2, 3]]),
    }
    case("constexpr_sparse_blockwise_shift_scale", "exact", args, "a scale and an offset for each column")
