//! Which vector instructions this process uses.

use crate::error::IsaError;
#[cfg(target_arch = "x86_64")]
use std::sync::LazyLock;
use std::sync::OnceLock;

/// The vector instructions that kernels may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isa {
    /// All that the processor has.
    #[default]
    Native,
    /// At most AVX2, FMA and F16C: as on an x86-64 processor without AVX-512.
    Avx2,
}

/// The choice of this process; the first kernel that runs makes it, if nobody has.
static CHOSEN: OnceLock<Isa> = OnceLock::new();

impl Isa {
    /// All of them.
    pub const ALL: [Isa; 2] = [Isa::Native, Isa::Avx2];

    /// Its name in flags and messages.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Native => "native",
            Isa::Avx2 => "avx2",
        }
    }

    /// The one called `name`.
    pub fn named(name: &str) -> Option<Isa> {
        Isa::ALL.into_iter().find(|isa| isa.name() == name)
    }

    /// Makes this process use these instructions alone; call it before anything is computed.
    ///
    /// # Errors
    /// `Missing`, if the processor does not have them; `Chosen`, if the process uses others already.
    pub fn restrict(self) -> Result<(), IsaError> {
        if !self.is_here() {
            return Err(IsaError::Missing { isa: self.name() });
        }
        match *CHOSEN.get_or_init(|| self) {
            chosen if chosen == self => Ok(()),
            chosen => Err(IsaError::Chosen { isa: self.name(), chosen: chosen.name() }),
        }
    }

    fn is_here(self) -> bool {
        match self {
            Isa::Native => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => has_avx2(),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 => false,
        }
    }
}

/// Whether the processor has AVX2, FMA and F16C.
#[cfg(target_arch = "x86_64")]
pub(crate) fn has_avx2() -> bool {
    static HAS: LazyLock<bool> = LazyLock::new(|| {
        is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
    });
    *HAS
}

/// The instructions of this process.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn chosen() -> Isa {
    *CHOSEN.get_or_init(Isa::default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_is_made_once() {
        // Other tests of this process compute: it uses what the processor has.
        assert_eq!(Isa::Native.restrict(), Ok(()));
        let refused = Isa::Avx2.restrict().expect_err("too late, or not here");
        assert!(refused.to_string().contains("avx2"), "{refused}");
        for isa in Isa::ALL {
            assert_eq!(Isa::named(isa.name()), Some(isa));
        }
    }
}
