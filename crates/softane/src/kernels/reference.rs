//! Operations without a kernel: the reference evaluator runs them.

use crate::buffer::{Slice, SliceMut};
use crate::error::{PlanError, RunError};
use crate::memory::RunBuffers;
use half::f16;
use mil::bytes;
use mil::eval::Rounding;
use mil::{Data, Program, Tensor, TensorType, Verified, Weights};

/// A single operation as a program, run by `mil::eval`.
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
    /// The error of `mil::eval`.
    pub fn run(&self, memory: &mut RunBuffers<'_, '_>, writes: &[usize]) -> Result<(), RunError> {
        let tensors: Vec<Tensor> = {
            let (reader, _) = memory.write(writes[0]);
            self.inputs
                .iter()
                .map(|(id, at, ty)| to_tensor(ty, reader.read(*id).from(*at, ty.elements())))
                .collect()
        };
        let results = mil::eval::run(&self.program, &Weights::new(), &tensors, Rounding::AsTyped)?;
        if results.len() != writes.len() {
            return Err(PlanError::Results { got: results.len(), want: writes.len() }.into());
        }
        for (tensor, &id) in results.iter().zip(writes) {
            from_tensor(tensor, &mut memory.write(id).1)?;
        }
        Ok(())
    }
}

/// The elements of `from` as a tensor of the reference evaluator.
pub(crate) fn to_tensor(ty: &TensorType, from: Slice<'_>) -> Tensor {
    let data = match from {
        Slice::F16(v) => Data::Float(v.iter().map(|x| x.to_f64()).collect()),
        Slice::F32(v) => Data::Float(v.iter().map(|&x| f64::from(x)).collect()),
        Slice::Other(dtype, v) => bytes::from_memory(dtype, v),
        Slice::Quant(_) => unreachable!("an input that others than products read is widened first"),
    };
    Tensor { ty: ty.clone(), data }
}

/// Writes the elements of `tensor`, rounded to the type of `to`.
///
/// # Errors
/// `Kind`, if `to` holds floats and `tensor` does not.
pub(crate) fn from_tensor(tensor: &Tensor, to: &mut SliceMut<'_>) -> Result<(), PlanError> {
    let want = to.as_slice().dtype();
    match (&tensor.data, to) {
        (Data::Float(from), SliceMut::F16(to)) => {
            to.iter_mut().zip(from).for_each(|(to, &x)| *to = f16::from_f64(x));
        }
        (Data::Float(from), SliceMut::F32(to)) => {
            to.iter_mut().zip(from).for_each(|(to, &x)| *to = x as f32);
        }
        (data, SliceMut::Other(dtype, to)) => {
            to.iter_mut().zip(bytes::to_memory(*dtype, data)).for_each(|(to, byte)| *to = byte);
        }
        (_, SliceMut::F16(_) | SliceMut::F32(_)) => {
            return Err(PlanError::Kind { got: tensor.ty.dtype, want });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mil::DType;

    #[test]
    fn a_result_of_another_kind_is_an_error() {
        let tensor = Tensor { ty: TensorType::new(DType::I32, vec![1]), data: Data::Int(vec![7]) };
        let mut to = [1.0f32];
        let error = from_tensor(&tensor, &mut SliceMut::F32(&mut to)).expect_err("no float");
        assert_eq!(error.to_string(), "a result of type int32 cannot be stored as fp32");
    }
}
