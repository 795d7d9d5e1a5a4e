//! The weights of a source: safetensors, one file or an index with shards, or a GGUF file.
//!
//! Names, shapes and number formats are checked against the configuration before anything is packed, so that a wrong
//! or incomplete folder is refused with the tensor's name.

use std::{collections::BTreeMap, fs::File, ops::Range, path::Path, time::SystemTime};

use half::{bf16, f16};
use hone_device::MappedFile;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::Deserialize;

use crate::{
    Error, ModelConfig, Source,
    bitsandbytes::Stored,
    files::{FileState, map, read_file},
    gguf::{self, Gguf},
    tensors::{EMBEDDINGS, HEAD},
};

/// Bytes of an index of shards; that of a model with a hundred thousand tensors is about 10 MiB.
const INDEX_FILE: u64 = 32 << 20;

/// The tensor files of a model, opened.
pub(crate) struct Checkpoint {
    files: Vec<(String, Bytes)>,
    is_gguf: bool,
    opened_at: SystemTime,
}

enum Bytes {
    Mapped(MappedFile, File),
    Static(&'static [u8]),
}

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            Self::Mapped(map, _) => map,
            Self::Static(bytes) => bytes,
        }
    }
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens the tensor files of a source.
    pub(crate) fn open(source: &Source) -> Result<Self, Error> {
        let opened_at = SystemTime::now();
        match source {
            Source::Templated(model, _) => Self::open(model),
            Source::Starter => {
                let name = "model.safetensors";
                let bytes = crate::starter::file(name)?.unwrap_or_default();
                Ok(Self {
                    files: vec![(name.into(), Bytes::Static(bytes))],
                    is_gguf: false,
                    opened_at,
                })
            }
            Source::Gguf(path) => {
                let (map, file) = map(path)?;
                let files = vec![(gguf::file_name(path), Bytes::Mapped(map, file))];
                Ok(Self { files, is_gguf: true, opened_at })
            }
            Source::Folder(folder) => {
                let files = shard_names(folder)?
                    .into_iter()
                    .map(|name| {
                        let (map, file) = map(&folder.join(&name))?;
                        Ok((name, Bytes::Mapped(map, file)))
                    })
                    .collect::<Result<_, Error>>()?;
                Ok(Self { files, is_gguf: false, opened_at })
            }
        }
    }

    /// Just before the files were opened.
    pub(crate) fn opened_at(&self) -> SystemTime {
        self.opened_at
    }

    /// What the opened files look like now.
    pub(crate) fn states(&self) -> std::io::Result<Vec<FileState>> {
        let files = self.files.iter().filter_map(|(name, bytes)| match bytes {
            Bytes::Mapped(_, file) => Some((name, file)),
            Bytes::Static(_) => None,
        });
        files.map(|(name, file)| FileState::of(name, file)).collect()
    }

    /// The raw files, for hashing.
    pub(crate) fn raw(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(name, bytes)| (name.as_str(), bytes.get()))
    }

    /// Parses the headers.
    pub(crate) fn tensors(&self) -> Result<Tensors<'_>, Error> {
        if self.is_gguf
            && let Some((name, bytes)) = self.files.first()
        {
            return Ok(Tensors::Gguf(Box::new(Gguf::parse(name, bytes.get())?)));
        }
        let files = self
            .files
            .iter()
            .map(|(name, bytes)| {
                let parsed = SafeTensors::deserialize(bytes.get())
                    .map_err(|e| Error::invalid(name, format!("{e}; copy the file again")))?;
                Ok((name.as_str(), parsed))
            })
            .collect::<Result<_, Error>>()?;
        Ok(Tensors::Safetensors(files))
    }
}

fn shard_names(folder: &Path) -> Result<Vec<String>, Error> {
    let single = "model.safetensors";
    if folder.join(single).is_file() {
        return Ok(vec![single.into()]);
    }
    let name = "model.safetensors.index.json";
    let path = folder.join(name);
    let bytes = match read_file(&path, INDEX_FILE) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::invalid(
                folder.display().to_string(),
                format!("it has neither {single} nor {name}"),
            ));
        }
        Err(source) => return Err(Error::Io { path, source }),
    };
    let index: Index = serde_json::from_slice(&bytes).map_err(|e| Error::invalid(name, e))?;
    let mut names: Vec<String> = index.weight_map.into_values().collect();
    names.sort();
    names.dedup();
    // A name with a path in it would read files outside of the folder.
    if let Some(bad) = names.iter().find(|n| n.contains(['/', '\\']) || n.starts_with('.')) {
        return Err(Error::invalid(name, format!("shard name {bad:?} is no plain file name")));
    }
    Ok(names)
}

/// The parsed headers of a checkpoint.
pub(crate) enum Tensors<'a> {
    /// Of each file.
    Safetensors(Vec<(&'a str, SafeTensors<'a>)>),
    /// Of the one file.
    Gguf(Box<Gguf<'a>>),
}

