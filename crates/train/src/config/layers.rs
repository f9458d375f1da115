//! The kinds of a model's layers.

use super::layer_kind::LayerKind;
use super::model::ModelConfig;

impl ModelConfig {
    /// The kind of layer number `layer`; a window that no position reaches beyond is none.
    pub fn layer_kind(&self, layer: usize) -> LayerKind {
        let kind = self.variant.layers.get(layer).copied().unwrap_or(LayerKind::PLAIN);
        LayerKind { window: kind.window.filter(|&window| window < self.seq), ..kind }
    }

    /// The different kinds of layers, in order of first use, and the place of each layer's kind among them.
    pub fn layer_kinds(&self) -> (Vec<LayerKind>, Vec<usize>) {
        let mut kinds: Vec<LayerKind> = Vec::new();
        let mut place = |layer: usize| {
            let kind = self.layer_kind(layer);
            kinds.iter().position(|k| *k == kind).unwrap_or_else(|| {
                kinds.push(kind);
                kinds.len() - 1
            })
        };
        let places = (0..self.layers).map(&mut place).collect();
        (kinds, places)
    }

    /// The kinds of all layers as a text that is equal for equal kinds.
    pub(super) fn described_layers(&self) -> String {
        let mut runs: Vec<(usize, LayerKind)> = Vec::new();
        for &kind in &self.variant.layers {
            match runs.last_mut() {
                Some((count, last)) if *last == kind => *count += 1,
                _ => runs.push((1, kind)),
            }
        }
        let runs: Vec<String> =
            runs.into_iter().map(|(count, kind)| format!("{count} × {}", kind.described())).collect();
        if runs.is_empty() { "plain".to_owned() } else { runs.join(", ") }
    }
}
