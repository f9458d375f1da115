//! The forward program of one transformer layer; everything else about the layer is derived from it.

use super::ModelError;
use crate::config::{ModelConfig, ParamKind, Rope, RopeKind};
use mil::grad::{Joint, backward};
use mil::{Builder, DType, Opset, Tensor, TensorType, ValueId, Var};
use std::collections::BTreeMap;

/// The value that the causal mask adds to a masked score: the lowest finite number in fp16, far below any score in fp32.
fn masked(dtype: DType) -> f64 {
    if dtype == DType::F16 { -65504.0 } else { -1e30 }
}

/// The largest sum of a norm's squares: half of the overflow threshold of an engine's products (rules N1, N8).
const LARGEST_SUM: f64 = 16384.0;

/// The bound of a column's scaled elements in a norm; it takes effect with few channels.
const LARGEST_REACH: f64 = 16.0;

/// The smallest √eps of a norm whose scaled square does not underflow in fp16, even for a column of zeros.
const SMALLEST_ROOT_EPS: f64 = 1.0 / 1048576.0;

/// The minimum of δ, which is added to a column's largest magnitude: the reciprocal of the sum must fit into fp16.
const SMALLEST_SHIFT: f64 = 1.0 / 16384.0;

/// The element type of programs and surfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// fp16, the type of real engines.
    F16,
    /// fp32, for debugging, on the software engine only.
    F32,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Precision; 2] = [Precision::F16, Precision::F32];

    /// Its name in flags and checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F16 => "f16",
            Precision::F32 => "f32",
        }
    }

    /// The element type in MIL.
    pub fn dtype(self) -> DType {
        match self {
            Precision::F16 => DType::F16,
            Precision::F32 => DType::F32,
        }
    }
}

/// A layer with its gradient, and the values and weights that the host handles.
///
/// Activations are `[1, C, 1, S]`; matrices `[O, I, 1, 1]`; norm weights `[1, C, 1, 1]`, for heads `[1, 1, E, 1]`.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Forward and derived operations in one function.
    pub joint: Joint,
    /// The layer's input.
    pub x: ValueId,
    /// The output of attention, `o`, which is added to the residual stream.
    pub o: ValueId,
    /// The residual stream after attention, `x + o`.
    pub x2: ValueId,
    /// The output of the feed-forward part, which is added to the residual stream.
    pub ffn: ValueId,
    /// The layer's output, `x2 + ffn`.
    pub y: ValueId,
    /// The cotangent of `y`: a parameter of the joint function.
    pub dy: ValueId,
    /// The parameters of the layer.
    pub weights: BTreeMap<ValueId, ParamKind>,
    /// The gradients of matrices, which the host computes.
    pub weight_grads: Vec<WeightGrad>,
    /// Norms; the host computes their backward pass.
    pub norms: Vec<NormSite>,
    /// The width of all surfaces, S.
    pub width: usize,
}

/// A matrix gradient `dW [O, I] += dz [O, S] · a [I, S]ᵀ`.
#[derive(Clone, Copy, Debug)]
pub struct WeightGrad {
    /// The weight.
    pub kind: ParamKind,
    /// The cotangent of the matrix product.
    pub dz: ValueId,
    /// The matrix's right operand in the forward pass.
    pub a: ValueId,
}

/// An RMSNorm of the layer.
#[derive(Clone, Copy, Debug)]
pub struct NormSite {
    /// Its weight.
    pub kind: ParamKind,
    /// Its input.
    pub input: ValueId,
    /// Its output.
    pub output: ValueId,
    /// The number of separately normalised groups of channels: 1, or the number of heads.
    pub groups: usize,
    /// For a norm of the residual stream, the stream after the norm's branch: its gradient is added to that of the norm's
    /// input.
    pub past: Option<ValueId>,
}

struct Statement<'b> {
    b: &'b Builder,
    cfg: &'b ModelConfig,
    dtype: DType,
    weights: BTreeMap<ValueId, ParamKind>,
    norms: Vec<NormSite>,
}

