//! The engine's door where there is one: messages to the framework, and what owns its objects.

mod device;
mod explore;
mod framework;
mod iosurface;
mod model;
mod request;
mod selectors;
#[cfg(feature = "standin")]
pub mod standin;

pub use explore::classes;
pub use framework::examine;
pub(crate) use iosurface::{SharedMemory, SharedRead, SharedWrite};

use crate::device::{Device, SoftOptions, Wanted};
use crate::error::DeviceError;
use device::AppleDevice;

/// Opens the engine.
///
/// # Errors
/// `Unavailable`, if the framework or a class is missing; `Changed`, if a method is not what this version calls.
pub(crate) fn open(wanted: Wanted, options: SoftOptions) -> Result<Box<dyn Device>, DeviceError> {
    Ok(Box::new(AppleDevice::open(wanted, options)?))
}
