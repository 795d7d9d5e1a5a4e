//! `weights.hone`: the packed matrices, written with a checksum for each block and checked before they are mapped.

use std::{
    io::{BufWriter, Write},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::Arc,
};

use memmap2::Mmap;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    Manifest,
    manifest::{open, unreadable},
};
use crate::{
    Error, ModelConfig, WeightFormat,
    decoder::tensors::{self, Part, TensorKind, TensorSpec},
    kernels::{
        layout::{matrix_bytes, pack_panel, panel_bytes},
        simd::LANES,
    },
    linear::{Linear, Storage},
    load::{Tensors, map_opened},
};

/// The file's name within a packed folder.
pub(super) const NAME: &str = "weights.hone";
/// Bytes that have a checksum of their own.
pub(super) const BLOCK: usize = 1 << 20;
const MAGIC: &[u8; 8] = b"HONEPACK";
const ALIGN: usize = 64;

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

/// All matrices and vectors of the decoder, in the order of the forward pass. A vector has no outputs and is kept in f32.
fn plan(config: &ModelConfig, format: WeightFormat) -> Vec<(Entry, Option<Part>)> {
    let mut end = 0;
    let place = |tensor: TensorSpec| {
        let (format, inputs, outputs, bytes) = match tensor.kind {
            TensorKind::Vector { length } => (WeightFormat::F32, length, 0, length * 4),
            TensorKind::Linear { inputs, outputs } => {
                (format, inputs, outputs, matrix_bytes(format, inputs, outputs))
            }
            TensorKind::Vocabulary { inputs, outputs } => {
                let format = format.for_head();
                (format, inputs, outputs, matrix_bytes(format, inputs, outputs))
            }
        };
        let entry = Entry { name: tensor.name, format, inputs, outputs, offset: end };
        end += bytes.next_multiple_of(ALIGN);
        (entry, tensor.part_of)
    };
    tensors::all(config).into_iter().map(place).collect()
}

/// Hashes what passes through, block by block.
struct Hashing<W> {
    inner: W,
    hasher: blake3::Hasher,
    blocks: Vec<String>,
    written: u64,
}

impl<W: Write> Hashing<W> {
    fn put(&mut self, mut bytes: &[u8]) -> std::io::Result<()> {
        self.inner.write_all(bytes)?;
        while !bytes.is_empty() {
            let room = BLOCK - self.written as usize % BLOCK;
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            self.hasher.update(now);
            self.written += now.len() as u64;
            if now.len() == room {
                self.end_block();
            }
            bytes = rest;
        }
        Ok(())
    }

    fn end_block(&mut self) {
        self.blocks.push(self.hasher.finalize().to_hex().to_string());
        self.hasher.reset();
    }

    fn pad(&mut self) -> std::io::Result<()> {
        let rest = (self.written as usize).next_multiple_of(ALIGN) - self.written as usize;
        self.put(&[0; ALIGN][..rest])
    }
}

/// Writes the file; how many bytes it has, and the BLAKE3 of each block.
pub(super) fn write(
    folder: &Path,
    config: &ModelConfig,
    tensors: &Tensors<'_>,
    format: WeightFormat,
) -> Result<(u64, Vec<String>), Error> {
    let path = &folder.join(NAME);
    let plan = plan(config, format);
    let entries: Vec<&Entry> = plan.iter().map(|(entry, _)| entry).collect();
    let header = serde_json::to_vec(&entries).map_err(|e| Error::invalid(NAME, e))?;
    let file = fs_err::File::create(path).map_err(Error::io(path))?.into_file();
    let mut out = Hashing {
        inner: BufWriter::with_capacity(1 << 20, file),
        hasher: blake3::Hasher::new(),
        blocks: Vec::new(),
        written: 0,
    };
    out.put(MAGIC).map_err(Error::io(path))?;
    out.put(&(header.len() as u64).to_le_bytes()).map_err(Error::io(path))?;
    out.put(&header).map_err(Error::io(path))?;
    out.pad().map_err(Error::io(path))?;
    for (entry, part) in &plan {
        if entry.outputs == 0 {
            let values = tensors.read(&entry.name, &[entry.inputs])?;
            out.put(bytemuck::cast_slice(&values)).map_err(Error::io(path))?;
        } else {
            let values = read_matrix(tensors, entry, part.as_ref())?;
            let mut panel = vec![0; panel_bytes(entry.format, entry.inputs)];
            for columns in values.chunks(LANES * entry.inputs) {
                panel.fill(0);
                pack_panel(entry.format, entry.inputs, columns, &mut panel);
                out.put(&panel).map_err(Error::io(path))?;
            }
        }
        out.pad().map_err(Error::io(path))?;
    }
    if !(out.written as usize).is_multiple_of(BLOCK) {
        out.end_block();
    }
    let file = out.inner.into_inner().map_err(|e| Error::io(path)(e.into_error()))?;
    file.sync_all().map_err(Error::io(path))?;
    Ok((out.written, out.blocks))
}

