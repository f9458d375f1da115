//! The checks of T8 to T35: forms of operations.

use super::{Chip, FunctionIndex, Matches, Shape, Step, Subject};
use crate::facts;
use foldhash::{HashSet, HashSetExt};
use mil::text::tree::{Item, Type};
use mil::{DType, Data};

/// Element-wise operations that models are made of.
pub(super) const ELEMENTWISE: &[&str] = &[
    "abs", "add", "clip", "erf", "exp", "gelu", "log", "maximum", "minimum", "mul", "pow", "real_div",
    "relu", "rsqrt", "sigmoid", "silu", "sqrt", "square", "sub", "tanh",
];

/// Operations that no engine has. Source: ane-guide and ANEForge; acos and cosh ironmill on M3 Pro; acos, atanh, cosh,
/// cumsum and range_1d the M6 study on M4, and but for the last ANEForge on M5.
const NO_PATH: &[&str] = &[
    "acos",
    "asin",
    "atanh",
    "band_part",
    "cond",
    "cosh",
    "cumsum",
    "gru",
    "logical_and",
    "logical_or",
    "logical_xor",
    "lstm",
    "mod",
    "non_zero",
    "one_hot",
    "range_1d",
    "reduce_prod",
    "reverse_sequence",
    "rnn",
    "scatter",
    "scatter_along_axis",
    "scatter_nd",
    "shape",
    "sinh",
    "sliding_windows",
    "tan",
    "while_loop",
];

/// Operations that ANEForge's sweep through e5rt on M5 found refused, and that others compiled.
const DISPUTED_PATH: &[(&str, &str)] = &[
    ("argsort", "ane-guide compiles it for A14 and later"),
    ("random_bernoulli", "ane-guide compiles it for A15 and later"),
    ("random_categorical", "ane-guide compiles it for A15 and later"),
    ("random_normal", "ane-guide compiles it for A15 and later"),
    ("random_uniform", "ane-guide compiles it for A15 and later"),
    ("reduce_argmax", "it ran with right numbers for ironmill, in memory on M3 Pro"),
    ("reduce_argmin", "`reduce_argmax` ran with right numbers for ironmill, in memory on M3 Pro"),
];

/// Operations that give or take narrow integers and truth values, and ran: for ironmill on M3 Pro, in memory and compared;
/// quantized weights and activations for maderix/ANE on M4; comparisons, `logical_not` and `select` for ANEForge on M5.
const NARROW_RUN: &[&str] = &[
    "cast",
    "dequantize",
    "equal",
    "greater",
    "greater_equal",
    "less",
    "less_equal",
    "logical_not",
    "not_equal",
    "quantize",
    "select",
];

/// Values that convolutions take or give.
pub(super) fn conv_values<'t>(scene: &FunctionIndex<'t>) -> HashSet<&'t str> {
    let mut names = HashSet::new();
    for step in scene.each("conv") {
        names.insert(step.name());
        if let Some(Item::Name(x)) = step.item("x") {
            names.insert(x.text);
        }
    }
    names
}

/// The rule is broken by each operation of these names.
fn present(s: &Subject<'_>, ops: &[&str], hits: &mut Matches) {
    for step in s.each_of(ops) {
        hits.at(step.span(), || is_a(&step));
    }
}

/// "`y` is an `acos`".
fn is_a(step: &Step<'_, '_>) -> String {
    let op = step.op.op;
    let article = if op.text.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" };
    format!("`{}` is {article} `{op}`", step.name())
}

/// The operation that makes what is given for `param`.
fn maker<'t>(step: &Step<'_, 't>, param: &str) -> Option<&'t str> {
    Some(step.value(param)?.maker?.op.text)
}

fn is_reduction(op: Option<&str>) -> bool {
    op.is_some_and(|op| op.starts_with("reduce_"))
}

/// T8.
pub(super) fn conv_arguments(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each("conv") {
        let needed = ["strides", "pad", "pad_type", "dilations", "groups"];
        if let Some(absent) = needed.into_iter().find(|p| step.arg(p).is_none()) {
            hits.at(step.span(), || format!("`{}` does not state `{absent}`", step.name()));
        }
        if let Some(bias) = step.arg("bias") {
            hits.at(bias.span(), || format!("`{}` has a bias", step.name()));
        }
    }
}

