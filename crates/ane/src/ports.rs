//! Parameters and results of a kernel, and the check of surfaces against them.

use crate::error::DeviceError;
use crate::surface::Surface;
use mil::{Function, Program, TensorType, ValueId, Verified};

/// Parses `text`, which must have the parameters and results of `program`.
///
/// # Errors
/// `Unread`.
pub(crate) fn read(
    kernel: &str,
    text: &str,
    program: &Verified<Program>,
) -> Result<Verified<Program>, DeviceError> {
    let unread = |problem: String| DeviceError::Unread { kernel: kernel.to_owned(), problem };
    let written = mil::text::load(text).map_err(|report| {
        let first = report.diagnostics.first();
        unread(first.map_or_else(String::new, |d| format!("{}: {}", d.code, d.message)))
    })?;
    let [got, want] = [&written, program].map(|p| Ports::of(kernel, p.entry()));
    match (got.inputs == want.inputs, got.outputs == want.outputs) {
        (true, true) => Ok(written),
        (false, _) => Err(unread("its parameters differ".to_owned())),
        (_, false) => Err(unread("its results differ".to_owned())),
    }
}

/// The parameters and results of a kernel, in the order of its function.
#[derive(Clone, Debug)]
pub(crate) struct Ports {
    /// The kernel's name, for messages.
    pub(crate) kernel: String,
    /// Name and type of each parameter.
    pub(crate) inputs: Vec<(String, TensorType)>,
    /// Name and type of each result.
    pub(crate) outputs: Vec<(String, TensorType)>,
}

impl Ports {
    /// The ports of `function`.
    pub(crate) fn of(kernel: &str, function: &Function) -> Ports {
        let side = |ids: &[ValueId]| -> Vec<(String, TensorType)> {
            ids.iter().map(|&v| (function.value(v).name.clone(), function.ty(v).clone())).collect()
        };
        Ports { kernel: kernel.to_owned(), inputs: side(&function.inputs), outputs: side(&function.outputs) }
    }

    /// Compares surfaces with parameters and results.
    ///
    /// # Errors
    /// If number or types differ, or an output surface is also bound elsewhere.
    pub(crate) fn check(&self, inputs: &[&Surface], outputs: &[&Surface]) -> Result<(), DeviceError> {
        self.fit("inputs", &self.inputs, inputs)?;
        self.fit("outputs", &self.outputs, outputs)?;
        for (i, out) in outputs.iter().enumerate() {
            let again = inputs.iter().chain(&outputs[i + 1..]).any(|s| std::ptr::eq(*s, *out));
            if again {
                return Err(DeviceError::SurfaceShared {
                    kernel: self.kernel.clone(),
                    surface: out.name().to_owned(),
                });
            }
        }
        Ok(())
    }

    fn fit(
        &self,
        side: &'static str,
        want: &[(String, TensorType)],
        got: &[&Surface],
    ) -> Result<(), DeviceError> {
        if want.len() != got.len() {
            return Err(DeviceError::SurfaceCount {
                kernel: self.kernel.clone(),
                side,
                want: want.len(),
                got: got.len(),
            });
        }
        for ((parameter, want), surface) in want.iter().zip(got) {
            if surface.ty() != want {
                return Err(DeviceError::SurfaceType {
                    kernel: self.kernel.clone(),
                    parameter: parameter.clone(),
                    surface: surface.name().to_owned(),
                    got: Box::new(surface.ty().clone()),
                    want: Box::new(want.clone()),
                });
            }
        }
        Ok(())
    }
}
