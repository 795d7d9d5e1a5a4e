//! `POST /v1/interactions/{id}/replay`: a logged answer, computed again.
//!
//! Decoding does not depend on the rest of the batch, so the same prompt, parameters, seed and weights give the same token
//! ids, whatever else runs. Nothing of a replay is logged: it is no answer to anybody.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use futures_util::future::try_join_all;
use hone_api::chat::FinishReason;
use hone_api::error::ErrorBody;
use hone_api::interaction::{Answer, Interaction};
use hone_api::replay::{Replay, ReplayedAnswer};
use hone_api::sampling_params::SamplingParams;
use hone_api::{AdapterRef, InteractionId};
use hone_engine::Generate;
use hone_engine::{Event, Generation, Priority, Request, Target};
use hone_text::Grammar;

use crate::body::OptionalJson;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::may::{May, to};
use crate::nothing::Nothing;
use crate::query::path_id;
use crate::route;
use crate::state::AppState;
use crate::tools::{CallIds, ToolUse};

/// Computes a logged answer again. The log is not changed, and nothing is added to it.
#[utoipa::path(post, path = "/v1/interactions/{id}/replay", tag = "feedback",
    security(("api_key" = ["export"])), request_body = Option<Nothing>,
    params(("id" = String, Path, description = "The answer's id")),
    responses((status = 200, description = "It was computed; `same` says whether to the same token ids", body = Replay),
        (status = 404, description = "No such interaction", body = ErrorBody),
        (status = 409, description = "It cannot be computed again; `code` says why: adapter_missing, adapter_changed, \
            base_changed, template_changed, text_not_kept, seed_not_kept, not_repeatable", body = ErrorBody),
        (status = 422, description = "The adapter cannot be loaded", body = ErrorBody)))]
pub(crate) async fn replay(
    caller: May<to::Export>,
    state: web::Data<AppState>,
    id: web::Path<String>,
    body: OptionalJson,
) -> Result<HttpResponse, ApiError> {
    Nothing::from_json(body.value)?;
    let id: InteractionId = path_id(&id)?;
    let logged = state.store.interaction(id).await?;
    let logged = logged.ok_or_else(|| ApiError::from(hone_store::Error::UnknownInteraction(id)))?;
    check(&state, &logged)?;
    let target = match logged.adapter_id {
        Some(adapter) => route::exact(&state, adapter).await?,
        None => Target::Base,
    };
    Ok(HttpResponse::Ok().json(again(&state, &caller, logged, target).await?))
}

/// What computes answers here.
pub(crate) fn computed_by(engine: &dyn Generate) -> String {
    format!("{} {}", env!("CARGO_PKG_VERSION"), engine.kernels())
}

fn refused(code: &str, message: impl Into<String>) -> ApiError {
    ApiError::conflict(message).code(code)
}

/// Whether all is there that the answer was computed from.
fn check(state: &AppState, logged: &Interaction) -> Result<(), ApiError> {
    if logged.prompt_tokens.is_empty() {
        let message = "the tokens of this answer were not kept (`store: false`, `x-hone-no-train`, or personal data was \
                       taken out), so that it cannot be computed again";
        return Err(refused("text_not_kept", message));
    }
    if logged.sampling.seed.is_none() && logged.sampling.temperature > 0.0 {
        let message = "this answer was drawn by a seed that an earlier Hone did not log; answers that are logged from \
                       now on can be computed again";
        return Err(refused("seed_not_kept", message));
    }
    let abilities = state.engine.abilities();
    if !abilities.repeatable {
        let message = format!(
            "the {} engine, which serves this model, does not give the same bits again, so that a difference would say nothing",
            abilities.engine
        );
        return Err(refused("not_repeatable", message));
    }
    let front_end = state.engine.front_end();
    if logged.base_digest != front_end.base_digest {
        let message = format!(
            "the base {:.16} answered, and {:.16} is served; start Hone with that model and those `model.weights`",
            logged.base_digest, front_end.base_digest
        );
        return Err(refused("base_changed", message));
    }
    if logged.template_digest != front_end.template.digest() {
        let message = format!(
            "the prompt was made with the chat template {:.16}, and {:.16} is served; start Hone with that template",
            logged.template_digest,
            front_end.template.digest()
        );
        return Err(refused("template_changed", message));
    }
    let Some(id) = logged.adapter_id else { return Ok(()) };
    let view = state.registry.get(&AdapterRef::Id(id)).map_err(|_| {
        let digest = logged.adapter_digest.as_deref().map(|digest| format!(" ({digest:.12}…)"));
        let digest = digest.unwrap_or_default();
        let message = format!(
            "the adapter {id}{digest} answered, and it is not here any more; restore it from a backup"
        );
        refused("adapter_missing", message)
    })?;
    match &logged.adapter_digest {
        Some(digest) if *digest != view.digest => {
            let message = format!(
                "the adapter {id} has other weights than when it answered: {:.16} instead of {digest:.16}; restore it \
                 from a backup",
                view.digest
            );
            Err(refused("adapter_changed", message))
        }
        _ => Ok(()),
    }
}

