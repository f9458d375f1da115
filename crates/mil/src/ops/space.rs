//! Blocks of pixels to channels or batches, and back.

use crate::build::Var;
use crate::diag::Reject;
use crate::grad::GradCall;
use crate::ir::Literal;
use crate::op::{Axes, Call, Eval, FLOATS, Grad, I32, OpDef, Work, constant, tensor};
use crate::tensor::{Data, Tensor, unflatten};
use crate::ty::{DType, Opset, Shape, TensorType};

/// `depth_to_space(x, block_size)`: `[n, b·b·c, h, w]` to `[n, c, h·b, w·b]`; the channels of a pixel `(i, j)` of the
/// block are adjacent, at `(i·b + j)·c`.
/// Source: coremltools `iOS15/tensor_transformation.py`, class `depth_to_space`; the order is TensorFlow's, from which it
/// is converted as it is.
pub static DEPTH_TO_SPACE: OpDef = OpDef {
    name: "depth_to_space",
    since: Opset::Ios15,
    params: &[tensor("x", FLOATS), constant("block_size", I32)],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| spread(a, "block_size"),
    eval: |a| spread_out(a, "block_size", Order::BlockFirst),
    grad: Grad::Rule(|g| {
        let dx = blocks(g, "space_to_depth", g.cotangent(), g.int("block_size"));
        g.give("x", dx);
    }),
};

/// `space_to_depth(x, block_size)`: `[n, c, h·b, w·b]` to `[n, b·b·c, h, w]`; undoes `depth_to_space`.
/// Source: coremltools `iOS15/tensor_transformation.py`, class `space_to_depth`.
pub static SPACE_TO_DEPTH: OpDef = OpDef {
    name: "space_to_depth",
    since: Opset::Ios15,
    params: &[tensor("x", FLOATS), constant("block_size", I32)],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| gather(a, "block_size"),
    eval: |a| gathered(a, "block_size", Order::BlockFirst),
    grad: Grad::Rule(|g| {
        let dx = blocks(g, "depth_to_space", g.cotangent(), g.int("block_size"));
        g.give("x", dx);
    }),
};

/// `pixel_shuffle(x, upscale_factor)`: `[n, c·f·f, h, w]` to `[n, c, h·f, w·f]`; the pixels of a channel are adjacent.
/// Source: coremltools `iOS15/tensor_transformation.py`, class `pixel_shuffle`; the order is PyTorch's.
pub static PIXEL_SHUFFLE: OpDef = OpDef {
    name: "pixel_shuffle",
    since: Opset::Ios15,
    params: &[tensor("x", FLOATS), constant("upscale_factor", I32)],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| spread(a, "upscale_factor"),
    eval: |a| spread_out(a, "upscale_factor", Order::ChannelFirst),
    grad: Grad::Rule(|g| {
        // `space_to_depth`, then the channels in the other order; `pixel_unshuffle` is newer.
        let (factor, x) = (g.int("upscale_factor"), g.ty("x").shape.clone());
        let block = factor as usize * factor as usize;
        let dx = blocks(g, "space_to_depth", g.cotangent(), factor);
        let dx = dx.reshape(&[x[0], block, x[1] / block, x[2] * x[3]]).transpose(&[0, 2, 1, 3]);
        g.give("x", dx.reshape(&x));
    }),
};

/// `pixel_unshuffle(x, downscale_factor)`: `[n, c, h·f, w·f]` to `[n, c·f·f, h, w]`; undoes `pixel_shuffle`.
/// Source: coremltools `iOS16/tensor_transformation.py`, class `pixel_unshuffle`.
pub static PIXEL_UNSHUFFLE: OpDef = OpDef {
    name: "pixel_unshuffle",
    since: Opset::Ios16,
    params: &[tensor("x", FLOATS), constant("downscale_factor", FACTOR)],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| gather(a, "downscale_factor"),
    eval: |a| gathered(a, "downscale_factor", Order::ChannelFirst),
    grad: Grad::Rule(|g| {
        let args = [("x", g.cotangent().into()), ("upscale_factor", g.int("downscale_factor").into())];
        let dx = g.builder().op("pixel_shuffle", args);
        g.give("x", dx);
    }),
};