impl Layer {
    /// Builds the layer of `cfg` and derives its gradient.
    ///
    /// # Errors
    /// If the configuration makes no valid program; does not happen with validated ones.
    pub fn new(cfg: &ModelConfig, precision: Precision) -> Result<Layer, ModelError> {
        let builder = Builder::new("layer", Opset::Ios18);
        let (d, s) = (cfg.dim, cfg.seq);
        let mut l = Statement {
            b: &builder,
            cfg,
            dtype: precision.dtype(),
            weights: BTreeMap::new(),
            norms: Vec::new(),
        };
        let x = l.input("x", [1, d, 1, s]); //                                 [1, D, 1, S]
        let o = l.attention(x);
        builder.enter("residual1");
        let x2 = (x + o).named("x2");
        let ffn = l.feed_forward(x2);
        builder.enter("residual2");
        let y = (x2 + ffn).named("y");
        let (weights, mut norms) = (l.weights, l.norms);
        for (input, after) in [(x, x2), (x2, y)] {
            norms.iter_mut().filter(|n| n.input == input.id()).for_each(|n| n.past = Some(after.id()));
        }

        let forward = builder.finish([("y", y)])?;
        let function = forward.entry();
        let joint = backward(function, &[y.id()], &[x.id()])?;
        let dy = joint.cotangents.get(&y.id()).copied().ok_or_else(|| missing("d_y"))?;
        let mut weight_grads = Vec::new();
        for op in &function.ops {
            let Some(kind) = op.arg_value("weight").and_then(|w| weights.get(&w)) else { continue };
            let name = || missing(&format!("an operand of the product with {kind:?}"));
            let z = *op.results.first().ok_or_else(name)?;
            let a = op.arg_value("x").ok_or_else(name)?;
            let dz = joint.cotangents.get(&z).copied().ok_or_else(|| missing(&function.value(z).name))?;
            weight_grads.push(WeightGrad { kind: *kind, dz, a });
        }
        Ok(Layer {
            x: x.id(),
            o: o.id(),
            x2: x2.id(),
            ffn: ffn.id(),
            y: y.id(),
            dy,
            weights,
            weight_grads,
            norms,
            width: s,
            joint,
        })
    }

    /// Elements of a value.
    pub fn elements(&self, v: ValueId) -> usize {
        self.joint.function.ty(v).elements()
    }

    /// The cotangent of a forward value.
    ///
    /// # Errors
    /// If the layer's output does not depend on it.
    pub fn cotangent(&self, v: ValueId) -> Result<ValueId, ModelError> {
        let found = self.joint.cotangents.get(&v).copied();
        found.ok_or_else(|| missing(&format!("the cotangent of {}", self.joint.function.value(v).name)))
    }
}

fn missing(value: &str) -> ModelError {
    ModelError::Unprovided { value: value.to_owned() }
}

