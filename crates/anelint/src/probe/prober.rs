//! Runs the programs of probes and compares their results with the reference evaluator.

use super::finding::Finding;
use crate::rules::{Chip, Consequence};
use ane::Surface;
use ane::{Call, DeviceError};
use ane::{Device, Kernel};
use mil::eval::{Rounding, run};
use mil::{Builder, Opset, Program, Tensor, TensorType, ValueId, Var, Verified, Weights};

/// An engine that probes ask.
#[derive(Clone, Copy)]
pub struct Prober<'a> {
    device: &'a dyn Device,
    chip: Option<Chip>,
}

impl std::fmt::Debug for Prober<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Prober({})", self.device.info().name)
    }
}

/// A program with its data.
#[derive(Debug)]
pub(super) struct Case {
    name: &'static str,
    program: Result<Verified<Program>, String>,
    weights: Weights,
    inputs: Vec<Tensor>,
    /// The text for the engine, if it differs from the printed program.
    text: Option<&'static str>,
}

impl Case {
    /// The program that `body` writes, of the inputs that are named here.
    pub(super) fn new(
        name: &'static str,
        inputs: Vec<(&str, Tensor)>,
        body: impl for<'b> FnOnce(&'b Builder, &[Var<'b>]) -> Vec<(&'static str, Var<'b>)>,
    ) -> Case {
        Case::of(name, Opset::Ios18, inputs, body)
    }

    /// The same for another set of operations.
    pub(super) fn of(
        name: &'static str,
        opset: Opset,
        inputs: Vec<(&str, Tensor)>,
        body: impl for<'b> FnOnce(&'b Builder, &[Var<'b>]) -> Vec<(&'static str, Var<'b>)>,
    ) -> Case {
        let b = Builder::new("main", opset);
        let vars: Vec<Var<'_>> = inputs.iter().map(|(name, t)| b.input(name, t.ty.clone())).collect();
        let outputs = body(&b, &vars);
        let program = b.finish(outputs).map_err(|e| e.to_string());
        let inputs = inputs.into_iter().map(|(_, t)| t).collect();
        Case { name, program, weights: Weights::new(), inputs, text: None }
    }

    /// The same with a weight file of one tensor.
    pub(super) fn weight(mut self, path: &str, tensor: &Tensor) -> Case {
        if let Err(e) = self.weights.add_tensor(path, tensor) {
            self.program = Err(e.to_string());
        }
        self
    }

    /// The same with other weights.
    pub(super) fn weights(mut self, weights: Weights) -> Case {
        self.weights = weights;
        self
    }

    /// Passes `text` to the engine unchanged; the program is its meaning.
    pub(super) fn written(self, text: &'static str) -> Case {
        Case { text: Some(text), ..self }
    }

    /// The expected results.
    pub(super) fn means(&self) -> Result<Vec<Vec<f64>>, String> {
        let results = run(self.verified()?, &self.weights, &self.inputs, Rounding::AsTyped);
        Ok(results.map_err(|e| e.to_string())?.iter().map(Tensor::to_floats).collect())
    }

    /// Its weight files.
    pub(super) fn files(&self) -> &Weights {
        &self.weights
    }

    /// The program.
    pub(super) fn verified(&self) -> Result<&Verified<Program>, String> {
        self.program.as_ref().map_err(String::clone)
    }
}

/// A case that is loaded on an engine, with its surfaces.
pub(super) struct Loaded {
    pub(super) kernel: Box<dyn Kernel>,
    from: Vec<Surface>,
    to: Vec<Surface>,
    /// Surfaces of `from`, for each input.
    slots: Vec<usize>,
}

/// The outcome of a case.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// The numbers are right, or `off` from them by no more than was allowed, as a share of the largest.
    Right { off: f64 },
    /// All are zeros where they should not be.
    Zeros,
    /// Some are wrong: the first one.
    Wrong { output: usize, at: usize, got: f64, want: f64, count: usize },
    /// The engine refused, a possible consequence of breaking a rule.
    Failed { with: Consequence, says: String },
    /// Nothing was learnt: something else went wrong.
    Lost(String),
}

impl Outcome {
    /// Compares, allowing a difference of `close` times the largest.
    pub(super) fn of(got: &[Vec<f64>], want: &[Vec<f64>], close: f64) -> Outcome {
        let (mut off, mut wrong) = (0.0f64, None);
        let mut count = 0;
        for (output, (got, want)) in got.iter().zip(want).enumerate() {
            let finite = want.iter().filter(|w| w.is_finite());
            let largest = finite.fold(f64::MIN_POSITIVE, |m: f64, w| m.max(w.abs()));
            for (at, (&got, &want)) in got.iter().zip(want).enumerate() {
                let same = got == want || got.is_nan() && want.is_nan();
                let error = if same { 0.0 } else { (got - want).abs() / largest };
                // NaN counts as infinitely far.
                if error.is_nan() || error > close {
                    count += 1;
                    wrong.get_or_insert((output, at, got, want));
                } else {
                    off = off.max(error);
                }
            }
        }
        let zeros = got.iter().flatten().all(|&x| x == 0.0);
        match wrong {
            None => Outcome::Right { off },
            Some(_) if zeros => Outcome::Zeros,
            Some((output, at, got, want)) => Outcome::Wrong { output, at, got, want, count },
        }
    }

