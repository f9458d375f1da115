//! Scaling of rotary position embeddings: the frequency of each pair of channels.

use serde::Serialize;

/// How the frequencies of RoPE differ from `θ^(−2i/E)`, with Hugging Face's names of types and keys.
///
/// Source: transformers 5.24, `modeling_rope_utils.py`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(tag = "rope_type", rename_all = "lowercase")]
pub enum RopeScaling {
    /// They do not.
    #[default]
    Default,
    /// All are divided by `factor`.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// In windows longer than the trained one, θ grows with their length.
    Dynamic {
        /// The strength of the growth.
        factor: f64,
        /// The length of the windows that it was trained with.
        #[serde(skip)]
        trained: usize,
    },
    /// Low frequencies are divided by `factor`, high ones stay, those between are interpolated.
    Llama3 {
        /// The divisor.
        factor: f64,
        /// Wavelengths above the original window divided by this are low frequencies.
        low_freq_factor: f64,
        /// Wavelengths below the original window divided by this are high frequencies.
        high_freq_factor: f64,
        /// The length of the original windows.
        original_max_position_embeddings: usize,
    },
    /// As `Llama3`, along a ramp of pairs.
    Yarn {
        /// The divisor.
        factor: f64,
        /// The length of the original windows.
        original_max_position_embeddings: usize,
        /// The factor on cosines and sines.
        attention_factor: f64,
        /// Rotations within an original window at the start of the ramp.
        beta_fast: f64,
        /// Rotations within an original window at the end of the ramp.
        beta_slow: f64,
        /// Whether the ramp starts and ends at whole pairs.
        truncate: bool,
    },
    /// Each has a divisor of its own.
    LongRope {
        /// The divisors in windows of at most the original length.
        short_factor: Vec<f64>,
        /// The divisors in longer windows.
        long_factor: Vec<f64>,
        /// The length of the original windows.
        original_max_position_embeddings: usize,
        /// The factor on cosines and sines.
        attention_factor: f64,
    },
}

/// The frequencies of RoPE for windows of a certain length.
#[derive(Clone, Debug, PartialEq)]
pub struct Frequencies {
    /// The angle of each pair of channels per position, `[E/2]`.
    pub per_position: Vec<f64>,
    /// The factor on cosines and sines.
    pub amplitude: f64,
}

impl RopeScaling {
    /// Hugging Face's name of the type.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Linear { .. } => "linear",
            Self::Dynamic { .. } => "dynamic",
            Self::Llama3 { .. } => "llama3",
            Self::Yarn { .. } => "yarn",
            Self::LongRope { .. } => "longrope",
        }
    }

    /// Its settings under Hugging Face's keys, for messages and comparisons.
    pub(super) fn described(&self) -> String {
        let settings = serde_json::json!(self).to_string();
        match self {
            Self::Dynamic { trained, .. } => format!("{settings} from {trained} positions"),
            _ => settings,
        }
    }

    /// The frequencies of heads of `head_dim` channels with base `theta` in windows of `seq` tokens: those that transformers has
    /// for an input of `seq` tokens.
    pub fn frequencies(&self, theta: f64, head_dim: usize, seq: usize) -> Frequencies {
        let pairs = head_dim / 2;
        let plain = |theta: f64| move |i: usize| theta.powf(-2.0 * i as f64 / head_dim as f64);
        let all = |f: &dyn Fn(usize) -> f64| (0..pairs).map(f).collect::<Vec<f64>>();
        let divided = |by: &[f64]| all(&|i| plain(theta)(i) / by.get(i).copied().unwrap_or(1.0));
        let (per_position, amplitude) = match self {
            Self::Default => (all(&plain(theta)), 1.0),
            Self::Linear { factor } => (all(&|i| plain(theta)(i) / factor), 1.0),
            Self::Dynamic { factor, trained } => {
                let growth = factor * seq.max(*trained) as f64 / *trained as f64 - (factor - 1.0);
                let e = head_dim as f64;
                (all(&plain(theta * growth.powf(e / (e - 2.0)))), 1.0)
            }
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                let original = *original_max_position_embeddings as f64;
                let scaled = |i: usize| {
                    let f = plain(theta)(i);
                    let rotations = original * f / std::f64::consts::TAU;
                    let keep = (rotations - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    let keep = keep.clamp(0.0, 1.0);
                    (1.0 - keep) * f / factor + keep * f
                };
                (all(&scaled), 1.0)
            }
            Self::Yarn { factor, attention_factor, .. } => {
                let ramp = self.ramp(theta, head_dim);
                let scaled = |i: usize| plain(theta)(i) * (ramp(i) / factor + 1.0 - ramp(i));
                (all(&scaled), *attention_factor)
            }
            Self::LongRope {
                short_factor,
                long_factor,
                original_max_position_embeddings,
                attention_factor,
            } => {
                let is_long = seq > *original_max_position_embeddings;
                (divided(if is_long { long_factor } else { short_factor }), *attention_factor)
            }
        };
        Frequencies { per_position, amplitude }
    }

    /// How far each pair is from its own frequency, 0, to the divided one, 1; for [`RopeScaling::Yarn`].
    fn ramp(&self, theta: f64, head_dim: usize) -> impl Fn(usize) -> f64 {
        let (low, high) = match self {
            Self::Yarn { original_max_position_embeddings, beta_fast, beta_slow, truncate, .. } => {
                let original = *original_max_position_embeddings as f64;
                let pair = |rotations: f64| {
                    head_dim as f64 * (original / (rotations * std::f64::consts::TAU)).ln()
                        / (2.0 * theta.ln())
                };
                let (low, high) = (pair(*beta_fast), pair(*beta_slow));
                let (low, high) = if *truncate { (low.floor(), high.ceil()) } else { (low, high) };
                (low.max(0.0), high.min(head_dim as f64 - 1.0))
            }
            _ => (0.0, 0.0),
        };
        // As transformers: a ramp of no length is a step.
        let high = if low == high { high + 0.001 } else { high };
        move |i| ((i as f64 - low) / (high - low)).clamp(0.0, 1.0)
    }
}
