//! Tests of the rules that update one tensor after the other.

use super::*;
use crate::CHUNK;
use crate::testing::{Recorded, bits, noise, on_threads};

const SGD: Rule = Rule::Sgd(Sgd { momentum: 0.9, weight_decay: 0.1 });
const LION: Rule = Rule::Lion(Lion { beta1: 0.9, beta2: 0.99, weight_decay: 0.1 });
const ADAFACTOR: Rule = Rule::Adafactor(Adafactor { weight_decay: 0.1 });

/// Four steps of `torch.optim.SGD`, `torch.optim.Adafactor` and `lion_pytorch.Lion`, recorded by `tests/fixtures/recipes.py`.
#[test]
fn steps_go_as_those_of_the_reference_implementations() {
    let file = Recorded::open("recipes");
    let shapes: [(&str, &[usize]); 4] =
        [("tall", &[20, 12]), ("wide", &[3, 300]), ("row", &[1, 7]), ("vector", &[33])];
    for (kind, rule) in [("sgd", SGD), ("lion", LION), ("adafactor", ADAFACTOR)] {
        for (name, shape) in shapes {
            let n = shape.iter().product();
            let read = |what: String| file.read(&format!("{kind}.{name}.{what}"), shape);
            let (mut theta, mut m, mut v) = (read("0".to_owned()), vec![0.0; n], vec![0.0; n]);
            for t in 1..=4 {
                // With a loss scale, which is taken back.
                let grad: Vec<f32> = read(format!("grad.{t}")).iter().map(|g| 4.0 * g).collect();
                let update = Update { t, lr: 0.02, grad_scale: 0.25 };
                let (theta, m, v) = (&mut theta, &mut m, &mut v);
                let decays = shape.len() > 1;
                rule.step(update, ParamSlices { theta: &mut theta[..], grad: &grad, m, v, decays }, shape);
                for (i, (got, want)) in theta.iter().zip(read(t.to_string())).enumerate() {
                    // Weights are of the order of 0.1 to 1 and move by up to 0.2 a step: some roundings of f32.
                    let close = 2e-6 * want.abs().max(0.1);
                    assert!((got - want).abs() <= close, "{kind} {name} {i}, step {t}: {got}, not {want}");
                }
            }
        }
    }
}

#[test]
fn a_step_is_the_same_on_any_number_of_threads() {
    // A matrix of several chunks and strips whose rows do not fill them, and a vector.
    for shape in [&[70, 613][..], &[2 * CHUNK + 5]] {
        let n: usize = shape.iter().product();
        let grad = noise(n, 2);
        for rule in [SGD, LION, ADAFACTOR] {
            let run = |threads| {
                let (mut theta, mut m, mut v) = (noise(n, 1), vec![0.0; n], vec![0.0; n]);
                on_threads(threads, || {
                    for t in 1..=2 {
                        let (theta, m, v) = (&mut theta[..], &mut m[..], &mut v[..]);
                        let slices = ParamSlices { theta, grad: &grad, m, v, decays: true };
                        rule.step(Update { t, lr: 0.01, grad_scale: 0.3 }, slices, shape);
                    }
                });
                [bits(&theta), bits(&m), bits(&v)]
            };
            let once = run(1);
            assert!(once == run(2) && once == run(3), "{rule:?}");
            assert_ne!(once[0], bits(&noise(n, 1)), "{rule:?}");
        }
    }
}
