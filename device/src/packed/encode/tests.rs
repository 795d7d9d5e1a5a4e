//! What is done sixteen lanes at a time, written down for one.

use proptest::prelude::*;

use super::*;
use crate::packed::shape::{BLOCK, HALF};

/// The same for one column, written down as it is defined.
mod plain {
    use super::*;

    pub(super) fn q8(values: &[f32; BLOCK]) -> (f32, [u8; BLOCK]) {
        let largest = values.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        let code = |value: f32| {
            ((value * inverse).round_ties_even().clamp(-127.0, 127.0) as i32 + 128) as u8
        };
        (largest / 127.0, values.map(code))
    }

    /// A scale and a zero point.
    type Steps = (f32, f32);

    fn code(value: f32, (scale, zero): Steps) -> f32 {
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        (value * inverse + zero).clamp(0.0, 15.0).round_ties_even()
    }

    fn error(values: &[f32; HALF], steps: Steps) -> f32 {
        values.iter().fold(0.0, |error, value| {
            let missed = value - (code(*value, steps) - steps.1) * steps.0;
            error + missed * missed
        })
    }

    /// Sums of codes, of their squares, of their products with the values, and of the values.
    fn sums(values: &[f32; HALF], steps: Steps) -> [f32; 4] {
        values.iter().fold([0.0; 4], |[codes, squares, cross, total], value| {
            let code = code(*value, steps);
            [codes + code, squares + code * code, cross + code * value, total + value]
        })
    }

    fn regression(values: &[f32; HALF], steps: Steps) -> Steps {
        let [codes, squares, cross, total] = sums(values, steps).map(|sum| sum / 32.0);
        let variance = squares - codes * codes;
        let scale = (cross - codes * total) / variance;
        let scale = if variance > 0.0 && scale > 0.0 { scale } else { steps.0 };
        (scale, if scale > 0.0 { (codes - total / scale).clamp(0.0, 255.0 / 16.0) } else { 0.0 })
    }

    pub(super) fn fit(values: &[f32; HALF]) -> Steps {
        let least = values.iter().fold(0.0_f32, |m, v| m.min(*v));
        let range = values.iter().fold(0.0_f32, |m, v| m.max(*v)) - least;
        if range <= 1e-30 {
            return (0.0, 0.0);
        }
        let whole = std::iter::once(15.0).chain((8..15).map(|steps| steps as f32));
        let mut tried: Vec<(f32, f32)> = whole.map(|steps| (steps, 0.0)).collect();
        for half_steps in 1..=8 {
            for quarter in 1..=3 {
                tried.push((15.0 + 0.5 * half_steps as f32, 0.25 * quarter as f32));
            }
        }
        let mut best = None;
        let mut consider = |steps: Steps| {
            let error = error(values, steps);
            if best.is_none_or(|(least, _)| error < least) {
                best = Some((error, steps));
            }
            best.unwrap().1
        };
        let mut found = (0.0, 0.0);
        for (steps, below) in tried {
            let scale = range / steps;
            let cut = (steps - 15.0).max(0.0) * below;
            found = consider((scale, (-least / scale - cut).clamp(0.0, 255.0 / 16.0)));
        }
        for _ in 0..2 {
            found = consider(regression(values, found));
        }
        found
    }

    pub(super) fn q4(values: &[f32; HALF], fitted: Steps, unit: f32) -> (u8, i8, [u8; HALF]) {
        let parts = |zero: f32| (zero * 16.0).round_ties_even().clamp(0.0, 255.0) / 16.0;
        let units = if unit > 0.0 { fitted.0 / unit } else { 0.0 };
        let least = if units > 0.0 { 1.0 } else { 0.0 };
        let count = units.round_ties_even().clamp(least, 255.0);
        let mut steps = (count * unit, parts(fitted.1));
        let [codes, _, _, total] = sums(values, steps);
        let zero = if steps.0 > 0.0 { parts((codes - total / steps.0) / 32.0) } else { 0.0 };
        if error(values, (steps.0, zero)) < error(values, steps) {
            steps.1 = zero;
        }
        let zero = (steps.1 * 16.0) as i32 - 128;
        (count as u8, zero as i8, values.map(|value| code(value, steps) as u8))
    }
}

fn column(block: &Block, lane: usize) -> [f32; BLOCK] {
    std::array::from_fn(|k| block[k][lane])
}

/// Weights of all sizes, a good part of them zero.
fn weight() -> impl Strategy<Value = f32> {
    let usual = (-1.0_f32..1.0).prop_map(|x| x * 0.05);
    prop_oneof![6 => usual, 1 => Just(0.0), 1 => -3.0_f32..3.0, 1 => any::<f32>().prop_filter(
        "finite", |x| x.is_finite() && x.abs() < 1e30
    )]
}

fn check(block: &Block) {
    let mut bytes = [[0; LANES]; 16];
    let scales = q8(block, &mut bytes);
    for lane in 0..LANES {
        let values = column(block, lane);
        let (scale, codes) = plain::q8(&values);
        assert_eq!(scales[lane].to_bits(), scale.to_bits(), "q8 of {values:?}");
        for (k, code) in codes.iter().enumerate() {
            assert_eq!((bytes[k / 4][lane] >> (k % 4 * 8)) as u8, *code, "q8 of {values:?}");
        }
    }
    let halves: [&Half; 2] = [block[..HALF].try_into().unwrap(), block[HALF..].try_into().unwrap()];
    let grids = halves.map(fit);
    let unit = units(&grids);
    for (half, grid) in halves.into_iter().zip(&grids) {
        let mut nibbles = [[0; LANES]; 4];
        let (scales, zeros) = q4(half, grid, &unit, &mut nibbles);
        for lane in 0..LANES {
            let values: [f32; HALF] = std::array::from_fn(|k| half[k][lane]);
            let fitted = plain::fit(&values);
            assert_eq!(grid.steps(lane), fitted, "steps of {values:?}");
            let (scale, zero, codes) = plain::q4(&values, fitted, unit[lane]);
            assert_eq!((scales[lane], zeros[lane]), (scale, zero), "q4 of {values:?}");
            for (k, code) in codes.iter().enumerate() {
                let shift = k % 4 * 8 + k / 4 % 2 * 4;
                assert_eq!((nibbles[k / 8][lane] >> shift & 15) as u8, *code, "q4 of {values:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn lanes_do_what_is_defined_to_the_last_bit(
        values in proptest::collection::vec(weight(), BLOCK * LANES)
    ) {
        let block: Block = std::array::from_fn(|k| std::array::from_fn(|lane| values[k * LANES + lane]));
        check(&block);
    }
}

#[test]
fn the_smallest_numbers_and_zeros_too() {
    let tiny = f32::from_bits(3);
    let small = f32::MIN_POSITIVE * 4.0;
    let block: Block = std::array::from_fn(|k| {
        std::array::from_fn(|lane| match lane {
            0 => 0.0,
            1 => tiny * k as f32,
            2 => small * (k as f32 - 30.0),
            3 => {
                if k == 9 {
                    -tiny
                } else {
                    0.0
                }
            }
            _ => (k as f32 - 31.5) * (lane as f32 - 8.0),
        })
    });
    check(&block);
}
