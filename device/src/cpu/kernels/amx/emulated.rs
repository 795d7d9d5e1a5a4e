//! Tiles in plain Rust, by what the manual says of the instructions, for tests on processors without them.

use std::cell::Cell;

use super::{Strip, Tiles};

pub(super) struct Emulated;

thread_local! {
    /// Whether this thread's tiles are shaped.
    static SHAPED: Cell<bool> = const { Cell::new(false) };
}

// SAFETY: each function touches what the trait's contract names.
unsafe impl Tiles for Emulated {
    unsafe fn configure() {
        assert!(!SHAPED.replace(true), "tiles that another product holds");
    }

    unsafe fn release() {
        assert!(SHAPED.replace(false), "tiles that nobody holds");
    }

    /// TDPBSUD.
    unsafe fn block(rows: *const i8, weights: *const u8, totals: *mut i32) {
        assert!(SHAPED.get(), "tiles without a shape");
        for (row, column) in (0..16).flat_map(|row| (0..16).map(move |column| (row, column))) {
            let product = |k: usize| {
                // SAFETY: the caller vouches for the rows and the weights.
                let (x, w) = unsafe {
                    (*rows.add(row * 64 + k), *weights.add(k / 4 * 64 + column * 4 + k % 4))
                };
                i32::from(x) * i32::from(w)
            };
            // SAFETY: the caller vouches for the totals.
            unsafe { *totals.add(row * 16 + column) = (0..64).map(product).sum() };
        }
    }

    /// TDPBF16PS: even and odd inputs are summed apart, from zero; then both together, and that to the sum. Subnormal numbers
    /// count as zero.
    unsafe fn bf16<const ROWS: usize>(strip: &Strip) {
        assert!(SHAPED.get(), "tiles without a shape");
        let wide = |half: u16| flush(f32::from_bits(u32::from(half) << 16));
        let places = (0..ROWS * 16).flat_map(|row| (0..32).map(move |column| (row, column)));
        for (row, column) in places {
            let (tile, panel) = (row / 16, column / 16);
            // SAFETY: the caller vouches for the pointers.
            unsafe {
                let sum = strip.sums.add((tile * 2 + panel) * 256 + row % 16 * 16 + column % 16);
                for step in 0..strip.steps {
                    let mut parts = [0.0_f32; 2];
                    for k in 0..32 {
                        let x = *strip.rows[tile].add(step * 512 + row % 16 * 32 + k);
                        let at = step * 512 + (k / 2 * 16 + column % 16) * 2 + k % 2;
                        let w = *strip.weights[panel].cast::<u16>().add(at);
                        parts[k % 2] = flush(wide(x).mul_add(wide(w), parts[k % 2]));
                    }
                    *sum = flush(*sum + flush(parts[0] + parts[1]));
                }
            }
        }
    }
}

fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0.0 } else { x }
}
