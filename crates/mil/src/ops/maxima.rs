//! Non-maximum suppression: keeps the best of overlapping boxes.

use super::parts::compare;
use super::unary::equal_dtypes;
use crate::build::Var;
use crate::diag::Reject;
use crate::grad::GradCall;
use crate::ir::Literal;
use crate::op::{Absent, Axes, BOOL, Call, Eval, FLOATS, Grad, I32, OpDef, Work, constant, tensor};
use crate::tensor::{Data, Tensor};
use crate::ty::{DType, Opset, Shape, TensorType};
use std::cmp::Ordering;

/// `non_maximum_suppression(boxes, scores, iou_threshold, score_threshold, max_boxes, per_class_suppression)`: the boxes
/// with the highest scores, without those that overlap a better one.
///
/// `boxes` is `[n, B, 4]`, each x and y of the centre, width, height; `scores` is `[n, B, K]`. Results: boxes
/// `[n, max_boxes, 4]`, scores `[n, max_boxes, K]`, indices `[n, max_boxes]`, and how many they are, `[n]`; what is left of
/// each is filled with 0, of the indices with −1. A box counts by its highest score, and belongs to that class; boxes below
/// `score_threshold` do not count, but if that leaves none, the best one of all is kept. A box that shares more than
/// `iou_threshold` of the area of both with a better one, of any class or its own, is dropped.
/// Source: coremltools `iOS15/tensor_operation.py`, class `non_maximum_suppression`; filling, and the box kept where none
/// passes, from its test of that class.
pub static NON_MAXIMUM_SUPPRESSION_IOS15: OpDef = OpDef {
    name: "non_maximum_suppression",
    since: Opset::Ios15,
    params: &[
        tensor("boxes", FLOATS),
        tensor("scores", FLOATS),
        constant("iou_threshold", FLOATS),
        constant("score_threshold", FLOATS),
        constant("max_boxes", I32),
        constant("per_class_suppression", BOOL).or(Absent::Bool(false)),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        equal_dtypes(a, &["boxes", "scores", "iou_threshold", "score_threshold"])?;
        let sizes = Sizes::of(a, BOX_BY_BOX)?;
        let dtype = a.ty("boxes").dtype;
        Ok(vec![
            TensorType::new(dtype, sizes.shape(BOX_BY_BOX, 4, sizes.kept)),
            TensorType::new(dtype, sizes.shape(BOX_BY_BOX, sizes.classes, sizes.kept)),
            TensorType::new(DType::I32, [sizes.images, sizes.kept]),
            TensorType::new(DType::I32, [sizes.images]),
        ])
    },
    eval: |a| suppressed(a, BOX_BY_BOX, a.float("score_threshold")),
    grad: Grad::Rule(|g| suppression_gradient(g, BOX_BY_BOX)),
};

/// `non_maximum_suppression(boxes, scores, iou_threshold, max_boxes, per_class_suppression)`: as in iOS15, with the boxes
/// along the last axis, `[n, 4, B]` and `[n, K, B]`, no threshold for scores, and without the fourth result.
/// Source: coremltools `iOS17/tensor_operation.py`, class `non_maximum_suppression`.
pub static NON_MAXIMUM_SUPPRESSION: OpDef = OpDef {
    name: "non_maximum_suppression",
    since: Opset::Ios17,
    params: &[
        tensor("boxes", FLOATS),
        tensor("scores", FLOATS),
        constant("iou_threshold", FLOATS),
        constant("max_boxes", I32),
        constant("per_class_suppression", BOOL).or(Absent::Bool(false)),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        equal_dtypes(a, &["boxes", "scores", "iou_threshold"])?;
        let sizes = Sizes::of(a, BOXES_LAST)?;
        let dtype = a.ty("boxes").dtype;
        Ok(vec![
            TensorType::new(dtype, sizes.shape(BOXES_LAST, 4, sizes.kept)),
            TensorType::new(dtype, sizes.shape(BOXES_LAST, sizes.classes, sizes.kept)),
            TensorType::new(DType::I32, [sizes.images, sizes.kept]),
        ])
    },
    eval: |a| suppressed(a, BOXES_LAST, f64::NEG_INFINITY),
    grad: Grad::Rule(|g| suppression_gradient(g, BOXES_LAST)),
};

