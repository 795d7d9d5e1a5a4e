//! A response as it is told: while it comes, whole, and from the log.

use hone_api::chat::{FinishReason, Role, Usage};
use hone_api::interaction::{Interaction, ResponseEcho};
use hone_api::responses::object::{
    IncompleteDetails, ResponseFault, ResponseObject, Status, TextOptions,
};
use hone_api::sampling_params::SamplingParams;
use serde_json::json;

use super::output::Output;
use crate::generate::Head;
use crate::record::Recorder;

/// One that has just begun.
pub(super) fn begun(head: &Head, recorder: &Recorder) -> ResponseObject {
    let ask = &recorder.ask;
    let told = ask.tools.as_ref().map_or_else(Vec::new, |tools| tools.tools.clone());
    let echo = ask.response.clone().unwrap_or_else(|| ResponseEcho {
        instructed: false,
        previous: None,
        format: json!({"type": "text"}),
        tool_choice: json!("auto"),
        untold_tools: Vec::new(),
        parallel_tool_calls: true,
        max_output_tokens: None,
    });
    let first = ask.prompts.first().and_then(|prompt| prompt.messages.first());
    let instructions = first.filter(|turn| echo.instructed && turn.role == Role::System);
    let instructions = instructions.map(|turn| turn.content.clone());
    ResponseObject {
        id: head.id.of_response(),
        object: "response",
        created_at: head.created,
        model: head.model.clone(),
        instructions,
        tools: told.into_iter().chain(echo.untold_tools.clone()).map(Into::into).collect(),
        store: ask.keep.stored,
        metadata: ask.metadata.clone(),
        ..skeleton(echo, &ask.sampling)
    }
}

/// One that has come to its end.
pub(super) fn ended(
    response: &mut ResponseObject,
    output: Output,
    reason: FinishReason,
    usage: Usage,
) {
    response.status = Status::from(reason);
    response.incomplete_details = incomplete(reason);
    response.output = output.into_items();
    response.usage = Some(usage.into());
}

/// A whole answer.
pub(super) fn whole(head: &Head, recorder: &Recorder) -> ResponseObject {
    let mut response = begun(head, recorder);
    let format = recorder.ask.tools.as_ref().map(|tools| tools.format);
    let mut output = Output::new(head.id, format);
    let draft = recorder.drafts.first();
    output.push(draft.map_or("", |draft| draft.text.as_str()));
    let reason = draft.and_then(|draft| draft.finish).unwrap_or(FinishReason::Error);
    output.finish(reason);
    ended(&mut response, output, reason, recorder.usage());
    response
}

/// One that was stored.
pub(super) fn of_log(kept: Interaction, echo: ResponseEcho) -> ResponseObject {
    let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let first = kept.messages.first().filter(|_| echo.instructed);
    let instructions = first.map(|turn| turn.content.clone());
    let tools = kept.tools.into_iter().chain(echo.untold_tools.clone()).map(Into::into).collect();
    let completion = kept.answers.iter().map(|answer| answer.tokens.len()).sum();
    let usage = Usage::new(small(kept.prompt_tokens.len()), small(completion))
        .with_cached(kept.cached_tokens);
    let answer = kept.answers.into_iter().next();
    let reason = answer.as_ref().map_or(FinishReason::Error, |answer| answer.finish_reason);
    let failed = reason == FinishReason::Error;
    ResponseObject {
        id: kept.id.of_response(),
        object: "response",
        created_at: kept.created_at.seconds(),
        status: Status::from(reason),
        error: failed.then(|| ResponseFault {
            code: "server_error".to_owned(),
            message: "the engine gave this answer up".to_owned(),
        }),
        incomplete_details: incomplete(reason),
        model: kept.model,
        instructions,
        output: answer.map_or_else(Vec::new, |answer| {
            Output::of_log(kept.id, answer.text, answer.tool_calls, reason)
        }),
        tools,
        store: kept.stored,
        metadata: kept.metadata,
        usage: Some(usage.into()),
        ..skeleton(echo, &kept.sampling)
    }
}

/// What does not depend on where it comes from.
fn skeleton(echo: ResponseEcho, sampling: &SamplingParams) -> ResponseObject {
    ResponseObject {
        id: String::new(),
        object: "response",
        created_at: 0,
        status: Status::InProgress,
        background: false,
        error: None,
        incomplete_details: None,
        instructions: None,
        max_output_tokens: echo.max_output_tokens,
        model: String::new(),
        output: Vec::new(),
        parallel_tool_calls: echo.parallel_tool_calls,
        previous_response_id: echo.previous.map(|id| id.of_response()),
        reasoning: None,
        store: false,
        temperature: sampling.temperature,
        text: TextOptions { format: echo.format },
        tool_choice: echo.tool_choice,
        tools: Vec::new(),
        top_p: sampling.top_p,
        truncation: "disabled",
        usage: None,
        metadata: Default::default(),
    }
}

fn incomplete(reason: FinishReason) -> Option<IncompleteDetails> {
    (reason == FinishReason::Length).then_some(IncompleteDetails { reason: "max_output_tokens" })
}
