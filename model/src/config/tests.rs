use serde_json::Value;

use super::{rope::RopeScaling, *};
use crate::Error;

fn base() -> Value {
    serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "vocab_size": 100, "hidden_size": 64,
        "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
        "rope_theta": 5000.0, "eos_token_id": 2, "bos_token_id": null
    })
}

fn parse(value: &Value) -> Result<ModelConfig, Error> {
    ModelConfig::parse(value.to_string().as_bytes(), None)
}

#[test]
fn reads_both_spellings_of_rope() {
    assert_eq!(parse(&base()).unwrap().spec.rotaries[0].theta, 5000.0);
    let mut new = base();
    new["rope_parameters"] = serde_json::json!({ "rope_theta": 7000.0, "rope_type": "default" });
    new.as_object_mut().unwrap().remove("rope_theta");
    let config = parse(&new).unwrap();
    assert_eq!(config.spec.rotaries[0].theta, 7000.0);
    assert_eq!(config.head_dim, 16);
}

#[test]
fn end_tokens_come_from_both_files() {
    let generation = br#"{"eos_token_id":[2,0]}"#;
    let config = ModelConfig::parse(base().to_string().as_bytes(), Some(generation)).unwrap();
    assert_eq!(config.eos_token_ids, [2, 0]);
}

#[test]
fn refuses_by_name() {
    for (key, value, word) in [
        ("architectures", serde_json::json!(["MambaForCausalLM"]), "MambaForCausalLM"),
        ("hidden_act", serde_json::json!("gelu"), "gelu"),
        ("attention_bias", serde_json::json!("yes"), "attention_bias"),
        ("num_experts", serde_json::json!(8), "num_experts"),
        ("quantization_config", serde_json::json!({"bits": 4}), "quantization_config"),
        ("head_dim", serde_json::json!(20), "head_dim 20"),
        ("rope_scaling", serde_json::json!({"rope_type": "bent"}), "bent"),
        ("num_key_value_heads", serde_json::json!(3), "no multiple"),
        ("num_hidden_layers", serde_json::json!(1_000_000_000_000_000_000u64), "num_hidden_layers"),
        ("num_hidden_layers", serde_json::json!(0), "num_hidden_layers is 0"),
        ("hidden_size", serde_json::json!(1u64 << 40), "hidden_size"),
        ("vocab_size", serde_json::json!(u64::MAX), "vocab_size"),
        ("num_attention_heads", serde_json::json!(1u64 << 60), "num_attention_heads"),
        ("head_dim", serde_json::json!(1u64 << 60), "head_dim"),
        ("max_position_embeddings", serde_json::json!(1u64 << 60), "max_position_embeddings"),
        ("rms_norm_eps", serde_json::json!(-1e-5), "rms_norm_eps"),
        ("rms_norm_eps", serde_json::json!(0), "rms_norm_eps"),
        ("rms_norm_eps", serde_json::json!(1e300), "rms_norm_eps"),
        ("rope_theta", serde_json::json!(0), "rope_theta"),
        ("rope_theta", serde_json::json!(1e300), "rope_theta"),
        ("rope_scaling", serde_json::json!({"type": "linear", "factor": 0}), "factor"),
        ("rope_scaling", serde_json::json!({"type": "linear", "factor": -2}), "factor"),
        (
            "rope_scaling",
            serde_json::json!({"rope_type": "llama3", "factor": 8,
            "low_freq_factor": 4, "high_freq_factor": 4,
            "original_max_position_embeddings": 8192}),
            "high_freq_factor",
        ),
    ] {
        let mut config = base();
        config[key] = value;
        let message = parse(&config).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    }
}

/// A configuration of another class, with some keys changed.
fn of_class(class: &str, changes: serde_json::Value) -> Result<ModelConfig, Error> {
    let mut config = base();
    config["architectures"] = serde_json::json!([class]);
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    parse(&config)
}

#[test]
fn rope_parameters_beside_rope_scaling_do_not_hide_it() {
    let mut both = base();
    both["rope_parameters"] = serde_json::json!({ "rope_theta": 7000.0 });
    both["rope_scaling"] = serde_json::json!({ "rope_type": "linear", "factor": 2.0 });
    let rotary = parse(&both).unwrap().spec.rotaries[0].clone();
    assert_eq!((rotary.theta, rotary.scaling), (7000.0, RopeScaling::Linear { factor: 2.0 }));
    both["rope_parameters"]["rope_type"] = "default".into();
    let message = parse(&both).unwrap_err().to_string();
    assert!(message.contains("\"default\"") && message.contains("\"linear\""), "{message}");
}

