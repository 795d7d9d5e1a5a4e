//! Taking rows out of a snapshot for good, at a person's request.
//!
//! A snapshot keeps the name that cycles and adapters know it by, so that what was trained on it can be told
//! for ever. Beside it lies what was taken out: random ids, and the hash of what is left.

use std::collections::BTreeSet;
use std::path::Path;

use fs_err as fs;
use hone_api::InteractionId;
use hone_durable::replace;

use crate::erased::{ERASED, Erased};
use crate::error::{Error, Result};
use crate::example::Example;
use crate::rehearse::Rehearsal;
use crate::snapshot::{
    MANIFEST, REHEARSAL, ROWS, Snapshot, SnapshotManifest, hash, lines, read_lines,
};

/// How many rows and rehearsal questions of a snapshot come, or came, from these interactions.
///
/// # Errors
/// [`Error::Io`], [`Error::Corrupt`].
pub fn rows_of(folder: &Path, ids: &BTreeSet<InteractionId>) -> Result<usize> {
    let (rows, rehearsal) = contents(folder)?;
    let gone = Erased::read(folder)?.unwrap_or_default().ids;
    let left: BTreeSet<InteractionId> = ids.difference(&gone).copied().collect();
    Ok(count(&rows, &rehearsal, &left) + gone.intersection(ids).count())
}

/// Takes the rows of these interactions out of the snapshot in a folder, and families that no row has any more out of
/// its manifest. Returns how many rows and rehearsal questions went. Repeated, it changes nothing.
///
/// A damaged snapshot is removed, and `None` returned: nobody could tell what was in it.
///
/// # Errors
/// [`Error::Io`].
pub fn erase(folder: &Path, ids: &BTreeSet<InteractionId>) -> Result<Option<usize>> {
    hone_durable::sweep(folder);
    let whole = || -> Result<_> {
        let (rows, rehearsal) = contents(folder)?;
        let manifest: SnapshotManifest = serde_json::from_slice(&fs::read(folder.join(MANIFEST))?)?;
        Ok((rows, rehearsal, manifest, Erased::read(folder)?))
    };
    let (mut rows, mut rehearsal, mut manifest, before) = match whole() {
        Ok(whole) => whole,
        Err(Error::Io(error)) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error.into());
        }
        Err(_) => {
            fs::remove_dir_all(folder)?;
            return Ok(None);
        }
    };
    let found = count(&rows, &rehearsal, ids);
    let here = rows.iter().map(|row| row.id).chain(rehearsal.iter().filter_map(|one| one.id));
    let mut erased = before.unwrap_or_default();
    let known = erased.ids.intersection(ids).count();
    erased.ids.extend(here.filter(|id| ids.contains(id)));
    if erased.ids.is_empty() {
        return Ok(Some(0));
    }
    rows.retain(|row| !ids.contains(&row.id));
    rehearsal.retain(|one| one.id.is_none_or(|id| !ids.contains(&id)));
    let left: BTreeSet<&str> = rows.iter().map(|row| row.family.as_str()).collect();
    manifest.families.retain(|name, _| left.contains(name.as_str()));
    manifest.waiting.retain(|one| !ids.contains(&one.id));
    let (rows, rehearsal) = (lines(&rows)?, lines(&rehearsal)?);
    erased.left = hash(&rows, &rehearsal, &manifest)?;
    // First what shall be gone: killed in between, the content fits no hash, nothing is trained on it, and the
    // repetition comes to the same end.
    replace(&folder.join(ERASED), &serde_json::to_vec_pretty(&erased)?)?;
    replace(&folder.join(ROWS), &rows)?;
    replace(&folder.join(REHEARSAL), &rehearsal)?;
    replace(&folder.join(MANIFEST), &serde_json::to_vec_pretty(&manifest)?)?;
    Ok(Some(found.max(known)))
}

fn contents(folder: &Path) -> Result<(Vec<Example>, Vec<Rehearsal>)> {
    let corrupt = |detail| Error::Corrupt { path: folder.to_owned(), detail };
    let rows = read_lines(&fs::read(folder.join(ROWS))?).map_err(corrupt)?;
    let rehearsal = read_lines(&fs::read(folder.join(REHEARSAL))?).map_err(corrupt)?;
    Ok((rows, rehearsal))
}

fn count(rows: &[Example], rehearsal: &[Rehearsal], ids: &BTreeSet<InteractionId>) -> usize {
    rows.iter().filter(|row| ids.contains(&row.id)).count()
        + rehearsal.iter().filter(|one| one.id.is_some_and(|id| ids.contains(&id))).count()
}

impl Snapshot {
    /// Whether rows were taken out of it since it was made: it can be read, but it teaches nothing any more.
    #[must_use]
    pub fn is_erased(folder: &Path) -> bool {
        folder.join(ERASED).exists()
    }
}
