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
mod form;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
mod plain;
pub(crate) mod strips;
pub(crate) mod tile;

use pulp::{Arch, NullaryFnOnce};

/// Writes 32 rows of `columns` elements, one behind the other, transposed and rounded to half precision to a strip 32
/// wide: of its first rows as many as this machine has vectors for, and says how many.
///
/// # Panics
/// If one is too short.
pub(crate) fn narrow_transposed(from: &[f32], columns: usize, to: &mut strips::Strip<'_>) -> usize {
    #[cfg(target_arch = "x86_64")]
    if tile::has(tile::MatmulPrecision::F32) {
        return avx512::narrow_transposed(from, columns, to);
    }
    #[cfg(target_arch = "aarch64")]
    {
        neon::narrow_transposed(from, columns, to)
    }
    #[cfg(not(target_arch = "aarch64"))]
    {
        let _ = (from, columns, to);
        0
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

/// Asks for the line of the cache where element `at` of `values` lies, or would lie: nothing waits for it or changes.
#[inline(always)]
pub fn prefetch<T>(values: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "a prefetch is an intrinsic; it reads nothing, so any address will do")]
    // SAFETY: every x86-64 processor has the instruction.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(values.as_ptr().wrapping_add(at).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, at);
}
