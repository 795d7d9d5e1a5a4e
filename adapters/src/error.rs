//! What can go wrong with adapters on disk.

use std::io;

use hone_api::AdapterId;

use crate::Refusal;

/// What can go wrong with adapters on disk. Messages say what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk said no.
    #[error("{}", disk(.0))]
    Io(#[from] io::Error),
    /// The folder does not hold an adapter that may be loaded.
    #[error("`{folder}` is refused: {refusal}")]
    Refused {
        /// The folder as the caller named it.
        folder: String,
        /// Why.
        #[source]
        refusal: Refusal,
    },
    /// A name that cannot be a folder's or an adapter's name.
    #[error(
        "`{0}` is not a usable name; use 1 to 64 of A-Z, a-z, 0-9, `.`, `_`, `-`, starting with a \
         letter or digit, without `..`, and none of base, live, previous, candidate, canary, latest, hone or ad-…"
    )]
    Name(String),
    /// A name that requests use for the served model.
    #[error("`{0}` is the name of the served model; give the adapter another name")]
    ServedName(String),
    /// A path that leaves the drop folder.
    #[error("`{0}` is not below the drop folder; put the adapter's folder there and name it")]
    Outside(String),
    /// The drop folder has no such folder.
    #[error(
        "there is no folder `{0}` in the drop folder; put the adapter's folder there and name it"
    )]
    NoFolder(String),
    /// Nothing answers to this reference.
    #[error("no adapter `{0}`; `hone adapters list` shows the ones there are")]
    Unknown(String),
    /// The base has no adapter to show or change.
    #[error("`{0}` is the base model, which has no adapter")]
    IsBase(String),
    /// Compare and swap: something else serves than the caller thought.
    #[error("`{actual}` serves now, not `{expected}`; look again before deciding")]
    Conflict {
        /// What the caller thought: an id, or `base`.
        expected: String,
        /// What serves: an id, or `base`.
        actual: String,
    },
    /// Another adapter has this name.
    #[error(
        "`{name}`, or a name that differs from it in capitals only, is already the name of \
         {holder}; choose another name, or delete that one"
    )]
    NameTaken {
        /// The name.
        name: String,
        /// The adapter that has it.
        holder: AdapterId,
    },
    /// This id has other weights already, or is being imported.
    #[error("{0} already exists with other weights, or is being imported; use a new id")]
    Exists(AdapterId),
    /// A move that the life of an adapter does not know.
    #[error("{id} is {from} and cannot become {to}")]
    Transition {
        /// The adapter.
        id: AdapterId,
        /// Where it stands.
        from: &'static str,
        /// Where it was sent.
        to: &'static str,
    },
    /// Live and previous stay.
    #[error("{0} is live or the one to roll back to; promote another adapter first")]
    InUse(AdapterId),
    /// There is no earlier adapter.
    #[error("nothing has been promoted yet, so there is nothing to roll back")]
    NothingToRollBack,
    /// The files of a registered adapter are not what was imported.
    #[error("{id} is damaged: {what}; delete it and import it again")]
    Damaged {
        /// The adapter.
        id: AdapterId,
        /// What is wrong.
        what: String,
    },
    /// Made for another base model.
    #[error(
        "{id} was made for base {made_for:.12}, and base {here:.12} serves: another model, another form of its weights \
         (model.weights), another chat template, or 4 bits as an earlier version packed them. Let a cycle teach what was taught to this base \
         (`hone cycle run`), or serve the old base again; for the same model in another form you may also import the \
         adapter's folder anew under another name, and evaluate it before it serves"
    )]
    OtherBase {
        /// The adapter.
        id: AdapterId,
        /// The base it was verified against.
        made_for: String,
        /// The base that is served.
        here: String,
    },
    /// `live.json` cannot be trusted, and only its owner may repair it.
    #[error("live.json cannot be used ({0}); start the daemon on this directory, which repairs it")]
    Pointer(String),
    /// The drop folder cannot be watched.
    #[error("the drop folder cannot be watched: {0}")]
    Watch(#[from] notify::Error),
}

fn disk(error: &io::Error) -> String {
    if crate::shortage::is_shortage(error) {
        return format!(
            "the system has no more to give ({error}); raise the limit (`ulimit -n`, memory) and try again"
        );
    }
    format!("the disk refused ({error}); check space and permissions of the data directory")
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
