//! How rows are chosen. Part of every manifest, and so of every snapshot's hash.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Settings of [`crate::build`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Of many new corrections this share, in percent (0 to 90), judges an adapter that did not see
    /// them. Of few, all do.
    pub holdout_percent: f64,
    /// Liked rows per corrected row at most.
    pub replay_ratio: f64,
    /// Of two prompts at least this similar (Jaccard over word triples, 0 to 1), with the same
    /// numbers and the same answer, one is dropped.
    pub near_duplicate: f64,
    /// Prompts at least this similar are one cluster, which is never torn apart.
    pub cluster_similarity: f64,
    /// Supervised rows at most; the newest stay.
    pub max_rows: usize,
    /// Whether personal data is replaced by placeholders.
    pub redact: bool,
    /// Another seed makes other folds and takes other rehearsal.
    pub seed: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            holdout_percent: 20.0,
            replay_ratio: 1.0,
            near_duplicate: 0.95,
            cluster_similarity: 0.7,
            max_rows: 20_000,
            redact: true,
            seed: 0,
        }
    }
}

impl Policy {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Policy`] names the first setting out of its range.
    pub fn check(&self) -> Result<()> {
        let percent = "between 0 and 90";
        let similarity = "above 0 and at most 1";
        for (name, value, low, high, allowed) in [
            ("holdout_percent", self.holdout_percent, 0.0, 90.0, percent),
            ("replay_ratio", self.replay_ratio, 0.0, 1000.0, "between 0 and 1000"),
            ("near_duplicate", self.near_duplicate, f64::MIN_POSITIVE, 1.0, similarity),
            ("cluster_similarity", self.cluster_similarity, f64::MIN_POSITIVE, 1.0, similarity),
        ] {
            if !(low..=high).contains(&value) {
                return Err(Error::Policy { name, value, allowed });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_out_of_range_is_named() {
        assert!(Policy::default().check().is_ok());
        let error = Policy { holdout_percent: 95.0, ..Policy::default() }.check().unwrap_err();
        assert!(error.to_string().contains("`holdout_percent` is 95"), "{error}");
        assert!(Policy { replay_ratio: f64::NAN, ..Policy::default() }.check().is_err());
        assert!(Policy { near_duplicate: 0.0, ..Policy::default() }.check().is_err());
    }
}
