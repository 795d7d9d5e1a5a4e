//! What the types of requests do not say by themselves: how long names and texts may be, and what a daemon reads beyond what it
//! writes.

use serde_json::{Map, Value, json};

/// Adds them to a document.
pub(super) fn add(document: &mut Value) {
    everywhere(document, &mut |schema| {
        null_is_a_type(schema);
        metadata_is_short(schema);
        choices_are_not_empty(schema);
        empty_is_no_place(schema);
        keys_have_names(schema);
        none_is_no_length(schema);
    });
    let schemas = &mut document["components"]["schemas"];
    // The older name of the same is read, and never written.
    if let Some(roles) = schemas["Role"]["enum"].as_array_mut() {
        roles.push(json!("developer"));
    }
    if let Some(items) = schemas["InputForms"]["oneOf"][1].as_object_mut() {
        items.insert("minItems".to_owned(), json!(1));
    }
    new_keys_are_closed(schemas);
}

/// Neither of the two parts of a key's description could say by itself that there are no other fields.
fn new_keys_are_closed(schemas: &mut Value) {
    let limits = schemas["KeyLimits"]["properties"].clone();
    let parts = schemas["NewKey"]["allOf"].as_array_mut();
    let Some(mut key) = parts.and_then(Vec::pop) else { return };
    if let (Some(own), Value::Object(limits)) = (key["properties"].as_object_mut(), limits) {
        own.extend(limits);
    }
    key["description"] = schemas["NewKey"]["description"].take();
    key["additionalProperties"] = json!(false);
    schemas["NewKey"] = key;
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
    *schema = json!({ "anyOf": [{ "const": "" }, schema.take()] });
}

/// `metadata[key]=value` filters by a key that has a name.
fn keys_have_names(parameter: &mut Map<String, Value>) {
    if parameter.get("name") == Some(&json!("metadata"))
        && let Some(schema) = parameter.get_mut("schema").and_then(Value::as_object_mut)
    {
        schema.insert(
            "propertyNames".to_owned(),
            json!({ "type": "string", "pattern": r"^[^\[\]]+$" }),
        );
    }
}

/// -1 keeps what there is room for, any other number so many tokens, and none is no prompt.
fn none_is_no_length(schema: &mut Map<String, Value>) {
    if let Some(tokens) = property(schema, "truncate_prompt_tokens") {
        tokens.insert("not".to_owned(), json!({ "const": 0 }));
        tokens.insert("maximum".to_owned(), json!(i32::MAX));
    }
}
