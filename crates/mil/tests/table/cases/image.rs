//! Images and sequences: convolutions, pools, padding, normalisations of channels.

use super::{Case, case};

/// The cases: one, two and three spatial axes, each kind of padding, windows that leave something over.
pub fn cases() -> Vec<Case> {
    [padding()].concat()
}

fn padding() -> Vec<Case> {
    vec![
        case("pad").x(&[2, 3]).ints("pad", &[1, 2]).str("mode", "constant").float("constant_val", 0.75),
        case("pad").x(&[2, 3, 2]).ints("pad", &[0, 1, 2, 0]),
        case("pad").x(&[2]).ints("pad", &[0, 0]),
        case("pad").x(&[]).ints("pad", &[]),
        case("pad").x(&[3, 4]).ints("pad", &[1, 2, 3, 0]).str("mode", "reflect"),
        case("pad").x(&[2, 2, 3]).ints("pad", &[1, 1, 0, 2]).str("mode", "reflect"),
        case("pad").x(&[3, 2]).ints("pad", &[3, 1, 0, 2]).str("mode", "replicate"),
        case("pad").x(&[1]).ints("pad", &[1, 1]).str("mode", "replicate"),
    ]
}
