//! Which fields of a request belong together, and which exclude each other.

use serde_json::{Map, Value, json};

/// Adds that to the schemas of requests. Ways to satisfy one condition multiply with those of the next, and generators of requests
/// and of clients give up beyond some dozens: of chat's, those about tools and about how its prompt ends are left to its errors.
pub(super) fn add(schemas: &mut Value) {
    let form = one_form("response_format", &is_text("response_format"));
    let streams = needs("stream_options", "object", "stream");
    let chat = [needs("top_logprobs", "integer", "logprobs"), streams.clone(), form.clone()];
    let completion = [streams, form];
    let format = json!({"text": or_null(json!({
        "properties": {"format": or_null(json!({"properties": {"type": {"const": "text"}}}))},
    }))});
    let response = [one_form("text", &format), tools_for_a_choice(), no_grammar_beside_tools()];
    for (name, conditions) in [
        ("ChatRequest", &chat[..]),
        ("CompletionRequest", &completion),
        ("ResponsesRequest", &response),
        ("TokenizeChat", &[not_both("add_generation_prompt", "continue_final_message")]),
        ("StructuredOutputs", &[one_of_structured_outputs()]),
        ("Message", &turns()),
        ("FeedbackRequest", &values()),
    ] {
        let Some(schema) = schemas[name].as_object_mut() else { continue };
        // Conditions say nothing of what is no object.
        schema.entry("type").or_insert_with(|| json!("object"));
        let all = schema.entry("allOf").or_insert_with(|| json!([]));
        all.as_array_mut().into_iter().for_each(|all| all.extend(conditions.iter().cloned()));
    }
}

fn or_null(schema: Value) -> Value {
    json!({"anyOf": [{"type": "null"}, schema]})
}

/// `name`, of this type, is only there where `other` is true.
fn needs(name: &str, kind: &str, other: &str) -> Value {
    json!({"anyOf": [
        {"properties": {name: {"type": "null"}}},
        {"required": [other], "properties": {name: {"type": kind}, other: {"const": true}}},
    ]})
}

fn not_both(one: &str, other: &str) -> Value {
    let off = json!({"enum": [false, null]});
    json!({"anyOf": [{"properties": {one: off}}, {"properties": {other: off}}]})
}

/// Fields that say what an answer must look like, beside that of the endpoint itself.
const FORMS: [&str; 5] =
    ["structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar"];

/// A form that asks for nothing.
fn is_text(name: &str) -> Value {
    json!({name: or_null(json!({"properties": {"type": {"const": "text"}}}))})
}

/// At most one field says what the answer must look like; `own` is the endpoint's, which says nothing in the shape of `silent`.
fn one_form(own: &str, silent: &Value) -> Value {
    let branch = |speaks: &str| {
        let others = FORMS.iter().filter(|name| **name != speaks);
        let mut properties: Map<String, Value> =
            others.map(|name| ((*name).to_owned(), json!({"type": "null"}))).collect();
        if speaks != own {
            properties.insert(own.to_owned(), silent[own].clone());
        }
        json!({"properties": properties})
    };
    let branches: Vec<Value> = std::iter::once(own).chain(FORMS).map(branch).collect();
    json!({"anyOf": branches})
}

/// vLLM's: exactly one of them.
fn one_of_structured_outputs() -> Value {
    let ways = [
        ("json", json!({"type": ["object", "string"]})),
        ("regex", json!({"type": "string"})),
        ("choice", json!({"type": "array"})),
        ("grammar", json!({"type": "string"})),
        ("json_object", json!({"const": true})),
    ];
    let branch = |(speaks, shape): &(&str, Value)| {
        let silent = |name: &str| match name {
            "json_object" => json!({"enum": [false, null]}),
            _ => json!({"type": "null"}),
        };
        let others = ways.iter().filter(|(name, _)| name != speaks);
        let mut properties: Map<String, Value> =
            others.map(|(name, _)| ((*name).to_owned(), silent(name))).collect();
        properties.insert((*speaks).to_owned(), shape.clone());
        json!({"required": [speaks], "properties": properties})
    };
    json!({"anyOf": ways.iter().map(branch).collect::<Vec<_>>()})
}

/// What must be called must be there.
fn tools_for_a_choice() -> Value {
    json!({"anyOf": [
        {"properties": {"tool_choice": {"enum": ["none", "auto", null]}}},
        {"required": ["tools"], "properties": {"tools": {"type": "array", "minItems": 1}}},
    ]})
}

/// A grammar of the client's own cannot be put together with that of calls.
fn no_grammar_beside_tools() -> Value {
    json!({"anyOf": [
        {"properties": {
            "guided_grammar": {"type": "null"},
            "structured_outputs": or_null(json!({"properties": {"grammar": {"type": "null"}}})),
        }},
        {"properties": {"tools": or_null(json!({"maxItems": 0}))}},
        {"required": ["tool_choice"], "properties": {"tool_choice": {"const": "none"}}},
    ]})
}

/// What a turn needs, by who speaks.
fn turns() -> [Value; 5] {
    let text = json!({
        "required": ["content"],
        "properties": {"content": {"not": {"type": "null"}}, "tool_calls": {"maxItems": 0}},
    });
    let called = json!({"required": ["tool_calls"], "properties": {"tool_calls": {"type": "array", "minItems": 1}}});
    let spoke =
        json!({"required": ["content"], "properties": {"content": {"not": {"type": "null"}}}});
    let by = |role: &str| json!({"properties": {"role": {"const": role}}});
    [
        json!({"if": by("system"), "then": text}),
        json!({"if": by("developer"), "then": text}),
        json!({"if": by("user"), "then": text}),
        json!({"if": by("tool"), "then": {"allOf": [text, {
            "required": ["tool_call_id"], "properties": {"tool_call_id": {"type": "string"}},
        }]}}),
        json!({"if": by("assistant"), "then": {"anyOf": [called, spoke]}}),
    ]
}

/// What a feedback's value is, by its metric.
fn values() -> [Value; 6] {
    let by = |metric: &str, value: Value| {
        json!({
            "if": {"properties": {"metric_name": {"const": metric}}},
            "then": {"properties": {"value": value}},
        })
    };
    [
        json!({"properties": {"metric_name": {"enum": ["thumbs", "score", "demonstration", "comment", "discard"]}}}),
        by("thumbs", json!({"type": "boolean"})),
        by("score", json!({"type": "number", "minimum": 0, "maximum": 1})),
        by("demonstration", json!({"type": "string", "pattern": r"\S"})),
        by("comment", json!({"type": "string", "pattern": r"\S"})),
        by("discard", json!({"const": true})),
    ]
}
