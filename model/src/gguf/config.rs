//! The metadata as the `config.json` that Hugging Face has for the same model.

use serde_json::json;

use super::{
    families::{self, Layout, Said},
    header::Header,
    keys::Keys,
    names, rope,
};
use crate::{Error, ModelConfig};

/// Keys below the architecture's name that are understood.
const KNOWN: [&str; 31] = [
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "attention.sliding_window_pattern",
    "rope.freq_base_swa",
    "rope.scaling.attn_factor",
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "attention.causal",
    "attention.scale",
    "attention.sliding_window",
    "expert_count",
    "expert_used_count",
    "logit_scale",
    "residual_scale",
    "embedding_scale",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scale_linear",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "vocab_size",
    "tensor_data_layout",
];

/// Tokens that end an answer whatever the metadata says; llama.cpp has the same list, for few files name all of theirs.
const ENDS: [&str; 7] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<EOT>",
];

/// The content of `config.json`, and how the file stores what it says.
///
/// # Errors
/// A key is missing, of another kind, or says something that the decoder does not do.
pub(super) fn of(file: &str, header: &Header<'_>) -> Result<(Vec<u8>, &'static Layout), Error> {
    let keys = Keys { file, metadata: &header.metadata };
    let layout = layout_of(keys)?;
    let name = layout.name;
    keys.only(&format!("{name}."), &KNOWN)?;
    refuse_changed_computation(keys, layout)?;
    let size = |what: &str| {
        let key = format!("{name}.{what}");
        keys.need(&key, keys.whole(&key)?)
    };
    let (hidden, heads) = (size("embedding_length")?, size("attention.head_count")?);
    let key_value_heads = keys.whole(&format!("{name}.attention.head_count_kv"))?.unwrap_or(heads);
    let head = match keys.whole(&format!("{name}.attention.key_length"))? {
        Some(length) => length,
        None => hidden / heads.max(1),
    };
    for what in ["attention.value_length", "rope.dimension_count"] {
        // Phi rotates a part of each head.
        let is_part = what == "rope.dimension_count" && name == "phi3";
        let key = format!("{name}.{what}");
        if let Some(other) = keys.whole(&key)?.filter(|other| *other != head && !is_part) {
            let supported = format!("the {head} of a head");
            return Err(keys.unsupported(&key, &other.to_string(), &supported));
        }
    }
    let theta = keys.real(&format!("{name}.rope.freq_base"))?.unwrap_or(10_000.0);
    let embedding = header.tensors.get("token_embd.weight").map(|tensor| tensor.shape.as_slice());
    let Some([rows, _]) = embedding else {
        return Err(Error::MissingTensor { name: "token_embd.weight".into(), file: file.into() });
    };
    let epsilon = format!("{name}.attention.layer_norm_rms_epsilon");
    let layers = size("block_count")?;
    let mut config = json!({
        "architectures": [layout.class],
        "vocab_size": rows,
        "hidden_size": hidden,
        "intermediate_size": size("feed_forward_length")?,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
        "head_dim": head,
        "max_position_embeddings": size("context_length")?,
        "rms_norm_eps": keys.need(&epsilon, keys.real(&epsilon)?)?,
        "rope_theta": theta,
        "rope_scaling": rope::scaling(keys, header, name, (theta, head))?,
        "tie_word_embeddings": !header.tensors.contains_key("output.weight"),
        "bos_token_id": keys.whole("tokenizer.ggml.bos_token_id")?,
        "eos_token_id": ends(keys)?,
    });
    let more = (layout.more)(Said { keys, header, name, hidden, heads, head, layers })?;
    if let Some(map) = config.as_object_mut() {
        map.extend(more);
    }
    let bytes = serde_json::to_vec(&config).map_err(|e| Error::invalid(file, e))?;
    let parsed = ModelConfig::parse(&bytes, None).map_err(|error| match error {
        Error::Invalid { reason, .. } => {
            Error::invalid(file, format!("its metadata, as a config.json: {reason}"))
        }
        other => other,
    })?;
    names::refuse_unknown(file, header, &parsed)?;
    Ok((bytes, layout))
}

