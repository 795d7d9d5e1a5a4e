//! Which commit of a model a data directory stays with: adapters are bound to a base, so that what a branch moves to must not
//! become the base of the next start by itself.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{Error, Name, name::is_commit};

/// `hub.json` of a data directory: a commit for each model and revision.
#[derive(Debug, Clone)]
pub struct Pins {
    file: PathBuf,
}

impl Pins {
    /// Those in a file, which need not be there.
    #[must_use]
    pub fn new(file: PathBuf) -> Self {
        Self { file }
    }

    /// The commit that a model stays with.
    #[must_use]
    pub fn get(&self, name: &Name) -> Option<String> {
        self.read().remove(&key(name)).filter(|commit| is_commit(commit))
    }

    /// From now on it is this one. The file is whole at any time.
    ///
    /// # Errors
    /// The disk's.
    pub fn set(&self, name: &Name, commit: &str) -> Result<(), Error> {
        let mut pins = self.read();
        if pins.insert(key(name), commit.to_owned()).as_deref() == Some(commit) {
            return Ok(());
        }
        let folder = self.file.parent().unwrap_or(&self.file);
        let write = || {
            fs_err::create_dir_all(folder)?;
            hone_durable::replace(&self.file, &serde_json::to_vec_pretty(&pins)?)
        };
        write().map_err(Error::io(&self.file))
    }

    fn read(&self) -> BTreeMap<String, String> {
        let bytes = fs_err::read(&self.file).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }
}

/// All parts of a repository stay with one commit.
fn key(name: &Name) -> String {
    format!("{}@{}", name.repo(), name.revision())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_kept_by_model_and_revision() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sources/hub.json");
        let pins = Pins::new(file.clone());
        let (main, other) = (Name::parse("a/b").unwrap(), Name::parse("a/b@v1").unwrap());
        let commit = |digit: &str| digit.repeat(40);
        assert_eq!(pins.get(&main), None);
        pins.set(&main, &commit("1")).unwrap();
        pins.set(&other, &commit("2")).unwrap();
        pins.set(&main, &commit("3")).unwrap();
        assert_eq!(pins.get(&main), Some(commit("3")));
        assert_eq!(pins.get(&other), Some(commit("2")));
        fs_err::write(file, "half").unwrap();
        assert_eq!(pins.get(&main), None);
    }
}
