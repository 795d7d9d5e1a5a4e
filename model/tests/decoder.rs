//! The decoder against candle's Llama, and against itself: batches, chunks, threads, truncation.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a test fails by panicking, and prints what it measured

use std::{collections::HashMap, path::Path};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama as candle_llama;
use hone_device::Cpu;
use hone_model::{
    Adapter, AdapterHome, Error, KvCache, LogitsFor, Model, ModelConfig, Scratch, Segment, Source,
    WeightFormat, prepare,
};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

const VOCAB: usize = 83;

fn random(rng: &mut ChaCha8Rng, shape: &[usize], size: f32) -> Tensor {
    let values: Vec<f32> =
        (0..shape.iter().product()).map(|_| rng.random_range(-size..size)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Writes a small model with random weights in two shards.
fn write_model(folder: &Path, tied: bool) -> ModelConfig {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "vocab_size": VOCAB, "hidden_size": 96,
        "intermediate_size": 104, "num_hidden_layers": 3, "num_attention_heads": 6,
        "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": tied,
        "eos_token_id": 2, "bos_token_id": 0
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("starter");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(starter.join(name), folder.join(name)).unwrap();
    }
    let config = ModelConfig::parse(config.to_string().as_bytes(), None).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut shards = [HashMap::new(), HashMap::new()];
    let mut map = serde_json::Map::new();
    let mut put = |shard: usize, name: String, tensor: Tensor| {
        map.insert(name.clone(), json!(format!("part-{shard}.safetensors")));
        shards[shard].insert(name, tensor);
    };
    let hidden = config.hidden_size;
    put(0, "model.embed_tokens.weight".into(), random(&mut rng, &[VOCAB, hidden], 1.0));
    put(1, "model.norm.weight".into(), random(&mut rng, &[hidden], 1.5));
    if !tied {
        put(1, "lm_head.weight".into(), random(&mut rng, &[VOCAB, hidden], 0.5));
    }
    for layer in 0..config.num_layers {
        let prefix = format!("model.layers.{layer}");
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            put(layer % 2, format!("{prefix}.{norm}.weight"), random(&mut rng, &[hidden], 1.5));
        }
        for module in hone_model::Module::ALL {
            let (inputs, outputs) = config.module_shape(module);
            let weights = random(&mut rng, &[outputs, inputs], 0.2);
            put(layer % 2, format!("{prefix}.{}.weight", module.path()), weights);
        }
    }
    for (shard, tensors) in shards.iter().enumerate() {
        candle_core::safetensors::save(tensors, folder.join(format!("part-{shard}.safetensors")))
            .unwrap();
    }
    let index = json!({ "weight_map": map });
    std::fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
    config
}

/// Writes a PEFT folder in which patterns give q_proj and down_proj other values.
fn write_adapter(folder: &Path, config: &ModelConfig, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut tensors = HashMap::new();
    for layer in 0..config.num_layers {
        for module in hone_model::Module::ALL {
            if module == hone_model::Module::V {
                continue; // a missing module adds nothing
            }
            let rank = if module == hone_model::Module::Down { 3 } else { 5 };
            let (inputs, outputs) = config.module_shape(module);
            let prefix = format!("base_model.model.model.layers.{layer}.{}", module.path());
            tensors
                .insert(format!("{prefix}.lora_A.weight"), random(&mut rng, &[rank, inputs], 0.3));
            tensors
                .insert(format!("{prefix}.lora_B.weight"), random(&mut rng, &[outputs, rank], 0.3));
        }
    }
    std::fs::create_dir_all(folder).unwrap();
    candle_core::safetensors::save(&tensors, folder.join("adapter_model.safetensors")).unwrap();
    let json = json!({ "peft_type": "LORA", "r": 5, "lora_alpha": 7, "bias": "none",
        "rank_pattern": { "down_proj": 3 }, "alpha_pattern": { "self_attn.q_proj": 4.5 } });
    std::fs::write(folder.join("adapter_config.json"), json.to_string()).unwrap();
}

struct Fixture {
    folder: tempfile::TempDir,
    config: ModelConfig,
}

impl Fixture {
    fn new(tied: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = write_model(folder.path(), tied);
        Self { folder, config }
    }

    fn open(&self, format: WeightFormat, threads: usize) -> Model {
        let base = self.folder.path().join("base");
        let packed = prepare(&Source::Folder(self.folder.path().into()), format, &base).unwrap();
        Model::open(&packed, threads).unwrap()
    }

    fn adapter(&self, seed: u64) -> Adapter {
        let folder = self.folder.path().join(format!("adapter-{seed}"));
        write_adapter(&folder, &self.config, seed);
        let home = AdapterHome { device: &Cpu::new(1).unwrap(), format: WeightFormat::Bf16 };
        Adapter::load(&folder, &self.config, home).unwrap()
    }
}

