//! `weights.hone`: the packed matrices, each block checked before they are mapped.

use std::{os::unix::fs::FileExt as _, path::Path, sync::Arc};

use hone_device::{MappedFile, PackedMatrix, layout::matrix_bytes};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    Manifest,
    manifest::{WEIGHTS as NAME, open, unreadable},
};
use crate::{
    Error, ModelConfig, WeightFormat,
    tensors::{self, Part, TensorKind, TensorSpec},
};

/// Bytes that have a checksum of their own.
pub(super) const BLOCK: usize = 1 << 20;
pub(super) const MAGIC: &[u8; 8] = b"HONEPACK";
pub(super) const ALIGN: usize = 64;

/// One matrix or vector in `weights.hone`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) format: WeightFormat,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// From the beginning of the data; a multiple of 64.
    pub(super) offset: usize,
    /// Where its rows lie in the source, if it has no tensor of its own there.
    #[serde(skip)]
    pub(super) part_of: Option<Part>,
}

impl Entry {
    /// Packed bytes.
    pub(super) fn bytes(&self) -> usize {
        match self.outputs {
            0 => self.inputs * 4,
            _ => matrix_bytes(self.format, self.inputs, self.outputs),
        }
    }

    /// The same up to where the next one begins.
    pub(super) fn padded(&self) -> usize {
        self.bytes().next_multiple_of(ALIGN)
    }
}

/// All matrices and vectors of the decoder, in the order of the forward pass. A vector has no outputs and is kept in f32.
pub(super) fn plan(config: &ModelConfig, format: WeightFormat) -> Vec<Entry> {
    let mut end = 0;
    let place = |tensor: TensorSpec| {
        let TensorSpec { name, kind, part_of } = tensor;
        let (format, inputs, outputs) = match kind {
            TensorKind::Vector { length } => (WeightFormat::F32, length, 0),
            TensorKind::Linear { inputs, outputs } => (format, inputs, outputs),
            TensorKind::Vocabulary { inputs, outputs } => (format.for_head(), inputs, outputs),
        };
        let entry = Entry { name, format, inputs, outputs, offset: end, part_of };
        end += entry.padded();
        entry
    };
    tensors::all(config).into_iter().map(place).collect()
}

/// The weights of a packed folder, mapped.
#[derive(Clone)]
pub(crate) struct Weights {
    map: MappedFile,
    entries: Arc<[Entry]>,
    data_at: usize,
}

impl Weights {
    /// Checks every byte of the file, and maps it.
    pub(super) fn open(folder: &Path, manifest: &Manifest) -> Result<Self, Error> {
        let path = &folder.join(NAME);
        let file = open(path)?;
        check(path, &file, manifest)?;
        let map = MappedFile::new(&file).map_err(Error::io(path))?;
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
        Ok(Self { map, entries: entries.into(), data_at })
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

    /// Whether there is such a tensor.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.name == name)
    }

    /// A matrix that stays in the mapped file.
    pub(crate) fn matrix(
        &self,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<PackedMatrix, Error> {
        let (entry, at) = self.find(name, inputs, outputs)?;
        PackedMatrix::mapped(entry.format, (inputs, outputs), self.map.clone(), at)
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
