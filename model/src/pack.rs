//! Packing a model once: `<base>/<digest>/` with `weights.hone` and the small files.
//!
//! The folder is named by the digest of everything it was made from, written aside, synced and renamed: it is either
//! whole or not there, and two processes that pack at once end with the same folder.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use memmap2::Mmap;
use serde::{Deserialize, Serialize};

use crate::{
    Error, ModelConfig, Module, Source, WeightFormat,
    kernels::{
        layout::{matrix_bytes, pack_panel, panel_bytes},
        simd::LANES,
    },
    linear::{Linear, Storage},
    load::{Checkpoint, Tensors, map},
    source::SmallFiles,
};

/// Changes whenever the layout of `weights.hone` changes.
const PACK_VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"HONEPACK";
const ALIGN: usize = 64;
/// Beginning of the name of a folder that is being written.
const STAGING: &str = ".packing-";
/// After this time a folder that is being written belongs to a process that was killed.
const STALE: Duration = Duration::from_secs(3600);

/// `manifest.json` of a packed folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) digest: String,
    pub(crate) format: WeightFormat,
    pub(crate) pack_version: u32,
    pub(crate) weights_bytes: u64,
    pub(crate) weights_blake3: String,
}

/// One matrix or vector in `weights.hone`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    name: String,
    format: WeightFormat,
    inputs: usize,
    outputs: usize,
    /// From the beginning of the data; a multiple of 64.
    offset: usize,
}

/// Packs a model's weights into `base_dir` and returns the packed folder. Does nothing if that was done before
/// and the folder is still whole; a damaged one is made again.
///
/// # Errors
/// If the source is incomplete, of an unsupported kind, or cannot be read, or if the folder cannot be written.
pub fn prepare(source: &Source, format: WeightFormat, base_dir: &Path) -> Result<PathBuf, Error> {
    let small = source.small_files()?;
    let config = ModelConfig::parse(&small.config, small.generation.as_deref())?;
    let checkpoint = Checkpoint::open(source)?;
    let digest = digest(&small, &checkpoint, format);
    let target = base_dir.join(&digest);
    if is_whole(&target, &small, &digest) {
        return Ok(target);
    }
    fs_err::create_dir_all(base_dir).map_err(Error::io(base_dir))?;
    remove_leftovers(base_dir);
    let staging = tempfile::Builder::new()
        .prefix(STAGING)
        .tempdir_in(base_dir)
        .map_err(Error::io(base_dir))?;
    let manifest = write_folder(staging.path(), &config, &small, &checkpoint, format, digest)?;
    let bytes = serde_json::to_vec_pretty(&manifest).map_err(|e| Error::invalid("manifest", e))?;
    write_synced(&staging.path().join("manifest.json"), &bytes)?;
    sync_folder(staging.path())?;
    // What is in the way is damaged, unless another process was faster: its folder has the same content.
    let aside = tempfile::Builder::new()
        .prefix(STAGING)
        .tempdir_in(base_dir)
        .map_err(Error::io(base_dir))?;
    if target.symlink_metadata().is_ok() && !is_whole(&target, &small, &manifest.digest) {
        fs_err::rename(&target, aside.path().join("damaged")).map_err(Error::io(&target))?;
    }
    match fs_err::rename(staging.path(), &target) {
        Ok(()) => {}
        Err(_) if is_whole(&target, &small, &manifest.digest) => return Ok(target),
        Err(source) => return Err(Error::Io { path: target, source }),
    }
    sync_folder(base_dir)?;
    Ok(target)
}

/// Whether a packed folder has everything that [`prepare`] writes. The weights' content is not read, only their length:
/// that would cost more than mapping them.
fn is_whole(folder: &Path, small: &SmallFiles, digest: &str) -> bool {
    let read = |name: &str| fs_err::read(folder.join(name)).ok();
    let Some(manifest) = read("manifest.json") else { return false };
    let Ok(manifest) = serde_json::from_slice::<Manifest>(&manifest) else { return false };
    let length = fs_err::metadata(folder.join("weights.hone")).map(|weights| weights.len());
    manifest.digest == digest
        && manifest.pack_version == PACK_VERSION
        && length.is_ok_and(|length| length == manifest.weights_bytes)
        && read("config.json").as_ref() == Some(&small.config)
        && read("tokenizer.json").as_ref() == Some(&small.tokenizer)
        && read("tokenizer_config.json").as_ref() == Some(&small.tokenizer_config)
        && read("generation_config.json") == small.generation
}

