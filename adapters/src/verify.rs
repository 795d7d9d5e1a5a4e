//! Whether a folder holds an adapter that may be loaded.
//!
//! Prevents weights of unknown origin from harming the daemon: files are read (never mapped, so that
//! a later truncation cannot raise SIGBUS), their size is bounded before anything is read, pickles
//! are never opened, and every tensor must be one that the decoder will use, finite and of a sane
//! size. An adapter that changes nothing is refused: loaded in silence, it would answer as the base.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use fs_err as fs;
use half::{bf16, f16};
use hone_peft::{Half, PeftConfig, Place, tensor_name};
use sha2::{Digest, Sha256};

use crate::config::{self, MAX_CONFIG};
use crate::fs::{open_plain, read_bounded};
use crate::header::{self, Dtype, Entry, MAX_HEADER};
use crate::shortage::is_shortage;
use crate::{BaseShape, CONFIG, Error, Refusal, Result, WEIGHTS};

/// File endings that hold pickles, which run code when they are loaded.
const PICKLES: [&str; 7] = ["bin", "pt", "pth", "pkl", "pickle", "ckpt", "joblib"];

/// What is still believed to be an honest adapter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VerifyLimits {
    /// The largest rank.
    pub rank: usize,
    /// The largest factor on the product of the halves. Usual are 1 and 2.
    pub scaling: f64,
    /// The largest root mean square of one layer's change `scaling · B·A`, estimated from
    /// above. Weights of language models have 0.01 to 0.1.
    pub change: f64,
    /// The largest root mean square of one half. Where one is huge the product with it overflows on some prompts, though
    /// the other half is so tiny that the change is a small one.
    pub half: f64,
}

impl Default for VerifyLimits {
    fn default() -> Self {
        Self { rank: 256, scaling: 64.0, change: 4.0, half: 1e4 }
    }
}

/// What verification found out.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// LoRA rank.
    pub rank: u32,
    /// LoRA alpha.
    pub alpha: f64,
    /// The linear layers that have tensors.
    pub target_modules: Vec<String>,
    /// SHA-256 of the weights' file, hex.
    pub sha256: String,
    /// BLAKE3 of the weights' file, hex.
    pub blake3: String,
    /// BLAKE3 of the configuration, hex.
    pub config_blake3: String,
    /// Size of the weights' file.
    pub bytes: u64,
}

/// Verifies the adapter in `dir` against the base, with the usual limits.
///
/// # Errors
/// [`Error::Refused`] with the first reason found.
pub fn verify(dir: &Path, base: &BaseShape) -> Result<Verified> {
    verify_within(dir, base, &VerifyLimits::default()).map_err(|refusal| Error::Refused {
        folder: dir.file_name().unwrap_or(dir.as_os_str()).to_string_lossy().into_owned(),
        refusal,
    })
}

/// Verifies the adapter in `dir` against the base.
///
/// # Errors
/// The first reason found.
pub fn verify_within(
    dir: &Path,
    base: &BaseShape,
    limits: &VerifyLimits,
) -> Result<Verified, Refusal> {
    refuse_pickles(dir)?;
    let config_json = read_bounded(&dir.join(CONFIG), MAX_CONFIG)
        .map_err(|error| file_refusal(CONFIG, MAX_CONFIG, &error))?;
    let config = config::parse(&config_json, limits.rank)?;
    let targets = check_listed_targets(&config, base)?;
    let highest = config.ranks().max().unwrap_or(config.rank);
    let mut weights = Weights::open(&dir.join(WEIGHTS), base, highest)?;
    let pairs = plan(&weights.entries, base, &config)?;
    check_scaling(&config, &pairs, limits)?;
    weights.read_all(&pairs)?;
    let found = judge(&weights.norms, &pairs, base, &config, limits)?;
    if let Some(target) = targets.iter().find(|target| !found.contains(*target)) {
        return Err(target_refusal(target, "has no tensors", base));
    }
    Ok(Verified {
        rank: u32::try_from(config.rank).unwrap_or(u32::MAX),
        alpha: config.alpha,
        target_modules: found.into_iter().collect(),
        sha256: hex(&weights.sha256.finalize()),
        blake3: weights.blake3.finalize().to_hex().to_string(),
        config_blake3: blake3::hash(&config_json).to_hex().to_string(),
        bytes: weights.bytes,
    })
}

