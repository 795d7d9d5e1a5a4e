//! How many more rows would tell.

use statrs::distribution::{ContinuousCDF, Normal};

/// Rows that are missing until a one-sided test of so many rows, which came to `p`, is below `level`, if
/// the effect stays what it is: the test's standardised distance grows with the root of the rows.
/// `None` where no effect shows.
#[must_use]
pub fn rows_missing(p: f64, level: f64, rows: usize) -> Option<usize> {
    let distance = |p: f64| Normal::standard().inverse_cdf(1.0 - p);
    let shows = |p: f64| p > 0.0 && p < 0.5;
    if !shows(p) || !shows(level) {
        return None;
    }
    let times = (distance(level) / distance(p)).powi(2);
    Some((rows as f64 * (times - 1.0)).ceil().max(0.0) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_grow_with_the_square_of_the_distance() {
        // SciPy: norm.isf(0.02) / norm.isf(0.1) = 2.0537 / 1.2816, squared 2.568
        assert_eq!(rows_missing(0.1, 0.02, 10), Some(16));
        assert_eq!(rows_missing(0.021, 0.02, 10), Some(1));
        assert_eq!(rows_missing(0.01, 0.02, 10), Some(0));
        assert_eq!([0.5, 0.9, 0.0, f64::NAN].map(|p| rows_missing(p, 0.02, 10)), [None; 4]);
    }
}
