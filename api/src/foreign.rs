//! Fields of other servers' requests that would change the answer, and that nothing here knows: refused by name.
//!
//! What is left after them are hints (`prompt_cache_key`, `service_tier`, `verbosity` …) and fields that nobody knows:
//! they are accepted, and named in `x-hone-ignored`.

use serde_json::{Value, json};

use crate::error::Invalid;
use crate::fields::Fields;

/// Of both endpoints, with the values at which they ask for nothing.
fn constraints() -> Vec<(&'static str, Vec<Value>)> {
    let never = Vec::new;
    let off = || vec![json!(false)];
    vec![
        // vLLM
        ("use_beam_search", off()),
        ("length_penalty", vec![json!(1.0), json!(1)]),
        ("early_stopping", off()),
        ("include_stop_str_in_output", off()),
        ("skip_special_tokens", vec![json!(true)]),
        ("spaces_between_special_tokens", vec![json!(true), json!(false)]),
        ("prompt_logprobs", never()),
        ("logits_processors", vec![json!([])]),
        ("prompt_embeds", never()),
        ("thinking_token_budget", never()),
        ("repetition_detection", never()),
        ("guided_whitespace_pattern", never()),
        ("structural_tag", never()),
        // llama.cpp, SGLang, TGI, Ollama
        ("grammar", vec![json!("")]),
        ("json_schema", never()),
        ("regex", never()),
        ("ebnf", never()),
        ("format", vec![json!("")]),
        ("options", vec![json!({})]),
        ("think", off()),
        ("lora", vec![json!([])]),
        ("lora_path", never()),
        ("adapter_id", never()),
        ("n_predict", never()),
        ("max_new_tokens", never()),
        ("min_new_tokens", vec![json!(0)]),
        ("stop_regex", vec![json!([])]),
        ("no_stop_trim", off()),
        ("repeat_penalty", vec![json!(1.0), json!(1)]),
        ("typical_p", vec![json!(1.0), json!(1)]),
        ("tfs_z", vec![json!(1.0), json!(1)]),
        ("top_a", vec![json!(0.0), json!(0)]),
        ("mirostat", vec![json!(0)]),
        ("dry_multiplier", vec![json!(0.0), json!(0)]),
        ("xtc_probability", vec![json!(0.0), json!(0)]),
        ("dynatemp_range", vec![json!(0.0), json!(0)]),
        ("samplers", never()),
    ]
}

/// Only of chat.
fn of_chat() -> Vec<(&'static str, Vec<Value>)> {
    let never = Vec::new;
    vec![
        ("functions", vec![json!([])]),
        ("function_call", vec![json!("none"), json!("auto")]),
        ("modalities", vec![json!([]), json!(["text"])]),
        ("audio", never()),
        ("web_search_options", never()),
        ("moderation", never()),
        ("echo", vec![json!(false)]),
        ("documents", vec![json!([])]),
        ("chat_template", never()),
        ("chat_template_kwargs", vec![json!({})]),
        ("add_special_tokens", vec![json!(false)]),
        ("mm_processor_kwargs", vec![json!({})]),
        ("media_io_kwargs", vec![json!({})]),
        ("suffix", vec![json!("")]),
        ("best_of", vec![json!(1)]),
    ]
}

/// Refuses what would change a chat's answer.
///
/// # Errors
/// The first such field, by name.
pub(crate) fn refuse_in_chat(fields: &mut Fields) -> Result<(), Invalid> {
    refuse(fields, constraints().into_iter().chain(of_chat()))
}

/// Refuses what would change a completion.
///
/// # Errors
/// The first such field, by name.
pub(crate) fn refuse_in_completion(fields: &mut Fields, answers: u32) -> Result<(), Invalid> {
    let own = [
        ("suffix", vec![json!("")]),
        ("best_of", vec![json!(answers)]),
        ("add_special_tokens", vec![json!(true)]),
        ("tools", vec![json!([])]),
        ("tool_choice", vec![json!("none"), json!("auto")]),
    ];
    refuse(fields, constraints().into_iter().chain(own))
}

fn refuse(
    fields: &mut Fields,
    list: impl Iterator<Item = (&'static str, Vec<Value>)>,
) -> Result<(), Invalid> {
    for (name, harmless) in list {
        fields.unsupported(name, &harmless)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::chat::ChatRequest;
    use crate::completion::CompletionRequest;
    use serde_json::{Value, json};

    fn chat(more: &Value) -> Result<Vec<String>, crate::error::Invalid> {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        ChatRequest::from_json(body).map(|accepted| accepted.ignored)
    }

    #[test]
    fn constraints_fail_closed_and_hints_fail_open() {
        for (name, value) in [
            ("use_beam_search", json!(true)),
            ("functions", json!([{"name": "f"}])),
            ("chat_template_kwargs", json!({"enable_thinking": false})),
            ("grammar", json!("root ::= \"a\"")),
            ("mirostat", json!(2)),
            ("suffix", json!("x")),
            ("best_of", json!(2)),
        ] {
            let error = chat(&json!({ name: value })).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(name));
            assert_eq!(error.code, Some("unsupported_parameter"));
        }
        for (name, value) in [
            ("prompt_cache_key", json!("k")),
            ("prompt_cache_retention", json!("24h")),
            ("service_tier", json!("flex")),
            ("verbosity", json!("low")),
            ("reasoning_effort", json!("high")),
            ("prediction", json!({"type": "content", "content": "x"})),
            ("nobody_knows", json!(1)),
        ] {
            assert_eq!(chat(&json!({ name: value })).unwrap(), [name]);
        }
        assert!(
            chat(&json!({"safety_identifier": "ann", "use_beam_search": false}))
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn completions_do_as_chats() {
        let read = |more: Value| {
            let mut body = json!({"model": "m", "prompt": "x", "n": 2});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            CompletionRequest::from_json(body).map(|accepted| accepted.ignored)
        };
        assert_eq!(read(json!({"best_of": 2, "verbosity": "low"})).unwrap(), ["verbosity"]);
        for (name, value) in [("best_of", json!(3)), ("suffix", json!("x")), ("tools", json!([1]))]
        {
            assert_eq!(read(json!({ name: value })).unwrap_err().param.as_deref(), Some(name));
        }
    }
}
