//! `input`: a text, or items of several kinds, as turns of a conversation.

use serde_json::Value;
use utoipa::ToSchema;

use crate::chat::tool::name;
use crate::chat::{FunctionCall, Message, Role, ToolCall, ToolKind};
use crate::error::Invalid;
use crate::fields::{Fields, kind};
use crate::parts;

/// The types of a part with text: what was asked, what was answered, and the older name.
const PARTS: [&str; 3] = ["input_text", "output_text", "text"];

/// The shapes that `input` may have on the wire; for the API's description.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
pub enum InputForms {
    /// What a user says.
    Text(String),
    /// Turns and calls, in their order.
    Items(Vec<InputItem>),
}

/// One item; for the API's description.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
pub enum InputItem {
    /// A turn; also one that came as output.
    Message(InputMessage),
    /// A call that the model asked for.
    Call(InputCall),
    /// What came of it.
    CallOutput(InputCallOutput),
    /// A model's thoughts, which are left out.
    Reasoning(InputReasoning),
}

/// A turn; for the API's description.
#[derive(Debug, ToSchema)]
pub struct InputMessage {
    /// `message`, if it is there.
    #[schema(pattern = "^message$")]
    pub r#type: Option<String>,
    /// `user`, `assistant`, `system` or `developer`.
    #[schema(pattern = "^(user|assistant|system|developer)$")]
    pub role: String,
    /// A text, or parts of the types `input_text` and `output_text`, which are joined.
    pub content: InputContent,
}

/// A turn's content; for the API's description.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
pub enum InputContent {
    /// A text.
    Text(String),
    /// Parts of one.
    Parts(Vec<InputPart>),
}

/// A part of a text; for the API's description.
#[derive(Debug, ToSchema)]
pub struct InputPart {
    /// `input_text` or `output_text`; also `text`.
    #[schema(pattern = "^(input_|output_)?text$")]
    pub r#type: String,
    /// The text.
    pub text: String,
}

/// A call that the model asked for; for the API's description.
#[derive(Debug, ToSchema)]
pub struct InputCall {
    /// `function_call`.
    #[schema(pattern = "^function_call$")]
    pub r#type: String,
    /// Names the call to its result.
    pub call_id: String,
    /// The function.
    #[schema(pattern = "^[a-zA-Z0-9_.-]{1,64}$")]
    pub name: String,
    /// The text of a JSON object.
    pub arguments: String,
}

/// What came of a call; for the API's description.
#[derive(Debug, ToSchema)]
pub struct InputCallOutput {
    /// `function_call_output`.
    #[schema(pattern = "^function_call_output$")]
    pub r#type: String,
    /// The call.
    pub call_id: String,
    /// A text, or parts of the type `input_text`.
    pub output: InputContent,
}

/// A model's thoughts; for the API's description.
#[derive(Debug, ToSchema)]
pub struct InputReasoning {
    /// `reasoning`.
    #[schema(pattern = "^reasoning$")]
    pub r#type: String,
}

/// Takes `input` out. Calls belong to the assistant's turn before them.
///
/// # Errors
/// The first item that is wrong or not supported, by name.
pub(super) fn take(
    fields: &mut Fields,
    ignored: &mut Vec<String>,
) -> Result<Vec<Message>, Invalid> {
    let mut turns = Vec::new();
    match fields.value("input") {
        None => return Err(Invalid::field("input", "`input` is missing; it is required")),
        Some(Value::String(text)) => turns.push(Message::new(Role::User, text)),
        Some(Value::Array(items)) => {
            for (at, item) in items.into_iter().enumerate() {
                read(Fields::nested(item, &format!("input[{at}]"))?, &mut turns, ignored)?;
            }
        }
        Some(other) => {
            let message =
                format!("`input` must be a string or an array of items, not {}", kind(&other));
            return Err(Invalid::field("input", message));
        }
    }
    if turns.is_empty() {
        return Err(Invalid::field("input", "`input` is empty; send a text or at least one item"));
    }
    Ok(turns)
}