fn rows(logits: &hone_model::Logits) -> Vec<Vec<f32>> {
    (0..logits.rows()).map(|i| logits.row(i).to_vec()).collect()
}

/// All logits of a text, in one step of its own.
fn alone(model: &Model, tokens: &[u32], adapter: Option<&Adapter>) -> Vec<Vec<f32>> {
    let mut cache = KvCache::new(model.config());
    let segment = Segment { tokens, cache: &mut cache, adapter, logits: LogitsFor::All };
    rows(&model.forward(&mut [segment], &mut Scratch::new()).unwrap())
}

fn text(seed: u64, count: usize) -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(0..VOCAB as u32)).collect()
}

#[test]
fn f32_equals_candles_llama() {
    for tied in [false, true] {
        let fixture = Fixture::new(tied);
        let config = &fixture.config;
        let candle_config = candle_llama::Config {
            hidden_size: config.hidden_size,
            num_attention_heads: config.num_heads,
            intermediate_size: config.intermediate_size,
            vocab_size: config.vocab_size,
            num_hidden_layers: config.num_layers,
            num_key_value_heads: config.num_kv_heads,
            use_flash_attn: false,
            rms_norm_eps: f64::from(config.rms_norm_eps),
            rope_theta: config.spec.rotaries[0].theta,
            bos_token_id: None,
            eos_token_id: None,
            rope_scaling: None,
            max_position_embeddings: config.max_positions,
            tie_word_embeddings: tied,
        };
        assert_eq!(config.hidden_size / config.num_heads, config.head_dim, "candle's only choice");
        compare_with_candle(
            &fixture.open(WeightFormat::F32, 2),
            &candle_config,
            &[
                fixture.folder.path().join("part-0.safetensors"),
                fixture.folder.path().join("part-1.safetensors"),
            ],
        );
    }
}

fn compare_with_candle(model: &Model, config: &candle_llama::Config, files: &[std::path::PathBuf]) {
    let device = Device::Cpu;
    let mut tensors = HashMap::new();
    for file in files {
        tensors.extend(candle_core::safetensors::load(file, &device).unwrap());
    }
    let builder = VarBuilder::from_tensors(tensors, DType::F32, &device);
    let theirs = candle_llama::Llama::load(builder, config).unwrap();
    let vocab = model.config().vocab_size.min(VOCAB) as u32;
    for length in [1, 2, 17, 40] {
        let tokens: Vec<u32> = text(length as u64, length).iter().map(|t| t % vocab).collect();
        let mut cache = candle_llama::Cache::new(true, DType::F32, config, &device).unwrap();
        let input = Tensor::new(&tokens[..], &device).unwrap().unsqueeze(0).unwrap();
        let expected = theirs.forward(&input, 0, &mut cache).unwrap();
        let expected: Vec<f32> = expected.flatten_all().unwrap().to_vec1().unwrap();
        let ours = alone(model, &tokens, None);
        for (a, b) in ours[length - 1].iter().zip(&expected) {
            assert!((a - b).abs() < 1e-3, "{a} for {b} at length {length}");
        }
    }
}

#[test]
fn starter_equals_candles_llama() {
    let starter = Path::new(env!("CARGO_MANIFEST_DIR")).join("starter");
    let base = tempfile::tempdir().unwrap();
    let packed = prepare(&Source::Folder(starter.clone()), WeightFormat::F32, base.path()).unwrap();
    let json = std::fs::read(starter.join("config.json")).unwrap();
    let config: candle_llama::LlamaConfig = serde_json::from_slice(&json).unwrap();
    compare_with_candle(
        &Model::open(&packed, 2).unwrap(),
        &config.into_config(false),
        &[starter.join("model.safetensors")],
    );
}

#[test]
fn quantised_formats_follow_f32() {
    let fixture = Fixture::new(false);
    let tokens = text(1, 30);
    let reference = alone(&fixture.open(WeightFormat::F32, 1), &tokens, None);
    let spread = reference.iter().flatten().fold(0.0_f32, |m, v| m.max(v.abs()));
    for (format, limit) in
        [(WeightFormat::Bf16, 0.03), (WeightFormat::Q8, 0.04), (WeightFormat::Q4, 0.4)]
    {
        let here = alone(&fixture.open(format, 1), &tokens, None);
        let worst = reference
            .iter()
            .flatten()
            .zip(here.iter().flatten())
            .fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(worst < limit * spread, "{format}: {worst} of {spread}");
        assert!(worst > 0.0, "{format} changed nothing: was it packed at all?");
    }
}

