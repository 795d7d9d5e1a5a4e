//! A model that this crate's decoder does not compute: all of it but its computation, for an engine that does.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use hone_text::{ChatTemplate, FrontEnd, Tokenizer};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::{
    Error, Source,
    config::{
        generation,
        keys::{Keys, invalid, token_ids, unsupported},
    },
    load::Checkpoint,
    pack::{PackProgress, digest_unpacked},
};

/// What names of layers begin with; adapters are put on what stands below.
const LAYERS: &str = "model.layers.";
const WEIGHT: &str = ".weight";

/// A Hugging Face folder of any family.
#[derive(Debug)]
pub struct Foreign {
    /// The class in `architectures`.
    pub class: String,
    /// Where it is.
    pub folder: PathBuf,
    /// Its files of weights.
    pub shards: Vec<PathBuf>,
    /// The shapes of its tensors, by name.
    pub tensors: BTreeMap<String, Vec<usize>>,
    /// Decoder layers.
    pub num_layers: usize,
    /// Numbers that attention keeps of one position, keys and values of all layers.
    pub kv_width: usize,
}

impl Foreign {
    /// Reads everything of a folder but the numbers of its weights, which are hashed if they were not before: what is found
    /// is kept below `base_dir`. The digest of the front end is that of the files.
    ///
    /// # Errors
    /// It is no folder, incomplete, damaged, or lacks a size that any decoder has.
    pub fn open(
        source: &Source,
        base_dir: &Path,
        progress: PackProgress<'_>,
    ) -> Result<(Self, FrontEnd), Error> {
        let Source::Folder(folder) = source.model() else {
            return Err(unsupported(
                "a model in one file for another engine than Hone's own",
                "folders with config.json, tokenizer.json and safetensors",
            ));
        };
        let small = source.small_files()?;
        let value: Value = serde_json::from_slice(&small.config).map_err(invalid)?;
        let keys = Keys::new(&value)?;
        let checkpoint = Checkpoint::open(source)?;
        let tensors = shapes(&checkpoint)?;
        let shards = checkpoint.raw().map(|(name, _)| folder.join(name)).collect();

        let mut end_tokens = token_ids(keys.get("eos_token_id"));
        let mut sampling = Default::default();
        if let Some(bytes) = &small.generation {
            let stated: Value =
                serde_json::from_slice(bytes).map_err(|e| Error::invalid(generation::FILE, e))?;
            sampling = generation::defaults(&stated)?;
            end_tokens.extend(token_ids(stated.get("eos_token_id")));
        }
        end_tokens.sort_unstable();
        end_tokens.dedup();
        let heads = keys.size("num_attention_heads", 1 << 12)?;
        let hidden_size = keys.size("hidden_size", 1 << 18)?;
        let num_layers = keys.size("num_hidden_layers", 1 << 12)?;
        let head_dim = keys.size_or("head_dim", 1 << 12, (hidden_size / heads).max(1))?;
        let kv_heads = keys.size_or("num_key_value_heads", 1 << 12, heads)?;
        let front_end = FrontEnd {
            tokenizer: Tokenizer::from_bytes(&small.tokenizer)?,
            template: ChatTemplate::from_config(&small.tokenizer_config)?,
            end_tokens,
            sampling,
            context: keys.size("max_position_embeddings", 1 << 26)?,
            vocab_size: keys.size("vocab_size", 1 << 22)?,
            hidden_size,
            base_digest: digest_unpacked(source, &small, &checkpoint, base_dir, progress)?,
        };
        let classes = keys.get("architectures").and_then(Value::as_array);
        let class = classes.and_then(|classes| classes.first()).and_then(Value::as_str);
        let model = Self {
            class: class.unwrap_or("a class that config.json does not name").to_owned(),
            folder: folder.clone(),
            shards,
            tensors,
            num_layers,
            kv_width: num_layers * kv_heads * head_dim * 2,
        };
        Ok((model, front_end))
    }

