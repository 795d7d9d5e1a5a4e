//! The items of a response's output, as far as they have come.

use hone_api::InteractionId;
use hone_api::chat::{FinishReason, Role, ToolCall};
use hone_api::responses::object::{OutputCall, OutputItem, OutputMessage, OutputText, Status};
use hone_text::ToolFormat;
use hone_text::calls::{Piece, ToolReader};

use crate::tools::CallIds;

/// Makes items of an answer's text.
pub(super) struct Output {
    id: InteractionId,
    tools: Option<(ToolFormat, ToolReader)>,
    items: Vec<OutputItem>,
    calls: usize,
    /// Whether more of the last item may come.
    open: bool,
}

/// What happened to the item at a place.
#[derive(Debug, PartialEq)]
pub(super) enum Change {
    /// It is new, and empty.
    Begun(usize),
    /// More of its text, or of its arguments.
    More(usize, String),
    /// It is whole, or as much as will come.
    Ended(usize),
}

impl Output {
    /// Nothing yet.
    pub(super) fn new(id: InteractionId, tools: Option<ToolFormat>) -> Self {
        let tools = tools.map(|format| (format, ToolReader::new(format)));
        Self { id, tools, items: Vec::new(), calls: 0, open: false }
    }

    /// The items of an answer that was logged.
    pub(super) fn of_log(
        id: InteractionId,
        text: Option<String>,
        calls: Vec<ToolCall>,
        reason: FinishReason,
    ) -> Vec<OutputItem> {
        let mut output = Self::new(id, None);
        output.push(&text.unwrap_or_default());
        for call in calls {
            output.end(Status::Completed);
            output.begin_call(call.id, call.function.name);
            output.add(call.function.arguments);
        }
        output.finish(reason);
        output.items
    }

    /// What has come so far.
    pub(super) fn items(&self) -> &[OutputItem] {
        &self.items
    }

    /// What came.
    pub(super) fn into_items(self) -> Vec<OutputItem> {
        self.items
    }

    /// Takes more of the answer's text.
    pub(super) fn push(&mut self, text: &str) -> Vec<Change> {
        let pieces = match &mut self.tools {
            Some((_, reader)) => reader.push(text),
            None => vec![Piece::Text(text.to_owned())],
        };
        pieces.into_iter().flat_map(|piece| self.take(piece)).collect()
    }

    /// Nothing more comes.
    pub(super) fn finish(&mut self, reason: FinishReason) -> Vec<Change> {
        let pieces = match &mut self.tools {
            Some((_, reader)) => reader.finish(),
            None => Vec::new(),
        };
        let mut changes: Vec<_> = pieces.into_iter().flat_map(|piece| self.take(piece)).collect();
        if self.items.is_empty() {
            // An answer that says nothing is a message all the same.
            changes.push(self.begin_message());
        }
        changes.extend(self.end(Status::from(reason)));
        changes
    }

    fn take(&mut self, piece: Piece) -> Vec<Change> {
        let mut changes = Vec::new();
        match piece {
            Piece::Text(text) if text.is_empty() => {}
            Piece::Text(text) => {
                if !matches!(self.items.last(), Some(OutputItem::Message(_))) {
                    changes.extend(self.end(Status::Completed));
                    changes.push(self.begin_message());
                }
                changes.extend(self.add(text));
            }
            Piece::Call { name } => {
                changes.extend(self.end(Status::Completed));
                let ids = CallIds { interaction: self.id, index: 0 };
                let format = self.tools.as_ref().map_or(ToolFormat::Hermes, |(format, _)| *format);
                let id = ids.id(format, self.calls);
                self.calls += 1;
                changes.push(self.begin_call(id, name));
            }
            Piece::Arguments(more) => changes.extend(self.add(more)),
        }
        changes
    }

    fn begin(&mut self, item: OutputItem) -> Change {
        self.items.push(item);
        self.open = true;
        Change::Begun(self.items.len() - 1)
    }

    fn item_id(&self, prefix: &str) -> String {
        format!("{prefix}_{}{:02}", self.id.uuid().simple(), self.items.len())
    }

    fn begin_message(&mut self) -> Change {
        let id = self.item_id("msg");
        self.begin(OutputItem::Message(OutputMessage {
            id,
            status: Status::InProgress,
            role: Role::Assistant,
            content: vec![OutputText::new(String::new())],
        }))
    }

    fn begin_call(&mut self, call_id: String, name: String) -> Change {
        let (id, arguments) = (self.item_id("fc"), String::new());
        let status = Status::InProgress;
        self.begin(OutputItem::FunctionCall(OutputCall { id, call_id, name, arguments, status }))
    }

    fn add(&mut self, more: String) -> Option<Change> {
        let at = self.items.len().checked_sub(1)?;
        match self.items.last_mut()? {
            OutputItem::Message(message) => message.content.last_mut()?.text.push_str(&more),
            OutputItem::FunctionCall(call) => call.arguments.push_str(&more),
        }
        Some(Change::More(at, more))
    }

    fn end(&mut self, status: Status) -> Option<Change> {
        if !std::mem::take(&mut self.open) {
            return None;
        }
        match self.items.last_mut()? {
            OutputItem::Message(message) => message.status = status,
            OutputItem::FunctionCall(call) => call.status = status,
        }
        Some(Change::Ended(self.items.len() - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_the_items_that_the_whole_has() {
        let id = InteractionId::new();
        let call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>";
        let answer = format!("So:\n{call}\n{call}");
        let mut whole = Output::new(id, Some(ToolFormat::Hermes));
        whole.push(&answer);
        whole.finish(FinishReason::Stop);
        let mut pieces = Output::new(id, Some(ToolFormat::Hermes));
        let mut changes = Vec::new();
        for character in answer.chars() {
            changes.extend(pieces.push(&character.to_string()));
        }
        changes.extend(pieces.finish(FinishReason::Stop));
        assert_eq!(pieces.items(), whole.items());
        assert_eq!(whole.items().len(), 3);
        for at in 0..3 {
            let begun = changes.iter().position(|change| *change == Change::Begun(at)).unwrap();
            let ended = changes.iter().position(|change| *change == Change::Ended(at)).unwrap();
            assert!(begun < ended);
        }
        let OutputItem::FunctionCall(first) = &whole.items()[1] else { panic!("a call") };
        assert_eq!((first.name.as_str(), first.arguments.as_str()), ("f", "{\"a\": 1}"));
        let calls: Vec<_> = whole.items()[1..]
            .iter()
            .map(|item| match item {
                OutputItem::FunctionCall(call) => ToolCall {
                    id: call.call_id.clone(),
                    kind: hone_api::chat::ToolKind::Function,
                    function: hone_api::chat::FunctionCall {
                        name: call.name.clone(),
                        arguments: call.arguments.clone(),
                    },
                },
                OutputItem::Message(_) => panic!("a message"),
            })
            .collect();
        let logged = Output::of_log(id, Some("So:".to_owned()), calls, FinishReason::ToolCalls);
        assert_eq!(logged, whole.into_items(), "the log tells the same");
    }

    #[test]
    fn an_answer_that_says_nothing_is_a_message() {
        let mut output = Output::new(InteractionId::new(), None);
        assert!(output.push("").is_empty());
        let changes = output.finish(FinishReason::Length);
        assert_eq!(changes, [Change::Begun(0), Change::Ended(0)]);
        let OutputItem::Message(message) = &output.items()[0] else { panic!("a message") };
        assert_eq!((message.status, message.content[0].text.as_str()), (Status::Incomplete, ""));
    }
}
