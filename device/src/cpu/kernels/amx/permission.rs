//! Whether this process may use tiles.

use std::{arch::x86_64::__cpuid_count, sync::OnceLock};

/// Whether the processor has tiles of bytes and of bf16, and the kernel saves them for this process. Asked once: a grant holds
/// for all threads of the process, also for those that begin later.
pub(crate) fn permitted() -> bool {
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    *PERMITTED.get_or_init(|| has_tiles() && granted())
}

/// AMX-TILE, AMX-INT8 and AMX-BF16 (Intel, *Software Developer's Manual*, volume 2, CPUID, leaf 7).
fn has_tiles() -> bool {
    const BF16: u32 = 1 << 22;
    const TILE: u32 = 1 << 24;
    const INT8: u32 = 1 << 25;
    const ALL: u32 = BF16 | TILE | INT8;
    __cpuid_count(7, 0).edx & ALL == ALL
}

/// Asks the kernel for the state of tiles (Linux, `Documentation/arch/x86/xstate.rst`). One that does not know of it, or whose
/// processor has it switched off, says no.
#[cfg(target_os = "linux")]
fn granted() -> bool {
    const ARCH_PRCTL: isize = 158;
    const REQUEST: usize = 0x1023;
    const TILE_DATA: usize = 18;
    let answer: isize;
    // SAFETY: the call has two numbers, touches no memory of this process and clobbers what any call does.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => answer,
            in("rdi") REQUEST,
            in("rsi") TILE_DATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    answer == 0
}

#[cfg(not(target_os = "linux"))]
fn granted() -> bool {
    false
}
