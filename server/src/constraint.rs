//! What an answer is held to, made into a grammar: on few threads, with a deadline.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::http::StatusCode;
use hone_api::error::Invalid;
use hone_api::structured::{Asked, Constraint};
use hone_text::{Error, FrontEnd, Grammar, JsonSchema, grammar};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::error::ApiError;
use crate::state::AppState;
use crate::tools::ToolSource;

/// Grammars that are made at once.
const PLACES: usize = 2;
/// A grammar that is not made by then is given up; waiting for a place counts. The work itself is bounded, so that the
/// place comes free soon.
const PATIENCE: Duration = Duration::from_secs(5);
/// Grammars that are kept for requests that ask for the same: clients send the same tools again and again.
const KEPT: usize = 32;

/// The places, and the grammars that were made last.
#[derive(Debug)]
pub(crate) struct Grammars {
    places: Arc<Semaphore>,
    kept: Arc<Mutex<VecDeque<(blake3::Hash, Made)>>>,
}

impl Default for Grammars {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(PLACES)), kept: Arc::default() }
    }
}

/// A grammar, and what it does not apply of what was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) grammar: Grammar,
    /// What it was made of, from which it can be made again.
    pub(crate) lark: Arc<str>,
    pub(crate) ignored: Vec<String>,
}

/// What an answer's text is held to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Source {
    /// The whole grammar.
    pub(crate) lark: String,
    /// The same as one rule; `None`: it is a grammar of the client's own.
    pub(crate) rule: Option<String>,
    /// Where it came in.
    pub(crate) field: String,
    /// What was asked for and says nothing.
    pub(crate) ignored: Vec<String>,
}

impl Source {
    /// The grammar of a constraint.
    ///
    /// # Errors
    /// A schema that is larger or deeper than one may be; a grammar in another language.
    pub(crate) fn of(asked: Asked) -> Result<Self, Invalid> {
        let Asked { field, constraint } = asked;
        let (rule, ignored) = match constraint {
            Constraint::Grammar(lark) if lark.contains("::=") => {
                let message = format!(
                    "`{field}` must be a grammar in Lark (`start: \"yes\" | \"no\"`), not in GBNF or EBNF"
                );
                return Err(Invalid::field(&field, message));
            }
            Constraint::Grammar(lark) => {
                return Ok(Self { lark, rule: None, field, ignored: Vec::new() });
            }
            Constraint::Regex(pattern) => (grammar::regex_rule(&pattern), Vec::new()),
            Constraint::Choice(choices) => (grammar::choice_rule(&choices), Vec::new()),
            Constraint::JsonObject => schema(&field, json!({"type": "object"}))?,
            Constraint::Schema(value) => schema(&field, value)?,
        };
        Ok(Self { lark: format!("start: {rule}\n"), rule: Some(rule), field, ignored })
    }

    fn make(&self, front_end: &FrontEnd) -> Result<Made, Invalid> {
        let grammar = front_end.grammar(&self.lark);
        let grammar = grammar.map_err(|error| refused(&self.field, &error))?;
        let lark = self.lark.as_str().into();
        Ok(Made { grammar, lark, ignored: self.ignored.clone() })
    }
}

fn schema(field: &str, value: Value) -> Result<(String, Vec<String>), Invalid> {
    let schema = JsonSchema::new(value).map_err(|error| refused(field, &error))?;
    let remarks = schema.remarks().iter().map(|format| format!("{field} (format {format})"));
    Ok((schema.lark(), remarks.collect()))
}

/// What a client hears of a grammar that is none.
pub(crate) fn refused(field: &str, error: &Error) -> Invalid {
    Invalid::field(field, format!("`{field}` cannot be applied: {error}"))
}

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

impl Grammars {
    fn find(&self, key: blake3::Hash) -> Option<Made> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, made) = kept.iter().find(|(kept, _)| *kept == key)?;
        // What one answer's grammar learns on its way is not for others: it has bounds.
        Some(Made { grammar: made.grammar.fresh(), ..made.clone() })
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
