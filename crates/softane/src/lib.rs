//! The software engine: verified MIL compiled once into a plan of CPU kernels with fixed buffers.
//!
//! [`Executable::compile`] takes a program and its weights, [`Executable::run`] runs it on slices. [`numerics`]
//! states all rounding. Work is split by shape only and runs on the current rayon pool, so the number of
//! threads does not change a bit of any result.
//!
//! Not here: surfaces, devices, limits of Apple engines (`ane`).
#![deny(unsafe_code)]

pub mod arena;
pub mod buffer;
mod constants;
pub mod convert;
mod error;
pub mod exec;
pub mod gemm;
mod kernels;
mod lefts;
pub mod limits;
mod lower;
pub mod math;
mod memory;
pub mod numerics;
mod plan;
pub mod pool;
pub mod quant;
pub mod rows;
mod shared;
mod simd;
pub mod tile_unit;
mod view;

pub use arena::Arena;
pub use buffer::{Buffer, Slice, SliceMut};
pub use error::{CompileError, IsaError, PlanError, RunError};
pub use exec::{Executable, MemoryUse};
pub use pool::Pool;
pub use quant::QuantMatrix;
pub use shared::SharedConstants;
pub use simd::isa::Isa;
pub use simd::vectors::instruction_set;
pub use simd::{prefetch, vectorised};
