//! Images and sequences: convolutions, pools, padding, normalisations of channels.

use super::{Case, case};

/// The cases: one, two and three spatial axes, each kind of padding, windows that leave something over.
pub fn cases() -> Vec<Case> {
    [convolutions(), transposed(), pools(), padding(), norms(), recurrent()].concat()
}

fn convolutions() -> Vec<Case> {
    vec![
        case("conv")
            .x(&[1, 3, 1, 4])
            .floats("weight", &[2, 3, 1, 1])
            .floats("bias", &[2])
            .ints("strides", &[1, 1])
            .str("pad_type", "valid")
            .ints("pad", &[0, 0, 0, 0])
            .ints("dilations", &[1, 1])
            .int("groups", 1),
        case("conv").x(&[1, 4, 1, 3]).floats("weight", &[6, 2, 1, 1]).int("groups", 2),
        case("conv").x(&[2, 4, 1, 3]).floats("weight", &[6, 2, 1, 1]).int("groups", 2).floats("bias", &[6]),
        case("conv").x(&[2, 1, 5]).floats("weight", &[2, 1, 3]).str("pad_type", "same").ints("strides", &[2]),
        case("conv")
            .x(&[1, 1, 3, 1])
            .floats("weight", &[1, 1, 1, 1])
            .str("pad_type", "custom")
            .ints("pad", &[1, 2, 0, 0])
            .ints("strides", &[2, 1]),
        case("conv")
            .x(&[1, 2, 4, 5])
            .floats("weight", &[2, 1, 2, 2])
            .str("pad_type", "same_lower")
            .int("groups", 2)
            .ints("dilations", &[1, 2]),
        // Of eight elements the last is not seen, and of six, those between.
        case("conv").x(&[2, 2, 8]).floats("weight", &[3, 2, 2]).ints("strides", &[3]).floats("bias", &[3]),
        case("conv").x(&[1, 1, 6]).floats("weight", &[1, 1, 2]).ints("dilations", &[3]).ints("strides", &[2]),
        case("conv")
            .x(&[2, 4, 2, 3, 2])
            .floats("weight", &[2, 2, 2, 1, 2])
            .floats("bias", &[2])
            .int("groups", 2)
            .str("pad_type", "custom")
            .ints("pad", &[1, 0, 0, 1, 1, 1])
            .ints("strides", &[1, 2, 2]),
    ]
}

fn transposed() -> Vec<Case> {
    vec![
        case("conv_transpose").x(&[1, 2, 3]).floats("weight", &[2, 3, 2]).floats("bias", &[3]),
        case("conv_transpose").x(&[2, 1, 3]).floats("weight", &[1, 2, 3]).ints("strides", &[2]),
        case("conv_transpose").x(&[1, 1, 2]).floats("weight", &[1, 1, 1]).ints("strides", &[3]),
        case("conv_transpose")
            .x(&[2, 4, 2, 3])
            .floats("weight", &[4, 1, 3, 2])
            .floats("bias", &[2])
            .int("groups", 2)
            .str("pad_type", "custom")
            .ints("pad", &[1, 0, 0, 1])
            .ints("strides", &[2, 1])
            .ints("dilations", &[1, 2]),
        case("conv_transpose")
            .x(&[1, 1, 2, 2])
            .floats("weight", &[1, 1, 3, 2])
            .str("pad_type", "same")
            .ints("strides", &[2, 3]),
        case("conv_transpose")
            .x(&[1, 2, 2, 2])
            .floats("weight", &[2, 1, 3, 3])
            .str("pad_type", "same")
            .ints("strides", &[2, 2])
            .ints("output_shape", &[1, 1, 3, 4]),
        case("conv_transpose")
            .x(&[1, 1, 2])
            .floats("weight", &[1, 1, 2])
            .str("pad_type", "valid")
            .ints("strides", &[3])
            .ints("output_shape", &[1, 1, 7]),
        case("conv_transpose").x(&[1, 2, 2, 1, 2]).floats("weight", &[2, 2, 2, 2, 1]).int("groups", 2),
    ]
}

fn pools() -> Vec<Case> {
    let mut out = Vec::new();
    for op in ["max_pool", "avg_pool", "l2_pool"] {
        let pool = |x: &[usize], sizes: &[i64], kind: &'static str| {
            case(op).x(x).ints("kernel_sizes", sizes).str("pad_type", kind)
        };
        out.extend([
            pool(&[1, 2, 5], &[2], "valid").ints("strides", &[2]),
            pool(&[2, 1, 4], &[3], "same"),
            pool(&[1, 2, 3, 4], &[2, 2], "same_lower").ints("strides", &[1, 2]),
            pool(&[1, 2, 4, 3], &[3, 2], "custom").ints("pad", &[1, 1, 0, 1]).ints("strides", &[2, 1]),
            pool(&[1, 1, 6, 5], &[3, 2], "custom")
                .ints("pad", &[1, 1, 0, 0])
                .ints("strides", &[2, 2])
                .flag("ceil_mode", true),
            pool(&[1, 1, 5], &[3], "custom")
                .ints("pad", &[1, 1])
                .ints("strides", &[3])
                .flag("ceil_mode", true),
            pool(&[1, 2, 6], &[1], "valid").ints("strides", &[4]),
            pool(&[2, 2, 3, 2], &[3, 2], "valid"),
        ]);
        if op != "l2_pool" {
            out.push(pool(&[1, 2, 2, 3, 2], &[2, 1, 2], "custom").ints("pad", &[1, 0, 0, 0, 1, 1]));
        }
    }
    let exclude = |case: Case| case.flag("exclude_padding_from_average", true);
    let excluding: Vec<Case> = out.iter().filter(|c| c.op == "avg_pool").cloned().map(exclude).collect();
    out.extend(excluding);
    out
}

