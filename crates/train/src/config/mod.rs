//! The configuration of a model: its sizes and variants, and the layout of the flat parameter slice.
//!
//! A [`ModelConfig`] comes from a preset ([`ModelConfig::preset`]), from a file with Hugging Face's keys or our own short
//! ones ([`ModelConfig::read`]), or from any model by its name ([`ModelConfig::find`], in `formats`).

mod hugging_face;
mod init;
mod layer_kind;
mod layers;
mod linear;
mod lora;
mod model;
mod params;
mod presets;
mod problem;
mod read;
mod rope;
mod short;
mod validate;
mod variant;

pub(crate) use hugging_face::unknown_keys;
pub(crate) use init::symmetric;
pub use init::{init_params, zero_outputs};
pub use layer_kind::{LayerKind, LayerRope};
pub use linear::Linear;
pub use lora::{Lora, Trainable};
pub use model::{ModelConfig, Rope, RopeKind, Task};
pub use params::{Init, ParamKind, ParamSpec};
pub use presets::PRESETS;
pub(crate) use presets::llama;
pub use rope::{Frequencies, RopeScaling};
pub use variant::{Activation, Bias, Family, Variant};

#[cfg(test)]
mod tests;
