//! Names: of parameters and results, and of literals.

use super::call::{each, unused};
use super::ports::PortMap;
use super::{Apply, EXACT, Repair, Rewritten};
use mil::op::Role;
use mil::pass::Rewrite;
use mil::{ArgValue, Function, ValueId};

/// Parameters and results are bound by the order of their names.
pub(super) const ORDER: Repair = Repair {
    rules: &["S1", "T36"],
    name: "port-order",
    does: "Renames inputs and outputs so that the order of their names is that of their declaration.",
    by_default: true,
    exact: EXACT,
    apply: Apply::Function(order),
};

fn order(function: &Function) -> Result<Option<Rewritten>, String> {
    let mut new = function.clone();
    let mut changes = Vec::new();
    for (what, letter, ids) in [("input", 'i', &function.inputs), ("output", 'o', &function.outputs)] {
        let name = |id: &ValueId| new.value(*id).name.clone();
        let names: Vec<String> = ids.iter().map(name).collect();
        if names.is_sorted() {
            continue;
        }
        // A value that is bound twice cannot be at both positions.
        let mut bound: Vec<ValueId> = ids.to_vec();
        bound.sort_unstable();
        bound.dedup();
        if let Some(&twice) = bound.iter().find(|v| what == "output" && function.inputs.contains(v)) {
            return Err(format!("input `{}` is an output too", function.value(twice).name));
        }
        if bound.len() < ids.len() {
            return Err(format!("the {what}s name a value more than once"));
        }
        let digits = (ids.len() - 1).to_string().len().max(2);
        for (at, &id) in ids.iter().enumerate() {
            let old = new.value(id).name.clone();
            let name = unused(&new, &format!("{letter}{at:0digits$}_{old}"));
            changes.push(format!("{what} `{old}` is `{name}`"));
            new.values[id.index()].name = name;
        }
    }
    let ports = PortMap::moved(function, &new);
    Ok((!changes.is_empty()).then_some(Rewritten { function: new, changes, ports }))
}

/// Literals among the arguments.
pub(super) const LITERALS: Repair = Repair {
    rules: &["T3"],
    name: "named-literals",
    does: "Gives each literal that stands among the arguments of an operation a name: a `const` before it.",
    by_default: true,
    exact: EXACT,
    apply: Apply::Function(|function| {
        each(function, |s, operation| {
            let (op, mut named) = (operation.op, Vec::new());
            for arg in &mut operation.args {
                let param = &op.params[arg.param];
                if let ArgValue::Literal(literal) = &arg.value
                    && param.role != Role::Attribute
                {
                    named.push(format!("`{}`", param.name));
                    let value = s.b.shared(literal.clone()).id();
                    arg.value = match param.role {
                        Role::Variadic => ArgValue::List(vec![value]),
                        _ => ArgValue::Value(value),
                    };
                }
            }
            let words = format!("`{}`: {} is a named constant", s.name(operation), named.join(", "));
            (!named.is_empty()).then_some((Rewrite::Amend, words))
        })
    }),
};
