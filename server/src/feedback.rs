//! `POST /v1/feedback`: what users say of an answer, in TensorZero's shape.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use hone_api::check::Check;
use hone_api::error::{ErrorBody, Invalid};
use hone_api::feedback::{Feedback, Signal};
use hone_api::fields::Fields;
use hone_api::{FeedbackId, InteractionId, UnixMillis};
use hone_store::{NewFeedback, Order};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::body::Json;
use crate::error::ApiError;
use crate::query::{List, OrderWord, Query};
use crate::state::AppState;

/// The body of `POST /v1/feedback`.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)] // describes what `read` reads field by field
pub(crate) struct FeedbackRequest {
    /// The `id` of an answer.
    inference_id: InteractionId,
    /// `thumbs`, `score`, `demonstration` or `comment`.
    #[schema(examples("thumbs"))]
    metric_name: String,
    /// A boolean for `thumbs`, a number from 0 to 1 for `score`, a string for the others.
    #[schema(value_type = ValueForms)]
    value: Value,
    /// Free labels; `check` may hold a check as JSON, `family` a group.
    tags: Option<BTreeMap<String, String>>,
    /// Only check, store nothing.
    dryrun: Option<bool>,
    /// Accepted for TensorZero's clients; says nothing here.
    internal: Option<bool>,
}

/// The shapes of `value`, for the API's description.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code)] // only described
pub(crate) enum ValueForms {
    /// For `thumbs`.
    Boolean(bool),
    /// For `score`.
    Number(f64),
    /// For `demonstration` and `comment`.
    Text(String),
}

/// The answer.
#[derive(Serialize, ToSchema)]
pub(crate) struct FeedbackResponse {
    /// The item's id.
    feedback_id: FeedbackId,
}

/// Keeps a feedback item. When this answers 201, it is on disk.
#[utoipa::path(post, path = "/v1/feedback", tag = "feedback", request_body = FeedbackRequest,
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
        description = "The same key with the same body is the same item. An exported item's id as its \
            key gives the item this id. A repetition is answered with `idempotent-replayed: true`")),
    responses((status = 200, description = "It would be accepted (`dryrun`)", body = FeedbackResponse),
        (status = 201, description = "It is on disk", body = FeedbackResponse),
        (status = 404, description = "No such answer", body = ErrorBody),
        (status = 409, description = "The key came with another body", body = ErrorBody),
        (status = 507, description = "The disk is full, or was when the answer was to be stored", body = ErrorBody)))]
pub(crate) async fn create(
    state: web::Data<AppState>,
    request: HttpRequest,
    body: Json,
) -> Result<HttpResponse, ApiError> {
    let (mut feedback, dryrun) = read(body.0)?;
    let idempotency_key = idempotency_key(&request)?;
    if let Some(id) = idempotency_key.as_deref().and_then(own_id) {
        feedback.id = id;
    }
    if dryrun {
        if !state.store.takes_feedback(feedback.inference_id).await? {
            let unknown = hone_store::Error::UnknownInteraction(feedback.inference_id);
            return Err(ApiError::from(unknown).param("inference_id"));
        }
        return Ok(HttpResponse::Ok().json(FeedbackResponse { feedback_id: feedback.id }));
    }
    let signal = feedback.signal.clone();
    let appended = state.store.append_feedback(NewFeedback { feedback, idempotency_key }).await;
    let appended = appended.map_err(|error| match ApiError::from(error) {
        error if error.status() == 404 => error.param("inference_id"),
        error => error,
    })?;
    if !appended.duplicate {
        state.metrics.feedback(&signal);
        state.control.feedback_arrived();
    }
    let mut response = HttpResponse::Created();
    if appended.duplicate {
        response.insert_header(("idempotent-replayed", "true"));
    }
    Ok(response.json(FeedbackResponse { feedback_id: appended.id }))
}

/// Lists all feedback, in the order of its arrival unless `order=desc`.
#[utoipa::path(get, path = "/v1/feedback", tag = "feedback",
    params(("after" = Option<FeedbackId>, Query, description = "Begin behind this id"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "1 to 1000; default 20"),
        ("order" = Option<OrderWord>, Query, description = "Default `asc`, the order of arrival")),
    responses((status = 200, description = "A page", body = List<Feedback>)))]
pub(crate) async fn list(
    state: web::Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::of(&request)?;
    let (after, limit) = (query.take("after", "a feedback id")?, query.limit()?);
    let order = query.order(Order::Ascending)?;
    query.finish()?;
    let page = state.store.feedback(after, limit, order).await?;
    Ok(HttpResponse::Ok().json(List::new(page.items, page.has_more, |item| item.id.to_string())))
}

