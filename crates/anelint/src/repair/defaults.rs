//! Optional arguments that an engine requires.

use super::arithmetic::default;
use super::call::{RewriteContext, boolean, each, float, int, ints, string};
use super::{Apply, EXACT, Repair, Rewritten};
use mil::ir::LiteralData;
use mil::op::Absent;
use mil::pass::Rewrite;
use mil::{Function, Literal, Operation, TensorType};

/// A bias in a convolution.
pub(super) const CONV_BIAS: Repair = Repair {
    rules: &["T8"],
    name: "conv-bias",
    does: "Turns the `bias` of a convolution into an `add`.",
    by_default: true,
    exact: EXACT,
    apply: Apply::Function(|function| {
        each(function, |s, operation| {
            if operation.op.name() != "conv" {
                return None;
            }
            let bias = operation.arg("bias")?;
            let rank = s.function.ty(*operation.results.first()?).rank();
            let mut args = Vec::new();
            for param in operation.op.params.iter().filter(|p| p.name != "bias") {
                if let Some(value) = s.arg(operation, param.name) {
                    args.push((param.name, value.into()));
                }
            }
            let literal = match bias {
                mil::ArgValue::Value(v) => s.literals[v.index()],
                mil::ArgValue::Literal(l) => Some(l),
                mil::ArgValue::List(_) => None,
            };
            // [O] along the channels: [1, O, 1, …]
            let shape = |n: usize| -> Vec<usize> { (0..rank).map(|i| if i == 1 { n } else { 1 }).collect() };
            let bias = match literal {
                Some(Literal { ty, data }) => {
                    let ty = TensorType::new(ty.dtype, shape(ty.elements()));
                    let data: LiteralData = data.clone();
                    s.b.shared(Literal { ty, data })
                }
                None => {
                    let bias = s.arg(operation, "bias")?;
                    let n = bias.ty().elements();
                    bias.reshape(&shape(n))
                }
            };
            let new = s.binary("add", s.b.op("conv", args), bias);
            let words = format!("`{}`: `bias` of `conv` is an `add`", s.name(operation));
            Some((Rewrite::Replace(new.id()), words))
        })
    }),
};

/// The parameters of a convolution.
pub(super) const CONV: Repair = Repair {
    rules: &["T8"],
    name: "conv-parameters",
    does: "Writes out strides, padding, dilations and groups of a convolution.",
    by_default: true,
    exact: EXACT,
    apply: Apply::Function(|function| {
        write_out(function, |s, operation| {
            if operation.op.name() != "conv" {
                return Vec::new();
            }
            let rank = operation.results.first().map_or(0, |&r| s.function.ty(r).rank());
            let axes = rank.saturating_sub(2);
            vec![
                ("strides", ints(vec![1; axes])),
                ("pad_type", string("valid")),
                ("pad", ints(vec![0; 2 * axes])),
                ("dilations", ints(vec![1; axes])),
                ("groups", int(1)),
            ]
        })
    }),
};

/// `interleave` of `concat`.
pub(super) const CONCAT: Repair = Repair {
    rules: &["T9"],
    name: "concat-interleave",
    does: "Writes out `interleave` of `concat`.",
    by_default: true,
    exact: EXACT,
    apply: Apply::Function(|function| named(function, "concat", &["interleave"])),
};

/// Which side of `matmul` is transposed.
pub(super) const MATMUL: Repair = Repair {
    rules: &["T10"],
    name: "matmul-transposes",
    does: "Writes out `transpose_x` and `transpose_y` of `matmul`.",
    by_default: true,
    exact: EXACT,
    apply: Apply::Function(|function| named(function, "matmul", &["transpose_x", "transpose_y"])),
};

/// The epsilon of `rsqrt`.
pub(super) const RSQRT: Repair = Repair {
    rules: &["T17"],
    name: "rsqrt-epsilon",
    does: "Writes out `epsilon` of `rsqrt`.",
    by_default: true,
    exact: EXACT,
    apply: Apply::Function(|function| named(function, "rsqrt", &["epsilon"])),
};

/// The epsilon of `log` and `inverse`.
pub(super) const LOG: Repair = Repair {
    rules: &["T17", "T19"],
    name: "log-epsilon",
    does: "Writes out `epsilon` of `log`.",
    by_default: true,
    exact: EXACT,
    apply: Apply::Function(|function| named(function, "log", &["epsilon"])),
};

/// The mode of `gelu`.
pub(super) const GELU: Repair = Repair {
    rules: &["T16"],
    name: "gelu-mode",
    does: "Writes out `mode` of `gelu`.",
    by_default: true,
    exact: EXACT,
    apply: Apply::Function(|function| named(function, "gelu", &["mode"])),
};

/// Axes, and whether they stay.
pub(super) const ARGUMENTS: Repair = Repair {
    rules: &["T3"],
    name: "axis-arguments",
    does: "Writes out `axis` and `keep_dims` wherever they are left out.",
    by_default: true,
    exact: EXACT,
    apply: Apply::Function(|function| {
        write_out(function, |s, operation| {
            ["axis", "keep_dims"].into_iter().filter_map(|p| Some((p, written(s, operation, p)?))).collect()
        })
    }),
};

/// Writes out the parameters `params` of operation `op`.
fn named(
    function: &Function,
    op: &'static str,
    params: &[&'static str],
) -> Result<Option<Rewritten>, String> {
    write_out(function, |s, operation| {
        if operation.op.name() != op {
            return Vec::new();
        }
        params.iter().filter_map(|p| Some((*p, written(s, operation, p)?))).collect()
    })
}

/// The default of parameter `name`, as a literal.
fn written(s: &RewriteContext<'_, '_>, operation: &Operation, name: &str) -> Option<Literal> {
    Some(match operation.op.params[operation.op.param(name)?].absent {
        Absent::Int(x) => int(x),
        Absent::Bool(x) => boolean(x),
        Absent::Str(x) => string(x),
        // Of the type that is computed in.
        Absent::Float(_) => {
            float(s.function.ty(*operation.results.first()?).dtype, default(operation, name)?)
        }
        Absent::Refused | Absent::Allowed => return None,
    })
}

/// Adds those arguments of `wanted` that each operation lacks.
fn write_out(
    function: &Function,
    wanted: impl Fn(&RewriteContext<'_, '_>, &Operation) -> Vec<(&'static str, Literal)>,
) -> Result<Option<Rewritten>, String> {
    each(function, |s, operation| {
        let mut given = Vec::new();
        for (name, literal) in wanted(s, operation) {
            if s.give(operation, name, literal) {
                given.push(format!("`{name}`"));
            }
        }
        let words =
            format!("`{}`: `{}` states its {}", s.name(operation), operation.op.name(), given.join(", "));
        (!given.is_empty()).then_some((Rewrite::Amend, words))
    })
}
