//! Streamed answers: engine events become server-sent events.
//!
//! Dropping the body (the client left) drops the generations, which frees their places within one
//! step, and the recorder, which writes what there is as cancelled.

use std::convert::Infallible;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::Bytes;
use futures_util::stream::SelectAll;
use futures_util::{FutureExt, StreamExt, stream};
use hone_api::chat::{FinishReason, Usage};
use hone_engine::Event;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::collect::set_headers;
use crate::deadline::Deadline;
use crate::error::ApiError;
use crate::generate::{Run, Tagged};
use crate::record::Recorder;

/// A comment line after so much silence keeps proxies from closing the connection.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// One server-sent event.
#[derive(Debug, Default, utoipa::ToSchema)]
pub(crate) struct SseEvent {
    /// JSON, or `[DONE]`.
    data: String,
    /// Its kind; not for completions.
    event: Option<String>,
    /// Only for cycles: for `Last-Event-ID`.
    id: Option<String>,
}

/// Server-sent events on their way out.
#[derive(Debug, Default)]
pub(crate) struct Sse(Vec<u8>);

impl Sse {
    fn send(&mut self, event: &SseEvent) {
        let SseEvent { data, event, id } = event;
        for (field, value) in
            [("id", id.as_deref()), ("event", event.as_deref()), ("data", Some(data.as_str()))]
        {
            let Some(value) = value else { continue };
            for part in [field, ": ", value, "\n"] {
                self.0.extend_from_slice(part.as_bytes());
            }
        }
        self.0.push(b'\n');
    }

    /// One event whose data is a JSON object.
    pub(crate) fn data(&mut self, value: &impl Serialize) {
        self.send(&SseEvent { data: written(value), ..SseEvent::default() });
    }

    /// An event with an id and a name.
    pub(crate) fn event(&mut self, id: u64, name: &str, value: &impl Serialize) {
        let (id, event) = (Some(id.to_string()), Some(name.to_owned()));
        self.send(&SseEvent { data: written(value), event, id });
    }

    /// An event with a name.
    pub(crate) fn named(&mut self, name: &str, value: &impl Serialize) {
        let event = Some(name.to_owned());
        self.send(&SseEvent { data: written(value), event, id: None });
    }

    /// A comment, which clients skip.
    pub(crate) fn comment(&mut self) {
        self.0.extend_from_slice(b": keep-alive\n\n");
    }

    /// The end of OpenAI's streams.
    fn done(&mut self) {
        self.send(&SseEvent { data: "[DONE]".to_owned(), ..SseEvent::default() });
    }

    pub(crate) fn take(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.0))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// JSON on one line.
fn written(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| {
        tracing::error!(%error, "a chunk could not be written");
        String::new()
    })
}

/// How an endpoint words its chunks.
pub(crate) trait Frames {
    /// The answer `index` begins.
    fn open(&mut self, out: &mut Sse, index: usize);
    /// Something new of the answer `index`: a token, or its prompt's log-probabilities.
    fn event(&mut self, out: &mut Sse, index: usize, event: &Event);
    /// The answer `index` is complete.
    fn finish(&mut self, out: &mut Sse, index: usize, reason: FinishReason);
    /// All are complete; only called if the client asked for the usage.
    fn usage(&mut self, out: &mut Sse, usage: Usage);
    /// All is said and on disk.
    fn end(&mut self, out: &mut Sse, _usage: Usage) {
        out.done();
    }
    /// It ends here, incomplete.
    fn fail(&mut self, out: &mut Sse, error: &ApiError) {
        out.data(error.body());
    }
}

enum Phase {
    Opening,
    Running,
    /// All is said; the interaction is being committed.
    Closing,
    Closed,
}

struct Live<F> {
    phase: Phase,
    /// What came before the head was sent.
    first: Option<(usize, Event)>,
    events: SelectAll<Tagged>,
    recorder: Option<Recorder>,
    frames: F,
    include_usage: bool,
    out: Sse,
    silence: tokio::time::Interval,
    cut: CancellationToken,
    deadline: Deadline,
}

