//! Opens an engine.

use crate::apple;
use crate::device::Device;
use crate::error::DeviceError;
use crate::facts::COMPILE_BUDGET;
use crate::options::{DeviceKind, DeviceOptions, SoftOptions};
use crate::soft::SoftDevice;
use softane::gemm::MatmulPrecision;

/// Checks that this processor has instructions for products in `math`.
///
/// # Errors
/// `MatmulPrecision`, if it lacks them.
pub fn check_math(math: MatmulPrecision) -> Result<(), DeviceError> {
    match softane::gemm::supports(math) {
        true => Ok(()),
        false => {
            let mut chip = softane::instruction_set();
            if let (MatmulPrecision::F16x3, Err(reason)) = (math, softane::tile_unit::status()) {
                chip.push_str(&format!("; its tile unit: {reason}"));
            }
            Err(DeviceError::MatmulPrecision { math, chip })
        }
    }
}

/// Whether this system can have an Apple engine.
pub const HAS_FFI: bool = cfg!(any(all(target_os = "macos", target_arch = "aarch64"), feature = "fake_ane"));

/// Opens an engine.
///
/// # Errors
/// `MatmulPrecision`, if this processor lacks the instructions for the requested products; `Unavailable` or `Changed`,
/// if the Apple engine is requested and this system has none that this version supports.
pub fn open(wanted: impl Into<DeviceOptions>, options: SoftOptions) -> Result<Box<dyn Device>, DeviceError> {
    let wanted = wanted.into();
    check_math(wanted.math)?;
    let soft = |name: &str| -> Result<Box<dyn Device>, DeviceError> {
        Ok(Box::new(SoftDevice::open(name, wanted, options.clone())))
    };
    match wanted.engine {
        DeviceKind::Soft => soft("software engine"),
        DeviceKind::Ane => apple::open(wanted, options),
        DeviceKind::Auto if !HAS_FFI => soft("software engine"),
        DeviceKind::Auto => {
            let budget = wanted.compile_budget.unwrap_or(COMPILE_BUDGET.value);
            if let Some(n) = wanted.compiles.filter(|&n| n > u64::from(budget)) {
                return soft(&format!(
                    "software engine (the kernels are {n} programs, on the Neural Engine a process can compile {budget})"
                ));
            }
            apple::open(wanted, options.clone()).or_else(|e| soft(&format!("software engine ({e})")))
        }
    }
}
