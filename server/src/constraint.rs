//! What an answer is held to, made into a grammar: on few threads, with a deadline.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use actix_web::http::StatusCode;
use hone_api::error::Invalid;
use hone_text::FrontEnd;

use crate::error::ApiError;
use crate::grammar_source::Source;
use crate::grammars::{KEPT, Made};
use crate::state::AppState;
use crate::tools::ToolSource;

/// A grammar that is not made by then is given up; waiting for a place counts. The work itself is bounded, so that the
/// place comes free soon.
const PATIENCE: Duration = Duration::from_secs(5);
/// All that an answer is held to.
#[derive(Debug, Clone)]
pub(crate) enum Held {
    /// Its text.
    Text(Source),
    /// Its text and its calls.
    Tools(Box<ToolSource>),
}

impl Held {
    fn make(&self, front_end: &FrontEnd) -> Result<Made, Invalid> {
        match self {
            Self::Text(source) => source.make(front_end),
            Self::Tools(source) => source.make(front_end),
        }
    }

    fn key(&self) -> blake3::Hash {
        match self {
            Self::Text(source) => {
                blake3::hash(format!("{}\0{}", source.field, source.lark).as_bytes())
            }
            Self::Tools(source) => blake3::hash(format!("tools\0{}", source.key()).as_bytes()),
        }
    }

    fn field(&self) -> &str {
        match self {
            Self::Text(source) => &source.field,
            Self::Tools(_) => "tools",
        }
    }
}

/// Makes a grammar.
///
/// # Errors
/// 400: it is none, or takes too long. 503: too many are being made.
pub(crate) async fn make(state: &AppState, held: Held) -> Result<Made, ApiError> {
    let key = held.key();
    if let Some(made) = state.grammars.find(key) {
        return Ok(made);
    }
    let place = Arc::clone(&state.grammars.places).acquire_owned();
    let place = match tokio::time::timeout(PATIENCE, place).await {
        Ok(Ok(place)) => place,
        Ok(Err(_)) | Err(_) => {
            let message = "too many grammars are being made at once; send it again";
            let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).code("busy");
            return Err(error.retry_after(Duration::from_secs(1)));
        }
    };
    let field = held.field().to_owned();
    let (front_end, kept) =
        (Arc::clone(state.engine.front_end()), Arc::clone(&state.grammars.kept));
    let work = state.runtime.spawn_blocking(move || {
        let made = held.make(&front_end);
        drop(place);
        let made = made?;
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.truncate(KEPT - 1);
        kept.push_front((key, Made { grammar: made.grammar.fresh(), ..made.clone() }));
        Ok::<_, Invalid>(made)
    });
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(made)) => Ok(made?),
        Ok(Err(panicked)) => Err(ApiError::internal(panicked)),
        Err(_) => {
            let message =
                format!("`{field}` takes too long to make a grammar of; send a simpler one");
            Err(ApiError::field(&field, message))
        }
    }
}
