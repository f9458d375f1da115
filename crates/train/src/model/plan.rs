//! The assignment of a layer's operations, and those of its gradient, to kernels.

use crate::config::{ModelConfig, RopeKind};
use mil::Scope;
use mil::ir::Phase;
use mil::pass::Selection;

/// A plan: kernels in order of dispatch. The host computes the rest: residual additions, the backward pass of norms, and
/// norms of the forward pass that are in no kernel.
#[derive(Clone, Debug)]
pub struct KernelPlan {
    /// The kernels of the forward pass.
    pub forward: Vec<Selection>,
    /// The kernels of the backward pass.
    pub backward: Vec<Selection>,
}

/// A kernel in a table: its name, its scopes of the forward pass, its scopes of the backward pass.
pub(super) type Row = (&'static str, &'static [&'static str], &'static [&'static str]);

/// Two dispatches a layer, norms inside: the forward pass of maderix/ANE.
pub(super) const TWO: &[Row] = &[
    (
        "fwdAttn",
        &["norm1", "qkv", "qk_norm", "rope", "scale", "scores", "softmax", "mix", "out", "post_norm1"],
        &[],
    ),
    ("fwdFFN", &["norm2", "up", "silu", "gate", "down", "post_norm2"], &[]),
];

/// [`TWO`] without norms.
pub(super) const TWO_WITHOUT_NORMS: &[Row] = &[
    ("fwdAttn", &["qkv", "rope", "scale", "scores", "softmax", "mix", "out"], &[]),
    ("fwdFFN", &["up", "silu", "gate", "down"], &[]),
];

/// [`TWO_WITHOUT_NORMS`] for a layer with norms of queries and keys: the host computes these between two kernels.
pub(super) const THREE_WITHOUT_NORMS: &[Row] = &[
    ("qkvFwd", &["qkv"], &[]),
    ("attnFwd", &["rope", "scale", "scores", "softmax", "mix", "out"], &[]),
    ("fwdFFN", &["up", "silu", "gate", "down"], &[]),
];

/// Four dispatches a layer: the backward pass of maderix/ANE. Probabilities and SiLU are recomputed.
pub(super) const FOUR: &[Row] = &[
    ("ffnBwd", &["silu"], &["down", "gate", "silu", "up"]),
    ("sdpaBwd1", &["scale", "scores", "softmax"], &["out", "mix"]),
    ("sdpaBwd2", &["scale"], &["softmax", "scores", "scale", "rope"]),
    ("qkvBwd", &[], &["qkv"]),
];

/// [`FOUR`] with the product with Woᵀ in a separate kernel.
const FIVE: &[Row] = &[
    FOUR[0],
    ("woBwd", &[], &["out"]),
    ("sdpaBwd1", &["scale", "scores", "softmax"], &["mix"]),
    FOUR[2],
    FOUR[3],
];

/// One product with a weight per kernel, or one step of attention with two products at most.
pub(super) const FINE_FORWARD: &[Row] = &[
    ("qFwd", &["qkv.q"], &[]),
    ("kFwd", &["qkv.k"], &[]),
    ("vFwd", &["qkv.v"], &[]),
    ("ropeFwd", &["rope"], &[]),
    ("scoresFwd", &["scale", "scores", "softmax"], &[]),
    ("mixFwd", &["mix"], &[]),
    ("woFwd", &["out"], &[]),
    ("w1Fwd", &["up.1"], &[]),
    ("w3Fwd", &["up.3"], &[]),
    ("w2Fwd", &["silu", "gate", "down"], &[]),
];

/// The backward pass for [`FINE_FORWARD`]; only SiLU is recomputed.
pub(super) const FINE_BACKWARD: &[Row] = &[
    ("w2Bwd", &["silu"], &["down", "gate", "silu"]),
    ("w3Bwd", &[], &["up.3"]),
    ("w1Bwd", &[], &["up.1"]),
    ("woBwd", &[], &["out"]),
    ("mixBwd", &[], &["mix"]),
    ("scoresBwd", &["scale"], &["softmax", "scores", "scale"]),
    ("ropeBwd", &[], &["rope"]),
    ("vBwd", &[], &["qkv.v"]),
    ("kBwd", &[], &["qkv.k"]),
    ("qBwd", &[], &["qkv.q"]),
];

/// Operations that a plan can leave to the host or to a separate kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fusion {
    /// RMSNorm of the residual stream, in the forward kernels; else the host computes it, in f32.
    pub norms: bool,
    /// The product with Woᵀ, in `sdpaBwd1`; else in a separate kernel, `woBwd`.
    pub wo: bool,
}

impl Fusion {
    /// All are fused.
    pub const ALL: Fusion = Fusion { norms: true, wo: true };
}

/// Where RMSNorm of the forward pass is computed; the host always computes the backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Norms {
    /// In the kernels if the engine compiles these; else by lower rungs of the [`LADDER`](super::LADDER).
    #[default]
    Auto,
    /// Inside the kernels whose products read the normed values.
    Engine,
    /// By the host, in f32, before those kernels.
    Host,
}

impl Norms {
    /// Every value.
    pub const ALL: [Norms; 3] = [Norms::Auto, Norms::Engine, Norms::Host];

    /// Its name in flags and checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            Norms::Auto => "auto",
            Norms::Engine => "engine",
            Norms::Host => "host",
        }
    }
}

