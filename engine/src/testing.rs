//! Models and adapters with random weights, for the tests of this crate and of those above it.
//!
//! Everything is seeded: equal arguments give equal files.

use std::collections::BTreeMap;
use std::path::Path;

use hone_model::ModelConfig;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;

use crate::Error;

/// Hidden width of [`tiny_model`].
const HIDDEN: usize = 64;
/// Width inside of its feed-forward blocks.
const INNER: usize = 128;
/// Its query heads, key and value heads, and their width.
const HEADS: (usize, usize, usize) = (4, 2, 16);
/// Its layers.
const LAYERS: usize = 2;
/// The starter's vocabulary.
const VOCAB: usize = 4096;

/// Writes a Llama folder with random weights and the starter's tokenizer: 2 layers, hidden 64,
/// context 512. Its greedy text is noise that depends on every token before it.
///
/// # Errors
/// The files cannot be written.
pub fn tiny_model(dir: &Path, seed: u64) -> Result<(), Error> {
    fs_err::create_dir_all(dir)?;
    let (heads, kv_heads, head_dim) = HEADS;
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCAB,
        "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head_dim,
        "hidden_act": "silu", "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "tie_word_embeddings": false, "attention_bias": false,
        "mlp_bias": false, "bos_token_id": 0, "eos_token_id": 2, "torch_dtype": "float32",
    });
    fs_err::write(dir.join("config.json"), config.to_string())?;
    fs_err::write(
        dir.join("tokenizer.json"),
        include_bytes!("../../model/starter/tokenizer.json"),
    )?;
    fs_err::write(
        dir.join("tokenizer_config.json"),
        include_bytes!("../../model/starter/tokenizer_config.json"),
    )?;
    let mut weights = Weights::new(seed);
    weights.matrix("model.embed_tokens.weight", VOCAB, HIDDEN, 1.0);
    weights.matrix("lm_head.weight", VOCAB, HIDDEN, 0.3);
    weights.ones("model.norm.weight", HIDDEN);
    for layer in 0..LAYERS {
        let prefix = format!("model.layers.{layer}");
        weights.ones(&format!("{prefix}.input_layernorm.weight"), HIDDEN);
        weights.ones(&format!("{prefix}.post_attention_layernorm.weight"), HIDDEN);
        for (name, inputs, outputs) in modules(HIDDEN, INNER, heads * head_dim, kv_heads * head_dim)
        {
            let scale = 1.5 / (inputs as f32).sqrt();
            weights.matrix(&format!("{prefix}.{name}.weight"), outputs, inputs, scale);
        }
    }
    weights.write(&dir.join("model.safetensors"))
}

/// Writes a PEFT folder with random A and B for all linear layers of a model. `strength` is how
/// far B is from zero: 0 makes an adapter without effect, about 1 changes most tokens.
///
/// # Errors
/// The files cannot be written.
pub fn random_adapter(
    dir: &Path,
    config: &ModelConfig,
    rank: usize,
    strength: f32,
    seed: u64,
) -> Result<(), Error> {
    fs_err::create_dir_all(dir)?;
    let names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
    let settings = json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "test",
        "r": rank, "lora_alpha": 2 * rank, "lora_dropout": 0.0, "bias": "none",
        "target_modules": names, "use_rslora": false, "use_dora": false, "rank_pattern": {},
        "alpha_pattern": {}, "modules_to_save": null, "inference_mode": true,
        "fan_in_fan_out": false, "init_lora_weights": true,
    });
    fs_err::write(dir.join("adapter_config.json"), settings.to_string())?;
    let mut weights = Weights::new(seed);
    let q = config.num_heads * config.head_dim;
    let kv = config.num_kv_heads * config.head_dim;
    for layer in 0..config.num_layers {
        for (name, inputs, outputs) in modules(config.hidden_size, config.intermediate_size, q, kv)
        {
            let prefix = format!("base_model.model.model.layers.{layer}.{name}");
            let a = 1.0 / (inputs as f32).sqrt();
            weights.matrix(&format!("{prefix}.lora_A.weight"), rank, inputs, a);
            let b = strength / (rank as f32 * 8.0).sqrt();
            weights.matrix(&format!("{prefix}.lora_B.weight"), outputs, rank, b);
        }
    }
    weights.write(&dir.join("adapter_model.safetensors"))
}

/// Name, inputs and outputs of the linear layers of a decoder layer.
fn modules(hidden: usize, inner: usize, q: usize, kv: usize) -> [(&'static str, usize, usize); 7] {
    [
        ("self_attn.q_proj", hidden, q),
        ("self_attn.k_proj", hidden, kv),
        ("self_attn.v_proj", hidden, kv),
        ("self_attn.o_proj", q, hidden),
        ("mlp.gate_proj", hidden, inner),
        ("mlp.up_proj", hidden, inner),
        ("mlp.down_proj", inner, hidden),
    ]
}

/// Tensors by name: shape and little-endian f32.
struct Weights {
    rng: ChaCha8Rng,
    tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)>,
}

impl Weights {
    fn new(seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), tensors: BTreeMap::new() }
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize, scale: f32) {
        // The sum of four uniform numbers is near enough to a normal one.
        let mut uniform = || (self.rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32 - 0.5;
        let data = (0..rows * columns)
            .map(|_| (uniform() + uniform() + uniform() + uniform()) * 3f32.sqrt() * scale)
            .flat_map(f32::to_le_bytes)
            .collect();
        self.tensors.insert(name.to_owned(), (vec![rows, columns], data));
    }

    fn ones(&mut self, name: &str, len: usize) {
        let data = std::iter::repeat_n(1f32, len).flat_map(f32::to_le_bytes).collect();
        self.tensors.insert(name.to_owned(), (vec![len], data));
    }

    fn write(&self, path: &Path) -> Result<(), Error> {
        let invalid = |e: safetensors::SafeTensorError| std::io::Error::other(e.to_string());
        let mut views = Vec::new();
        for (name, (shape, data)) in &self.tensors {
            let view = TensorView::new(Dtype::F32, shape.clone(), data).map_err(invalid)?;
            views.push((name.as_str(), view));
        }
        let bytes = safetensors::serialize(views, None).map_err(invalid)?;
        fs_err::write(path, bytes)?;
        Ok(())
    }
}
