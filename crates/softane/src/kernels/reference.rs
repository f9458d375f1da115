//! The way out: operations without a kernel run by their meaning in the op table.

use crate::buffer::{Slice, SliceMut};
use crate::exec::RunError;
use crate::memory::Memory;
use half::f16;
use mil::bytes;
use mil::eval::Rounding;
use mil::{Data, Program, Tensor, TensorType, Verified, Weights};

/// One operation as a program of its own, run by `mil::eval`.
#[derive(Debug)]
pub(crate) struct Reference {
    program: Verified<Program>,
    /// For each parameter: buffer, first element, type.
    inputs: Vec<(usize, usize, TensorType)>,
}

impl Reference {
    /// Runs `program` on these buffers, each from an element on.
    pub fn new(program: Verified<Program>, inputs: Vec<(usize, usize, TensorType)>) -> Reference {
        Reference { program, inputs }
    }

    /// Writes every result.
    ///
    /// # Errors
    /// What `mil::eval` says.
    pub fn run(&self, memory: &mut Memory<'_, '_>, writes: &[usize]) -> Result<(), RunError> {
        let tensors: Vec<Tensor> = {
            let (reader, _) = memory.write(writes[0]);
            self.inputs
                .iter()
                .map(|(id, at, ty)| to_tensor(ty, reader.read(*id).from(*at, ty.elements())))
                .collect()
        };
        let results = mil::eval::run(&self.program, &Weights::new(), &tensors, Rounding::AsTyped)?;
        for (tensor, &id) in results.iter().zip(writes) {
            from_tensor(tensor, &mut memory.write(id).1);
        }
        Ok(())
    }
}

/// The elements of `from` as a tensor of the reference meaning.
pub(crate) fn to_tensor(ty: &TensorType, from: Slice<'_>) -> Tensor {
    let data = match from {
        Slice::F16(v) => Data::Float(v.iter().map(|x| x.to_f64()).collect()),
        Slice::F32(v) => Data::Float(v.iter().map(|&x| f64::from(x)).collect()),
        Slice::Other(dtype, v) => bytes::from_memory(dtype, v),
    };
    Tensor { ty: ty.clone(), data }
}

/// Writes the elements of `tensor`, rounded to the type of `to`.
pub(crate) fn from_tensor(tensor: &Tensor, to: &mut SliceMut<'_>) {
    match (&tensor.data, to) {
        (Data::Float(from), SliceMut::F16(to)) => {
            for (to, &x) in to.iter_mut().zip(from) {
                *to = f16::from_f64(x);
            }
        }
        (Data::Float(from), SliceMut::F32(to)) => {
            for (to, &x) in to.iter_mut().zip(from) {
                *to = x as f32;
            }
        }
        (data, SliceMut::Other(dtype, to)) => {
            for (to, byte) in to.iter_mut().zip(bytes::to_memory(*dtype, data)) {
                *to = byte;
            }
        }
        // The verifier lets no value change its kind, and strings live in constants alone.
        _ => {}
    }
}
