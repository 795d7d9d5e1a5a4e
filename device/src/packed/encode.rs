//! Weights to 8-bit and 4-bit blocks of a panel: sixteen output columns at once, a lane each.
//!
//! Each lane does the same operations in the same order whatever the instruction set and the number of threads, so that a
//! model is packed to the same bytes everywhere. The loops over lanes are plain Rust that the compiler turns into vectors;
//! they are compiled once for each set.
#![allow(unsafe_code)] // calls of what is compiled for a set; the block says why it is sound

mod grid;
mod lanes;
#[cfg(test)]
mod tests;

use super::shape::LANES;
pub(super) use grid::{Grid, units};
use grid::{fit_lanes, q4_lanes};
use lanes::{Block, Half, Lanes, ROUND, Words};

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
    /// The scale and the zero point with which 4-bit codes miss the weights least, in squares.
    fit = fit_lanes(half: &Half) -> Grid;
    /// The 4-bit codes, eight inputs a word, with the scales and the zero points as they are stored.
    q4 = q4_lanes(half: &Half, grid: &Grid, unit: &Lanes, words: &mut Words<4>) -> ([u8; LANES], [i8; LANES]);
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