impl<'a> Tensors<'a> {
    /// A tensor as f32, its shape checked.
    pub(crate) fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        match self {
            Self::Gguf(gguf) => gguf.read(name, shape),
            Self::Safetensors(files) => match quantised(files, name, shape)? {
                Some(values) => Ok(values),
                None => to_f32(name, &find(files, name)?, shape),
            },
        }
    }

    /// Whether a folder whose configuration calls the head tied has one that is not the embedding table. transformers takes
    /// it from the file then.
    pub(crate) fn have_another_head(&self, config: &ModelConfig) -> Result<bool, Error> {
        let Self::Safetensors(files) = self else { return Ok(false) };
        let (Ok(head), Ok(table)) = (find(files, HEAD), find(files, EMBEDDINGS)) else {
            return Ok(false);
        };
        if head.dtype() == table.dtype() && head.data() == table.data() {
            return Ok(false);
        }
        let shape = [config.vocab_size, config.hidden_size];
        Ok(to_f32(HEAD, &head, &shape)? != to_f32(EMBEDDINGS, &table, &shape)?)
    }

    /// A matrix, its shape checked, to be read by rows.
    pub(crate) fn matrix(
        &self,
        name: &str,
        outputs: usize,
        inputs: usize,
    ) -> Result<Matrix<'a>, Error> {
        let shape = [outputs, inputs];
        let files = match self {
            // It is turned to f32 on all cores, and its rows may stand elsewhere in the file.
            Self::Gguf(gguf) => return Ok(Matrix::Read(gguf.read(name, &shape)?)),
            Self::Safetensors(files) => files,
        };
        if let Some(values) = quantised(files, name, &shape)? {
            return Ok(Matrix::Read(values));
        }
        let view = find(files, name)?;
        check_shape(name, &view, &shape)?;
        Ok(Matrix::Stored { name: name.into(), format: view.dtype(), bytes: view.data() })
    }
}

/// A matrix in bitsandbytes' 4 bits; `None` if it is not.
fn quantised(
    files: &[(&str, SafeTensors<'_>)],
    name: &str,
    shape: &[usize],
) -> Result<Option<Vec<f32>>, Error> {
    let find = |name: &str| files.iter().find_map(|(_, file)| file.tensor(name).ok());
    Stored { find: &find }.read(name, shape)
}

fn find<'a>(files: &[(&'a str, SafeTensors<'a>)], name: &str) -> Result<TensorView<'a>, Error> {
    files.iter().find_map(|(_, file)| file.tensor(name).ok()).ok_or_else(|| {
        if name == HEAD {
            let cure = "the files have no lm_head.weight; if the embedding table is the head, set \
                        tie_word_embeddings to true";
            return Error::invalid("config.json", cure);
        }
        let file = files.first().map_or("the folder", |(file, _)| *file);
        Error::MissingTensor { name: name.into(), file: file.into() }
    })
}

/// A matrix of a checkpoint, read a few rows at a time, by many threads at once.
pub(crate) enum Matrix<'a> {
    /// As it stands in the file.
    Stored { name: String, format: Dtype, bytes: &'a [u8] },
    /// Read already.
    Read(Vec<f32>),
}

impl Matrix<'_> {
    /// Some rows of `width` values; `out` is the place for those that must be turned to f32 first.
    pub(crate) fn rows<'a>(
        &'a self,
        width: usize,
        rows: Range<usize>,
        out: &'a mut Vec<f32>,
    ) -> Result<&'a [f32], Error> {
        match self {
            Self::Read(values) => Ok(&values[rows.start * width..rows.end * width]),
            Self::Stored { name, format, bytes } => {
                let size = format.bitsize() / 8 * width;
                out.clear();
                widen(name, *format, &bytes[rows.start * size..rows.end * size], out)?;
                Ok(out)
            }
        }
    }
}

/// A tensor view as f32.
///
/// # Errors
/// [`Error::Shape`], [`Error::Unsupported`] for integers and the like, [`Error::NotFinite`].
pub(crate) fn to_f32(
    name: &str,
    view: &TensorView<'_>,
    shape: &[usize],
) -> Result<Vec<f32>, Error> {
    check_shape(name, view, shape)?;
    let mut values = Vec::new();
    widen(name, view.dtype(), view.data(), &mut values)?;
    Ok(values)
}

fn check_shape(name: &str, view: &TensorView<'_>, shape: &[usize]) -> Result<(), Error> {
    if view.shape() == shape {
        return Ok(());
    }
    Err(Error::Shape { name: name.into(), found: view.shape().to_vec(), expected: shape.to_vec() })
}

fn widen(name: &str, format: Dtype, data: &[u8], out: &mut Vec<f32>) -> Result<(), Error> {
    let pairs = || data.as_chunks::<2>().0.iter();
    match format {
        Dtype::F32 => out.extend(data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b))),
        Dtype::BF16 => out.extend(pairs().map(|b| bf16::from_le_bytes(*b).to_f32())),
        Dtype::F16 => out.extend(pairs().map(|b| f16::from_le_bytes(*b).to_f32())),
        other => {
            return Err(Error::Unsupported {
                what: format!("number format {other:?} of tensor {name}"),
                supported: "F32, BF16, F16".into(),
            });
        }
    }
    // No branch for each value: then the loop runs on vectors.
    if out.iter().fold(true, |finite, value| finite & value.is_finite()) {
        Ok(())
    } else {
        Err(Error::NotFinite { name: name.into() })
    }
}
