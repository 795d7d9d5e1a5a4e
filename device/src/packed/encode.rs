//! Weights to 8-bit and 4-bit blocks of a panel: sixteen output columns at once, a lane each.
//!
//! Each lane does the same operations in the same order whatever the instruction set and the number of threads, so that a
//! model is packed to the same bytes everywhere. The loops over lanes are plain Rust that the compiler turns into vectors;
//! they are compiled once for each set.
#![allow(unsafe_code)] // calls of what is compiled for a set; the block says why it is sound

use super::shape::{BLOCK, LANES, Q4_CODES};

/// One value of each lane.
type Lanes = [f32; LANES];
/// A block of a panel: its inputs, each with one value of every lane.
pub(super) type Block = [Lanes; BLOCK];
/// The codes of a block in the order of the packed layout: one word of each lane for so many inputs as fit in it.
pub(super) type Words<const N: usize> = [[u32; LANES]; N];

/// Adding and taking away `1.5 * 2^23` leaves the nearest integer, ties to even, of what is far smaller.
const ROUND: f32 = 12_582_912.0;
/// Scales that are tried, as shares of that which maps the largest value to the end of the codebook.
const TRIED: [f32; 10] = {
    let mut tried = [0.0; 10];
    let mut step = 0;
    while step < 10 {
        tried[step] = 0.80 + 0.03 * step as f32;
        step += 1;
    }
    tried
};
/// The code of zero.
const ZERO: usize = 7;

/// A neighbour of the codebook: the rounded value from which it is nearer than the one before, and how far it is.
#[derive(Clone, Copy)]
struct Step {
    from: f32,
    rise: f32,
}

/// The nearest code of an integer in 127ths; of two that are equally near the lower one.
const fn nearest(wanted: i32) -> usize {
    let (mut best, mut code) = (0, 1);
    while code < Q4_CODES.len() {
        let old = (Q4_CODES[best] as i32 - 128 - wanted).abs();
        if (Q4_CODES[code] as i32 - 128 - wanted).abs() < old {
            best = code;
        }
        code += 1;
    }
    best
}

/// The codes above zero, from it outwards.
const UP: [Step; 8] = {
    let mut steps = [Step { from: 0.0, rise: 0.0 }; 8];
    let mut wanted = 1;
    while wanted <= 127 {
        let (code, before) = (nearest(wanted), nearest(wanted - 1));
        if code != before {
            let rise = Q4_CODES[code] as f32 - Q4_CODES[code - 1] as f32;
            steps[code - ZERO - 1] = Step { from: wanted as f32, rise };
        }
        wanted += 1;
    }
    steps
};

/// The codes below zero, from it outwards.
const DOWN: [Step; 7] = {
    let mut steps = [Step { from: 0.0, rise: 0.0 }; 7];
    let mut wanted = -1;
    while wanted >= -127 {
        let (code, before) = (nearest(wanted), nearest(wanted + 1));
        if code != before {
            let rise = Q4_CODES[code + 1] as f32 - Q4_CODES[code] as f32;
            steps[ZERO - 1 - code] = Step { from: wanted as f32, rise };
        }
        wanted -= 1;
    }
    steps
};

