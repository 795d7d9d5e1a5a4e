//! What was taken out of a snapshot, in a file beside its rows.

use std::collections::BTreeSet;
use std::path::Path;

use fs_err as fs;
use hone_api::InteractionId;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The file beside the rows.
pub(crate) const ERASED: &str = "erased.json";

/// What was taken out of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Erased {
    /// Interactions whose rows are gone.
    pub(crate) ids: BTreeSet<InteractionId>,
    /// The hash of what is left, as that of [`crate::SnapshotManifest::hash`] is made.
    pub(crate) left: String,
}

impl Erased {
    /// What was taken out of the snapshot in a folder; `None`: nothing.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(ERASED);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).map_err(|error| {
                Error::Corrupt { path: folder.to_owned(), detail: format!("{ERASED}: {error}") }
            })?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
