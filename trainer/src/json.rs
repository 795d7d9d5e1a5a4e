//! The JSON files of a job, each with a checksum of itself.

use std::path::Path;

use hone_api::sealed;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

/// Reads a sealed file, or one that a person wrote.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let bytes = fs_err::read(path)?;
    sealed::open_or_plain(&bytes).map_err(|broken| {
        let error = match broken {
            sealed::Broken::Checksum => {
                format!("{broken}; if you changed it yourself, take out its `checksum`")
            }
            other => other.to_string(),
        };
        Error::Json { path: path.to_owned(), error }
    })
}

/// Replaces `path` by the value as JSON with a checksum.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let bytes = sealed::seal(value)
        .map_err(|error| Error::Json { path: path.to_owned(), error: error.to_string() })?;
    Ok(hone_durable::replace(path, &bytes)?)
}
