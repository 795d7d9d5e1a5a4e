//! Every family against transformers and PEFT: the golden files that `golden/make_families.py` wrote.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a test fails by panicking, and prints what it measured

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use candle_core::{DType, Device, Tensor, Var, safetensors::load};
use hone_model::{
    Adapter, KvCache, LogitsFor, Model, Scratch, Segment, Source, WeightFormat, prepare,
    train::{LoraLayout, Pass, TrainBatch, TrainSequence, Trainable},
};
use hone_text::log_probabilities;
use serde_json::Value;

const NAMES: [&str; 13] = [
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
    "qwen3_nf4",
];
/// Tokens of the text that are a prompt.
const PROMPT: usize = 8;

struct Family {
    model: Arc<Model>,
    adapter: PathBuf,
    golden: HashMap<String, Tensor>,
    ids: Vec<u32>,
    _folder: tempfile::TempDir,
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

fn open(name: &str, format: WeightFormat) -> Family {
    open_changed(name, format, |_| {})
}

/// A family whose configuration says something else.
fn open_changed(name: &str, format: WeightFormat, change: impl Fn(&mut Value)) -> Family {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = here.join("tests/golden/families").join(name);
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(golden.join("model.safetensors"), folder.path().join("model.safetensors"))
        .unwrap();
    let config = std::fs::read(golden.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&config).unwrap();
    change(&mut config);
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    // Any tokenizer: the texts are ids.
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(here.join("starter").join(file), folder.path().join(file)).unwrap();
    }
    let source = Source::Folder(folder.path().to_owned());
    let packed = prepare(&source, format, &folder.path().join("base")).unwrap();
    let adapter = golden.join("adapter");
    let golden = load(golden.join("golden.safetensors"), &Device::Cpu).unwrap();
    let ids = floats(&golden["ids"]).into_iter().map(|id| id as u32).collect();
    let model = Arc::new(Model::open(&packed, 2).unwrap());
    Family { model, adapter, golden, ids, _folder: folder }
}

/// Logits of all tokens, the text cut into steps of these lengths.
fn logits(model: &Model, ids: &[u32], adapter: Option<&Adapter>, step: usize) -> Vec<f32> {
    let (mut cache, mut scratch) = (KvCache::new(model.config()), Scratch::new());
    let mut all = Vec::new();
    for tokens in ids.chunks(step) {
        let logits = LogitsFor::All;
        let segment = Segment { tokens, cache: &mut cache, adapter, logits };
        let found = model.forward(&mut [segment], &mut scratch).unwrap();
        (0..found.rows()).for_each(|row| all.extend_from_slice(found.row(row)));
    }
    all
}