/// The layout of the file, unless it holds no language model or one that the decoder does not have.
fn layout_of(keys: Keys<'_>) -> Result<&'static Layout, Error> {
    if let Some(kind) = keys.text("general.type")?.filter(|kind| *kind != "model") {
        return Err(keys.unsupported("general.type", kind, "a file that holds a model"));
    }
    if let Some(parts) = keys.whole("split.count")?.filter(|parts| *parts > 1) {
        let supported = "one file; join the parts with `llama-gguf-split --merge`";
        return Err(keys.unsupported("split.count", &parts.to_string(), supported));
    }
    let key = "general.architecture";
    let name = keys.need(key, keys.text(key)?)?;
    families::of(name).ok_or_else(|| keys.unsupported(key, name, &families::supported()))
}

/// Numbers with which the decoder would have to compute otherwise.
fn refuse_changed_computation(keys: Keys<'_>, layout: &Layout) -> Result<(), Error> {
    let name = layout.name;
    let context = keys.whole(&format!("{name}.context_length"))?.unwrap_or_default();
    // A window that no context fills changes nothing.
    let window = if matches!(name, "gemma2" | "gemma3" | "phi3") { 0 } else { context };
    for (what, plain) in [
        ("expert_count", 0..=0),
        ("expert_used_count", 0..=0),
        ("attention.sliding_window", window..=u64::MAX),
    ] {
        let key = format!("{name}.{what}");
        if let Some(value) = keys.whole(&key)?.filter(|value| *value != 0 && !plain.contains(value))
        {
            return Err(keys.unsupported(&key, &value.to_string(), "0"));
        }
    }
    let scales: &[&str] = match name {
        "granite" => &[],
        _ => &["attention.scale", "logit_scale", "residual_scale", "embedding_scale"],
    };
    for what in scales {
        let key = format!("{name}.{what}");
        if let Some(value) = keys.real(&key)?.filter(|value| *value != 0.0) {
            return Err(keys.unsupported(&key, &value.to_string(), "0, which is none"));
        }
    }
    let causal = format!("{name}.attention.causal");
    match keys.boolean(&causal)? {
        Some(false) => Err(keys.unsupported(&causal, "false", "true")),
        _ => Ok(()),
    }
}

/// Tokens that end an answer, that of the metadata first.
fn ends(keys: Keys<'_>) -> Result<Vec<u64>, Error> {
    let mut ends = Vec::new();
    for name in ["eos_token_id", "eot_token_id", "eom_token_id"] {
        ends.extend(keys.whole(&format!("tokenizer.ggml.{name}"))?);
    }
    let tokens = keys.texts("tokenizer.ggml.tokens")?.into_iter().flatten();
    ends.extend((0..).zip(tokens).filter(|(_, text)| text.is_some_and(is_end)).map(|(id, _)| id));
    let mut seen = std::collections::BTreeSet::new();
    ends.retain(|id| seen.insert(*id));
    Ok(ends)
}

/// Whether a token of this text ends an answer in every model that has it.
pub(super) fn is_end(text: &str) -> bool {
    ENDS.contains(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        RopeScaling,
        gguf::{
            blocks::Format,
            testing::{Writer, llama},
        },
    };

    fn parse(writer: Writer) -> Result<ModelConfig, Error> {
        let bytes = writer.finish();
        let (config, _) = of("x.gguf", &Header::parse("x.gguf", &bytes)?)?;
        ModelConfig::parse(&config, None)
    }

    #[test]
    fn sizes_come_from_the_metadata() {
        let config = parse(llama()).unwrap();
        assert_eq!((config.vocab_size, config.hidden_size, config.intermediate_size), (6, 32, 64));
        assert_eq!((config.num_layers, config.num_heads, config.num_kv_heads), (1, 2, 1));
        assert_eq!((config.head_dim, config.max_positions), (16, 128));
        assert_eq!((config.rms_norm_eps, config.spec.rotaries[0].theta), (1e-5, 10_000.0));
        assert_eq!(config.spec.rotaries[0].scaling, RopeScaling::None);
        assert!(config.tie_word_embeddings);
        assert_eq!(
            (config.bos_token_id, config.eos_token_ids.as_slice()),
            (Some(4), [5].as_slice())
        );
        let head = llama().tensor("output.weight", &[6, 32], Format::F32, &[0; 768]);
        assert!(!parse(head).unwrap().tie_word_embeddings);
        let linear = llama().real("llama.rope.scaling.factor", 2.0);
        assert_eq!(
            parse(linear).unwrap().spec.rotaries[0].scaling,
            RopeScaling::Linear { factor: 2.0 }
        );
        let window = llama().whole("llama.attention.sliding_window", 128);
        assert!(parse(window).is_ok());
    }

    #[test]
    fn what_changes_the_computation_is_refused_by_name() {
        let bytes = [0; 128];
        for (writer, word) in [
            (Writer::new().text("general.architecture", "mamba"), "mamba"),
            (Writer::new(), "general.architecture: it is missing"),
            (Writer::new().whole("general.architecture", 1), "it is not a text"),
            (llama().text("general.type", "adapter"), "general.type adapter"),
            (llama().whole("split.count", 3), "llama-gguf-split"),
            (llama().whole("llama.expert_count", 8), "llama.expert_count 8"),
            (llama().whole("llama.attention.sliding_window", 64), "sliding_window 64"),
            (llama().real("llama.logit_scale", 0.5), "llama.logit_scale 0.5"),
            (llama().real("llama.rope.freq_base", f32::NAN), "it is not a finite number"),
            (llama().boolean("llama.attention.causal", false), "llama.attention.causal false"),
            (llama().whole("llama.rope.dimension_count", 8), "llama.rope.dimension_count 8"),
            (llama().whole("llama.attention.key_length", 20), "head_dim 20"),
            (llama().text("llama.rope.scaling.type", "bent"), "bent"),
            (llama().real("llama.attention.clamp_kqv", 8.0), "llama.attention.clamp_kqv"),
            (llama().tensor("blk.0.attn_q.bias", &[32], Format::F32, &bytes), "blk.0.attn_q.bias"),
            (
                llama().tensor("blk.1.attn_norm.weight", &[32], Format::F32, &bytes),
                "blk.1.attn_norm",
            ),
            (llama().tensor("blk.00.attn_norm.weight", &[32], Format::F32, &bytes), "blk.00"),
            (llama().tensor(names::ROPE_DIVISORS, &[32], Format::F32, &bytes), "rope_freqs.weight"),
        ] {
            let message = parse(writer).unwrap_err().to_string();
            assert!(message.contains(word), "{message} instead of {word}");
            assert!(message.contains("x.gguf") || word == "head_dim 20", "{message}");
        }
    }

    #[test]
    fn the_frequencies_of_llama_3_are_recognised() {
        // As convert_hf_to_gguf.py computes them, for heads of 16 and a base of 500 000.
        let divisors: Vec<f32> = (0..8)
            .map(|at| {
                let wave = 2.0 * std::f32::consts::PI * 500_000f32.powf(at as f32 / 8.0);
                match wave {
                    _ if wave < 2048.0 => 1.0,
                    _ if wave > 8192.0 => 32.0,
                    _ => {
                        let smooth = (8192.0 / wave - 1.0) / 3.0;
                        1.0 / ((1.0 - smooth) / 32.0 + smooth)
                    }
                }
            })
            .collect();
        assert!(divisors.iter().any(|d| *d > 1.0 && *d < 32.0), "{divisors:?}");
        let with = |divisors: &[f32]| {
            let bytes = bytemuck::cast_slice(divisors);
            let writer = llama().real("llama.rope.freq_base", 500_000.0);
            parse(writer.tensor(names::ROPE_DIVISORS, &[divisors.len() as u64], Format::F32, bytes))
        };
        let expected = RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_positions: 8192.0,
        };
        assert_eq!(with(&divisors).unwrap().spec.rotaries[0].scaling, expected);
        let mut other = divisors.clone();
        other[4] *= 1.01;
        assert!(with(&other).is_err());
        assert!(with(&divisors[1..]).is_err());
    }
}