    pub(super) fn is_right(&self) -> bool {
        matches!(self, Outcome::Right { .. })
    }

    /// The consequence, if a rule was broken.
    pub(super) fn consequence(&self) -> Option<Consequence> {
        match self {
            Outcome::Zeros | Outcome::Wrong { .. } => Some(Consequence::WrongNumbers),
            Outcome::Failed { with, .. } => Some(*with),
            Outcome::Right { .. } | Outcome::Lost(_) => None,
        }
    }

    /// A sentence part.
    pub(super) fn says(&self) -> String {
        match self {
            Outcome::Right { off } if *off == 0.0 => "runs, right to the bit".to_owned(),
            Outcome::Right { off } => format!("runs, right to {off:.1e} of the largest"),
            Outcome::Zeros => "runs, but gives only zeros".to_owned(),
            Outcome::Wrong { at, got, want, count, .. } => {
                format!("runs, but {count} elements are wrong: element {at} is {got}, expected {want}")
            }
            Outcome::Failed { with, says } => format!("{with}: {says}"),
            Outcome::Lost(why) => why.clone(),
        }
    }

    /// A finding on rule `about`, which states that this form fails.
    pub(super) fn fails(&self, about: &'static str, what: &str) -> Finding {
        let says = format!("{what} {}", self.says());
        match self {
            Outcome::Lost(_) => Finding::unclear(about, says),
            _ => Finding::whether(!self.is_right(), about, says).leads_to(self.consequence()),
        }
    }

    /// A finding on rule `about`, which states that this form works.
    pub(super) fn passes(&self, about: &'static str, what: &str) -> Finding {
        let says = format!("{what} {}", self.says());
        match self {
            Outcome::Lost(_) => Finding::unclear(about, says),
            _ => Finding::whether(self.is_right(), about, says).leads_to(self.consequence()),
        }
    }
}

impl<'a> Prober<'a> {
    /// A prober with this engine in it.
    pub fn new(device: &'a dyn Device) -> Prober<'a> {
        Prober { device, chip: None }
    }

    /// Sets the engine's chip.
    #[must_use]
    pub fn on(self, chip: Option<Chip>) -> Prober<'a> {
        Prober { chip, ..self }
    }

    /// The chip, if known.
    pub(super) fn chip(&self) -> Option<Chip> {
        self.chip
    }

    /// The engine.
    pub(super) fn device(&self) -> &'a dyn Device {
        self.device
    }

    /// Compiles and runs `case`, and compares with the expected results.
    pub(super) fn try_out(&self, case: &Case, close: f64) -> Outcome {
        self.judge(self.device, case, close)
    }

    /// [`Prober::try_out`] without the checks that `ane` makes itself.
    pub(super) fn try_bare(&self, case: &Case, close: f64) -> Outcome {
        match self.device.bare() {
            Some(bare) => self.judge(bare.as_ref(), case, close),
            None => self.judge(self.device, case, close),
        }
    }

    fn judge(&self, device: &dyn Device, case: &Case, close: f64) -> Outcome {
        let want = match case.means() {
            Ok(want) => want,
            Err(why) => return Outcome::Lost(format!("cannot be tested: {why}")),
        };
        match Loaded::open(device, case).and_then(|loaded| loaded.run()) {
            Ok(got) => Outcome::of(&got, &want, close),
            Err(outcome) => outcome,
        }
    }

    /// Compiles and loads a program that is written as `text`, and does not run it.
    ///
    /// # Errors
    /// Any other outcome.
    pub(super) fn compiles(&self, name: &str, text: &str) -> Result<(), Outcome> {
        let program = mil::text::load(text).map_err(|e| Outcome::Lost(format!("cannot be tested: {e}")))?;
        self.device.compile_text(name, text, &program, &Weights::new()).map(drop).map_err(|e| failed(&e))
    }

    /// The results of `case`.
    ///
    /// # Errors
    /// Any other outcome.
    pub(super) fn gives(&self, case: &Case) -> Result<Vec<Vec<f64>>, Outcome> {
        Loaded::open(self.device, case)?.run()
    }
}

