//! Our own configuration files: short keys, in TOML or JSON.
//!
//! ```toml
//! preset = "shakespeare"   # optional: where keys that are not given come from
//! dim = 384
//! heads = 6
//! ```
//! Without `preset`, `dim`, `hidden`, `layers`, `heads`, `vocab` and `seq` must be given; the others have
//! the values of a plain llama: `kv_heads = heads`, `head_dim = dim / heads`, `rms_eps = 1e-5`,
//! `rope = "rotate-half"`, `rope_theta = 10000`, `qk_norm = false`, `tied = true`, `task = "language"`.

use serde::Deserialize;

use super::problem::{Problem, Spelling};
use super::{ModelConfig, PRESETS, Rope, RopeKind, Task, Variant, validate};

/// The keys of a file: each may be absent, none may be unknown.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShortKeys {
    preset: Option<String>,
    dim: Option<usize>,
    hidden: Option<usize>,
    layers: Option<usize>,
    heads: Option<usize>,
    kv_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab: Option<usize>,
    seq: Option<usize>,
    rms_eps: Option<f64>,
    rope: Option<RopeKind>,
    rope_theta: Option<f64>,
    qk_norm: Option<bool>,
    tied: Option<bool>,
    task: Option<Task>,
}

pub(super) fn from_toml(text: &str) -> Result<ModelConfig, Problem> {
    toml::from_str::<ShortKeys>(text).map_err(|error| toml_problem(text, &error))?.complete()
}

pub(super) fn from_json(text: &str) -> Result<ModelConfig, Problem> {
    serde_json::from_str::<ShortKeys>(text).map_err(Problem::json)?.complete()
}

/// A TOML error with its byte offset converted to line and column.
fn toml_problem(text: &str, error: &toml::de::Error) -> Problem {
    let start = error.span().map_or(0, |span| span.start).min(text.len());
    let before = &text.as_bytes()[..start];
    let line = 1 + before.iter().filter(|&&b| b == b'\n').count();
    let column = 1 + before.iter().rev().take_while(|&&b| b != b'\n').count();
    Problem::Syntax { line, column, problem: error.message().to_owned() }
}

impl ShortKeys {
    fn complete(self) -> Result<ModelConfig, Problem> {
        let base = match &self.preset {
            None => None,
            Some(name) => Some(ModelConfig::preset(name).ok_or_else(|| {
                let problem = format!("`preset` = \"{name}\" is not a preset");
                Problem::value("preset", problem, format!("Use one of {}.", PRESETS.join(", ")))
            })?),
        };
        let needed = |key: &'static str, value: Option<usize>, of: fn(&ModelConfig) -> usize| {
            value.or(base.as_ref().map(of)).ok_or_else(|| Problem::missing(key))
        };
        let dim = needed("dim", self.dim, |b| b.dim)?;
        let heads = needed("heads", self.heads, |b| b.heads)?;
        // With another number of heads, the preset's key/value heads and head width lose their meaning.
        let same_heads = base.as_ref().filter(|b| b.heads == heads);
        let same_width = same_heads.filter(|b| b.dim == dim);
        let config = ModelConfig {
            dim,
            hidden: needed("hidden", self.hidden, |b| b.hidden)?,
            layers: needed("layers", self.layers, |b| b.layers)?,
            heads,
            kv_heads: self.kv_heads.or(same_heads.map(|b| b.kv_heads)).unwrap_or(heads),
            head_dim: match self.head_dim.or(same_width.map(|b| b.head_dim)) {
                Some(head_dim) => head_dim,
                None => default_head_dim(dim, heads, Spelling::Short)?,
            },
            vocab: needed("vocab", self.vocab, |b| b.vocab)?,
            seq: needed("seq", self.seq, |b| b.seq)?,
            rms_eps: self.rms_eps.or(base.as_ref().map(|b| b.rms_eps)).unwrap_or(1e-5),
            rope: Rope {
                kind: self.rope.or(base.as_ref().map(|b| b.rope.kind)).unwrap_or(RopeKind::RotateHalf),
                theta: self.rope_theta.or(base.as_ref().map(|b| b.rope.theta)).unwrap_or(10_000.0),
            },
            qk_norm: self.qk_norm.or(base.as_ref().map(|b| b.qk_norm)).unwrap_or(false),
            tied: self.tied.or(base.as_ref().map(|b| b.tied)).unwrap_or(true),
            task: self.task.or(base.as_ref().map(|b| b.task)).unwrap_or(Task::Language),
            variant: Variant::default(),
        };
        validate::check(&config, Spelling::Short)?;
        Ok(config)
    }
}

/// `dim / heads`, if that is a whole number.
pub(super) fn default_head_dim(dim: usize, heads: usize, spelling: Spelling) -> Result<usize, Problem> {
    // Zero heads are refused later, with their own sentence.
    if heads == 0 {
        return Ok(1);
    }
    if dim.is_multiple_of(heads) {
        return Ok(dim / heads);
    }
    let (d, h) = (spelling.of("dim"), spelling.of("heads"));
    let problem = format!("`{d}` = {dim} is not a multiple of `{h}` = {heads}, and `head_dim` is not given");
    Err(Problem::value(h, problem, format!("Make `{d}` a multiple of `{h}`, or give `head_dim`.")))
}
