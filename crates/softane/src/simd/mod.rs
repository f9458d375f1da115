//! Loops compiled for the widest vectors of the machine, and tiles of matrix products.

#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod tile;

use pulp::{Arch, NullaryFnOnce};

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