fn padding() -> Vec<Case> {
    vec![
        case("pad").x(&[2, 3]).ints("pad", &[1, 2]).str("mode", "constant").float("constant_val", 0.75),
        case("pad").x(&[2, 3, 2]).ints("pad", &[0, 1, 2, 0]),
        case("pad").x(&[2]).ints("pad", &[0, 0]),
        case("pad").x(&[]).ints("pad", &[]),
        case("pad").x(&[3, 4]).ints("pad", &[1, 2, 3, 0]).str("mode", "reflect"),
        case("pad").x(&[2, 2, 3]).ints("pad", &[1, 1, 0, 2]).str("mode", "reflect"),
        case("pad").x(&[3, 2]).ints("pad", &[3, 1, 0, 2]).str("mode", "replicate"),
        case("pad").x(&[1]).ints("pad", &[1, 1]).str("mode", "replicate"),
    ]
}

fn norms() -> Vec<Case> {
    vec![
        case("batch_norm")
            .positive()
            .x(&[2, 3, 2])
            .floats("mean", &[3])
            .floats("variance", &[3])
            .floats("gamma", &[3])
            .floats("beta", &[3])
            .float("epsilon", 0.25),
        case("batch_norm").positive().x(&[1, 2, 2, 1, 2]).floats("mean", &[2]).floats("variance", &[2]),
        case("instance_norm").x(&[2, 3, 4]).floats("gamma", &[3]).floats("beta", &[3]).float("epsilon", 0.25),
        case("instance_norm").x(&[1, 2, 2, 3]).floats("gamma", &[2]).floats("beta", &[2]),
        case("l2_norm").x(&[2, 1, 3]).float("epsilon", 0.25),
        case("l2_norm").x(&[2, 2, 1, 3, 2]),
        case("local_response_norm").x(&[2, 5, 2]).int("size", 3).float("alpha", 0.5).float("beta", 1.25),
        case("local_response_norm").x(&[1, 4, 2, 2]).int("size", 4).float("alpha", 2.0).float("k", 0.5),
        case("local_response_norm").x(&[1, 2, 3]).int("size", 9),
    ]
}

fn recurrent() -> Vec<Case> {
    let lstm = |directions: usize| {
        case("lstm")
            .x(&[3, 2, 2])
            .floats("initial_h", &[2, 3 * directions])
            .floats("initial_c", &[2, 3 * directions])
            .floats("weight_ih", &[12, 2])
            .floats("weight_hh", &[12, 3])
    };
    vec![
        lstm(1).floats("bias", &[12]).flag("output_sequence", true),
        lstm(1).floats("peephole", &[9]).float("clip", 0.5).str("direction", "reverse"),
        lstm(1)
            .str("recurrent_activation", "hard_sigmoid")
            .str("cell_activation", "relu")
            .str("activation", "linear"),
        lstm(2)
            .floats("bias", &[12])
            .floats("peephole", &[9])
            .floats("weight_ih_back", &[12, 2])
            .floats("weight_hh_back", &[12, 3])
            .floats("bias_back", &[12])
            .floats("peephole_back", &[9])
            .str("direction", "bidirectional")
            .flag("output_sequence", true),
        case("gru")
            .x(&[2, 1, 2])
            .floats("initial_h", &[1, 2])
            .floats("weight_ih", &[6, 2])
            .floats("weight_hh", &[6, 2])
            .floats("bias", &[6])
            .floats("input_bias", &[6])
            .flag("reset_after", true),
        case("gru")
            .x(&[3, 2, 2])
            .floats("initial_h", &[2, 3])
            .floats("weight_ih", &[9, 2])
            .floats("weight_hh", &[9, 3])
            .floats("bias", &[9])
            .str("direction", "forward")
            .flag("output_sequence", true),
        case("gru")
            .x(&[2, 1, 2])
            .floats("initial_h", &[1, 2])
            .floats("weight_ih", &[6, 2])
            .floats("weight_hh", &[6, 2])
            .str("recurrent_activation", "tanh")
            .str("activation", "sigmoid")
            .str("direction", "reverse"),
        case("rnn")
            .x(&[3, 2, 2])
            .floats("initial_h", &[2, 3])
            .floats("weight_ih", &[3, 2])
            .floats("weight_hh", &[3, 3])
            .floats("bias", &[3])
            .str("direction", "reverse")
            .str("activation", "tanh")
            .flag("output_sequence", true),
    ]
}