#[test]
fn windows_follow_layer_types_and_the_familys_rule() {
    let windows = |config: ModelConfig| -> Vec<Option<usize>> {
        config.spec.layers.iter().map(|layer| layer.window).collect()
    };
    let of = |class: &str, changes| windows(of_class(class, changes).unwrap());
    let eight = serde_json::json!({ "sliding_window": 8 });
    assert_eq!(of("LlamaForCausalLM", serde_json::json!({})), [None, None]);
    assert_eq!(of("MistralForCausalLM", eight.clone()), [Some(8), Some(8)]);
    assert_eq!(of("MistralForCausalLM", serde_json::json!({ "sliding_window": null })), [None; 2]);
    assert_eq!(of("Gemma2ForCausalLM", eight.clone()), [Some(8), None]);
    assert_eq!(of("Qwen2ForCausalLM", eight.clone()), [None, None]);
    let upper = serde_json::json!({
        "use_sliding_window": true, "sliding_window": 8, "max_window_layers": 1,
    });
    assert_eq!(of("Qwen2ForCausalLM", upper), [None, Some(8)]);
    let types = serde_json::json!({
        "sliding_window": 8, "layer_types": ["full_attention", "sliding_attention"],
    });
    assert_eq!(of("Gemma3ForCausalLM", types), [None, Some(8)]);
    let other = serde_json::json!({ "layer_types": ["full_attention", "linear_attention"] });
    let message = of_class("Qwen3ForCausalLM", other).unwrap_err().to_string();
    assert!(message.contains("linear_attention"), "{message}");
}

/// transformers 5 writes one set of parameters for each kind of layer.
#[test]
fn gemma_3_has_a_rotation_for_each_kind_of_layer() {
    let thetas = |changes: serde_json::Value| -> Vec<f32> {
        let config = of_class("Gemma3ForCausalLM", changes).unwrap();
        config.spec.rotaries.iter().map(|rotary| rotary.theta).collect()
    };
    let older = serde_json::json!({ "rope_theta": 1e6, "rope_local_base_freq": 1e4 });
    let newer = serde_json::json!({ "rope_parameters": {
        "full_attention": { "rope_type": "default", "rope_theta": 1e6 },
        "sliding_attention": { "rope_type": "default", "rope_theta": 1e4 },
    }});
    assert_eq!(thetas(older), [1e6, 1e4]);
    assert_eq!(thetas(newer), [1e6, 1e4]);
}

#[test]
fn a_long_rope_ends_where_other_divisors_would_be_needed() {
    let long = |changes: serde_json::Value| of_class("Phi3ForCausalLM", changes);
    let config = long(serde_json::json!({
        "max_position_embeddings": 4096, "original_max_position_embeddings": 128,
        "rope_scaling": { "type": "longrope", "short_factor": vec![1.0; 8], "long_factor": vec![2.0; 8] },
    }));
    assert_eq!(config.unwrap().max_positions, 128);
    let error = long(serde_json::json!({
        "rope_scaling": { "type": "longrope", "short_factor": [1.0], "long_factor": [2.0] },
    }));
    assert!(error.unwrap_err().to_string().contains("must have 8 numbers"));
}

#[test]
fn keys_without_meaning_for_the_computation_are_no_fault() {
    let mut config = base();
    for (key, value) in [
        ("torch_dtype", serde_json::json!("bfloat16")),
        ("transformers_version", serde_json::json!("4.57.6")),
        ("use_cache", serde_json::json!(true)),
        ("unsloth_fixed", serde_json::json!(true)),
        ("_name_or_path", serde_json::json!("x/y")),
        ("something_off", serde_json::json!(false)),
    ] {
        config[key] = value;
    }
    parse(&config).unwrap();
}

#[test]
fn an_adapter_is_put_on_what_the_file_has() {
    let config = of_class("Phi3ForCausalLM", serde_json::json!({})).unwrap();
    let shapes: Vec<_> = config.modules().into_iter().collect();
    let shape = |name: &str, inputs, outputs| (name.to_owned(), (inputs, outputs));
    assert_eq!(
        shapes,
        [
            shape("down_proj", 96, 64),
            shape("gate_up_proj", 64, 192),
            shape("o_proj", 64, 64),
            shape("qkv_proj", 64, 128),
        ]
    );
}
