//! `config.json` → sizes, and by its family's file what the decoder computes.

use hone_api::sampling::SamplingDefaults;
use serde_json::Value;

use crate::{
    Error, ModelConfig,
    config::{
        Sizes, generation,
        keys::{Keys, invalid, token_ids},
    },
};

impl ModelConfig {
    /// Reads `config.json`, and `generation_config.json` for its end tokens and for how tokens are drawn.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a key is missing or inconsistent, [`Error::Unsupported`] for a model of another kind or a
    /// key that would change the computation and is not understood.
    pub fn parse(config: &[u8], generation: Option<&[u8]>) -> Result<Self, Error> {
        let value: Value = serde_json::from_slice(config).map_err(invalid)?;
        let keys = Keys::new(&value)?;
        let family = super::of(&keys)?;

        let layers = keys.size("num_hidden_layers", 1 << 12)?;
        let heads = keys.size("num_attention_heads", 1 << 12)?;
        let hidden_size = keys.size("hidden_size", 1 << 18)?;
        let num_kv_heads = keys.size_or("num_key_value_heads", 1 << 12, heads)?;
        if !heads.is_multiple_of(num_kv_heads) {
            return Err(invalid(format!(
                "num_attention_heads {heads} is no multiple of num_key_value_heads {num_kv_heads}"
            )));
        }
        let head_dim = keys.size_or("head_dim", 1 << 12, (hidden_size / heads).max(1))?;
        if !head_dim.is_multiple_of(16) {
            return Err(Error::Unsupported {
                what: format!("head_dim {head_dim}"),
                supported: "multiples of 16".into(),
            });
        }
        let max_positions = keys.size("max_position_embeddings", 1 << 26)?;
        let sizes = Sizes { hidden: hidden_size, layers, head_dim, max_positions };
        let spec = family.spec(&keys, sizes)?;
        let context = spec.rotaries.iter().filter_map(|r| r.scaling.longest_context()).min();
        let mut parsed = Self {
            vocab_size: keys.size("vocab_size", 1 << 22)?,
            hidden_size,
            intermediate_size: keys.size("intermediate_size", 1 << 20)?,
            num_layers: layers,
            num_heads: heads,
            num_kv_heads,
            head_dim,
            max_positions: context.map_or(max_positions, |context| context.min(max_positions)),
            rms_norm_eps: epsilon(&keys)?,
            tie_word_embeddings: keys
                .flag("tie_word_embeddings")?
                .unwrap_or(family.tied_by_default),
            eos_token_ids: token_ids(keys.get("eos_token_id")),
            bos_token_id: token_ids(keys.get("bos_token_id")).first().copied(),
            sampling: SamplingDefaults::default(),
            spec,
        };
        refuse_other_quantisations(&keys)?;
        keys.refuse_unread()?;
        parsed.read_generation(generation)?;
        Ok(parsed)
    }

    fn read_generation(&mut self, generation: Option<&[u8]>) -> Result<(), Error> {
        let Some(bytes) = generation else { return Ok(()) };
        let generation: Value =
            serde_json::from_slice(bytes).map_err(|e| Error::invalid(generation::FILE, e))?;
        self.sampling = generation::defaults(&generation)?;
        for id in token_ids(generation.get("eos_token_id")) {
            if !self.eos_token_ids.contains(&id) {
                self.eos_token_ids.push(id);
            }
        }
        Ok(())
    }
}

/// Weights of a folder may be in bitsandbytes' 4 bits; nothing else is read.
fn refuse_other_quantisations(keys: &Keys<'_>) -> Result<(), Error> {
    let Some(stated) = keys.get("quantization_config") else { return Ok(()) };
    let is_set = |key: &str| stated.get(key).and_then(Value::as_bool) == Some(true);
    let method = stated.get("quant_method").and_then(Value::as_str).unwrap_or("bitsandbytes");
    if method == "bitsandbytes" && (is_set("load_in_4bit") || is_set("_load_in_4bit")) {
        return Ok(());
    }
    Err(Error::Unsupported {
        what: format!("the quantization_config of config.json ({method})"),
        supported: "bitsandbytes with load_in_4bit, GGUF files, and folders in F32, BF16 or F16"
            .into(),
    })
}

fn epsilon(keys: &Keys<'_>) -> Result<f32, Error> {
    let eps = keys.number("rms_norm_eps")?.unwrap_or(1e-6);
    if eps > 0.0 && eps < 1.0 {
        return Ok(eps);
    }
    Err(invalid(format!("rms_norm_eps is {eps}; it must be above 0 and below 1")))
}
