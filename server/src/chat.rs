//! `POST /v1/chat/completions`.

use actix_web::{HttpRequest, HttpResponse, web};
use hone_api::chat::response::{LogProbs, TokenLogProb, TopLogProb};
use hone_api::chat::{
    Accepted, AnswerMessage, ChatRequest, ChatResponse, Choice, Chunk, ChunkChoice, Delta,
    FinishReason, Message, Role, Usage,
};
use hone_api::error::ErrorBody;
use hone_api::interaction::Endpoint;
use hone_engine::Event;
use hone_model::{Effort, Model};

use crate::body::Json;
use crate::caller::{May, to};
use crate::error::ApiError;
use crate::generate::{Ask, Head, PromptIn, Run};
use crate::record::{Keep, Recorder};
use crate::state::AppState;
use crate::stream::{Frames, Sse, SseEvent};
use crate::tokenising::Refused;
use crate::words::Words;
use crate::{collect, limits, route, stream, tokenising};

/// Answers a conversation.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "openai",
    security(("api_key" = ["chat"])), request_body = ChatRequest,
    params(("x-hone-user" = Option<String>, Header, description = "The end user, if the body does not tell. \
        Without both it is the API key, and without keys the caller's address")),
    responses(
        (status = 200, description = "The answer; with `stream` as server-sent events: Chunk, then [DONE]", content(
            (ChatResponse = "application/json"), (SseEvent = "text/event-stream"))),
        (status = 404, description = "No such model", body = ErrorBody),
        (status = 422, description = "The adapter cannot be loaded", body = ErrorBody),
        (status = 429, description = "The queue is full; see `retry-after`", body = ErrorBody)))]
pub(crate) async fn create(
    caller: May<to::Chat>,
    state: web::Data<AppState>,
    http: HttpRequest,
    body: Json,
) -> Result<HttpResponse, ApiError> {
    let Accepted { request, ignored } = ChatRequest::from_json(body.0)?;
    request.check(&state.limits)?;
    let target = route::resolve(&state, &request.model).await?;
    let context = state.limits.context;
    let encoded = encode(&state, request.messages.clone(), true, tokenising::counted(context));
    let (messages, tokens) =
        encoded.await.map_err(|refused| refused.into_api("messages", context))?;
    let max_tokens = limits::room(&state.limits, tokens.len(), request.most_tokens(), "messages")?;
    let ask = Ask {
        endpoint: Endpoint::Chat,
        model: request.model.clone(),
        target,
        prompts: vec![PromptIn { messages, tokens }],
        answers: request.n.unwrap_or(1),
        sampling: request.sampling.resolve(max_tokens, request.alternatives()),
        echo_logprobs: false,
        keep: Keep::of(&http, request.store),
        source: caller.source(&state.sources, request.user.as_deref()),
        caller: caller.clone(),
        user: caller.end_user(&state.sources, request.user.as_deref()),
        conversation: caller.conversation(&state.sources),
        metadata: request.metadata.clone(),
        ignored,
    };
    let run = Run::start(&state.into_inner(), ask)?;
    let ids = request.return_token_ids == Some(true);
    if request.stream == Some(true) {
        let frames = ChatFrames::new(&run, ids, request.include_usage());
        return stream::respond(run, frames, request.include_usage()).await;
    }
    collect::respond(run, |head, recorder| whole(head, recorder, ids)).await
}

/// Renders and tokenises a conversation, at most to so many tokens.
pub(crate) async fn encode(
    state: &AppState,
    messages: Vec<Message>,
    add_generation_prompt: bool,
    most: usize,
) -> Result<(Vec<Message>, Vec<u32>), Refused> {
    let size: usize = messages.iter().map(|message| message.content.len()).sum();
    let work = move |model: &Model, effort: &Effort| {
        let (template, tokenizer) = (model.template(), model.tokenizer());
        let tokens =
            template.encode_chat_within(tokenizer, &messages, add_generation_prompt, effort)?;
        Ok((messages, tokens))
    };
    tokenising::run(state, size, most, work).await
}