/// The scopes of norms.
const NORMS: [&str; 5] = ["norm1", "norm2", "qk_norm", "post_norm1", "post_norm2"];

/// Whether a kernel of these `scopes` contains a norm that the host could compute.
pub(super) fn has_norm(scopes: &[Scope]) -> bool {
    scopes.iter().any(|s| s.phase == Phase::Forward && NORMS.contains(&s.name.as_ref()))
}

impl KernelPlan {
    /// The plan of maderix/ANE: six dispatches a layer.
    ///
    /// Q, K, V, the attention output, the normed inputs, h1, h3 and the gate are outputs; probabilities and SiLU are
    /// recomputed in the backward pass.
    pub fn six() -> KernelPlan {
        KernelPlan::fused(Fusion::ALL)
    }

    /// [`KernelPlan::six`] with only the operations of `fusion` in its kernels. Norms of queries and keys stay in them.
    pub fn fused(fusion: Fusion) -> KernelPlan {
        let mut plan = KernelPlan::of(TWO, if fusion.wo { FOUR } else { FIVE });
        if !fusion.norms {
            let halves = ["norm1", "norm2"];
            for kernel in &mut plan.forward {
                kernel.scopes.retain(|s| !halves.contains(&s.name.as_ref()));
            }
        }
        plan
    }

    /// The plan of two tables.
    pub(super) fn of(forward: &[Row], backward: &[Row]) -> KernelPlan {
        let kernel = |&(name, forward, backward): &Row| Selection {
            name: name.to_owned(),
            scopes: [scopes(forward, Phase::Forward), scopes(backward, Phase::Backward)].concat(),
        };
        KernelPlan {
            forward: forward.iter().map(kernel).collect(),
            backward: backward.iter().map(kernel).collect(),
        }
    }

    /// Removes scopes that the layers of `cfg` do not have, and kernels that are empty then.
    #[must_use]
    pub fn fit(mut self, cfg: &ModelConfig) -> KernelPlan {
        let no_post_norms = !cfg.variant.family.has_post_norms();
        let absent = [
            ("rope", cfg.rope.kind == RopeKind::None),
            ("qk_norm", !cfg.qk_norm),
            ("post_norm1", no_post_norms),
            ("post_norm2", no_post_norms),
        ];
        let has = |s: &Scope| !absent.iter().any(|&(name, absent)| absent && *s.name == *name);
        for kernels in [&mut self.forward, &mut self.backward] {
            kernels.iter_mut().for_each(|k| k.scopes.retain(has));
            kernels.retain(|k| !k.scopes.is_empty());
        }
        self
    }

    /// All kernels, in order of dispatch.
    pub fn kernels(&self) -> Vec<Selection> {
        [self.forward.as_slice(), self.backward.as_slice()].concat()
    }
}

fn scopes(names: &[&str], phase: Phase) -> Vec<Scope> {
    names.iter().map(|&name| Scope { name: name.into(), phase }).collect()
}
