//! Tests of the rules that update one tensor after the other.

use super::*;
use crate::config::{Init, ParamKind};
use crate::fs::TensorFile;
use crate::host::CHUNK;
use crate::host::testing::{bits, noise, on_threads};
use std::path::Path;

const SGD: Rule = Rule::Sgd(Sgd { momentum: 0.9, weight_decay: 0.1 });
const LION: Rule = Rule::Lion(Lion { beta1: 0.9, beta2: 0.99, weight_decay: 0.1 });
const ADAFACTOR: Rule = Rule::Adafactor(Adafactor { weight_decay: 0.1 });

/// Four steps of `torch.optim.SGD`, `torch.optim.Adafactor` and `lion_pytorch.Lion`, recorded by `tests/fixtures/recipes.py`.
#[test]
fn steps_go_as_those_of_the_reference_implementations() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/recipes.safetensors");
    let file = TensorFile::open(&path).expect("recorded");
    let shapes: [(&str, &[usize]); 4] =
        [("tall", &[20, 12]), ("wide", &[3, 300]), ("row", &[1, 7]), ("vector", &[33])];
    for (kind, rule) in [("sgd", SGD), ("lion", LION), ("adafactor", ADAFACTOR)] {
        for (name, shape) in shapes {
            let n = shape.iter().product();
            let read = |what: String| {
                let mut values = vec![0.0f32; n];
                file.read(&format!("{kind}.{name}.{what}"), shape, &mut values).expect("recorded");
                values
            };
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

/// Only what the optimizer says it keeps is touched: the rest is not in a checkpoint.
#[test]
fn nothing_is_written_that_is_not_kept() {
    for (rule, shape) in [(SGD, [6, 5]), (LION, [6, 5]), (ADAFACTOR, [6, 5]), (ADAFACTOR, [1, 30])] {
        let spec = ParamSpec {
            kind: ParamKind::Embedding,
            layer: None,
            name: String::new(),
            shape: shape.to_vec(),
            offset: 0,
            init: Init::Zeros,
            decay: true,
        };
        let kept = Optimizer { rule, muon: None }.keeps(&spec);
        let (mut theta, mut m, mut v) = (noise(30, 1), vec![0.0; 30], vec![0.0; 30]);
        let slices =
            ParamSlices { theta: &mut theta, grad: &noise(30, 2), m: &mut m, v: &mut v, decays: true };
        rule.step(Update { t: 1, lr: 0.01, grad_scale: 1.0 }, slices, &shape);
        let second = match kept.second {
            Second::None => 0,
            Second::Whole => 30,
            Second::Factored([rows, cols]) => rows + cols,
        };
        assert_eq!(m.iter().all(|&m| m == 0.0), !kept.first, "{rule:?}");
        assert!(v[..second].iter().all(|&v| v > 0.0) && v[second..].iter().all(|&v| v == 0.0), "{rule:?}");
    }
}
