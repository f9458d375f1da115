//! Constants in the form that kernels read.

use crate::buffer::{Buffer, SliceMut};
use crate::convert;
use crate::exec::CompileError;
use crate::kernels::reference;
use crate::plan::{Constant, Elements};
use half::f16;
use mil::ir::LiteralData;
use mil::{ArgValue, DType, Weights};

/// Checks that `weights` has what `constant` needs.
///
/// # Errors
/// If it has not, naming the file.
pub(crate) fn check(constant: &Constant, weights: &Weights) -> Result<(), CompileError> {
    if let Elements::Literal(literal) = &constant.elements
        && let LiteralData::Blob { path, offset } = &literal.data
    {
        weights.check(path, *offset, &literal.ty)?;
    }
    Ok(())
}

/// Bytes of `constant`; none if no kernel reads it.
pub(crate) fn size(constant: &Constant) -> usize {
    let elements = match &constant.elements {
        Elements::Literal(l) => l.ty.elements(),
        Elements::Program(p) => p.entry().outputs.first().map_or(0, |&v| p.entry().ty(v).elements()),
    };
    if constant.used { elements * constant.dtype.size().unwrap_or(0) } else { 0 }
}

/// Whether the elements depend on weight files.
pub(crate) fn is_weight(constant: &Constant) -> bool {
    match &constant.elements {
        Elements::Literal(l) => matches!(l.data, LiteralData::Blob { .. }),
        Elements::Program(p) => {
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
/// If `weights` has them not, naming the file.
pub(crate) fn bake(constant: &Constant, weights: &Weights, to: &mut Buffer) -> Result<(), CompileError> {
    if !constant.used {
        return Ok(());
    }
    let to = &mut SliceMut::of(constant.dtype, to.bytes_mut());
    let tensor = match &constant.elements {
        Elements::Literal(literal) => match &literal.data {
            LiteralData::Blob { path, offset } => {
                let entry = weights.check(path, *offset, &literal.ty)?;
                copy(entry.dtype, entry.bytes, to);
                return Ok(());
            }
            LiteralData::Inline(_) => mil::eval::load(literal, weights)?.rounded(),
        },
        Elements::Program(program) => {
            let run = mil::eval::run(program, weights, &[], mil::eval::Rounding::AsTyped);
            match run.map_err(CompileError::Constant)?.into_iter().next() {
                Some(tensor) => tensor,
                None => return Ok(()),
            }
        }
    };
    reference::from_tensor(&tensor, to);
    Ok(())
}

/// Copies little-endian elements, widened if they are narrower than `to`.
fn copy(dtype: DType, from: &[u8], to: &mut SliceMut<'_>) {
    match (dtype, to) {
        (DType::F16, SliceMut::F32(to)) => {
            // Files are not always aligned; a short detour is.
            const STRETCH: usize = 1 << 10;
            let mut detour = [f16::ZERO; STRETCH];
            for (from, to) in from.chunks(2 * STRETCH).zip(to.chunks_mut(STRETCH)) {
                let detour = &mut detour[..to.len()];
                bytemuck::cast_slice_mut(detour).copy_from_slice(from);
                convert::widen(detour, to);
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
