//! `POST /v1/chat/completions`.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use hone_api::chat::response::{LogProbs, TokenLogProb, TopLogProb};
use hone_api::chat::{
    Accepted, AnswerMessage, ChatRequest, ChatResponse, Choice, FinishReason, Message, Tool,
};
use hone_api::error::ErrorBody;
use hone_api::interaction::{Endpoint, ResponseEcho};
use hone_api::sampling_params::SamplingParams;
use hone_text::{Effort, FrontEnd, Talk};

use crate::ask::{Ask, Keep, PromptIn};
use crate::body::Json;
use crate::caller::Caller;
use crate::constraint::{self, Held};
use crate::deadline::Deadline;
use crate::error::ApiError;
use crate::generate::{Head, Run};
use crate::grammar_source::Source;
use crate::may::{May, to};
use crate::record::{Draft, Recorder};
use crate::state::AppState;
use crate::stream::SseEvent;
use crate::token_text::TokenText;
use crate::tokenising::Refused;
use crate::tools::{ToolSource, ToolUse};
use crate::{bad_words, collect, limits, route, stream, tokenising};

mod frames;

use frames::ChatFrames;

/// Answers a conversation.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "openai",
    security(("api_key" = ["chat"])), request_body = ChatRequest,
    params(("x-hone-user" = Option<String>, Header, description = "The end user, if the body does not tell. \
        Without both it is the API key, and without keys the caller's address"),
        ("x-request-timeout-ms" = Option<u64>, Header, minimum = 1, maximum = 86_400_000,
            description = "The answer is of no use later than so many milliseconds after the request")),
    responses(
        (status = 200, description = "The answer; with `stream` as server-sent events: Chunk, then [DONE]", content(
            (ChatResponse = "application/json"), (SseEvent = "text/event-stream"))),
        (status = 404, description = "No such model", body = ErrorBody),
        (status = 422, description = "The adapter cannot be loaded", body = ErrorBody),
        (status = 429, description = "The queue is full; see `retry-after`", body = ErrorBody),
        (status = 504, description = "`x-request-timeout-ms` is over", body = ErrorBody)))]
pub(crate) async fn create(
    caller: May<to::Chat>,
    state: web::Data<AppState>,
    http: HttpRequest,
    deadline: Deadline,
    body: Json,
) -> Result<HttpResponse, ApiError> {
    let Accepted { request, ignored } = ChatRequest::from_json(body.value)?;
    let keep = Keep::of(&http, request.keeping.store);
    let (streams, ids) = (request.stream == Some(true), request.return_token_ids == Some(true));
    let include_usage = request.include_usage();
    let asked = Asked { request, ignored, keep, response: None, deadline };
    let metrics = Arc::clone(&state.metrics);
    let run = deadline.within(&metrics, start(state, &caller, asked)).await?;
    if streams {
        let frames = ChatFrames::new(&run, ids, include_usage);
        return stream::respond(run, frames, include_usage).await;
    }
    collect::respond(run, |head, recorder| whole(head, recorder, ids)).await
}

/// A conversation that wants an answer, in OpenAI's older words or in its newer ones.
pub(crate) struct Asked {
    pub(crate) request: ChatRequest,
    /// For the header `x-hone-ignored`.
    pub(crate) ignored: Vec<String>,
    pub(crate) keep: Keep,
    /// What is kept of a request that came through `/v1/responses`.
    pub(crate) response: Option<ResponseEcho>,
    pub(crate) deadline: Deadline,
}