/// T9.
pub(super) fn concat(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each("concat") {
        let scalar = |t: &Shape<'_>| t.dtype == DType::I32 && t.rank() == 0;
        let axis = step.shape("axis").is_some_and(|t| scalar(&t)) && step.is_constant("axis") == Some(true);
        if !axis || step.arg("interleave").is_none() {
            let what = if axis { "`interleave`" } else { "a constant scalar int32 `axis`" };
            hits.at(step.span(), || format!("`{}` does not state {what}", step.name()));
        } else {
            hits.disputed(step.span(), "it runs for most who report on it", || {
                format!("`{}` joins with `concat`", step.name())
            });
        }
    }
}

/// T10.
pub(super) fn matmul_transposes(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each("matmul") {
        for param in ["transpose_x", "transpose_y"] {
            if let Some(arg) = step.arg(param).filter(|_| step.is_constant(param) == Some(false)) {
                hits.at(arg.span(), || format!("`{param}` of `{}` is computed", step.name()));
            }
        }
    }
}

/// T11.
pub(super) fn matmul_constant(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each("matmul") {
        for param in ["x", "y"] {
            if let Some(arg) = step.arg(param).filter(|_| step.is_constant(param) == Some(true)) {
                hits.at(arg.span(), || format!("operand `{param}` of `{}` is a constant", step.name()));
            }
        }
    }
}

/// T12.
pub(super) fn matmul_singletons(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each("matmul") {
        for param in ["x", "y"] {
            let Some(shape) = step.shape(param).filter(|s| s.rank() == 4 && s.dim(0) == Some(1)) else {
                continue;
            };
            let text = match (shape.dim(1), shape.dim(2)) {
                (Some(1), _) => "one channel",
                (_, Some(1)) => "a height of 1",
                _ => continue,
            };
            hits.at(step.span(), || format!("operand `{param}` of `{}` has {text}", step.name()));
        }
    }
}

/// T13.
pub(super) fn matmul_inner(s: &Subject<'_>, hits: &mut Matches) {
    let unit = facts::MATMUL_INNER_MULTIPLE.value;
    for step in s.each("matmul") {
        let axis = if step.flag("transpose_x").unwrap_or(false) { -2 } else { -1 };
        let Some(n) = step.shape("x").and_then(|x| x.axis(axis)) else { continue };
        if !n.is_multiple_of(unit) {
            hits.at(step.span(), || format!("`{}` sums over {n}, no multiple of {unit}", step.name()));
        }
    }
}

/// T14.
pub(super) fn conv_runtime_weight(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each("conv") {
        if let Some(arg) = step.arg("weight").filter(|_| step.is_constant("weight") == Some(false)) {
            let groups = step.number("groups").filter(|&g| g > 1.0).map_or("", |_| ", and it has groups");
            let batch = step.shape("x").and_then(|x| x.dim(0)).unwrap_or(1);
            hits.at(arg.span(), || {
                format!("the weight of `{}` is no constant (batch {batch}{groups})", step.name())
            });
        }
    }
}

/// T15.
pub(super) fn attention(s: &Subject<'_>, hits: &mut Matches) {
    let longest = facts::MAX_ATTENTION.value;
    for step in s.each("scaled_dot_product_attention") {
        let length = step.shape("key").and_then(|k| k.axis(-2)).filter(|&n| n > longest);
        match (step.arg("attn_mask"), length) {
            (Some(mask), _) => hits.at(mask.span(), || format!("`{}` has a mask", step.name())),
            (None, Some(n)) => hits
                .at(step.span(), || format!("`{}` looks at {n} positions, more than {longest}", step.name())),
            (None, None) => {}
        }
    }
}

/// T16: sure without a mode, disputed with one.
pub(super) fn gelu(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each("gelu") {
        let text = || format!("`{}` is a `gelu`", step.name());
        match step.arg("mode") {
            None => hits.at(step.span(), text),
            Some(_) => hits.disputed(step.span(), "mil_spec compiles it with a mode", text),
        }
    }
}

