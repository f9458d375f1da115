//! The forward program of one transformer layer; everything else about the layer is derived from it.

use super::ModelError;
use super::precision::Precision;
use super::statement::{NormSite, Span, Statement};
use crate::config::{LayerKind, Lora, ModelConfig, ParamKind};
use mil::grad::{Joint, backward};
use mil::{Builder, Opset, ValueId};
use std::collections::BTreeMap;

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
    /// What is added to scores so that no document of a window sees another, `[1, S, 1, S]`: row `from`, column `to`. `None` if
    /// windows hold one document.
    pub documents: Option<ValueId>,
    /// The factors of dropout, `[1, I, 1, S]`, of each value that adapters project; empty if they see all of it.
    pub dropout: Vec<ValueId>,
    /// The parameters of the layer.
    pub weights: BTreeMap<ValueId, ParamKind>,
    /// The gradients of matrices, which the host computes.
    pub weight_grads: Vec<WeightGrad>,
    /// The gradients of biases, which the host computes.
    pub bias_grads: Vec<BiasGrad>,
    /// Norms; the host computes their backward pass.
    pub norms: Vec<NormSite>,
    /// The width of all surfaces, S.
    pub width: usize,
}

/// What a layer has besides the forward pass of one text.
#[derive(Clone, Copy, Debug, Default)]
pub struct Additions<'a> {
    /// Adapters.
    pub lora: Option<&'a Lora>,
    /// Whether windows hold several documents: these are an input, [`Layer::documents`].
    pub documents: bool,
    /// Whether adapters see a part of what they project: the factors are inputs, [`Layer::dropout`].
    pub dropout: bool,
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

/// The gradient of a bias, `db [O] += Σ_s dz [O, S]`.
#[derive(Clone, Copy, Debug)]
pub struct BiasGrad {
    /// The bias.
    pub kind: ParamKind,
    /// The cotangent of the sum with the bias.
    pub dz: ValueId,
}

impl Layer {
    /// Builds the first layer of `cfg` and derives its gradient.
    ///
    /// # Errors
    /// If the configuration makes no valid program; does not happen with validated ones.
    pub fn new(cfg: &ModelConfig, precision: Precision) -> Result<Layer, ModelError> {
        Layer::of_kind(cfg, cfg.layer_kind(0), precision)
    }

    /// Builds a layer of this `kind` of `cfg` and derives its gradient. Layers of different kinds differ in their constants
    /// alone: they have the same operations and values.
    ///
    /// # Errors
    /// As [`Layer::new`].
    pub fn of_kind(cfg: &ModelConfig, kind: LayerKind, precision: Precision) -> Result<Layer, ModelError> {
        Layer::with(cfg, kind, precision, Additions::default())
    }

    /// As [`Layer::of_kind`], with `additions`.
    ///
    /// # Errors
    /// As [`Layer::new`].
    pub fn with(
        cfg: &ModelConfig,
        kind: LayerKind,
        precision: Precision,
        additions: Additions<'_>,
    ) -> Result<Layer, ModelError> {
        let builder = Builder::new("layer", Opset::Ios18);
        let (d, s) = (cfg.dim, cfg.seq);
        let mut l = Statement::new(&builder, cfg, (kind, Span::Whole(s)), precision.dtype());
        (l.lora, l.drops) = (additions.lora, additions.dropout);
        let x = l.input("x", [1, d, 1, s]); //                                 [1, D, 1, S]
        l.documents = additions.documents.then(|| l.input("documents", [1, s, 1, s])); // [1, S, 1, S]
        let documents = l.documents.map(|documents| documents.id());
        let o = l.attention(x);
        builder.enter("residual1");
        let x2 = (x + o).named("x2");
        let ffn = l.feed_forward(x2);
        builder.enter("residual2");
        let y = (x2 + ffn).named("y");
        let dropout = l.dropped.iter().map(|dropped| dropped.factors.id()).collect();
        let (weights, mut norms, biases) = (l.weights, l.norms, l.biases);
        for (input, after) in [(x, x2), (x2, y)] {
            norms.iter_mut().filter(|n| n.input == input.id()).for_each(|n| n.past = Some(after.id()));
        }

        let forward = builder.finish([("y", y)])?;
        let function = forward.entry();
        let joint = backward(function, &[y.id()], &[x.id()])?;
        let dy = joint.cotangents.get(&y.id()).copied().ok_or_else(|| missing("d_y"))?;
        let cotangent =
            |v: ValueId| joint.cotangents.get(&v).copied().ok_or_else(|| missing(&function.value(v).name));
        let mut weight_grads = Vec::new();
        for op in &function.ops {
            let Some(kind) = op.arg_value("weight").and_then(|w| weights.get(&w)) else { continue };
            let name = || missing(&format!("an operand of the product with {kind:?}"));
            let z = *op.results.first().ok_or_else(name)?;
            let a = op.arg_value("x").ok_or_else(name)?;
            weight_grads.push(WeightGrad { kind: *kind, dz: cotangent(z)?, a });
        }
        let bias_grads = biases.iter().map(|&(kind, sum)| Ok(BiasGrad { kind, dz: cotangent(sum)? }));
        let bias_grads = bias_grads.collect::<Result<_, ModelError>>()?;
        Ok(Layer {
            x: x.id(),
            o: o.id(),
            x2: x2.id(),
            ffn: ffn.id(),
            y: y.id(),
            dy,
            documents,
            dropout,
            weights,
            weight_grads,
            bias_grads,
            norms,
            width: s,
            joint,
        })
    }

    /// Leaves out the gradients of weights for which `is_trained` does not hold.
    pub fn keep_gradients(&mut self, is_trained: impl Fn(ParamKind) -> bool) {
        self.weight_grads.retain(|outer| is_trained(outer.kind));
        self.bias_grads.retain(|bias| is_trained(bias.kind));
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
