//! The kind of a layer.

/// The attention of a layer, where layers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerKind {
    /// The number of positions that a position sees, itself included; `None`: all up to itself.
    pub window: Option<usize>,
    /// The position embedding.
    pub rope: LayerRope,
}

/// The position embedding of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerRope {
    /// The model's RoPE.
    Global,
    /// The RoPE of local layers.
    Local,
    /// None, in a model with RoPE in other layers.
    None,
}

impl LayerKind {
    /// A layer that sees the whole window, with the model's RoPE.
    pub const PLAIN: LayerKind = LayerKind { window: None, rope: LayerRope::Global };

    /// A short text, for messages.
    pub(super) fn described(self) -> String {
        let window = self.window.map_or("all".to_owned(), |window| window.to_string());
        match self.rope {
            LayerRope::Global => window,
            LayerRope::Local => format!("{window} with local RoPE"),
            LayerRope::None => format!("{window} without RoPE"),
        }
    }
}
