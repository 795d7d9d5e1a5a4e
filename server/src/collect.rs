//! Whole answers: waits for all events, then answers once.

use actix_web::{HttpResponse, HttpResponseBuilder};
use futures_util::StreamExt;
use hone_engine::Event;
use serde::Serialize;

use crate::error::ApiError;
use crate::generate::{Head, Run};
use crate::record::Recorder;

/// Runs all answers to their end and makes one body of them. It is sent when the interaction is on
/// disk, so that whoever has the id finds what it names.
pub(crate) async fn respond<T: Serialize>(
    run: Run,
    body: impl FnOnce(&Head, &Recorder) -> T,
) -> Result<HttpResponse, ApiError> {
    let Run { head, mut events, mut recorder } = run;
    let (cut, deadline) = (recorder.state.gate.cut.clone(), recorder.ask.deadline);
    loop {
        let next = tokio::select! {
            biased;
            () = cut.cancelled() => return Err(ApiError::shutting_down()),
            () = deadline.passed() => return Err(recorder.overdue()),
            next = events.next() => next,
        };
        let Some((index, event)) = next else { break };
        recorder.push(index, &event);
        match event {
            Event::Failed(message) => return Err(ApiError::failed(&message)),
            Event::Displaced { retry_after } => return Err(recorder.displaced(retry_after)),
            _ => {}
        }
    }
    let body = body(&head, &recorder);
    recorder.commit().await;
    let mut response = HttpResponse::Ok();
    set_headers(&mut response, &head);
    Ok(response.json(body))
}

/// The headers that every answer has.
pub(crate) fn set_headers(response: &mut HttpResponseBuilder, head: &Head) {
    response.insert_header(("x-hone-adapter", head.adapter.as_str()));
    name_ignored(response, &head.ignored);
}

/// Names what was accepted and did nothing.
pub(crate) fn name_ignored(response: &mut HttpResponseBuilder, ignored: &str) {
    if !ignored.is_empty() {
        // Names come from the client's JSON: what a header cannot hold is replaced.
        let plain = |c: char| if (' '..='~').contains(&c) { c } else { '?' };
        let ignored: String = ignored.chars().map(plain).take(2000).collect();
        response.insert_header(("x-hone-ignored", ignored));
    }
}