/// Windows, caps and norms of all families: what is shared of a text is what would be computed.
#[test]
fn a_shared_prefix_changes_no_bit() {
    for name in NAMES {
        let family = open(name, WeightFormat::F32);
        let model = &family.model;
        let adapter = model.load_adapter(&family.adapter).unwrap();
        let length = model.config().max_positions.min(KvCache::BLOCK * 2 + 20);
        let text: Vec<u32> = family.ids.iter().copied().cycle().take(length).collect();
        let vocab = model.config().vocab_size;
        for adapter in [None, Some(&adapter)] {
            let whole = logits(model, &text, adapter, usize::MAX);
            let mut scratch = Scratch::new();
            let mut run = |cache: &mut KvCache, tokens: &[u32]| {
                let logits = LogitsFor::All;
                let found =
                    model.forward(&mut [Segment { tokens, cache, adapter, logits }], &mut scratch);
                let found = found.unwrap();
                (0..found.rows()).flat_map(|row| found.row(row).to_vec()).collect::<Vec<f32>>()
            };
            let mut first = KvCache::new(model.config());
            run(&mut first, &text);
            for prefix in (1..length).step_by(5) {
                let mut second = KvCache::new(model.config());
                for index in 0..prefix.div_ceil(KvCache::BLOCK) {
                    let of_block = (prefix - index * KvCache::BLOCK).min(KvCache::BLOCK);
                    second.share(&first.block(index).unwrap(), of_block).unwrap();
                }
                assert!(
                    run(&mut second, &text[prefix..]) == whole[prefix * vocab..],
                    "{name} {prefix}"
                );
            }
        }
    }
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn logits_equal_those_of_transformers_and_peft() {
    for name in NAMES {
        let family = open(name, WeightFormat::F32);
        let adapter = family.model.load_adapter(&family.adapter).unwrap();
        for (key, adapter) in [("logits", None), ("adapter_logits", Some(&adapter))] {
            let ours = logits(&family.model, &family.ids, adapter, usize::MAX);
            let worst = largest_difference(&ours, &floats(&family.golden[key]));
            println!("{name} {key}: {worst:e}");
            assert!(worst < 1e-3, "{name}, {key}: {worst}");
            for step in [1, 7] {
                let cut = logits(&family.model, &family.ids, adapter, step);
                assert!(ours == cut, "{name}, {key}: other bits in steps of {step}");
            }
        }
    }
}

/// transformers uses the head of the file, whatever the configuration says of it.
#[test]
fn a_head_that_is_called_tied_and_is_another_one_is_used() {
    let tied = |config: &mut Value| config["tie_word_embeddings"] = true.into();
    let family = open_changed("llama", WeightFormat::F32, tied);
    let ours = logits(&family.model, &family.ids, None, usize::MAX);
    assert!(largest_difference(&ours, &floats(&family.golden["logits"])) < 1e-3);
}

#[test]
fn greedy_text_is_that_of_transformers() {
    for name in NAMES {
        let family = open(name, WeightFormat::F32);
        let wanted: Vec<u32> =
            floats(&family.golden["greedy"]).into_iter().map(|id| id as u32).collect();
        let mut text = family.ids[..PROMPT].to_vec();
        while text.len() < PROMPT + wanted.len() {
            let all = logits(&family.model, &text, None, usize::MAX);
            let last = &all[all.len() - family.model.config().vocab_size..];
            let best = (0..last.len()).max_by(|a, b| last[*a].total_cmp(&last[*b])).unwrap();
            text.push(u32::try_from(best).unwrap());
        }
        assert_eq!(text[PROMPT..], wanted, "{name}");
    }
}

/// The adapter of a golden folder as the trainer holds it: one flat vector a layer.
fn flat(layout: &LoraLayout, tensors: &HashMap<String, Tensor>, layer: usize) -> Vec<f32> {
    let mut flat = vec![0.0; layout.len()];
    for slot in layout.slots() {
        for (matrix, range) in [('A', slot.a.clone()), ('B', slot.b.clone())] {
            flat[range]
                .copy_from_slice(&floats(&tensors[&matrix_name(layer, slot.target.path, matrix)]));
        }
    }
    flat
}

fn matrix_name(layer: usize, path: &str, matrix: char) -> String {
    format!("base_model.model.model.layers.{layer}.{path}.lora_{matrix}.weight")
}

#[test]
fn loss_and_gradients_equal_those_of_pytorch() {
    for name in NAMES {
        let family = open(name, WeightFormat::F32);
        let config = family.model.config().clone();
        let modules: Vec<String> = config.modules().into_keys().collect();
        let layout = LoraLayout::new(&config, 2, 4.0, &modules).unwrap();
        let trainable = Trainable::new(Arc::clone(&family.model), layout);
        let file = family.adapter.join("adapter_model.safetensors");
        let tensors = load(file, &Device::Cpu).unwrap();
        let variables: Vec<Var> = (0..config.num_layers)
            .map(|layer| flat(trainable.layout(), &tensors, layer))
            .map(|values| Var::from_slice(&values, values.len(), &Device::Cpu).unwrap())
            .collect();
        let adapters: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
        let supervised = (0..family.ids.len()).map(|at| at >= PROMPT).collect();
        let sequence = TrainSequence {
            tokens: family.ids.clone(),
            supervised,
            imitated: true,
            kl_to_base: Vec::new(),
        };
        let batch = Arc::new(TrainBatch::new(&config, [&sequence]).unwrap());
        let wanted = floats(&family.golden["loss"])[0];
        for keep in [true, false] {
            let pass = Pass { keep, ..Pass::default() };
            let sum = trainable.loss(&adapters, &batch, &pass).unwrap();
            let loss = (sum / batch.supervised_tokens() as f64).unwrap();
            let found = loss.to_scalar::<f32>().unwrap();
            assert!(
                (found - wanted).abs() < 1e-4 * wanted,
                "{name}: loss {found}, PyTorch {wanted}"
            );
            let store = loss.backward().unwrap();
            let mut worst = 0.0_f32;
            for (layer, adapter) in adapters.iter().enumerate() {
                let gradient = floats(store.get(adapter).unwrap());
                for slot in trainable.layout().slots() {
                    for (matrix, range) in [('A', slot.a.clone()), ('B', slot.b.clone())] {
                        let key = matrix_name(layer, slot.target.path, matrix);
                        let wanted = floats(&family.golden[&format!("grad.{key}")]);
                        let norm = wanted.iter().map(|w| w * w).sum::<f32>().sqrt();
                        let apart =
                            wanted.iter().zip(&gradient[range]).map(|(w, f)| (w - f).powi(2));
                        let relative = apart.sum::<f32>().sqrt() / norm;
                        worst = worst.max(relative);
                        assert!(relative < 1e-3, "{name}, {key}: relative distance {relative}");
                    }
                }
            }
            println!("{name}: gradients {worst:e}");
        }

        // What is trained is what is served.
        let adapter = family.model.load_adapter(&family.adapter).unwrap();
        let served = logits(&family.model, &family.ids, Some(&adapter), usize::MAX);
        let rows = served.chunks_exact(config.vocab_size).zip(&family.ids[1..]).skip(PROMPT - 1);
        let losses = rows.map(|(row, next)| -log_probabilities(row, *next, 0).unwrap().0);
        let mean = losses.sum::<f32>() / batch.supervised_tokens() as f32;
        assert!((mean - wanted).abs() < 1e-4 * wanted, "{name}: served {mean}, PyTorch {wanted}");
    }
}

/// The quantised formats serve and train every family: the text stays about as likely.
#[test]
fn other_formats_stay_near() {
    for name in NAMES {
        let mut means = Vec::new();
        for format in [WeightFormat::F32, WeightFormat::Bf16, WeightFormat::Q8, WeightFormat::Q4] {
            let family = open(name, format);
            let vocab = family.model.config().vocab_size;
            let all = logits(&family.model, &family.ids, None, usize::MAX);
            let rows = all.chunks_exact(vocab).zip(&family.ids[1..]);
            let losses = rows.map(|(row, next)| -log_probabilities(row, *next, 0).unwrap().0);
            means.push(losses.sum::<f32>() / (family.ids.len() - 1) as f32);
        }
        println!("{name}: {means:?}");
        for (mean, limit) in means[1..].iter().zip([0.05, 0.05, 0.6]) {
            assert!((mean - means[0]).abs() < limit, "{name}: {means:?}");
        }
    }
}
