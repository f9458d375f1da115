//! Forms of programs that engines are said to refuse. `FAKE_ANE_REFUSE` names those that this one is to refuse, with commas:
//! `norms`, `dynamic`, `slices`, `products`.

use mil::{Function, Operation, ValueId};

/// Products that a program may have, if several are refused: a step of attention has two in its backward pass.
const FEW: usize = 2;

/// The first form of `function` that is to be refused, for the message.
pub fn refused(function: &Function) -> Option<&'static str> {
    let asked = std::env::var("FAKE_ANE_REFUSE").ok()?;
    let found = asked.split(',').find(|form| has(function, form))?;
    Some(match found {
        "norms" => "a norm beside products",
        "dynamic" => "a product with a matrix from an input",
        "slices" => "a slice of an input",
        _ => "a program of several products",
    })
}

fn has(function: &Function, form: &str) -> bool {
    let products = || function.ops.iter().filter(|op| matches!(op.op.name(), "conv" | "matmul"));
    match form {
        // Source: maderix/ANE, 926f977, on M4. `pow(x, -0.5)` is in norms alone.
        "norms" => function.ops.iter().any(|op| op.op.name() == "pow") && products().count() > 0,
        // Source: ane-train, on M1.
        "dynamic" => products().any(|op| is_dynamic(function, op)),
        // Source: Espresso, on M3 Max.
        "slices" => function.ops.iter().any(|op| {
            let x = op.arg_value("x").filter(|_| op.op.name().starts_with("slice"));
            x.is_some_and(|x| function.inputs.contains(&x))
        }),
        // Source: maderix/ANE's dynamic kernels have one or two each.
        "products" => products().count() > FEW,
        _ => false,
    }
}

/// Whether `op` multiplies `[1, 1, M, N]`, which is a slice of an input: activations of attention have heads.
fn is_dynamic(function: &Function, op: &Operation) -> bool {
    let made = |v: ValueId| function.ops.iter().find(|op| op.results.contains(&v));
    let matrix = op.arg_value("x").filter(|&x| op.op.name() == "matmul" && function.ty(x).shape[1] == 1);
    let reshaped = matrix.and_then(made).filter(|op| op.op.name() == "reshape");
    let part = reshaped.and_then(|op| op.arg_value("x")).and_then(made);
    part.is_some_and(|op| op.op.name().starts_with("slice"))
}
