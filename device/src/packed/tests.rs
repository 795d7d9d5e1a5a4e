//! What is packed, read again in the two ways that devices read it.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    layout::{panel_tile, unpack_one},
    tile::PanelTile,
    *,
};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn a_tile_has_the_weights_one_by_one(
        inputs in 1..200_usize, outputs in 1..40_usize, seed in 0..1000_u64,
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let weights: Vec<f32> = (0..inputs * outputs).map(|_| rng.random_range(-1.0..1.0)).collect();
        for format in WeightFormat::ALL {
            let matrix = PackedMatrix::pack(format, inputs, outputs, &weights);
            let from = inputs / 2 / LANES * LANES;
            let count = (inputs - from).min(LANES);
            let tile = match panel_tile(format, matrix.panel(0), from, count) {
                PanelTile::Floats(tile) => tile,
                PanelTile::Halves(halves) => {
                    halves.map(|row| row.map(|bits| half::bf16::from_bits(bits).to_f32()))
                }
                PanelTile::Codes(codes, terms) => std::array::from_fn(|lane| {
                    let (middle, factor) = terms[lane];
                    codes[lane].map(|code| (f32::from(code) - middle) * factor)
                }),
            };
            for (lane, row) in tile.iter().enumerate() {
                for (k, value) in row.iter().enumerate().take(count) {
                    let one = unpack_one(format, matrix.panel(0), lane, from + k);
                    prop_assert_eq!(*value, one);
                }
            }
        }
    }
}

/// Error of a packed matrix of 256 inputs and 64 outputs, as a share of its weights.
fn relative_error(format: WeightFormat, weights: &[f32]) -> f64 {
    let packed = PackedMatrix::pack(format, 256, 64, weights);
    let square = |v: f32| f64::from(v) * f64::from(v);
    let read = |index: usize| {
        unpack_one(format, packed.panel(index / 256 / LANES), index / 256 % LANES, index % 256)
    };
    let error: f64 = weights.iter().enumerate().map(|(i, w)| square(read(i) - w)).sum();
    (error / weights.iter().map(|w| square(*w)).sum::<f64>()).sqrt()
}

#[test]
fn four_bits_lose_little_of_normal_weights() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let normal =
        |rng: &mut ChaCha8Rng| (0..12).map(|_| rng.random_range(-0.5_f32..0.5)).sum::<f32>();
    let weights: Vec<f32> = (0..64 * 256).map(|_| normal(&mut rng)).collect();
    let relative = |format| relative_error(format, &weights);
    assert!(relative(WeightFormat::Q4) < 0.072, "{}", relative(WeightFormat::Q4));
    assert!(relative(WeightFormat::Q8) < 0.007, "{}", relative(WeightFormat::Q8));
}

/// Weights that were quantised before, in blocks of 32 with equal steps: the grids of Q4_0 and of Q4_1.
#[test]
fn four_bits_keep_weights_that_had_four_bits() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for with_minimum in [false, true] {
        let mut weights = Vec::new();
        for _ in 0..64 * 256 / 32 {
            let step = rng.random_range(0.01_f32..0.03);
            let least = if with_minimum { rng.random_range(-14.0_f32..-1.0) } else { -8.0 };
            // Either end of its codes is used, as whoever chose the steps saw to.
            let mut codes: Vec<u8> = (0..32).map(|_| rng.random_range(0..16)).collect();
            codes[rng.random_range(0..16)] = 0;
            codes[rng.random_range(16..32)] =
                if with_minimum { 15 } else { rng.random_range(8..16) };
            weights.extend(codes.iter().map(|code| step * (f32::from(*code) + least)));
        }
        let relative = relative_error(WeightFormat::Q4, &weights);
        assert!(relative < 0.01, "{with_minimum}: {relative}");
    }
}

#[test]
fn a_matrix_beyond_the_end_of_a_file_is_none() {
    let file = std::fs::File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let mapped = MappedFile::new(&file).unwrap();
    let at = |offset| PackedMatrix::mapped(WeightFormat::F32, (1, 1), mapped.clone(), offset);
    assert!(at(0).is_some());
    assert!(at(mapped.len()).is_none() && at(mapped.len() - 8).is_none());
    assert!(at(usize::MAX).is_none());
}
