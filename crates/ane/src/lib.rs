//! Access to any Neural Engine: devices, kernels, surfaces, packing.
//!
//! A [`Device`] compiles a verified program into a [`Kernel`] and makes [`Surface`]s, the memory that both sides
//! touch. [`open`] opens an Apple Neural Engine or the software engine (`softane`); [`DeviceInfo`] tells which.
//! [`pack`] rewrites any program to the form that an engine binds: one surface in, one out.
//!
//! Not here: rules of engines and repairs of programs (`anelint`); models (`train`); compute kernels (`softane`).
#![deny(unsafe_code)]

pub mod apple;
mod block;
mod budget;
pub mod chain;
pub mod device;
pub mod error;
pub mod facts;
mod hadamard;
mod open;
mod options;
pub mod pack;
mod ports;
mod refusal;
mod soft;
pub mod surface;

pub use block::SurfaceBlock;
pub use device::{Device, DeviceInfo, Engine, Kernel, KernelMemory};
pub use error::{Answer, Call, DeviceError, Explain, Refusal};
pub use open::{HAS_FFI, check_math, open};
pub use options::{DeviceKind, DeviceOptions, SoftOptions, WeightMode};
pub use softane::{Pool, SliceMut, gemm::MatmulPrecision};
pub use surface::Surface;