async fn again(
    state: &web::Data<AppState>,
    caller: &Caller,
    logged: Interaction,
    target: Target,
) -> Result<Replay, ApiError> {
    let _permit = state.gate.enter()?;
    let prompt = u32::try_from(logged.prompt_tokens.len()).unwrap_or(u32::MAX);
    let mut allowance = caller.answer(prompt)?;
    let tools = ToolUse::of_log(logged.tools.clone(), state.engine.front_end());
    let grammar = match &logged.grammar {
        Some(lark) => Some(compiled(state, lark.clone()).await?),
        None => None,
    };
    let party = caller.party(&state.sources, None);
    let mut generations = Vec::with_capacity(logged.answers.len());
    for (answer, index) in logged.answers.iter().zip(0..) {
        if answer.tokens.is_empty() {
            generations.push(None);
            continue;
        }
        let request = Request {
            id: InteractionId::new(),
            prompt: logged.prompt_tokens.clone(),
            sampling: sampling(&logged.sampling, answer, index),
            target,
            echo_from: None,
            grammar: grammar.as_ref().map(Grammar::fresh),
            shown: tools.as_ref().map_or_else(Vec::new, |tools| tools.shown.clone()),
            priority: Priority::Interactive,
            party,
        };
        let generation = state.engine.submit(request);
        generations
            .push(Some(generation.map_err(|error| ApiError::from_engine(error, logged.endpoint))?));
    }
    let cut = state.gate.cut.clone();
    let generated = tokio::select! {
        biased;
        () = cut.cancelled() => return Err(ApiError::shutting_down()),
        generated = try_join_all(generations.into_iter().map(generated)) => generated?,
    };
    if let Some(allowance) = &mut allowance {
        let tokens = generated.iter().map(|generated| generated.tokens.len()).sum::<usize>();
        allowance.used(u32::try_from(tokens).unwrap_or(u32::MAX));
    }
    let answers: Vec<_> = logged
        .answers
        .iter()
        .zip(generated)
        .enumerate()
        .map(|(index, (answer, generated))| {
            let ids = CallIds { interaction: logged.id, index };
            compared(tools.as_ref(), ids, answer, generated)
        })
        .collect();
    let same = answers.iter().all(|answer| answer.same);
    let here = computed_by(&*state.engine);
    Ok(Replay {
        object: "interaction.replay".to_owned(),
        id: logged.id,
        same,
        reason: (!same).then(|| why_not(logged.computed_by.as_deref(), &here)),
        adapter_id: logged.adapter_id,
        adapter_digest: logged.adapter_digest,
        seed: logged.sampling.seed,
        answers,
    })
}

/// The logged parameters of one answer. One that was cut off from outside is generated as far as it had come.
fn sampling(logged: &SamplingParams, answer: &Answer, index: u32) -> SamplingParams {
    let mut sampling = logged.of_answer(index);
    if matches!(answer.finish_reason, FinishReason::Cancelled | FinishReason::Error) {
        let come = u32::try_from(answer.tokens.len()).unwrap_or(u32::MAX);
        sampling.max_tokens = sampling.max_tokens.min(come);
    }
    sampling.logprobs = None;
    sampling
}

async fn compiled(state: &web::Data<AppState>, lark: String) -> Result<Grammar, ApiError> {
    let front_end = Arc::clone(state.engine.front_end());
    let made = web::block(move || front_end.grammar(&lark));
    made.await.map_err(ApiError::internal)?.map_err(|error| {
        let message = format!("the grammar that the answer was held to cannot be made: {error}");
        refused("grammar_refused", message)
    })
}

/// What an answer came to.
#[derive(Default)]
struct Generated {
    tokens: Vec<u32>,
    text: String,
    finish: Option<FinishReason>,
}

async fn generated(generation: Option<Generation>) -> Result<Generated, ApiError> {
    let mut generated = Generated::default();
    let Some(mut events) = generation else { return Ok(generated) };
    while let Some(event) = events.next().await {
        match event {
            Event::Token { token, text, .. } => {
                generated.tokens.push(token);
                generated.text.push_str(&text);
            }
            Event::Finished { reason, .. } => generated.finish = Some(reason),
            Event::Failed(message) => return Err(ApiError::failed(&message)),
            Event::Displaced { retry_after } => return Err(ApiError::displaced(retry_after)),
            Event::Started { .. } | Event::PromptLogprobs(_) => {}
        }
    }
    Ok(generated)
}

fn compared(
    tools: Option<&ToolUse>,
    ids: CallIds,
    logged: &Answer,
    generated: Generated,
) -> ReplayedAnswer {
    let first_difference = ReplayedAnswer::first_difference(&logged.tokens, &generated.tokens);
    let (text, tool_calls) = match tools {
        Some(tools) => {
            let said = tools.read(&generated.text, ids);
            (said.text, said.calls)
        }
        None => (generated.text, Vec::new()),
    };
    let finish = generated.finish.map(|finish| finish.with_calls(!tool_calls.is_empty()));
    ReplayedAnswer {
        index: u32::try_from(ids.index).unwrap_or(u32::MAX),
        same: first_difference.is_none(),
        first_difference,
        tokens: generated.tokens,
        text,
        tool_calls,
        finish_reason: finish.unwrap_or(logged.finish_reason),
    }
}

fn why_not(logged: Option<&str>, here: &str) -> String {
    match logged {
        None => format!(
            "an earlier Hone logged this answer, without what it was held to and what computed it; {here} computes now"
        ),
        Some(logged) if logged != here => format!(
            "{logged} computed this answer (version and instruction set), and {here} computes now; the last bits of its \
             logits may be others"
        ),
        Some(_) => format!(
            "{here} computed both, from the same weights, prompt and seed, and they differ: that is a fault; please report it"
        ),
    }
}
