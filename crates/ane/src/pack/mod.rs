//! Packs a program's parameters on one surface, and its results on another.
//!
//! An engine binds one `[1, C, 1, S]` surface in and one out: each value becomes a range of channels. For an engine that
//! refuses slices of its inputs, each input gets its own surface. Values of other shapes are flattened, transposed first
//! if `S` is not their last axis. Large constants move to weight files.
//!
//! Weights can be parameters too. They share the surface with the values, so it is wider than `S`: each value and each
//! weight is a block of channels and columns, and convolutions with a weight become matrix products.

mod place;
mod product;
mod region;
mod sides;
#[cfg(test)]
mod tests;
mod whole;

pub use region::{PackError, SurfaceRegion};

use mil::{Builder, Data, Program, Tensor, TensorType, ValueId, Var, Verified};
use product::RuntimeWeights;
use sides::{PackedSide, SurfaceLayout, apart, side};
use std::collections::HashMap;
use whole::Whole;

/// Constants with more elements than this become weight files.
const LARGEST_INLINE: usize = 64;

/// A program with one result, and one parameter unless each value has its own surface.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The program.
    pub program: Verified<Program>,
    /// The type of the surface that it reads.
    pub input: TensorType,
    /// The types of the other input surfaces, if each value has its own.
    pub others: Vec<TensorType>,
    /// The type of the surface that it writes.
    pub output: TensorType,
    /// The region of each parameter of the original, in their order.
    pub inputs: Vec<SurfaceRegion>,
    /// The region of each result of the original, in their order.
    pub outputs: Vec<SurfaceRegion>,
    /// Constants that have become weight files: path and tensor.
    pub constants: Vec<(String, Tensor)>,
}

impl Packed {
    /// The types of all surfaces that it reads, in the order of the program's parameters.
    pub fn reads(&self) -> impl Iterator<Item = &TensorType> {
        std::iter::once(&self.input).chain(&self.others)
    }
}

/// Packs the main function of `program` on surfaces of width `width`, one in and one out.
///
/// # Errors
/// If a parameter or a result does not fit on such a surface.
pub fn pack(program: &Verified<Program>, width: usize) -> Result<Packed, PackError> {
    pack_with_weights(program, width, &|_| false)
}

/// Like [`pack`], with one surface per parameter: the program reads each whole, without slices.
///
/// # Errors
/// As [`pack`].
pub fn pack_separately(program: &Verified<Program>, width: usize) -> Result<Packed, PackError> {
    packed(program, width, &|_| false, Inputs::Separate)
}

/// Like [`pack`], with parameters that are weights: they share the surface with the others, which is wider.
///
/// A weight is a vector, which takes one column, or a matrix `[O, I, 1, 1]` that 1×1 convolutions use: these become
/// products, and the surface holds the matrix or its transpose, whichever makes the surface smaller.
///
/// # Errors
/// `Weight`, if a weight has another form; `TooLarge`, if no surface of an engine holds all values.
pub fn pack_with_weights(
    program: &Verified<Program>,
    width: usize,
    is_weight: &dyn Fn(ValueId) -> bool,
) -> Result<Packed, PackError> {
    packed(program, width, is_weight, Inputs::Packed)
}

/// Like [`pack_separately`], with weights among the parameters as in [`pack_with_weights`]; each parameter's surface has the
/// width of its own last axis. Programs of different widths can then share surfaces of weights.
///
/// # Errors
/// `Weight`, as [`pack_with_weights`]; otherwise as [`pack`].
pub fn pack_apart(
    program: &Verified<Program>,
    width: usize,
    is_weight: &dyn Fn(ValueId) -> bool,
) -> Result<Packed, PackError> {
    packed(program, width, is_weight, Inputs::Apart)
}

/// How parameters are placed on surfaces.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inputs {
    /// All on one.
    Packed,
    /// One each, all of one width.
    Separate,
    /// One each, of their own widths.
    Apart,
}

