//! Which inputs may be quantised as they are: those that only products read, as their left side.

use crate::memory::Space;
use crate::plan::{CpuKernel, FloatKernel, Plan};

/// Of each of `inputs` inputs, the shape `[M, K]` that products have which read it as their left side, if nothing else reads it.
pub(crate) fn lefts(plan: &Plan, inputs: usize) -> Vec<Option<[usize; 2]>> {
    // Whether it is read otherwise, and the shape.
    let mut found: Vec<(bool, Option<[usize; 2]>)> = vec![(false, None); inputs];
    for step in &plan.steps {
        let left = match &step.kernel {
            CpuKernel::Float(FloatKernel::Matmul(matmul)) => matmul.whole_left(),
            _ => None,
        };
        for &id in &step.reads {
            let place = &plan.places[id];
            let Space::Input(i) = place.space else { continue };
            let (otherwise, shape) = &mut found[i];
            match left {
                Some((buffer, own)) if buffer == id && shape.is_none_or(|shape| shape == own) => {
                    *shape = Some(own);
                    *otherwise |= place.bytes.start != 0;
                }
                _ => *otherwise = true,
            }
        }
    }
    found.into_iter().map(|(otherwise, shape)| shape.filter(|_| !otherwise)).collect()
}
