//! Packs a program's parameters into one surface, and its results into another.
//!
//! What an engine binds is one `[1, C, 1, S]` surface in and one out: each value becomes a range of channels; or, for an
//! engine that refuses slices of what a program reads, one surface for each value that goes in. Values of other shapes are flattened, transposed first if `S` is not their last axis. Large constants move to weight
//! files, as an engine wants them.
//!
//! Weights can be parameters too. They lie beside the values, so the surface is wider than `S`: each value and each
//! weight is a block of channels and columns, and what computes with a weight is written as a product of matrices.

mod place;
mod product;

use crate::facts;
use crate::surface::Block;
use mil::{Builder, Data, Function, Program, Report, Tensor, TensorType, ValueId, Var, Verified};
use product::{Form, Weights};
use std::collections::HashMap;

/// Constants with more elements than this become weight files.
const LARGEST_INLINE: usize = 64;

/// A program with one result, and one parameter, unless its values lie apart.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The program.
    pub program: Verified<Program>,
    /// The type of the surface that it reads.
    pub input: TensorType,
    /// The types of the other surfaces that it reads, if values lie apart.
    pub others: Vec<TensorType>,
    /// The type of the surface that it writes.
    pub output: TensorType,
    /// Where each parameter of the original lies, in their order.
    pub inputs: Vec<SurfaceRegion>,
    /// Where each result of the original lies, in their order.
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

/// A place on a surface: some channels, and of each some columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SurfaceRegion {
    /// The name of the value.
    pub name: String,
    /// Which surface it lies on; 0 unless values lie apart.
    pub surface: usize,
    /// The first channel.
    pub channel: usize,
    /// The number of channels.
    pub channels: usize,
    /// The first column; 0 unless weights lie on the surface.
    pub column: usize,
    /// The number of columns.
    pub columns: usize,
    /// Whether it is a matrix that lies as its transpose.
    pub transposed: bool,
}

impl SurfaceRegion {
    /// The place itself.
    pub fn block(&self) -> Block {
        Block { channel: self.channel, channels: self.channels, column: self.column, columns: self.columns }
    }
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
    #[error(
        "`{name}` is {ty} and cannot lie beside activations: that can a vector, and a matrix that 1×1 convolutions \
         alone use; bake it in"
    )]
    Weight { name: String, ty: TensorType },
    #[error(
        "weights and activations do not fit on one surface of at most {highest} channels and {widest} columns; the \
         largest is `{name}`, {ty}: bake weights in (`--weights baked`), or give a layer more kernels"
    )]
    TooLarge { name: String, ty: TensorType, highest: usize, widest: usize },
    #[error("nothing to pack: the program has no parameters or no results")]
    Nothing,
    #[error("the packed program is wrong: {0}")]
    Program(#[from] Report),
}

/// How a value lies on a surface of some width.
#[derive(Clone, Copy)]
enum SurfaceLayout {
    /// As it is: `[1, C, 1, S]`.
    Straight,
    /// Its last axis is `S`: a reshape away.
    Flat,
    /// Its last axis but one is `S`: a transpose away.
    Turned,
    /// Beside what has `S` columns.
    Weight(Form),
}

/// Values on one surface, in their order, or on one each.
struct Side {
    slots: Vec<(SurfaceRegion, SurfaceLayout)>,
    types: Vec<TensorType>,
}

impl Side {
    /// Gives each value a surface of its own.
    fn take_apart(&mut self) {
        let Some(dtype) = self.types.first().map(|ty| ty.dtype) else { return };
        let own = |(i, (slot, _)): (usize, &mut (SurfaceRegion, SurfaceLayout))| {
            (slot.surface, slot.channel, slot.column) = (i, 0, 0);
            TensorType::new(dtype, [1, slot.channels, 1, slot.columns])
        };
        self.types = self.slots.iter_mut().enumerate().map(own).collect();
    }
}

