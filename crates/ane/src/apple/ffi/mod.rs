//! Calls into Apple's framework, and owners of its objects.

mod device;
mod explore;
#[cfg(feature = "fake_ane")]
pub mod fake_ane;
mod framework;
mod functions;
mod iosurface;
mod model;
mod request;
mod selectors;

pub use explore::classes;
pub use framework::examine;
pub(crate) use iosurface::{SharedMemory, SharedRead, SharedWrite};

use crate::device::Device;
use crate::error::DeviceError;
use crate::options::{DeviceOptions, SoftOptions};
use device::AppleDevice;

/// Opens the engine.
///
/// # Errors
/// `Unavailable`, if the framework or a class is missing; `Changed`, if a method has other types than this version expects.
pub(crate) fn open(wanted: DeviceOptions, options: SoftOptions) -> Result<Box<dyn Device>, DeviceError> {
    Ok(Box::new(AppleDevice::open(wanted, options)?))
}