/// The axis of the boxes, of three.
type Layout = usize;
const BOX_BY_BOX: Layout = 1;
const BOXES_LAST: Layout = 2;

struct Sizes {
    images: usize,
    boxes: usize,
    classes: usize,
    kept: usize,
}

impl Sizes {
    fn of(a: &Call<'_>, layout: Layout) -> Result<Sizes, Reject> {
        let (boxes, scores) = (&a.ty("boxes").shape, &a.ty("scores").shape);
        let of = |s: &[usize]| match s {
            [n, x, y] if layout == BOX_BY_BOX => Some((*n, *x, *y)),
            [n, x, y] => Some((*n, *y, *x)),
            _ => None,
        };
        let (Some((images, count, 4)), Some((n, b, classes @ 1..))) = (of(boxes), of(scores)) else {
            return Err(Sizes::refuse(boxes, scores, layout));
        };
        if (n, b) != (images, count) {
            return Err(Sizes::refuse(boxes, scores, layout));
        }
        match usize::try_from(a.int("max_boxes")) {
            Ok(kept @ 1..) => Ok(Sizes { images, boxes: count, classes, kept }),
            _ => Err(Reject::new("max-boxes", "`non_maximum_suppression` has to keep at least one box")
                .label("max_boxes", a.int("max_boxes").to_string())),
        }
    }

    fn refuse(boxes: &[usize], scores: &[usize], layout: Layout) -> Reject {
        let help = match layout {
            BOX_BY_BOX => "`boxes` is [images, boxes, 4], `scores` [images, boxes, classes]",
            _ => "`boxes` is [images, 4, boxes], `scores` [images, classes, boxes]",
        };
        Reject::new("boxes-and-scores", "`non_maximum_suppression` cannot pair these boxes and scores")
            .label("boxes", Shape(boxes).to_string())
            .label("scores", Shape(scores).to_string())
            .help(help)
    }

    /// The shape of `numbers` numbers for each of `boxes` boxes.
    fn shape(&self, layout: Layout, numbers: usize, boxes: usize) -> [usize; 3] {
        match layout {
            BOX_BY_BOX => [self.images, boxes, numbers],
            _ => [self.images, numbers, boxes],
        }
    }
}

fn suppressed(a: &Eval<'_>, layout: Layout, score_threshold: f64) -> Vec<Tensor> {
    let Ok(sizes) = Sizes::of(a, layout) else { return Vec::new() };
    let (boxes, scores) = (a.tensor("boxes").as_floats(), a.tensor("scores").as_floats());
    let at = |image: usize, index: usize, i: usize, numbers: usize, boxes: usize| match layout {
        BOX_BY_BOX => (image * boxes + index) * numbers + i,
        _ => (image * numbers + i) * boxes + index,
    };
    let (n, b, k, kept) = (sizes.images, sizes.boxes, sizes.classes, sizes.kept);
    let (mut out_boxes, mut out_scores) = (vec![0.0; n * kept * 4], vec![0.0; n * kept * k]);
    let (mut indices, mut counts) = (vec![-1; n * kept], vec![0; n]);
    for image in 0..n {
        let candidates: Vec<Candidate> = (0..b)
            .map(|index| {
                let scores = (0..k).map(|class| scores[at(image, index, class, k, b)]);
                Candidate::new(index, std::array::from_fn(|i| boxes[at(image, index, i, 4, b)]), scores)
            })
            .collect();
        let of_one_class = a.bool("per_class_suppression");
        let chosen = best(candidates, score_threshold, a.float("iou_threshold"), of_one_class, kept);
        counts[image] = chosen.len() as i64;
        for (place, &index) in chosen.iter().enumerate() {
            indices[image * kept + place] = index as i64;
            for i in 0..4 {
                out_boxes[at(image, place, i, 4, kept)] = boxes[at(image, index, i, 4, b)];
            }
            for class in 0..k {
                out_scores[at(image, place, class, k, kept)] = scores[at(image, index, class, k, b)];
            }
        }
    }
    let data = [Data::Float(out_boxes), Data::Float(out_scores), Data::Int(indices), Data::Int(counts)];
    a.outs().iter().zip(data).map(|(&ty, data)| Tensor { ty: ty.clone(), data }).collect()
}

