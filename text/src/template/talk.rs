//! A conversation as templates want it, with the tools that the model is told of.
//!
//! Templates that know tools get them. For the others the tools are described in the system's words, calls are written
//! into the assistant's text and results are the user's: in the form of Hermes and Qwen, which most models have seen.

use hone_api::chat::{Message, Role, Tool};
use serde_json::{Value, json};

use super::python::dumps;

/// What is rendered: a conversation, and the tools that the model may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Talk<'a> {
    /// The conversation.
    pub messages: &'a [Message],
    /// The tools.
    pub tools: &'a [Tool],
}

impl<'a> Talk<'a> {
    /// As many of its turns.
    pub(super) fn first(self, turns: usize) -> Self {
        Self { messages: &self.messages[..turns], ..self }
    }

    /// Whether there is anything of tools in it.
    pub(super) fn has_tools(self) -> bool {
        let of_tools =
            |message: &Message| message.role == Role::Tool || !message.tool_calls.is_empty();
        !self.tools.is_empty() || self.messages.iter().any(of_tools)
    }
}

impl<'a> From<&'a [Message]> for Talk<'a> {
    fn from(messages: &'a [Message]) -> Self {
        Self { messages, tools: &[] }
    }
}

impl<'a> From<&'a Vec<Message>> for Talk<'a> {
    fn from(messages: &'a Vec<Message>) -> Self {
        messages.as_slice().into()
    }
}

impl<'a, const N: usize> From<&'a [Message; N]> for Talk<'a> {
    fn from(messages: &'a [Message; N]) -> Self {
        messages.as_slice().into()
    }
}

/// How calls are named in templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ids {
    /// As they came.
    Any,
    /// Mistral's: nine letters or digits.
    Nine,
}

/// The turns for a template that knows tools.
pub(super) fn native(messages: &[Message], ids: Ids) -> Vec<Value> {
    messages.iter().map(|message| turn(message, ids)).collect()
}

fn turn(message: &Message, ids: Ids) -> Value {
    let id = |id: &str| match ids {
        Ids::Any => id.to_owned(),
        Ids::Nine => nine(id),
    };
    let mut value = plain(message);
    if !message.tool_calls.is_empty() {
        let call = |call: &hone_api::chat::ToolCall| {
            let (name, arguments) = (&call.function.name, call.function.arguments_value());
            json!({
                "type": "function", "id": id(&call.id),
                "function": {"name": name, "arguments": arguments},
            })
        };
        value["tool_calls"] = message.tool_calls.iter().map(call).collect();
    }
    if let Some(answered) = &message.tool_call_id {
        value["tool_call_id"] = json!(id(answered));
    }
    value
}

/// A turn without anything of tools.
fn plain(message: &Message) -> Value {
    let mut value = json!({ "role": message.role.as_str(), "content": message.content });
    if let Some(name) = &message.name {
        value["name"] = json!(name);
    }
    value
}

/// The same nine letters or digits for the same id.
fn nine(id: &str) -> String {
    match id.len() == 9 && id.chars().all(|c| c.is_ascii_alphanumeric()) {
        true => id.to_owned(),
        false => blake3::hash(id.as_bytes()).to_hex()[..9].to_owned(),
    }
}

/// The turns for a template that knows no tools. `has_system`: it takes a system's turn.
pub(super) fn by_prompt(talk: Talk<'_>, has_system: bool) -> Vec<Value> {
    let mut turns: Vec<Message> = Vec::with_capacity(talk.messages.len() + 1);
    let mut in_results = false;
    for message in talk.messages {
        if message.role == Role::Tool {
            let result = format!("<tool_response>\n{}\n</tool_response>", message.content);
            // The results of one answer's calls are one turn: some templates have turns alternate.
            match turns.last_mut().filter(|_| in_results) {
                Some(last) => last.content += &format!("\n{result}"),
                None => turns.push(Message::new(Role::User, result)),
            }
            in_results = true;
            continue;
        }
        in_results = false;
        let mut turn = message.clone();
        for call in std::mem::take(&mut turn.tool_calls) {
            if !turn.content.is_empty() {
                turn.content.push('\n');
            }
            turn.content += &written(&call.function);
        }
        turns.push(turn);
    }
    if !talk.tools.is_empty() {
        let words = described(talk.tools);
        let place = match turns.first().map(|turn| turn.role) {
            Some(Role::System) => 0,
            _ if has_system => {
                turns.insert(0, Message::new(Role::System, ""));
                0
            }
            _ => turns.iter().position(|turn| turn.role == Role::User).unwrap_or(0),
        };
        if let Some(turn) = turns.get_mut(place) {
            turn.content = match (turn.role, turn.content.is_empty()) {
                (_, true) => words,
                (Role::System, false) => format!("{}\n\n{words}", turn.content),
                (_, false) => format!("{words}\n\n{}", turn.content),
            };
        }
    }
    turns.iter().map(plain).collect()
}

/// A call as the model writes it.
fn written(call: &hone_api::chat::FunctionCall) -> String {
    let (name, arguments) = (json!(call.name), dumps(&call.arguments_value()));
    format!("<tool_call>\n{{\"name\": {name}, \"arguments\": {arguments}}}\n</tool_call>")
}

/// What a model is told of its tools: Qwen's words, which smaller models have seen most.
fn described(tools: &[Tool]) -> String {
    let tools: String = tools.iter().map(|tool| dumps(&json!(tool)) + "\n").collect();
    format!(
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function \
         signatures within <tools></tools> XML tags:\n<tools>\n{tools}</tools>\n\nFor each function call, return a json \
         object with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{{\"name\": \
         <function-name>, \"arguments\": <args-json-object>}}\n</tool_call>"
    )
}
