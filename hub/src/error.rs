//! The one error type of this crate.

use std::path::{Path, PathBuf};

/// Why a model could not be had. Each says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that is no id.
    #[error(
        "`{name}` is no id of a model: {reason}; write org/name, org/name@revision, org/name/file.gguf or org/name:Q4_K_M"
    )]
    Name {
        /// As it was written.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The hub could not be reached, or nothing may be asked.
    #[error(
        "{name} is not in {cache} and {endpoint} cannot be reached ({reason}); connect this machine, or copy the model here and name \
         its folder"
    )]
    Offline {
        /// The model.
        name: String,
        /// Where it was looked for.
        cache: PathBuf,
        /// The hub.
        endpoint: String,
        /// What the network says.
        reason: String,
    },
    /// The hub has no such model, or does not show it.
    #[error(
        "{endpoint} has no model `{repo}`, or shows it only to some: look at its name, and if it is private set HF_TOKEN"
    )]
    NoModel {
        /// The hub.
        endpoint: String,
        /// The model.
        repo: String,
    },
    /// The model has no such revision.
    #[error(
        "{repo} has no revision `{revision}`; name a branch, a tag or a commit, or none for `main`"
    )]
    NoRevision {
        /// The model.
        repo: String,
        /// What was asked for.
        revision: String,
    },
    /// The model's terms must be accepted first.
    #[error(
        "{repo} is gated: accept its terms at {endpoint}/{repo}, then set HF_TOKEN to a token of that account"
    )]
    Gated {
        /// The hub.
        endpoint: String,
        /// The model.
        repo: String,
    },
    /// The token is not taken.
    #[error(
        "{endpoint} refuses the token (HF_TOKEN, or the file `token` in HF_HOME); make a new one, or take it away"
    )]
    Token {
        /// The hub.
        endpoint: String,
    },
    /// The revision does not have what is needed.
    #[error("{repo} has no {what}; {remedy}")]
    Lacks {
        /// The model.
        repo: String,
        /// What is missing.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// The hub said something else.
    #[error("{url} answered {status}; try again later")]
    Status {
        /// What was asked for.
        url: String,
        /// The code, with its name.
        status: String,
    },
    /// An answer that is not the hub's.
    #[error("{url} did not answer as a hub does ({reason}); look at HF_ENDPOINT")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A download ended too early, several times.
    #[error(
        "{file} was cut off after {done} of {total} bytes ({reason}); the same command goes on from there"
    )]
    CutOff {
        /// The file.
        file: String,
        /// Bytes that are on disk.
        done: u64,
        /// Bytes that there should be.
        total: u64,
        /// What the network says.
        reason: String,
    },
    /// What came is not what the hub says it has.
    #[error(
        "{file} came as something else than the hub announces ({reason}), and was thrown away; try again, or another mirror"
    )]
    Differs {
        /// The file.
        file: String,
        /// Size or hash, both.
        reason: String,
    },
    /// The disk's.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Neither HF_HOME nor HOME say where to keep models.
    #[error("neither HF_HOME nor HOME is set; set HF_HOME to the folder where models are kept")]
    NoHome,
    /// HF_ENDPOINT is no address.
    #[error("HF_ENDPOINT is `{0}`, and no address; write https://huggingface.co, or a mirror's")]
    Endpoint(String),
    /// The client could not be made.
    #[error("the client for the hub could not be made: {0}")]
    Client(String),
}

impl Error {
    /// Wraps an I/O error with its path.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}
