//! Compressed weights of iOS18: sub-byte element types, with scales and tables per block.
//!
//! coremltools requires constant arguments; here only their types are checked, as long ones are stored in weight files.

use super::packed::{STORED, spread};
use crate::diag::Reject;
use crate::op::{Absent, Axes, Call, Eval, FLOATS, Grad, I32, OpDef, Work, constant, resolve_axis, tensor};
use crate::tensor::{Data, Tensor, flatten, strides, unflatten};
use crate::ty::{DType, Opset, Shape, TensorType};

/// `constexpr_blockwise_shift_scale(data, scale, offset)`: `scale · (data − offset)`; each block of `data` has a scale and
/// an offset of its own.
///
/// All have one rank; along each axis a block has `data / scale` elements.
/// Source: coremltools `iOS18/compression.py`, class `constexpr_blockwise_shift_scale`.
pub static CONSTEXPR_BLOCKWISE_SHIFT_SCALE: OpDef = OpDef {
    name: "constexpr_blockwise_shift_scale",
    since: Opset::Ios18,
    params: &[tensor("data", SHIFTED), tensor("scale", FLOATS), tensor("offset", SHIFTED).optional()],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        let (data, scale) = (a.ty("data"), a.ty("scale"));
        check_scale(a, &data.shape, data.dtype)?;
        Ok(vec![data.with_dtype(scale.dtype)])
    },
    eval: |a| {
        let values = shifted(a, &a.ty("data").shape, a.tensor("data").to_floats());
        vec![Tensor { ty: a.out().clone(), data: Data::Float(values) }]
    },
    grad: Grad::None("it is constant"),
};

/// `constexpr_lut_to_dense(indices, lut, vector_axis)`: looks up each index in `lut`, which holds elements or vectors along
/// `vector_axis`; each block of `indices` has its own table.
///
/// `lut` is `[blocks of each axis of indices, 2ⁿ, V]`, n the bits of an index.
/// Source: coremltools `iOS18/compression.py`, class `constexpr_lut_to_dense`.
pub static CONSTEXPR_LUT_TO_DENSE: OpDef = OpDef {
    name: "constexpr_lut_to_dense",
    since: Opset::Ios18,
    params: &[
        tensor("indices", INDICES),
        tensor("lut", STORED),
        constant("vector_axis", I32).or(Absent::Int(0)),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        let shape = looked_up(a, &a.ty("indices").shape, a.ty("indices").dtype)?;
        Ok(vec![TensorType::new(a.ty("lut").dtype, shape)])
    },
    eval: |a| {
        let indices = a.tensor("indices");
        vec![look_up(a, &indices.ty.shape, indices.as_ints(), a.out().clone())]
    },
    grad: Grad::None("it is constant"),
};

/// `constexpr_sparse_to_dense(nonzero_data, mask)`: 0 where `mask` is, otherwise the next element of `nonzero_data`.
/// Source: coremltools `iOS18/compression.py`, class `constexpr_sparse_to_dense`.
pub static CONSTEXPR_SPARSE_TO_DENSE: OpDef = OpDef {
    name: "constexpr_sparse_to_dense",
    since: Opset::Ios18,
    params: &[tensor("nonzero_data", SHIFTED), tensor("mask", &[DType::U1])],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        check_sparse(a, "nonzero_data", "mask")?;
        Ok(vec![a.ty("mask").with_dtype(a.ty("nonzero_data").dtype)])
    },
    eval: |a| vec![spread(a.tensor("nonzero_data"), a.tensor("mask").as_ints(), a.out().clone())],
    grad: Grad::None("it is constant"),
};

/// `constexpr_lut_to_sparse(indices_mask, indices_nonzero_data, lut, vector_axis)`: as `constexpr_lut_to_dense`, only
/// where `indices_mask` is 1; returns the mask of the result and its elements there.
/// Source: coremltools `iOS18/compression.py`, class `constexpr_lut_to_sparse`.
pub static CONSTEXPR_LUT_TO_SPARSE: OpDef = OpDef {
    name: "constexpr_lut_to_sparse",
    since: Opset::Ios18,
    params: &[
        tensor("indices_mask", &[DType::U1]),
        tensor("indices_nonzero_data", INDICES),
        tensor("lut", STORED),
        constant("vector_axis", I32).or(Absent::Int(0)),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        check_sparse(a, "indices_nonzero_data", "indices_mask")?;
        let (mask, data, lut) = (a.ty("indices_mask"), a.ty("indices_nonzero_data"), a.ty("lut"));
        let shape = looked_up(a, &mask.shape, data.dtype)?;
        let vector = lut.shape.last().copied().unwrap_or(1);
        let count = data.elements().saturating_mul(vector);
        Ok(vec![TensorType::new(DType::U1, shape), TensorType::new(lut.dtype, [count])])
    },
    eval: |a| {
        let (mask, data) = (a.tensor("indices_mask"), a.tensor("indices_nonzero_data"));
        let dense = spread(data, mask.as_ints(), mask.ty.with_dtype(data.ty.dtype));
        let found = look_up(a, &mask.ty.shape, dense.as_ints(), a.outs()[0].with_dtype(a.ty("lut").dtype));
        let mask = repeated(mask, vector_axis(a, mask.ty.rank()), a.outs()[0]);
        let kept = kept(&found, mask.as_ints(), a.outs()[1]);
        vec![mask, kept]
    },
    grad: Grad::None("it is constant"),
};

