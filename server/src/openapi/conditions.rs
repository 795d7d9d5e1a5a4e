//! What the types of requests do not say by themselves: which fields belong together, and how long names and texts may be.

use serde_json::{Map, Value, json};

/// Adds them to a document.
pub(super) fn add(document: &mut Value) {
    everywhere(document, &mut |schema| {
        null_is_a_type(schema);
        metadata_is_short(schema);
        choices_are_not_empty(schema);
        empty_is_no_place(schema);
    });
    let schemas = &mut document["components"]["schemas"];
    // The older name of the same is read, and never written.
    if let Some(roles) = schemas["Role"]["enum"].as_array_mut() {
        roles.push(json!("developer"));
    }
    if let Some(message) = schemas["Message"].as_object_mut() {
        message.insert("allOf".to_owned(), turns());
    }
    if let Some(feedback) = schemas["FeedbackRequest"].as_object_mut() {
        feedback.insert("allOf".to_owned(), values());
    }
    if let Some(load) = schemas["LoadRequest"]["properties"]["lora_path"].as_object_mut() {
        let pattern = "^(.*/)?[A-Za-z0-9][A-Za-z0-9._-]{0,63}/?$";
        load.insert("pattern".to_owned(), json!(pattern));
    }
}

/// Visits each object of a document.
fn everywhere(value: &mut Value, visit: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            visit(object);
            object.values_mut().for_each(|value| everywhere(value, visit));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| everywhere(value, visit)),
        _ => {}
    }
}

/// The form for `null` among several is described as one that takes anything, beside which no other form could be the one.
fn null_is_a_type(schema: &mut Map<String, Value>) {
    for form in schema.get_mut("oneOf").and_then(Value::as_array_mut).into_iter().flatten() {
        if *form == json!({ "default": null }) {
            *form = json!({ "type": "null" });
        }
    }
}

fn property<'a>(
    schema: &'a mut Map<String, Value>,
    name: &str,
) -> Option<&'a mut Map<String, Value>> {
    schema.get_mut("properties")?.get_mut(name)?.as_object_mut()
}

fn metadata_is_short(schema: &mut Map<String, Value>) {
    let Some(metadata) = property(schema, "metadata") else { return };
    if metadata.get("additionalProperties") == Some(&json!({ "type": "string" })) {
        metadata.insert("maxProperties".to_owned(), json!(16));
        let names = json!({ "type": "string", "minLength": 1, "maxLength": 64 });
        metadata.insert("propertyNames".to_owned(), names);
        let values = json!({ "type": "string", "maxLength": 512 });
        metadata.insert("additionalProperties".to_owned(), values);
    }
}

fn choices_are_not_empty(schema: &mut Map<String, Value>) {
    for name in ["choice", "guided_choice"] {
        if let Some(choices) = property(schema, name) {
            choices.insert("items".to_owned(), json!({ "type": "string", "minLength": 1 }));
        }
    }
}

/// `after=` is the beginning of a list, as no `after` is.
fn empty_is_no_place(parameter: &mut Map<String, Value>) {
    if parameter.get("name") != Some(&json!("after")) {
        return;
    }
    let Some(schema) = parameter.get_mut("schema") else { return };
    if schema["type"] != "integer" {
        *schema = json!({ "anyOf": [{ "const": "" }, schema.take()] });
    }
}

/// What a turn needs, by who speaks.
fn turns() -> Value {
    let text = json!({
        "required": ["content"],
        "properties": {"content": {"not": {"type": "null"}}, "tool_calls": {"maxItems": 0}},
    });
    let called = json!({"required": ["tool_calls"], "properties": {"tool_calls": {"type": "array", "minItems": 1}}});
    let spoke =
        json!({"required": ["content"], "properties": {"content": {"not": {"type": "null"}}}});
    let by = |role: &str| json!({"properties": {"role": {"const": role}}});
    json!([
        {"if": by("system"), "then": text},
        {"if": by("developer"), "then": text},
        {"if": by("user"), "then": text},
        {"if": by("tool"), "then": {"allOf": [text, {
            "required": ["tool_call_id"], "properties": {"tool_call_id": {"type": "string"}},
        }]}},
        {"if": by("assistant"), "then": {"anyOf": [called, spoke]}},
    ])
}

/// What a feedback's value is, by its metric.
fn values() -> Value {
    let by = |metric: &str, value: Value| {
        json!({
            "if": {"properties": {"metric_name": {"const": metric}}},
            "then": {"properties": {"value": value}},
        })
    };
    json!([
        {"properties": {"metric_name": {"enum": ["thumbs", "score", "demonstration", "comment", "discard"]}}},
        by("thumbs", json!({"type": "boolean"})),
        by("score", json!({"type": "number", "minimum": 0, "maximum": 1})),
        by("demonstration", json!({"type": "string", "pattern": r"\S"})),
        by("comment", json!({"type": "string", "pattern": r"\S"})),
        by("discard", json!({"const": true})),
    ])
}
