//! `/v1/interactions`: the log.

use actix_web::{HttpRequest, HttpResponse, web};
use hone_api::error::ErrorBody;
use hone_api::feedback::Feedback;
use hone_api::interaction::Interaction;
use hone_api::{AdapterRef, InteractionId, UnixMillis};
use hone_store::{InteractionFilter, Order};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::may::{May, to};
use crate::query::{List, OrderWord, Query, path_id};
use crate::route;
use crate::state::AppState;

/// An interaction with what users said of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Labelled {
    /// `interaction`.
    object: &'static str,
    #[serde(flatten)]
    interaction: Interaction,
    /// In order of arrival.
    feedback: Vec<Feedback>,
}

/// Lists interactions, oldest first unless `order=desc`.
#[utoipa::path(get, path = "/v1/interactions", tag = "feedback",
    security(("api_key" = ["export"])),
    params(("model" = Option<String>, Query, description = "As sent by the client"),
        ("adapter" = Option<String>, Query, description = "Who answered: a reference, or `base`"),
        ("metadata" = Option<std::collections::BTreeMap<String, String>>, Query, style = DeepObject,
            explode, description = "`metadata[key]=value`, repeatable"),
        ("key" = Option<String>, Query, description = "The id of the API key that asked"),
        ("user" = Option<String>, Query, description = "The end user, by the name that the app gives"),
        ("conversation" = Option<String>, Query, description = "The conversation, by the id that the app gives"),
        ("has_feedback" = Option<bool>, Query, description = "Only with, or only without"),
        ("stored" = Option<bool>, Query, description = "Only those that were asked to be listed (`store: true`), or only others"),
        ("since" = Option<i64>, Query, description = "Unix milliseconds, inclusive"),
        ("until" = Option<i64>, Query, description = "Unix milliseconds, exclusive"),
        ("after" = Option<InteractionId>, Query, description = "Begin behind this id"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "1 to 1000; default 20"),
        ("order" = Option<OrderWord>, Query, description = "Default `asc`")),
    responses((status = 200, description = "A page", body = List<Interaction>),
        (status = 404, description = "No such adapter", body = ErrorBody)))]
pub(crate) async fn list(
    _caller: May<to::Export>,
    state: web::Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let filter = filter(&state, Query::of(&request)?)?;
    let page = state.store.interactions(filter).await?;
    Ok(HttpResponse::Ok().json(List::new(page.items, page.has_more, |item| item.id.to_string())))
}

fn filter(state: &AppState, mut query: Query) -> Result<InteractionFilter, ApiError> {
    let adapter = query.text("adapter").map(|reference| match route::parse(&reference) {
        // One that was deleted has left its answers.
        AdapterRef::Id(id) => Ok(Some(id)),
        reference => state.registry.resolve(&reference),
    });
    let filter = InteractionFilter {
        adapter: adapter.transpose()?,
        model: query.text("model"),
        metadata: query.metadata()?,
        has_feedback: query.take("has_feedback", "true or false")?,
        stored: query.take("stored", "true or false")?,
        endpoint: None,
        response: None,
        key_id: query.text("key"),
        user: query.text("user").and_then(|name| state.sources.user(name.as_bytes())),
        conversation: query
            .text("conversation")
            .and_then(|name| state.sources.conversation(name.as_bytes())),
        since: query.take("since", "a time in Unix milliseconds")?.map(UnixMillis),
        until: query.take("until", "a time in Unix milliseconds")?.map(UnixMillis),
        after: query.after("an interaction's id")?,
        limit: query.limit()?,
        order: query.order(Order::Ascending)?,
    };
    query.finish()?;
    Ok(filter)
}

/// One interaction with its feedback.
#[utoipa::path(get, path = "/v1/interactions/{id}", tag = "feedback",
    security(("api_key" = ["export"])),
    params(("id" = String, Path, description = "The answer's id")),
    responses((status = 200, description = "The interaction", body = Labelled),
        (status = 404, description = "No such interaction", body = ErrorBody)))]
pub(crate) async fn get(
    _caller: May<to::Export>,
    state: web::Data<AppState>,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id: InteractionId = path_id(&id)?;
    let found = state.store.interaction(id).await?;
    let interaction =
        found.ok_or_else(|| ApiError::from(hone_store::Error::UnknownInteraction(id)))?;
    let feedback = state.store.feedback_for(id).await?;
    Ok(HttpResponse::Ok().json(Labelled { object: "interaction", interaction, feedback }))
}
