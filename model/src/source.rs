//! Where a model comes from: a Hugging Face folder, a GGUF file, or the starter in the binary.

mod mend;

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    Error, ModelConfig,
    files::{map, read_file},
    gguf::{self, Gguf},
    small_files::SmallFiles,
};
use hone_text::{ChatTemplate, Tokenizer};

/// Bytes of the small files of a model; those of the largest models are some hundred kilobytes.
const SMALL_FILE: u64 = 8 << 20;
/// Bytes of `tokenizer.json`; the largest vocabularies need about half of it.
const TOKENIZER_FILE: u64 = 64 << 20;

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A folder as Hugging Face lays it out: `config.json`, `*.safetensors`, `tokenizer.json`, …
    Folder(PathBuf),
    /// A GGUF file, whose metadata has all that a folder has beside the weights.
    Gguf(PathBuf),
    /// The starter model inside of the binary (feature `starter`).
    Starter,
    /// One of these, with the chat template of a Jinja file in place of its own.
    Templated(Box<Source>, PathBuf),
}

impl Source {
    /// The model at a path: a file is taken for GGUF, all else for a folder.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        let is_file = path.is_file() || path.extension().is_some_and(|end| end == "gguf");
        let path = path.to_owned();
        if is_file { Self::Gguf(path) } else { Self::Folder(path) }
    }

    /// The same model with the chat template of a Jinja file.
    #[must_use]
    pub fn with_chat_template(self, file: &Path) -> Self {
        Self::Templated(Box::new(self), file.to_owned())
    }

    /// The model itself, whatever its chat template.
    pub(crate) fn model(&self) -> &Self {
        match self {
            Self::Templated(model, _) => model.model(),
            model => model,
        }
    }

    /// Whether this is a model that can be packed, as far as everything but its weights says.
    ///
    /// # Errors
    /// It is not there, damaged, or of an unsupported kind.
    pub fn inspect(&self) -> Result<ModelConfig, Error> {
        let small = self.small_files()?;
        let config = ModelConfig::parse(&small.config, small.generation.as_deref())?;
        Tokenizer::from_bytes(&small.tokenizer)?;
        ChatTemplate::from_config(&small.tokenizer_config)?;
        Ok(config)
    }

    /// Reads everything but the weights.
    pub(crate) fn small_files(&self) -> Result<SmallFiles, Error> {
        match self {
            Self::Templated(model, file) => return templated(model.small_files()?, file),
            Self::Gguf(path) => {
                let (map, _) = map(path)?;
                return Gguf::parse(&gguf::file_name(path), &map)?.small_files();
            }
            Self::Folder(_) | Self::Starter => {}
        }
        let tokenizer_config = match self.optional("tokenizer_config.json")? {
            Some(bytes) => bytes.into_owned(),
            None => b"{}".to_vec(),
        };
        let template = self.optional("chat_template.jinja")?;
        let mut small = SmallFiles {
            config: self.required("config.json")?,
            generation: self.optional("generation_config.json")?.map(Cow::into_owned),
            tokenizer: self.required("tokenizer.json")?,
            tokenizer_config: match template {
                Some(template) => {
                    with_template(&tokenizer_config, &template, "chat_template.jinja")?
                }
                None => tokenizer_config,
            },
        };
        mend::mend(&mut small, self.optional("added_tokens.json")?.as_deref())?;
        Ok(small)
    }

    fn required(&self, name: &str) -> Result<Vec<u8>, Error> {
        match self.optional(name)? {
            Some(bytes) => Ok(bytes.into_owned()),
            None => Err(Error::Io {
                path: self.path().join(name),
                source: std::io::Error::new(std::io::ErrorKind::NotFound, self.what_to_name()),
            }),
        }
    }

    fn optional(&self, name: &str) -> Result<Option<Cow<'static, [u8]>>, Error> {
        match self {
            Self::Starter => Ok(crate::starter::file(name)?.map(Cow::Borrowed)),
            Self::Gguf(_) => Ok(None),
            Self::Templated(model, _) => model.optional(name),
            Self::Folder(folder) => {
                let path = folder.join(name);
                let most = if name == "tokenizer.json" { TOKENIZER_FILE } else { SMALL_FILE };
                match read_file(&path, most) {
                    Ok(bytes) => Ok(Some(Cow::Owned(bytes))),
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(source) => Err(Error::Io { path, source }),
                }
            }
        }
    }

    /// What helps whoever named something that is no model.
    fn what_to_name(&self) -> String {
        let what = "not found; a model is a GGUF file, or a folder with config.json, *.safetensors and tokenizer.json";
        let inside = std::fs::read_dir(self.path()).into_iter().flatten().flatten();
        let is_gguf = |path: &PathBuf| path.extension().is_some_and(|end| end == "gguf");
        match inside.map(|entry| entry.path()).filter(is_gguf).min() {
            Some(file) => format!("{what}; name the file itself: {}", file.display()),
            None => what.to_owned(),
        }
    }

    /// Its folder or file; for the one in the binary its name.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::Gguf(path) => path,
            Self::Starter => Path::new("starter"),
            Self::Templated(model, _) => model.path(),
        }
    }
}

/// The small files with the chat template of a file, which is tried, so that a refusal names it.
fn templated(mut small: SmallFiles, file: &Path) -> Result<SmallFiles, Error> {
    let template = read_file(file, SMALL_FILE).map_err(Error::io(file))?;
    let name = file.to_string_lossy();
    small.tokenizer_config = with_template(&small.tokenizer_config, &template, &name)?;
    ChatTemplate::from_config(&small.tokenizer_config).map_err(|e| Error::invalid(&*name, e))?;
    Ok(small)
}

/// The configuration with the chat template of a file of its own, as newer transformers keep it; it goes before the one in the
/// configuration.
fn with_template(tokenizer_config: &[u8], template: &[u8], file: &str) -> Result<Vec<u8>, Error> {
    let bad = |e: &dyn std::fmt::Display| Error::invalid("tokenizer_config.json", e);
    let mut config: Value = serde_json::from_slice(tokenizer_config).map_err(|e| bad(&e))?;
    let template = String::from_utf8(template.to_vec()).map_err(|e| Error::invalid(file, e))?;
    match config.as_object_mut() {
        Some(object) => object.insert("chat_template".into(), Value::String(template)),
        None => return Err(bad(&"not an object")),
    };
    serde_json::to_vec(&config).map_err(|e| bad(&e))
}
