//! What the served model decides: which token ids there are, how long a vector is.

use hone_api::embedding::INPUTS;
use hone_api::sampling::Limits;
use serde_json::{Map, Value, json};

/// What is told of a model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Described {
    pub(crate) limits: Limits,
    /// Numbers of a vector.
    pub(crate) width: usize,
}

/// Adds it to the schemas of requests.
pub(super) fn add(schemas: &mut Value, model: Described) {
    let Limits { vocab_size, stops, biases, prompts, .. } = model.limits;
    let id = json!({"type": "integer", "minimum": 0, "maximum": vocab_size.saturating_sub(1)});
    if let Some(sampling) = properties(schemas, "SamplingOptions") {
        for name in ["stop_token_ids", "allowed_token_ids"] {
            sampling[name]["items"] = id.clone();
        }
        sampling["bad_words"]["items"] = json!({"type": "string", "minLength": 1});
        for name in ["top_k", "min_tokens"] {
            sampling[name]["format"] = json!("int64");
            sampling[name]["maximum"] = json!(u32::MAX);
        }
        let bias = &mut sampling["logit_bias"];
        bias["maxProperties"] = json!(biases);
        bias["propertyNames"] = json!({"type": "string", "pattern": below(vocab_size)});
        bias["additionalProperties"] = json!({"type": "number", "minimum": -100, "maximum": 100});
    }
    schemas["StopForms"]["oneOf"] = json!([
        {"type": "string", "minLength": 1},
        {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": stops},
        {"type": "null"},
    ]);
    for (request, name, most) in
        [("CompletionRequest", "prompt", prompts), ("EmbeddingRequest", "input", INPUTS)]
    {
        if let Some(request) = properties(schemas, request) {
            request[name] = texts_or_ids(&request[name]["description"], &id, most);
        }
    }
    if let Some(embedding) = properties(schemas, "EmbeddingRequest") {
        embedding["dimensions"]["minimum"] = json!(model.width);
        embedding["dimensions"]["maximum"] = json!(model.width);
    }
    if let Some(detokenize) = properties(schemas, "DetokenizeRequest") {
        detokenize["tokens"]["items"] = id;
    }
}

/// One text, several, one list of ids, several; none of them empty.
fn texts_or_ids(description: &Value, id: &Value, most: usize) -> Value {
    let text = json!({"type": "string", "minLength": 1});
    let ids = json!({"type": "array", "items": id, "minItems": 1});
    let several =
        |one: &Value| json!({"type": "array", "items": one, "minItems": 1, "maxItems": most});
    json!({"description": description, "oneOf": [text, several(&text), ids, several(&ids)]})
}

/// A schema's own properties, also where it has those of others beside them.
fn properties<'a>(schemas: &'a mut Value, name: &str) -> Option<&'a mut Map<String, Value>> {
    let schema = schemas.get_mut(name)?.as_object_mut()?;
    let own = if schema.contains_key("properties") {
        schema.get_mut("properties")
    } else {
        let mut parts = schema.get_mut("allOf")?.as_array_mut()?.iter_mut();
        parts.find_map(|part| part.get_mut("properties"))
    };
    own?.as_object_mut()
}

/// A pattern of the whole numbers below `end`, which is at least 1.
fn below(end: u32) -> String {
    let most = end.saturating_sub(1).to_string();
    let length = most.len();
    let mut forms = vec![most.clone()];
    if length > 1 {
        forms.push(format!("[0-9]{{1,{}}}", length - 1));
    }
    // As long as the largest, but smaller from some digit on.
    for (at, digit) in most.bytes().enumerate().filter(|(_, digit)| *digit > b'0') {
        let smaller = char::from(digit - 1);
        forms.push(format!("{}[0-{smaller}][0-9]{{{}}}", &most[..at], length - at - 1));
    }
    format!("^0*({})$", forms.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_knows_the_numbers_below() {
        for end in [1, 7, 10, 11, 100, 4096, 5030, 151_936] {
            let pattern = regex::Regex::new(&below(end)).unwrap();
            for number in (0..200).chain(end.saturating_sub(300)..end + 300).chain([end * 10]) {
                assert_eq!(pattern.is_match(&number.to_string()), number < end, "{number} {end}");
                assert_eq!(pattern.is_match(&format!("0{number}")), number < end, "{number}");
            }
            assert!(!pattern.is_match("") && !pattern.is_match("+0") && !pattern.is_match("x"));
        }
    }
}