/// T17.
pub(super) fn rsqrt(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each("rsqrt") {
        match step.arg("epsilon") {
            None => hits
                .at(step.span(), || format!("`{}` is an `rsqrt` that does not state `epsilon`", step.name())),
            Some(_) => hits.disputed(step.span(), "mil_spec compiles it with a stated epsilon", || {
                format!("`{}` is an `rsqrt`", step.name())
            }),
        }
    }
}

/// T18.
pub(super) fn pow_half(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each("pow").filter(|t| t.number("y") == Some(-0.5)) {
        hits.at(step.span(), || format!("`{}` is `pow(x, -0.5)`", step.name()));
    }
}

/// T19.
pub(super) fn log(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each("log").filter(|t| t.arg("epsilon").is_none()) {
        hits.at(step.span(), || format!("`{}` does not state `epsilon`", step.name()));
    }
}

/// T20.
pub(super) fn root_of_reduction(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each_of(&["rsqrt", "sqrt"]).filter(|t| is_reduction(maker(t, "x"))) {
        hits.at(step.span(), || {
            format!("`{}` is the root of a `{}`", step.name(), maker(&step, "x").unwrap_or_default())
        });
    }
}

/// T21.
pub(super) fn inverse(s: &Subject<'_>, hits: &mut Matches) {
    present(s, &["inverse"], hits);
}

/// T22.
pub(super) fn reduce_mean(s: &Subject<'_>, hits: &mut Matches) {
    present(s, &["reduce_mean"], hits);
}

/// T23.
pub(super) fn softmax_size(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each("softmax") {
        let axis = step.ints("axis").and_then(|a| a.first().copied()).unwrap_or(-1);
        let Some(n) = step.shape("x").and_then(|x| x.axis(axis)) else { continue };
        if !n.is_power_of_two() {
            hits.at(step.span(), || format!("`{}` runs over {n} elements, no power of two", step.name()));
        }
    }
}

/// T24.
pub(super) fn slices(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each_of(&["slice_by_index", "slice_by_size"]) {
        for param in ["begin", "end", "size", "stride"] {
            let Some(arg) = step.arg(param).filter(|_| step.is_constant(param) == Some(false)) else {
                continue;
            };
            let text = || format!("`{param}` of `{}` is computed", step.name());
            if param == "begin" {
                let reason = "ane-guide lists slices that begin where a value says for A14 and later";
                hits.disputed(arg.span(), reason, text);
            } else {
                hits.at(arg.span(), text);
            }
        }
        if step.out().is_some_and(|s| s.dims.contains(&Some(0))) {
            hits.at(step.span(), || format!("`{}` keeps nothing", step.name()));
        }
    }
}

/// T25. The reading of indices counts, whatever it gives; what finds places (T34) gives integers that others read.
pub(super) fn integers(s: &Subject<'_>, hits: &mut Matches) {
    let places = |op: &str| DISPUTED_PATH.iter().any(|(name, _)| *name == op);
    for step in s.steps().filter(|t| !t.makes_constant() && !places(t.op.op.text)) {
        let op = step.op.op;
        if op.text.starts_with("gather") {
            let text = || format!("`{}` is a `{op}`", step.name());
            match step.is_constant("indices") {
                Some(true) => {
                    hits.disputed(op.span, "with constant indices the M6 study saw it on the engine", text)
                }
                _ => hits.at(op.span, text),
            }
            continue;
        }
        let Some(dtype) = step.out().map(|s| s.dtype).filter(|d| d.is_int() || *d == DType::Bool) else {
            continue;
        };
        let text = || format!("`{op}` computes `{}` in {dtype}", step.name());
        if dtype.is_int() && dtype.bits().is_none_or(|bits| bits >= 32) {
            hits.at(op.span, text);
        } else if !NARROW_RUN.contains(&op.text) {
            let reason = "other operations on narrow integers and truth values ran for ironmill, maderix/ANE and ANEForge";
            hits.disputed(op.span, reason, text);
        }
    }
}

/// T37.
pub(super) fn placed_update(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each("slice_update") {
        for param in ["begin", "end", "stride"] {
            if let Some(arg) = step.arg(param).filter(|_| step.is_constant(param) == Some(false)) {
                hits.at(arg.span(), || format!("`{param}` of `{}` is computed", step.name()));
            }
        }
    }
}

