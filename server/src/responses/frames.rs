//! The typed events of a streamed response, in OpenAI's order.

use hone_api::chat::{FinishReason, Usage};
use hone_api::responses::object::{OutputItem, OutputText, ResponseFault, ResponseObject, Status};
use hone_engine::Event;
use serde_json::{Value, json};

use super::object;
use super::output::{Change, Output};
use crate::error::ApiError;
use crate::generate::Run;
use crate::stream::{Frames, Sse};

/// The events of one response.
pub(super) struct ResponseFrames {
    response: ResponseObject,
    output: Option<Output>,
    reason: FinishReason,
    sequence: u64,
}

impl ResponseFrames {
    pub(super) fn new(run: &Run) -> Self {
        let format = run.recorder.ask.tools.as_ref().map(|tools| tools.format);
        Self {
            response: object::begun(&run.head, &run.recorder),
            output: Some(Output::new(run.head.id, format)),
            reason: FinishReason::Error,
            sequence: 0,
        }
    }

    /// Sends an event; `rest` is an object with all but what every event has.
    fn send(&mut self, out: &mut Sse, name: &str, mut rest: Value) {
        rest["type"] = json!(name);
        rest["sequence_number"] = json!(self.sequence);
        self.sequence += 1;
        out.named(name, &rest);
    }

    fn send_response(&mut self, out: &mut Sse, name: &str) {
        let response = json!({"response": self.response});
        self.send(out, name, response);
    }

    fn tell(&mut self, out: &mut Sse, changes: Vec<Change>) {
        for change in changes {
            let at = match change {
                Change::Begun(at) | Change::More(at, _) | Change::Ended(at) => at,
            };
            let item = self.output.as_ref().and_then(|output| output.items().get(at)).cloned();
            let Some(item) = item else { continue };
            match change {
                Change::Begun(_) => self.begin(out, at, item),
                Change::More(_, more) => self.more(out, at, &item, &more),
                Change::Ended(_) => self.end_item(out, at, item),
            }
        }
    }

    fn begin(&mut self, out: &mut Sse, at: usize, mut item: OutputItem) {
        // More of it may have come in the same piece: an item is announced empty.
        let id = match &mut item {
            OutputItem::Message(message) => {
                message.content.clear();
                message.status = Status::InProgress;
                Some(message.id.clone())
            }
            OutputItem::FunctionCall(call) => {
                call.arguments.clear();
                call.status = Status::InProgress;
                None
            }
        };
        let added = json!({"output_index": at, "item": item});
        self.send(out, "response.output_item.added", added);
        if let Some(id) = id {
            let part = OutputText::new(String::new());
            let added =
                json!({"item_id": id, "output_index": at, "content_index": 0, "part": part});
            self.send(out, "response.content_part.added", added);
        }
    }

    fn more(&mut self, out: &mut Sse, at: usize, item: &OutputItem, more: &str) {
        match item {
            OutputItem::Message(message) => {
                let delta = json!({"item_id": message.id, "output_index": at, "content_index": 0,
                    "delta": more, "logprobs": []});
                self.send(out, "response.output_text.delta", delta);
            }
            OutputItem::FunctionCall(call) => {
                let delta = json!({"item_id": call.id, "output_index": at, "delta": more});
                self.send(out, "response.function_call_arguments.delta", delta);
            }
        }
    }

    fn end_item(&mut self, out: &mut Sse, at: usize, item: OutputItem) {
        match &item {
            OutputItem::Message(message) => {
                let part = message.content.first();
                let text = part.map_or("", |part| part.text.as_str());
                let done = json!({"item_id": message.id, "output_index": at, "content_index": 0,
                    "text": text, "logprobs": []});
                self.send(out, "response.output_text.done", done);
                let done = json!({"item_id": message.id, "output_index": at, "content_index": 0,
                    "part": part});
                self.send(out, "response.content_part.done", done);
            }
            OutputItem::FunctionCall(call) => {
                let done = json!({"item_id": call.id, "output_index": at, "name": call.name,
                    "arguments": call.arguments});
                self.send(out, "response.function_call_arguments.done", done);
            }
        }
        self.send(out, "response.output_item.done", json!({"output_index": at, "item": item}));
    }
}

impl Frames for ResponseFrames {
    fn open(&mut self, out: &mut Sse, _: usize) {
        self.send_response(out, "response.created");
        self.send_response(out, "response.in_progress");
    }

    fn event(&mut self, out: &mut Sse, _: usize, event: &Event) {
        let (Event::Token { text, .. }, Some(output)) = (event, &mut self.output) else { return };
        let changes = output.push(text);
        self.tell(out, changes);
    }

    fn finish(&mut self, out: &mut Sse, _: usize, reason: FinishReason) {
        self.reason = reason;
        let Some(output) = &mut self.output else { return };
        let changes = output.finish(reason);
        self.tell(out, changes);
    }

    fn usage(&mut self, _: &mut Sse, _: Usage) {}

    fn end(&mut self, out: &mut Sse, usage: Usage) {
        if let Some(output) = self.output.take() {
            object::ended(&mut self.response, output, self.reason, usage);
        }
        let name = match self.response.status {
            Status::Incomplete => "response.incomplete",
            _ => "response.completed",
        };
        self.send_response(out, name);
    }

    fn fail(&mut self, out: &mut Sse, error: &ApiError) {
        let detail = &error.body().error;
        self.response.status = Status::Failed;
        self.response.output =
            self.output.take().map_or_else(Vec::new, |output| output.items().to_vec());
        self.response.error = Some(ResponseFault {
            code: detail.code.clone().unwrap_or_else(|| detail.kind.clone()),
            message: detail.message.clone(),
        });
        self.send_response(out, "response.failed");
    }
}
