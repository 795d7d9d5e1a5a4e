//! Where a backup goes: a folder, or one archive.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use fs_err::{self as fs, File};

use super::BackupEntry;

/// A folder, or an archive that is being written.
pub(super) enum Sink {
    Folder(PathBuf),
    Archive(Box<tar::Builder<File>>),
}

impl Sink {
    /// A new folder.
    pub(super) fn folder(path: &Path) -> io::Result<Self> {
        fs::create_dir(path)?;
        Ok(Self::Folder(path.to_owned()))
    }

    /// A new archive.
    pub(super) fn archive(path: &Path) -> io::Result<Self> {
        Ok(Self::Archive(Box::new(tar::Builder::new(File::create_new(path)?))))
    }

    /// Copies an open file.
    pub(super) fn put(&mut self, path: &str, file: File) -> anyhow::Result<BackupEntry> {
        let bytes = file.metadata()?.len();
        self.put_bytes(path, bytes, file)
    }

    /// Copies so many bytes.
    pub(super) fn put_bytes(
        &mut self,
        path: &str,
        bytes: u64,
        content: impl Read,
    ) -> anyhow::Result<BackupEntry> {
        let mut content = Hashing::new(content.take(bytes));
        match self {
            Self::Folder(root) => {
                let target = root.join(path);
                if let Some(folder) = target.parent() {
                    fs::create_dir_all(folder)?;
                }
                let mut file = File::create_new(target)?;
                io::copy(&mut content, &mut file)?;
                file.sync_all()?;
            }
            Self::Archive(archive) => {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes);
                header.set_mode(0o600);
                archive.append_data(&mut header, path, &mut content)?;
            }
        }
        let entry = content.entry(path);
        ensure!(entry.bytes == bytes, "{path} became shorter while it was copied; try again");
        Ok(entry)
    }

    /// Everything is on disk when this returns.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Folder(root) => sync_folders(&root).context("the backup's folders"),
            Self::Archive(archive) => {
                let mut file = archive.into_inner()?;
                file.flush()?;
                Ok(file.sync_all()?)
            }
        }
    }
}

fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    hone_durable::sync_dir(folder)
}

/// Hashes what is read through it.
pub(super) struct Hashing<R> {
    inner: R,
    hasher: blake3::Hasher,
}

impl<R: Read> Hashing<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, hasher: blake3::Hasher::new() }
    }

    /// What was read, as a file of this path.
    pub(super) fn entry(&self, path: &str) -> BackupEntry {
        let blake3 = self.hasher.finalize().to_hex().to_string();
        BackupEntry { path: path.to_owned(), bytes: self.hasher.count(), blake3 }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
