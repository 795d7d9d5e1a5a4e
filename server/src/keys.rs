//! `/v1/keys`: who may call.

use std::collections::BTreeSet;

use actix_web::{HttpResponse, web};
use hone_api::UnixMillis;
use hone_api::error::{ErrorBody, Invalid};
use hone_api::fields::Fields;
use hone_api::key::{CreatedKey, KeyLimits, KeyView, NewKey, Scope};
use serde_json::Value;

use crate::body::Json;
use crate::error::ApiError;
use crate::may::{May, to};
use crate::query::List;
use crate::state::AppState;

/// Characters of a name at most.
const NAME: usize = 100;

/// Lists all keys that were ever made, the oldest first; never their secrets.
#[utoipa::path(get, path = "/v1/keys", tag = "keys",
    security(("api_key" = ["admin"])),
    responses((status = 200, description = "All keys", body = List<KeyView>)))]
pub(crate) async fn list(_caller: May<to::Admin>, state: web::Data<AppState>) -> HttpResponse {
    HttpResponse::Ok().json(List::new(state.keys.list(), false, |key| key.id.clone()))
}

/// Makes a key, which is told this once. From the first one on every request needs one.
#[utoipa::path(post, path = "/v1/keys", tag = "keys",
    security(("api_key" = ["admin"])), request_body = NewKey,
    responses((status = 201, description = "The key", body = CreatedKey),
        (status = 409, description = "The first key must have the scope `admin`", body = ErrorBody),
        (status = 507, description = "The disk is full", body = ErrorBody)))]
pub(crate) async fn create(
    caller: May<to::Admin>,
    state: web::Data<AppState>,
    body: Json,
) -> Result<HttpResponse, ApiError> {
    let new = read(body.value, UnixMillis::now())?;
    let (keys, caller) = (std::sync::Arc::clone(&state.keys), caller.clone());
    // To its end, though the client leaves: a key on disk must be one in memory, too.
    let work = async move { keys.create(&caller, new).await };
    let created = state.tasks.spawn_on(work, &state.runtime).await.map_err(ApiError::internal)?;
    Ok(HttpResponse::Created().insert_header(("cache-control", "no-store")).json(created?))
}

/// Ends a key at once. Answers under way go on to their end.
#[utoipa::path(delete, path = "/v1/keys/{id}", tag = "keys",
    security(("api_key" = ["admin"])),
    params(("id" = String, Path, description = "The key's id: its public part")),
    responses((status = 200, description = "It opens nothing any more", body = KeyView),
        (status = 404, description = "No such key", body = ErrorBody),
        (status = 409, description = "It is the last one with the scope `admin`", body = ErrorBody),
        (status = 507, description = "The disk is full", body = ErrorBody)))]
pub(crate) async fn revoke(
    caller: May<to::Admin>,
    state: web::Data<AppState>,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let (keys, caller) = (std::sync::Arc::clone(&state.keys), caller.clone());
    let work = async move { keys.revoke(&caller, &id).await };
    let revoked = state.tasks.spawn_on(work, &state.runtime).await.map_err(ApiError::internal)?;
    Ok(HttpResponse::Ok().json(revoked?))
}

fn read(body: Value, now: UnixMillis) -> Result<NewKey, Invalid> {
    let mut fields = Fields::new(body)?;
    let name: String = fields.required("name")?;
    let is_short = name.chars().count() <= NAME;
    let name = name.trim().to_owned();
    if name.is_empty() || !is_short || name.chars().any(char::is_control) {
        let message = format!("`name` must be a line of 1 to {NAME} characters");
        return Err(Invalid::field("name", message));
    }
    let words: Vec<Value> = fields.required("scopes")?;
    let scopes: BTreeSet<Scope> = words.iter().map(scope).collect::<Result<_, _>>()?;
    if scopes.is_empty() {
        return Err(Invalid::field("scopes", "`scopes` is empty; name at least one"));
    }
    let expires_at = fields.whole("expires_at", 0, i64::MAX)?.map(UnixMillis);
    if expires_at.is_some_and(|end| end <= now) {
        let message = "`expires_at` is past; it is a time in Unix milliseconds";
        return Err(Invalid::field("expires_at", message));
    }
    let mut most = |name| {
        let most = fields.whole(name, 1, i32::MAX.into())?;
        Ok::<_, Invalid>(most.and_then(|most| u32::try_from(most).ok()))
    };
    let limits = KeyLimits {
        requests_per_minute: most("requests_per_minute")?,
        tokens_per_minute: most("tokens_per_minute")?,
        max_streams: most("max_streams")?,
    };
    fields.finish()?;
    Ok(NewKey { name, scopes, expires_at, limits })
}

fn scope(word: &Value) -> Result<Scope, Invalid> {
    let word = word.as_str().ok_or_else(|| "each scope is a word".to_owned());
    word.and_then(str::parse).map_err(|why| Invalid::field("scopes", format!("`scopes`: {why}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_wrong_wish_is_told_by_field() {
        let good = json!({"name": " app ", "scopes": ["chat", "feedback"], "expires_at": 11,
            "requests_per_minute": 5});
        let key = read(good.clone(), UnixMillis(10)).unwrap();
        assert_eq!((key.name.as_str(), key.scopes.len()), ("app", 2));
        assert_eq!(key.limits.requests_per_minute, Some(5));
        for (field, value) in [
            ("name", json!("")),
            ("name", json!("x".repeat(101))),
            ("name", json!("a\nb")),
            ("scopes", json!([])),
            ("scopes", json!(["root"])),
            ("scopes", json!("chat")),
            ("expires_at", json!(10)),
            ("max_streams", json!(0)),
            ("colour", json!("red")),
        ] {
            let mut wrong = good.clone();
            wrong[field] = value;
            let error = read(wrong, UnixMillis(10)).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(field), "{error:?}");
        }
    }
}