    /// Reads tensors as f32, one after the other: name, shape and numbers.
    ///
    /// # Errors
    /// A tensor is not there or not in f32, bf16 or f16; the folder cannot be read; or what `each` says.
    pub fn read_each<E: From<Error>>(
        &self,
        names: &[String],
        mut each: impl FnMut(&str, &[usize], Vec<f32>) -> Result<(), E>,
    ) -> Result<(), E> {
        let checkpoint = Checkpoint::open(&Source::Folder(self.folder.clone()))?;
        let tensors = checkpoint.tensors()?;
        for name in names {
            let shape = self.tensors.get(name).map(Vec::as_slice).unwrap_or_default();
            each(name, shape, tensors.read(name, shape)?)?;
        }
        Ok(())
    }

    /// All that adapters can be put on, by its path within a layer (`self_attn.dense`), with inputs and outputs: the
    /// matrices that layers have.
    #[must_use]
    pub fn modules(&self) -> BTreeMap<String, (usize, usize)> {
        let within = |name: &str| {
            let (layer, path) = name.strip_prefix(LAYERS)?.strip_suffix(WEIGHT)?.split_once('.')?;
            layer.parse::<usize>().ok().map(|_| path.to_owned())
        };
        let matrices = self.tensors.iter().filter_map(|(name, shape)| match shape.as_slice() {
            [outputs, inputs] => Some((within(name)?, (*inputs, *outputs))),
            _ => None,
        });
        matrices.collect()
    }
}

fn shapes(checkpoint: &Checkpoint) -> Result<BTreeMap<String, Vec<usize>>, Error> {
    let mut shapes = BTreeMap::new();
    for (file, bytes) in checkpoint.raw() {
        let parsed = SafeTensors::deserialize(bytes)
            .map_err(|e| Error::invalid(file, format!("{e}; copy the file again")))?;
        shapes.extend(parsed.iter().map(|(name, view)| (name.to_owned(), view.shape().to_vec())));
    }
    Ok(shapes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The starter is a Llama; as a folder it does for any model.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
        {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("starter").join(name);
            fs_err::copy(from, folder.path().join(name)).unwrap();
        }
        folder
    }

    #[test]
    fn a_folder_of_any_family_has_a_front_end_and_modules() {
        let (folder, bases) = (folder(), tempfile::tempdir().unwrap());
        let source = Source::Folder(folder.path().to_owned());
        let known = source.inspect().unwrap();
        let (foreign, front_end) = Foreign::open(&source, bases.path(), &mut |_, _, _| {}).unwrap();
        assert_eq!(foreign.class, "LlamaForCausalLM");
        assert_eq!(foreign.num_layers, known.num_layers);
        assert_eq!(foreign.kv_width, known.num_layers * known.kv_width() * 2);
        assert_eq!(front_end.context, known.max_positions);
        let modules = foreign.modules();
        assert_eq!(modules["mlp.down_proj"], (known.intermediate_size, known.hidden_size));
        assert_eq!(modules.len(), 7, "{modules:?}");
    }

    #[test]
    fn a_changed_weight_is_another_model() {
        let (folder, bases) = (folder(), tempfile::tempdir().unwrap());
        let source = Source::Folder(folder.path().to_owned());
        let digest =
            || Foreign::open(&source, bases.path(), &mut |_, _, _| {}).unwrap().1.base_digest;
        let before = digest();
        assert_eq!(digest(), before);
        let weights = folder.path().join("model.safetensors");
        let mut bytes = fs_err::read(&weights).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs_err::write(weights, bytes).unwrap();
        assert_ne!(digest(), before);
    }

    #[test]
    fn what_is_no_folder_is_refused() {
        let bases = tempfile::tempdir().unwrap();
        let file = Source::Gguf("model.gguf".into());
        let error = Foreign::open(&file, bases.path(), &mut |_, _, _| {}).unwrap_err().to_string();
        assert!(error.contains("folders with config.json"), "{error}");
    }
}
