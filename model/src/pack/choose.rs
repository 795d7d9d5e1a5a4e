//! Which format a model is packed in when nobody names one.

use std::path::{Path, PathBuf};

use hone_api::sealed;
use serde::{Deserialize, Serialize};

use super::{
    Manifest, digest, packed_bytes,
    remembered::{FOLDER, hash, keep, place},
    weights::plan,
};
use crate::{Error, ModelConfig, Source, WeightFormat, load::Checkpoint, small_files::SmallFiles};

/// Parameters up to which 8 bits are still answered fast enough: each token reads all of them once.
const MOST_PARAMETERS: u64 = 1_500_000_000;
/// The packed weights may take one part in so many of the memory.
const SHARE: u64 = 4;
/// What was ever chosen without being asked, the older default first.
const FOUND: [WeightFormat; 2] = [WeightFormat::Q4, WeightFormat::Q8];

/// What was chosen for a source.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Choice {
    /// The folder, or the file.
    path: PathBuf,
    /// BLAKE3 of the small files: another model in the same place is another choice.
    small: String,
    format: WeightFormat,
}

/// How a format was come by.
pub(super) enum Look {
    /// It is kept, or always the same.
    Known(WeightFormat),
    /// It is new, and to be kept in the file of this name.
    New(String, Choice),
}

impl Look {
    pub(super) fn format(&self) -> WeightFormat {
        match self {
            Self::Known(format) => *format,
            Self::New(_, choice) => choice.format,
        }
    }
}

/// The format, which is kept from now on.
pub(super) fn format(source: &Source, base_dir: &Path, memory: u64) -> Result<WeightFormat, Error> {
    let look = look(source, base_dir, memory)?;
    if let Look::New(name, choice) = &look {
        fs_err::create_dir_all(base_dir).map_err(Error::io(base_dir))?;
        keep(base_dir, name, choice)?;
    }
    Ok(look.format())
}

/// The kept choice, the format of what is packed already, or the rule's.
pub(super) fn look(source: &Source, base_dir: &Path, memory: u64) -> Result<Look, Error> {
    if *source.model() == Source::Starter {
        // So small and so well known that all its figures are of 4 bits.
        return Ok(Look::Known(WeightFormat::Q4));
    }
    let small = source.small_files()?;
    let config = ModelConfig::parse(&small.config, small.generation.as_deref())?;
    let (path, hash) = (place(source)?, hash(&small));
    let name = name(&path);
    let kept = || {
        let bytes = fs_err::read(base_dir.join(FOLDER).join(&name)).ok()?;
        let choice: Choice = sealed::open(&bytes).ok()?;
        (choice.path == path && choice.small == hash).then_some(choice.format)
    };
    if let Some(format) = kept() {
        return Ok(Look::Known(format));
    }
    let format = match found(source, &small, base_dir)? {
        Some(format) => format,
        None => comfortable(&config, memory),
    };
    Ok(Look::New(name, Choice { path, small: hash, format }))
}

/// 8 bits if that takes at most a quarter of the memory and the model is small enough to answer fast; else 4.
fn comfortable(config: &ModelConfig, memory: u64) -> WeightFormat {
    let parameters: u64 = plan(config, WeightFormat::Q8)
        .iter()
        .map(|entry| entry.inputs as u64 * entry.outputs.max(1) as u64)
        .sum();
    let fits = packed_bytes(config, WeightFormat::Q8) <= memory / SHARE;
    if fits && parameters <= MOST_PARAMETERS { WeightFormat::Q8 } else { WeightFormat::Q4 }
}

/// The format in which this source lies there already. Folders of models with other small files are passed over; what is
/// left is proven by its digest.
fn found(
    source: &Source,
    small: &SmallFiles,
    base_dir: &Path,
) -> Result<Option<WeightFormat>, Error> {
    let entries = fs_err::read_dir(base_dir).into_iter().flatten().flatten();
    let candidates: Vec<_> = entries
        .filter_map(|entry| {
            let manifest = Manifest::read(&entry.path()).ok()?;
            manifest.is_of(small).then_some((manifest.format, manifest.digest))
        })
        .collect();
    if candidates.is_empty() {
        return Ok(None);
    }
    let checkpoint = Checkpoint::open(source)?;
    Ok(FOUND.into_iter().find(|format| {
        let mut of_format = candidates.iter().filter(|(found, _)| found == format).peekable();
        if of_format.peek().is_none() {
            return false;
        }
        let digest = digest(small, &checkpoint, *format, &mut |_, _, _| {});
        of_format.any(|(_, found)| *found == digest)
    }))
}

/// One file for each source.
fn name(path: &Path) -> String {
    let hash = blake3::hash(path.as_os_str().as_encoded_bytes()).to_hex();
    format!("{}.choice.json", &hash[..32])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(hidden: usize, layers: usize) -> ModelConfig {
        let text = serde_json::json!({
            "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 32000,
            "hidden_size": hidden, "intermediate_size": hidden * 4, "num_hidden_layers": layers,
            "num_attention_heads": hidden / 64, "num_key_value_heads": hidden / 64,
            "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "hidden_act": "silu", "tie_word_embeddings": true, "eos_token_id": 2,
        });
        ModelConfig::parse(text.to_string().as_bytes(), None).unwrap()
    }

    #[test]
    fn eight_bits_where_they_are_comfortable() {
        // 0.1 B and 3.4 B parameters.
        let (small, large) = (config(768, 12), config(4096, 12));
        let bytes = packed_bytes(&small, WeightFormat::Q8);
        assert_eq!(comfortable(&small, bytes * 4), WeightFormat::Q8);
        assert_eq!(comfortable(&small, bytes * 4 - 4), WeightFormat::Q4, "more than a quarter");
        assert_eq!(comfortable(&large, u64::MAX), WeightFormat::Q4, "slow");
    }
}