macro_rules! compiled {
    ($($(#[$doc:meta])* $name:ident = $body:ident($($arg:ident: $kind:ty),*) -> $out:ty;)*) => {
        $($(#[$doc])*
        pub(super) fn $name($($arg: $kind),*) -> $out {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw")]
                fn avx512($($arg: $kind),*) -> $out { $body($($arg),*) }
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $kind),*) -> $out { $body($($arg),*) }
                if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512bw")
                {
                    // SAFETY: the processor has the features; the body is safe code.
                    return unsafe { avx512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: as above.
                    return unsafe { avx2($($arg),*) };
                }
            }
            $body($($arg),*)
        })*
    };
}

compiled! {
    /// The 8-bit codes, four inputs a word, and the scale of each lane.
    q8 = q8_lanes(block: &Block, words: &mut Words<16>) -> Lanes;
    /// The 4-bit codes, eight inputs a word, and the scale of each lane: the one with the smallest squared error among
    /// some around the largest value, each refined by least squares.
    q4 = q4_lanes(block: &Block, words: &mut Words<8>) -> Lanes;
}

#[inline(always)]
fn largest(block: &Block) -> Lanes {
    let mut largest = [0.0_f32; LANES];
    for values in block {
        for (most, value) in largest.iter_mut().zip(values) {
            let value = value.abs();
            *most = if value > *most { value } else { *most };
        }
    }
    largest
}

#[inline(always)]
fn inverses(of: &Lanes, by: f32) -> Lanes {
    let mut out = [0.0; LANES];
    for (out, of) in out.iter_mut().zip(of) {
        *out = if *of > 0.0 { by / *of } else { 0.0 };
    }
    out
}

#[inline(always)]
fn q8_lanes(block: &Block, words: &mut Words<16>) -> Lanes {
    let mut scales = largest(block);
    let inverse = inverses(&scales, 127.0);
    for (values, words) in block.as_chunks::<4>().0.iter().zip(words) {
        *words = [0; LANES];
        for (i, values) in values.iter().enumerate() {
            for lane in 0..LANES {
                let rounded = ((values[lane] * inverse[lane]) + ROUND) - ROUND;
                let code = rounded.clamp(-127.0, 127.0) as i32 + 128;
                words[lane] |= (code as u32) << (8 * i);
            }
        }
    }
    for scale in &mut scales {
        *scale /= 127.0;
    }
    scales
}

/// The level of the codebook that is nearest to `x`, in 127ths.
#[inline(always)]
fn level(x: f32) -> f32 {
    let rounded = (x + ROUND) - ROUND;
    let mut level = 0.0;
    for step in UP {
        level += if rounded >= step.from { step.rise } else { 0.0 };
    }
    for step in DOWN {
        level -= if rounded <= step.from { step.rise } else { 0.0 };
    }
    level
}

/// Its code.
#[inline(always)]
fn code(x: f32) -> u32 {
    let rounded = (x + ROUND) - ROUND;
    let mut code = ZERO as u32;
    for step in UP {
        code += u32::from(rounded >= step.from);
    }
    for step in DOWN {
        code -= u32::from(rounded <= step.from);
    }
    code
}

/// What a scale does to each lane: `[Σ value · level, Σ level², Σ error²]`.
#[inline(always)]
fn tried(block: &Block, scales: &Lanes) -> [Lanes; 3] {
    let mut inverse = [0.0; LANES];
    for (inverse, scale) in inverse.iter_mut().zip(scales) {
        *inverse = 1.0 / scale;
    }
    let [mut cross, mut square, mut error] = [[0.0; LANES]; 3];
    for values in block {
        for lane in 0..LANES {
            let value = values[lane];
            let level = level(value * inverse[lane]);
            cross[lane] += value * level;
            square[lane] += level * level;
            let missed = value - level * scales[lane];
            error[lane] += missed * missed;
        }
    }
    [cross, square, error]
}

#[inline(always)]
fn q4_lanes(block: &Block, words: &mut Words<8>) -> Lanes {
    let largest = largest(block);
    let (mut least, mut best) = ([f32::INFINITY; LANES], [0.0; LANES]);
    for share in TRIED {
        let mut scales = [0.0; LANES];
        for (scale, largest) in scales.iter_mut().zip(&largest) {
            *scale = largest / 127.0 * share;
        }
        for _ in 0..2 {
            let [cross, square, error] = tried(block, &scales);
            for lane in 0..LANES {
                let better = error[lane] < least[lane];
                least[lane] = if better { error[lane] } else { least[lane] };
                best[lane] = if better { scales[lane] } else { best[lane] };
                let refines = square[lane] > 0.0 && cross[lane] > 0.0;
                scales[lane] = if refines { cross[lane] / square[lane] } else { scales[lane] };
            }
        }
    }
    for (best, largest) in best.iter_mut().zip(&largest) {
        *best = if *largest == 0.0 { 0.0 } else { *best };
    }
    let inverse = inverses(&best, 1.0);
    for (values, words) in block.as_chunks::<8>().0.iter().zip(words) {
        *words = [0; LANES];
        for (i, values) in values.iter().enumerate() {
            // Four in the low halves of the bytes, the next four in the high ones.
            let shift = i % 4 * 8 + i / 4 * 4;
            for lane in 0..LANES {
                words[lane] |= code(values[lane] * inverse[lane]) << shift;
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same for one column, written down as it is defined.
    mod plain {
        use super::*;

        fn index(value: f32) -> usize {
            (value.round_ties_even().clamp(-127.0, 127.0) as i32 + 127) as usize
        }

        pub(super) fn q8(values: &[f32; BLOCK]) -> (f32, [u8; BLOCK]) {
            let largest = values.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
            let code = |value: f32| {
                ((value * inverse).round_ties_even().clamp(-127.0, 127.0) as i32 + 128) as u8
            };
            (largest / 127.0, values.map(code))
        }

        pub(super) fn q4(values: &[f32; BLOCK]) -> (f32, [u8; BLOCK]) {
            let nearest: [u8; 255] = std::array::from_fn(|i| nearest(i as i32 - 127) as u8);
            let scale = scale(values, &nearest);
            let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
            (scale, values.map(|value| nearest[index(value * inverse)]))
        }

        fn scale(values: &[f32; BLOCK], nearest: &[u8; 255]) -> f32 {
            let largest = values.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            if largest == 0.0 {
                return 0.0;
            }
            let mut best = (f32::INFINITY, 0.0);
            for step in 0..10 {
                let mut scale = largest / 127.0 * (0.80 + 0.03 * step as f32);
                for _ in 0..2 {
                    let inverse = 1.0 / scale;
                    let (mut cross, mut square, mut error) = (0.0_f32, 0.0_f32, 0.0_f32);
                    for value in values {
                        let code = nearest[index(value * inverse)];
                        let level = f32::from(Q4_CODES[usize::from(code)]) - 128.0;
                        cross += value * level;
                        square += level * level;
                        error += (value - level * scale) * (value - level * scale);
                    }
                    if error < best.0 {
                        best = (error, scale);
                    }
                    if square > 0.0 && cross > 0.0 {
                        scale = cross / square;
                    }
                }
            }
            best.1
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
        let (mut bytes, mut nibbles) = ([[0; LANES]; 16], [[0; LANES]; 8]);
        let (q8, q4) = (q8(block, &mut bytes), q4(block, &mut nibbles));
        for lane in 0..LANES {
            let values = column(block, lane);
            let (scale, codes) = plain::q8(&values);
            assert_eq!(q8[lane].to_bits(), scale.to_bits(), "q8 of {values:?}");
            for (k, code) in codes.iter().enumerate() {
                assert_eq!((bytes[k / 4][lane] >> (k % 4 * 8)) as u8, *code, "q8 of {values:?}");
            }
            let (scale, codes) = plain::q4(&values);
            assert_eq!(q4[lane].to_bits(), scale.to_bits(), "q4 of {values:?}");
            for (k, code) in codes.iter().enumerate() {
                let shift = k % 4 * 8 + k / 4 % 2 * 4;
                assert_eq!((nibbles[k / 8][lane] >> shift & 15) as u8, *code, "q4 of {values:?}");
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
}
