//! The loss scale: a factor on the loss that keeps small gradients in the range of fp16.

/// How the loss scale is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LossScale {
    /// It follows what the gradients do: [`LossScaler`].
    Auto,
    /// It stays.
    Fixed(f32),
}

impl LossScale {
    /// The scale of the first step.
    pub fn first(self) -> f32 {
        match self {
            LossScale::Auto => LossScaler::FIRST,
            LossScale::Fixed(scale) => scale,
        }
    }
}

/// What became of a step's gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GradientRange {
    /// They are finite.
    Finite,
    /// Some are not finite although the loss is: the step is skipped.
    Overflow,
    /// Those that kernels compute are all 0.
    Underflow,
}

/// A loss scale that follows the gradients, as `torch.amp.GradScaler` does: it is halved by a step that overflows, and doubled
/// after [`LossScaler::INTERVAL`] good steps in a row. Unlike there it is also doubled by a step whose gradients are all 0, begins
/// at 256 and not at 65536, which costs no skipped steps, and has bounds.
///
/// Source: Micikevicius et al. 2018, arXiv:1710.03740, section 3.2; the rule is that of PyTorch's `_amp_update_scale_`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScaler {
    /// The scale of the next step.
    pub scale: f32,
    /// Good steps since it last changed.
    pub good_steps: u32,
}

impl LossScaler {
    /// The scale of the first step.
    pub const FIRST: f32 = 256.0;
    /// Good steps in a row after which it is doubled.
    pub const INTERVAL: u32 = 200;
    /// The largest scale.
    pub const MOST: f32 = 65536.0;
    /// The smallest scale.
    const LEAST: f32 = 1.0 / 65536.0;

    /// The state after a step; `interval` is [`LossScaler::INTERVAL`] in runs.
    #[must_use]
    pub fn after(self, gradients: GradientRange, interval: u32) -> LossScaler {
        let LossScaler { scale, good_steps } = self;
        let doubled = (2.0 * scale).min(Self::MOST);
        let (scale, good_steps) = match gradients {
            GradientRange::Overflow => ((scale / 2.0).max(Self::LEAST), 0),
            GradientRange::Underflow => (doubled, 0),
            GradientRange::Finite if good_steps + 1 >= interval => (doubled, 0),
            GradientRange::Finite => (scale, good_steps + 1),
        };
        LossScaler { scale, good_steps }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::TensorFile;
    use std::path::Path;

    /// The scales that `torch.amp.GradScaler` went through, recorded by `tests/fixtures/recipes.py`.
    #[test]
    fn the_scale_goes_as_pytorchs() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/recipes.safetensors");
        let file = TensorFile::open(&path).expect("recorded");
        const STEPS: usize = 40;
        let read = |name: &str| {
            let mut values = vec![0.0; STEPS];
            file.read(name, &[STEPS], &mut values).expect("recorded");
            values
        };
        let mut scaler = LossScaler { scale: 256.0, good_steps: 0 };
        for (overflow, want) in read("scale.overflow").into_iter().zip(read("scale.after")) {
            let gradients = if overflow > 0.0 { GradientRange::Overflow } else { GradientRange::Finite };
            scaler = scaler.after(gradients, 4);
            assert_eq!(scaler.scale, want);
        }
    }

    #[test]
    fn it_has_bounds_and_grows_at_once_where_everything_is_0() {
        let mut scaler = LossScaler { scale: LossScaler::FIRST, good_steps: 7 };
        scaler = scaler.after(GradientRange::Underflow, 200);
        assert_eq!(scaler, LossScaler { scale: 512.0, good_steps: 0 });
        for _ in 0..10 {
            scaler = scaler.after(GradientRange::Underflow, 200);
        }
        assert_eq!(scaler.scale, LossScaler::MOST);
        for _ in 0..40 {
            scaler = scaler.after(GradientRange::Overflow, 200);
        }
        assert_eq!(scaler.scale, LossScaler::LEAST);
    }
}