/// The outcome for an engine's error; `Lost` if the engine was not called.
pub(super) fn failed(error: &DeviceError) -> Outcome {
    let mut says = error.to_string();
    let with = match error {
        DeviceError::Refused(refusal) => {
            // The engine's answer only, without our rules.
            says = refusal.as_ref().clone().unexplained().to_string();
            match refusal.call {
                Call::Describe | Call::Model | Call::Compile => Consequence::Refused,
                Call::Load => Consequence::LoadFailure,
                Call::Bind | Call::Evaluate => Consequence::Evaluation,
            }
        }
        DeviceError::Compile { .. } | DeviceError::Unread { .. } => Consequence::Refused,
        DeviceError::Run { .. } => Consequence::Evaluation,
        _ => return Outcome::Lost(format!("was not tested: {says}")),
    };
    Outcome::Failed { with, says }
}

impl Loaded {
    /// Compiles `case`, and fills its inputs.
    pub(super) fn open(device: &dyn Device, case: &Case) -> Result<Loaded, Outcome> {
        let program = case.verified().map_err(Outcome::Lost)?;
        let kernel = match case.text {
            Some(text) => device.compile_text(case.name, text, program, &case.weights),
            None => device.compile(case.name, program, &case.weights),
        };
        let kernel = kernel.map_err(|e| failed(&e))?;
        let function = program.entry();
        let surfaces = |ids: &[ValueId]| -> Result<Vec<Surface>, Outcome> {
            let surface = |&v: &ValueId| device.surface(&function.value(v).name, function.ty(v));
            ids.iter().map(surface).collect::<Result<_, _>>().map_err(|e| failed(&e))
        };
        let (from, to) = (surfaces(&function.inputs)?, surfaces(&function.outputs)?);
        let slots = (0..from.len()).collect();
        let loaded = Loaded { kernel, from, to, slots };
        for (i, tensor) in case.inputs.iter().enumerate() {
            loaded.fill(i, tensor)?;
        }
        Ok(loaded)
    }

    /// Lets input `of` read the surface of input `by`.
    pub(super) fn share(&mut self, of: usize, by: usize) {
        self.slots[of] = by;
    }

    fn fill(&self, input: usize, tensor: &Tensor) -> Result<(), Outcome> {
        let values: Vec<f32> = tensor.to_floats().into_iter().map(|x| x as f32).collect();
        self.from[input].write(0, &values).map_err(|e| failed(&e))
    }

    /// Runs once.
    ///
    /// # Errors
    /// The engine's refusal.
    pub(super) fn dispatch(&self) -> Result<(), Outcome> {
        let from: Vec<&Surface> = self.slots.iter().map(|&i| &self.from[i]).collect();
        let to: Vec<&Surface> = self.to.iter().collect();
        self.kernel.dispatch(&from, &to).map(drop).map_err(|e| failed(&e))
    }

    /// Runs once, and reads each result.
    pub(super) fn run(&self) -> Result<Vec<Vec<f64>>, Outcome> {
        self.dispatch()?;
        self.read()
    }

    /// Reads each result of the last run.
    pub(super) fn read(&self) -> Result<Vec<Vec<f64>>, Outcome> {
        let read = |surface: &Surface| {
            let mut values = vec![0.0; surface.ty().elements()];
            surface.read(0, &mut values).map_err(|e| failed(&e))?;
            Ok(values.into_iter().map(f64::from).collect())
        };
        self.to.iter().map(read).collect()
    }
}

/// Values of `ty` that are the same in no two rows or columns: `(i·step mod m − m/2) / scale`, exact in fp16.
pub(super) fn uneven(ty: TensorType, step: usize, m: usize, scale: f64) -> Tensor {
    let n = ty.elements();
    let half = (m / 2) as f64;
    Tensor::floats(ty, (0..n).map(|i| ((i * step % m) as f64 - half) / scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_tell_right_wrong_and_zeros_apart() {
        let want = [vec![1.0, -2.0, f64::NAN]];
        assert_eq!(Outcome::of(&want, &want, 0.0), Outcome::Right { off: 0.0 });
        assert_eq!(Outcome::of(&[vec![1.0, -2.25, f64::NAN]], &want, 0.25), Outcome::Right { off: 0.125 });
        let wrong = Outcome::Wrong { output: 0, at: 1, got: 2.0, want: -2.0, count: 1 };
        assert_eq!(Outcome::of(&[vec![1.0, 2.0, f64::NAN]], &want, 0.25), wrong);
        assert_eq!(Outcome::of(&[vec![0.0; 3]], &want, 0.25), Outcome::Zeros);
        assert!(matches!(Outcome::of(&[vec![f64::NAN]], &[vec![1.0]], 1.0), Outcome::Wrong { .. }));
        assert!(Outcome::of(&[vec![0.0]], &[vec![0.0]], 0.0).is_right(), "zeros may be what is meant");
    }
}