/// The surface that a program reads, and how parts of it are taken.
struct Whole<'b> {
    value: Var<'b>,
    /// Columns that were taken, with all channels: the first, how many, and what comes of it.
    bands: Vec<(usize, usize, Var<'b>)>,
}

impl<'b> Whole<'b> {
    fn new(value: Var<'b>) -> Whole<'b> {
        Whole { value, bands: Vec::new() }
    }

    /// The block at `slot`. No slice is inside both axes at once, which no project reports of hardware: where the block
    /// is, its columns are taken first, with all channels, then its channels of these.
    fn part(&mut self, slot: &SurfaceRegion) -> Var<'b> {
        let (channels, width) = (self.value.shape()[1], self.value.shape()[3]);
        let band = match slot.columns == width {
            true => self.value,
            false => self.band(slot),
        };
        match slot.channels == channels {
            true => band,
            false => band.slice(&[0, slot.channel, 0, 0], &[1, slot.channels, 1, slot.columns]),
        }
    }

    /// The columns of `slot` with all channels, which several blocks below one another share.
    fn band(&mut self, slot: &SurfaceRegion) -> Var<'b> {
        let known =
            self.bands.iter().find(|(first, count, _)| (*first, *count) == (slot.column, slot.columns));
        if let Some(&(.., band)) = known {
            return band;
        }
        let channels = self.value.shape()[1];
        let band = self.value.slice(&[0, 0, 0, slot.column], &[1, channels, 1, slot.columns]);
        self.bands.push((slot.column, slot.columns, band));
        band
    }
}

/// Packs the main function of `program` on surfaces of width `width`.
///
/// # Errors
/// If a parameter or a result cannot lie on such a surface.
pub fn pack(program: &Verified<Program>, width: usize) -> Result<Packed, PackError> {
    pack_with_weights(program, width, &|_| false)
}

/// The same with a surface for each parameter: the program reads each whole, and takes no slice of any.
///
/// # Errors
/// As [`pack`].
pub fn pack_apart(program: &Verified<Program>, width: usize) -> Result<Packed, PackError> {
    packed(program, width, &|_| false, true)
}

/// The same with parameters that are weights: those lie beside the others, on a surface that is wider.
///
/// A weight is a vector, which takes one column, or a matrix `[O, I, 1, 1]` that 1×1 convolutions use: these become
/// products, and the matrix lies as it is or as its transpose, whichever makes the smaller surface.
///
/// # Errors
/// `Weight`, if one is something else; `TooLarge`, if no surface of an engine holds all.
pub fn pack_with_weights(
    program: &Verified<Program>,
    width: usize,
    is_weight: &dyn Fn(ValueId) -> bool,
) -> Result<Packed, PackError> {
    packed(program, width, is_weight, false)
}

