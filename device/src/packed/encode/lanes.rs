//! What is worked on sixteen lanes at a time.

use crate::packed::shape::{BLOCK, HALF, LANES};

/// One value of each lane.
pub(super) type Lanes = [f32; LANES];
/// A block of a panel: its inputs, each with one value of every lane.
pub(super) type Block = [Lanes; BLOCK];
/// Half of one.
pub(super) type Half = [Lanes; HALF];
/// The codes of a block, or of a half, in the order of the packed layout: one word of each lane for so many inputs as
/// fit in it.
pub(super) type Words<const N: usize> = [[u32; LANES]; N];

/// Adding and taking away `1.5 * 2^23` leaves the nearest integer, ties to even, of what is far smaller.
pub(super) const ROUND: f32 = 12_582_912.0;