/// T26.
pub(super) fn states(s: &Subject<'_>, hits: &mut Matches) {
    for scene in &s.scenes {
        for param in scene.func.params.iter().filter(|p| matches!(p.ty, Type::State(_))) {
            let uses = scene.value(param.name.text).map_or(&[][..], |v| &v.uses);
            let at = |writes: bool| {
                uses.iter()
                    .enumerate()
                    .filter(move |(_, u)| (u.op.text != "read_state") == writes)
                    .map(|u| u.0)
            };
            let (reads, writes) = (at(false).count(), at(true).count());
            let in_order = at(false).max() < at(true).min();
            if scene.func.opset.text != "ios18" {
                hits.at(param.name.span, || format!("state `{}` in `{}`", param.name, scene.func.opset));
            } else if (reads, writes) != (1, 1) || !in_order {
                hits.at(param.name.span, || {
                    let order = if in_order { "" } else { ", not in this order" };
                    format!("state `{}` is read {reads} times and written {writes} times{order}", param.name)
                });
            }
        }
    }
}

/// T27.
pub(super) fn tile(s: &Subject<'_>, hits: &mut Matches) {
    present(s, &["tile"], hits);
}

/// T28.
pub(super) fn broadcasts(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each("mul") {
        let Some((x, y)) = step.shape("x").zip(step.shape("y")) else { continue };
        let smaller = if x.elements() < y.elements() { ("x", x) } else { ("y", y) };
        if x.dims == y.dims || step.is_constant(smaller.0) == Some(true) {
            continue;
        }
        let same_rank = x.rank() == y.rank();
        let text = if same_rank && x.rank() == 4 && x.dim(0) != y.dim(0) {
            "the batch"
        } else if same_rank && x.rank() == 3 && smaller.1.last() == Some(1) {
            "a row of three axes"
        } else if maker(&step, smaller.0) == Some("sqrt") {
            "the result of a square root"
        } else {
            continue;
        };
        hits.at(step.span(), || format!("`{}` broadcasts {text}", step.name()));
    }
}

/// T29.
pub(super) fn three_axes(s: &Subject<'_>, hits: &mut Matches) {
    for scene in s.scenes.iter().filter(|s| s.inputs().count() != 2) {
        for port in scene.inputs().filter(|p| p.shape.rank() == 3) {
            let n = scene.inputs().count();
            hits.at(port.span, || format!("input `{}` has three axes and is one of {n}", port.name));
        }
    }
}

/// T30.
pub(super) fn affine_weights(s: &Subject<'_>, hits: &mut Matches) {
    present(s, &["constexpr_affine_dequantize"], hits);
}

/// T32.
pub(super) fn limits(s: &Subject<'_>, chip: Chip, hits: &mut Matches) {
    let old = chip.generation() <= facts::SMALL_WINDOW_GENERATION.value;
    let (high, wide) = if old { facts::MAX_WINDOW_OLD.value } else { facts::MAX_WINDOW.value };
    let (highest, widest) = if old { (high, wide) } else { facts::MAX_WINDOW_DISPUTED.value };
    for step in s.each("conv") {
        let Some(weight) = step.shape("weight") else { continue };
        if let Some((h, w)) = weight.dim(2).zip(weight.dim(3)).filter(|&(h, w)| h > high || w > wide) {
            let text = || format!("`{}` has a window of {h}×{w}, more than {high}×{wide}", step.name());
            if h > highest || w > widest {
                hits.at(step.span(), text);
            } else {
                hits.disputed(step.span(), "ane-guide lists windows of up to 32×16", text);
            }
        }
        let groups = step.ints("groups").and_then(|g| usize::try_from(*g.first()?).ok()).unwrap_or(1);
        if let Some(c) = step.shape("x").and_then(|x| x.dim(1)).filter(|c| !c.is_multiple_of(groups)) {
            hits.at(step.span(), || format!("`{}` has {c} channels in {groups} groups", step.name()));
        }
    }
    for step in s.each("conv_transpose") {
        if let Some(stride) = step.ints("strides").and_then(|s| s.iter().find(|&&s| s != 1 && s != 2)) {
            hits.at(step.span(), || format!("`{}` has a stride of {stride}, not 1 or 2", step.name()));
        }
    }
    for step in s.each("pad") {
        // Two numbers for each of the last axes.
        let outer = step.ints("pad").and_then(|p| p.get(..p.len().checked_sub(4)?));
        if outer.is_some_and(|p| p.iter().any(|&n| n != 0)) {
            hits.at(step.span(), || format!("`{}` pads other axes than the last two", step.name()));
        }
    }
    let longest = facts::MAX_ARGUMENT_AXIS.value;
    for step in s.each_of(&["reduce_argmax", "reduce_argmin"]) {
        let axis = step.ints("axis").and_then(|a| a.first().copied()).unwrap_or(-1);
        if let Some(n) = step.shape("x").and_then(|x| x.axis(axis)).filter(|&n| n > longest) {
            hits.at(step.span(), || {
                format!("`{}` looks for the place among {n}, more than {longest}", step.name())
            });
        }
    }
    for step in s.each("topk") {
        if let Some(k) = step.number("k").filter(|&k| k == 3.0 || k == 4.0) {
            hits.at(step.span(), || format!("`{}` takes the best {k}", step.name()));
        }
    }
}