fn read(
    mut fields: Fields,
    turns: &mut Vec<Message>,
    ignored: &mut Vec<String>,
) -> Result<(), Invalid> {
    let path = fields.path("type");
    let kind = fields.take::<String>("type")?;
    // Items that came as output have these, and they say nothing of the text.
    for name in ["id", "status"] {
        fields.value(name);
    }
    match kind.as_deref() {
        None | Some("message") => turns.push(message(&mut fields)?),
        Some("function_call") => call(&mut fields, turns)?,
        Some("function_call_output") => {
            let id: String = fields.required("call_id")?;
            let output = parts::text_of(&mut fields, "output", &PARTS)?;
            turns.push(Message { tool_call_id: Some(id), ..Message::new(Role::Tool, output) });
        }
        Some("reasoning") => {
            // Another model's thoughts: this one's template has no place for them.
            let place = path.trim_end_matches(".type");
            ignored.push(place.to_owned());
            return Ok(());
        }
        Some(other) => {
            let message = format!(
                "`{path}` is `{other:.40}`; it must be message, function_call or function_call_output"
            );
            return Err(Invalid::field(&path, message));
        }
    }
    ignored.extend(fields.unknown());
    Ok(())
}

fn message(fields: &mut Fields) -> Result<Message, Invalid> {
    let path = fields.path("role");
    let role = match fields.required::<String>("role")?.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        other => {
            let message = format!(
                "`{path}` is `{other:.40}`; it must be user, assistant, system or developer"
            );
            return Err(Invalid::field(&path, message));
        }
    };
    Ok(Message::new(role, parts::text_of(fields, "content", &PARTS)?))
}

fn call(fields: &mut Fields, turns: &mut Vec<Message>) -> Result<(), Invalid> {
    let call = ToolCall {
        id: fields.required("call_id")?,
        kind: ToolKind::Function,
        function: FunctionCall { name: name(fields)?, arguments: fields.required("arguments")? },
    };
    match turns.last_mut() {
        Some(turn) if turn.role == Role::Assistant => turn.tool_calls.push(call),
        _ => turns.push(Message {
            tool_calls: vec![call],
            ..Message::new(Role::Assistant, String::new())
        }),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn turns(input: Value) -> Result<(Vec<Message>, Vec<String>), Invalid> {
        let mut ignored = Vec::new();
        let mut fields = Fields::new(json!({ "input": input })).unwrap();
        take(&mut fields, &mut ignored).map(|turns| (turns, ignored))
    }

    #[test]
    fn output_can_be_sent_back_as_it_came() {
        let (turns, ignored) = turns(json!([
            {"role": "user", "content": [{"type": "input_text", "text": "Is it "}, {"type": "input_text", "text": "cold?"}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
                "content": [{"type": "output_text", "text": "Let me see.", "annotations": [], "logprobs": []}]},
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}", "status": "completed"},
            {"type": "function_call", "call_id": "call_2", "name": "g", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "3 degrees"},
        ]))
        .unwrap();
        assert_eq!(ignored, ["input[1]"]);
        let said: Vec<_> = turns.iter().map(|turn| (turn.role, turn.content.as_str())).collect();
        assert_eq!(
            said,
            [
                (Role::User, "Is it cold?"),
                (Role::Assistant, "Let me see."),
                (Role::Tool, "3 degrees")
            ]
        );
        let calls: Vec<_> = turns[1].tool_calls.iter().map(|call| call.id.as_str()).collect();
        assert_eq!(calls, ["call_1", "call_2"]);
        assert_eq!(turns[2].tool_call_id.as_deref(), Some("call_1"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (input, param) in [
            (json!(null), "input"),
            (json!([]), "input"),
            (json!(5), "input"),
            (json!(["x"]), "input[0]"),
            (json!([{"role": "narrator", "content": "x"}]), "input[0].role"),
            (json!([{"role": "user"}]), "input[0].content"),
            (
                json!([{"role": "user", "content": [{"type": "input_image"}]}]),
                "input[0].content[0].type",
            ),
            (json!([{"type": "item_reference", "id": "x"}]), "input[0].type"),
            (
                json!([{"type": "function_call", "name": "f", "arguments": "{}"}]),
                "input[0].call_id",
            ),
            (json!([{"type": "function_call_output", "call_id": "c"}]), "input[0].output"),
        ] {
            let error = turns(input).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param));
            assert!(error.message.contains(param), "{error}");
        }
    }
}
