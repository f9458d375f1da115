//! Vector primitives: loops compiled for the widest vectors of the machine, conversions, transposes, prefetches.

pub(crate) mod isa;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod strips;
pub(crate) mod vectors;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

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

/// Runs `f`, compiled for AVX-512, AVX2 or NEON if the machine has them and this process uses them.
///
/// `f` must be a closure marked `#[inline(always)]` that calls inlined functions only: code that is not inlined into
/// this function is compiled for the baseline. With `FnOnce` the compiler would put a function in between that is not
/// inlined.
#[inline(always)]
pub fn vectorised<R>(mut f: impl FnMut() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    match vectors::vectors() {
        #[expect(unsafe_code, reason = "the compiler cannot know what was detected")]
        // SAFETY: the processor has the instructions.
        vectors::Vectors::Avx512 => return unsafe { x86::with_avx512(f) },
        #[expect(unsafe_code, reason = "the compiler cannot know what was detected")]
        // SAFETY: the processor has the instructions.
        vectors::Vectors::Avx2 => return unsafe { x86::with_avx2(f) },
        vectors::Vectors::Baseline => {}
    }
    f()
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
