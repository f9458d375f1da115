//! The gradient of the cross-entropy with respect to the logits, in blocks of the vocabulary.

use super::simd;
use softane::math::exp;

/// The gradient of the loss with respect to the logits.
///
/// ```text
/// dlogits = (softmax − onehot)·hit
/// ```
/// `hit` is that of the position.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogitsGradient<'a> {
    /// The target of each position.
    pub targets: &'a [u32],
    /// The largest logit of each position.
    pub largest: &'a [f32],
    /// `hit` over the sum of the exponentials of each position.
    pub factor: &'a [f32],
    /// The loss scale by the weight of a position.
    pub hit: Hit<'a>,
}

/// The gradient of the scaled loss with respect to the loss of each position.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hit<'a> {
    /// The same for all: the scale over their number.
    Mean(f32),
    /// The scale, and a weight for each.
    Weighted(f32, &'a [f32]),
}

impl Hit<'_> {
    pub(super) fn new(scale: f32, positions: usize, weights: Option<&[f32]>) -> Hit<'_> {
        weights.map_or(Hit::Mean(scale / positions as f32), |weights| Hit::Weighted(scale, weights))
    }

    /// That of position `t`.
    #[inline(always)]
    pub(super) fn of(self, t: usize) -> f32 {
        match self {
            Hit::Mean(hit) => hit,
            Hit::Weighted(scale, weights) => scale * weights[t],
        }
    }

    /// The largest of all.
    pub(super) fn most(self) -> f32 {
        match self {
            Hit::Mean(hit) => hit,
            Hit::Weighted(scale, weights) => scale * weights.iter().copied().fold(0.0, f32::max),
        }
    }
}

impl LogitsGradient<'_> {
    /// Computes the gradient of a block of logits whose first row is that of token `first`, from the `exponentials` and
    /// `stats` of [`block_exponentials`]. The sums in `stats` are replaced by the factors of the exponentials.
    pub(super) fn block(&self, exponentials: &[f32], gradient: &mut [f32], stats: &mut [f32], first: usize) {
        let LogitsGradient { targets, largest, factor, hit } = *self;
        let s = targets.len();
        let (own_largest, own_factor) = stats.split_at_mut(s);
        simd(
            #[inline(always)]
            || {
                let columns = own_largest.iter().zip(largest).zip(factor);
                let factors = own_factor.iter_mut().zip(columns);
                factors.for_each(|(own, ((x, m), factor))| *own = exp(x - m) * factor);
                for (row, to) in exponentials.chunks_exact(s).zip(gradient.chunks_exact_mut(s)) {
                    let row = row.iter().zip(&*own_factor);
                    to.iter_mut().zip(row).for_each(|(to, (x, factor))| *to = x * factor);
                }
            },
        );
        let owned = first..first + exponentials.len() / s;
        for (t, &target) in targets.iter().enumerate() {
            if owned.contains(&(target as usize)) {
                gradient[(target as usize - first) * s + t] -= hit.of(t);
            }
        }
    }
}
