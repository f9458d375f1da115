//! The door to any Neural Engine: devices, kernels, surfaces, packing.
//!
//! A [`Device`] compiles a verified program into a [`Kernel`] and makes [`Surface`]s, the memory that both sides
//! touch. [`open`] finds one. Today every device is the software engine (`softane`), and says so in its
//! [`DeviceInfo`]. [`pack`] brings any program into the form that an engine binds: one surface in, one out;
//! [`repair`] rewrites what an engine would refuse.
//!
//! Not here: what a model is made of (`train`), how kernels compute (`softane`).
#![forbid(unsafe_code)]

pub mod device;
pub mod error;
pub mod facts;
pub mod pack;
pub mod repair;
pub mod rules;
mod soft;
pub mod surface;

pub use device::{Choice, Device, DeviceInfo, Engine, Kernel, KernelMemory, SoftOptions, Wanted, open};
pub use error::DeviceError;
pub use softane::{Pool, SliceMut, gemm::Math};
pub use surface::Surface;
