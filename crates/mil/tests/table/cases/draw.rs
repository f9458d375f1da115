//! Random numbers.

use super::{Case, case};

pub fn cases() -> Vec<Case> {
    vec![
        case("random_uniform").ints("shape", &[2, 3]).float("low", -1.0).float("high", 0.5).int("seed", 7),
        case("random_uniform").ints("shape", &[0]).float("low", 1.0),
        case("random_normal").ints("shape", &[5]).float("mean", 2.0).float("stddev", 0.25).int("seed", -1),
        case("random_bernoulli").ints("shape", &[2, 2]).float("prob", 0.25).int("seed", 1),
        case("random_categorical").x(&[2, 3]).str("mode", "logits").int("size", 4).int("seed", 3).refused(),
        case("random_categorical").positive().x(&[3]).str("mode", "probs").refused(),
    ]
}
