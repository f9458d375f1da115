//! Which part of a layer and its gradient is computed by which kernel.

use mil::Scope;
use mil::ir::Phase;
use mil::pass::Selection;
use serde::{Deserialize, Serialize};

/// A plan: kernels in order of dispatch. What no kernel computes is the host's: residual additions and the backward
/// pass of norms.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The kernels of the forward pass.
    pub forward: Vec<Selection>,
    /// The kernels of the backward pass.
    pub backward: Vec<Selection>,
}

/// What kernels compute beside what is theirs in any plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fusion {
    /// RMSNorm, in the forward kernels; else the host computes it, in f32.
    pub norms: bool,
    /// The product with Woᵀ, in `sdpaBwd1`; else it is a kernel of its own, `woBwd`.
    pub wo: bool,
}

impl Fusion {
    /// All that can be.
    pub const ALL: Fusion = Fusion { norms: true, wo: true };
}

/// Where RMSNorm of the forward pass is computed. Norms of queries and keys are always the engine's; the backward pass
/// of norms is always the host's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Norms {
    /// Inside the kernels whose products read what comes of it.
    #[default]
    Engine,
    /// By the host, in f32, on the way to those kernels.
    Host,
}

/// The scopes of the norms that [`Norms`] is about, each before the kernel that reads what comes of it.
const NORMS: [&str; 2] = ["norm1", "norm2"];

/// Whether a kernel that computes `scopes` has a norm in it that the host could compute.
pub(super) fn has_norm(scopes: &[Scope]) -> bool {
    scopes.iter().any(|s| s.phase == Phase::Forward && NORMS.contains(&s.name.as_ref()))
}

impl Plan {
    /// The plan of maderix/ANE: six dispatches a layer.
    ///
    /// Q, K, V, the attention output, the normed inputs, h1, h3 and the gate are tapped; probabilities and SiLU are
    /// computed again in the backward pass.
    pub fn six() -> Plan {
        Plan::fused(Fusion::ALL)
    }

    /// The same with norms where they are wanted.
    pub fn with_norms(norms: Norms) -> Plan {
        Plan::fused(Fusion { norms: norms == Norms::Engine, ..Fusion::ALL })
    }

    /// The same with less in its kernels.
    pub fn fused(fusion: Fusion) -> Plan {
        let [norm1, norm2] = NORMS.map(|name| if fusion.norms { forward(&[name]) } else { Vec::new() });
        let attention = forward(&["qkv", "qk_norm", "rope", "scale", "scores", "softmax", "mix", "out"]);
        let (own, in_first) = match fusion.wo {
            true => (None, backward(&["out", "mix"])),
            false => (Some(kernel("woBwd", backward(&["out"]))), backward(&["mix"])),
        };
        let ffn = kernel("ffnBwd", [forward(&["silu"]), backward(&["down", "gate", "silu", "up"])].concat());
        let rest = [
            kernel("sdpaBwd1", [forward(&["scale", "scores", "softmax"]), in_first].concat()),
            kernel(
                "sdpaBwd2",
                [forward(&["scale"]), backward(&["softmax", "scores", "scale", "rope"])].concat(),
            ),
            kernel("qkvBwd", backward(&["qkv"])),
        ];
        Plan {
            forward: vec![
                kernel("fwdAttn", [norm1, attention].concat()),
                kernel("fwdFFN", [norm2, forward(&["up", "silu", "gate", "down"])].concat()),
            ],
            backward: std::iter::once(ffn).chain(own).chain(rest).collect(),
        }
    }

    /// All kernels, in order of dispatch.
    pub fn kernels(&self) -> Vec<Selection> {
        [self.forward.as_slice(), self.backward.as_slice()].concat()
    }
}

fn kernel(name: &str, scopes: Vec<Scope>) -> Selection {
    Selection { name: name.to_owned(), scopes }
}

fn forward(names: &[&str]) -> Vec<Scope> {
    scopes(names, Phase::Forward)
}

fn backward(names: &[&str]) -> Vec<Scope> {
    scopes(names, Phase::Backward)
}

fn scopes(names: &[&str], phase: Phase) -> Vec<Scope> {
    names.iter().map(|&name| Scope { name: name.into(), phase }).collect()
}
