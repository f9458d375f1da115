//! Loops compiled for the widest vectors of the machine, and tiles of matrix products.

#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod tile;

use pulp::{Arch, NullaryFnOnce};

/// Writes 16 × 16 elements of `from`, whose rows stand `stride` apart, transposed to `to`.
///
/// # Panics
/// If `from` is too short.
pub(crate) fn turn(from: &[f32], stride: usize, to: &mut [f32; 256]) {
    #[cfg(target_arch = "x86_64")]
    if tile::has(tile::Math::F32) {
        return avx512::turn(from, stride, to);
    }
    for (i, to) in to.iter_mut().enumerate() {
        *to = from[i % 16 * stride + i / 16];
    }
}

/// Runs `f`, compiled for AVX-512, AVX2 or NEON if the machine has them.
///
/// `f` must be a closure marked `#[inline(always)]` and call inlined functions alone: only what becomes part of this
/// function is compiled so.
#[inline(always)]
pub(crate) fn vectorised<R, F: FnMut() -> R>(f: F) -> R {
    struct Run<F>(F);
    impl<R, F: FnMut() -> R> NullaryFnOnce for Run<F> {
        type Output = R;
        #[inline(always)]
        fn call(mut self) -> R {
            // Not `FnOnce`: the compiler would put a function in between that is not inlined.
            (self.0)()
        }
    }
    Arch::new().dispatch(Run(f))
}
