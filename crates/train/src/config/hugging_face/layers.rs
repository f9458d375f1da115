//! Reading the kinds of layers: windows of attention, and layers without RoPE.
//!
//! Source: transformers 5.24, `models/{gemma2,gemma3,mistral,qwen2,qwen3,smollm3}/configuration_*.py`.

use crate::config::problem::Problem;
use crate::config::{LayerKind, LayerRope};

/// The keys about layers.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerKeys<'c> {
    pub(super) use_sliding_window: bool,
    pub(super) sliding_window: Option<usize>,
    pub(super) max_window_layers: Option<usize>,
    pub(super) sliding_window_pattern: Option<usize>,
    pub(super) layer_types: Option<&'c [String]>,
    pub(super) no_rope_layers: Option<&'c [usize]>,
    pub(super) no_rope_layer_interval: Option<usize>,
}

/// `max_window_layers` of Qwen where the file has none.
const MAX_WINDOW_LAYERS: usize = 28;

/// `no_rope_layer_interval` of SmolLM3 where the file has none.
const NO_ROPE_INTERVAL: usize = 4;

/// `sliding_window_pattern` of Gemma 3 where the file has none.
const WINDOW_PATTERN: usize = 6;

/// The kind with a RoPE of its own if it has a window.
fn with_local_rope(kind: LayerKind) -> LayerKind {
    let rope = if kind.window.is_some() { LayerRope::Local } else { kind.rope };
    LayerKind { rope, ..kind }
}

impl LayerKeys<'_> {
    /// The kinds of `layers` layers of a model of type `model_type`; empty if all are plain.
    ///
    /// # Errors
    /// A key that contradicts another, or has a value that is not supported.
    pub(super) fn kinds(&self, model_type: &str, layers: usize) -> Result<Vec<LayerKind>, Problem> {
        // A wrong number is refused later; the list must not take all memory.
        let layers = layers.min(1 << 20);
        let ropes = match model_type {
            "smollm3" => self.ropes(layers)?,
            _ => vec![LayerRope::Global; layers],
        };
        let window = match model_type {
            "mistral" | "gemma2" | "gemma3_text" => self.sliding_window,
            _ => self.sliding_window.filter(|_| self.use_sliding_window),
        };
        if window == Some(0) {
            let problem = "`sliding_window` is 0";
            return Err(Problem::value(
                "sliding_window",
                problem,
                "Set `sliding_window` to 1 or more, or null.",
            ));
        }
        let pattern = self.sliding_window_pattern.unwrap_or(WINDOW_PATTERN);
        if pattern == 0 {
            let problem = "`sliding_window_pattern` is 0";
            return Err(Problem::value(
                "sliding_window_pattern",
                problem,
                "Set it to 1 or more; 6 is usual.",
            ));
        }
        let most = self.max_window_layers.unwrap_or(MAX_WINDOW_LAYERS);
        let is_local = self.local(layers, window, |layer| match model_type {
            "smollm3" => ropes[layer] == LayerRope::None,
            "qwen2" | "qwen3" => layer >= most,
            "gemma2" => layer.is_multiple_of(2),
            "gemma3_text" => !(layer + 1).is_multiple_of(pattern),
            _ => true,
        })?;
        let kinds = ropes.into_iter().zip(is_local);
        let kinds: Vec<LayerKind> =
            kinds.map(|(rope, is_local)| LayerKind { window: window.filter(|_| is_local), rope }).collect();
        let kinds: Vec<LayerKind> = match model_type {
            "gemma3_text" => kinds.into_iter().map(with_local_rope).collect(),
            _ => kinds,
        };
        let all_plain = kinds.iter().all(|kind| *kind == LayerKind::PLAIN);
        Ok(if all_plain { Vec::new() } else { kinds })
    }

    /// Which layers see only `window` positions: those that `layer_types` names, or for which `usual` holds.
    fn local(
        &self,
        layers: usize,
        window: Option<usize>,
        usual: impl Fn(usize) -> bool,
    ) -> Result<Vec<bool>, Problem> {
        const KEY: &str = "layer_types";
        let usual: Vec<bool> = (0..layers).map(|layer| window.is_some() && usual(layer)).collect();
        let Some(types) = &self.layer_types else { return Ok(usual) };
        if types.len() != layers {
            let problem = format!("`{KEY}` has {} entries, and `num_hidden_layers` is {layers}", types.len());
            return Err(Problem::value(KEY, problem, format!("Give `{KEY}` an entry for each layer.")));
        }
        let of = |(layer, name): (usize, &String)| match name.as_str() {
            "full_attention" => Ok(false),
            "sliding_attention" if window.is_some() => Ok(true),
            "sliding_attention" => {
                let problem =
                    format!("`{KEY}` says that layer {layer} has a window, and there is no `sliding_window`");
                let remedy =
                    "Set `sliding_window` (and `use_sliding_window` to true, where the model has it).";
                Err(Problem::value(KEY, problem, remedy))
            }
            other => {
                let problem = format!("`{KEY}` has \"{other}\", which is not supported");
                let remedy = "Layers of types \"full_attention\" and \"sliding_attention\" can be computed.";
                Err(Problem::value(KEY, problem, remedy))
            }
        };
        types.iter().enumerate().map(of).collect()
    }

    /// The position embedding of each layer of SmolLM3.
    fn ropes(&self, layers: usize) -> Result<Vec<LayerRope>, Problem> {
        let rope = |has: bool| if has { LayerRope::Global } else { LayerRope::None };
        if let Some(list) = &self.no_rope_layers {
            const KEY: &str = "no_rope_layers";
            if list.len() != layers {
                let problem =
                    format!("`{KEY}` has {} entries, and `num_hidden_layers` is {layers}", list.len());
                let remedy = format!("Give `{KEY}` a 1 for each layer with RoPE and a 0 for each without.");
                return Err(Problem::value(KEY, problem, remedy));
            }
            return Ok(list.iter().map(|&has| rope(has != 0)).collect());
        }
        let interval = self.no_rope_layer_interval.unwrap_or(NO_ROPE_INTERVAL);
        if interval == 0 {
            let problem = "`no_rope_layer_interval` is 0";
            return Err(Problem::value(
                "no_rope_layer_interval",
                problem,
                "Set it to 1 or more; 4 is usual.",
            ));
        }
        Ok((0..layers).map(|layer| rope(!(layer + 1).is_multiple_of(interval))).collect())
    }
}
