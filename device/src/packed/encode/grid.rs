//! The grid of a half block in 4 bits: which equal steps, and where zero is.

use super::lanes::{Half, Lanes, ROUND, Words};
use crate::packed::shape::{HALF, LANES, MIDDLE, PARTS};

/// Codes go from zero to this.
const LAST: f32 = 15.0;
/// The last zero point, in steps.
const LAST_ZERO: f32 = 255.0 / PARTS as f32;
/// Scales are stored as so many of an output's unit at most.
const MOST_UNITS: f32 = 255.0;
/// Weights of a half that are closer together than this are zero.
const NOTHING: f32 = 1e-30;
/// Least-squares improvements of the best grid that was tried.
const REFINEMENTS: usize = 2;

/// A grid that is tried: into how many steps the range of the weights is divided, and which share of the steps that no code
/// is left for is cut off below.
#[derive(Clone, Copy)]
struct Division {
    steps: f32,
    below: f32,
}

/// Whole numbers up to 15 meet the grids of weights that were quantised before. Beyond, outliers are cut off for finer
/// steps between the others.
const TRIED: [Division; 32] = {
    let mut tried = [Division { steps: LAST, below: 0.0 }; 32];
    let mut index = 0;
    while index < 7 {
        tried[1 + index].steps = 8.0 + index as f32;
        index += 1;
    }
    index = 0;
    while index < 24 {
        tried[8 + index].steps = LAST + 0.5 * (1 + index / 3) as f32;
        tried[8 + index].below = 0.25 * (1 + index % 3) as f32;
        index += 1;
    }
    tried
};

/// For each lane the weight between two codes, and the code, not always a whole one, of zero.
#[derive(Clone, Copy)]
pub(in crate::packed) struct Grid {
    scales: Lanes,
    zeros: Lanes,
}

impl Grid {
    /// Scale and zero point of a lane.
    #[cfg(test)]
    pub(super) fn steps(&self, lane: usize) -> (f32, f32) {
        (self.scales[lane], self.zeros[lane])
    }
}

/// What a grid does to each lane.
struct Outcome {
    /// `Σ error²`.
    error: Lanes,
    /// `Σ code`.
    codes: Lanes,
    /// `Σ code²`.
    squares: Lanes,
    /// `Σ code · weight`.
    cross: Lanes,
}

/// The nearest code.
#[inline(always)]
fn code(weight: f32, inverse: f32, zero: f32) -> f32 {
    let place = weight * inverse + zero;
    let place = if place > 0.0 { place } else { 0.0 };
    let place = if place < LAST { place } else { LAST };
    (place + ROUND) - ROUND
}

#[inline(always)]
fn inverses(scales: &Lanes) -> Lanes {
    let mut inverses = [0.0; LANES];
    for (inverse, scale) in inverses.iter_mut().zip(scales) {
        *inverse = if *scale > 0.0 { 1.0 / *scale } else { 0.0 };
    }
    inverses
}

#[inline(always)]
fn outcome(half: &Half, grid: &Grid) -> Outcome {
    let inverses = inverses(&grid.scales);
    let [mut error, mut codes, mut squares, mut cross] = [[0.0; LANES]; 4];
    for weights in half {
        for lane in 0..LANES {
            let code = code(weights[lane], inverses[lane], grid.zeros[lane]);
            let missed = weights[lane] - (code - grid.zeros[lane]) * grid.scales[lane];
            error[lane] += missed * missed;
            codes[lane] += code;
            squares[lane] += code * code;
            cross[lane] += code * weights[lane];
        }
    }
    Outcome { error, codes, squares, cross }
}

/// `Σ error²` alone.
#[inline(always)]
fn error(half: &Half, grid: &Grid) -> Lanes {
    outcome(half, grid).error
}

#[inline(always)]
fn within(zero: f32) -> f32 {
    let zero = if zero > 0.0 { zero } else { 0.0 };
    if zero < LAST_ZERO { zero } else { LAST_ZERO }
}

/// Sums of the weights of each lane.
#[inline(always)]
fn totals(half: &Half) -> Lanes {
    let mut totals = [0.0; LANES];
    for weights in half {
        for (total, weight) in totals.iter_mut().zip(weights) {
            *total += weight;
        }
    }
    totals
}

/// The least and the greatest weight of each lane, zero among them.
#[inline(always)]
fn ends(half: &Half) -> [Lanes; 2] {
    let [mut least, mut most] = [[0.0_f32; LANES]; 2];
    for weights in half {
        for lane in 0..LANES {
            let weight = weights[lane];
            least[lane] = if weight < least[lane] { weight } else { least[lane] };
            most[lane] = if weight > most[lane] { weight } else { most[lane] };
        }
    }
    [least, most]
}

/// Takes over the lanes of a grid in which it misses less.
#[inline(always)]
fn keep(best: &mut Grid, least: &mut Lanes, grid: &Grid, error: &Lanes) {
    for lane in 0..LANES {
        let better = error[lane] < least[lane];
        least[lane] = if better { error[lane] } else { least[lane] };
        best.scales[lane] = if better { grid.scales[lane] } else { best.scales[lane] };
        best.zeros[lane] = if better { grid.zeros[lane] } else { best.zeros[lane] };
    }
}

