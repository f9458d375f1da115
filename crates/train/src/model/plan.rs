//! Which part of a layer and its gradient is computed by which kernel.

use mil::Scope;
use mil::ir::Phase;
use mil::pass::Selection;

/// A plan: kernels in order of dispatch. What no kernel computes is the host's: residual additions and the backward
/// pass of norms.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The kernels of the forward pass.
    pub forward: Vec<Selection>,
    /// The kernels of the backward pass.
    pub backward: Vec<Selection>,
}

impl Plan {
    /// The plan of maderix/ANE: six dispatches a layer.
    ///
    /// Q, K, V, the attention output, the normed inputs, h1, h3 and the gate are tapped; probabilities and SiLU are
    /// computed again in the backward pass.
    pub fn six() -> Plan {
        let attention = forward(&["norm1", "qkv", "qk_norm", "rope", "scores", "softmax", "mix", "out"]);
        Plan {
            forward: vec![
                kernel("fwdAttn", attention),
                kernel("fwdFFN", forward(&["norm2", "up", "silu", "gate", "down"])),
            ],
            backward: vec![
                kernel("ffnBwd", [forward(&["silu"]), backward(&["down", "gate", "silu", "up"])].concat()),
                kernel("sdpaBwd1", [forward(&["scores", "softmax"]), backward(&["out", "mix"])].concat()),
                kernel("sdpaBwd2", backward(&["softmax", "scores", "rope"])),
                kernel("qkvBwd", backward(&["qkv"])),
            ],
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
