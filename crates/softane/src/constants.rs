//! Constants in the form that kernels read.

use crate::buffer::{Buffer, SliceMut};
use crate::convert;
use crate::error::{CompileError, PlanError};
use crate::kernels::reference;
use crate::plan::{Constant, ConstantSource};
use half::f16;
use mil::ir::LiteralData;
use mil::{ArgValue, DType, Weights};

/// Checks that `weights` contains the data of `constant`.
///
/// # Errors
/// If it does not, naming the file.
pub(crate) fn check(constant: &Constant, weights: &Weights) -> Result<(), CompileError> {
    if let ConstantSource::Literal(literal) = &constant.elements
        && let LiteralData::Blob { path, offset } = &literal.data
    {
        weights.check(path, *offset, &literal.ty)?;
    }
    Ok(())
}

/// Bytes of `constant`; none if no kernel reads it.
pub(crate) fn size(constant: &Constant) -> usize {
    let elements = match &constant.elements {
        ConstantSource::Literal(l) => l.ty.elements(),
        ConstantSource::Program(p) => p.entry().outputs.first().map_or(0, |&v| p.entry().ty(v).elements()),
    };
    if constant.used { elements * constant.dtype.size().unwrap_or(0) } else { 0 }
}

/// Whether the elements depend on weight files.
pub(crate) fn is_weight(constant: &Constant) -> bool {
    match &constant.elements {
        ConstantSource::Literal(l) => matches!(l.data, LiteralData::Blob { .. }),
        ConstantSource::Program(p) => {
            let written = p.entry().operations().flat_map(|op| &op.args).filter_map(|a| match &a.value {
                ArgValue::Literal(l) => Some(l),
                _ => None,
            });
            let mut all = p.entry().literals().into_iter().flatten().chain(written);
            all.any(|l| matches!(l.data, LiteralData::Blob { .. }))
        }
    }
}

/// Writes the elements of `constant` to `to`, if any kernel reads them.
///
/// # Errors
/// If `weights` does not have them, naming the file.
pub(crate) fn fill(constant: &Constant, weights: &Weights, to: &mut Buffer) -> Result<(), CompileError> {
    if !constant.used {
        return Ok(());
    }
    let to = &mut SliceMut::of(constant.dtype, to.bytes_mut());
    let tensor = match &constant.elements {
        ConstantSource::Literal(literal) => match &literal.data {
            LiteralData::Blob { path, offset } => {
                let entry = weights.check(path, *offset, &literal.ty)?;
                copy(entry.dtype, entry.bytes, to);
                return Ok(());
            }
            LiteralData::Inline(_) => mil::eval::load(literal, weights)?.rounded(),
        },
        ConstantSource::Program(program) => {
            let run = mil::eval::run(program, weights, &[], mil::eval::Rounding::AsTyped);
            match run.map_err(CompileError::Constant)?.into_iter().next() {
                Some(tensor) => tensor,
                None => return Err(PlanError::Results { got: 0, want: 1 }.into()),
            }
        }
    };
    Ok(reference::from_tensor(&tensor, to)?)
}

/// Copies little-endian elements, widened if they are narrower than `to`.
fn copy(dtype: DType, from: &[u8], to: &mut SliceMut<'_>) {
    match (dtype, to) {
        (DType::F16, SliceMut::F32(to)) => {
            // Files are not always aligned: elements go through a buffer that is.
            const CHUNK: usize = 1 << 10;
            let mut aligned = [f16::ZERO; CHUNK];
            for (from, to) in from.chunks(2 * CHUNK).zip(to.chunks_mut(CHUNK)) {
                let aligned = &mut aligned[..to.len()];
                bytemuck::cast_slice_mut(aligned).copy_from_slice(from);
                convert::widen(aligned, to);
            }
        }
        (_, to) if dtype.bits().is_some_and(|bits| bits >= 8) => to.bytes_mut().copy_from_slice(from),
        (_, to) => {
            // Packed in the file, a byte each in memory.
            let elements = to.as_slice().len();
            let data = mil::bytes::unpack(dtype, from, elements);
            to.bytes_mut().copy_from_slice(&mil::bytes::to_memory(dtype, &data));
        }
    }
}
