//! The forward program of a layer under construction: its inputs, weights, tables and norms.

use crate::config::{LayerKind, Linear, Lora, ModelConfig, ParamKind};
use mil::{Builder, DType, Tensor, TensorType, ValueId, Var};
use std::collections::BTreeMap;

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

/// The positions of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Span {
    /// A whole window of that many positions, from the first one on: masks and tables of RoPE are constants.
    Whole(usize),
    /// Any positions: masks and rows of the tables are inputs, and so are the keys and values of all positions that are seen.
    Any {
        /// Columns of queries.
        queries: usize,
        /// Columns of keys and values.
        keys: usize,
    },
}

impl Span {
    /// Columns of queries, which are those of activations.
    pub fn queries(self) -> usize {
        match self {
            Span::Whole(seq) => seq,
            Span::Any { queries, .. } => queries,
        }
    }

    /// Columns of keys and values.
    pub fn keys(self) -> usize {
        match self {
            Span::Whole(seq) => seq,
            Span::Any { keys, .. } => keys,
        }
    }
}

/// An input of adapters to which dropout applies.
pub(super) struct Dropped<'b> {
    whole: ValueId,
    /// The factors of dropout, an input of the program, `[1, I, 1, S]`.
    pub(super) factors: Var<'b>,
    part: Var<'b>,
}

/// The program under construction.
pub(super) struct Statement<'b> {
    pub(super) b: &'b Builder,
    pub(super) cfg: &'b ModelConfig,
    pub(super) span: Span,
    pub(super) kind: LayerKind,
    /// Adapters of the projections.
    pub(super) lora: Option<&'b Lora>,
    /// Whether dropout applies to their inputs.
    pub(super) drops: bool,
    /// The inputs to which it applies so far.
    pub(super) dropped: Vec<Dropped<'b>>,
    pub(super) dtype: DType,
    /// What is added to scores so that no document sees another, `[1, S, 1, S]`, if windows hold several.
    pub(super) documents: Option<Var<'b>>,
    pub(super) weights: BTreeMap<ValueId, ParamKind>,
    pub(super) norms: Vec<NormSite>,
    /// Each bias with the value that it is added to.
    pub(super) biases: Vec<(ParamKind, ValueId)>,
}

impl<'b> Statement<'b> {
    pub(super) fn new(
        b: &'b Builder,
        cfg: &'b ModelConfig,
        (kind, span): (LayerKind, Span),
        dtype: DType,
    ) -> Statement<'b> {
        let (weights, norms, biases) = (BTreeMap::new(), Vec::new(), Vec::new());
        let (lora, drops, dropped, documents) = (None, false, Vec::new(), None);
        Statement { b, cfg, span, kind, lora, drops, dropped, dtype, documents, weights, norms, biases }
    }

    pub(super) fn input<const N: usize>(&self, name: &str, shape: [usize; N]) -> Var<'b> {
        self.b.input(name, TensorType::new(self.dtype, shape))
    }

    pub(super) fn weight<const N: usize>(
        &mut self,
        name: &str,
        kind: ParamKind,
        shape: [usize; N],
    ) -> Var<'b> {
        let w = self.input(name, shape);
        self.weights.insert(w.id(), kind);
        w
    }

    pub(super) fn table<const N: usize>(
        &self,
        name: &str,
        shape: [usize; N],
        f: impl Fn(usize) -> f64,
    ) -> Var<'b> {
        let ty = TensorType::new(self.dtype, shape);
        let n = ty.elements();
        self.b.constant(name, Tensor::floats(ty, (0..n).map(f)))
    }

    /// The product of `x` `[1, I, 1, S]` with the matrix `w` of the projection `linear`, and what its adapter adds. The
    /// narrow product is scaled: its values stay in the range of fp16, and no wide value is rounded once more.
    pub(super) fn project(&mut self, linear: Linear, x: Var<'b>, w: Var<'b>) -> Var<'b> {
        let z = x.conv1x1(w, 1);
        let Some(lora) = self.lora.filter(|lora| lora.targets.contains(&linear)) else { return z };
        let ([outputs, inputs], name) = (linear.size(self.cfg), linear.short());
        let (a, b) = (format!("a_{name}"), format!("b_{name}"));
        let a = self.weight(&a, ParamKind::LoraA(linear), [lora.rank, inputs, 1, 1]);
        let b = self.weight(&b, ParamKind::LoraB(linear), [outputs, lora.rank, 1, 1]);
        let narrow = (self.seen(x).conv1x1(a, 1) * lora.scale()).named(&format!("r_{name}")); //  [1, R, 1, S]
        z + narrow.conv1x1(b, 1)
    }

    /// What adapters see of `x` `[1, I, 1, S]`: all of it, or its product with factors of dropout.
    fn seen(&mut self, x: Var<'b>) -> Var<'b> {
        if !self.drops {
            return x;
        }
        if let Some(known) = self.dropped.iter().find(|known| known.whole == x.id()) {
            return known.part;
        }
        let at = self.dropped.len();
        let (channels, width) = (x.shape()[1], x.shape()[3]);
        let factors = self.input(&format!("dropout{at}"), [1, channels, 1, width]);
        let part = (x * factors).named(&format!("dropped{at}")); //            [1, I, 1, S]
        self.dropped.push(Dropped { whole: x.id(), factors, part });
        part
    }

    /// `z` `[1, C, 1, S]` plus the bias `kind`, if the model `has` it.
    pub(super) fn biased(&mut self, z: Var<'b>, has: bool, name: &str, kind: ParamKind) -> Var<'b> {
        if !has {
            return z;
        }
        let bias = self.weight(name, kind, [1, z.shape()[1], 1, 1]);
        let sum = z + bias;
        self.biases.push((kind, sum.id()));
        sum
    }
}