fn packed(
    program: &Verified<Program>,
    width: usize,
    is_weight: &dyn Fn(ValueId) -> bool,
    placed: Inputs,
) -> Result<Packed, PackError> {
    let function = program.entry();
    if function.outputs.is_empty() || function.inputs.is_empty() {
        return Err(PackError::Nothing);
    }
    let mut weights = RuntimeWeights::new(function, is_weight)?;
    let separate = placed != Inputs::Packed;
    let inputs = match placed {
        Inputs::Packed => side(function, &function.inputs, width, &weights)?,
        Inputs::Separate => side(function, &function.inputs, width, &weights)?.separate(),
        Inputs::Apart => apart(function, &function.inputs, &weights)?,
    };
    let outputs = side(function, &function.outputs, width, &weights)?;

    let builder = Builder::new(&function.name, function.opset);
    let mut map = HashMap::new();
    let mut places = HashMap::new();
    if let ([(slot, SurfaceLayout::Straight)], [v]) = (inputs.slots.as_slice(), function.inputs.as_slice()) {
        map.insert(*v, builder.input(&slot.name, inputs.types[0].clone()).id());
    } else {
        let surface = |(i, ty): (usize, &TensorType)| {
            let name = if separate { &inputs.slots[i].0.name } else { "packed" };
            Whole::new(builder.input(name, ty.clone()))
        };
        let mut wholes: Vec<Whole<'_>> = inputs.types.iter().enumerate().map(surface).collect();
        for ((slot, layout), &v) in inputs.slots.iter().zip(&function.inputs) {
            let shape = &function.ty(v).shape;
            let part = wholes[slot.surface].part(slot);
            let value = match *layout {
                SurfaceLayout::Straight => part,
                SurfaceLayout::Flat => part.reshape(shape),
                SurfaceLayout::Turned => part.reshape(&[shape[0], shape[1], shape[3], shape[2]]).t(),
                SurfaceLayout::Weight(form) => product::taken(part, form, shape),
            };
            // A value's own surface already has its name.
            map.insert(v, if separate { value } else { value.named(&slot.name) }.id());
            places.insert(v, slot);
        }
    }
    let mut constants = Vec::new();
    for operation in &function.ops {
        match (operation.const_literal(), operation.results.as_slice()) {
            (Some(_), [v]) if weights.is_idle(*v) => {}
            (Some(literal), [v]) if literal.ty.elements() > LARGEST_INLINE && literal.data().is_some() => {
                let name = &function.value(*v).name;
                let path = format!("@model_path/weights/{name}.bin");
                let data = literal.data().cloned().unwrap_or(Data::Int(Vec::new()));
                map.insert(*v, builder.weight(name, literal.ty.clone(), &path, 64).id());
                constants.push((path, Tensor { ty: literal.ty.clone(), data }));
            }
            _ if weights.carry_out(operation, &builder, &places, &mut map) => {}
            _ => builder.replay(function, operation, &mut map),
        }
    }
    let mut parts: Vec<Var<'_>> = Vec::new();
    for ((slot, layout), v) in outputs.slots.iter().zip(&function.outputs) {
        let Some(&v) = map.get(v) else { return Err(PackError::Nothing) };
        let flat = [1, slot.channels, 1, width];
        parts.push(match layout {
            SurfaceLayout::Straight | SurfaceLayout::Weight(_) => builder.var(v),
            SurfaceLayout::Flat => builder.var(v).reshape(&flat),
            SurfaceLayout::Turned => builder.var(v).t().reshape(&flat),
        });
    }
    let program = match (parts.as_slice(), outputs.slots.as_slice()) {
        ([one], [(slot, SurfaceLayout::Straight)]) => builder.finish([(slot.name.as_str(), *one)]),
        ([one], _) => builder.finish([("packed_out", *one)]),
        _ => {
            let joined = Var::concat(parts, 1).ok_or(PackError::Nothing)?;
            builder.finish([("packed_out", joined)])
        }
    }?;
    let slots = |side: PackedSide| side.slots.into_iter().map(|(slot, _)| slot).collect();
    let (mut reads, mut writes) = (inputs.types.clone().into_iter(), outputs.types.clone().into_iter());
    let (Some(input), Some(output)) = (reads.next(), writes.next()) else { return Err(PackError::Nothing) };
    let (inputs, outputs) = (slots(inputs), slots(outputs));
    Ok(Packed { program, input, others: reads.collect(), output, inputs, outputs, constants })
}
