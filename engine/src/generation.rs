//! The caller's end of a request: a stream of events whose drop is the cancellation.
//!
//! Channels are unbounded, so a client that stops reading never blocks the worker; `max_tokens`
//! bounds what can pile up.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use hone_api::AdapterId;
use tokio::sync::mpsc;

use crate::Event;

/// A request on its way. Read it to the end, or drop it: then its place is free within one step.
pub struct Generation {
    /// The adapter that answers, from the first token to the last; `None` is the base.
    pub adapter: Option<AdapterId>,
    /// SHA-256 of that adapter's weights, hex.
    pub adapter_digest: Option<String>,
    events: mpsc::UnboundedReceiver<Event>,
    on_drop: Option<Box<dyn FnOnce() + Send + Sync>>,
    ended: bool,
}

/// The engine's end: events in order.
pub type EventSender = mpsc::UnboundedSender<Event>;

impl Generation {
    /// Both ends of a request. `on_drop` runs if the stream is dropped before its last event.
    pub fn channel(
        adapter: Option<AdapterId>,
        adapter_digest: Option<String>,
        on_drop: impl FnOnce() + Send + Sync + 'static,
    ) -> (EventSender, Self) {
        let (sender, events) = mpsc::unbounded_channel();
        let on_drop: Box<dyn FnOnce() + Send + Sync> = Box::new(on_drop);
        let on_drop = Some(on_drop);
        (sender, Self { adapter, adapter_digest, events, on_drop, ended: false })
    }

    /// The next event; `None` after the last one.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    /// As [`Self::next`], for threads without a runtime. Must not be called inside of one.
    pub fn blocking_next(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        let event = self.events.blocking_recv();
        self.pass(event)
    }

    /// Reads what has come so far; whether the last event was among it.
    pub(crate) fn has_ended(&mut self) -> bool {
        while !self.ended {
            let event = match self.events.try_recv() {
                Ok(event) => Some(event),
                Err(mpsc::error::TryRecvError::Disconnected) => None,
                Err(mpsc::error::TryRecvError::Empty) => return false,
            };
            self.pass(event);
        }
        true
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.events.poll_recv(context).map(|event| self.pass(event))
    }

    fn pass(&mut self, event: Option<Event>) -> Option<Event> {
        // A sender that is gone without a last word is an engine that is gone.
        let event = event.unwrap_or_else(|| {
            Event::Failed("the engine stopped before the answer was complete; try again".to_owned())
        });
        if matches!(event, Event::Finished { .. } | Event::Failed(_) | Event::Displaced { .. }) {
            self.ended = true;
            self.on_drop = None;
        }
        Some(event)
    }
}

impl Stream for Generation {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll(context)
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if let Some(cancel) = self.on_drop.take() {
            cancel();
        }
    }
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generation").field("adapter", &self.adapter).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn watched() -> (EventSender, Generation, Arc<AtomicBool>) {
        let cancelled = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&cancelled);
        let (sender, generation) =
            Generation::channel(None, None, move || flag.store(true, Ordering::Relaxed));
        (sender, generation, cancelled)
    }

    #[test]
    fn dropping_before_the_end_cancels() {
        let (_sender, generation, cancelled) = watched();
        drop(generation);
        assert!(cancelled.load(Ordering::Relaxed));
    }

    #[test]
    fn dropping_after_the_end_does_not() {
        let (sender, mut generation, cancelled) = watched();
        sender.send(Event::Failed("x".to_owned())).unwrap();
        assert!(generation.blocking_next().is_some());
        assert_eq!(generation.blocking_next(), None);
        drop(generation);
        assert!(!cancelled.load(Ordering::Relaxed));
    }

    #[test]
    fn a_lost_engine_is_a_failure_and_not_an_end() {
        let (sender, mut generation, _) = watched();
        drop(sender);
        assert!(matches!(generation.blocking_next(), Some(Event::Failed(_))));
        assert_eq!(generation.blocking_next(), None);
    }
}
