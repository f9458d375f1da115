//! Which vectors loops are compiled for.

#[cfg(target_arch = "x86_64")]
use super::isa::has_avx2;

/// The vectors that loops are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vectors {
    /// AVX-512: F, BW, VL and DQ.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the processor always has: NEON on arm64.
    Baseline,
}

/// The best vectors that the processor has and this process uses.
#[inline]
pub(crate) fn vectors() -> Vectors {
    #[cfg(target_arch = "x86_64")]
    if super::x86::has_avx512() {
        return Vectors::Avx512;
    } else if has_avx2() {
        return Vectors::Avx2;
    }
    Vectors::Baseline
}

/// The processor's kind, and the vectors that loops are compiled for.
pub fn instruction_set() -> String {
    let vectors = match vectors() {
        #[cfg(target_arch = "x86_64")]
        Vectors::Avx512 => "AVX-512",
        #[cfg(target_arch = "x86_64")]
        Vectors::Avx2 => "AVX2",
        Vectors::Baseline if cfg!(target_arch = "aarch64") => "NEON",
        Vectors::Baseline => "no vector instructions",
    };
    format!("{} with {vectors}", std::env::consts::ARCH)
}
