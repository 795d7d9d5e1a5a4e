//! The whole decoder on the reference device, by the same code that runs on the processor: forward, and a step of training.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::{path::Path, sync::Arc};

use candle_core::{Device, Var};
use hone_device::Reference;
use hone_model::{
    KvCache, LogitsFor, Model, Pack, Scratch, Segment, Source, WeightFormat, prepare,
    train::{LoraLayout, Pass, TrainBatch, TrainSequence, Trainable},
};

const FAMILIES: [&str; 12] = [
    "llama",
    "llama_biases",
    "mistral",
    "qwen2",
    "qwen2_windows",
    "qwen3",
    "smollm3",
    "gemma2",
    "gemma3",
    "phi3",
    "granite",
    "olmo2",
];

fn golden() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"))
}

fn starter() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/starter"))
}

/// The same packed base on the processor and on the reference.
fn both(folder: &Path, format: WeightFormat) -> [Arc<Model>; 2] {
    let copy = tempfile::tempdir().unwrap();
    // Any tokenizer: the texts are ids.
    for from in [starter(), folder] {
        for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
        {
            if from.join(name).is_file() {
                std::fs::copy(from.join(name), copy.path().join(name)).unwrap();
            }
        }
    }
    let source = Source::Folder(copy.path().to_owned());
    let packed = prepare(&source, format, &copy.path().join("base")).unwrap();
    let pack = Pack::open(&packed).unwrap();
    [Model::of(&pack, 2), Model::on(&pack, Arc::new(Reference))]
        .map(|model| Arc::new(model.unwrap()))
}

fn ids(model: &Model, count: usize) -> Vec<u32> {
    (0..count as u32).map(|i| (3 + i * 7) % model.config().vocab_size as u32).collect()
}

/// Logits of a prompt, one half of which follows the other, beside another sequence, and of a single token after it.
fn logits(model: &Model, adapter: Option<&Path>) -> Vec<f32> {
    let adapter = adapter.map(|dir| model.load_adapter(dir).unwrap());
    let ids = ids(model, 21);
    let mut caches = [KvCache::new(model.config()), KvCache::new(model.config())];
    let (mut scratch, mut all) = (Scratch::new(), Vec::new());
    for part in [0..9, 9..20, 20..21] {
        let segments = caches.iter_mut().zip([adapter.as_ref(), None]);
        let mut segments: Vec<_> = segments
            .map(|(cache, adapter)| {
                let tokens = &ids[part.clone()];
                Segment { tokens, cache, adapter, logits: LogitsFor::All }
            })
            .collect();
        let logits = model.forward(&mut segments, &mut scratch).unwrap();
        (0..logits.rows()).for_each(|row| all.extend(logits.row(row)));
    }
    all
}

/// The loss of a step of training with everything in it, and the gradients of all layers.
fn step(model: &Arc<Model>) -> (f32, Vec<f32>) {
    let modules = model.config().spec.targets().iter().map(|target| target.name.to_owned());
    let layout = LoraLayout::new(model.config(), 3, 6.0, &modules.collect::<Vec<_>>()).unwrap();
    let trainable = Trainable::new(Arc::clone(model), layout);
    let variables: Vec<Var> = (0..model.config().num_layers)
        .map(|layer| {
            let mut values = trainable.layout().initial(1, layer);
            let some = |at: usize| ((at * 37 % 101) as f32 - 50.0) * 1e-3;
            values.iter_mut().enumerate().for_each(|(at, value)| *value += some(at));
            Var::from_slice(&values, values.len(), &Device::Cpu).unwrap()
        })
        .collect();
    let sequence = |length: usize, kept: bool| TrainSequence {
        tokens: ids(model, length),
        supervised: (0..length).map(|at| at >= length / 3).collect(),
        imitated: true,
        kl_to_base: vec![kept; length],
    };
    let sequences = [sequence(12, true), sequence(5, false), sequence(17, true)];
    let batch = Arc::new(TrainBatch::new(model.config(), &sequences).unwrap());
    let adapters: Vec<_> = variables.iter().map(|v| v.as_tensor().clone()).collect();
    let pass = Pass { dropout: Some((0.1, 3)), keep: true, kl_weight: 0.5, ..Pass::default() };
    let loss = trainable.loss(&adapters, &batch, &pass).unwrap();
    let store = loss.backward().unwrap();
    let gradient = |v: &Var| store.get(v.as_tensor()).unwrap().to_vec1::<f32>().unwrap();
    (loss.to_scalar().unwrap(), variables.iter().flat_map(gradient).collect())
}

/// How far some numbers are from others, as a share of these.
fn distance(found: &[f32], exact: &[f32]) -> f64 {
    assert_eq!(found.len(), exact.len());
    let square = |value: f32| f64::from(value) * f64::from(value);
    let off: f64 = found.iter().zip(exact).map(|(a, b)| square(a - b)).sum();
    (off / exact.iter().map(|b| square(*b)).sum::<f64>()).sqrt()
}

/// Holds the processor against the reference, on one model in one format.
#[track_caller]
fn check(name: &str, [cpu, exact]: &[Arc<Model>; 2], adapter: Option<&Path>, limit: f64) {
    assert_eq!(exact.kernels(), "reference");
    let off = distance(&logits(cpu, adapter), &logits(exact, adapter));
    assert!(off < limit, "{name}: logits are off by {off}");
    let ((loss, found), (exact_loss, exact)) = (step(cpu), step(exact));
    assert!((loss - exact_loss).abs() < limit as f32 * exact_loss, "{name}: {loss} {exact_loss}");
    let off = distance(&found, &exact);
    assert!(off < 3.0 * limit, "{name}: gradients are off by {off}");
}

#[test]
fn every_family_computes_on_the_reference_what_it_computes_on_the_processor() {
    for name in FAMILIES {
        let folder = golden().join("families").join(name);
        let models = both(&folder, WeightFormat::F32);
        check(name, &models, Some(&folder.join("adapter")), 2e-5);
    }
}

/// Between them is only the rounding of activations, and in the backward that of gradients and weights to bf16.
#[test]
fn the_starter_in_every_format_is_near_the_reference() {
    let limits = [
        (WeightFormat::F32, 2e-5),
        (WeightFormat::Bf16, 0.02),
        (WeightFormat::Q8, 0.05),
        (WeightFormat::Q4, 0.05),
    ];
    for (format, limit) in limits {
        let models = both(starter(), format);
        check(format.name(), &models, Some(&golden().join("peft_adapter")), limit);
    }
}