/// What transformers' Trainer leaves beside an adapter in `checkpoint-N`, without its ending: pickles that say how to go on
/// with the training. They are passed over, unopened, like any other file that is no part of an adapter.
const OF_A_TRAINER: [&str; 5] = ["optimizer", "scheduler", "scaler", "rng_state", "training_args"];

/// Whether the folder holds a file that is a pickle by its ending, and may stand for the adapter. Nothing is opened.
pub(crate) fn pickle_in(dir: &Path) -> std::io::Result<Option<String>> {
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let ending = Path::new(&name).extension().map(|e| e.to_string_lossy().to_lowercase());
        let is_pickle = ending.is_some_and(|ending| PICKLES.contains(&ending.as_str()));
        if is_pickle && !is_of_a_trainer(Path::new(&name)) {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

fn is_of_a_trainer(file: &Path) -> bool {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    // Several processes each leave a state of their own: `rng_state_0.pth`.
    let stem = stem.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_');
    OF_A_TRAINER.contains(&stem)
}

/// Refuses a folder in which a pickle lies.
pub(crate) fn refuse_pickles(dir: &Path) -> Result<(), Refusal> {
    match pickle_in(dir) {
        Ok(None) => Ok(()),
        Ok(Some(name)) => Err(Refusal::Pickle(name)),
        Err(error) => Err(file_refusal(".", 0, &error)),
    }
}

/// The size that no adapter for this base exceeds, in bytes.
pub(crate) fn max_weight_file(base: &BaseShape) -> u64 {
    8 + MAX_HEADER + base.max_weight_bytes(VerifyLimits::default().rank)
}

/// Why a weights' file above `limit` is refused: for the base's matrices in it, where it says so.
pub(crate) fn too_large(path: &Path, limit: u64) -> Refusal {
    let too_large = Refusal::TooLarge { file: WEIGHTS.to_owned(), limit };
    let Ok(mut file) = open_plain(path) else { return too_large };
    let Ok(bytes) = file.metadata().map(|data| data.len()) else { return too_large };
    match read_header(&mut file, bytes) {
        Ok(Head { entries, .. }) => base_tensors(&entries).unwrap_or(too_large),
        Err(_) => too_large,
    }
}

/// The refusal that names the base's own matrices among the tensors, if there are any.
fn base_tensors(entries: &[Entry]) -> Option<Refusal> {
    let is_of_the_base = |name: &&str| {
        ["embed_tokens.weight", "lm_head.weight"].iter().any(|ending| name.ends_with(ending))
    };
    let names: Vec<&str> =
        entries.iter().map(|entry| entry.name.as_str()).filter(is_of_the_base).collect();
    let short = |name: &&str| format!("`{}`", name.chars().take(200).collect::<String>());
    let tensors = names.iter().take(4).map(short).collect::<Vec<_>>().join(" and ");
    (!names.is_empty()).then_some(Refusal::BaseTensors { tensors })
}

/// The beginning of a weights' file.
struct Head {
    /// The header's length, as the file has it.
    length: [u8; 8],
    json: Vec<u8>,
    entries: Vec<Entry>,
}

/// Reads the header of a weights' file that has `bytes` in all.
fn read_header(file: &mut std::fs::File, bytes: u64) -> Result<Head, Refusal> {
    let too_short = || Refusal::Header(format!("it has only {bytes} bytes"));
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(|_| too_short())?;
    let header_bytes = u64::from_le_bytes(length);
    if header_bytes > MAX_HEADER {
        return Err(Refusal::Header(format!("its header claims {header_bytes} bytes")));
    }
    let mut json = vec![0; usize::try_from(header_bytes).unwrap_or_default()];
    file.read_exact(&mut json).map_err(|_| too_short())?;
    let entries = header::parse(&json, bytes.saturating_sub(8 + header_bytes))?;
    Ok(Head { length, json, entries })
}

pub(crate) fn file_refusal(file: &str, limit: u64, error: &std::io::Error) -> Refusal {
    let file = file.to_owned();
    if let Some(errno) = error.raw_os_error().filter(|_| is_shortage(error)) {
        return Refusal::Shortage(errno);
    }
    match error.kind() {
        std::io::ErrorKind::FileTooLarge => Refusal::TooLarge { file, limit },
        std::io::ErrorKind::NotFound => Refusal::File { file, why: "it is missing".to_owned() },
        _ => Refusal::File { file, why: error.to_string() },
    }
}

fn check_scaling(
    config: &PeftConfig,
    pairs: &[Pair],
    limits: &VerifyLimits,
) -> Result<(), Refusal> {
    for pair in pairs {
        let path = pair.path();
        let (rank, scaling) = (config.rank_of(&path), config.scaling_of(&path));
        if !(scaling.is_finite() && scaling > 0.0 && scaling <= limits.scaling) {
            let alpha = config.alpha;
            return Err(Refusal::Alpha { alpha, rank, scaling, max: limits.scaling });
        }
    }
    Ok(())
}

fn target_refusal(target: &str, why: &'static str, base: &BaseShape) -> Refusal {
    let known: Vec<&str> = base.modules.keys().map(String::as_str).collect();
    Refusal::Target { target: target.chars().take(80).collect(), why, known: known.join(", ") }
}

/// The linear layers that the listed targets name; empty when they are given as a pattern.
fn check_listed_targets(
    config: &PeftConfig,
    base: &BaseShape,
) -> Result<BTreeSet<String>, Refusal> {
    let mut named = BTreeSet::new();
    for target in config.targets.iter().flatten() {
        if base.named(target).next().is_none() {
            return Err(target_refusal(target, "is unknown", base));
        }
        named.extend(base.named(target).map(str::to_owned));
    }
    Ok(named)
}

/// Which two tensors change one linear layer: positions in the file.
struct Pair {
    layer: usize,
    module: String,
    a: usize,
    b: usize,
}

impl Pair {
    /// The module's path in the model.
    fn path(&self) -> String {
        format!("model.layers.{}.{}", self.layer, BaseShape::path_of(&self.module))
    }
}

/// Assigns every tensor to its place. Fails for a tensor without one, for a wrong shape and for
/// half a pair.
fn plan(entries: &[Entry], base: &BaseShape, config: &PeftConfig) -> Result<Vec<Pair>, Refusal> {
    if let Some(refusal) = base_tensors(entries) {
        return Err(refusal);
    }
    let mut halves: BTreeMap<(usize, &str), [Option<usize>; 2]> = BTreeMap::new();
    for (position, entry) in entries.iter().enumerate() {
        let unknown = || Refusal::Tensor(entry.name.chars().take(200).collect());
        let Place { layer, path, half } = Place::parse(&entry.name).ok_or_else(unknown)?;
        let (module, (inputs, outputs)) = base.module_at(path).ok_or_else(unknown)?;
        if layer >= base.num_layers {
            return Err(unknown());
        }
        let rank = config.rank_of(&format!("model.layers.{layer}.{path}"));
        let expected = match half {
            Half::A => [rank as u64, inputs as u64],
            Half::B => [outputs as u64, rank as u64],
        };
        if entry.shape != expected {
            let found = entry.shape.iter().take(8).copied().collect();
            return Err(Refusal::Shape { tensor: entry.name.clone(), found, expected });
        }
        let slot = &mut halves.entry((layer, module)).or_default()[half as usize];
        if slot.replace(position).is_some() {
            return Err(Refusal::Header(format!("`{}` is there twice", entry.name)));
        }
    }
    if halves.is_empty() {
        return Err(Refusal::Empty);
    }
    let mut pairs = Vec::with_capacity(halves.len());
    for ((layer, module), [a, b]) in halves {
        let path = BaseShape::path_of(module);
        let missing = |half| Refusal::Unpaired(tensor_name(layer, &path, half));
        let a = a.ok_or_else(|| missing(Half::A))?;
        let b = b.ok_or_else(|| missing(Half::B))?;
        pairs.push(Pair { layer, module: module.to_owned(), a, b });
    }
    Ok(pairs)
}

/// The weights' file, read once from front to back.
struct Weights {
    file: std::fs::File,
    entries: Vec<Entry>,
    bytes: u64,
    sha256: Sha256,
    blake3: blake3::Hasher,
    /// Frobenius norm of each tensor.
    norms: Vec<f64>,
}

impl Weights {
    fn open(path: &Path, base: &BaseShape, rank: usize) -> Result<Self, Refusal> {
        let limit = 8 + MAX_HEADER + base.max_weight_bytes(rank);
        let refuse = |error: std::io::Error| file_refusal(WEIGHTS, limit, &error);
        let mut file = open_plain(path).map_err(refuse)?;
        let bytes = file.metadata().map_err(refuse)?.len();
        if bytes > limit {
            return Err(too_large(path, limit));
        }
        let Head { length, json, entries } = read_header(&mut file, bytes)?;
        let mut weights = Self {
            entries,
            file,
            bytes,
            sha256: Sha256::new(),
            blake3: blake3::Hasher::new(),
            norms: Vec::new(),
        };
        weights.digest(&length);
        weights.digest(&json);
        Ok(weights)
    }

    fn digest(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.blake3.update(bytes);
    }

    /// Reads every tensor: its norm, and the digests of the whole file.
    fn read_all(&mut self, pairs: &[Pair]) -> Result<(), Refusal> {
        debug_assert_eq!(pairs.len() * 2, self.entries.len());
        let entries = std::mem::take(&mut self.entries);
        let mut buffer = Vec::new();
        for entry in &entries {
            buffer.clear();
            let read = self.file.by_ref().take(entry.bytes).read_to_end(&mut buffer);
            let read = read.map_err(|error| file_refusal(WEIGHTS, self.bytes, &error))?;
            if read as u64 != entry.bytes {
                return Err(Refusal::Truncated { expected: entry.bytes, found: read as u64 });
            }
            let norm = norm(&buffer, entry.dtype);
            if !norm.is_finite() {
                return Err(Refusal::NotFinite(entry.name.clone()));
            }
            self.norms.push(norm);
            self.digest(&buffer);
        }
        self.entries = entries;
        Ok(())
    }
}

/// Frobenius norm; not finite if any element is not.
fn norm(bytes: &[u8], dtype: Dtype) -> f64 {
    let sum: f64 = match dtype {
        Dtype::F32 => {
            let (elements, _) = bytes.as_chunks::<4>();
            elements.iter().map(|e| f64::from(f32::from_le_bytes(*e)).powi(2)).sum()
        }
        Dtype::F16 => {
            let (elements, _) = bytes.as_chunks::<2>();
            elements.iter().map(|e| f16::from_le_bytes(*e).to_f64().powi(2)).sum()
        }
        Dtype::Bf16 => {
            let (elements, _) = bytes.as_chunks::<2>();
            elements.iter().map(|e| bf16::from_le_bytes(*e).to_f64().powi(2)).sum()
        }
    };
    sum.sqrt()
}

/// The linear layers that are changed; fails when one changes too much or none changes at all.
fn judge(
    norms: &[f64],
    pairs: &[Pair],
    base: &BaseShape,
    config: &PeftConfig,
    limits: &VerifyLimits,
) -> Result<BTreeSet<String>, Refusal> {
    let mut found = BTreeSet::new();
    let mut effect = false;
    for pair in pairs {
        let Pair { layer, module, a, b } = pair;
        let path = pair.path();
        let rank = config.rank_of(&path);
        let (inputs, outputs) = base.modules.get(module).copied().unwrap_or_default();
        for (half, size, width) in [(Half::A, norms[*a], inputs), (Half::B, norms[*b], outputs)] {
            let size = size / ((width * rank) as f64).sqrt();
            if size > limits.half {
                let tensor = tensor_name(*layer, &BaseShape::path_of(module), half);
                return Err(Refusal::HugeHalf { tensor, size, max: limits.half });
            }
        }
        // ‖B·A‖ ≤ ‖B‖·‖A‖
        let product = norms[*a] * norms[*b] / ((inputs * outputs) as f64).sqrt();
        let change = config.scaling_of(&path) * product;
        if !change.is_finite() || change > limits.change {
            let (layer, module) = (*layer, module.clone());
            return Err(Refusal::TooStrong { layer, module, change, max: limits.change });
        }
        effect |= change > 0.0;
        found.insert(module.clone());
    }
    if effect { Ok(found) } else { Err(Refusal::NoEffect) }
}

/// Hexadecimal, lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

#[cfg(test)]
mod tests;
