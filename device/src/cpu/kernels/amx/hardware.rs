//! The instructions (Intel, *Architecture Instruction Set Extensions*, chapter on AMX).
//!
//! Each function begins and ends with its values in memory. Tiles keep nothing between two functions but their shapes.

use std::arch::asm;

use super::{Strip, Tiles};

/// The tiles of this processor.
pub(crate) struct Amx;

/// Bytes of a line of rows, of weights or of sums.
const LINE: usize = 64;

/// What LDTILECFG reads: rows, and bytes of each, of eight tiles.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// All whole: 16 rows, or groups of inputs, of 64 bytes.
static WHOLE: Shapes = Shapes {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

// SAFETY: each function touches what the trait's contract names, in the shapes that `configure` gave its tiles.
unsafe impl Tiles for Amx {
    #[inline(always)]
    unsafe fn configure() {
        // SAFETY: the caller vouches for the tiles; the shapes are within those of palette 1.
        unsafe {
            asm!(
                "ldtilecfg [{shapes}]",
                shapes = in(reg) &raw const WHOLE,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags),
            );
        }
    }

    #[inline(always)]
    unsafe fn release() {
        // SAFETY: the caller vouches for the tiles.
        unsafe {
            asm!(
                "tilerelease",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags),
            );
        }
    }

    #[inline(always)]
    unsafe fn block(rows: *const i8, weights: *const u8, totals: *mut i32) {
        // SAFETY: the caller vouches for the pointers and for this thread's tiles.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tileloadd tmm1, [{rows} + {line}]",
                "tileloadd tmm2, [{weights} + {line}]",
                "tdpbsud tmm0, tmm1, tmm2",
                "tilestored [{totals} + {line}], tmm0",
                rows = in(reg) rows,
                weights = in(reg) weights,
                totals = in(reg) totals,
                line = in(reg) LINE,
                out("tmm0") _, out("tmm1") _, out("tmm2") _,
                options(nostack, preserves_flags),
            );
        }
    }

    #[inline(always)]
    unsafe fn bf16<const ROWS: usize>(strip: &Strip) {
        let ([above, below], [left, right]) = (strip.rows, strip.weights);
        // SAFETY: the caller vouches for the pointers, for one step at least and for this thread's tiles.
        unsafe {
            if ROWS == 2 {
                asm!(
                    "tileloadd tmm0, [{sums} + {line}]",
                    "tileloadd tmm1, [{sums} + {line} + 1024]",
                    "tileloadd tmm2, [{sums} + {line} + 2048]",
                    "tileloadd tmm3, [{sums} + {line} + 3072]",
                    "2:",
                    "tileloadd tmm6, [{left} + {line}]",
                    "tileloadd tmm4, [{above} + {line}]",
                    "tileloadd tmm7, [{right} + {line}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm5, [{below} + {line}]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "add {left}, 1024",
                    "add {right}, 1024",
                    "add {above}, 1024",
                    "add {below}, 1024",
                    "dec {steps}",
                    "jnz 2b",
                    "tilestored [{sums} + {line}], tmm0",
                    "tilestored [{sums} + {line} + 1024], tmm1",
                    "tilestored [{sums} + {line} + 2048], tmm2",
                    "tilestored [{sums} + {line} + 3072], tmm3",
                    above = inout(reg) above => _,
                    below = inout(reg) below => _,
                    left = inout(reg) left => _,
                    right = inout(reg) right => _,
                    sums = in(reg) strip.sums,
                    steps = inout(reg) strip.steps => _,
                    line = in(reg) LINE,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            } else {
                asm!(
                    "tileloadd tmm0, [{sums} + {line}]",
                    "tileloadd tmm1, [{sums} + {line} + 1024]",
                    "2:",
                    "tileloadd tmm4, [{above} + {line}]",
                    "tileloadd tmm6, [{left} + {line}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{right} + {line}]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "add {left}, 1024",
                    "add {right}, 1024",
                    "add {above}, 1024",
                    "dec {steps}",
                    "jnz 2b",
                    "tilestored [{sums} + {line}], tmm0",
                    "tilestored [{sums} + {line} + 1024], tmm1",
                    above = inout(reg) above => _,
                    left = inout(reg) left => _,
                    right = inout(reg) right => _,
                    sums = in(reg) strip.sums,
                    steps = inout(reg) strip.steps => _,
                    line = in(reg) LINE,
                    out("tmm0") _, out("tmm1") _,
                    out("tmm4") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    }
}
