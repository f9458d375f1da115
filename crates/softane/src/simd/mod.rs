//! Loops compiled for the widest vectors of the machine, and tiles of matrix products.

#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(any(all(target_os = "macos", target_arch = "aarch64"), all(target_os = "linux", feature = "blas")))]
pub(crate) mod blas;
#[cfg(not(any(
    all(target_os = "macos", target_arch = "aarch64"),
    all(target_os = "linux", feature = "blas")
)))]
#[path = "no_blas.rs"]
pub(crate) mod blas;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod tile;

use half::f16;
use pulp::{Arch, NullaryFnOnce};

/// Writes 32 × 32 elements of `from`, whose rows begin `stride` apart, transposed and rounded to half precision to
/// `to`, whose rows begin `to_stride` apart; `false` if this machine has no vectors for it.
///
/// # Panics
/// If a slice is too short.
pub(crate) fn narrow_turned(from: &[f32], stride: usize, to: &mut [f16], to_stride: usize) -> bool {
    #[cfg(target_arch = "x86_64")]
    if tile::has(tile::Math::F32) {
        avx512::narrow_turned(from, stride, to, to_stride);
        return true;
    }
    #[cfg(target_arch = "aarch64")]
    {
        neon::narrow_turned(from, stride, to, to_stride);
        true
    }
    #[cfg(not(target_arch = "aarch64"))]
    {
        let _ = (from, stride, to, to_stride);
        false
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
