//! `POST /v1/completions`: prompts as text or token ids, echo, log-probabilities.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use hone_api::chat::{Accepted, FinishReason, Message, Role, Usage};
use hone_api::completion::{
    CompletionChoice, CompletionRequest, CompletionResponse, LegacyLogProbs, Prompt,
};
use hone_api::error::ErrorBody;
use hone_api::interaction::Endpoint;
use hone_api::sampling_params::SamplingParams;
use hone_engine::{Event, PromptLogprob};

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
use crate::stream::{Frames, Sse, SseEvent};
use crate::token_text::TokenText;
use crate::{bad_words, collect, limits, route, stream, tokenising};

/// Continues a text.
#[utoipa::path(post, path = "/v1/completions", tag = "openai",
    security(("api_key" = ["chat"])), request_body = CompletionRequest,
    params(("x-hone-user" = Option<String>, Header, description = "The end user, if the body does not tell. \
        Without both it is the API key, and without keys the caller's address"),
        ("x-request-timeout-ms" = Option<u64>, Header, minimum = 1, maximum = 86_400_000,
            description = "The answer is of no use later than so many milliseconds after the request")),
    responses(
        (status = 200, description = "The answer; with `stream` as server-sent events: CompletionResponse, then [DONE]", content(
            (CompletionResponse = "application/json"), (SseEvent = "text/event-stream"))),
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
    let Accepted { request, ignored } = CompletionRequest::from_json(body.value)?;
    let keep = Keep::of(&http, request.keeping.store);
    let style =
        Style { echo: request.echo == Some(true), ids: request.return_token_ids == Some(true) };
    let (streams, include_usage) = (request.stream == Some(true), request.include_usage());
    let asked = Asked { request, ignored, keep, deadline };
    let metrics = Arc::clone(&state.metrics);
    let run = deadline.within(&metrics, start(state, &caller, asked)).await?;
    if streams {
        let frames = TextFrames::new(&run, style, include_usage);
        return stream::respond(run, frames, include_usage).await;
    }
    collect::respond(run, |head, recorder| whole(head, recorder, style)).await
}

/// Prompts that want answers.
struct Asked {
    request: CompletionRequest,
    /// For the header `x-hone-ignored`.
    ignored: Vec<String>,
    keep: Keep,
    deadline: Deadline,
}

/// Checks a request and has it answered.
async fn start(state: web::Data<AppState>, caller: &Caller, asked: Asked) -> Result<Run, ApiError> {
    let Asked { request, mut ignored, keep, deadline } = asked;
    request.check(&state.limits)?;
    let constraint = request.form.asked()?.map(Source::of).transpose()?;
    let target = route::resolve(&state, &request.model).await?;
    let mut prompts = encode(&state, request.prompt.clone()).await?;
    for prompt in &mut prompts {
        limits::truncate(&state.limits, &mut prompt.tokens, request.truncate_prompt_tokens);
    }
    let grammar = match constraint {
        Some(source) => {
            let mut made = constraint::make(&state, Held::Text(source)).await?;
            ignored.append(&mut made.ignored);
            Some(made)
        }
        None => None,
    };
    let bad_words = bad_words::tokens(state.engine.front_end(), &request.sampling.bad_words)?;
    let max_tokens = max_tokens(&state, &request, &prompts)?;
    let ask = Ask {
        endpoint: Endpoint::Completion,
        model: request.model.clone(),
        target,
        answers: request.n.unwrap_or(1),
        sampling: SamplingParams {
            bad_words,
            ..request.sampling.resolve(&state.defaults, max_tokens, request.logprobs)
        },
        prompts,
        echo_logprobs: request.echo == Some(true) && request.logprobs.is_some(),
        grammar,
        tools: None,
        keep,
        source: caller.source(&state.sources, request.keeping.user.as_deref()),
        caller: caller.clone(),
        user: caller.end_user(&state.sources, request.keeping.user.as_deref()),
        conversation: caller.conversation(&state.sources),
        metadata: request.keeping.metadata.clone(),
        response: None,
        deadline,
        ignored,
    };
    Run::start(&state.into_inner(), ask)
}

/// What the client wants beside the new text.
#[derive(Debug, Clone, Copy)]
struct Style {
    echo: bool,
    ids: bool,
}

