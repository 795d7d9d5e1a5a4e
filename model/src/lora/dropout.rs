//! Dropout on the adapters' inputs, as a function of seed, step, layer, module group and element.
//!
//! Nothing is stored: the backward draws the same mask again, and so does a resumed job. Modules
//! that read the same input share its mask.

use crate::decoder::rows::each_row;
use hone_device::linear::Cpu;

/// The mask of one layer in one pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Dropout {
    /// Share of the elements that become zero.
    pub(crate) rate: f32,
    /// Mixed from seed, step and layer.
    pub(crate) key: u64,
}

impl Dropout {
    /// `x` with some elements zero and the others scaled up, so that the mean stays.
    pub(crate) fn apply(self, cpu: &Cpu, group: usize, x: &[f32], width: usize) -> Vec<f32> {
        let mut out = x.to_vec();
        let factor = 1.0 / (1.0 - self.rate);
        let limit = (f64::from(self.rate) * 2.0_f64.powi(32)) as u64;
        let key = mix(self.key ^ mix(group as u64 + 1));
        each_row(cpu, &mut out, width, &|row, out| {
            let first = (row * width) as u64;
            for (at, value) in (first..).zip(out) {
                let dropped = mix(key.wrapping_add(at)) >> 32 < limit;
                *value = if dropped { 0.0 } else { *value * factor };
            }
        });
        out
    }
}

/// SplitMix64's finaliser.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_and_the_mean_hold_and_the_mask_repeats() {
        let cpu = Cpu::new(2).unwrap();
        let x = vec![1.0; 64 * 1024];
        let dropout = Dropout { rate: 0.25, key: 7 };
        let once = dropout.apply(&cpu, 0, &x, 64);
        assert_eq!(once, dropout.apply(&cpu, 0, &x, 64));
        let zeros = once.iter().filter(|v| **v == 0.0).count() as f64 / once.len() as f64;
        assert!((zeros - 0.25).abs() < 0.01, "{zeros}");
        let mean = once.iter().map(|v| f64::from(*v)).sum::<f64>() / once.len() as f64;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        assert_ne!(once, dropout.apply(&cpu, 1, &x, 64));
        assert_ne!(once, Dropout { key: 8, ..dropout }.apply(&cpu, 0, &x, 64));
    }
}
