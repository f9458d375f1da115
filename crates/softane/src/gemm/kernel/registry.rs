//! The list of micro-kernels, and which of them a product uses.

#[cfg(target_arch = "aarch64")]
use super::arm;
use super::generic::GENERIC_F32;
use super::record::MicroKernel;
#[cfg(target_arch = "x86_64")]
use super::x86;
use crate::numerics::{MatmulPrecision, Numerics};
use std::sync::LazyLock;

/// All micro-kernels of this architecture; of those with the same arithmetic, the best first.
pub(crate) static KERNELS: &[MicroKernel] = &[
    #[cfg(target_arch = "x86_64")]
    x86::AMX_F16X3,
    #[cfg(target_arch = "x86_64")]
    x86::AMX_BF16,
    #[cfg(target_arch = "x86_64")]
    x86::AVX512_INT16,
    #[cfg(target_arch = "x86_64")]
    x86::AVX512_BF16,
    #[cfg(target_arch = "x86_64")]
    x86::AVX512_BF16_ROUNDED,
    #[cfg(target_arch = "x86_64")]
    x86::AVX512_F32,
    #[cfg(target_arch = "x86_64")]
    x86::AVX2_F32,
    #[cfg(target_arch = "aarch64")]
    arm::NEON_BF16,
    #[cfg(target_arch = "aarch64")]
    arm::NEON_F32,
    GENERIC_F32,
];

/// The best available kernel for `math`, if any; there is always one for f32.
pub(crate) fn best(math: MatmulPrecision) -> Option<&'static MicroKernel> {
    static BEST: LazyLock<[Option<&MicroKernel>; MatmulPrecision::ALL.len()]> =
        LazyLock::new(|| MatmulPrecision::ALL.map(|math| search(math.numerics())));
    BEST[math as usize]
}

/// The best kernel for `math`, or for f32 if there is none.
pub(crate) fn best_or_f32(math: MatmulPrecision) -> &'static MicroKernel {
    best(math).or_else(|| best(MatmulPrecision::F32)).unwrap_or(&GENERIC)
}

/// The kernel that replaces `kernel` in a product of M, N and K: itself, or the best one without a matrix unit if it is
/// mostly padding. That has the same arithmetic, or f32's if there is none.
pub(crate) fn suited(kernel: &'static MicroKernel, shape: (usize, usize, usize)) -> &'static MicroKernel {
    if kernel.pays(shape) {
        return kernel;
    }
    let on_vectors = |numerics| candidates(numerics).find(|k| k.unit.is_none());
    let f32 = || on_vectors(MatmulPrecision::F32.numerics());
    on_vectors(kernel.numerics).or_else(f32).unwrap_or(&GENERIC)
}

/// Kernels that any processor can run.
static GENERIC: MicroKernel = GENERIC_F32;

fn search(numerics: Numerics) -> Option<&'static MicroKernel> {
    candidates(numerics).next()
}

/// The kernels that compute with `numerics` here, the best first.
fn candidates(numerics: Numerics) -> impl Iterator<Item = &'static MicroKernel> {
    KERNELS.iter().filter(move |k| k.numerics == numerics && (k.available)() && (k.preferred)())
}
