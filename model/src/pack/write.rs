//! Writing `weights.hone` on all cores, with a checksum for each block.
//!
//! Panels are packed side by side and written in their order, so that the file has the same bytes whatever the number of
//! threads.

use std::{
    io::{BufWriter, Write},
    path::Path,
};

use hone_device::layout::{LANES, pack_panel, panel_bytes};
use rayon::prelude::*;

use super::{
    PackProgress, PackStage,
    manifest::WEIGHTS as NAME,
    weights::{ALIGN, BLOCK, Entry, MAGIC, plan},
};
use crate::{Error, ModelConfig, WeightFormat, load::Tensors, tensors::Part};

/// Packed bytes that are made before they are written.
const BATCH: usize = 16 * BLOCK;

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
            let filled = self.written as usize % BLOCK;
            let (now, rest) = if filled == 0 && bytes.len() > BLOCK {
                // Whole blocks, on all cores.
                let (now, rest) = bytes.split_at(bytes.len() / BLOCK * BLOCK);
                let hash = |block| blake3::hash(block).to_hex().to_string();
                self.blocks.par_extend(now.par_chunks(BLOCK).map(hash));
                (now, rest)
            } else {
                let (now, rest) = bytes.split_at((BLOCK - filled).min(bytes.len()));
                self.hasher.update(now);
                if filled + now.len() == BLOCK {
                    self.end_block();
                }
                (now, rest)
            };
            self.written += now.len() as u64;
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
    progress: PackProgress<'_>,
) -> Result<(u64, Vec<String>), Error> {
    let path = &folder.join(NAME);
    let entries = plan(config, format);
    let total = entries.last().map_or(0, |last| (last.offset + last.padded()) as u64);
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
    let mut done = 0;
    let mut put = |bytes: &[u8]| {
        if bytes.is_empty() {
            return Ok(());
        }
        out.put(bytes).map_err(Error::io(path))?;
        done += bytes.len() as u64;
        progress(PackStage::Packing, done, total);
        Ok(())
    };
    for entry in &entries {
        if entry.outputs == 0 {
            let values = tensors.read(&entry.name, &[entry.inputs])?;
            put(bytemuck::cast_slice(&values))?;
        } else {
            pack(entry, tensors, &mut put)?;
        }
        put(&[0; ALIGN][..entry.padded() - entry.bytes()])?;
    }
    if !(out.written as usize).is_multiple_of(BLOCK) {
        out.end_block();
    }
    let file = out.inner.into_inner().map_err(|e| Error::io(path)(e.into_error()))?;
    file.sync_all().map_err(Error::io(path))?;
    Ok((out.written, out.blocks))
}

/// Packs a matrix and puts it out, some panels at a time.
fn pack(
    entry: &Entry,
    tensors: &Tensors<'_>,
    put: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let Entry { name, format, inputs, outputs, part_of, .. } = entry;
    let (name, start, rows) = match part_of {
        Some(Part { name, first, of }) => (name, *first, *of),
        None => (name, 0, *outputs),
    };
    let matrix = tensors.matrix(name, rows, *inputs)?;
    let size = panel_bytes(*format, *inputs).max(1);
    let at_once = (BATCH / size).max(rayon::current_num_threads());
    let panels = outputs.div_ceil(LANES);
    let mut batch = vec![0; at_once.min(panels) * size];
    for first in (0..panels).step_by(at_once) {
        let batch = &mut batch[..at_once.min(panels - first) * size];
        batch.par_chunks_mut(size).enumerate().try_for_each_init(
            Vec::new,
            |values, (index, panel)| {
                let from = (first + index) * LANES;
                let to = (from + LANES).min(*outputs);
                let columns = matrix.rows(*inputs, start + from..start + to, values)?;
                // Columns that are not there are zero in every format.
                panel.fill(0);
                pack_panel(*format, *inputs, columns, panel);
                Ok::<_, Error>(())
            },
        )?;
        put(batch)?;
    }
    Ok(())
}
