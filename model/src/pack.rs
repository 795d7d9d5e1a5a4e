//! Packing a model once: `<base>/<digest>/` with `weights.hone` and the small files.
//!
//! The folder is named by the digest of everything it was made from, written aside, synced and renamed: it is either
//! whole or not there, and two processes that pack at once end with the same folder. Whoever opens it checks each byte
//! before any is used; what a disk or a hand changed is packed again.

mod choose;
mod listed;
mod manifest;
mod remembered;
mod unpacked;
mod weights;
mod write;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

pub use listed::{Packed, packed};
pub(crate) use manifest::Manifest;
pub(crate) use unpacked::digest_unpacked;
pub(crate) use weights::Weights;

use crate::{Error, ModelConfig, Source, WeightFormat, load::Checkpoint, small_files::SmallFiles};
use fail::fail_point;
use hone_durable::AsideFolder;
use remembered::Remembered;

/// Changes for a format whenever the layout of `weights.hone` does, or what it is packed to: adapters are bound to it.
const fn pack_version(format: WeightFormat) -> u32 {
    match format {
        WeightFormat::F32 | WeightFormat::Bf16 | WeightFormat::Q8 => 1,
        WeightFormat::Q4 => 2,
    }
}

/// Bytes of a source that are hashed between two reports of how far it is.
const REPORTED: usize = 64 << 20;

/// What is being done with a model before it can be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackStage {
    /// Its files are read and hashed.
    Reading,
    /// Its weights are packed.
    Packing,
}

/// Told while a model is packed: the stage, and how many bytes of how many are done.
pub type PackProgress<'a> = &'a mut dyn FnMut(PackStage, u64, u64);

/// A packed base, mapped, every byte of it checked.
///
/// The map is of the file: what is written into it in place, or cut off, after it was checked is not noticed (a cut ends
/// the process). Hone never does either; it writes packed files aside and renames them.
#[derive(Clone)]
pub struct Pack {
    folder: PathBuf,
    repaired: Option<String>,
    pub(crate) manifest: Manifest,
    pub(crate) small: Arc<SmallFiles>,
    pub(crate) weights: Weights,
}

impl std::fmt::Debug for Pack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pack").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Bytes of the weights of a model that is packed in this format.
#[must_use]
pub fn packed_bytes(config: &ModelConfig, format: WeightFormat) -> u64 {
    weights::plan(config, format).iter().map(|entry| entry.bytes() as u64).sum()
}

/// [`Pack::prepare`], for who wants only the folder.
///
/// # Errors
/// Those of [`Pack::prepare`].
pub fn prepare(source: &Source, format: WeightFormat, base_dir: &Path) -> Result<PathBuf, Error> {
    Pack::prepare(source, format, base_dir).map(|pack| pack.folder)
}

impl Pack {
    /// [`Pack::prepare_with`], without a word.
    ///
    /// # Errors
    /// Those of [`Pack::prepare_with`].
    pub fn prepare(source: &Source, format: WeightFormat, base_dir: &Path) -> Result<Self, Error> {
        Self::prepare_with(source, format, base_dir, &mut |_, _, _| {})
    }

    /// Opens the packed folder of a model in `base_dir`. If there is none, or what is there is not what was packed, packs
    /// the model. A source that was not changed since it was packed is not read again, but for its small files.
    ///
    /// # Errors
    /// If the source is incomplete, of an unsupported kind, or cannot be read, or if the folder cannot be written;
    /// [`Error::Rotten`] if the folder is damaged and the source is not what it was, though nobody changed it.
    pub fn prepare_with(
        source: &Source,
        format: WeightFormat,
        base_dir: &Path,
        progress: PackProgress<'_>,
    ) -> Result<Self, Error> {
        let small = source.small_files()?;
        let config = ModelConfig::parse(&small.config, small.generation.as_deref())?;
        let checkpoint = Checkpoint::open(source)?;
        fs_err::create_dir_all(base_dir).map_err(Error::io(base_dir))?;
        hone_durable::sweep(base_dir);
        hone_durable::sweep(&base_dir.join(remembered::FOLDER));
        let remembered = Remembered::of(source, format, &small, &checkpoint)?;
        let known = remembered.digest(base_dir);
        if let Some(digest) = &known
            && let Ok(pack) = Self::open_of(&base_dir.join(digest), &small, digest)
        {
            return Ok(pack);
        }
        let digest = digest(&small, &checkpoint, format, progress);
        if known.is_some_and(|known| known != digest) {
            return Err(Error::Rotten { path: source.path().to_owned() });
        }
        let target = base_dir.join(&digest);
        let damage = match Self::open_of(&target, &small, &digest) {
            Ok(pack) => {
                remember(remembered, &checkpoint, base_dir, &digest);
                return Ok(pack);
            }
            Err(damage) => target.symlink_metadata().is_ok().then_some(damage),
        };
        // What the system lacks says nothing of the folder.
        if let Some(error @ Error::Io { .. }) = damage {
            return Err(error);
        }
        let written = AsideFolder::within(base_dir).map_err(Error::io(base_dir))?;
        let made = Made { config: &config, small: &small, checkpoint: &checkpoint, format };
        made.write(written.path(), &digest, progress)?;
        publish(written, &target, base_dir, || Self::open_of(&target, &small, &digest).is_ok())?;
        let mut pack = Self::open_of(&target, &small, &digest)?;
        remember(remembered, &checkpoint, base_dir, &digest);
        pack.repaired = damage.map(|damage| repair(&damage, source));
        Ok(pack)
    }

