//! What a revision holds, and which of it a model needs.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    Error, Name,
    name::{Part, is_word},
};

/// The weights in one file.
const SINGLE: &str = "model.safetensors";
/// Which shard has which tensor.
const INDEX: &str = "model.safetensors.index.json";
/// Without these it is no model.
const REQUIRED: [&str; 2] = ["config.json", "tokenizer.json"];
/// Taken along where they are.
const OPTIONAL: [&str; 4] = [
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
];

/// The hub's answer about a revision.
#[derive(Debug, Deserialize)]
pub(crate) struct Listing {
    /// The commit.
    pub(crate) sha: String,
    #[serde(default)]
    pub(crate) siblings: Vec<Sibling>,
}

/// A file of a revision.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Sibling {
    #[serde(rename = "rfilename")]
    pub(crate) name: String,
    pub(crate) size: Option<u64>,
    #[serde(rename = "blobId")]
    blob: Option<String>,
    lfs: Option<Lfs>,
}

/// Where a large file is, and how it is known.
#[derive(Debug, Clone, Deserialize)]
struct Lfs {
    #[serde(alias = "oid")]
    sha256: String,
    size: u64,
}

/// A file that is to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wares {
    pub(crate) name: String,
    /// The name of its blob: SHA-256 for large files, git's for small ones.
    pub(crate) etag: String,
    pub(crate) size: u64,
    /// Hex, where the hub says it.
    pub(crate) sha256: Option<String>,
}

impl Sibling {
    /// What is known of it; `None` if the hub does not say enough.
    pub(crate) fn wares(&self) -> Option<Wares> {
        let name = self.name.clone();
        if let Some(Lfs { sha256, size }) = &self.lfs {
            let is_hash = sha256.len() == 64 && is_word(sha256);
            return is_hash.then(|| Wares {
                name,
                etag: sha256.clone(),
                size: *size,
                sha256: Some(sha256.clone()),
            });
        }
        let etag = self.blob.clone().filter(|blob| is_word(blob))?;
        Some(Wares { name, etag, size: self.size?, sha256: None })
    }
}

/// The files of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// One file has everything.
    Gguf(String),
    /// These, and those that the index names.
    Folder { files: Vec<String>, index: Option<String> },
}

/// Which of these files a model needs.
pub(crate) fn wanted<'a>(
    name: &Name,
    files: impl Iterator<Item = &'a str>,
) -> Result<Wanted, Error> {
    let files: Vec<&str> = files.collect();
    let ggufs: Vec<&str> = files.iter().copied().filter(|file| file.ends_with(".gguf")).collect();
    let lacks =
        |what: String, remedy: String| Error::Lacks { repo: name.repo().to_owned(), what, remedy };
    let others = || match ggufs.as_slice() {
        [] => "name another model".to_owned(),
        some => format!(
            "name one of its files: {}",
            some.iter()
                .map(|file| format!("{}/{file}", name.repo()))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    };
    match &name.part {
        Part::File(file) if ggufs.contains(&file.as_str()) => Ok(Wanted::Gguf(file.clone())),
        Part::File(file) => Err(lacks(format!("file {file}"), others())),
        Part::Quantised(quantisation) => {
            // `model-Q4_K_M.gguf`, `model.q4_k_m.gguf`, `Q4_K_M/model.gguf`: the word alone, so that Q4_K is not Q4_K_M.
            let wanted = quantisation.to_lowercase();
            let is_of = |file: &&&str| {
                let lower = file.trim_end_matches(".gguf").to_lowercase();
                lower.split(['-', '.', '/']).any(|word| word == wanted)
            };
            let found: Vec<_> = ggufs.iter().filter(is_of).collect();
            match found.as_slice() {
                [file] => Ok(Wanted::Gguf((**file).to_owned())),
                [] => Err(lacks(format!("GGUF file of {quantisation}"), others())),
                _ => Err(lacks(format!("single GGUF file of {quantisation}"), others())),
            }
        }
        Part::Folder => {
            let has = |file: &str| files.contains(&file);
            let weights = [SINGLE, INDEX].into_iter().find(|file| has(file));
            let Some(weights) = weights else {
                return Err(lacks(format!("{SINGLE} and no {INDEX}"), others()));
            };
            if let Some(missing) = REQUIRED.into_iter().find(|file| !has(file)) {
                return Err(lacks(missing.to_owned(), others()));
            }
            let small = REQUIRED.into_iter().chain(OPTIONAL.into_iter().filter(|file| has(file)));
            let files = small.chain([weights]).map(str::to_owned).collect();
            Ok(Wanted::Folder { files, index: (weights == INDEX).then(|| INDEX.to_owned()) })
        }
    }
}

/// The shards that an index names; `None` if it is none, or names files elsewhere.
pub(crate) fn shards(index: &[u8]) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(index).ok()?;
    let mut shards: Vec<String> = index.weight_map.into_values().collect();
    shards.sort();
    shards.dedup();
    (!shards.is_empty() && shards.iter().all(|shard| is_word(shard))).then_some(shards)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, files: &[&str]) -> Result<Wanted, String> {
        let name = Name::parse(name).unwrap();
        wanted(&name, files.iter().copied()).map_err(|error| error.to_string())
    }

    #[test]
    fn only_what_is_needed_is_wanted() {
        let all = [
            "README.md",
            "pytorch_model.bin",
            "config.json",
            "tokenizer.json",
            "vocab.json",
            "model.safetensors",
            "onnx/model.onnx",
            "chat_template.jinja",
        ];
        let Ok(Wanted::Folder { files, index: None }) = of("a/b", &all) else { panic!() };
        assert_eq!(
            files,
            ["config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"]
        );
        let sharded = ["config.json", "tokenizer.json", INDEX, "model-00001-of-00002.safetensors"];
        assert!(matches!(of("a/b", &sharded), Ok(Wanted::Folder { index: Some(_), .. })));
        assert!(of("a/b", &all[..3]).unwrap_err().contains("no model.safetensors"));
        assert!(
            of("a/b", &["model.safetensors", "config.json"])
                .unwrap_err()
                .contains("no tokenizer.json")
        );
    }

    #[test]
    fn a_quantisation_is_one_file() {
        let files = [
            "m-Q4_K_M.gguf",
            "m-Q4_K_S.gguf",
            "q8_0/m.gguf",
            "config.json",
            "m.f16.gguf",
            "n.f16.gguf",
        ];
        let gguf = |file: &str| Ok(Wanted::Gguf(file.to_owned()));
        assert_eq!(of("a/b:q4_k_m", &files), gguf("m-Q4_K_M.gguf"));
        assert_eq!(of("a/b:Q8_0", &files), gguf("q8_0/m.gguf"));
        assert_eq!(of("a/b/m-Q4_K_S.gguf", &files), gguf("m-Q4_K_S.gguf"));
        assert!(
            of("a/b:Q4_K", &files).unwrap_err().contains("a/b/m-Q4_K_M.gguf, a/b/m-Q4_K_S.gguf")
        );
        assert!(of("a/b:f16", &files).unwrap_err().contains("no single GGUF file"));
        assert!(of("a/b", &files).unwrap_err().contains("name one of its files"));
    }

    #[test]
    fn an_index_names_plain_files_only() {
        let of = |file: &str| {
            shards(format!(r#"{{"weight_map":{{"a":"{file}","b":"{file}"}}}}"#).as_bytes())
        };
        assert_eq!(of("m.safetensors"), Some(vec!["m.safetensors".to_owned()]));
        assert_eq!(of("../m.safetensors"), None);
        assert_eq!(shards(b"{}"), None);
    }
}