/// Tokenises text; turns ids into the text that is kept.
async fn encode(state: &AppState, prompts: Vec<Prompt>) -> Result<Vec<PromptIn>, ApiError> {
    let context = state.limits.context;
    let size = |prompt: &Prompt| match prompt {
        Prompt::Text(text) => text.len(),
        Prompt::Tokens(tokens) => tokens.len(),
    };
    let size = prompts.iter().map(size).sum();
    let encoded =
        tokenising::run(state, size, tokenising::counted(context), |front_end, effort| {
            let tokenizer = &front_end.tokenizer;
            let prompts = prompts.into_iter().map(|prompt| {
                let (text, tokens) = match prompt {
                    Prompt::Text(text) => {
                        let tokens = tokenizer.encode_within(&text, true, effort)?;
                        (text, tokens)
                    }
                    Prompt::Tokens(tokens) => (tokenizer.decode_within(&tokens, effort)?, tokens),
                };
                Ok(PromptIn { messages: vec![Message::new(Role::User, text)], tokens })
            });
            prompts.collect::<Result<Vec<_>, hone_text::Error>>()
        });
    let encoded = encoded.await.map_err(|refused| refused.into_api("prompt", context))?;
    if encoded.iter().any(|prompt| prompt.tokens.is_empty()) {
        return Err(ApiError::field("prompt", "`prompt` has no tokens; send some text"));
    }
    Ok(encoded)
}

fn max_tokens(
    state: &AppState,
    request: &CompletionRequest,
    prompts: &[PromptIn],
) -> Result<u32, ApiError> {
    let longest = prompts.iter().map(|prompt| prompt.tokens.len()).max().unwrap_or(0);
    let asked = request.max_tokens.map(|most| (most, "max_tokens"));
    let room = limits::room(&state.limits, longest, asked, "prompt")?;
    Ok(request.max_tokens.unwrap_or_else(|| room.min(CompletionRequest::DEFAULT_MAX_TOKENS)))
}

fn whole(head: &Head, recorder: &Recorder, style: Style) -> CompletionResponse {
    let mut response = skeleton(head);
    let token_text = TokenText::of(recorder);
    for (index, draft) in recorder.drafts.iter().enumerate() {
        let prompt = prompt_of(recorder, index);
        let echoed = prompt.filter(|_| style.echo).map_or("", |prompt| text_of(prompt));
        response.choices.push(CompletionChoice {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            text: format!("{echoed}{}", draft.text),
            logprobs: recorder.ask.sampling.logprobs.map(|_| logprobs(&token_text, echoed, draft)),
            finish_reason: Some(draft.finish.unwrap_or(FinishReason::Error)),
            prompt_token_ids: prompt.filter(|_| style.ids).map(|prompt| prompt.tokens.clone()),
            token_ids: style.ids.then(|| draft.tokens.clone()),
        });
    }
    response.usage = Some(Some(recorder.usage()));
    response
}

fn skeleton(head: &Head) -> CompletionResponse {
    CompletionResponse {
        id: head.id.to_string(),
        object: "text_completion".to_owned(),
        created: head.created,
        model: head.model.clone(),
        choices: Vec::new(),
        usage: None,
        system_fingerprint: head.fingerprint.clone(),
    }
}

fn prompt_of(recorder: &Recorder, index: usize) -> Option<&PromptIn> {
    recorder.ask.prompts.get(index / recorder.ask.answers.max(1) as usize)
}

fn text_of(prompt: &PromptIn) -> &str {
    prompt.messages.first().map_or("", |message| message.content.as_str())
}

fn logprobs(token_text: &TokenText, echoed: &str, draft: &Draft) -> LegacyLogProbs {
    let mut list = LegacyLogProbs::default();
    let mut offset = 0;
    for entry in &draft.prompt {
        append_prompt(token_text, &mut list, &mut offset, (echoed, entry));
    }
    for ((token, logprob), top) in draft.tokens.iter().zip(&draft.logprobs).zip(&draft.tops) {
        append(token_text, &mut list, &mut offset, *token, Some((*logprob, top)));
    }
    list
}

fn append_prompt(
    token_text: &TokenText,
    list: &mut LegacyLogProbs,
    offset: &mut usize,
    (echoed, entry): (&str, &PromptLogprob),
) {
    let known = entry.logprob.map(|logprob| (logprob, entry.top.as_slice()));
    let width = match *offset {
        0 => token_text.characters_at_start(entry.token, echoed),
        _ => token_text.characters(entry.token),
    };
    push(token_text, list, entry.token, known, *offset);
    *offset += width;
}

/// Adds one generated token. The end token is one of them, though it takes no room in the text: who scores an echoed prompt takes
/// off as many as were generated.
fn append(
    token_text: &TokenText,
    list: &mut LegacyLogProbs,
    offset: &mut usize,
    token: u32,
    known: Option<(f32, &Vec<(u32, f32)>)>,
) {
    let known = known.map(|(logprob, top)| (logprob, top.as_slice()));
    push(token_text, list, token, known, *offset);
    if !token_text.ends(token) {
        *offset += token_text.characters(token);
    }
}