fn packed(
    program: &Verified<Program>,
    width: usize,
    is_weight: &dyn Fn(ValueId) -> bool,
    apart: bool,
) -> Result<Packed, PackError> {
    let function = program.entry();
    if function.outputs.is_empty() || function.inputs.is_empty() {
        return Err(PackError::Nothing);
    }
    let mut weights = Weights::new(function, is_weight)?;
    let mut inputs = side(function, &function.inputs, width, &weights)?;
    if apart {
        inputs.take_apart();
    }
    let outputs = side(function, &function.outputs, width, &weights)?;

    let builder = Builder::new(&function.name, function.opset);
    let mut map = HashMap::new();
    let mut places = HashMap::new();
    if let ([(slot, SurfaceLayout::Straight)], [v]) = (inputs.slots.as_slice(), function.inputs.as_slice()) {
        map.insert(*v, builder.input(&slot.name, inputs.types[0].clone()).id());
    } else {
        let surface = |(i, ty): (usize, &TensorType)| {
            let name = if apart { &inputs.slots[i].0.name } else { "packed" };
            Whole::new(builder.input(name, ty.clone()))
        };
        let mut wholes: Vec<Whole<'_>> = inputs.types.iter().enumerate().map(surface).collect();
        for ((slot, lie), &v) in inputs.slots.iter().zip(&function.inputs) {
            let shape = &function.ty(v).shape;
            let part = wholes[slot.surface].part(slot);
            let value = match *lie {
                SurfaceLayout::Straight => part,
                SurfaceLayout::Flat => part.reshape(shape),
                SurfaceLayout::Turned => part.reshape(&[shape[0], shape[1], shape[3], shape[2]]).t(),
                SurfaceLayout::Weight(form) => product::taken(part, form, shape),
            };
            // A surface of its own has the value's name already.
            map.insert(v, if apart { value } else { value.named(&slot.name) }.id());
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
    for ((slot, lie), v) in outputs.slots.iter().zip(&function.outputs) {
        let Some(&v) = map.get(v) else { return Err(PackError::Nothing) };
        let flat = [1, slot.channels, 1, width];
        parts.push(match lie {
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
    let slots = |side: Side| side.slots.into_iter().map(|(slot, _)| slot).collect();
    let (mut reads, mut writes) = (inputs.types.clone().into_iter(), outputs.types.clone().into_iter());
    let (Some(input), Some(output)) = (reads.next(), writes.next()) else { return Err(PackError::Nothing) };
    let (inputs, outputs) = (slots(inputs), slots(outputs));
    Ok(Packed { program, input, others: reads.collect(), output, inputs, outputs, constants })
}

/// Finds a place for each of `values` of `function`: below one another, or, if there are weights, in blocks.
fn side(
    function: &Function,
    values: &[ValueId],
    width: usize,
    weights: &Weights<'_>,
) -> Result<Side, PackError> {
    let dtype = function.ty(values[0]).dtype;
    let mut slots = Vec::new();
    for &v in values {
        let value = function.value(v);
        let (name, ty) = (value.name.clone(), value.ty.clone());
        if ty.dtype != dtype {
            return Err(PackError::ElementType { name, ty, want: dtype });
        }
        let lie = match (weights.of(v), &*ty.shape) {
            (Some(form), _) => SurfaceLayout::Weight(form),
            (None, [1, _, 1, w]) if *w == width => SurfaceLayout::Straight,
            (None, [.., w]) if *w == width => SurfaceLayout::Flat,
            (None, [1, _, w, _]) if *w == width => SurfaceLayout::Turned,
            _ => return Err(PackError::NoWidth { name, ty, width }),
        };
        let (channels, columns) = match lie {
            SurfaceLayout::Weight(Form::Matrix { rows, columns, .. }) => (rows, columns),
            SurfaceLayout::Weight(Form::Vector { rows }) => (rows, 1),
            _ => (ty.elements() / width, width),
        };
        slots.push((
            SurfaceRegion { name, surface: 0, channel: 0, channels, column: 0, columns, transposed: false },
            lie,
        ));
    }
    if !slots.iter().any(|(_, lie)| matches!(lie, SurfaceLayout::Weight(_))) {
        let mut channel = 0;
        for (slot, _) in &mut slots {
            slot.channel = channel;
            channel += slot.channels;
        }
        return Ok(Side { slots, types: vec![TensorType::new(dtype, [1, channel, 1, width])] });
    }
    let block = |(slot, lie): &(SurfaceRegion, SurfaceLayout)| {
        let turn = match *lie {
            SurfaceLayout::Weight(Form::Matrix { turn, .. }) => Some(turn),
            _ => None,
        };
        let first = !matches!(lie, SurfaceLayout::Weight(_));
        place::Block { rows: slot.channels, columns: slot.columns, first, turn }
    };
    let blocks: Vec<place::Block> = slots.iter().map(block).collect();
    let Some(layout) = place::place(&blocks) else { return Err(too_large(function, values, weights)) };
    for ((slot, _), spot) in slots.iter_mut().zip(layout.spots) {
        (slot.channel, slot.column, slot.transposed) = (spot.channel, spot.column, spot.transposed);
        if spot.transposed {
            (slot.channels, slot.columns) = (slot.columns, slot.channels);
        }
    }
    Ok(Side { slots, types: vec![TensorType::new(dtype, [1, layout.channels, 1, layout.width])] })
}

fn too_large(function: &Function, values: &[ValueId], weights: &Weights<'_>) -> PackError {
    let found = values.iter().filter(|&&v| weights.of(v).is_some());
    match found.max_by_key(|&&v| function.ty(v).elements()) {
        Some(&v) => PackError::TooLarge {
            name: function.value(v).name.clone(),
            ty: function.ty(v).clone(),
            highest: facts::MAX_AXIS.value,
            widest: facts::MAX_INPUT_WIDTH.value,
        },
        None => PackError::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mil::{DType, Opset};
    use std::collections::BTreeMap;

    fn f32(shape: &[usize]) -> TensorType {
        TensorType::new(DType::F32, shape)
    }

    /// `y = w·(x·v)`, and `z = wᵀ·y + u·x`, with 16 columns, which rows of an engine are not.
    fn program() -> Verified<Program> {
        let b = Builder::new("main", Opset::Ios18);
        let (x, v) = (b.input("x", f32(&[1, 6, 1, 16])), b.input("v", f32(&[1, 6, 1, 1])));
        let (w, u) = (b.input("w", f32(&[4, 6, 1, 1])), b.input("u", f32(&[6, 6, 1, 1])));
        let y = (x * v).conv1x1(w, 1).named("y");
        let z = y.conv1x1(w.transpose(&[1, 0, 2, 3]), 1) + x.conv1x1(u, 1);
        b.finish([("y", y), ("z", z)]).expect("valid")
    }

    fn is_weight(program: &Verified<Program>) -> impl Fn(ValueId) -> bool + '_ {
        |v| program.entry().value(v).name != "x"
    }

    fn ran(program: &Verified<Program>, inputs: &[Tensor]) -> Vec<Tensor> {
        mil::eval::run(program, &mil::Weights::new(), inputs, mil::eval::Rounding::AsTyped).expect("runs")
    }

    fn floats(tensor: &Tensor) -> &[f64] {
        let Data::Float(values) = &tensor.data else { panic!("floats") };
        values
    }

    #[test]
    fn weights_beside_activations_compute_the_same() {
        let program = program();
        let given = |name: &str, n: usize| -> Vec<f64> {
            let seed = name.len() + usize::from(name.as_bytes()[0]);
            (0..n).map(|i| ((i * 7 + seed) % 11) as f64 - 5.0).collect()
        };
        let f = program.entry();
        let tensors: Vec<Tensor> = f
            .inputs
            .iter()
            .map(|&v| Tensor::floats(f.ty(v).clone(), given(&f.value(v).name, f.ty(v).elements())))
            .collect();
        let want = ran(&program, &tensors);

        let packed = pack_with_weights(&program, 16, &is_weight(&program)).expect("fits");
        let [_, channels, _, width] = packed.input.shape[..] else { panic!("four axes") };
        assert!(width.is_multiple_of(32), "{width}");
        let mut surface = vec![0.0; channels * width];
        for (slot, tensor) in packed.inputs.iter().zip(&tensors) {
            for i in 0..slot.channels * slot.columns {
                let (row, column) = (i / slot.columns, i % slot.columns);
                let from = if slot.transposed { column * slot.channels + row } else { i };
                surface[(slot.channel + row) * width + slot.column + column] = floats(tensor)[from];
            }
        }
        let got = ran(&packed.program, &[Tensor::floats(packed.input.clone(), surface)]);
        let joined = floats(&got[0]);
        for (slot, want) in packed.outputs.iter().zip(&want) {
            let range = slot.channel * 16..(slot.channel + slot.channels) * 16;
            assert_eq!(&joined[range], floats(want), "{}", slot.name);
        }
        assert!(packed.others.is_empty());
        // Products, as they lie or transposed; no convolution, and nothing that only turns a weight.
        let mut ops: BTreeMap<&str, usize> = BTreeMap::new();
        for op in &packed.program.entry().ops {
            *ops.entry(op.op.name()).or_default() += 1;
        }
        assert_eq!((ops.get("conv"), ops.get("transpose"), ops.get("matmul")), (None, None, Some(&3)));
        let text = mil::text::print(&packed.program);
        assert!(!text.contains("strides") && !text.contains("dilations"), "{text}");
    }

    /// Values that lie straight, flat and transposed, each on a surface of its own: the same numbers, and no slice.
    #[test]
    fn values_apart_compute_the_same_without_slices() {
        let b = Builder::new("main", Opset::Ios18);
        let x = b.input("x", f32(&[1, 6, 1, 16]));
        let flat = b.input("flat", f32(&[1, 2, 3, 16]));
        let transposed = b.input("transposed", f32(&[1, 2, 16, 3]));
        let y = (flat.matmul(transposed, false, false).reduce_sum(&[3], true) + flat).named("y");
        let z = (x * x).named("z");
        let program = b.finish([("y", y), ("z", z)]).expect("valid");
        let f = program.entry();
        let given =
            |v: ValueId| (0..f.ty(v).elements()).map(move |i| ((i * 7 + v.index()) % 11) as f64 - 5.0);
        let tensors: Vec<Tensor> =
            f.inputs.iter().map(|&v| Tensor::floats(f.ty(v).clone(), given(v))).collect();
        let want = ran(&program, &tensors);
        let packed = pack_apart(&program, 16).expect("packs");
        assert_eq!(packed.reads().map(|ty| ty.shape[1]).collect::<Vec<_>>(), [6, 6, 6]);
        assert_eq!(packed.inputs.iter().map(|slot| slot.surface).collect::<Vec<_>>(), [0, 1, 2]);
        let text = mil::text::print(&packed.program);
        assert!(!text.contains("slice"), "{text}");
        // What lies transposed is the transpose of each of its two matrices.
        let mut surfaces: Vec<Vec<f64>> = tensors.iter().map(|t| floats(t).to_vec()).collect();
        let from = surfaces[2].clone();
        for (i, to) in surfaces[2].iter_mut().enumerate() {
            *to = from[i / 48 * 48 + i % 16 * 3 + i % 48 / 16];
        }
        let surfaces: Vec<Tensor> =
            packed.reads().zip(surfaces).map(|(ty, values)| Tensor::floats(ty.clone(), values)).collect();
        let got = ran(&packed.program, &surfaces);
        for (slot, want) in packed.outputs.iter().zip(&want) {
            let range = slot.channel * 16..(slot.channel + slot.channels) * 16;
            assert_eq!(&floats(&got[0])[range], floats(want), "{}", slot.name);
        }
    }

    #[test]
    fn what_cannot_lie_beside_activations_is_named() {
        let b = Builder::new("main", Opset::Ios18);
        let (x, w) = (b.input("x", f32(&[1, 6, 1, 16])), b.input("w", f32(&[1, 6, 1, 16])));
        let program = b.finish([("y", x + w)]).expect("valid");
        let error = pack_with_weights(&program, 16, &is_weight(&program)).expect_err("no weight");
        assert!(
            error.to_string().starts_with("`w` is tensor<fp32, [1, 6, 1, 16]> and cannot lie"),
            "{error}"
        );

        let b = Builder::new("main", Opset::Ios18);
        let (x, w) = (b.input("x", f32(&[1, 40_000, 1, 32])), b.input("w", f32(&[20_000, 40_000, 1, 1])));
        let program = b.finish([("y", x.conv1x1(w, 1))]).expect("valid");
        let error = pack_with_weights(&program, 32, &is_weight(&program)).expect_err("too large").to_string();
        assert!(
            error.contains("16384 columns; the largest is `w`") && error.contains("--weights baked"),
            "{error}"
        );
    }
}
