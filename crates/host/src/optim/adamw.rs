//! Adam with decoupled weight decay.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use softane::pool::for_each;
use softane::prefetch;

use crate::{CHUNK, LANES, simd};

/// The constants of AdamW.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamW {
    /// β₁: decay of the first moment per step.
    pub beta1: f32,
    /// β₂: decay of the second moment per step.
    pub beta2: f32,
    /// ε: added to √v̂.
    pub eps: f32,
    /// λ: decoupled weight decay; a parameter loses the share lr·λ per step.
    pub weight_decay: f32,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 }
    }
}

/// Distance of the prefetch in elements: 1 KiB of each array.
const AHEAD: usize = 256;

/// The quantities that change from step to step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// t: the number of the step, counted from 1.
    pub t: u32,
    /// The learning rate, per step.
    pub lr: f32,
    /// A factor on the gradient: the clip factor over the loss scale.
    pub grad_scale: f32,
}

/// A tensor of parameters with its gradient and moments, `[N]` each.
#[derive(Debug)]
pub struct ParamSlices<'a> {
    /// θ: the parameters.
    pub theta: &'a mut [f32],
    /// g: their gradient, times the loss scale.
    pub grad: &'a [f32],
    /// m: the first moment.
    pub m: &'a mut [f32],
    /// v: the second moment.
    pub v: &'a mut [f32],
    /// Whether weight decay applies.
    pub decays: bool,
}

impl AdamW {
    /// Takes one AdamW step on a tensor of parameters, in place.
    ///
    /// ```text
    /// m ← β₁m + (1−β₁)g      v ← β₂v + (1−β₂)g²
    /// θ ← θ − lr·( m̂ / (√v̂ + ε) + λθ ),   m̂ = m/(1−β₁ᵗ),  v̂ = v/(1−β₂ᵗ)
    /// ```
    ///
    /// with g the gradient times `grad_scale`, and λ = 0 for a tensor that does not decay.
    ///
    /// Numerics: all f32, the two bias corrections in f64 and rounded once; the result does not depend on how the
    /// tensor is split among threads.
    /// Source: Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2.
    ///
    /// # Panics
    /// If `t` is 0 or the lengths differ.
    pub fn step(&self, update: Update, slices: ParamSlices<'_>) {
        let ParamSlices { theta, grad, m, v, decays } = slices;
        let n = theta.len();
        assert!(update.t > 0, "steps count from 1");
        assert!(
            [grad.len(), m.len(), v.len()] == [n; 3],
            "{n} parameters with {} gradients and moments of {} and {}",
            grad.len(),
            m.len(),
            v.len(),
        );
        let coefficients = self.coefficients(update, decays);
        let state = m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK));
        let chunks = theta.par_chunks_mut(CHUNK).zip(grad.par_chunks(CHUNK)).zip(state);
        for_each(chunks, |((theta, grad), (m, v))| coefficients.apply(theta, grad, m, v));
    }

    fn coefficients(&self, update: Update, decays: bool) -> Coefficients {
        let correction = |beta: f32| (1.0 - f64::from(beta).powf(f64::from(update.t))) as f32;
        Coefficients {
            adamw: *self,
            update,
            decay: if decays { self.weight_decay } else { 0.0 },
            correction1: correction(self.beta1),
            correction2: correction(self.beta2),
        }
    }
}

/// The coefficients of a step.
struct Coefficients {
    adamw: AdamW,
    update: Update,
    decay: f32,
    correction1: f32,
    correction2: f32,
}

