//! The same things in the words of chats and in those of responses, which have them flatter.

use serde_json::{Map, Value, json};

use crate::chat::ToolOptions;
use crate::chat::tool::ToolChoiceForms;
use crate::error::Invalid;
use crate::fields::Fields;
use crate::structured::Form;

/// A field's name, or a message with names in it, as a client of responses knows them.
#[must_use]
pub fn in_words_of_responses(text: &str) -> String {
    let whole = [("messages", "input"), ("max_completion_tokens", "max_output_tokens")];
    let mut words = text.to_owned();
    for (of_chats, of_responses) in whole {
        if text == of_chats {
            return of_responses.to_owned();
        }
        words = words.replace(&format!("`{of_chats}"), &format!("`{of_responses}"));
    }
    for (of_chats, of_responses) in [
        ("].function.", "]."),
        ("].function`", "]`"),
        ("tool_choice.function", "tool_choice"),
        ("response_format.json_schema.", "text.format."),
        ("response_format.json_schema", "text.format"),
        ("response_format", "text.format"),
    ] {
        words = words.replace(of_chats, of_responses);
    }
    words
}

fn renamed(invalid: Invalid) -> Invalid {
    let param = invalid.param.as_deref().map(in_words_of_responses);
    Invalid { message: in_words_of_responses(&invalid.message), param, code: invalid.code }
}

/// Takes `tools`, `tool_choice` and `parallel_tool_calls` out.
pub(super) fn tools(
    fields: &mut Fields,
    ignored: &mut Vec<String>,
) -> Result<ToolOptions, Invalid> {
    let mut body = Map::new();
    if let Some(tools) = fields.value("tools") {
        let tools = match tools {
            Value::Array(tools) => tools.into_iter().map(nested).collect(),
            other => other,
        };
        body.insert("tools".to_owned(), tools);
    }
    if let Some(choice) = fields.value("tool_choice") {
        body.insert("tool_choice".to_owned(), nested(choice));
    }
    if let Some(parallel) = fields.value("parallel_tool_calls") {
        body.insert("parallel_tool_calls".to_owned(), parallel);
    }
    let mut unknown = Vec::new();
    let options = Fields::new(Value::Object(body))
        .and_then(|mut fields| ToolOptions::take(&mut fields, &mut unknown))
        .map_err(renamed)?;
    ignored.extend(unknown.iter().map(|name| in_words_of_responses(name)));
    Ok(options)
}

/// `{"type": "function", …}` with the rest one level deeper, as chats have it; all else as it is.
fn nested(value: Value) -> Value {
    match value {
        Value::Object(mut map) if map.get("type").is_some_and(|kind| kind == "function") => {
            map.remove("type");
            json!({"type": "function", "function": map})
        }
        other => other,
    }
}

/// `tool_choice` as responses tell it.
pub(super) fn flat_choice(choice: Option<&ToolChoiceForms>) -> Value {
    match choice {
        None => json!("auto"),
        Some(ToolChoiceForms::Word(word)) => json!(word),
        Some(ToolChoiceForms::Named(named)) => {
            json!({"type": "function", "name": named.function.name})
        }
    }
}

/// What an answer must look like: `text.format`, or what vLLM has beside it.
pub(super) fn form(
    fields: &mut Fields,
    format: Option<Value>,
    ignored: &mut Vec<String>,
) -> Result<Form, Invalid> {
    let mut form = Form::take(fields, ignored)?;
    let Some(format) = format else { return Ok(form) };
    let deeper = match format {
        Value::Object(mut map) if map.get("type").is_some_and(|kind| kind == "json_schema") => {
            map.remove("type");
            json!({"type": "json_schema", "json_schema": map})
        }
        other => other,
    };
    let mut unknown = Vec::new();
    let read = Fields::new(json!({"response_format": deeper}))
        .and_then(|mut fields| Form::take(&mut fields, &mut unknown))
        .map_err(renamed)?;
    ignored.extend(unknown.iter().map(|name| in_words_of_responses(name)));
    form.response_format = read.response_format;
    Ok(form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_client_sent() {
        for (of_chats, of_responses) in [
            ("messages", "input"),
            ("tools[3].function.parameters", "tools[3].parameters"),
            ("response_format.json_schema.schema", "text.format.schema"),
            ("tool_choice.function.name", "tool_choice.name"),
            ("`max_completion_tokens` is 9", "`max_output_tokens` is 9"),
            ("two messages", "two messages"),
        ] {
            assert_eq!(in_words_of_responses(of_chats), of_responses);
        }
    }
}
