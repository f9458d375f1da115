//! A model in memory: its programs, its weights, and the kinds of its layers.

use super::cache::SMALLEST;
use super::kernels::DecodeKernels;
use super::weights::{DecodeWeights, ModelWeights};
use crate::config::{LayerRope, ModelConfig, RopeKind};
use crate::model::{DecodePart, Precision, RopeRows};
use crate::step::StepError;
use ane::{Device, Pool};

/// A model in memory.
#[derive(Debug)]
pub(super) struct Loaded {
    /// The configuration; `seq` is the number of positions that conversations may have.
    pub(super) cfg: ModelConfig,
    pub(super) kernels: DecodeKernels,
    pub(super) weights: DecodeWeights,
    pub(super) kinds: Kinds,
}

/// The kinds of layers, by what differs between them in a pass.
#[derive(Debug)]
pub(super) struct Kinds {
    /// The tables of RoPE, and those of each layer.
    pub(super) ropes: (Vec<RopeRows>, Vec<usize>),
    /// The windows, and that of each layer.
    pub(super) windows: (Vec<Option<usize>>, Vec<usize>),
}

impl Loaded {
    /// As [`super::Session::new`].
    pub(super) fn new(
        cfg: &ModelConfig,
        weights: ModelWeights<'_>,
        device: Box<dyn Device>,
        arithmetic: (Precision, bool),
    ) -> Result<Loaded, StepError> {
        let kernels = DecodeKernels::new(cfg, device, arithmetic);
        let weights = DecodeWeights::new(cfg, weights, &kernels)?;
        Ok(Loaded { kinds: Kinds::of(cfg), cfg: cfg.clone(), kernels, weights })
    }

    /// Compiles the programs for single tokens.
    pub(super) fn prepare(&mut self, pool: &Pool) -> Result<(), StepError> {
        pool.install(|| {
            let one = self.kernels.bucket(1);
            self.kernels.prepare(DecodePart::Attend, [one, SMALLEST])?;
            let others = [DecodePart::Project, DecodePart::Output, DecodePart::FeedForward];
            others.into_iter().try_for_each(|part| self.kernels.prepare(part, [one, 1]))
        })
    }

    /// The window of each layer.
    pub(super) fn windows(&self) -> Vec<Option<usize>> {
        let (windows, of) = &self.kinds.windows;
        of.iter().map(|&w| windows[w]).collect()
    }
}

impl Kinds {
    fn of(cfg: &ModelConfig) -> Kinds {
        let (mut ropes, mut windows): (Vec<LayerRope>, Vec<Option<usize>>) = Default::default();
        let (mut rope_of, mut window_of) = (Vec::new(), Vec::new());
        for layer in 0..cfg.layers {
            let kind = cfg.layer_kind(layer);
            rope_of.push(place(&mut ropes, kind.rope));
            window_of.push(place(&mut windows, kind.window));
        }
        let rows = |&rope: &LayerRope| match cfg.rope.kind {
            RopeKind::None => RopeRows::new(cfg, LayerRope::None, cfg.seq),
            _ => RopeRows::new(cfg, rope, cfg.seq),
        };
        Kinds { ropes: (ropes.iter().map(rows).collect(), rope_of), windows: (windows, window_of) }
    }
}

/// The place of `item` in `list`, which gets it if it is new.
fn place<T: PartialEq>(list: &mut Vec<T>, item: T) -> usize {
    list.iter().position(|other| *other == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    })
}