impl Coefficients {
    fn apply(&self, theta: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32]) {
        // More than one division per element would be slower than the memory.
        let inverses = [self.correction1, self.correction2].map(|c| 1.0 / c);
        simd(
            #[inline(always)]
            || {
                let whole = theta.len() / LANES * LANES;
                for at in (0..whole).step_by(LANES) {
                    prefetch(theta, at + AHEAD);
                    prefetch(grad, at + AHEAD);
                    prefetch(m, at + AHEAD);
                    prefetch(v, at + AHEAD);
                    let here = at..at + LANES;
                    let (theta, grad) = (&mut theta[here.clone()], &grad[here.clone()]);
                    let (m, v) = (&mut m[here.clone()], &mut v[here]);
                    for i in 0..LANES {
                        self.change(inverses, &mut theta[i], grad[i], &mut m[i], &mut v[i]);
                    }
                }
                for i in whole..theta.len() {
                    self.change(inverses, &mut theta[i], grad[i], &mut m[i], &mut v[i]);
                }
            },
        );
    }

    /// Updates one parameter; `inverses` are the reciprocals of the bias corrections.
    #[inline(always)]
    fn change(&self, inverses: [f32; 2], theta: &mut f32, grad: f32, m: &mut f32, v: &mut f32) {
        let AdamW { beta1, beta2, eps, .. } = self.adamw;
        let Update { lr, grad_scale, .. } = self.update;
        let g = grad * grad_scale;
        *m = beta1 * *m + (1.0 - beta1) * g;
        *v = beta2 * *v + (1.0 - beta2) * (g * g);
        let (m_hat, v_hat) = (*m * inverses[0], *v * inverses[1]);
        *theta -= lr * (m_hat / (v_hat.sqrt() + eps) + self.decay * *theta);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bits, noise, on_threads};

    const ADAMW: AdamW = AdamW { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.5 };

    #[test]
    fn three_steps_worked_by_hand() {
        // θ = 1, lr = 0.1, gradients 2, −1, 0 (given twice as large, with a scale of ½).
        // t=1: m = 0.2, m̂ = 2; v = 0.04, v̂ = 4 ⇒ θ ← 1 − 0.1·(2/2 + 0.5·1) = 0.85
        // t=2: m = 0.18 − 0.1 = 0.08, m̂ = 0.08/0.19; v = 0.0396 + 0.01 = 0.0496, v̂ = 0.0496/0.0199
        //      ⇒ θ ← 0.85 − 0.1·(0.421052632/1.578753404 + 0.425) = 0.780830057
        // t=3: m = 0.072, m̂ = 0.072/0.271; v = 0.049104, v̂ = 0.049104/0.029701
        //      ⇒ θ ← 0.780830057 − 0.1·(0.265682657/1.285798455 + 0.390415029) = 0.721125701
        let want = [[0.85, 0.2, 0.04], [0.780_830_1, 0.08, 0.0496], [0.721_125_7, 0.072, 0.049_104]];
        let (mut theta, mut m, mut v) = ([1.0], [0.0], [0.0]);
        for (t, (grad, want)) in [4.0, -2.0, 0.0].into_iter().zip(want).enumerate() {
            let update = Update { t: t as u32 + 1, lr: 0.1, grad_scale: 0.5 };
            let (theta, m, v) = (&mut theta, &mut m, &mut v);
            ADAMW.step(update, ParamSlices { theta, grad: &[grad], m, v, decays: true });
            for (got, want) in [theta[0], m[0], v[0]].into_iter().zip(want) {
                assert!((got - want).abs() <= 2e-7_f32, "step {}: {got}, not {want}", t + 1);
            }
        }
    }

    #[test]
    fn weight_decay_applies_only_to_tensors_that_decay() {
        let n = CHUNK + 3;
        for (decays, want) in [(true, 0.95), (false, 1.0)] {
            let (mut theta, grad, mut m, mut v) = (vec![1.0; n], vec![0.0; n], vec![0.0; n], vec![0.0; n]);
            let slices = ParamSlices { theta: &mut theta, grad: &grad, m: &mut m, v: &mut v, decays };
            ADAMW.step(Update { t: 1, lr: 0.1, grad_scale: 1.0 }, slices);
            assert!(theta.iter().all(|&theta| theta == want), "{decays}");
        }
    }

    #[test]
    fn a_step_is_the_same_however_it_is_split() {
        let n = 3 * CHUNK + 100;
        let (theta, grad, m) = (noise(n, 1), noise(n, 2), noise(n, 3));
        let v: Vec<f32> = noise(n, 4).iter().map(|v| v * v).collect();
        let update = Update { t: 7, lr: 1e-2, grad_scale: 0.3 };
        let run = |threads| {
            let (mut theta, mut m, mut v) = (theta.clone(), m.clone(), v.clone());
            on_threads(threads, || {
                let (theta, m, v) = (&mut theta, &mut m, &mut v);
                ADAMW.step(update, ParamSlices { theta, grad: &grad, m, v, decays: true });
            });
            [bits(&theta), bits(&m), bits(&v)]
        };
        assert!(run(1) == run(2) && run(1) == run(3));

        // One element at a time, without vector code.
        let whole = run(1);
        let (mut theta, mut m, mut v) = (theta, m, v);
        for i in (0..n).step_by(97) {
            let at = i..i + 1;
            let (one, moment) = (&mut theta[at.clone()], &mut m[at.clone()]);
            let slices =
                ParamSlices { theta: one, grad: &grad[at.clone()], m: moment, v: &mut v[at], decays: true };
            ADAMW.step(update, slices);
            assert_eq!([theta[i], m[i], v[i]].map(f32::to_bits), [whole[0][i], whole[1][i], whole[2][i]]);
        }
    }
}