/// T33.
pub(super) fn gates(s: &Subject<'_>, chip: Chip, hits: &mut Matches) {
    for (op, since) in facts::SINCE_GENERATION.value {
        if chip.generation() < *since {
            present(s, &[op], hits);
        }
    }
    if chip.generation() < facts::REFLECT_AND_DYNAMIC_SLICE.value {
        for step in s.each("pad").filter(|t| t.text("mode").is_some_and(|m| m.starts_with("refl"))) {
            hits.at(step.span(), || format!("`{}` pads by reflection", step.name()));
        }
        for step in s.each_of(&["slice_by_index", "slice_by_size"]) {
            if step.is_constant("begin") == Some(false) {
                hits.at(step.span(), || format!("`{}` begins where a value says", step.name()));
            }
        }
    }
}

/// T34.
pub(super) fn no_path(s: &Subject<'_>, hits: &mut Matches) {
    present(s, NO_PATH, hits);
    for (op, reason) in DISPUTED_PATH {
        for step in s.each(op) {
            hits.disputed(step.span(), reason, || is_a(&step));
        }
    }
}

/// T35.
pub(super) fn crashes(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each("mul") {
        let by_zero = |zero, other| all_zero(&step, zero) && is_reduction(maker(&step, other));
        if by_zero("x", "y") || by_zero("y", "x") {
            hits.at(step.span(), || format!("`{}` is zero times a reduction", step.name()));
        }
    }
    for scene in &s.scenes {
        if scene.steps().all(|t| t.makes_constant() || t.op.op.text == "identity") {
            let name = scene.func.name;
            hits.at(name.span, || format!("`{name}` does nothing"));
        }
    }
    let widest = facts::MAX_JOINED_RESHAPE.value;
    for step in s.each("concat") {
        let items = step.arg("values").map_or(&[][..], |a| a.value.items());
        for item in items {
            let Item::Name(name) = item else { continue };
            let Some(value) = step.scene.value(name.text) else { continue };
            let reshaped = value.maker.is_some_and(|op| op.op.text == "reshape");
            let size = Shape::of(value.ty).and_then(|s| s.dims.iter().copied().flatten().max());
            if let Some(n) = size.filter(|&n| reshaped && n >= widest) {
                hits.at(name.span, || format!("`{}` joins a reshape of {n} elements a row", step.name()));
            }
        }
    }
    let batch = facts::SLOW_CONV_BATCH.value;
    for step in s.each("conv") {
        if let Some(n) = step.shape("x").and_then(|x| x.dim(0)).filter(|&n| n >= batch) {
            let text = || format!("`{}` has a batch of {n}, {batch} or more", step.name());
            if n >= facts::HANGING_CONV_BATCH.value {
                hits.at(step.span(), text);
            } else {
                hits.disputed(step.span(), "it compiles after a minute or more", text);
            }
        }
    }
}

/// Whether `param` is given as zeros that stand in the text.
fn all_zero(step: &Step<'_, '_>, param: &str) -> bool {
    match step.data(param) {
        Some(Data::Float(v)) => !v.is_empty() && v.iter().all(|&x| x == 0.0),
        _ => false,
    }
}