/// Answers with a stream of server-sent events. It begins with the answer, so that a request that gives its place in
/// the queue up is told so by its status; after a while without either it begins all the same.
///
/// # Errors
/// 429: the place was given up. 503: the daemon's drain time is over. 504: the client's time is.
pub(crate) async fn respond<F: Frames + 'static>(
    run: Run,
    frames: F,
    include_usage: bool,
) -> Result<HttpResponse, ApiError> {
    let Run { head, mut events, mut recorder } = run;
    let (cut, deadline) = (recorder.state.gate.cut.clone(), recorder.ask.deadline);
    let first = tokio::select! {
        biased;
        () = cut.cancelled() => return Err(ApiError::shutting_down()),
        () = deadline.passed() => return Err(recorder.overdue()),
        first = tokio::time::timeout(KEEP_ALIVE, events.next()) => first.ok().flatten(),
    };
    if let Some((_, Event::Displaced { retry_after })) = first {
        return Err(recorder.displaced(retry_after));
    }
    let live = Live {
        phase: Phase::Opening,
        first,
        events,
        recorder: Some(recorder),
        frames,
        include_usage,
        out: Sse::default(),
        silence: silence(),
        cut,
        deadline,
    };
    let mut response = event_stream();
    set_headers(&mut response, &head);
    Ok(response.streaming(stream::unfold(live, |mut live| async move {
        live.next().await.map(|bytes| (Ok::<_, Infallible>(bytes), live))
    })))
}

/// The head of a stream of events.
pub(crate) fn event_stream() -> actix_web::HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .content_type("text/event-stream; charset=utf-8")
        .insert_header(("cache-control", "no-cache"))
        .insert_header(("x-accel-buffering", "no"));
    response
}

/// Ticks when a keep-alive is due.
pub(crate) fn silence() -> tokio::time::Interval {
    let mut silence =
        tokio::time::interval_at(tokio::time::Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
    silence.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    silence
}

impl<F: Frames> Live<F> {
    async fn next(&mut self) -> Option<Bytes> {
        match self.phase {
            Phase::Opening => {
                let answers = self.recorder.as_ref().map_or(0, |recorder| recorder.drafts.len());
                for index in 0..answers {
                    self.frames.open(&mut self.out, index);
                }
                self.phase = Phase::Running;
                if let Some(first) = self.first.take() {
                    self.take(Some(first));
                }
            }
            Phase::Running => self.run().await,
            Phase::Closing => {
                // Who has read the end finds the interaction.
                if let Some(recorder) = self.recorder.take() {
                    let usage = recorder.usage();
                    recorder.commit().await;
                    self.frames.end(&mut self.out, usage);
                }
                self.phase = Phase::Closed;
            }
            Phase::Closed => return None,
        }
        Some(self.out.take())
    }

    /// Waits until there is something to send.
    async fn run(&mut self) {
        while self.out.is_empty() && matches!(self.phase, Phase::Running) {
            tokio::select! {
                biased;
                () = self.cut.cancelled() => self.fail(&ApiError::shutting_down()),
                () = self.deadline.passed() => self.give_up(),
                next = self.events.next() => self.take(next),
                _ = self.silence.tick() => self.out.comment(),
            }
            // What is there already goes out in the same write.
            while matches!(self.phase, Phase::Running)
                && let Some(next) = self.events.next().now_or_never()
            {
                self.take(next);
            }
        }
        self.silence.reset();
    }

    fn take(&mut self, next: Option<(usize, Event)>) {
        let Some((index, event)) = next else {
            if self.include_usage
                && let Some(recorder) = &self.recorder
            {
                self.frames.usage(&mut self.out, recorder.usage());
            }
            self.phase = Phase::Closing;
            return;
        };
        if let Some(recorder) = &mut self.recorder {
            recorder.push(index, &event);
        }
        match event {
            Event::Finished { reason, .. } => self.frames.finish(&mut self.out, index, reason),
            Event::Failed(message) => self.fail(&ApiError::failed(&message)),
            Event::Displaced { retry_after } => {
                let recorder = self.recorder.as_mut();
                let error = recorder.map_or_else(
                    || ApiError::displaced(retry_after),
                    |recorder| recorder.displaced(retry_after),
                );
                self.fail(&error);
            }
            event => self.frames.event(&mut self.out, index, &event),
        }
    }

    /// The client has no use for what would still come.
    fn give_up(&mut self) {
        if let Some(error) = self.recorder.as_mut().map(Recorder::overdue) {
            self.fail(&error);
        }
    }

    /// Ends the stream with an error, which SDKs raise.
    fn fail(&mut self, error: &ApiError) {
        self.frames.fail(&mut self.out, error);
        self.events.clear();
        self.recorder = None;
        self.phase = Phase::Closed;
    }
}
