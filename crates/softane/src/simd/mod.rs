//! Vector primitives: loops compiled for the widest vectors of the machine, conversions, transposes, prefetches.

pub(crate) mod isa;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod strips;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

use pulp::NullaryFnOnce;

/// Writes the transpose of 32 contiguous rows of `columns` elements, rounded to half precision, to a strip 32 wide.
/// Returns how many rows of the strip are written: as many as this machine has vectors for.
///
/// # Panics
/// If `from` or the strip is too short.
pub(crate) fn narrow_transposed(from: &[f32], columns: usize, to: &mut strips::Strip<'_>) -> usize {
    #[cfg(target_arch = "x86_64")]
    if x86::has_avx512() {
        return x86::narrow_transposed(from, columns, to);
    } else if x86::has_avx2() {
        return x86::narrow_transposed256(from, columns, to);
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
/// `f` must be a closure marked `#[inline(always)]` that calls inlined functions only: code that is not inlined into
/// this function is compiled for the baseline.
#[inline(always)]
pub(crate) fn vectorised<R, F: FnMut() -> R>(f: F) -> R {
    struct Run<F>(F);
    impl<R, F: FnMut() -> R> NullaryFnOnce for Run<F> {
        type Output = R;
        #[inline(always)]
        fn call(mut self) -> R {
            // With `FnOnce` the compiler would put a function in between that is not inlined.
            (self.0)()
        }
    }
    isa::arch().dispatch(Run(f))
}

/// Prefetches the cache line of element `at` of `values`; `at` may be past the end.
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