impl<'b> Statement<'b> {
    fn input<const N: usize>(&self, name: &str, shape: [usize; N]) -> Var<'b> {
        self.b.input(name, TensorType::new(self.dtype, shape))
    }

    fn weight<const N: usize>(&mut self, name: &str, kind: ParamKind, shape: [usize; N]) -> Var<'b> {
        let w = self.input(name, shape);
        self.weights.insert(w.id(), kind);
        w
    }

    fn table<const N: usize>(&self, name: &str, shape: [usize; N], f: impl Fn(usize) -> f64) -> Var<'b> {
        let ty = TensorType::new(self.dtype, shape);
        let n = ty.elements();
        self.b.constant(name, Tensor::floats(ty, (0..n).map(f)))
    }

    /// Norm and attention, up to the residual addition.
    fn attention(&mut self, x: Var<'b>) -> Var<'b> {
        let cfg = self.cfg;
        let (d, s) = (cfg.dim, cfg.seq);
        let (h, k, e) = (cfg.heads, cfg.kv_heads, cfg.head_dim);
        let (q_dim, kv_dim) = (cfg.q_dim(), cfg.kv_dim());
        self.b.enter("norm1");
        let xn = self.norm(x, "rms1", ParamKind::AttentionNorm).named("xn");

        self.b.enter("qkv");
        let [wq, wk, wv] =
            [("wq", ParamKind::Wq, q_dim), ("wk", ParamKind::Wk, kv_dim), ("wv", ParamKind::Wv, kv_dim)]
                .map(|(name, kind, out)| self.weight(name, kind, [out, d, 1, 1]));
        self.b.enter("qkv.q");
        let mut q = xn.conv1x1(wq, 1).named("q_proj"); //                      [1, H·E, 1, S]
        self.b.enter("qkv.k");
        let mut key = xn.conv1x1(wk, 1).named("k_proj"); //                    [1, K·E, 1, S]
        self.b.enter("qkv.v");
        let v = xn.conv1x1(wv, 1).named("v");

        if cfg.qk_norm {
            self.b.enter("qk_norm");
            q = self.head_norm(q, "rms_q", ParamKind::QueryNorm, h).named("q_norm");
            key = self.head_norm(key, "rms_k", ParamKind::KeyNorm, k).named("k_norm");
        }
        if cfg.rope.kind != RopeKind::None {
            self.b.enter("rope");
            let tables = self.rope_tables(cfg.rope);
            q = rotate(q, &tables, [1, h, e, s]).named("q");
            key = rotate(key, &tables, [1, k, e, s]).named("k");
        }

        // Scaled before the product: unscaled scores may overflow fp16.
        self.b.enter("scale");
        let q = q * (e as f64).powf(-0.5);

        // The rows of query heads that share a key head follow one another: head j reads key head j / (H/K).
        self.b.enter("scores");
        let rows = |x: Var<'b>, heads: usize| x.reshape(&[1, heads, e, s]).t(); // [1, heads, S, E]
        let grouped = |x: Var<'b>, last: usize| shaped(x, &[1, k, h / k * s, last]);
        let mask =
            self.table("mask", [1, 1, s, s], |n| if n % s <= n / s { 0.0 } else { masked(self.dtype) });
        let scores = grouped(rows(q, h), e).matmul(rows(key, k), false, true);
        let scores = shaped(scores, &[1, h, s, s]) + mask; //                  [1, H, S, S]

        self.b.enter("softmax");
        let p = scores.softmax(-1).named("p");

        self.b.enter("mix");
        let mixed = grouped(p, s).matmul(rows(v, k), false, false); //         [1, K, H/K·S, E]
        let mixed = shaped(mixed, &[1, h, s, e]).t(); //                       [1, H, E, S]
        let attn = mixed.reshape(&[1, q_dim, 1, s]).named("attn"); //          [1, H·E, 1, S]

        self.b.enter("out");
        let wo = self.weight("wo", ParamKind::Wo, [d, q_dim, 1, 1]);
        attn.conv1x1(wo, 1).named("o")
    }

    /// Norm and SwiGLU, up to the residual addition.
    fn feed_forward(&mut self, x2: Var<'b>) -> Var<'b> {
        let (d, f) = (self.cfg.dim, self.cfg.hidden);
        self.b.enter("norm2");
        let x2n = self.norm(x2, "rms2", ParamKind::FeedForwardNorm).named("x2n");

        self.b.enter("up");
        let w1 = self.weight("w1", ParamKind::W1, [f, d, 1, 1]);
        let w3 = self.weight("w3", ParamKind::W3, [f, d, 1, 1]);
        self.b.enter("up.1");
        let h1 = x2n.conv1x1(w1, 1).named("h1"); //                            [1, F, 1, S]
        self.b.enter("up.3");
        let h3 = x2n.conv1x1(w3, 1).named("h3");

        self.b.enter("silu");
        let silu = h1 * h1.sigmoid();

        self.b.enter("gate");
        let gate = (silu * h3).named("gate");

        self.b.enter("down");
        let w2 = self.weight("w2", ParamKind::W2, [d, f, 1, 1]);
        gate.conv1x1(w2, 1).named("ffn")
    }

    /// RMSNorm over channels.
    fn norm(&mut self, x: Var<'b>, name: &str, kind: ParamKind) -> Var<'b> {
        let w = self.weight(name, kind, [1, self.cfg.dim, 1, 1]);
        let y = self.rms_normed(x, name, 1) * w;
        self.norms.push(NormSite { kind, input: x.id(), output: y.id(), groups: 1, past: None });
        y
    }

    /// RMSNorm over each head of `[1, heads·E, 1, S]`.
    fn head_norm(&mut self, x: Var<'b>, name: &str, kind: ParamKind, heads: usize) -> Var<'b> {
        let (e, s) = (self.cfg.head_dim, self.cfg.seq);
        let w = self.weight(name, kind, [1, 1, e, 1]);
        let z = x.reshape(&[1, heads, e, s]); //                               [1, heads, E, S]
        let y = (self.rms_normed(z, name, heads) * w).reshape(&[1, heads * e, 1, s]);
        self.norms.push(NormSite { kind, input: x.id(), output: y.id(), groups: heads, past: None });
        y
    }

    /// `x / √(mean x² + eps)`: of `[1, C, 1, S]` over channels if `groups` is 1, of `[1, groups, C, S]` over C otherwise.
    ///
    /// Numerics: accurate for elements from 1e-4 to 65504 and eps from 1e-12, in fp16 and with the fixed-point sums of an
    /// engine (rules N1, N2, N10). Each column is multiplied by `u / (max |x| + δ)` before it is squared, and so is
    /// √eps; the factor cancels. It may be too small for fp16, so it is applied as two factors. Squares are then at most u²,
    /// and their sum, a product with ones, at most [`LARGEST_SUM`].
    fn rms_normed(&self, x: Var<'b>, name: &str, groups: usize) -> Var<'b> {
        let shape = x.shape();
        let (axis, s) = if groups == 1 { (1, shape[3]) } else { (2, shape[3]) };
        let c = shape[axis];
        let reach = 2f64.powf((LARGEST_SUM / c as f64).log2().div_euclid(2.0)).min(LARGEST_REACH);
        let root_eps = self.cfg.rms_eps.sqrt().max(SMALLEST_ROOT_EPS);
        // (max |x| + δ)^−½: never above 128, and √eps times its square never above 1.
        let h = (x.abs().reduce_max(&[axis as i64], true) + root_eps.max(SMALLEST_SHIFT)).pow(-0.5);
        let first = x * h;
        let second = h * reach;
        let scaled = first * second; //                                         |scaled| ≤ reach
        let square = (scaled * scaled).reshape(&[1, groups * c, 1, s]);
        let ones = self.table(&format!("{name}_ones"), [groups, groups * c, 1, 1], |n| {
            if n % (groups * c) / c == n / (groups * c) { 1.0 } else { 0.0 }
        });
        let mean = square.conv1x1(ones, 1) * (1.0 / c as f64); //               [1, groups, 1, S]
        let eps = h * (h * (reach * root_eps));
        first * (second * (mean + eps * eps).pow(-0.5))
    }

    /// cos, sin `[1, 1, E, S]` and the signed permutation `[1, 1, E, E]` that rotates each pair by a right angle.
    fn rope_tables(&self, rope: Rope) -> [Var<'b>; 3] {
        let (e, s) = (self.cfg.head_dim, self.cfg.seq);
        let pair = |c: usize| match rope.kind {
            RopeKind::Interleaved => c / 2,
            _ => c % (e / 2),
        };
        let angle = |n: usize| (n % s) as f64 * rope.theta.powf(-2.0 * pair(n / s) as f64 / e as f64);
        let turn = |n: usize| {
            let (to, from) = (n / e, n % e);
            let (first, partner) = match rope.kind {
                RopeKind::Interleaved => (to % 2 == 0, to ^ 1),
                _ => (to < e / 2, (to + e / 2) % e),
            };
            if from != partner {
                0.0
            } else if first {
                -1.0
            } else {
                1.0
            }
        };
        [
            self.table("rope_cos", [1, 1, e, s], |n| angle(n).cos()),
            self.table("rope_sin", [1, 1, e, s], |n| angle(n).sin()),
            self.table("rope_turn", [1, 1, e, e], turn),
        ]
    }
}

/// Rotary position embedding of `[1, heads·E, 1, S]`: `x·cos + turn·x·sin`.
fn rotate<'b>(x: Var<'b>, [cos, sin, turn]: &[Var<'b>; 3], heads: [usize; 4]) -> Var<'b> {
    let flat = x.shape();
    let x = x.reshape(&heads); //                                              [1, heads, E, S]
    (x * *cos + turn.matmul(x, false, false) * *sin).reshape(&flat)
}

fn shaped<'b>(x: Var<'b>, shape: &[usize]) -> Var<'b> {
    if x.shape() == shape { x } else { x.reshape(shape) }
}
