//! GGUF files as models: their metadata becomes the small files that a Hugging Face folder has, and their tensors are
//! read by the names of that folder, one at a time.
//!
//! ```text
//! header     lengths checked, nothing copied   (cursor, value)
//! config     llama.*          -> config.json, or a refusal by the key's name   (rope, families)
//! sampling   general.sampling.* -> generation_config.json
//! tokenizer  tokenizer.ggml.* -> tokenizer.json, tokenizer_config.json with the chat template
//! names      blk.0.attn_q     -> model.layers.0.self_attn.q_proj, halves of heads put back
//! blocks     Q4_K and others  -> f32
//! ```

mod blocks;
mod config;
mod cursor;
mod families;
mod header;
mod keys;
mod names;
mod rope;
mod sampling;
#[cfg(test)]
mod testing;
mod tokenizer;
mod value;

use std::path::Path;

use families::Layout;
use header::Header;

use crate::{Error, ModelConfig, small_files::SmallFiles};

/// A GGUF file that was read as far as its header.
pub(crate) struct Gguf<'a> {
    file: &'a str,
    header: Header<'a>,
    config: Vec<u8>,
    parsed: ModelConfig,
    layout: &'static Layout,
}

impl<'a> Gguf<'a> {
    /// Reads the header of a file of this name.
    ///
    /// # Errors
    /// It is damaged, or holds a model that the decoder does not have, or no model.
    pub(crate) fn parse(file: &'a str, bytes: &'a [u8]) -> Result<Self, Error> {
        let header = Header::parse(file, bytes)?;
        let (config, layout) = config::of(file, &header)?;
        let parsed = ModelConfig::parse(&config, None)?;
        Ok(Self { file, header, config, parsed, layout })
    }

    /// Everything but the weights.
    ///
    /// # Errors
    /// Its tokenizer is none that this build knows.
    pub(crate) fn small_files(&self) -> Result<SmallFiles, Error> {
        let (tokenizer, tokenizer_config) = tokenizer::of(self.file, &self.header)?;
        Ok(SmallFiles {
            config: self.config.clone(),
            generation: self.generation()?,
            tokenizer,
            tokenizer_config,
        })
    }

    /// How tokens are drawn, if the file says.
    fn generation(&self) -> Result<Option<Vec<u8>>, Error> {
        sampling::generation(keys::Keys { file: self.file, metadata: &self.header.metadata })
    }

    /// A tensor by Hugging Face's name, as f32, its shape checked.
    pub(crate) fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        names::read(self, name, shape)
    }
}

/// The name of the file itself, for refusals.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
