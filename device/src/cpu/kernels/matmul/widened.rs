//! Rows in f32 times weights in bf16: an adapter's products.

#![allow(clippy::needless_range_loop)] // tiles of fixed sizes, which the compiler unrolls into registers

use super::{Product, Rows, Simd, Tile, fetch};

/// Weights in bf16 and rows in f32, which stay as they are: half of the bytes of an adapter, and no rounding of its input.
pub(super) struct WidenedTile;

impl<S: Simd> Tile<S> for WidenedTile {
    const TALL: usize = 6;
    const FEW: usize = 4;

    /// Even and odd inputs have a sum each, which are added at the end: an adapter has few panels, so that one chain of additions
    /// would be waited for.
    #[inline(always)]
    unsafe fn sums<const MR: usize, const NP: usize>(
        p: &Product,
        row: usize,
        panel: *const u8,
        ahead: usize,
    ) -> [[S::F; NP]; MR] {
        // SAFETY: the caller keeps rows and panels inside of the product. The weights of a last odd input stand in a pair too.
        unsafe {
            let mut sums = [[S::splat(0.0); NP]; MR];
            let Rows::F32 { data, row_stride, step } = p.rows else { return sums };
            let data = data.add(row * row_stride);
            let mut odd = sums;
            let mut w = [(S::splat(0.0), S::splat(0.0)); NP];
            for pair in 0..p.inputs / 2 {
                fetch::<S, 64, NP>(p, panel.add(pair * 64), ahead);
                for (n, w) in w.iter_mut().enumerate() {
                    *w = S::halves(S::bytes(panel.add(n * p.panel_bytes + pair * 64)));
                }
                for m in 0..MR {
                    let x = data.add(m * row_stride + 2 * pair * step);
                    let (first, second) = (S::splat(*x), S::splat(*x.add(step)));
                    for n in 0..NP {
                        sums[m][n] = S::fma(w[n].0, first, sums[m][n]);
                        odd[m][n] = S::fma(w[n].1, second, odd[m][n]);
                    }
                }
            }
            if !p.inputs.is_multiple_of(2) {
                let last = p.inputs - 1;
                for (n, w) in w.iter_mut().enumerate() {
                    *w = S::halves(S::bytes(panel.add(n * p.panel_bytes + last / 2 * 64)));
                }
                for m in 0..MR {
                    let x = S::splat(*data.add(m * row_stride + last * step));
                    for n in 0..NP {
                        sums[m][n] = S::fma(w[n].0, x, sums[m][n]);
                    }
                }
            }
            for m in 0..MR {
                for n in 0..NP {
                    sums[m][n] = S::add(sums[m][n], odd[m][n]);
                }
            }
            sums
        }
    }
}