/// Deletes what a killed process left. Failing to is no reason not to pack.
fn remove_leftovers(base_dir: &Path) {
    let Ok(entries) = fs_err::read_dir(base_dir) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(STAGING));
        let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
        if ours && age.is_some_and(|age| age > STALE) {
            drop(fs_err::remove_dir_all(entry.path()));
        }
    }
}

fn digest(small: &SmallFiles, checkpoint: &Checkpoint, format: WeightFormat) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut field = |name: &str, bytes: &[u8]| {
        // Lengths keep fields apart.
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    field("pack_version", &PACK_VERSION.to_le_bytes());
    field("format", format.name().as_bytes());
    field("config.json", &small.config);
    field("generation_config.json", small.generation.as_deref().unwrap_or_default());
    field("tokenizer.json", &small.tokenizer);
    field("tokenizer_config.json", &small.tokenizer_config);
    for (name, bytes) in checkpoint.raw() {
        field(name, bytes);
    }
    hasher.finalize().to_hex().to_string()
}

fn write_folder(
    folder: &Path,
    config: &ModelConfig,
    small: &SmallFiles,
    checkpoint: &Checkpoint,
    format: WeightFormat,
    digest: String,
) -> Result<Manifest, Error> {
    write_synced(&folder.join("config.json"), &small.config)?;
    write_synced(&folder.join("tokenizer.json"), &small.tokenizer)?;
    write_synced(&folder.join("tokenizer_config.json"), &small.tokenizer_config)?;
    if let Some(generation) = &small.generation {
        write_synced(&folder.join("generation_config.json"), generation)?;
    }
    let path = folder.join("weights.hone");
    let tensors = checkpoint.tensors()?;
    let (weights_bytes, weights_blake3) = write_weights(&path, config, &tensors, format)?;
    Ok(Manifest { digest, format, pack_version: PACK_VERSION, weights_bytes, weights_blake3 })
}

/// All matrices and vectors of the decoder, in the order of the forward pass. A vector has no outputs and is kept in f32.
fn plan(config: &ModelConfig, format: WeightFormat) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut end = 0;
    let mut push = |name: String, format: WeightFormat, inputs: usize, outputs: usize| {
        let bytes = match outputs {
            0 => inputs * 4,
            _ => matrix_bytes(format, inputs, outputs),
        };
        entries.push(Entry { name, format, inputs, outputs, offset: end });
        end += bytes.next_multiple_of(ALIGN);
    };
    let hidden = config.hidden_size;
    let head = format.for_head();
    push("model.embed_tokens.weight".into(), head, hidden, config.vocab_size);
    for layer in 0..config.num_layers {
        let prefix = format!("model.layers.{layer}");
        push(format!("{prefix}.input_layernorm.weight"), WeightFormat::F32, hidden, 0);
        push(format!("{prefix}.post_attention_layernorm.weight"), WeightFormat::F32, hidden, 0);
        for module in Module::ALL {
            let (inputs, outputs) = config.module_shape(module);
            push(format!("{prefix}.{}.weight", module.path()), format, inputs, outputs);
        }
    }
    push("model.norm.weight".into(), WeightFormat::F32, hidden, 0);
    if !config.tie_word_embeddings {
        push("lm_head.weight".into(), head, hidden, config.vocab_size);
    }
    entries
}

/// Hashes what passes through.
struct Hashing<W> {
    inner: W,
    hasher: blake3::Hasher,
    written: u64,
}

impl<W: Write> Hashing<W> {
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        self.inner.write_all(bytes)
    }

    fn pad(&mut self) -> std::io::Result<()> {
        let rest = (self.written as usize).next_multiple_of(ALIGN) - self.written as usize;
        self.put(&[0; ALIGN][..rest])
    }
}

