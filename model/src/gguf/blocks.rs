//! ggml's number formats, each block to f32.
//!
//! The layouts are those of `ggml-common.h`. Every product and sum is rounded in the order in which Python's `gguf` does it
//! (`gguf/quants.py`), so that both give the same bits; `tests/golden/make_gguf.py` made what proves it.

use half::{bf16, f16};
use rayon::prelude::*;

/// Values of a block of the K formats.
const SUPER: usize = 256;
/// Blocks that one task turns to f32.
const TASK: usize = 1024;
/// The sixteen values of IQ4_NL.
const NON_LINEAR: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// How a tensor's numbers are stored. The discriminant is ggml's number for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
    Q2K = 10,
    Q3K = 11,
    Q4K = 12,
    Q5K = 13,
    Q6K = 14,
    Iq4Nl = 20,
    Bf16 = 30,
}

/// The formats with their names, for messages.
pub(super) const SUPPORTED: &str =
    "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL";

/// Formats that ggml has and this build does not read, by their numbers.
const OTHERS: [(u32, &str); 19] = [
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
];

impl Format {
    const ALL: [Self; 14] = [
        Self::F32,
        Self::F16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::Iq4Nl,
        Self::Bf16,
    ];

    /// The format of ggml's number; otherwise its name, as far as it is known.
    pub(super) fn of(number: u32) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|format| *format as u32 == number);
        found.ok_or_else(|| {
            let name = OTHERS.iter().find(|(other, _)| *other == number).map(|(_, name)| *name);
            name.map_or_else(|| format!("number {number}"), str::to_owned)
        })
    }

    /// Values and bytes of one block.
    pub(super) fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q4_0 | Self::Iq4Nl => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q8_0 => (32, 34),
            Self::Q2K => (SUPER, 84),
            Self::Q3K => (SUPER, 110),
            Self::Q4K => (SUPER, 144),
            Self::Q5K => (SUPER, 176),
            Self::Q6K => (SUPER, 210),
        }
    }

    /// The values of whole blocks.
    pub(super) fn to_f32(self, bytes: &[u8]) -> Vec<f32> {
        let (values, size) = self.block();
        let mut out = vec![0.0; bytes.len() / size * values];
        let tasks = out.par_chunks_mut(values * TASK).zip(bytes.par_chunks(size * TASK));
        tasks.for_each(|(out, bytes)| {
            for (out, block) in out.chunks_exact_mut(values).zip(bytes.chunks_exact(size)) {
                self.block_to_f32(block, out);
            }
        });
        out
    }

    /// One block; `block` and `out` are as long as [`Self::block`] says.
    fn block_to_f32(self, block: &[u8], out: &mut [f32]) {
        match self {
            Self::F32 => {
                out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
            }
            Self::F16 => out[0] = half(block, 0),
            Self::Bf16 => out[0] = bf16::from_le_bytes([block[0], block[1]]).to_f32(),
            Self::Q4_0 => {
                let d = half(block, 0);
                nibbles(&block[2..], |at, q| out[at] = d * (f32::from(q) - 8.0));
            }
            Self::Q4_1 => {
                let (d, m) = (half(block, 0), half(block, 2));
                nibbles(&block[4..], |at, q| out[at] = d * f32::from(q) + m);
            }
            Self::Q5_0 => {
                let (d, high) = (half(block, 0), word(&block[2..]));
                let fifth = |at: usize| ((high >> at) as u8 & 1) << 4;
                nibbles(&block[6..], |at, q| out[at] = d * (f32::from(q | fifth(at)) - 16.0));
            }
            Self::Q5_1 => {
                let (d, m, high) = (half(block, 0), half(block, 2), word(&block[4..]));
                let fifth = |at: usize| ((high >> at) as u8 & 1) << 4;
                nibbles(&block[8..], |at, q| out[at] = d * f32::from(q | fifth(at)) + m);
            }
            Self::Q8_0 => {
                let d = half(block, 0);
                for (out, q) in out.iter_mut().zip(&block[2..]) {
                    *out = f32::from(*q as i8) * d;
                }
            }
            Self::Iq4Nl => {
                let d = half(block, 0);
                nibbles(&block[2..], |at, q| out[at] = d * f32::from(NON_LINEAR[usize::from(q)]));
            }
            Self::Q2K => q2k(block, out),
            Self::Q3K => q3k(block, out),
            Self::Q4K => {
                let qs = &block[16..];
                scaled(block, out, |at| {
                    let (pair, within) = (at / 64, at % 64);
                    let byte = qs[pair * 32 + within % 32];
                    if within < 32 { byte & 15 } else { byte >> 4 }
                });
            }
            Self::Q5K => {
                let (high, qs) = (&block[16..48], &block[48..]);
                scaled(block, out, |at| {
                    let (pair, within) = (at / 64, at % 64);
                    let byte = qs[pair * 32 + within % 32];
                    let low = if within < 32 { byte & 15 } else { byte >> 4 };
                    low | ((high[at % 32] >> (at / 32)) & 1) << 4
                });
            }
            Self::Q6K => q6k(block, out),
        }
    }
}