fn push(
    token_text: &TokenText,
    list: &mut LegacyLogProbs,
    token: u32,
    known: Option<(f32, &[(u32, f32)])>,
    offset: usize,
) {
    let text = token_text.of_token(token).0;
    let top = known.map(|(logprob, top)| {
        let mut map: BTreeMap<String, f32> =
            top.iter().map(|(token, logprob)| (token_text.of_token(*token).0, *logprob)).collect();
        // As OpenAI does: the generated token is there even if it is none of the likeliest.
        map.entry(text.clone()).or_insert(logprob);
        map
    });
    list.tokens.push(text);
    list.token_logprobs.push(known.map(|(logprob, _)| logprob));
    list.top_logprobs.push(top);
    list.text_offset.push(offset);
}

/// Chunks of a streamed completion.
struct TextFrames {
    response: CompletionResponse,
    token_text: TokenText,
    style: Style,
    logprobs: bool,
    /// `max_tokens` is 0: what is generated is not shown.
    silent: bool,
    /// By index: the prompt's text and ids, and where the next token begins.
    prompts: Vec<(String, Vec<u32>)>,
    offsets: Vec<usize>,
}

impl TextFrames {
    fn new(run: &Run, style: Style, include_usage: bool) -> Self {
        let recorder = &run.recorder;
        let mut response = skeleton(&run.head);
        response.usage = include_usage.then_some(None);
        let prompts: Vec<_> = (0..recorder.drafts.len())
            .filter_map(|index| prompt_of(recorder, index))
            .map(|prompt| (text_of(prompt).to_owned(), prompt.tokens.clone()))
            .collect();
        Self {
            response,
            token_text: TokenText::of(recorder),
            style,
            logprobs: recorder.ask.sampling.logprobs.is_some(),
            silent: recorder.ask.sampling.max_tokens == 0,
            offsets: vec![0; prompts.len()],
            prompts,
        }
    }

    fn send(&mut self, out: &mut Sse, choice: CompletionChoice) {
        self.response.choices = vec![choice];
        out.data(&self.response);
    }
}

fn piece(index: usize, text: &str) -> CompletionChoice {
    CompletionChoice {
        index: u32::try_from(index).unwrap_or(u32::MAX),
        text: text.to_owned(),
        logprobs: None,
        finish_reason: None,
        prompt_token_ids: None,
        token_ids: None,
    }
}

impl Frames for TextFrames {
    fn open(&mut self, out: &mut Sse, index: usize) {
        let Some((text, ids)) = self.prompts.get(index) else { return };
        // With log-probabilities the echo comes with them.
        let echo = if self.style.echo && !self.logprobs { text.as_str() } else { "" };
        let mut choice = piece(index, echo);
        choice.prompt_token_ids = self.style.ids.then(|| ids.clone());
        self.send(out, choice);
    }

    fn event(&mut self, out: &mut Sse, index: usize, event: &Event) {
        let mut list = LegacyLogProbs::default();
        let Some(offset) = self.offsets.get_mut(index) else { return };
        match event {
            Event::PromptLogprobs(prompt) => {
                let text = self.prompts.get(index).map_or("", |prompt| prompt.0.as_str());
                for entry in prompt {
                    append_prompt(&self.token_text, &mut list, offset, (text, entry));
                }
                let choice = CompletionChoice { logprobs: Some(list), ..piece(index, text) };
                self.send(out, choice);
            }
            Event::Token { token, text, logprob, top } if !self.silent => {
                if self.logprobs {
                    append(&self.token_text, &mut list, offset, *token, Some((*logprob, top)));
                }
                let logprobs = Some(list).filter(|list| !list.tokens.is_empty());
                if text.is_empty() && logprobs.is_none() && !self.style.ids {
                    return;
                }
                let token_ids = self.style.ids.then(|| vec![*token]);
                let choice = CompletionChoice { logprobs, token_ids, ..piece(index, text) };
                self.send(out, choice);
            }
            _ => {}
        }
    }

    fn finish(&mut self, out: &mut Sse, index: usize, reason: FinishReason) {
        let choice = CompletionChoice { finish_reason: Some(reason), ..piece(index, "") };
        self.send(out, choice);
    }

    fn usage(&mut self, out: &mut Sse, usage: Usage) {
        self.response.choices = Vec::new();
        self.response.usage = Some(Some(usage));
        out.data(&self.response);
    }
}
