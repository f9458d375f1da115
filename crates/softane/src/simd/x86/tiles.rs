//! Detection of the tile unit: the processor, its enabled state, and the kernel's permission.
#![expect(unsafe_code, reason = "a control register and a system call; each block states why it is sound")]

use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

/// Whether the processor has tiles and their products of bf16: leaf 7, bits 24 and 22 of EDX.
pub(crate) fn exist() -> bool {
    const TILES: u32 = 1 << 24;
    const BF16: u32 = 1 << 22;
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & (TILES | BF16) == TILES | BF16
}

/// Whether the operating system saves tiles and their configuration: bits 17 and 18 of XCR0.
pub(crate) fn are_enabled() -> bool {
    /// The control register can be read: leaf 1, bit 27 of ECX.
    const OSXSAVE: u32 = 1 << 27;
    const STATE: u64 = 3 << 17;
    if __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    // SAFETY: the instruction exists where this bit is set.
    unsafe { _xgetbv(0) & STATE == STATE }
}

/// Asks the kernel for the tiles' state, for this process and all its threads.
///
/// # Errors
/// The call's error number.
#[cfg(target_os = "linux")]
pub(crate) fn request() -> Result<(), i32> {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const TILE_DATA: u64 = 18;
    let result: i64;
    // SAFETY: the call reads two numbers, and writes no memory of the process.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") TILE_DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    match i32::try_from(-result) {
        Ok(0) => Ok(()),
        errno => Err(errno.unwrap_or(0)),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_refuses_with_a_reason() {
        // Without the unit the call fails, and says so.
        let granted = request();
        assert!(matches!(granted, Ok(()) | Err(1..)), "{granted:?}");
        assert!(granted.is_err() || exist() && are_enabled(), "granted without a unit");
    }
}