/// A box that may be kept.
struct Candidate {
    index: usize,
    score: f64,
    class: usize,
    /// Left, right, top, bottom.
    sides: [f64; 4],
    area: f64,
}

impl Candidate {
    fn new(index: usize, [x, y, width, height]: [f64; 4], scores: impl Iterator<Item = f64>) -> Candidate {
        let best = |so_far: (usize, f64), (class, score): (usize, f64)| {
            if score > so_far.1 || so_far.1.is_nan() { (class, score) } else { so_far }
        };
        let (class, score) = scores.enumerate().fold((0, f64::NAN), best);
        let sides = [x - width / 2.0, x + width / 2.0, y - height / 2.0, y + height / 2.0];
        Candidate { index, score, class, sides, area: width * height }
    }

    /// The area that both have, as a part of the area that they have together.
    fn overlap(&self, other: &Candidate) -> f64 {
        let along = |low: usize, high: usize| {
            (self.sides[high].min(other.sides[high]) - self.sides[low].max(other.sides[low])).max(0.0)
        };
        let shared = along(0, 1) * along(2, 3);
        shared / (self.area + other.area - shared)
    }
}

/// The indices of at most `most` boxes that are kept, the best first; of equal scores the first box.
fn best(
    mut candidates: Vec<Candidate>,
    score_threshold: f64,
    iou_threshold: f64,
    of_one_class: bool,
    most: usize,
) -> Vec<usize> {
    // NaN scores sort last and do not pass.
    let rank = |c: &Candidate| if c.score.is_nan() { f64::NEG_INFINITY } else { c.score };
    candidates.sort_by(|a, b| rank(b).partial_cmp(&rank(a)).unwrap_or(Ordering::Equal));
    let passes = |c: &&Candidate| c.score >= score_threshold;
    let mut kept: Vec<&Candidate> = Vec::new();
    for c in candidates.iter().filter(passes) {
        if kept.len() == most {
            break;
        }
        let suppresses =
            |k: &&Candidate| (!of_one_class || k.class == c.class) && k.overlap(c) > iou_threshold;
        if !kept.iter().any(suppresses) {
            kept.push(c);
        }
    }
    if kept.is_empty() {
        kept.extend(candidates.first());
    }
    kept.iter().map(|c| c.index).collect()
}

/// Boxes and scores receive the cotangents of the kept ones.
fn suppression_gradient<'b>(g: &mut GradCall<'_, 'b>, layout: Layout) {
    // As a product: z = C·x with C[n, i, j] = 1 where indices[n, i] = j  ⇒  dx = Cᵀ·dz; −1 is nowhere
    let Ok(sizes) = Sizes::of(g, layout) else { return };
    let b = g.builder();
    let indices = g.outputs()[2].reshape(&[sizes.images, sizes.kept, 1]);
    let ramp = Data::Int((0..sizes.boxes as i64).collect());
    let ramp = Tensor { ty: TensorType::new(DType::I32, [sizes.boxes]), data: ramp };
    let ramp = b.op("const", [("val", Literal::inline(ramp).into())]);
    let chosen = compare("equal", indices, ramp).cast(g.ty("boxes").dtype);
    let back = |dz: Var<'b>| match layout {
        BOX_BY_BOX => chosen.matmul(dz, true, false),
        _ => dz.matmul(chosen, false, false),
    };
    for (i, name) in ["boxes", "scores"].into_iter().enumerate() {
        if let Some(dz) = g.cotangent_of(i).filter(|_| g.wants(name)) {
            g.give(name, back(dz));
        }
    }
}
