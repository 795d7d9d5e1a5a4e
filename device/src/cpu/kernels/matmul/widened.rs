//! Rows in f32 times weights in bf16: an adapter's products.

use super::{Product, Rows, Simd, Tile, fetch};

/// Weights in bf16 and rows in f32, which stay as they are: half of the bytes of an adapter, and no rounding of its input.
pub(super) struct WidenedTile;

impl<S: Simd> Tile<S> for WidenedTile {
    const TALL: usize = 8;
    const ALONE: usize = 8;
    const STREAMED: usize = 0;
    const CHAINED: bool = true;

    /// The sums of [`super::F32Tile`], in the same order.
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
            let mut w = [(S::splat(0.0), S::splat(0.0)); NP];
            for pair in 0..p.inputs / 2 {
                fetch::<S, 64, NP>(p, panel.add(pair * 64), ahead);
                for (n, w) in w.iter_mut().enumerate() {
                    *w = S::halves(S::bytes(panel.add(n * p.panel_bytes + pair * 64)));
                }
                for (m, sums) in sums.iter_mut().enumerate() {
                    let x = data.add(m * row_stride + 2 * pair * step);
                    let (first, second) = (S::splat(*x), S::splat(*x.add(step)));
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = S::fma(w.1, second, S::fma(w.0, first, *sum));
                    }
                }
            }
            if !p.inputs.is_multiple_of(2) {
                let last = p.inputs - 1;
                for (n, w) in w.iter_mut().enumerate() {
                    *w = S::halves(S::bytes(panel.add(n * p.panel_bytes + last / 2 * 64)));
                }
                for (m, sums) in sums.iter_mut().enumerate() {
                    let x = S::splat(*data.add(m * row_stride + last * step));
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = S::fma(w.0, x, *sum);
                    }
                }
            }
            sums
        }
    }
}
