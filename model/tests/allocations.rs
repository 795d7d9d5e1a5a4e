//! A decode step needs no new memory, once the first steps have left theirs.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::path::{Path, PathBuf};

use allocation_counter::{AllocationInfo, measure};
use hone_model::{KvCache, LogitsFor, Model, Scratch, Segment, Source, WeightFormat, prepare};

const SEQUENCES: usize = 6;
const PROMPT: usize = 9;
/// Steps before it is counted: they may still grow what is kept.
const WARM_UP: usize = 2;
const COUNTED: usize = 8;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A packed base on one thread, so that all of a step's work is the caller's, which alone is counted.
fn open(folder: &Path, format: WeightFormat) -> Model {
    let copy = tempfile::tempdir().unwrap();
    // Any tokenizer: the texts are ids.
    for from in [&root().join("starter"), folder] {
        for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
        {
            if from.join(name).is_file() {
                std::fs::copy(from.join(name), copy.path().join(name)).unwrap();
            }
        }
    }
    let source = Source::Folder(copy.path().to_owned());
    Model::open(&prepare(&source, format, &copy.path().join("base")).unwrap(), 1).unwrap()
}

/// What decode steps of six sequences allocate, two of them without an adapter; the logits are given back as the engine does.
fn allocated(model: &Model, adapter: &Path) -> AllocationInfo {
    let adapter = model.load_adapter(adapter).unwrap();
    let mut caches = [(); SEQUENCES].map(|()| KvCache::new(model.config()));
    // No cache takes a block while it is counted.
    const { assert!(PROMPT + WARM_UP + COUNTED < KvCache::BLOCK) };
    let mut scratch = Scratch::new();
    let mut step = |tokens: &[u32], logits: LogitsFor| {
        let mut nth = 0;
        let mut segments = caches.each_mut().map(|cache| {
            nth += 1;
            let adapter = (nth > 2).then_some(&adapter);
            Segment { tokens, cache, adapter, logits }
        });
        let logits = model.forward(&mut segments, &mut scratch).unwrap();
        scratch.give_back(logits);
    };
    let prompt: Vec<u32> = (3..3 + PROMPT as u32).collect();
    let first = measure(|| step(&prompt, LogitsFor::Last));
    assert!(first.count_total > 0, "nothing is counted");
    (0..WARM_UP).for_each(|_| step(&[5], LogitsFor::Last));
    measure(|| (0..COUNTED).for_each(|_| step(&[5], LogitsFor::Last)))
}

#[track_caller]
fn check(folder: &Path, format: WeightFormat, adapter: &Path) {
    let found = allocated(&open(folder, format), adapter);
    assert_eq!(found.count_total, 0, "{} in {format}: {found:?}", folder.display());
}

#[test]
fn a_decode_step_allocates_nothing() {
    for format in WeightFormat::ALL {
        check(&root().join("starter"), format, &root().join("tests/golden/peft_adapter"));
    }
    // Norms after blocks, norms of queries and keys, windows, two rotations, fused layers, biases.
    for family in ["gemma3", "qwen3", "phi3", "llama_biases"] {
        let folder: PathBuf = root().join("tests/golden/families").join(family);
        check(&folder, WeightFormat::F32, &folder.join("adapter"));
    }
}
