//! Matrix tiles with AVX-512: packing of operands, the loop that multiplies what is packed, and where it goes.
//!
//! A *panel* is a strip of an operand, as wide as a tile: 12 rows of the left side or 32 columns of the right, laid
//! down step by step along the inner dimension. A step is one f32, or, for [`Math::Bf16`], two bf16 in one word, of
//! which `vdpbf16ps` sums the products in f32.

mod drain;
mod lanes;
mod multiply;
mod pack;
mod turn;

pub(super) use drain::{drain_f16, drain_f32};
pub(super) use multiply::multiply;
pub(super) use pack::{pack, pack_rows};
pub(super) use turn::narrow_turned;

use super::tile::Math;
use std::sync::LazyLock;

/// Whether this machine has what [`Math::F32`] and [`Math::Bf16`] need here.
static HAS: LazyLock<[bool; 2]> = LazyLock::new(|| {
    let base = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq");
    [base, base && is_x86_feature_detected!("avx512bf16")]
});

/// Whether this machine can do `math` here.
pub(super) fn has(math: Math) -> bool {
    HAS[match math {
        Math::F32 => 0,
        Math::Bf16 => 1,
    }]
}