fn write_weights(
    path: &Path,
    config: &ModelConfig,
    tensors: &Tensors<'_>,
    format: WeightFormat,
) -> Result<(u64, String), Error> {
    let entries = plan(config, format);
    let header = serde_json::to_vec(&entries).map_err(|e| Error::invalid("weights.hone", e))?;
    let file = fs_err::File::create(path).map_err(Error::io(path))?.into_parts().0;
    let mut out = Hashing {
        inner: BufWriter::with_capacity(1 << 20, file),
        hasher: blake3::Hasher::new(),
        written: 0,
    };
    out.put(MAGIC).map_err(Error::io(path))?;
    out.put(&(header.len() as u64).to_le_bytes()).map_err(Error::io(path))?;
    out.put(&header).map_err(Error::io(path))?;
    out.pad().map_err(Error::io(path))?;
    for entry in &entries {
        if entry.outputs == 0 {
            let values = tensors.read(&entry.name, &[entry.inputs])?;
            out.put(bytemuck::cast_slice(&values)).map_err(Error::io(path))?;
        } else {
            let values = tensors.read(&entry.name, &[entry.outputs, entry.inputs])?;
            let mut panel = vec![0; panel_bytes(entry.format, entry.inputs)];
            for columns in values.chunks(LANES * entry.inputs) {
                panel.fill(0);
                pack_panel(entry.format, entry.inputs, columns, &mut panel);
                out.put(&panel).map_err(Error::io(path))?;
            }
        }
        out.pad().map_err(Error::io(path))?;
    }
    let digest = out.hasher.finalize().to_hex().to_string();
    let file = out.inner.into_inner().map_err(|e| Error::io(path)(e.into_error()))?;
    file.sync_all().map_err(Error::io(path))?;
    Ok((out.written, digest))
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let write = || {
        let mut file = fs_err::File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(Error::io(path))
}

fn sync_folder(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(Error::io(path))
}

/// `weights.hone`, mapped.
pub(crate) struct Packed {
    map: Arc<Mmap>,
    entries: Vec<Entry>,
    data_at: usize,
}

impl Packed {
    /// Maps and checks the header; the file must have the manifest's length.
    pub(crate) fn open(folder: &Path, manifest: &Manifest) -> Result<Self, Error> {
        let path = folder.join("weights.hone");
        let bad = |reason: &str| Error::invalid(path.display().to_string(), reason.to_string());
        if manifest.pack_version != PACK_VERSION {
            return Err(bad("packed by another version; pack the model again"));
        }
        let map = map(&path)?;
        if map.len() as u64 != manifest.weights_bytes {
            return Err(bad("not as long as its manifest says; delete the folder and pack again"));
        }
        let header = || {
            let magic = map.get(..8)?;
            let length = u64::from_le_bytes(map.get(8..16)?.try_into().ok()?);
            let end = usize::try_from(length).ok()?.checked_add(16)?;
            (magic == MAGIC).then_some((map.get(16..end)?, end))
        };
        let (json, end) = header().ok_or_else(|| bad("no header of packed weights"))?;
        let entries = serde_json::from_slice(json).map_err(|e| bad(&e.to_string()))?;
        Ok(Self { map: Arc::new(map), entries, data_at: end.next_multiple_of(ALIGN) })
    }

    fn find(&self, name: &str, inputs: usize, outputs: usize) -> Result<(&Entry, usize), Error> {
        let entry = self.entries.iter().find(|entry| entry.name == name).ok_or_else(|| {
            Error::MissingTensor { name: name.into(), file: "weights.hone".into() }
        })?;
        if (entry.inputs, entry.outputs) != (inputs, outputs) {
            return Err(Error::Shape {
                name: name.into(),
                found: vec![entry.outputs, entry.inputs],
                expected: vec![outputs, inputs],
            });
        }
        Ok((entry, self.data_at + entry.offset))
    }

    /// A linear layer that stays in the mapped file.
    pub(crate) fn linear(
        &self,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<Linear, Error> {
        let (entry, at) = self.find(name, inputs, outputs)?;
        let storage = Storage::Mapped(Arc::clone(&self.map), at);
        Linear::new(entry.format, inputs, outputs, storage)
            .ok_or_else(|| Error::invalid("weights.hone", format!("{name} ends beyond the file")))
    }

    /// A vector, copied.
    pub(crate) fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>, Error> {
        let (_, at) = self.find(name, length, 0)?;
        let bytes = self.map.get(at..at + length * 4).ok_or_else(|| {
            Error::invalid("weights.hone", format!("{name} ends beyond the file"))
        })?;
        Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }
}
