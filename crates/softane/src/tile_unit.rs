//! Whether products can use the processor's tile unit, Intel's AMX with BF16; found out once per process.

use std::sync::OnceLock;

/// Why products do not use a tile unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoTileUnit {
    /// It is no processor with AMX, or the hypervisor hides the unit.
    #[error("the processor has none for bf16, or the hypervisor hides it")]
    Absent,
    /// XCR0 lacks the bits of the tiles.
    #[error("the operating system or the hypervisor does not enable the tiles' state")]
    Disabled,
    /// `arch_prctl` failed.
    #[error("the kernel refuses it to this process (arch_prctl: error {errno})")]
    Refused {
        /// The error of the call.
        errno: i32,
    },
    /// How a process obtains the unit is only known of Linux.
    #[error("this version uses it on Linux only")]
    System,
}

static STATUS: OnceLock<Result<(), NoTileUnit>> = OnceLock::new();

/// Whether this process can use the tile unit. The first call asks the kernel for it, on behalf of all threads.
///
/// # Errors
/// Why it cannot.
pub fn status() -> Result<(), NoTileUnit> {
    *STATUS.get_or_init(first_status)
}

/// Declares that this process executes tile instructions, whatever the processor: for tests with an emulator. Returns
/// whether kernels use tiles from now on; `false` if a product was computed without before.
pub fn emulate() -> bool {
    // A processor with the unit executes the instructions itself, and needs the kernel's permission.
    let _ = detect();
    STATUS.get_or_init(|| Ok(())).is_ok()
}

/// The tests of this crate emulate what the processor lacks, where they can.
fn first_status() -> Result<(), NoTileUnit> {
    let status = detect();
    #[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
    let status = status.or_else(|_| {
        fake_amx::install();
        Ok(())
    });
    status
}

fn detect() -> Result<(), NoTileUnit> {
    #[cfg(target_arch = "x86_64")]
    {
        use crate::simd::x86::tiles;
        match (tiles::exist(), tiles::are_enabled()) {
            (false, _) => Err(NoTileUnit::Absent),
            (true, false) => Err(NoTileUnit::Disabled),
            #[cfg(target_os = "linux")]
            (true, true) => tiles::request().map_err(|errno| NoTileUnit::Refused { errno }),
            #[cfg(not(target_os = "linux"))]
            (true, true) => Err(NoTileUnit::System),
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    Err(NoTileUnit::Absent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_a_sentence_of_its_own() {
        let errors =
            [NoTileUnit::Absent, NoTileUnit::Disabled, NoTileUnit::Refused { errno: 28 }, NoTileUnit::System];
        let said: std::collections::BTreeSet<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), errors.len(), "{said:?}");
        assert!(said.iter().any(|s| s.contains("error 28")));
    }

    #[test]
    fn the_answer_does_not_change() {
        let first = status();
        assert_eq!(emulate(), first.is_ok());
        assert_eq!(status(), first);
    }
}
