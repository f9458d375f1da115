//! Tests of the classifier with its loss.

use super::super::squared_norms::RowSquaredNorms;
use super::super::testing::{assert_close, bits, finite_differences, noise, on_threads};
use super::*;
use softane::gemm::supports;

struct Case {
    weight: Vec<f32>,
    x: Vec<f32>,
    targets: Vec<u32>,
}

fn case(vocab: usize, d: usize, s: usize) -> Case {
    let targets = (0..s).map(|t| (t * t * 7919 % vocab) as u32).collect();
    Case { weight: noise(vocab * d, 1), x: noise(d * s, 2), targets }
}

/// A loss, and gradients with the scale 8.
struct Results {
    loss: f64,
    dw: Vec<f32>,
    dx: Vec<f32>,
    /// The loss and the gradient of `x` of a frozen classifier.
    frozen: (f64, Vec<f32>),
}

impl Case {
    fn run(&self, math: MatmulPrecision) -> Results {
        self.run_bounded(math, None, self.targets.len())
    }

    /// With the logits of `positions` positions at a time.
    fn run_bounded(&self, math: MatmulPrecision, cap: Option<SoftCap>, positions: usize) -> Results {
        let Case { weight, x, targets } = self;
        let s = targets.len();
        let (vocab, weight) = (weight.len() * s / x.len(), (&**weight).into());
        let head = Head { math, weight, x, targets, weights: None, cap, loss: LossOptions { scale: 8.0 } };
        let (mut logits, mut dw, mut dx) =
            (vec![f32::NAN; vocab * positions], vec![1.0; weight.len()], x.clone());
        let [mut stats, mut scratch, mut columns] = [Scratch::new(), Scratch::new(), Scratch::new()];
        let squares = RowSquaredNorms::new(vocab, x.len() / s);
        let to = Gradient { values: &mut dw, squares: &squares, store: Store::Add };
        let loss = if positions < s {
            let logits = &mut logits;
            let (stats, scratch, columns) = (&mut stats, &mut scratch, &mut columns);
            head.by_positions(HeadMemory { logits, stats, scratch, columns }, to, &mut dx).unwrap()
        } else {
            let loss = head.forward(&mut logits, &mut stats, &mut scratch).unwrap();
            head.backward(&logits, &mut stats, to, &mut dx, &mut scratch);
            loss
        };
        assert!(squares.are_of(&dw));
        dw.iter_mut().for_each(|g| *g -= 1.0);
        let mut frozen = vec![f32::NAN; dx.len()];
        let of_frozen = head.frozen_by_positions(positions, &mut frozen, &mut scratch).unwrap();
        let alone = head.frozen(None, &mut scratch).unwrap();
        // Products of few columns have other last bits.
        let off = (alone - of_frozen).abs();
        assert!(if positions < s { off < 1e-6 } else { off == 0.0 }, "the loss without its gradient: {off}");
        Results { loss, dw, dx, frozen: (of_frozen, frozen) }
    }
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// The reference, by definition, in f64.
fn loss(weight: &[f64], x: &[f64], targets: &[u32]) -> f64 {
    let s = targets.len();
    let d = x.len() / s;
    let column = |t: usize| -> f64 {
        let logit = |row: &[f64]| -> f64 { row.iter().enumerate().map(|(i, w)| w * x[i * s + t]).sum() };
        let all: Vec<f64> = weight.chunks(d).map(logit).collect();
        all.iter().map(|l| l.exp()).sum::<f64>().ln() - all[targets[t] as usize]
    };
    (0..s).map(column).sum::<f64>() / s as f64
}

#[test]
fn gradients_are_those_of_finite_differences() {
    for (vocab, d, s) in [(2, 1, 1), (17, 5, 3), (40, 6, 9)] {
        let c = case(vocab, d, s);
        let (weight, x) = (wide(&c.weight), wide(&c.x));
        let want = loss(&weight, &x, &c.targets);
        let want_dw = finite_differences(&c.weight, |w| 8.0 * loss(w, &x, &c.targets));
        let want_dx = finite_differences(&c.x, |x| 8.0 * loss(&weight, x, &c.targets));
        for positions in [s, s.div_ceil(2)] {
            let got = c.run_bounded(MatmulPrecision::F32, None, positions);
            assert!((got.loss - want).abs() < 1e-6 && (got.frozen.0 - want).abs() < 1e-6);
            assert_close(&got.dw, &want_dw, 2e-6);
            assert_close(&got.dx, &want_dx, 2e-6);
            assert_close(&got.frozen.1, &want_dx, 2e-6);
        }
    }
}

#[test]
fn gradients_of_bounded_logits_are_those_of_finite_differences() {
    for (vocab, d, s) in [(17, 5, 3), (40, 6, 9)] {
        let c = case(vocab, d, s);
        let loss = |weight: &[f64], x: &[f64]| -> f64 {
            let column = |t: usize| -> f64 {
                let logit =
                    |row: &[f64]| -> f64 { row.iter().enumerate().map(|(i, w)| w * x[i * s + t]).sum() };
                let all: Vec<f64> = weight.chunks(d).map(|row| 1.5 * (logit(row) / 1.5).tanh()).collect();
                all.iter().map(|l| l.exp()).sum::<f64>().ln() - all[c.targets[t] as usize]
            };
            (0..s).map(column).sum::<f64>() / s as f64
        };
        let (weight, x) = (wide(&c.weight), wide(&c.x));
        let want = loss(&weight, &x);
        let want_dw = finite_differences(&c.weight, |w| 8.0 * loss(w, &x));
        let want_dx = finite_differences(&c.x, |x| 8.0 * loss(&weight, x));
        for positions in [s, 2] {
            let got = c.run_bounded(MatmulPrecision::F32, Some(SoftCap { limit: 1.5 }), positions);
            assert!((got.loss - want).abs() < 1e-6 && (got.frozen.0 - want).abs() < 1e-6);
            assert_close(&got.dw, &want_dw, 2e-6);
            assert_close(&got.dx, &want_dx, 2e-6);
            assert_close(&got.frozen.1, &want_dx, 2e-6);
        }
    }
}

#[test]
fn threads_do_not_change_a_bit_in_blocks_of_any_size() {
    for vocab in [PARTS * BLOCK + 700, 3 * BLOCK, PARTS + 1] {
        let c = case(vocab, 16, 20);
        for (math, positions) in
            [(MatmulPrecision::F32, 20), (MatmulPrecision::F32, 7), (MatmulPrecision::Int16, 20)]
                .into_iter()
                .filter(|&(math, _)| supports(math))
        {
            let run = |threads| {
                let got = on_threads(threads, || c.run_bounded(math, None, positions));
                let losses = [got.loss.to_bits(), got.frozen.0.to_bits()];
                (losses, [bits(&got.dw), bits(&got.dx), bits(&got.frozen.1)])
            };
            assert!(run(1) == run(2) && run(1) == run(3), "{vocab} {math:?}");
        }
    }
}

/// A classifier of several blocks in half precision, whose first row is the largest and whose logits grow from block to block.
#[test]
fn a_frozen_classifier_gives_what_a_trained_one_does() {
    use half::f16;
    for vocab in [PARTS * BLOCK + 700, 2 * PARTS * BLOCK, PARTS + 1] {
        let mut c = case(vocab, 16, 20);
        for (i, w) in c.weight.iter_mut().enumerate() {
            *w = f16::from_f32(*w * 4.0 * (i as f32 / 16.0 / vocab as f32)).to_f32();
        }
        let got = c.run(MatmulPrecision::F32);
        // Sums in another order: a few 2⁻²⁴ of the largest term.
        assert!((got.frozen.0 - got.loss).abs() < 2e-6, "{vocab}: {} {}", got.frozen.0, got.loss);
        assert_close(&got.frozen.1, &wide(&got.dx), 2e-6);
        let half: Vec<f16> = c.weight.iter().map(|&w| f16::from_f32(w)).collect();
        let Case { x, targets, .. } = &c;
        let (weight, loss) = ((&*half).into(), LossOptions { scale: 8.0 });
        let head = Head { math: MatmulPrecision::F32, weight, x, targets, weights: None, cap: None, loss };
        let mut dx = vec![f32::NAN; x.len()];
        let loss = head.frozen(Some(&mut dx), &mut Scratch::new()).unwrap();
        assert_eq!((loss.to_bits(), bits(&dx)), (got.frozen.0.to_bits(), bits(&got.frozen.1)), "{vocab}");
    }
}

/// `p − 1` of a target whose probability p rounds to 1 in f32 would be 0.
#[test]
fn nothing_cancels_where_the_target_is_nearly_certain() {
    // Logits 20 and 0, 0: the gradient of x is −2·exp(−20).
    let (weight, x) = ([20.0, 0.0, 0.0], [1.0]);
    let (loss, weights) = (LossOptions { scale: 1.0 }, None);
    let head = Head {
        math: MatmulPrecision::F32,
        weight: weight.as_slice().into(),
        x: &x,
        targets: &[0],
        weights,
        cap: None,
        loss,
    };
    let mut dx = [f32::NAN];
    let loss = head.frozen(Some(&mut dx), &mut Scratch::new()).unwrap();
    let others = 2.0 * (-20f64).exp();
    assert_close(&dx, &[-20.0 * others], 1e-6);
    assert!((loss / others - 1.0).abs() < 1e-6, "{loss}");
}

#[test]
fn a_frozen_classifier_takes_weights_and_shows_what_is_not_finite() {
    let c = case(700, 5, 9);
    let run = |x: &[f32], weights: Option<&[f32]>| {
        let (weight, targets) = ((&*c.weight).into(), &*c.targets);
        let loss = LossOptions { scale: 8.0 };
        let head = Head { math: MatmulPrecision::F32, weight, x, targets, weights, cap: None, loss };
        let mut dx = vec![f32::NAN; x.len()];
        (head.frozen(Some(&mut dx), &mut Scratch::new()).unwrap(), dx)
    };
    let (mean, dx) = run(&c.x, None);
    // The same with the weight 1/S, but for positions 2, 5 and 8, which do not count.
    let weights: Vec<f32> = (0..9).map(|t| if t % 3 == 2 { 0.0 } else { 1.0 / 9.0 }).collect();
    let mut x = c.x.clone();
    x[2] = 1e30;
    let (some, d_some) = run(&x, Some(&weights));
    assert!(some > 0.0 && some < mean, "{some} of {mean}");
    for (i, (got, want)) in d_some.iter().zip(&dx).enumerate() {
        let want = if i % 3 == 2 { 0.0 } else { *want };
        assert!((got - want).abs() < 1e-6, "element {i} is {got}, not {want}");
    }
    for bad in [f32::NAN, f32::INFINITY] {
        x[4] = bad;
        assert!(run(&x, None).0.is_nan(), "{bad}");
    }
}

/// Probabilities far below the largest ones must not round to 0.
#[test]
fn integers_keep_what_is_improbable() {
    let mut c = case(3000, 16, 40);
    // One token of fifty has a large logit.
    for (word, weight) in c.weight.chunks_mut(16).enumerate().filter(|(word, _)| word % 50 != 0) {
        weight.iter_mut().enumerate().for_each(|(i, w)| *w = 0.05 * *w + 0.01 * (word + i) as f32 / 3000.0);
    }
    let error = |got: &[f32], want: &[f32]| {
        let square = |x: f32| f64::from(x) * f64::from(x);
        let off: f64 = got.iter().zip(want).map(|(got, want)| square(got - want)).sum();
        (off / want.iter().map(|&x| square(x)).sum::<f64>()).sqrt()
    };
    if supports(MatmulPrecision::Int16) {
        let (got, want) = (c.run(MatmulPrecision::Int16), c.run(MatmulPrecision::F32));
        let errors = [error(&got.dw, &want.dw), error(&got.dx, &want.dx), error(&got.frozen.1, &want.dx)];
        assert!(errors.iter().all(|&e| e < 1e-4), "{errors:?}");
    }
}
