//! A part of a panel, as whoever widens it wants it: lane by lane.

use super::shape::LANES;

/// Sixteen inputs of the sixteen lanes of a panel: `[lane][input]`. Inputs that are not there are zero, or anything in a format
/// that packs whole blocks.
#[allow(clippy::large_enum_variant)] // on the stack for a moment, and boxes are not compiled into vectors
pub(crate) enum PanelTile {
    /// As numbers.
    Floats([[f32; LANES]; LANES]),
    /// As bits of bf16.
    Halves([[u16; LANES]; LANES]),
    /// As codes, and for each lane what is taken off a code and what the rest is multiplied with.
    Codes([[u8; LANES]; LANES], [(f32, f32); LANES]),
}

/// The four bytes that each lane has in each of four lines, one after the other.
#[inline(always)]
pub(super) fn lane_by_lane(lines: [[u8; 64]; 4]) -> [[u8; LANES]; LANES] {
    let mut rows = [[0; LANES]; LANES];
    for (lane, row) in rows.iter_mut().enumerate() {
        for (to, line) in row.as_chunks_mut::<4>().0.iter_mut().zip(&lines) {
            *to = line.as_chunks::<4>().0[lane];
        }
    }
    rows
}
