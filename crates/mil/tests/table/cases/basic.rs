//! Arithmetic, activations, reductions, shapes, products.

use super::{Case, case};
use mil::{DType, Data, TensorType};

/// The cases: shapes as broadcast, negative axes, scalars, groups, and each parameter at least once.
#[expect(clippy::too_many_lines, reason = "a table")]
pub fn cases() -> Vec<Case> {
    let mut out = vec![
        case("const").literal("val", TensorType::new(DType::I32, [2]), Data::Int(vec![1, -2])),
        case("read_state").floats("input", &[2, 3]),
        case("coreml_update_state").floats("state", &[2, 3]).floats("value", &[2, 3]),
        // elementwise
        case("add").x(&[2, 3]).y(&[2, 3]),
        case("add").x(&[2, 1, 3]).y(&[4, 1]),
        case("add").x(&[]).y(&[]),
        case("sub").x(&[2, 3]).y(&[3]),
        case("sub").x(&[]).y(&[2, 2]),
        case("mul").x(&[2, 3]).y(&[2, 1]),
        case("mul").x(&[1, 3, 1, 2]).y(&[1, 3, 1, 1]),
        case("real_div").x(&[2, 3]).y(&[3]),
        case("pow").positive().x(&[2, 3]).float("y", -0.5),
        case("pow").x(&[4]).float("y", 2.0),
        case("pow").positive().x(&[2, 3]).y(&[3]),
        case("maximum").x(&[2, 3]).y(&[3]),
        case("maximum").x(&[2, 3]).float("y", 0.0),
        case("minimum").x(&[2, 3]).y(&[2, 1]),
        case("add").integers("x", DType::I32, &[2], &[1, i32::MAX as i64]).integers(
            "y",
            DType::I32,
            &[1],
            &[1],
        ),
        case("maximum").integers("x", DType::I32, &[3], &[1, 2, 3]).integers("y", DType::I32, &[], &[2]),
        // unary
        case("clip").x(&[2, 4]).float("alpha", -0.75).float("beta", 0.5),
        case("rsqrt").positive().x(&[5]).float("epsilon", 0.125),
        case("inverse").positive().x(&[5]).float("epsilon", 0.125),
        case("log").positive().x(&[5]).float("epsilon", 0.125),
        // logic
        case("logical_not").truths("x", &[2, 3]),
        case("select").truths("cond", &[2, 3]).floats("a", &[2, 3]).floats("b", &[2, 3]),
        case("select").truths("cond", &[2, 1]).floats("a", &[3]).floats("b", &[]),
        case("select").truths("cond", &[2]).integers("a", DType::I32, &[2], &[1, 2]).integers(
            "b",
            DType::I32,
            &[],
            &[7],
        ),
        // activation
        case("gelu").x(&[2, 3]).str("mode", "EXACT"),
        case("gelu").x(&[2, 3]).str("mode", "TANH_APPROXIMATION"),
        case("gelu").x(&[2, 3]).str("mode", "SIGMOID_APPROXIMATION"),
        case("softmax").x(&[2, 3]).axis(-1),
        case("softmax").x(&[2, 4, 1, 3]).axis(1),
        // reduction
        case("reduce_argmax").x(&[3, 4]).axis(0).flag("keep_dims", true),
        case("reduce_argmin").x(&[3, 4]).axis(-1).str("output_dtype", "uint16"),
        case("layer_norm")
            .x(&[2, 4])
            .axes(&[-1])
            .floats("gamma", &[4])
            .floats("beta", &[4])
            .float("epsilon", 0.25),
        case("layer_norm").x(&[2, 3, 2]).axes(&[2, 0]).floats("gamma", &[2, 2]).floats("beta", &[2, 2]),
        case("layer_norm").x(&[1, 4, 1, 3]).axes(&[1]),
        // shape
        case("identity").x(&[2, 3]),
        case("reshape").x(&[2, 6]).ints("shape", &[0, 3, -1]),
        case("reshape").x(&[1]).ints("shape", &[]),
        case("transpose").x(&[2, 3, 4]).ints("perm", &[2, 0, -2]),
        case("expand_dims").x(&[2, 3]).axes(&[0, -1]),
        case("expand_dims").x(&[]).axes(&[0]),
        case("squeeze").x(&[1, 3, 1]).axes(&[0, 1]),
        case("slice_by_size").x(&[3, 4]).ints("begin", &[1, -3]).ints("size", &[-1, 2]),
        case("slice_by_size").x(&[12, 13]).ints("begin", &[1, 0]).ints("size", &[1, 13]),
        // join
        case("concat").list("values", &[&[2, 1], &[2, 3]]).axis(-1).flag("interleave", false),
        case("concat").list("values", &[&[2, 3], &[2, 3]]).axis(0).flag("interleave", true),
        case("split").x(&[2, 6]).int("num_splits", 3).axis(-1),
        case("split").x(&[5, 2]).int("num_splits", 2).ints("split_sizes", &[2, 3]).axis(0),
        case("stack").list("values", &[&[2, 3], &[2, 3]]).axis(-1),
        case("stack").list("values", &[&[], &[], &[]]).axis(0),
        case("tile").x(&[2, 3]).ints("reps", &[2, 1]),
        case("tile").x(&[1, 2, 3]).ints("reps", &[4, 1, 2]),
        case("slice_by_index").x(&[3, 4]).ints("begin", &[1, -3]).ints("end", &[3, -1]),
        case("slice_by_index").x(&[2, 7]).ints("begin", &[0, 1]).ints("end", &[2, 7]).ints("stride", &[1, 3]),
        case("slice_by_index")
            .x(&[5, 6])
            .ints("begin", &[3, -1])
            .ints("end", &[0, 0])
            .ints("stride", &[-1, -2]),
        case("slice_by_index")
            .x(&[3, 4, 2])
            .ints("begin", &[-1, 9, 1])
            .ints("end", &[0, 2, 9])
            .masks("squeeze_mask", &[true, false, false])
            .masks("begin_mask", &[false, true, false])
            .masks("end_mask", &[false, false, true]),
        case("slice_by_index").x(&[3]).ints("begin", &[1]).ints("end", &[0]).masks("squeeze_mask", &[true]),
        case("gather").x(&[4, 3]).integers("indices", DType::I32, &[2, 2], &[3, 0, -1, 1]).axis(0),
        case("gather")
            .x(&[2, 4, 3])
            .integers("indices", DType::U16, &[3], &[1, 1, 9])
            .axis(-2)
            .int("batch_dims", 0)
            .flag("validate_indices", false),
        case("gather").x(&[2, 3]).integers("indices", DType::I32, &[], &[2]).axis(1),
        case("gather")
            .x(&[2, 3])
            .integers("indices", DType::I32, &[2, 2], &[2, 0, 1, 1])
            .axis(1)
            .int("batch_dims", 1),
        case("gather")
            .x(&[2, 2, 4, 2])
            .integers("indices", DType::I32, &[2, 3], &[3, 0, 1, 1, 2, 1])
            .axis(2)
            .int("batch_dims", 1),
        // linear
        case("matmul").x(&[3]).y(&[3, 2]).flag("transpose_x", true),
        case("matmul").x(&[2, 2, 3]).y(&[3]).flag("transpose_y", true),
        case("matmul").x(&[3]).y(&[3]),
        case("matmul").x(&[3]).y(&[2, 4, 3]).flag("transpose_y", true),
        case("linear").x(&[2, 3]).floats("weight", &[4, 3]).floats("bias", &[4]),
        case("linear").x(&[2, 2, 3]).floats("weight", &[1, 3]),
        case("linear").x(&[3]).floats("weight", &[2, 3]).floats("bias", &[2]),
        case("matmul").x(&[2, 3]).y(&[3, 4]),
        case("matmul").x(&[2, 3, 2]).y(&[4, 3]).flag("transpose_x", true).flag("transpose_y", true),
        case("matmul").x(&[2, 1, 2, 3]).y(&[3, 3, 2]).flag("transpose_x", false).flag("transpose_y", false),
        case("matmul").x(&[2, 3]).y(&[2, 2]).flag("transpose_x", true),
        // attention
        case("scaled_dot_product_attention")
            .floats("query", &[1, 2, 3])
            .floats("key", &[1, 4, 3])
            .floats("value", &[1, 4, 2]),
        case("scaled_dot_product_attention")
            .floats("query", &[1, 2, 2, 3])
            .floats("key", &[1, 2, 2, 3])
            .floats("value", &[1, 2, 2, 3])
            .floats("attn_mask", &[2, 2]),
        case("scaled_dot_product_attention")
            .floats("query", &[2, 2, 3])
            .floats("key", &[2, 3, 3])
            .floats("value", &[2, 3, 3])
            .truths("attn_mask", &[2, 3]),
        // boxes
        case("non_maximum_suppression")
            .positive()
            .floats("boxes", &[1, 4, 5])
            .floats("scores", &[1, 1, 5])
            .float("iou_threshold", 0.25)
            .int("max_boxes", 3),
        case("non_maximum_suppression")
            .positive()
            .floats("boxes", &[2, 4, 4])
            .floats("scores", &[2, 3, 4])
            .float("iou_threshold", 0.125)
            .int("max_boxes", 6)
            .flag("per_class_suppression", true),
        // quantization
        case("quantize").floats("input", &[2, 3]).float("scale", 0.125).str("output_dtype", "int8"),
        case("quantize")
            .floats("input", &[2, 3])
            .integers("zero_point", DType::U8, &[3], &[0, 9, 255])
            .floats("scale", &[3])
            .axis(-1)
            .str("output_dtype", "uint8"),
        case("dequantize").integers("input", DType::I8, &[2, 2], &[-128, 0, 1, 127]).float("scale", 0.125),
        case("dequantize")
            .integers("input", DType::U8, &[2, 2], &[0, 1, 2, 255])
            .integers("zero_point", DType::U8, &[2], &[1, 2])
            .floats("scale", &[2])
            .axis(0),
        case("constexpr_affine_dequantize")
            .literal("quantized_data", TensorType::new(DType::I8, [2, 2]), Data::Int(vec![-128, 0, 1, 127]))
            .literal("zero_point", TensorType::scalar(DType::I8), Data::Int(vec![0]))
            .literal("scale", TensorType::new(DType::F16, [2]), Data::Float(vec![0.125, 2.0]))
            .axis(0),
        // conversion
        case("cast").x(&[2, 3]).str("dtype", "fp16"),
        case("cast").x(&[2, 3]).str("dtype", "fp32"),
        case("cast").x(&[2, 3]).str("dtype", "int8"),
        case("cast").x(&[2, 3]).str("dtype", "bool"),
        case("cast").integers("x", DType::I32, &[2], &[-1, 300]).str("dtype", "uint8"),
        case("cast").truths("x", &[3]).str("dtype", "fp16"),
    ];
    for op in ["exp", "erf", "sin", "cos", "abs", "square", "sigmoid", "tanh", "relu", "silu", "softplus"] {
        out.extend([case(op).x(&[2, 3]), case(op).x(&[])]);
    }
    out.extend(["sign", "floor", "ceil", "round"].map(|op| case(op).x(&[2, 3]).refused()));
    out.extend(["sqrt", "rsqrt", "inverse", "log"].map(|op| case(op).positive().x(&[2, 3])));
    out.extend(["abs", "sign", "square"].map(|op| case(op).integers("x", DType::I32, &[3], &[-2, 0, 3])));
    for op in ["real_div", "pow"] {
        let integers = case(op).integers("x", DType::I32, &[4], &[-7, 2, 0, 1]);
        out.push(integers.integers("y", DType::I32, &[4], &[2, 3, 0, -1]));
    }
    let integers = |op| case(op).integers("x", DType::I32, &[2, 2], &[1, -2, 3, 1 << 30]);
    out.push(integers("matmul").integers("y", DType::I32, &[2, 2], &[1, 2, 3, 4]));
    out.push(integers("linear").integers("weight", DType::I32, &[1, 2], &[1, 4]));
    for op in
        ["sum", "mean", "max", "min", "prod", "sum_square", "l1_norm", "l2_norm", "log_sum", "log_sum_exp"]
    {
        let name = mil::Op::all().map(mil::Op::name).find(|n| n.strip_prefix("reduce_") == Some(op));
        out.push(integers(name.expect("of the table")).axes(&[-1]));
    }
    out.extend(["reduce_argmax", "reduce_argmin"].map(|op| integers(op).axis(0)));
    for op in ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"] {
        let integers = case(op).integers("x", DType::I32, &[3], &[1, 2, 3]);
        out.extend([case(op).x(&[2, 3]).y(&[3]), integers.integers("y", DType::I32, &[], &[2])]);
    }
    out.extend(
        ["logical_and", "logical_or", "logical_xor"]
            .map(|op| case(op).truths("x", &[2, 3]).truths("y", &[3])),
    );
    let reductions =
        ["sum", "mean", "max", "min", "prod", "sum_square", "l1_norm", "l2_norm", "log_sum", "log_sum_exp"];
    for op in mil::Op::all().map(mil::Op::name) {
        if reductions.iter().any(|r| op.strip_prefix("reduce_") == Some(*r)) {
            out.extend([
                case(op).positive().x(&[2, 3]),
                case(op).positive().x(&[2, 3, 4]).axes(&[-1]).flag("keep_dims", true),
                case(op).positive().x(&[2, 3, 4]).axes(&[0, 2]),
            ]);
        }
    }
    out
}