/// Checks a request and has it answered.
pub(crate) async fn start(
    state: web::Data<AppState>,
    caller: &Caller,
    asked: Asked,
) -> Result<Run, ApiError> {
    let Asked { request, mut ignored, keep, response, deadline } = asked;
    request.check(&state.limits)?;
    let text = request.form.asked()?.map(Source::of).transpose()?;
    let tools = ToolUse::of(&request.tools, state.engine.front_end());
    let held = match &tools {
        None => text.map(Held::Text),
        Some(tools) => {
            let source = ToolSource::of(&request.tools, tools.format, text)?;
            Some(Held::Tools(Box::new(source)))
        }
    };
    let target = route::resolve(&state, &request.model).await?;
    let context = state.limits.context;
    let conversation = Conversation {
        messages: request.messages.clone(),
        tools: tools.as_ref().map_or_else(Vec::new, |tools| tools.tools.clone()),
    };
    let ending = match (request.continue_final_message, request.add_generation_prompt) {
        (Some(true), _) => Ending::Open,
        (_, Some(false)) => Ending::Closed,
        _ => Ending::Answer,
    };
    let encoded = encode(&state, conversation, ending, tokenising::counted(context));
    let (Conversation { messages, .. }, mut tokens) =
        encoded.await.map_err(|refused| refused.into_api("messages", context))?;
    limits::truncate(&state.limits, &mut tokens, request.truncate_prompt_tokens);
    let max_tokens = limits::room(&state.limits, tokens.len(), request.most_tokens(), "messages")?;
    let grammar = match held {
        Some(held) => {
            let mut made = constraint::make(&state, held).await?;
            ignored.append(&mut made.ignored);
            Some(made)
        }
        None => None,
    };
    let bad_words = bad_words::tokens(state.engine.front_end(), &request.sampling.bad_words)?;
    let alternatives = request.alternatives();
    let sampling = request.sampling.resolve(&state.defaults, max_tokens, alternatives);
    let ask = Ask {
        endpoint: Endpoint::Chat,
        model: request.model.clone(),
        target,
        prompts: vec![PromptIn { messages, tokens }],
        answers: request.n.unwrap_or(1),
        sampling: SamplingParams { bad_words, ..sampling },
        echo_logprobs: false,
        grammar,
        tools,
        keep,
        source: caller.source(&state.sources, request.keeping.user.as_deref()),
        caller: caller.clone(),
        user: caller.end_user(&state.sources, request.keeping.user.as_deref()),
        conversation: caller.conversation(&state.sources),
        metadata: request.keeping.metadata,
        response,
        deadline,
        ignored,
    };
    Run::start(&state.into_inner(), ask)
}

/// What is rendered.
#[derive(Debug, Default)]
pub(crate) struct Conversation {
    pub(crate) messages: Vec<Message>,
    pub(crate) tools: Vec<Tool>,
}

/// How a prompt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With the words that open an answer.
    Answer,
    /// With the last message.
    Closed,
    /// In the last message, which goes on.
    Open,
}

/// Renders and tokenises a conversation, at most to so many tokens.
pub(crate) async fn encode(
    state: &AppState,
    conversation: Conversation,
    ending: Ending,
    most: usize,
) -> Result<(Conversation, Vec<u32>), Refused> {
    let mut size: usize = conversation.messages.iter().map(|message| message.content.len()).sum();
    if !conversation.tools.is_empty() {
        size += serde_json::to_string(&conversation.tools).map_or(0, |tools| tools.len());
    }
    let work = move |front_end: &FrontEnd, effort: &Effort| {
        let (template, tokenizer) = (&front_end.template, &front_end.tokenizer);
        let talk = Talk { messages: &conversation.messages, tools: &conversation.tools };
        let tokens = match ending {
            Ending::Open => template.encode_continued_within(tokenizer, talk, effort)?,
            Ending::Answer => template.encode_chat_within(tokenizer, talk, true, effort)?,
            Ending::Closed => template.encode_chat_within(tokenizer, talk, false, effort)?,
        };
        Ok((conversation, tokens))
    };
    tokenising::run(state, size, most, work).await
}

fn whole(head: &Head, recorder: &Recorder, ids: bool) -> ChatResponse {
    let token_text = TokenText::of(recorder);
    let choices = recorder.drafts.iter().zip(0..).map(|(draft, index)| {
        let said = recorder.said(head.id, index as usize);
        let finish = draft.finish.unwrap_or(FinishReason::Error);
        Choice {
            index,
            finish_reason: finish.with_calls(!said.calls.is_empty()),
            message: AnswerMessage::new(said.text, said.calls),
            logprobs: recorder.ask.sampling.logprobs.map(|_| logprobs(&token_text, draft)),
            token_ids: ids.then(|| draft.tokens.clone()),
        }
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

fn logprobs(token_text: &TokenText, draft: &Draft) -> LogProbs {
    let tokens = draft.tokens.iter().zip(&draft.logprobs).zip(&draft.tops);
    let entries =
        tokens.filter_map(|((token, logprob), top)| entry(token_text, *token, *logprob, top));
    LogProbs { content: entries.collect(), refusal: None }
}

fn prompt_ids(recorder: &Recorder) -> Vec<u32> {
    recorder.ask.prompts.first().map(|prompt| prompt.tokens.clone()).unwrap_or_default()
}

/// One token of `logprobs.content`; the end token is not part of the text.
fn entry(
    token_text: &TokenText,
    token: u32,
    logprob: f32,
    top: &[(u32, f32)],
) -> Option<TokenLogProb> {
    if token_text.ends(token) {
        return None;
    }
    let (text, bytes) = token_text.of_token(token);
    let top_logprobs = top
        .iter()
        .map(|(token, logprob)| {
            let (text, bytes) = token_text.of_token(*token);
            TopLogProb { token: text, logprob: *logprob, bytes: Some(bytes) }
        })
        .collect();
    Some(TokenLogProb { token: text, logprob, bytes: Some(bytes), top_logprobs })
}
