//! `live.json`: which adapter serves.
//!
//! Prevents two adapters from being live at once, and none from being known after a crash: the file
//! is replaced in one step, carries a checksum, and its epoch only ever grows. It is the single
//! truth; the states in the manifests follow it.

use std::io;
use std::path::Path;

use hone_api::adapter::LiveView;
use hone_api::{AdapterId, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::fs::read_bounded;

/// The file's name within the data directory.
pub const LIVE: &str = "live.json";

/// Which adapter serves, and which served before it. `None` is the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LivePointer {
    /// Counts the moves; never falls.
    pub epoch: u64,
    /// The adapter that serves.
    pub live: Option<AdapterId>,
    /// The adapter that served before; what a rollback returns to.
    pub previous: Option<AdapterId>,
    /// The adapter that serves a share of the conversations.
    pub canary: Option<AdapterId>,
    /// When it last moved.
    pub changed_at: UnixMillis,
}

/// The file: the pointer and its checksum.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    epoch: u64,
    live: Option<AdapterId>,
    previous: Option<AdapterId>,
    canary: Option<AdapterId>,
    changed_at: UnixMillis,
    checksum: String,
}

impl LivePointer {
    /// The pointer of a new data directory: the base serves.
    #[must_use]
    pub const fn of_base(now: UnixMillis) -> Self {
        Self { epoch: 0, live: None, previous: None, canary: None, changed_at: now }
    }

    /// The pointer after a move to `to`.
    #[must_use]
    pub fn moved(&self, to: Option<AdapterId>, now: UnixMillis) -> Self {
        Self {
            epoch: self.epoch.saturating_add(1),
            live: to,
            previous: self.live,
            canary: None,
            changed_at: now,
        }
    }

    /// As the API shows it.
    #[must_use]
    pub const fn view(&self) -> LiveView {
        LiveView {
            epoch: self.epoch,
            live: self.live,
            previous: self.previous,
            changed_at: self.changed_at,
        }
    }

    fn checksum(&self) -> String {
        let id = |id: Option<AdapterId>| id.map_or_else(|| "base".to_owned(), |id| id.to_string());
        let line = format!(
            "hone live pointer 1\n{}\n{}\n{}\n{}\n{}\n",
            self.epoch,
            id(self.live),
            id(self.previous),
            id(self.canary),
            self.changed_at.0
        );
        blake3::hash(line.as_bytes()).to_hex().to_string()
    }

    /// Reads the pointer. `Ok(None)`: there is no file yet.
    ///
    /// # Errors
    /// In words, when there is a file that cannot be trusted.
    pub fn read(path: &Path) -> std::result::Result<Option<Self>, String> {
        let bytes = match read_bounded(path, 64 << 10) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let file: File = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        let pointer = Self {
            epoch: file.epoch,
            live: file.live,
            previous: file.previous,
            canary: file.canary,
            changed_at: file.changed_at,
        };
        if file.checksum == pointer.checksum() {
            Ok(Some(pointer))
        } else {
            Err("its checksum does not fit its content".to_owned())
        }
    }

    /// Replaces the file. After the return the move survives a power cut.
    ///
    /// # Errors
    /// The disk's; the old pointer then stays.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let file = File {
            epoch: self.epoch,
            live: self.live,
            previous: self.previous,
            canary: self.canary,
            changed_at: self.changed_at,
            checksum: self.checksum(),
        };
        let bytes = serde_json::to_vec_pretty(&file).map_err(io::Error::from)?;
        hone_durable::replace(path, &bytes)
    }
}

/// What is told of a pointer's target: an id, or `base`.
pub(crate) fn label(id: Option<AdapterId>) -> String {
    id.map_or_else(|| "base".to_owned(), |id| id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_move_remembers_where_it_came_from() {
        let (one, two) = (Some(AdapterId::new()), Some(AdapterId::new()));
        let start = LivePointer::of_base(UnixMillis(1));
        let first = start.moved(one, UnixMillis(2));
        let second = first.moved(two, UnixMillis(3));
        assert_eq!((second.epoch, second.live, second.previous), (2, two, one));
        let back = second.moved(second.previous, UnixMillis(4));
        assert_eq!((back.epoch, back.live, back.previous), (3, one, two));
    }

    #[test]
    fn no_file_is_not_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(LivePointer::read(&dir.path().join(LIVE)), Ok(None));
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_noticed(position: prop::sample::Index, flip in 1_u8..) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(LIVE);
            let pointer = LivePointer::of_base(UnixMillis(9)).moved(Some(AdapterId::new()), UnixMillis(10));
            pointer.write(&path).unwrap();
            prop_assert_eq!(LivePointer::read(&path), Ok(Some(pointer)));
            let mut bytes = fs_err::read(&path).unwrap();
            let at = position.index(bytes.len());
            bytes[at] ^= flip;
            fs_err::write(&path, &bytes).unwrap();
            // white space between the fields, or the case of a hex digit, may change freely
            let read = LivePointer::read(&path);
            prop_assert!(read.is_err() || read == Ok(Some(pointer)), "{read:?}");
        }
    }
}