/// `space_to_batch(x, block_shape, paddings)`: `x`, with zeros around it, `[n, c, h·a, w·b]`, to `[a·b·n, c, h, w]`;
/// the images of a pixel `(i, j)` of the block are adjacent, at `(i·b + j)·n`.
/// Source: coremltools `iOS15/tensor_transformation.py`, class `space_to_batch`; the order is TensorFlow's.
pub static SPACE_TO_BATCH: OpDef = OpDef {
    name: "space_to_batch",
    since: Opset::Ios15,
    params: &[tensor("x", FLOATS), constant("block_shape", I32), constant("paddings", I32)],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        let (x, Tiling { block: [h, w], edge }) = (image(a)?, Tiling::of(a, "paddings")?);
        let padded = |i: usize| x[i + 2].checked_add(edge[i][0])?.checked_add(edge[i][1]);
        let out = || {
            let (rows, columns) = (padded(0)?, padded(1)?);
            (rows % h == 0 && columns % w == 0).then_some(())?;
            Some([x[0].checked_mul(h.checked_mul(w)?)?, x[1], rows / h, columns / w])
        };
        match out() {
            Some(shape) => Ok(vec![TensorType::new(a.ty("x").dtype, shape)]),
            None => Err(indivisible(a, "block_shape")
                .label("paddings", format!("{edge:?}"))
                .help("the padded height and width must be multiples of the block's")),
        }
    },
    eval: |a| {
        let Ok(Tiling { block, edge }) = Tiling::of(a, "paddings") else { return Vec::new() };
        let n = a.ty("x").shape[0];
        picked(a, |at| {
            let pixel = at[0] / n;
            let row = (at[2] * block[0] + pixel / block[1]).checked_sub(edge[0][0])?;
            let column = (at[3] * block[1] + pixel % block[1]).checked_sub(edge[1][0])?;
            Some([at[0] % n, at[1], row, column])
        })
    },
    grad: Grad::Rule(|g| {
        let dx = tiles(g, "batch_to_space", "paddings", "crops");
        g.give("x", dx);
    }),
};

/// `batch_to_space(x, block_shape, crops)`: `[a·b·n, c, h, w]` to `[n, c, h·a, w·b]`, of which the borders are cut off;
/// undoes `space_to_batch`.
/// Source: coremltools `iOS15/tensor_transformation.py`, class `batch_to_space`.
pub static BATCH_TO_SPACE: OpDef = OpDef {
    name: "batch_to_space",
    since: Opset::Ios15,
    params: &[tensor("x", FLOATS), constant("block_shape", I32), constant("crops", I32)],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        let (x, Tiling { block, edge }) = (image(a)?, Tiling::of(a, "crops")?);
        let cropped =
            |i: usize| x[i + 2].checked_mul(block[i])?.checked_sub(edge[i][0])?.checked_sub(edge[i][1]);
        let out = || {
            let pixels = block[0].checked_mul(block[1])?;
            (x[0] % pixels == 0).then_some(())?;
            Some([x[0] / pixels, x[1], cropped(0)?, cropped(1)?])
        };
        match out() {
            Some(shape) => Ok(vec![TensorType::new(a.ty("x").dtype, shape)]),
            None => Err(indivisible(a, "block_shape").label("crops", format!("{edge:?}")).help(
                "the batch must be a multiple of the block's pixels, and `crops` must leave something",
            )),
        }
    },
    eval: |a| {
        let Ok(Tiling { block, edge }) = Tiling::of(a, "crops") else { return Vec::new() };
        let n = a.out().shape[0];
        picked(a, |at| {
            let (row, column) = (at[2] + edge[0][0], at[3] + edge[1][0]);
            let pixel = row % block[0] * block[1] + column % block[1];
            Some([pixel * n + at[0], at[1], row / block[0], column / block[1]])
        })
    },
    grad: Grad::Rule(|g| {
        let dx = tiles(g, "space_to_batch", "crops", "paddings");
        g.give("x", dx);
    }),
};

const FACTOR: &[DType] = &[DType::U32];

/// How the channels of a block are counted.
#[derive(Clone, Copy)]
enum Order {
    /// A channel is `pixel · c + channel`.
    BlockFirst,
    /// A channel is `channel · b² + pixel`.
    ChannelFirst,
}

impl Order {
    fn join(self, pixel: usize, channel: usize, pixels: usize, channels: usize) -> usize {
        match self {
            Order::BlockFirst => pixel * channels + channel,
            Order::ChannelFirst => channel * pixels + pixel,
        }
    }

    fn part(self, joined: usize, pixels: usize, channels: usize) -> (usize, usize) {
        match self {
            Order::BlockFirst => (joined / channels, joined % channels),
            Order::ChannelFirst => (joined % pixels, joined / pixels),
        }
    }
}

/// The shape of `x`, which must be `[n, c, h, w]`.
fn image(a: &Call<'_>) -> Result<[usize; 4], Reject> {
    let x = a.ty("x");
    <[usize; 4]>::try_from(x.shape.as_slice()).map_err(|_| {
        Reject::new("rank", format!("`{}` needs `x` as [n, c, h, w]", a.op.name()))
            .label("x", Shape(&x.shape).to_string())
    })
}

fn indivisible(a: &Call<'_>, block: &'static str) -> Reject {
    Reject::new("block-size", format!("`{}` cannot divide `x` so", a.op.name()))
        .label("x", Shape(&a.ty("x").shape).to_string())
        .label(block, format!("{:?}", a.ints(block)))
}

/// Block size `name` and its square.
fn block(a: &Call<'_>, name: &'static str) -> Option<(usize, usize)> {
    let block = usize::try_from(a.int(name)).ok().filter(|&b| b > 0)?;
    Some((block, block.checked_mul(block)?))
}