#[test]
fn an_adapter_adds_its_product_and_only_for_its_rows() {
    let fixture = Fixture::new(true);
    let model = fixture.open(WeightFormat::F32, 1);
    let adapter = fixture.adapter(5);
    assert_eq!((adapter.rank(), adapter.alpha()), (5, 7.0));
    let tokens = text(3, 12);
    let (base, with) = (alone(&model, &tokens, None), alone(&model, &tokens, Some(&adapter)));
    assert!(base.iter().flatten().zip(with.iter().flatten()).any(|(a, b)| (a - b).abs() > 0.1));
}

/// One of the texts of a property case: its tokens, how it is cut, and its adapter.
#[derive(Debug, Clone)]
struct Talk {
    length: usize,
    cuts: Vec<usize>,
    adapter: Option<usize>,
}

fn talks() -> impl Strategy<Value = Vec<Talk>> {
    let talk =
        (1..40_usize, prop::collection::vec(1..20_usize, 1..6), prop::option::of(0..2_usize))
            .prop_map(|(length, cuts, adapter)| Talk { length, cuts, adapter });
    prop::collection::vec(talk, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The main promise: the bits of a token's logits do not depend on the batch, the chunks or the threads.
    #[test]
    fn logits_do_not_depend_on_company(mut talks in talks(), threads in 1..4_usize) {
        talks.sort_by_key(|talk| talk.adapter);
        thread_local!(static FIXTURE: Fixture = Fixture::new(false));
        FIXTURE.with(|fixture| -> Result<(), TestCaseError> {
            let adapters = [fixture.adapter(1), fixture.adapter(2)];
            for format in WeightFormat::ALL {
                let single = fixture.open(format, 1);
                let model = fixture.open(format, threads);
                let texts: Vec<_> = talks.iter().map(|t| text(t.length as u64, t.length)).collect();
                let mut caches: Vec<_> = talks.iter().map(|_| KvCache::new(model.config())).collect();
                let mut got = vec![Vec::new(); talks.len()];
                let mut scratch = Scratch::new();
                for step in 0.. {
                    let mut members = Vec::new();
                    let mut segments = Vec::new();
                    for (i, (talk, cache)) in talks.iter().zip(&mut caches).enumerate() {
                        let at = cache.len();
                        let size = talk.cuts[step % talk.cuts.len()].min(talk.length - at);
                        if size > 0 {
                            members.push((i, size));
                            let adapter = talk.adapter.map(|a| &adapters[a]);
                            segments.push(Segment { tokens: &texts[i][at..at + size], cache, adapter, logits: LogitsFor::All });
                        }
                    }
                    if segments.is_empty() {
                        break;
                    }
                    let mut new = rows(&model.forward(&mut segments, &mut scratch).unwrap()).into_iter();
                    for (i, size) in members {
                        got[i].extend(new.by_ref().take(size));
                    }
                }
                for ((talk, text), got) in talks.iter().zip(&texts).zip(&got) {
                    let expected = alone(&single, text, talk.adapter.map(|a| &adapters[a]));
                    prop_assert!(got == &expected, "{} differs", format);
                }
            }
            Ok(())
        })?;
    }
}

#[test]
fn a_truncated_cache_goes_on_as_a_new_one() {
    let fixture = Fixture::new(true);
    let model = fixture.open(WeightFormat::Q8, 2);
    let (one, other) = (text(1, 60), text(2, 25));
    let mut cache = KvCache::new(model.config());
    let mut scratch = Scratch::new();
    let mut run = |cache: &mut KvCache, tokens: &[u32]| {
        let segment = Segment { tokens, cache, adapter: None, logits: LogitsFor::All };
        rows(&model.forward(&mut [segment], &mut scratch).unwrap())
    };
    run(&mut cache, &one);
    cache.truncate(21);
    assert_eq!(cache.len(), 21);
    let after = run(&mut cache, &other);
    let joined: Vec<u32> = one[..21].iter().chain(&other).copied().collect();
    assert_eq!(after, alone(&model, &joined, None)[21..]);
    assert_eq!(cache.bytes(), KvCache::bytes_for(model.config(), 46));
}

/// A prefix at every length, shared from the blocks of another cache: the rest is computed to the bits of the whole, and what
/// the other cache holds stays as it is.
#[test]
fn a_shared_prefix_of_any_length_changes_no_bit() {
    let fixture = Fixture::new(true);
    let adapter = fixture.adapter(1);
    for (format, adapter) in [(WeightFormat::Q8, None), (WeightFormat::F32, Some(&adapter))] {
        let model = fixture.open(format, 2);
        let one = text(1, 150);
        let whole = alone(&model, &one, adapter);
        let mut scratch = Scratch::new();
        let mut run = |cache: &mut KvCache, tokens: &[u32]| {
            let segment = Segment { tokens, cache, adapter, logits: LogitsFor::All };
            rows(&model.forward(&mut [segment], &mut scratch).unwrap())
        };
        let mut first = KvCache::new(model.config());
        run(&mut first, &one);
        for prefix in 1..one.len() {
            let mut second = KvCache::new(model.config());
            for index in 0..prefix.div_ceil(KvCache::BLOCK) {
                let of_block = (prefix - index * KvCache::BLOCK).min(KvCache::BLOCK);
                second.share(&first.block(index).unwrap(), of_block).unwrap();
            }
            assert_eq!(second.len(), prefix);
            assert_eq!(run(&mut second, &one[prefix..]), whole[prefix..], "{format} {prefix}");
            // Another text after the same prefix, in a block that the first cache holds.
            let mut third = KvCache::new(model.config());
            third.share(&first.block(0).unwrap(), prefix.min(KvCache::BLOCK)).unwrap();
            run(&mut third, &text(2, 5));
        }
        assert_eq!(
            run(&mut first, &[3]),
            alone(&model, &[&one[..], &[3]].concat(), adapter)[150..]
        );
    }
}

#[test]
fn blocks_are_shared_at_their_begin_and_within_a_model() {
    let fixture = Fixture::new(true);
    let model = fixture.open(WeightFormat::F32, 1);
    let mut scratch = Scratch::new();
    let (mut one, mut other) = (KvCache::new(model.config()), KvCache::new(model.config()));
    let tokens = text(1, 3);
    for cache in [&mut one, &mut other] {
        let segment = Segment { tokens: &tokens, cache, adapter: None, logits: LogitsFor::None };
        model.forward(&mut [segment], &mut scratch).unwrap();
    }
    let block = one.block(0).unwrap();
    assert!(one.block(1).is_none());
    assert!(block.is_shared());
    assert_eq!(block.bytes(), KvCache::bytes_for(model.config(), 1));
    assert!(matches!(other.share(&block, 3), Err(Error::Mismatch { what: "cache", .. })));
    drop(one);
    assert!(!block.is_shared());
    let mut smaller = model.config().clone();
    smaller.num_kv_heads = 1;
    assert!(KvCache::new(&smaller).share(&block, 3).is_err());
    assert!(KvCache::new(model.config()).share(&block, KvCache::BLOCK + 1).is_err());
}

#[test]
fn logits_only_where_they_are_wanted() {
    let fixture = Fixture::new(true);
    let model = fixture.open(WeightFormat::F32, 1);
    let (a, b, c) = (text(1, 5), text(2, 4), text(3, 3));
    let mut caches = [0; 3].map(|_| KvCache::new(model.config()));
    let [x, y, z] = &mut caches;
    let mut segments = [
        Segment { tokens: &a, cache: x, adapter: None, logits: LogitsFor::None },
        Segment { tokens: &b, cache: y, adapter: None, logits: LogitsFor::Last },
        Segment { tokens: &c, cache: z, adapter: None, logits: LogitsFor::All },
    ];
    let logits = model.forward(&mut segments, &mut Scratch::new()).unwrap();
    let mut expected = vec![alone(&model, &b, None).pop().unwrap()];
    expected.extend(alone(&model, &c, None));
    assert_eq!(rows(&logits), expected);
    assert_eq!(caches.map(|c| c.len()), [5, 4, 3]);
}

#[test]
fn bad_steps_are_refused_and_change_nothing() {
    let fixture = Fixture::new(true);
    let model = fixture.open(WeightFormat::Q4, 1);
    let mut cache = KvCache::new(model.config());
    let step = |tokens: &[u32], cache: &mut KvCache| {
        let segment = Segment { tokens, cache, adapter: None, logits: LogitsFor::Last };
        model.forward(&mut [segment], &mut Scratch::new()).map(|l| l.rows())
    };
    assert!(matches!(step(&[1, 9999], &mut cache), Err(Error::TokenRange { token: 9999, .. })));
    let long = vec![1; 257];
    assert!(matches!(step(&long, &mut cache), Err(Error::ContextFull { tokens: 257, max: 256 })));
    assert_eq!(cache.len(), 0);
    assert_eq!(step(&long[..256], &mut cache).unwrap(), 1);
    assert!(matches!(step(&[1], &mut cache), Err(Error::ContextFull { .. })));
    let mut other = model.config().clone();
    other.num_layers = 1;
    assert!(matches!(
        step(&[1], &mut KvCache::new(&other)),
        Err(Error::Mismatch { what: "cache", .. })
    ));
}
