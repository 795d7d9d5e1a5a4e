//! `/v1/cycles…`: start, watch and stop the loop.

use std::convert::Infallible;

use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use hone_api::CycleId;
use hone_api::cycle::{CycleEvent, CycleView, NextCycle};
use hone_api::error::ErrorBody;
use hone_store::Order;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use crate::body::OptionalJson;
use crate::error::ApiError;
use crate::may::{May, to};
use crate::nothing::Nothing;
use crate::query::{List, OrderWord, Query, path_id};
use crate::state::AppState;
use crate::stream::{Sse, SseEvent, event_stream, silence};

/// Starts a cycle by hand.
#[utoipa::path(post, path = "/v1/cycles", tag = "cycles",
    security(("api_key" = ["cycles"])), request_body = Option<Nothing>,
    responses((status = 201, description = "It runs, or waits for the one that runs", body = CycleView),
        (status = 409, description = "One waits already", body = ErrorBody),
        (status = 507, description = "The disk is full", body = ErrorBody)))]
pub(crate) async fn start(
    caller: May<to::Cycles>,
    state: web::Data<AppState>,
    body: OptionalJson,
) -> Result<HttpResponse, ApiError> {
    Nothing::from_json(body.value)?;
    Ok(HttpResponse::Created().json(state.control.start_cycle(&caller).await?))
}

/// A page of cycles, and what comes next.
#[derive(Serialize, ToSchema)]
pub(crate) struct Cycles {
    #[serde(flatten)]
    list: List<CycleView>,
    /// When one starts by itself.
    next: NextCycle,
}

/// Lists cycles, newest first unless `order=asc`.
#[utoipa::path(get, path = "/v1/cycles", tag = "cycles",
    security(("api_key" = ["cycles"])),
    params(("after" = Option<CycleId>, Query, description = "Begin behind this id"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "1 to 1000; default 20"),
        ("order" = Option<OrderWord>, Query, description = "Default `desc`, the newest first")),
    responses((status = 200, description = "A page", body = Cycles)))]
pub(crate) async fn list(
    caller: May<to::Cycles>,
    state: web::Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::of(&request)?;
    let (after, limit) = (query.after("a cycle's id")?, query.limit()?);
    let order = query.order(Order::Descending)?;
    query.finish()?;
    let page = state.store.cycles(after, limit, order).await?;
    let list = List::new(page.items, page.has_more, |item| item.id.to_string());
    let next = state.control.next_cycle(&caller).await;
    Ok(HttpResponse::Ok().json(Cycles { list, next }))
}

/// One cycle.
#[utoipa::path(get, path = "/v1/cycles/{id}", tag = "cycles",
    security(("api_key" = ["cycles"])),
    params(("id" = String, Path, description = "The cycle's id")),
    responses((status = 200, description = "The cycle", body = CycleView),
        (status = 404, description = "No such cycle", body = ErrorBody)))]
pub(crate) async fn get(
    _caller: May<to::Cycles>,
    state: web::Data<AppState>,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id: CycleId = path_id(&id)?;
    let found = state.store.cycle(id).await?;
    let cycle = found.ok_or_else(|| ApiError::from(hone_store::Error::UnknownCycle(id)))?;
    Ok(HttpResponse::Ok().json(cycle))
}

/// Tells a cycle to stop.
#[utoipa::path(post, path = "/v1/cycles/{id}/cancel", tag = "cycles",
    security(("api_key" = ["cycles"])),
    request_body = Option<Nothing>,
    params(("id" = String, Path, description = "The cycle's id")),
    responses((status = 200, description = "It stops", body = CycleView),
        (status = 404, description = "No such cycle", body = ErrorBody),
        (status = 409, description = "It has ended", body = ErrorBody)))]
pub(crate) async fn cancel(
    caller: May<to::Cycles>,
    state: web::Data<AppState>,
    id: web::Path<String>,
    body: OptionalJson,
) -> Result<HttpResponse, ApiError> {
    Nothing::from_json(body.value)?;
    Ok(HttpResponse::Ok().json(state.control.cancel_cycle(&caller, path_id(&id)?).await?))
}

/// A cycle's events, past and coming, until it ends. `Last-Event-ID` goes on where a client was.
#[utoipa::path(get, path = "/v1/cycles/{id}/events", tag = "cycles",
    security(("api_key" = ["cycles"])),
    params(("id" = String, Path, description = "The cycle's id"),
        ("Last-Event-ID" = Option<i64>, Header, minimum = 0, description = "The last event that was seen")),
    responses((status = 200, description = "Server-sent events, each with its kind as `event`, a number as `id` and a CycleEvent as `data`",
            content_type = "text/event-stream", body = SseEvent),
        (status = 404, description = "No such cycle", body = ErrorBody)))]
pub(crate) async fn events(
    caller: May<to::Cycles>,
    state: web::Data<AppState>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id: CycleId = path_id(&id)?;
    if state.store.cycle(id).await?.is_none() {
        return Err(hone_store::Error::UnknownCycle(id).into());
    }
    let seen = request.headers().get("last-event-id").map(|value| value.to_str().unwrap_or("?"));
    let number = |text: &str| text.parse::<i64>().ok().and_then(|seen| u64::try_from(seen).ok());
    let seen = seen.map_or(Some(0), number).ok_or_else(|| {
        ApiError::field("Last-Event-ID", "the header `Last-Event-ID` must be an event's number")
    })?;
    let events = state.control.cycle_events(&caller, id, seen).await?;
    let follow = Follow { events, silence: silence(), over: state.gate.draining.clone() };
    Ok(event_stream().streaming(stream::unfold(follow, |mut follow| async move {
        follow.next().await.map(|bytes| (Ok::<_, Infallible>(bytes), follow))
    })))
}

struct Follow {
    events: BoxStream<'static, CycleEvent>,
    silence: tokio::time::Interval,
    /// The daemon stops; the client comes back with `Last-Event-ID`.
    over: CancellationToken,
}

impl Follow {
    async fn next(&mut self) -> Option<web::Bytes> {
        let mut out = Sse::default();
        tokio::select! {
            biased;
            event = self.events.next() => {
                let event = event?;
                out.event(event.sequence, &event.kind, &event);
                self.silence.reset();
            }
            () = self.over.cancelled() => return None,
            _ = self.silence.tick() => out.comment(),
        }
        Some(out.take())
    }
}
