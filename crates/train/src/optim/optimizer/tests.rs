//! Tests of what an optimizer keeps.

use super::*;
use crate::config::{Init, ParamKind};
use crate::optim::{Adafactor, Lion, ParamSlices, Sgd, Update};

const SGD: Rule = Rule::Sgd(Sgd { momentum: 0.9, weight_decay: 0.1 });
const LION: Rule = Rule::Lion(Lion { beta1: 0.9, beta2: 0.99, weight_decay: 0.1 });
const ADAFACTOR: Rule = Rule::Adafactor(Adafactor { weight_decay: 0.1 });

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
        let (mut theta, mut m, mut v) = (vec![0.5; 30], vec![0.0; 30], vec![0.0; 30]);
        let grad: Vec<f32> = (1..=30u8).map(|g| f32::from(g) - 15.5).collect();
        let slices = ParamSlices { theta: &mut theta, grad: &grad, m: &mut m, v: &mut v, decays: true };
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