/// The values of a matrix, which may be some rows of a tensor of the source.
fn read_matrix(
    tensors: &Tensors<'_>,
    entry: &Entry,
    part: Option<&Part>,
) -> Result<Vec<f32>, Error> {
    let Some(Part { name, first, of }) = part else {
        return tensors.read(&entry.name, &[entry.outputs, entry.inputs]);
    };
    let mut whole = tensors.read(name, &[*of, entry.inputs])?;
    whole.truncate((first + entry.outputs) * entry.inputs);
    Ok(whole.split_off(first * entry.inputs))
}

/// The weights of a packed folder, mapped.
#[derive(Clone)]
pub(crate) struct Weights {
    map: Arc<Mmap>,
    entries: Arc<[Entry]>,
    data_at: usize,
}

impl Weights {
    /// Checks every byte of the file, and maps it.
    pub(super) fn open(folder: &Path, manifest: &Manifest) -> Result<Self, Error> {
        let path = &folder.join(NAME);
        let file = open(path)?;
        check(path, &file, manifest)?;
        let map = map_opened(path, &file)?;
        let bad = |reason: &str| Error::damaged(path, reason);
        let header = || {
            let magic = map.get(..8)?;
            let length = u64::from_le_bytes(map.get(8..16)?.try_into().ok()?);
            let end = usize::try_from(length).ok()?.checked_add(16)?;
            (magic == MAGIC).then_some((map.get(16..end)?, end))
        };
        let (json, end) = header().ok_or_else(|| bad("it has no header of packed weights"))?;
        let entries: Vec<Entry> = serde_json::from_slice(json).map_err(|e| bad(&e.to_string()))?;
        let data_at = end.next_multiple_of(ALIGN);
        Ok(Self { map: Arc::new(map), entries: entries.into(), data_at })
    }

    fn find(&self, name: &str, inputs: usize, outputs: usize) -> Result<(&Entry, usize), Error> {
        let entry = self
            .entries
            .iter()
            .find(|entry| entry.name == name)
            .ok_or_else(|| Error::MissingTensor { name: name.into(), file: NAME.into() })?;
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
            .ok_or_else(|| Error::invalid(NAME, format!("{name} ends beyond the file")))
    }

    /// A vector, copied.
    pub(crate) fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>, Error> {
        let (_, at) = self.find(name, length, 0)?;
        let bytes = self
            .map
            .get(at..at + length * 4)
            .ok_or_else(|| Error::invalid(NAME, format!("{name} ends beyond the file")))?;
        Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }
}

/// Whether the file is what was packed. It is read, not mapped: a file that is cut off meanwhile, or a sector that cannot be
/// read, is then an error and not the end of the process. What is mapped afterwards is in the system's cache.
fn check(path: &Path, file: &std::fs::File, manifest: &Manifest) -> Result<(), Error> {
    let length = file.metadata().map_err(Error::io(path))?.len();
    let (expected, blocks) = (manifest.weights_bytes, manifest.blocks.len());
    if length != expected || blocks as u64 != expected.div_ceil(BLOCK as u64) {
        return Err(Error::damaged(path, format!("it has {length} bytes instead of {expected}")));
    }
    let fault = |buffer: &mut Vec<u8>, (index, hash): (usize, &String)| {
        let at = (index * BLOCK) as u64;
        buffer.resize((expected - at).min(BLOCK as u64) as usize, 0);
        match file.read_exact_at(buffer, at) {
            Err(error) => Some(unreadable(path)(error)),
            Ok(()) if blake3::hash(buffer).to_hex().as_str() == hash => None,
            Ok(()) => {
                let end = at + buffer.len() as u64;
                let what = format!("block {} of {blocks}, bytes {at} to {end}", index + 1);
                Some(Error::damaged(path, what))
            }
        }
    };
    let all = manifest.blocks.par_iter().enumerate();
    match all.map_init(Vec::new, fault).find_map_first(|fault| fault) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}
