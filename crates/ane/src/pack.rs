//! Packs a program's parameters into one surface, and its results into another.
//!
//! What an engine binds is one `[1, C, 1, S]` surface in and one out: each value becomes a range of channels. Values
//! of other shapes are flattened, transposed first if `S` is not their last axis. Large constants move to weight
//! files, as an engine wants them.

use mil::{Builder, Data, Program, Report, Tensor, TensorType, Var, Verified};
use std::collections::HashMap;

/// Constants with more elements than this become weight files.
const LARGEST_INLINE: usize = 64;

/// A program with one parameter and one result.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The program.
    pub program: Verified<Program>,
    /// The type of the surface that it reads.
    pub input: TensorType,
    /// The type of the surface that it writes.
    pub output: TensorType,
    /// Where each parameter of the original lies, in their order.
    pub inputs: Vec<Slot>,
    /// Where each result of the original lies, in their order.
    pub outputs: Vec<Slot>,
    /// Constants that have become weight files: path and tensor.
    pub constants: Vec<(String, Tensor)>,
}

/// A range of channels of a surface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The name of the value.
    pub name: String,
    /// The first channel.
    pub channel: usize,
    /// The number of channels.
    pub channels: usize,
}

/// Why a program could not be packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PackError {
    #[error("`{name}` is {ty}, which has no axis of {width} to lie along the surface")]
    NoWidth { name: String, ty: TensorType, width: usize },
    #[error("`{name}` is {ty}, a surface of {want} cannot hold it")]
    ElementType { name: String, ty: TensorType, want: mil::DType },
    #[error("nothing to pack: the program has no parameters or no results")]
    Nothing,
    #[error("the packed program is wrong: {0}")]
    Program(#[from] Report),
}

/// How a value lies on a surface of some width.
enum Lie {
    /// As it is: `[1, C, 1, S]`.
    Straight,
    /// Its last axis is `S`: a reshape away.
    Flat,
    /// Its last axis but one is `S`: a transpose away.
    Turned,
}

/// Packs the main function of `program` on surfaces of width `width`.
///
/// # Errors
/// If a parameter or a result cannot lie on such a surface.
pub fn pack(program: &Verified<Program>, width: usize) -> Result<Packed, PackError> {
    let function = program.entry();
    let first = function.inputs.first().ok_or(PackError::Nothing)?;
    if function.outputs.is_empty() {
        return Err(PackError::Nothing);
    }
    let dtype = function.ty(*first).dtype;
    let slots = |values: &[mil::ValueId]| -> Result<Vec<(Slot, Lie)>, PackError> {
        let mut channel = 0;
        let mut out = Vec::new();
        for &v in values {
            let value = function.value(v);
            let (name, ty) = (value.name.clone(), value.ty.clone());
            if ty.dtype != dtype {
                return Err(PackError::ElementType { name, ty, want: dtype });
            }
            let lie = match *ty.shape {
                [1, _, 1, w] if w == width => Lie::Straight,
                [.., w] if w == width => Lie::Flat,
                [1, _, w, _] if w == width => Lie::Turned,
                _ => return Err(PackError::NoWidth { name, ty, width }),
            };
            let channels = ty.elements() / width;
            out.push((Slot { name, channel, channels }, lie));
            channel += channels;
        }
        Ok(out)
    };
    let (inputs, outputs) = (slots(&function.inputs)?, slots(&function.outputs)?);
    let surface = |slots: &[(Slot, Lie)]| {
        let channels = slots.iter().map(|(s, _)| s.channels).sum();
        TensorType::new(dtype, [1, channels, 1, width])
    };
    let (input, output) = (surface(&inputs), surface(&outputs));

    let builder = Builder::new(&function.name, function.opset);
    let mut map = HashMap::new();
    if let ([(slot, Lie::Straight)], [v]) = (inputs.as_slice(), function.inputs.as_slice()) {
        map.insert(*v, builder.input(&slot.name, input.clone()).id());
    } else {
        let packed = builder.input("packed", input.clone());
        for ((slot, lie), &v) in inputs.iter().zip(&function.inputs) {
            let part = packed.slice(&[0, slot.channel, 0, 0], &[1, slot.channels, 1, width]);
            let shape = &function.ty(v).shape;
            let value = match lie {
                Lie::Straight => part,
                Lie::Flat => part.reshape(shape),
                Lie::Turned => part.reshape(&[shape[0], shape[1], shape[3], shape[2]]).t(),
            };
            map.insert(v, value.named(&slot.name).id());
        }
    }
    let mut constants = Vec::new();
    for operation in &function.ops {
        match (operation.const_literal(), operation.results.as_slice()) {
            (Some(literal), [v]) if literal.ty.elements() > LARGEST_INLINE && literal.data().is_some() => {
                let name = &function.value(*v).name;
                let path = format!("@model_path/weights/{name}.bin");
                let data = literal.data().cloned().unwrap_or(Data::Int(Vec::new()));
                map.insert(*v, builder.weight(name, literal.ty.clone(), &path, 64).id());
                constants.push((path, Tensor { ty: literal.ty.clone(), data }));
            }
            _ => builder.replay(function, operation, &mut map),
        }
    }
    let mut parts: Vec<Var<'_>> = Vec::new();
    for ((slot, lie), v) in outputs.iter().zip(&function.outputs) {
        let Some(&v) = map.get(v) else { return Err(PackError::Nothing) };
        let flat = [1, slot.channels, 1, width];
        parts.push(match lie {
            Lie::Straight => builder.var(v),
            Lie::Flat => builder.var(v).reshape(&flat),
            Lie::Turned => builder.var(v).t().reshape(&flat),
        });
    }
    let program = match parts.as_slice() {
        [one] => builder.finish([(outputs[0].0.name.as_str(), *one)]),
        _ => {
            let joined = Var::concat(parts, 1).ok_or(PackError::Nothing)?;
            builder.finish([("packed_out", joined)])
        }
    }?;
    let slots = |s: Vec<(Slot, Lie)>| s.into_iter().map(|(slot, _)| slot).collect();
    Ok(Packed { program, input, output, inputs: slots(inputs), outputs: slots(outputs), constants })
}