/// `constexpr_sparse_blockwise_shift_scale(data_mask, nonzero_data, scale, offset)`: as `constexpr_blockwise_shift_scale`,
/// only where `data_mask` is 1; returns the mask and the elements there.
/// Source: coremltools `iOS18/compression.py`, class `constexpr_sparse_blockwise_shift_scale`.
pub static CONSTEXPR_SPARSE_BLOCKWISE_SHIFT_SCALE: OpDef = OpDef {
    name: "constexpr_sparse_blockwise_shift_scale",
    since: Opset::Ios18,
    params: &[
        tensor("data_mask", &[DType::U1]),
        tensor("nonzero_data", SHIFTED),
        tensor("scale", FLOATS),
        tensor("offset", SHIFTED).optional(),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        check_sparse(a, "nonzero_data", "data_mask")?;
        let (mask, data) = (a.ty("data_mask"), a.ty("nonzero_data"));
        check_scale(a, &mask.shape, data.dtype)?;
        Ok(vec![mask.clone(), data.with_dtype(a.ty("scale").dtype)])
    },
    eval: |a| {
        let (mask, data) = (a.tensor("data_mask"), a.tensor("nonzero_data"));
        let dense = spread(data, mask.as_ints(), mask.ty.with_dtype(data.ty.dtype));
        let values = shifted(a, &mask.ty.shape, dense.to_floats());
        let ty = mask.ty.with_dtype(a.ty("scale").dtype);
        let found = Tensor { ty, data: Data::Float(values) };
        vec![mask.clone(), kept(&found, mask.as_ints(), a.outs()[1])]
    },
    grad: Grad::None("it is constant"),
};

const SHIFTED: &[DType] = &[DType::I4, DType::U4, DType::I8, DType::U8, DType::F16, DType::F32];
const INDICES: &[DType] = &[DType::U1, DType::U2, DType::U3, DType::U4, DType::U6, DType::U8];

/// Whether `blocks` divides `shape` along every axis.
fn is_cut(shape: &[usize], blocks: &[usize]) -> bool {
    shape.len() == blocks.len() && shape.iter().zip(blocks).all(|(d, &b)| b > 0 && d.is_multiple_of(b))
}

/// Checks `scale` and `offset` against data of `shape`.
fn check_scale(a: &Call<'_>, shape: &[usize], dtype: DType) -> Result<(), Reject> {
    let scale = a.ty("scale");
    if shape.is_empty() || !is_cut(shape, &scale.shape) {
        let text = format!("`scale` of `{}` does not cut the data in whole blocks", a.op.name());
        return Err(Reject::new("blocks-of-data", text)
            .label("scale", Shape(&scale.shape).to_string())
            .help(format!("each of its axes divides the one of the data, {}", Shape(shape))));
    }
    if a.has("offset") {
        let offset = a.ty("offset");
        if offset.shape != scale.shape || !(offset.dtype.is_float() || offset.dtype == dtype) {
            let text = format!("`offset` of `{}` has the shape of `scale`, and the data's type", a.op.name());
            return Err(Reject::new("offset-type", text)
                .label("scale", scale.to_string())
                .label("offset", offset.to_string()));
        }
    }
    Ok(())
}

fn check_sparse(a: &Call<'_>, data: &'static str, mask: &'static str) -> Result<(), Reject> {
    let refuse = |text: String| {
        Reject::new("nonzero-data", text)
            .label(data, Shape(&a.ty(data).shape).to_string())
            .label(mask, Shape(&a.ty(mask).shape).to_string())
    };
    let [n] = a.ty(data).shape[..] else {
        return Err(refuse(format!("`{data}` is one row")));
    };
    let ones = match a.data(mask) {
        Some(Data::Int(bits)) => bits.iter().filter(|&&b| b != 0).count(),
        _ => {
            return if n > a.ty(mask).elements() {
                Err(refuse("there are more elements than positions".into()))
            } else {
                Ok(())
            };
        }
    };
    if ones == n {
        return Ok(());
    }
    Err(refuse(format!("`{data}` has {n} elements, but `{mask}` selects {ones}")))
}