/// The client's `Idempotency-Key`.
fn idempotency_key(request: &HttpRequest) -> Result<Option<String>, Invalid> {
    let Some(value) = request.headers().get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=255).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(Invalid::field(
            "Idempotency-Key",
            "the header `Idempotency-Key` must have 1 to 255 plain characters",
        )),
    }
}

/// The id of an item that was exported, here or from another daemon, and comes back under it.
fn own_id(key: &str) -> Option<FeedbackId> {
    key.starts_with(FeedbackId::PREFIX).then(|| key.parse().ok()).flatten()
}

/// Reads a body; also whether it is a dry run.
fn read(body: Value) -> Result<(Feedback, bool), Invalid> {
    let mut fields = Fields::new(body)?;
    if fields.value("episode_id").is_some() {
        let message = "`episode_id` is not supported; name one answer with `inference_id`";
        return Err(Invalid::field("episode_id", message).code("unsupported_parameter"));
    }
    let inference_id: String = fields.required("inference_id")?;
    let inference_id: InteractionId = inference_id
        .parse()
        .map_err(|error| Invalid::field("inference_id", format!("`inference_id`: {error}")))?;
    let metric: String = fields.required("metric_name")?;
    let value: Value = fields.required("value")?;
    let tags = fields.texts("tags")?.unwrap_or_default();
    let dryrun = fields.take("dryrun")?.unwrap_or(false);
    let _: Option<bool> = fields.take("internal")?;
    fields.finish()?;
    check_tags(&tags)?;
    let feedback = Feedback {
        id: FeedbackId::new(),
        inference_id,
        signal: signal(&metric, value)?,
        tags,
        source: None,
        created_at: UnixMillis::now(),
    };
    Ok((feedback, dryrun))
}

fn signal(metric: &str, value: Value) -> Result<Signal, Invalid> {
    let wrong = |wants: &str| {
        Invalid::field("value", format!("`value` of the metric `{metric}` must be {wants}"))
    };
    let text = |value: Value| match value {
        Value::String(text) if !text.trim().is_empty() => Ok(text),
        _ => Err(wrong("a string that is not empty")),
    };
    match metric {
        "thumbs" => value.as_bool().map(Signal::Thumbs).ok_or_else(|| wrong("true or false")),
        "score" => match value.as_f64() {
            Some(score) if (0.0..=1.0).contains(&score) => Ok(Signal::Score(score)),
            _ => Err(wrong("a number from 0 to 1")),
        },
        "demonstration" => text(value).map(Signal::Demonstration),
        "comment" => text(value).map(Signal::Comment),
        other => Err(Invalid::field(
            "metric_name",
            format!(
                "there is no metric `{other:.60}`; use thumbs, score, demonstration or comment"
            ),
        )),
    }
}

/// A check that cannot be applied would be noticed much later, when somebody else looks at it.
fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), Invalid> {
    let Some(check) = tags.get("check") else { return Ok(()) };
    Check::from_tag(check).map(drop).map_err(|why| {
        Invalid::field("tags.check", format!("`tags.check` is no check that can be applied: {why}"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn param(body: Value) -> Option<String> {
        read(body).err().and_then(|error| error.param)
    }

    #[test]
    fn each_metric_has_its_type() {
        let id = InteractionId::new().to_string();
        let item = |metric: &str, value: Value| json!({"inference_id": id, "metric_name": metric, "value": value});
        for (metric, good, bad) in [
            ("thumbs", json!(true), json!(1)),
            ("score", json!(0.5), json!(1.5)),
            ("demonstration", json!("so"), json!(" ")),
            ("comment", json!("hm"), json!({})),
        ] {
            assert!(read(item(metric, good)).is_ok(), "{metric}");
            assert_eq!(param(item(metric, bad)).as_deref(), Some("value"), "{metric}");
        }
        assert_eq!(param(item("stars", json!(5))).as_deref(), Some("metric_name"));
    }

    #[test]
    fn unknown_fields_and_episodes_are_refused_by_name() {
        let id = InteractionId::new().to_string();
        let with = |name: &str, value: Value| {
            let mut body = json!({"inference_id": id, "metric_name": "thumbs", "value": true});
            body[name] = value;
            body
        };
        assert_eq!(param(with("colour", json!("red"))).as_deref(), Some("colour"));
        assert_eq!(param(with("episode_id", json!(id))).as_deref(), Some("episode_id"));
        for check in ["{}", r#"{"type":"regex","value":"("}"#, r#"{"type":"judge","value":"?"}"#] {
            let tags = with("tags", json!({"check": check}));
            assert_eq!(param(tags).as_deref(), Some("tags.check"), "{check}");
        }
        assert!(read(with("tags", json!({"check": r#"{"type":"exact","value":"a"}"#}))).is_ok());
    }
}
