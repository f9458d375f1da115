//! What is decided before a model is compiled.

use super::Course;
use crate::model::{Norms, Plan, Precision};
use ane::{Choice, Delivery, Engine, Wanted};

/// How a model is turned into kernels.
#[derive(Clone, Debug)]
pub struct Build {
    /// The element type of programs and surfaces.
    pub precision: Precision,
    /// Whether there is a backward pass.
    pub backward: bool,
    /// Which kernel computes what.
    pub plan: Plan,
    /// How the host's work goes.
    pub course: Course,
    /// How weights reach the engine.
    pub weights: Delivery,
}

impl Build {
    /// Forward and backward, in six kernels a layer.
    pub fn train(precision: Precision) -> Build {
        Build {
            precision,
            backward: true,
            plan: Plan::six(),
            course: Course::default(),
            weights: Delivery::Auto,
        }
    }

    /// The forward kernels of [`Build::train`] in fp16.
    pub fn infer() -> Build {
        Build { backward: false, ..Build::train(Precision::F16) }
    }

    /// The same for what the user wants of an engine: weights reach it so.
    #[must_use]
    pub fn on(self, device: Wanted) -> Build {
        Build { weights: device.weights, ..self }
    }

    /// The same with norms where they are wanted, in the plan of maderix/ANE.
    #[must_use]
    pub fn norms(self, norms: Norms) -> Build {
        Build { plan: Plan::with_norms(norms), ..self }
    }

    /// Programs that the kernels of a model of `layers` layers are on an engine of this kind.
    pub fn programs(&self, layers: usize, engine: Engine) -> u64 {
        let backward = if self.backward { self.plan.backward.len() } else { 0 };
        let sets = if self.weights.is_dynamic(engine) { 1 } else { layers };
        (sets * (self.plan.forward.len() + backward)) as u64
    }

    /// What is wanted of an engine for a model of `layers` layers; `device` is what the user wants. Programs in fp32
    /// are the software engine's alone.
    pub fn wanted(&self, device: Wanted, layers: usize) -> Wanted {
        let wanted = device.for_compiles(self.programs(layers, Engine::Apple));
        match (self.precision, device.engine) {
            (Precision::F32, Choice::Auto) => Wanted { engine: Choice::Soft, ..wanted },
            _ => wanted,
        }
    }
}