fn whole(head: &Head, recorder: &Recorder, ids: bool) -> ChatResponse {
    let words = Words::of(recorder);
    let choices = recorder.drafts.iter().zip(0..).map(|(draft, index)| Choice {
        index,
        message: AnswerMessage {
            role: Role::Assistant,
            content: Some(draft.text.clone()),
            refusal: None,
        },
        logprobs: recorder.ask.sampling.logprobs.map(|_| {
            let mut logprobs = LogProbs::default();
            for ((token, logprob), top) in draft.tokens.iter().zip(&draft.logprobs).zip(&draft.tops)
            {
                logprobs.content.extend(entry(&words, *token, *logprob, top));
            }
            logprobs
        }),
        finish_reason: draft.finish.unwrap_or(FinishReason::Error),
        token_ids: ids.then(|| draft.tokens.clone()),
    });
    ChatResponse {
        id: head.id.to_string(),
        object: "chat.completion".to_owned(),
        created: head.created,
        model: head.model.clone(),
        choices: choices.collect(),
        usage: recorder.usage(),
        system_fingerprint: head.fingerprint.clone(),
        metadata: None,
        prompt_token_ids: ids.then(|| prompt_ids(recorder)),
    }
}

fn prompt_ids(recorder: &Recorder) -> Vec<u32> {
    recorder.ask.prompts.first().map(|prompt| prompt.tokens.clone()).unwrap_or_default()
}

/// One token of `logprobs.content`; the end token is not part of the text.
fn entry(words: &Words, token: u32, logprob: f32, top: &[(u32, f32)]) -> Option<TokenLogProb> {
    if words.ends(token) {
        return None;
    }
    let (text, bytes) = words.of_token(token);
    let top_logprobs = top
        .iter()
        .map(|(token, logprob)| {
            let (text, bytes) = words.of_token(*token);
            TopLogProb { token: text, logprob: *logprob, bytes: Some(bytes) }
        })
        .collect();
    Some(TokenLogProb { token: text, logprob, bytes: Some(bytes), top_logprobs })
}

/// Chunks of a streamed chat answer.
struct ChatFrames {
    /// With everything that never changes.
    chunk: Chunk,
    words: Words,
    logprobs: bool,
    ids: bool,
    prompt_ids: Option<Vec<u32>>,
}

impl ChatFrames {
    fn new(run: &Run, ids: bool, include_usage: bool) -> Self {
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
        Self {
            chunk,
            words: Words::of(&run.recorder),
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
        let delta = Delta { role: Some(Role::Assistant), content: Some(String::new()) };
        self.send(out, index, delta, Rest::default());
        self.chunk.prompt_token_ids = None;
    }

    fn event(&mut self, out: &mut Sse, index: usize, event: &Event) {
        let Event::Token { token, text, logprob, top } = event else { return };
        let content = self
            .logprobs
            .then(|| entry(&self.words, *token, *logprob, top))
            .flatten()
            .map(|entry| LogProbs { content: vec![entry], refusal: None });
        if text.is_empty() && content.is_none() && !self.ids {
            return;
        }
        let rest = Rest {
            logprobs: content,
            finish_reason: None,
            token_ids: self.ids.then(|| vec![*token]),
        };
        self.send(out, index, Delta { role: None, content: Some(text.clone()) }, rest);
    }

    fn finish(&mut self, out: &mut Sse, index: usize, reason: FinishReason) {
        let rest = Rest { finish_reason: Some(reason), ..Rest::default() };
        self.send(out, index, Delta::default(), rest);
    }

    fn usage(&mut self, out: &mut Sse, usage: Usage) {
        self.chunk.choices = Vec::new();
        self.chunk.usage = Some(Some(usage));
        out.data(&self.chunk);
    }
}