#[inline(always)]
fn divided(division: Division, [least, most]: &[Lanes; 2]) -> Grid {
    let cut = if division.steps > LAST { (division.steps - LAST) * division.below } else { 0.0 };
    let mut grid = Grid { scales: [0.0; LANES], zeros: [0.0; LANES] };
    for lane in 0..LANES {
        let range = most[lane] - least[lane];
        let scale = if range > NOTHING { range / division.steps } else { 0.0 };
        grid.scales[lane] = scale;
        grid.zeros[lane] = if scale > 0.0 { within(-least[lane] / scale - cut) } else { 0.0 };
    }
    grid
}

/// The grid of the codes that this one chooses, as a regression of the weights on them.
#[inline(always)]
fn refined(grid: &Grid, outcome: &Outcome, totals: &Lanes) -> Grid {
    let count = HALF as f32;
    let mut refined = *grid;
    for (lane, total) in totals.iter().enumerate() {
        let (codes, total) = (outcome.codes[lane] / count, total / count);
        let variance = outcome.squares[lane] / count - codes * codes;
        let scale = (outcome.cross[lane] / count - codes * total) / variance;
        let scale = if variance > 0.0 && scale > 0.0 { scale } else { grid.scales[lane] };
        refined.scales[lane] = scale;
        refined.zeros[lane] = if scale > 0.0 { within(codes - total / scale) } else { 0.0 };
    }
    refined
}

/// [`super::fit`].
#[inline(always)]
pub(super) fn fit_lanes(half: &Half) -> Grid {
    let (ends, totals) = (ends(half), totals(half));
    let mut best = divided(TRIED[0], &ends);
    let mut least = error(half, &best);
    for division in &TRIED[1..] {
        let grid = divided(*division, &ends);
        let error = error(half, &grid);
        keep(&mut best, &mut least, &grid, &error);
    }
    for _ in 0..REFINEMENTS {
        let grid = refined(&best, &outcome(half, &best), &totals);
        let error = error(half, &grid);
        keep(&mut best, &mut least, &grid, &error);
    }
    best
}

/// The unit of the scales of each output, from all halves of its row: the largest scale is [`MOST_UNITS`].
pub(in crate::packed) fn units(grids: &[Grid]) -> Lanes {
    let mut units = [0.0_f32; LANES];
    for grid in grids {
        for (unit, scale) in units.iter_mut().zip(&grid.scales) {
            *unit = if *scale > *unit { *scale } else { *unit };
        }
    }
    units.map(|largest| largest / MOST_UNITS)
}

/// The grid with scales that are whole multiples of the unit, and zero points of whole parts.
#[inline(always)]
fn rounded(grid: &Grid, unit: &Lanes) -> (Grid, Lanes) {
    let [mut counts, mut scales, mut zeros] = [[0.0; LANES]; 3];
    for lane in 0..LANES {
        let units = if unit[lane] > 0.0 { grid.scales[lane] / unit[lane] } else { 0.0 };
        let count = (units + ROUND) - ROUND;
        let count = if count < MOST_UNITS { count } else { MOST_UNITS };
        // A half with weights keeps them: a scale of nothing would make all of them zero.
        let count = if count < 1.0 && units > 0.0 { 1.0 } else { count };
        counts[lane] = count;
        scales[lane] = count * unit[lane];
        zeros[lane] = parts(grid.zeros[lane]);
    }
    (Grid { scales, zeros }, counts)
}

/// The nearest zero point that can be stored.
#[inline(always)]
fn parts(zero: f32) -> f32 {
    within(((zero * PARTS as f32 + ROUND) - ROUND) / PARTS as f32)
}

/// [`super::q4`].
#[inline(always)]
pub(super) fn q4_lanes(
    half: &Half,
    grid: &Grid,
    unit: &Lanes,
    words: &mut Words<4>,
) -> ([u8; LANES], [i8; LANES]) {
    let (mut best, counts) = rounded(grid, unit);
    let (first, totals) = (outcome(half, &best), totals(half));
    let mut least = first.error;
    // The scale has moved a little, so that another zero point may fit the same codes better.
    let mut moved = best;
    for (lane, total) in totals.iter().enumerate() {
        let scale = best.scales[lane];
        let zero = (first.codes[lane] - total / scale) / HALF as f32;
        moved.zeros[lane] = if scale > 0.0 { parts(zero) } else { 0.0 };
    }
    let error = error(half, &moved);
    keep(&mut best, &mut least, &moved, &error);
    let inverses = inverses(&best.scales);
    for (weights, words) in half.as_chunks::<8>().0.iter().zip(words) {
        *words = [0; LANES];
        for (i, weights) in weights.iter().enumerate() {
            // Four in the low halves of the bytes, the next four in the high ones.
            let shift = i % 4 * 8 + i / 4 * 4;
            for lane in 0..LANES {
                let code = code(weights[lane], inverses[lane], best.zeros[lane]) as u32;
                words[lane] |= code << shift;
            }
        }
    }
    let (mut scales, mut zeros) = ([0; LANES], [0; LANES]);
    for lane in 0..LANES {
        scales[lane] = counts[lane] as u8;
        zeros[lane] = (best.zeros[lane] * PARTS as f32) as i32 - MIDDLE * PARTS;
    }
    (scales, zeros.map(|zero| zero as i8))
}