/// A number of 16 bits at a place.
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// The low halves of 16 bytes, then the high ones.
fn nibbles(bytes: &[u8], mut put: impl FnMut(usize, u8)) {
    for (at, byte) in bytes.iter().enumerate() {
        put(at, byte & 15);
        put(at + 16, byte >> 4);
    }
}

/// 16 groups of 16 values of 2 bits; a scale and a minimum of 4 bits each.
fn q2k(block: &[u8], out: &mut [f32]) {
    let (scales, qs) = (&block[..16], &block[16..80]);
    let (d, least) = (half(block, 80), half(block, 82));
    for (at, out) in out.iter_mut().enumerate() {
        let scale = scales[at / 16];
        let q = (qs[at / 128 * 32 + at % 32] >> (at % 128 / 32 * 2)) & 3;
        *out = d * f32::from(scale & 15) * f32::from(q) - least * f32::from(scale >> 4);
    }
}

/// 16 groups of 16 values of 3 bits, the third in a mask of its own; a signed scale of 6 bits each.
fn q3k(block: &[u8], out: &mut [f32]) {
    let (mask, qs, packed) = (&block[..32], &block[32..96], &block[96..108]);
    let d = half(block, 108);
    for (at, out) in out.iter_mut().enumerate() {
        let group = at / 16;
        let low = packed[group % 8] >> (group / 8 * 4) & 15;
        let high = (packed[8 + group % 4] >> (group / 4 * 2)) & 3;
        let scale = f32::from(low | high << 4) - 32.0;
        let q = (qs[at / 128 * 32 + at % 32] >> (at % 128 / 32 * 2)) & 3;
        let below = if (mask[at % 32] >> (at / 32)) & 1 == 0 { 4.0 } else { 0.0 };
        *out = d * scale * (f32::from(q) - below);
    }
}

/// Q4_K and Q5_K: 8 groups of 32 values, with a scale and a minimum of 6 bits each.
fn scaled(block: &[u8], out: &mut [f32], value: impl Fn(usize) -> u8) {
    let (d, least, packed) = (half(block, 0), half(block, 2), &block[4..16]);
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = match group {
            0..4 => (packed[group] & 63, packed[group + 4] & 63),
            _ => (
                packed[group + 4] & 15 | (packed[group - 4] >> 6) << 4,
                packed[group + 4] >> 4 | (packed[group] >> 6) << 4,
            ),
        };
        let (scale, minimum) = (d * f32::from(scale), least * f32::from(minimum));
        for (at, out) in out.iter_mut().enumerate() {
            *out = scale * f32::from(value(group * 32 + at)) - minimum;
        }
    }
}

/// 16 groups of 16 values of 6 bits, the upper two apart; a signed scale of 8 bits each.
fn q6k(block: &[u8], out: &mut [f32]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half(block, 208);
    for (at, out) in out.iter_mut().enumerate() {
        let (part, within) = (at / 128, at % 128);
        let byte = low[part * 64 + within % 64];
        let low = if within < 64 { byte & 15 } else { byte >> 4 };
        let high = (high[part * 32 + within % 32] >> (within / 32 * 2)) & 3;
        let q = f32::from(low | high << 4) - 32.0;
        *out = d * f32::from(scales[at / 16] as i8) * q;
    }
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    #[test]
    fn every_format_has_the_values_of_pythons_gguf() {
        let golden = include_bytes!("../../tests/golden/gguf/blocks.safetensors");
        let golden = SafeTensors::deserialize(golden).unwrap();
        for format in Format::ALL {
            let name = format!("{}", format as u32);
            let bytes = golden.tensor(&format!("{name}.bytes")).unwrap();
            let expected = golden.tensor(&format!("{name}.values")).unwrap();
            let expected = expected.data().chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
            let found = format.to_f32(bytes.data());
            assert_eq!(found.len(), expected.len());
            assert!(found.len() > 2 * SUPER, "{format:?}");
            for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
                let expected = f32::from_le_bytes(expected);
                let same = found.to_bits() == expected.to_bits();
                assert!(
                    same || found.is_nan() && expected.is_nan(),
                    "{format:?} value {at}: {found} {expected}"
                );
            }
        }
    }

    #[test]
    fn other_formats_are_named() {
        assert_eq!(Format::of(23), Err("IQ4_XS".to_owned()));
        assert_eq!(Format::of(4), Err("number 4".to_owned()));
        assert_eq!(Format::of(12), Ok(Format::Q4K));
    }
}
