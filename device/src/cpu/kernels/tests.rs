//! Conversions of activations, which no device shows: every set against their definition, and to the same bits. The operations
//! themselves are tried on whole devices, in `tests/operations`.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::layout::BLOCK;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn conversions_agree_with_arithmetic_and_between_sets(width in 1..300_usize, seed in 0..1000_u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let x: Vec<f32> = (0..width).map(|_| rng.random_range(-1.0..1.0)).collect();
        let run = |set: InstructionSet| {
            let kernels = Kernels::of(set)?;
            let blocks = width.div_ceil(BLOCK);
            let mut codes = vec![1; blocks * BLOCK];
            let (mut scales, mut sums) = (vec![0.0; blocks], vec![CodeSums::default(); blocks]);
            kernels.quantise(&x, &mut codes, &mut scales, &mut sums);
            let mut halves = vec![7; width + 1];
            kernels.round_to_bf16(&x, &mut halves);
            Some((codes, scales, sums, halves))
        };
        let plain = run(InstructionSet::Portable).unwrap();
        for set in InstructionSet::available() {
            prop_assert_eq!(&run(set).unwrap(), &plain, "{}", set);
        }
        let (codes, scales, sums, halves) = plain;
        for i in 0..width {
            let back = f64::from(codes[i]) * f64::from(scales[i / BLOCK]);
            prop_assert!((back - f64::from(x[i])).abs() <= f64::from(scales[i / BLOCK]) * 0.501);
            prop_assert_eq!(halves[i], half::bf16::from_f32(x[i]).to_bits());
        }
        prop_assert!(codes[width..].iter().all(|c| *c == 0));
        for (codes, sums) in codes.chunks(BLOCK).zip(sums) {
            let sum = |codes: &[i8]| codes.iter().map(|c| i32::from(*c)).sum::<i32>();
            let (low, high) = codes.split_at(BLOCK / 2);
            prop_assert_eq!(sums, CodeSums::new(sum(low), sum(high)));
            prop_assert_eq!(sums.times_128, -128 * (sum(low) + sum(high)));
        }
    }
}
