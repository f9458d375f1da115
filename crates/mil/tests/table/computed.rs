//! Arguments that may be computed: all that coremltools 9 does not want as constants, and of which no size depends.

use super::{agrees, compare, gradients};
use crate::cases::cases;
use mil::eval::{Rounding, run};
use mil::op::Role;
use mil::{DType, Op, Weights};
use std::collections::BTreeSet;

/// Integers that say where: they may be computed.
const BOUNDS: &str =
    "slice_by_index.begin slice_by_index.end slice_by_size.begin slice_update.begin slice_update.end";

/// Integers that decide the shape of the result. coremltools lets most of them be computed, and gives the result an
/// unknown size then.
const SIZES: &str = "fill.shape one_hot.one_hot_vector_size pad.pad random_bernoulli.shape random_normal.shape \
    random_uniform.shape range_1d.end range_1d.start range_1d.step reshape.shape resize.shape slice_by_index.stride \
    slice_by_size.size slice_update.stride tile.reps";

fn of_role(role: Role) -> BTreeSet<String> {
    let name = |op: Op, p: &mil::op::Param| format!("{}.{}", op.name(), p.name);
    let all = Op::all().flat_map(|op| op.params.iter().map(move |p| (op, p)));
    all.filter(|(_, p)| p.role == role).map(|(op, p)| name(op, p)).collect()
}

/// Every other parameter of integers that is no plain value is a constant in coremltools too.
#[test]
fn what_decides_no_size_may_be_computed() {
    let listed = |text: &str| -> BTreeSet<String> { text.split_whitespace().map(str::to_owned).collect() };
    assert_eq!(of_role(Role::Bound), listed(BOUNDS));
    assert_eq!(of_role(Role::Known), listed(SIZES));
}

#[test]
fn computed_bounds_give_what_constant_ones_do() {
    let mut taken = BTreeSet::new();
    for case in cases() {
        let op = Op::find(case.op).expect("a case names an operation");
        let bounds: Vec<&str> = op.params.iter().filter(|p| p.role == Role::Bound).map(|p| p.name).collect();
        let Ok(constant) = case.build(DType::F32) else { continue };
        let want =
            run(&constant.program, &Weights::new(), &constant.inputs, Rounding::AsTyped).expect("runs");
        // Each alone, and all together.
        let alone = bounds.iter().map(|&b| vec![b]);
        for names in alone.chain((bounds.len() > 1).then(|| bounds.clone())) {
            let Some(case) = names.iter().try_fold(case.clone(), |case, name| case.computed(name)) else {
                continue;
            };
            let built = match case.build(DType::F32) {
                Ok(built) => built,
                Err(report) => {
                    assert_eq!(report.diagnostics[0].code, "data-dependent", "{case}: {report}");
                    continue;
                }
            };
            agrees(&case, &built);
            let got = run(&built.program, &Weights::new(), &built.inputs, Rounding::AsTyped).expect("runs");
            assert_eq!(got, want, "{case}");
            taken.extend(names.iter().map(|name| format!("{}.{name}", case.op)));
            if let Ok(joint) = gradients(&built, &built.floats()) {
                compare(&case, &built, &built.floats(), &joint, DType::F32);
            }
        }
    }
    let want: BTreeSet<String> = BOUNDS.split_whitespace().map(str::to_owned).collect();
    assert_eq!(taken, want, "each is computed in a case at least");
}

#[test]
fn what_decides_a_size_is_constant() {
    let mut refused = BTreeSet::new();
    for case in cases() {
        let op = Op::find(case.op).expect("a case names an operation");
        for param in op.params.iter().filter(|p| p.role == Role::Known) {
            let Some(case) = case.computed(param.name) else { continue };
            let report = case.build(DType::F32).err().unwrap_or_else(|| panic!("{case} is taken"));
            assert!(report.to_string().contains("must be a constant"), "{case}: {report}");
            refused.insert(case.op);
        }
    }
    assert!(["reshape", "tile", "pad", "fill"].iter().all(|op| refused.contains(op)), "{refused:?}");
}
