//! Chunks of a streamed chat answer.

use hone_api::chat::response::LogProbs;
use hone_api::chat::{
    CallDelta, Chunk, ChunkChoice, Delta, FinishReason, FunctionDelta, Role, ToolKind, Usage,
};
use hone_engine::Event;
use hone_text::ToolFormat;
use hone_text::calls::{Piece, ToolReader};

use super::{entry, prompt_ids};
use crate::generate::Run;
use crate::stream::{Frames, Sse};
use crate::token_text::TokenText;
use crate::tools::CallIds;

/// Chunks of a streamed chat answer.
pub(super) struct ChatFrames {
    /// With everything that never changes.
    chunk: Chunk,
    token_text: TokenText,
    logprobs: bool,
    ids: bool,
    prompt_ids: Option<Vec<u32>>,
    /// One for each answer, if the model was told of tools.
    readers: Vec<Calls>,
}

/// The calls of one answer, as far as they have come.
struct Calls {
    format: ToolFormat,
    reader: ToolReader,
    ids: CallIds,
    count: usize,
}

impl Calls {
    /// What a piece adds to the answer.
    fn delta(&mut self, piece: Piece) -> Delta {
        let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let call = match piece {
            Piece::Text(text) => return Delta { content: Some(text), ..Delta::default() },
            Piece::Call { name } => {
                let id = Some(self.ids.id(self.format, self.count));
                let function = FunctionDelta { name: Some(name), arguments: String::new() };
                self.count += 1;
                let index = small(self.count - 1);
                CallDelta { index, id, kind: Some(ToolKind::Function), function }
            }
            Piece::Arguments(arguments) => CallDelta {
                index: small(self.count.saturating_sub(1)),
                function: FunctionDelta { name: None, arguments },
                ..CallDelta::default()
            },
        };
        Delta { tool_calls: vec![call], ..Delta::default() }
    }
}

impl ChatFrames {
    pub(super) fn new(run: &Run, ids: bool, include_usage: bool) -> Self {
        let chunk = Chunk {
            id: run.head.id.to_string(),
            object: "chat.completion.chunk".to_owned(),
            created: run.head.created,
            model: run.head.model.clone(),
            system_fingerprint: run.head.fingerprint.clone(),
            choices: Vec::new(),
            usage: include_usage.then_some(None),
            prompt_token_ids: None,
        };
        let calls = |index: usize| {
            let format = run.recorder.ask.tools.as_ref()?.format;
            let ids = CallIds { interaction: run.head.id, index };
            Some(Calls { format, reader: ToolReader::new(format), ids, count: 0 })
        };
        Self {
            readers: (0..run.recorder.drafts.len()).filter_map(calls).collect(),
            chunk,
            token_text: TokenText::of(&run.recorder),
            logprobs: run.recorder.ask.sampling.logprobs.is_some(),
            ids,
            prompt_ids: ids.then(|| prompt_ids(&run.recorder)),
        }
    }

    fn send(&mut self, out: &mut Sse, index: usize, delta: Delta, rest: Rest) {
        self.chunk.choices = vec![ChunkChoice {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            delta,
            logprobs: rest.logprobs,
            finish_reason: rest.finish_reason,
            token_ids: rest.token_ids,
        }];
        out.data(&self.chunk);
    }
}

/// What a chunk has beside its delta.
#[derive(Default)]
struct Rest {
    logprobs: Option<LogProbs>,
    finish_reason: Option<FinishReason>,
    token_ids: Option<Vec<u32>>,
}

impl Frames for ChatFrames {
    fn open(&mut self, out: &mut Sse, index: usize) {
        self.chunk.prompt_token_ids = self.prompt_ids.take();
        let delta =
            Delta { role: Some(Role::Assistant), content: Some(String::new()), ..Delta::default() };
        self.send(out, index, delta, Rest::default());
        self.chunk.prompt_token_ids = None;
    }

    fn event(&mut self, out: &mut Sse, index: usize, event: &Event) {
        let Event::Token { token, text, logprob, top } = event else { return };
        let content = self
            .logprobs
            .then(|| entry(&self.token_text, *token, *logprob, top))
            .flatten()
            .map(|entry| LogProbs { content: vec![entry], refusal: None });
        let deltas = match self.readers.get_mut(index) {
            Some(calls) => {
                let pieces = calls.reader.push(text);
                pieces.into_iter().map(|piece| calls.delta(piece)).collect()
            }
            None if text.is_empty() => Vec::new(),
            None => vec![Delta { content: Some(text.clone()), ..Delta::default() }],
        };
        let mut rest = Rest {
            logprobs: content,
            finish_reason: None,
            token_ids: self.ids.then(|| vec![*token]),
        };
        if deltas.is_empty() && (rest.logprobs.is_some() || self.ids) {
            let nothing = Delta { content: Some(String::new()), ..Delta::default() };
            self.send(out, index, nothing, std::mem::take(&mut rest));
        }
        for delta in deltas {
            self.send(out, index, delta, std::mem::take(&mut rest));
        }
    }

    fn finish(&mut self, out: &mut Sse, index: usize, reason: FinishReason) {
        let mut called = false;
        if let Some(calls) = self.readers.get_mut(index) {
            let pieces = calls.reader.finish();
            let deltas: Vec<_> = pieces.into_iter().map(|piece| calls.delta(piece)).collect();
            called = calls.count > 0;
            for delta in deltas {
                self.send(out, index, delta, Rest::default());
            }
        }
        let rest = Rest { finish_reason: Some(reason.with_calls(called)), ..Rest::default() };
        self.send(out, index, Delta::default(), rest);
    }

    fn usage(&mut self, out: &mut Sse, usage: Usage) {
        self.chunk.choices = Vec::new();
        self.chunk.usage = Some(Some(usage));
        out.data(&self.chunk);
    }
}