/// `scale · (values − offset)`, of values of `shape`.
fn shifted(a: &Eval<'_>, shape: &[usize], values: Vec<f64>) -> Vec<f64> {
    let scale = a.tensor("scale");
    let offset = a.has("offset").then(|| a.tensor("offset").to_floats());
    let scale_of = scale.to_floats();
    let block = QuantizedBlock::new(shape, &scale.ty.shape);
    let mut index = vec![0; shape.len()];
    let one = |(n, x): (usize, f64)| {
        unflatten(n, shape, &mut index);
        let at = block.of(&index);
        scale_of[at] * (x - offset.as_ref().map_or(0.0, |o| o[at]))
    };
    values.into_iter().enumerate().map(one).collect()
}

/// Which block an element belongs to.
struct QuantizedBlock {
    sizes: Vec<usize>,
    steps: Vec<usize>,
}

impl QuantizedBlock {
    fn new(shape: &[usize], blocks: &[usize]) -> QuantizedBlock {
        let sizes = shape.iter().zip(blocks).map(|(d, b)| (d / b).max(1)).collect();
        QuantizedBlock { sizes, steps: strides(blocks) }
    }

    fn of(&self, index: &[usize]) -> usize {
        index.iter().zip(&self.sizes).zip(&self.steps).map(|((i, size), step)| i / size * step).sum()
    }
}

fn vector_axis(a: &Call<'_>, rank: usize) -> usize {
    resolve_axis(a.int("vector_axis"), rank).unwrap_or(0)
}

/// The shape of the lookup of indices of `shape` and `dtype` in `lut`.
fn looked_up(a: &Call<'_>, shape: &[usize], dtype: DType) -> Result<Vec<usize>, Reject> {
    let lut = a.ty("lut");
    let refuse = |text: &str| {
        Err(Reject::new("lut-shape", text.to_owned()).label("lut", Shape(&lut.shape).to_string()).help(
            format!(
                "it is [blocks of {}, {} elements, size of a vector]",
                Shape(shape),
                1u64 << dtype.bits().unwrap_or(8)
            ),
        ))
    };
    let rank = shape.len();
    let [blocks @ .., palette, vector] = &lut.shape[..] else { return refuse("`lut` needs more axes") };
    if rank == 0 || !is_cut(shape, blocks) {
        return refuse("`lut` does not cut the indices in whole blocks");
    }
    if *palette as u64 != 1 << dtype.bits().unwrap_or(8) {
        return refuse("`lut` does not have an element for each index");
    }
    let mut out = shape.to_vec();
    match (*vector, a.has("vector_axis")) {
        (0, _) => return refuse("the vectors of `lut` are empty"),
        (2.., false) => return refuse("the vectors of `lut` need a `vector_axis`"),
        (_, true) => {
            let axis = a.check_axis("vector_axis", a.int("vector_axis"), rank)?;
            out[axis] = out[axis].saturating_mul(*vector);
        }
        (_, false) => {}
    }
    Ok(out)
}

/// Looks up the indices, of `shape`, in `lut`.
fn look_up(a: &Eval<'_>, shape: &[usize], indices: &[i64], out: TensorType) -> Tensor {
    let lut = a.tensor("lut");
    let rank = shape.len();
    let (palette, vector) = (lut.ty.shape[rank], lut.ty.shape[rank + 1]);
    let block = QuantizedBlock::new(shape, &lut.ty.shape[..rank]);
    let (axis, steps) = (vector_axis(a, rank), strides(shape));
    lut.gathered(out, |index| {
        let mut place = index.to_vec();
        let within = if vector > 1 { place[axis] % vector } else { 0 };
        place[axis] /= vector;
        let which = indices[flatten(&place, &steps)] as usize;
        (block.of(&place) * palette + which) * vector + within
    })
}

/// `mask` with each element repeated along `axis`, up to the shape of `out`.
fn repeated(mask: &Tensor, axis: usize, out: &TensorType) -> Tensor {
    let times = out.shape[axis] / mask.ty.shape[axis].max(1);
    let steps = strides(&mask.ty.shape);
    mask.gathered(out.clone(), |index| {
        let mut place = index.to_vec();
        place[axis] /= times.max(1);
        flatten(&place, &steps)
    })
}

/// The elements of `dense` where `mask` is 1; `out` gives their number.
fn kept(dense: &Tensor, mask: &[i64], out: &TensorType) -> Tensor {
    let ones = mask.iter().enumerate().filter(|(_, m)| **m != 0).map(|(i, _)| i);
    let places: Vec<usize> = ones.take(out.elements()).collect();
    let mut kept = dense.gathered(TensorType::new(out.dtype, [places.len()]), |index| places[index[0]]);
    // A mask from a weight file may have fewer ones than there are elements.
    match &mut kept.data {
        Data::Float(v) => v.resize(out.elements(), 0.0),
        Data::Int(v) => v.resize(out.elements(), 0),
        _ => {}
    }
    kept.ty = out.clone();
    kept
}