    /// The format that a source is served in when nobody names one: that in which it was packed here when it was first asked
    /// for, or else 8 bits where that costs little. `memory` is what the process may have, in bytes.
    ///
    /// The answer is kept beside the packed folders and does not change when the machine does: adapters are bound to a base.
    ///
    /// # Errors
    /// The source is none, or the folder cannot be read or written.
    pub fn choose(source: &Source, base_dir: &Path, memory: u64) -> Result<WeightFormat, Error> {
        choose::format(source, base_dir, memory)
    }

    /// What [`Pack::choose`] would answer, without keeping it.
    ///
    /// # Errors
    /// The source is none, or cannot be read.
    pub fn would_choose(
        source: &Source,
        base_dir: &Path,
        memory: u64,
    ) -> Result<WeightFormat, Error> {
        Ok(choose::look(source, base_dir, memory)?.format())
    }

    /// Opens a folder that [`Pack::prepare`] made.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a file is missing, added, or not what was packed; the disk's.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let manifest = Manifest::read(folder)?;
        let small = Arc::new(manifest.small_files(folder)?);
        let weights = Weights::open(folder, &manifest)?;
        let folder = folder.to_owned();
        Ok(Self { folder, repaired: None, manifest, small, weights })
    }

    /// Opens the folder of this digest; its small files must be those of the source.
    fn open_of(folder: &Path, small: &SmallFiles, digest: &str) -> Result<Self, Error> {
        let pack = Self::open(folder)?;
        if pack.manifest.digest != digest || *pack.small != *small {
            return Err(Error::damaged(folder, "it was made from another model"));
        }
        Ok(pack)
    }

    /// The packed folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What was damaged, in one sentence, if it had to be packed again.
    #[must_use]
    pub fn repaired(&self) -> Option<&str> {
        self.repaired.as_deref()
    }
}

fn repair(damage: &Error, source: &Source) -> String {
    let what = match damage {
        Error::Damaged { path, what } => {
            format!("{} was not what was packed: {what}", path.display())
        }
        other => other.to_string(),
    };
    format!("{what}; it was packed again from {}", source.path().display())
}

/// Lets the next start know the source by its looks. Failing to only costs time then.
fn remember(source: Remembered, checkpoint: &Checkpoint, base_dir: &Path, digest: &str) {
    drop(source.keep(checkpoint, base_dir, digest));
}

/// Gives a written folder its name. What is in the way is damaged, unless another process was faster: its folder has the
/// same content.
fn publish(
    written: AsideFolder,
    target: &Path,
    base_dir: &Path,
    is_whole: impl Fn() -> bool,
) -> Result<(), Error> {
    let damaged = AsideFolder::within(base_dir).map_err(Error::io(base_dir))?;
    if target.symlink_metadata().is_ok() && !is_whole() {
        fs_err::rename(target, damaged.path().join("damaged")).map_err(Error::io(target))?;
    }
    fail_point!("pack.write");
    match written.publish(target) {
        Ok(()) => Ok(()),
        Err(_) if is_whole() => Ok(()),
        Err(source) => Err(Error::Io { path: target.to_owned(), source }),
    }
}

fn digest(
    small: &SmallFiles,
    checkpoint: &Checkpoint,
    format: WeightFormat,
    progress: PackProgress<'_>,
) -> String {
    let total: u64 = checkpoint.raw().map(|(_, bytes)| bytes.len() as u64).sum();
    let mut hasher = blake3::Hasher::new();
    let mut done = 0;
    let mut field = |name: &str, bytes: &[u8], is_tensors: bool| {
        // Lengths keep fields apart.
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        for part in bytes.chunks(REPORTED) {
            hasher.update_rayon(part);
            if is_tensors {
                done += part.len() as u64;
                progress(PackStage::Reading, done, total);
            }
        }
    };
    field("pack_version", &pack_version(format).to_le_bytes(), false);
    field("format", format.name().as_bytes(), false);
    field("config.json", &small.config, false);
    field("generation_config.json", small.generation.as_deref().unwrap_or_default(), false);
    field("tokenizer.json", &small.tokenizer, false);
    field("tokenizer_config.json", &small.tokenizer_config, false);
    for (name, bytes) in checkpoint.raw() {
        field(name, bytes, true);
    }
    hasher.finalize().to_hex().to_string()
}

/// What a packed folder is made from.
struct Made<'a> {
    config: &'a ModelConfig,
    small: &'a SmallFiles,
    checkpoint: &'a Checkpoint,
    format: WeightFormat,
}

impl Made<'_> {
    fn write(&self, folder: &Path, digest: &str, progress: PackProgress<'_>) -> Result<(), Error> {
        for (name, bytes) in self.small.named() {
            write_synced(&folder.join(name), bytes)?;
        }
        let tensors = self.checkpoint.tensors()?;
        let config = ModelConfig {
            tie_word_embeddings: self.config.tie_word_embeddings
                && !tensors.have_another_head(self.config)?,
            ..self.config.clone()
        };
        let (bytes, blocks) = write::write(folder, &config, &tensors, self.format, progress)?;
        Manifest::new(digest, self.format, self.small, bytes, blocks).write(folder)
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    hone_durable::write_synced(path, bytes).map_err(Error::io(path))
}
