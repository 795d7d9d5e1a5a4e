//! Gradients against finite differences, and the ways of computing them against each other.

use std::collections::HashMap;

use candle_core::{Tensor, Var};
use hone_device::Matrix;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, TensorView};

use super::*;
use crate::{Module, Source, WeightFormat, prepare};

type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

const HIDDEN: usize = 32;
const INNER: usize = 48;
const LAYERS: usize = 3;
const HEADS: usize = 4;
const KV: usize = 2;
const VOCAB: usize = 50;

/// A model with these weights, opened in some format.
fn build(head_dim: usize, tensors: Tensors, format: WeightFormat) -> Arc<Model> {
    let dir = tempfile::tempdir().unwrap();
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "vocab_size": VOCAB, "hidden_size": HIDDEN,
        "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": KV, "head_dim": head_dim, "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
        "eos_token_id": 2
    });
    let starter = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("starter");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs_err::copy(starter.join(name), dir.path().join(name)).unwrap();
    }
    fs_err::write(dir.path().join("config.json"), config.to_string()).unwrap();
    let views = tensors.iter().map(|(name, shape, values)| {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    let none: Option<HashMap<String, String>> = None;
    let bytes = safetensors::serialize(views, none).unwrap();
    fs_err::write(dir.path().join("model.safetensors"), bytes).unwrap();
    let source = Source::Folder(dir.path().to_path_buf());
    let packed = prepare(&source, format, &dir.path().join("base")).unwrap();
    Arc::new(Model::open(&packed, 2).unwrap())
}

/// A random model with heads of one width.
fn model(head_dim: usize, format: WeightFormat) -> Arc<Model> {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut tensors: Tensors = Vec::new();
    let mut put = |name: String, shape: Vec<usize>| {
        let count = shape.iter().product::<usize>();
        let norm = shape.len() == 1;
        let width = 2.0 / (*shape.last().unwrap() as f32).sqrt();
        let values: Vec<f32> = (0..count)
            .map(|_| match norm {
                true => random.random_range(0.5..1.5),
                false => random.random_range(-width..width),
            })
            .collect();
        tensors.push((name, shape, values));
    };
    put("model.embed_tokens.weight".into(), vec![VOCAB, HIDDEN]);
    put("model.norm.weight".into(), vec![HIDDEN]);
    for layer in 0..LAYERS {
        let at = format!("model.layers.{layer}");
        put(format!("{at}.input_layernorm.weight"), vec![HIDDEN]);
        put(format!("{at}.post_attention_layernorm.weight"), vec![HIDDEN]);
        put(format!("{at}.self_attn.q_proj.weight"), vec![HEADS * head_dim, HIDDEN]);
        put(format!("{at}.self_attn.k_proj.weight"), vec![KV * head_dim, HIDDEN]);
        put(format!("{at}.self_attn.v_proj.weight"), vec![KV * head_dim, HIDDEN]);
        put(format!("{at}.self_attn.o_proj.weight"), vec![HIDDEN, HEADS * head_dim]);
        put(format!("{at}.mlp.gate_proj.weight"), vec![INNER, HIDDEN]);
        put(format!("{at}.mlp.up_proj.weight"), vec![INNER, HIDDEN]);
        put(format!("{at}.mlp.down_proj.weight"), vec![HIDDEN, INNER]);
    }
    build(head_dim, tensors, format)
}

fn all() -> Vec<String> {
    Module::ALL.map(|module| module.name().to_owned()).to_vec()
}

fn trainable(model: Arc<Model>, rank: usize, modules: &[String]) -> Trainable {
    let layout = LoraLayout::new(model.config(), rank, 8.0, modules).unwrap();
    Trainable::new(model, layout)
}

/// Random adapters, `B` included.
fn adapters(trainable: &Trainable) -> Vec<Vec<f32>> {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    (0..trainable.model().config().num_layers)
        .map(|_| (0..trainable.layout().len()).map(|_| random.random_range(-0.2..0.2)).collect())
        .collect()
}

fn sequence(seed: u64, length: usize) -> TrainSequence {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let tokens = (0..length).map(|_| random.random_range(3..50_u32)).collect();
    let supervised = (0..length).map(|at| at >= length / 3).collect();
    TrainSequence { tokens, supervised, imitated: true, kl_to_base: Vec::new() }
}

fn kl_to_base(seed: u64, length: usize) -> TrainSequence {
    TrainSequence { kl_to_base: vec![true; length], ..sequence(seed, length) }
}

fn batch(trainable: &Trainable, sequences: &[TrainSequence]) -> Arc<TrainBatch> {
    Arc::new(TrainBatch::new(trainable.model().config(), sequences).unwrap())
}

/// Loss and gradients, one vector a layer.
fn gradients(
    trainable: &Trainable,
    adapters: &[Vec<f32>],
    batch: &Arc<TrainBatch>,
    pass: &Pass,
) -> (f32, Vec<Vec<f32>>) {
    let variables: Vec<Var> = adapters
        .iter()
        .map(|values| Var::from_slice(values, values.len(), &Device::Cpu).unwrap())
        .collect();
    let tensors: Vec<Tensor> = variables.iter().map(|v| v.as_tensor().clone()).collect();
    let loss = trainable.loss(&tensors, batch, pass).unwrap();
    let store = loss.backward().unwrap();
    let gradients =
        tensors.iter().map(|tensor| store.get(tensor).unwrap().to_vec1().unwrap()).collect();
    (loss.to_scalar().unwrap(), gradients)
}

fn loss(trainable: &Trainable, adapters: &[Vec<f32>], batch: &Arc<TrainBatch>, pass: &Pass) -> f64 {
    let tensors: Vec<Tensor> = adapters
        .iter()
        .map(|values| Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap())
        .collect();
    let pass = Pass { loss_only: true, ..pass.clone() };
    f64::from(trainable.loss(&tensors, batch, &pass).unwrap().to_scalar::<f32>().unwrap())
}

/// The slope along a random direction of each matrix of each layer, against central differences.
fn check_differences(trainable: &Trainable, batch: &Arc<TrainBatch>, pass: &Pass) {
    let mut adapters = adapters(trainable);
    let (_, gradients) = gradients(trainable, &adapters, batch, pass);
    let mut random = ChaCha8Rng::seed_from_u64(9);
    let slots: Vec<_> = trainable.layout().slots().cloned().collect();
    for layer in 0..adapters.len() {
        for slot in &slots {
            for (matrix, range) in [('A', slot.a.clone()), ('B', slot.b.clone())] {
                let direction: Vec<f32> =
                    range.clone().map(|_| random.random_range(-1.0..1.0)).collect();
                let slope: f64 = direction
                    .iter()
                    .zip(&gradients[layer][range.clone()])
                    .map(|(d, g)| f64::from(*d) * f64::from(*g))
                    .sum();
                let kept = adapters[layer].clone();
                let mut moved = |by: f32| {
                    for (value, d) in adapters[layer][range.clone()].iter_mut().zip(&direction) {
                        *value += by * d;
                    }
                    let loss = loss(trainable, &adapters, batch, pass);
                    adapters[layer].clone_from(&kept);
                    loss
                };
                let step = 2e-3_f32;
                let measured = (moved(step) - moved(-step)) / (2.0 * f64::from(step));
                let scale = slope.abs().max(measured.abs());
                assert!(
                    (slope - measured).abs() <= 0.01 * scale + 0.02,
                    "layer {layer} {:?} {matrix}: {slope} is not {measured}",
                    slot.target.name
                );
            }
        }
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    for head_dim in [16, 80] {
        let trainable = trainable(model(head_dim, WeightFormat::F32), 3, &all());
        let batch = batch(&trainable, &[sequence(1, 9), sequence(2, 75), sequence(3, 2)]);
        check_differences(&trainable, &batch, &Pass::default());
    }
}

#[test]
fn gradients_with_dropout_agree_with_finite_differences() {
    let trainable = trainable(model(16, WeightFormat::F32), 2, &all());
    let batch = batch(&trainable, &[sequence(1, 12), sequence(2, 20)]);
    check_differences(&trainable, &batch, &Pass { dropout: Some((0.3, 4)), ..Pass::default() });
}

#[test]
fn gradients_with_kl_to_base_agree_with_finite_differences() {
    let trainable = trainable(model(16, WeightFormat::F32), 2, &all());
    // One keeps everything, one only the base's distribution, and that not everywhere.
    let mut kept = TrainSequence { imitated: false, ..kl_to_base(3, 9) };
    kept.kl_to_base[3..6].fill(false);
    let batch = batch(&trainable, &[kl_to_base(1, 12), sequence(2, 20), kept]);
    check_differences(&trainable, &batch, &Pass { kl_weight: 0.7, ..Pass::default() });
}

/// Three sequences with a beginning of 20 tokens in common: one is taught, one keeps the base's distribution everywhere, and one
/// in part, its first rows too.
fn that_begin_alike() -> [TrainSequence; 3] {
    let begin = sequence(7, 20).tokens;
    let behind = |own: TrainSequence| {
        let tokens = [&begin[..], &own.tokens].concat();
        let supervised = [&[false; 20][..], &own.supervised].concat();
        TrainSequence { tokens, supervised, ..own }
    };
    let mut kept = TrainSequence { imitated: false, ..behind(sequence(2, 9)) };
    kept.kl_to_base = vec![true; 29];
    let mut in_part =
        TrainSequence { kl_to_base: kept.kl_to_base.clone(), ..behind(sequence(3, 9)) };
    in_part.kl_to_base[12..24].fill(false);
    [behind(sequence(1, 40)), kept, in_part]
}

#[test]
fn what_sequences_begin_with_is_computed_once_and_counts_for_each() {
    let pass = Pass { kl_weight: 0.7, ..Pass::default() };
    // Behind weights in 8 bits gradients may pass through bf16, whose rounding sees sums here and their parts there.
    for (head_dim, format, apart) in [(16, WeightFormat::F32, 1e-4), (80, WeightFormat::Q8, 1e-2)] {
        let trainable = trainable(model(head_dim, format), 3, &all());
        let (adapters, sequences) = (adapters(&trainable), that_begin_alike());
        let together = batch(&trainable, &sequences);
        let whole: usize = sequences.iter().map(TrainSequence::rows).sum();
        assert_eq!(together.tokens(), whole - 2 * 20);
        let (loss, found) = gradients(&trainable, &adapters, &together, &pass);
        let (mut expected_loss, mut expected) = (0.0, vec![vec![0.0; found[0].len()]; found.len()]);
        for one in &sequences {
            let alone = batch(&trainable, std::slice::from_ref(one));
            assert_eq!(alone.tokens(), one.rows());
            let (loss, gradients) = gradients(&trainable, &adapters, &alone, &pass);
            expected_loss += loss;
            for (sum, gradient) in expected.iter_mut().flatten().zip(gradients.iter().flatten()) {
                *sum += gradient;
            }
        }
        assert!((loss - expected_loss).abs() < 1e-5 * expected_loss, "{loss} {expected_loss}");
        let largest = expected.iter().flatten().fold(0.0_f32, |most, value| most.max(value.abs()));
        for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
            assert!((found - expected).abs() < apart * largest, "{found} {expected} of {largest}");
        }
    }
}

#[test]
fn gradients_of_what_is_shared_agree_with_finite_differences() {
    let trainable = trainable(model(16, WeightFormat::F32), 2, &all());
    let batch = batch(&trainable, &that_begin_alike());
    check_differences(&trainable, &batch, &Pass { kl_weight: 0.7, ..Pass::default() });
}

#[test]
fn what_is_taught_is_never_shared() {
    let trainable = trainable(model(16, WeightFormat::F32), 2, &all());
    let one = sequence(1, 30);
    let other = TrainSequence { supervised: vec![false; 30], ..one.clone() };
    // A third of it is not taught: tokens 0 to 9, of which the last predicts the first that is.
    assert_eq!(batch(&trainable, &[one.clone(), other.clone()]).tokens(), 29 + 29 - 9);
    assert_eq!(batch(&trainable, &[other.clone(), other.clone()]).tokens(), 28 + 2);
    let short = TrainSequence { tokens: other.tokens[..8].to_vec(), ..other.clone() };
    assert_eq!(batch(&trainable, &[short, other]).tokens(), 7 + 29, "too little to share");
}

#[test]
fn a_token_that_is_neither_imitated_nor_held_to_the_base_teaches_nothing() {
    let trainable = trainable(model(16, WeightFormat::F32), 2, &all());
    let adapters = adapters(&trainable);
    let pass = Pass { kl_weight: 1.0, ..Pass::default() };
    let kept = TrainSequence { imitated: false, ..kl_to_base(1, 12) };
    let whole = loss(&trainable, &adapters, &batch(&trainable, std::slice::from_ref(&kept)), &pass);
    let part = |range: std::ops::Range<usize>| {
        let mut one = TrainSequence { kl_to_base: vec![false; 12], ..kept.clone() };
        one.kl_to_base[range].fill(true);
        let batch = batch(&trainable, &[one]);
        assert_eq!(batch.supervised_tokens(), 0);
        loss(&trainable, &adapters, &batch, &pass)
    };
    assert!((part(0..5) + part(5..12) - whole).abs() < 1e-4);
    assert!(part(0..5) > 0.0 && part(5..12) > 0.0);
    assert_eq!(part(0..1), 0.0, "nothing predicts the first token");
}

#[test]
fn kl_to_base_pulls_towards_the_base_on_every_token() {
    let trainable = trainable(model(16, WeightFormat::Q4), 2, &all());
    let adapters = adapters(&trainable);
    let zero: Vec<Vec<f32>> = adapters.iter().map(|layer| vec![0.0; layer.len()]).collect();
    let both = [kl_to_base(1, 12), sequence(2, 20), kl_to_base(3, 7)];
    let plain = both.clone().map(|one| TrainSequence { kl_to_base: Vec::new(), ..one });
    let (both, plain) = (batch(&trainable, &both), batch(&trainable, &plain));
    assert_eq!(both.supervised_tokens(), plain.supervised_tokens());
    let pass = Pass { kl_weight: 1.0, ..Pass::default() };
    // Without an adapter there is no distance; with one there is, in prompts too.
    let away = |adapters: &[Vec<f32>]| {
        loss(&trainable, adapters, &both, &pass) - loss(&trainable, adapters, &plain, &pass)
    };
    assert!(away(&zero).abs() < 1e-4, "{}", away(&zero));
    let all_tokens = away(&adapters);
    assert!(all_tokens > 0.1, "{all_tokens}");
    let mut silent = kl_to_base(1, 12);
    silent.supervised.fill(false);
    let prompt = batch(&trainable, &[silent]);
    assert!(loss(&trainable, &adapters, &prompt, &pass) > 0.01);
    assert_eq!(loss(&trainable, &adapters, &prompt, &Pass::default()), 0.0);
}

#[test]
fn an_adapter_that_is_kept_stands_in_the_place_of_the_base() {
    let trainable = trainable(model(16, WeightFormat::F32), 2, &all());
    let adapters = adapters(&trainable);
    let scaled = |by: f32| -> Vec<Vec<f32>> {
        adapters.iter().map(|layer| layer.iter().map(|value| value * by).collect()).collect()
    };
    let (half, zero) = (scaled(0.5), scaled(0.0));
    let rows = TrainSequence { imitated: false, ..kl_to_base(1, 12) };
    let batch = batch(&trainable, &[rows]);
    let pass = Pass { kl_weight: 1.0, kept: Some(Arc::new(half.clone())), ..Pass::default() };
    let away = |adapters: &[Vec<f32>]| loss(&trainable, adapters, &batch, &pass);
    assert!(away(&half).abs() < 1e-4, "{}", away(&half));
    assert!(away(&adapters) > 1e-3 && away(&zero) > 1e-3, "{} {}", away(&adapters), away(&zero));
    check_differences(&trainable, &batch, &pass);
}

#[test]
fn some_modules_only() {
    let modules = ["k_proj".to_owned(), "down_proj".to_owned()];
    let trainable = trainable(model(16, WeightFormat::F32), 2, &modules);
    assert_eq!(trainable.layout().slots().count(), 2);
    let batch = batch(&trainable, &[sequence(1, 12)]);
    check_differences(&trainable, &batch, &Pass::default());
}

#[test]
fn kept_and_recomputed_intermediates_give_the_same_bits() {
    let trainable = trainable(model(16, WeightFormat::Q4), 4, &all());
    let adapters = adapters(&trainable);
    let batch = batch(&trainable, &[sequence(1, 30), sequence(2, 11)]);
    let run = |keep| {
        let pass = Pass { keep, dropout: Some((0.1, 1)), ..Pass::default() };
        gradients(&trainable, &adapters, &batch, &pass)
    };
    let (loss, gradients) = run(false);
    assert!(loss.is_finite() && gradients.iter().flatten().any(|g| *g != 0.0));
    assert_eq!((loss, gradients), run(true));
}

#[test]
fn a_packed_batch_has_the_loss_and_gradients_of_its_sequences() {
    let trainable = trainable(model(16, WeightFormat::F32), 4, &all());
    let adapters = adapters(&trainable);
    let sequences = [sequence(1, 30), sequence(2, 3), sequence(3, 66)];
    let pass = Pass::default();
    let (together, packed) =
        gradients(&trainable, &adapters, &batch(&trainable, &sequences), &pass);
    let mut alone = 0.0;
    let mut sums: Vec<Vec<f32>> = packed.iter().map(|layer| vec![0.0; layer.len()]).collect();
    for one in &sequences {
        let one = batch(&trainable, std::slice::from_ref(one));
        let (loss, gradients) = gradients(&trainable, &adapters, &one, &pass);
        alone += loss;
        for (sum, gradient) in sums.iter_mut().flatten().zip(gradients.iter().flatten()) {
            *sum += gradient;
        }
    }
    assert!((together - alone).abs() < 1e-5 * alone, "{together} {alone}");
    for (sum, gradient) in sums.iter().flatten().zip(packed.iter().flatten()) {
        assert!((sum - gradient).abs() < 1e-4 * sum.abs().max(1.0), "{sum} {gradient}");
    }
}

/// The weights that a packed model multiplies with, as an f32 model.
fn widened(model: &Model) -> Arc<Model> {
    let mut tensors = Vec::new();
    let device = model.device();
    let mut matrix = |name: String, weight: &Matrix| {
        let (inputs, outputs) = (weight.inputs(), weight.outputs());
        let mut values = device.zeros(inputs * outputs);
        let rows: Vec<u32> = (0..outputs as u32).collect();
        device.embed(weight, &rows, 1.0, &mut values);
        tensors.push((name, vec![outputs, inputs], device.download(values)));
    };
    matrix("model.embed_tokens.weight".into(), &model.decoder.embed);
    for (index, layer) in model.decoder.layers.iter().enumerate() {
        let (attention, mlp) = (&layer.attention, &layer.mlp);
        for (module, projection) in [
            (Module::Q, &attention.q),
            (Module::K, &attention.k),
            (Module::V, &attention.v),
            (Module::O, &attention.o),
            (Module::Gate, &mlp.gate),
            (Module::Up, &mlp.up),
            (Module::Down, &mlp.down),
        ] {
            let name = format!("model.layers.{index}.{}.weight", module.path());
            matrix(name, &projection.weight);
        }
    }
    let mut vector = |name: String, values: &Buffer| {
        let values = device.download(device.copy(values, 0..values.len()));
        tensors.push((name, vec![values.len()], values));
    };
    vector("model.norm.weight".into(), &model.decoder.norm);
    for (index, layer) in model.decoder.layers.iter().enumerate() {
        let at = format!("model.layers.{index}");
        vector(format!("{at}.input_layernorm.weight"), layer.attention.norm.as_ref().unwrap());
        vector(format!("{at}.post_attention_layernorm.weight"), layer.mlp.norm.as_ref().unwrap());
    }
    build(model.config().head_dim, tensors, WeightFormat::F32)
}

/// The backward goes through the widened weights; only the rounding of activations (and bf16
/// products) is between its gradients and those of the f32 model with the same weights.
#[test]
fn the_gradient_through_quantised_weights_is_that_of_the_widened_ones() {
    let sequences = [sequence(1, 60), sequence(2, 40)];
    let pass = Pass::default();
    for (format, least) in
        [(WeightFormat::Bf16, 0.999), (WeightFormat::Q8, 0.99), (WeightFormat::Q4, 0.99)]
    {
        let coarse = model(16, format);
        let exact = trainable(widened(&coarse), 4, &all());
        let coarse = trainable(coarse, 4, &all());
        let adapters = adapters(&exact);
        let (_, wanted) = gradients(&exact, &adapters, &batch(&exact, &sequences), &pass);
        let (_, found) = gradients(&coarse, &adapters, &batch(&coarse, &sequences), &pass);
        let dot = |a: &[Vec<f32>], b: &[Vec<f32>]| -> f64 {
            let pairs = a.iter().flatten().zip(b.iter().flatten());
            pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let norms = (dot(&wanted, &wanted) * dot(&found, &found)).sqrt();
        let cosine = dot(&wanted, &found) / norms;
        assert!(cosine > least, "{format}: {cosine}");
    }
}

#[test]
fn only_supervised_rows_count() {
    let trainable = trainable(model(16, WeightFormat::F32), 2, &all());
    let adapters = adapters(&trainable);
    let mut one = sequence(1, 10);
    let pass = Pass::default();
    let whole = batch(&trainable, std::slice::from_ref(&one));
    assert_eq!(whole.supervised_tokens(), 7);
    let all_rows = loss(&trainable, &adapters, &whole, &pass);
    one.supervised[9] = false;
    let fewer = batch(&trainable, std::slice::from_ref(&one));
    assert_eq!(fewer.supervised_tokens(), 6);
    assert!(loss(&trainable, &adapters, &fewer, &pass) < all_rows);
    one.supervised.fill(false);
    // Nothing precedes the first token, so its loss cannot be asked for.
    one.supervised[0] = true;
    let none = batch(&trainable, &[one]);
    assert_eq!(none.supervised_tokens(), 0);
    assert_eq!(loss(&trainable, &adapters, &none, &pass), 0.0);
}

#[test]
fn what_does_not_fit_is_refused() {
    let trainable = trainable(model(16, WeightFormat::F32), 2, &all());
    let config = trainable.model().config();
    let bad = TrainSequence { tokens: vec![1, 50], ..sequence(1, 2) };
    assert!(matches!(TrainBatch::new(config, [&bad]), Err(Error::TokenRange { token: 50, .. })));
    assert!(matches!(
        TrainBatch::new(config, [&sequence(1, 258)]),
        Err(Error::ContextFull { tokens: 258, max: 256 })
    ));
    let batch = batch(&trainable, &[sequence(1, 5)]);
    let short = Tensor::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap();
    let error = trainable.loss(&[short], &batch, &Pass::default()).unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error}");
}

#[test]
fn initial_adapters_follow_peft() {
    let trainable = trainable(model(16, WeightFormat::F32), 4, &all());
    let layout = trainable.layout();
    let values = layout.initial(0, 1);
    assert_eq!(values, layout.initial(0, 1));
    assert_ne!(values, layout.initial(1, 1));
    assert_ne!(values, layout.initial(0, 2));
    for slot in layout.slots() {
        let bound = 1.0 / (slot.inputs as f32).sqrt();
        let a = &values[slot.a.clone()];
        assert!(a.iter().all(|v| v.abs() <= bound) && a.iter().any(|v| v.abs() > bound * 0.8));
        assert!(values[slot.b.clone()].iter().all(|v| *v == 0.0));
    }
}
