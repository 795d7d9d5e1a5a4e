//! The conversation that a stored response answered, as items.

use hone_api::InteractionId;
use hone_api::chat::{Message, Role};
use hone_api::interaction::{Interaction, ResponseEcho};
use hone_api::responses::items::{AskedMessage, AskedText, CallResult, ResponseItem};
use hone_api::responses::object::{OutputCall, OutputItem, OutputMessage, OutputText, Status};

/// All that the model read but for the instructions, those of earlier responses that it went on from included; oldest first.
pub(super) fn of_log(kept: Interaction, echo: &ResponseEcho) -> Vec<ResponseItem> {
    let turns = kept.messages.into_iter().skip(usize::from(echo.instructed));
    let mut items = Vec::new();
    turns.for_each(|turn| add(kept.id, turn, &mut items));
    items
}

fn add(id: InteractionId, turn: Message, items: &mut Vec<ResponseItem>) {
    // An item's id says its place, so it stays the same however the list is asked for.
    let name = |prefix: &str, at: usize| format!("{prefix}_{}i{at:04}", id.uuid().simple());
    let status = Status::Completed;
    match turn.role {
        Role::Tool => items.push(ResponseItem::CallOutput(CallResult {
            kind: "function_call_output",
            id: name("fco", items.len()),
            status,
            call_id: turn.tool_call_id.unwrap_or_default(),
            output: turn.content,
        })),
        Role::Assistant => {
            if !turn.content.is_empty() || turn.tool_calls.is_empty() {
                let item = OutputMessage {
                    id: name("msg", items.len()),
                    status,
                    role: Role::Assistant,
                    content: vec![OutputText::new(turn.content)],
                };
                items.push(ResponseItem::Output(OutputItem::Message(item)));
            }
            for call in turn.tool_calls {
                let item = OutputCall {
                    id: name("fc", items.len()),
                    call_id: call.id,
                    name: call.function.name,
                    arguments: call.function.arguments,
                    status,
                };
                items.push(ResponseItem::Output(OutputItem::FunctionCall(item)));
            }
        }
        role @ (Role::System | Role::User) => items.push(ResponseItem::Input(AskedMessage {
            kind: "message",
            id: name("msg", items.len()),
            status,
            role,
            content: [AskedText { kind: "input_text", text: turn.content }],
        })),
    }
}
