//! How rows are chosen. Part of every manifest, and so of every snapshot's hash.

use hone_config::CurationSettings;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The rules of curation: the section `[curation]`, and what no setting says.
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

/// Prompts this similar ask for the same with other words or other numbers. Below it, most pairs have only a frame in common.
const CLUSTER_SIMILARITY: f64 = 0.7;

impl From<&CurationSettings> for Policy {
    fn from(settings: &CurationSettings) -> Self {
        Self {
            holdout_percent: settings.holdout_percent.percent(),
            replay_ratio: settings.replay_ratio,
            near_duplicate: settings.near_duplicate,
            cluster_similarity: CLUSTER_SIMILARITY,
            max_rows: settings.max_rows,
            redact: settings.redact,
            seed: settings.seed,
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
impl Policy {
    /// As the settings that ship, but for figures that the tests count with.
    pub(crate) fn plain() -> Self {
        let shipped = hone_config::Config::shipped().unwrap();
        Self { replay_ratio: 1.0, seed: 0, ..Self::from(&shipped.curation) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_out_of_range_is_named() {
        assert!(Policy::plain().check().is_ok());
        let error = Policy { holdout_percent: 95.0, ..Policy::plain() }.check().unwrap_err();
        assert!(error.to_string().contains("`holdout_percent` is 95"), "{error}");
        assert!(Policy { replay_ratio: f64::NAN, ..Policy::plain() }.check().is_err());
        assert!(Policy { near_duplicate: 0.0, ..Policy::plain() }.check().is_err());
    }
}
