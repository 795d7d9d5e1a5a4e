//! The cache of huggingface_hub: `models--org--name/` with `blobs/<etag>`, `snapshots/<commit>/<file>` (links to blobs) and
//! `refs/<revision>` (a commit).

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use crate::{
    Error, Name,
    listing::{self, Wanted},
    name::is_commit,
};

/// A model that lies in the cache, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubSnapshot {
    /// The commit.
    pub commit: String,
    /// The folder, or the GGUF file.
    pub path: PathBuf,
}

/// The folder of one repository.
#[derive(Debug, Clone)]
pub(crate) struct Repo {
    folder: PathBuf,
    locks: PathBuf,
}

impl Repo {
    pub(crate) fn of(cache: &Path, name: &Name) -> Self {
        let folder = format!("models--{}", name.repo().replace('/', "--"));
        Self { locks: cache.join(".locks").join(&folder), folder: cache.join(folder) }
    }

    /// The commit that a revision had when it was last asked for.
    pub(crate) fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let text = fs_err::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// What a model needs of a commit, if all of it is there, whoever downloaded it.
    pub(crate) fn whole(&self, name: &Name, commit: &str) -> Option<HubSnapshot> {
        let folder = self.snapshot(commit);
        let files = files_below(&folder);
        let wanted = listing::wanted(name, files.iter().map(String::as_str)).ok()?;
        let shards = match wanted {
            Wanted::Gguf(file) => {
                return Some(HubSnapshot { commit: commit.to_owned(), path: folder.join(file) });
            }
            Wanted::Folder { index: Some(index), .. } => {
                listing::shards(&fs_err::read(folder.join(index)).ok()?)?
            }
            Wanted::Folder { .. } => Vec::new(),
        };
        let is_there = |file: &String| folder.join(file).is_file();
        shards.iter().all(is_there).then(|| HubSnapshot { commit: commit.to_owned(), path: folder })
    }

    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    pub(crate) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// Takes the lock that huggingface_hub takes, too, while it downloads this blob.
    pub(crate) fn lock(&self, etag: &str) -> Result<File, Error> {
        let path = self.locks.join(format!("{etag}.lock"));
        let lock = || {
            fs_err::create_dir_all(&self.locks)?;
            let file =
                fs_err::OpenOptions::new().create(true).append(true).open(&path)?.into_file();
            file.lock()?;
            Ok(file)
        };
        lock().map_err(Error::io(&path))
    }

    /// Lets a file of a commit be this blob.
    pub(crate) fn link(&self, commit: &str, file: &str, etag: &str) -> Result<(), Error> {
        let path = self.snapshot(commit).join(file);
        let up = "../".repeat(2 + file.matches('/').count());
        let target = PathBuf::from(format!("{up}blobs/{etag}"));
        if fs_err::read_link(&path).is_ok_and(|found| found == target) {
            return Ok(());
        }
        let link = || {
            let folder = path.parent().unwrap_or(&path);
            fs_err::create_dir_all(folder)?;
            // A link cannot be replaced in one step; a new one of another name can take its place.
            let new = tempfile::Builder::new().prefix(".link-").tempdir_in(folder)?;
            let made = new.path().join("link");
            std::os::unix::fs::symlink(&target, &made)?;
            fs_err::rename(made, &path)
        };
        link().map_err(Error::io(&path))
    }

    /// From now on a revision is this commit.
    pub(crate) fn refer(&self, revision: &str, commit: &str) -> Result<(), Error> {
        if is_commit(revision) {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        let write = || {
            let folder = path.parent().unwrap_or(&path);
            fs_err::create_dir_all(folder)?;
            hone_durable::replace(&path, commit.as_bytes())
        };
        write().map_err(Error::io(&path))
    }
}

/// The files below a snapshot by their paths in the repository; dead links are none.
fn files_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(below) = folders.pop() {
        for entry in fs_err::read_dir(folder.join(&below)).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            match fs_err::metadata(entry.path()) {
                Ok(metadata) if metadata.is_file() => found.push(path),
                Ok(metadata) if metadata.is_dir() => folders.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}
