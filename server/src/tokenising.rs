//! Where texts become tokens: few threads, a deadline, and an end as soon as nobody waits for it.
//!
//! A tokenizer makes hundreds of bytes of each byte of text. So what cannot fit the context is refused by its size alone
//! ([`hone_text::Tokenizer::fewest_tokens`]), and of what is left only little is under way at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use hone_api::error::Invalid;
use hone_text::{Effort, Error, FrontEnd};

use crate::error::ApiError;
use crate::places::PLACES;
use crate::state::AppState;

/// Bytes of text that need all places: what is made of them may be hundreds of times as large.
const LARGE: usize = 256 << 10;
/// Bytes of text that are tokenised at once, on the thread that read the request: it takes less than the way to another.
const SMALL: usize = 16 << 10;
/// A text that has not become tokens by then is given up; waiting for a place counts.
const PATIENCE: Duration = Duration::from_secs(5);
/// Contexts full of tokens that are counted, so that who is over the limit hears by how much.
const COUNTED_CONTEXTS: usize = 2;
/// Tokens that `/v1/tokenize` and `/v1/detokenize` take at least, however small the context.
const LISTED: usize = 64 << 10;

/// Why there are no tokens.
#[derive(Debug)]
pub(crate) enum Refused {
    /// All places were taken for too long.
    Busy,
    /// The work ended with an error.
    Failed(Error),
    /// The work panicked.
    Panicked(String),
}

impl Refused {
    /// What a client hears of a prompt; `field` is where it came in.
    pub(crate) fn into_api(self, field: &str, context: u32) -> ApiError {
        match self {
            Self::Failed(Error::TooManyTokens { at_least, .. }) => {
                let message = format!(
                    "This model's maximum context length is {context} tokens; the prompt has \
                     {at_least} or more. Shorten the prompt."
                );
                Invalid::field(field, message).code("context_length_exceeded").into()
            }
            other => other.into_listing(field),
        }
    }

    /// What a client hears of a text that is no prompt and may be longer than the context.
    pub(crate) fn into_listing(self, field: &str) -> ApiError {
        match self {
            Self::Busy => {
                let message = "too many long texts are tokenised at once; send it again";
                let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).code("busy");
                error.retry_after(Duration::from_secs(1))
            }
            Self::Failed(error) => ApiError::field(field, error.to_string()),
            Self::Panicked(cause) => ApiError::internal(cause),
        }
    }
}

/// Tokens of a prompt that are counted before it is refused.
pub(crate) fn counted(context: u32) -> usize {
    (context as usize).saturating_mul(COUNTED_CONTEXTS)
}

/// Tokens that may be listed for who only asks for them.
pub(crate) fn listed(context: u32) -> usize {
    counted(context).max(LISTED)
}

/// Has `work` make tokens of `size` bytes of text, at most `tokens` of them.
///
/// # Errors
/// [`Refused`]. If the future is dropped, the work ends at the next word.
pub(crate) async fn run<T: Send + 'static>(
    state: &AppState,
    size: usize,
    tokens: usize,
    work: impl FnOnce(&FrontEnd, &Effort) -> Result<T, Error> + Send + 'static,
) -> Result<T, Refused> {
    let front_end = Arc::clone(state.engine.front_end());
    let until = Instant::now() + PATIENCE;
    let effort = Effort { tokens, until: Some(until), cancelled: Arc::default() };
    if size <= SMALL {
        return work(&front_end, &effort).map_err(Refused::Failed);
    }
    let _left = Left(Arc::clone(&effort.cancelled));
    let places = if size > LARGE { PLACES } else { 1 };
    let place = Arc::clone(&state.tokenising.0).acquire_many_owned(places);
    let place = match tokio::time::timeout(PATIENCE, place).await {
        Ok(Ok(place)) => place,
        Ok(Err(_)) | Err(_) => return Err(Refused::Busy),
    };
    let task = state.runtime.spawn_blocking(move || {
        let result = work(&front_end, &effort);
        drop(place);
        result
    });
    match task.await {
        Ok(result) => result.map_err(Refused::Failed),
        Err(error) => Err(Refused::Panicked(error.to_string())),
    }
}

/// Tells the work that its client has left.
struct Left(Arc<AtomicBool>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