/// The type rule of operations that move channels to pixels.
fn spread(a: &Call<'_>, name: &'static str) -> Result<Vec<TensorType>, Reject> {
    let [n, c, h, w] = image(a)?;
    let out = || {
        let (block, pixels) = block(a, name)?;
        (c % pixels == 0).then_some(())?;
        Some([n, c / pixels, h.checked_mul(block)?, w.checked_mul(block)?])
    };
    let shape = out().ok_or_else(|| {
        indivisible(a, name).help("it must be positive, and its square must divide the channels")
    })?;
    Ok(vec![TensorType::new(a.ty("x").dtype, shape)])
}

/// The type rule of operations that move pixels to channels.
fn gather(a: &Call<'_>, name: &'static str) -> Result<Vec<TensorType>, Reject> {
    let [n, c, h, w] = image(a)?;
    let out = || {
        let (block, pixels) = block(a, name)?;
        (h % block == 0 && w % block == 0).then_some(())?;
        Some([n, c.checked_mul(pixels)?, h / block, w / block])
    };
    let shape =
        out().ok_or_else(|| indivisible(a, name).help("it must be positive and divide height and width"))?;
    Ok(vec![TensorType::new(a.ty("x").dtype, shape)])
}

fn spread_out(a: &Eval<'_>, name: &'static str, order: Order) -> Vec<Tensor> {
    let Some((block, pixels)) = block(a, name) else { return Vec::new() };
    let channels = a.out().shape[1];
    picked(a, |at| {
        let pixel = at[2] % block * block + at[3] % block;
        Some([at[0], order.join(pixel, at[1], pixels, channels), at[2] / block, at[3] / block])
    })
}

fn gathered(a: &Eval<'_>, name: &'static str, order: Order) -> Vec<Tensor> {
    let Some((block, pixels)) = block(a, name) else { return Vec::new() };
    let channels = a.ty("x").shape[1];
    picked(a, |at| {
        let (pixel, channel) = order.part(at[1], pixels, channels);
        Some([at[0], channel, at[2] * block + pixel / block, at[3] * block + pixel % block])
    })
}

/// Builds the result: the element at each index is that of `x` at `from(index)`, or 0 for `None`.
fn picked(a: &Eval<'_>, from: impl Fn(&[usize]) -> Option<[usize; 4]>) -> Vec<Tensor> {
    let (x, out) = (a.tensor("x"), a.out());
    let mut index = vec![0; out.rank()];
    let element = |n| {
        unflatten(n, &out.shape, &mut index);
        let at = from(&index)?;
        let place = at.iter().zip(&x.ty.shape).try_fold(0, |n, (&i, &d)| (i < d).then_some(n * d + i))?;
        Some(x.as_floats()[place])
    };
    let data = (0..out.elements()).map(element).map(Option::unwrap_or_default).collect();
    vec![Tensor { ty: out.clone(), data: Data::Float(data) }]
}

/// Block and borders of `space_to_batch` and `batch_to_space`.
struct Tiling {
    block: [usize; 2],
    /// Before and after, of rows and of columns.
    edge: [[usize; 2]; 2],
}

impl Tiling {
    fn of(a: &Call<'_>, edge: &'static str) -> Result<Tiling, Reject> {
        let sizes = |name: &str| -> Option<Vec<usize>> {
            a.ints(name).iter().map(|&n| usize::try_from(n).ok()).collect()
        };
        if let (Some(block), Some(edges)) = (sizes("block_shape"), sizes(edge))
            && let [h, w] = block[..]
            && h > 0
            && w > 0
            && let [top, bottom, left, right] = edges[..]
            && a.ty(edge).shape == [2, 2]
        {
            return Ok(Tiling { block: [h, w], edge: [[top, bottom], [left, right]] });
        }
        Err(Reject::new("block-shape", format!("`{}` needs a block [a, b] and borders [2, 2]", a.op.name()))
            .label("block_shape", format!("{:?}", a.ints("block_shape")))
            .label(edge, format!("{:?} in {}", a.ints(edge), Shape(&a.ty(edge).shape))))
    }
}

/// Operation `op` of `v` with block size `block`, for gradient rules.
fn blocks<'b>(g: &GradCall<'_, 'b>, op: &str, v: Var<'b>, block: i64) -> Var<'b> {
    g.builder().op(op, [("x", v.into()), ("block_size", block.into())])
}

/// Operation `op` of the cotangent, with the same block and borders.
fn tiles<'b>(g: &GradCall<'_, 'b>, op: &str, edge: &'static str, as_edge: &'static str) -> Var<'b> {
    let edge = Tensor { ty: TensorType::new(DType::I32, [2, 2]), data: Data::Int(g.ints(edge)) };
    let args = [
        ("x", g.cotangent().into()),
        ("block_shape", g.ints("block_shape").into()),
        (as_edge, Literal::inline(edge).into()),
    ];
    g.builder().op(op, args)
}
