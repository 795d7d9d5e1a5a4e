//! What is asked most often is computed for an adapter before it serves.
//!
//! What is kept of prompts belongs to the adapter that computed it. So with another one live, everybody's first request would
//! pay its whole prompt again: the system prompt, the conversation so far. Instead the beginnings that several requests
//! had in common are computed for the one that comes while the old one still serves, as evaluations are: in what people leave.

use std::time::{Duration, Instant};

use hone_api::sampling_params::SamplingParams;
use hone_api::{AdapterId, InteractionId};
use tokio::sync::oneshot;

use crate::engine::Engine;
use crate::prefix::Popular;
use crate::shared::Question;
use crate::submitted::Purpose;
use crate::{Generation, Party, Priority, Request, Target};

/// How often it is looked whether they are done. Steps take milliseconds.
const LOOK: Duration = Duration::from_millis(1);

impl Engine {
    /// Computes for one that shall serve what is asked most often of the one that does. What is not done in time is given up.
    pub(crate) fn compute_popular(&self, id: Option<AdapterId>, patience: Duration) {
        let until = Instant::now() + patience;
        let popular = self.popular(id, until);
        if popular.is_empty() {
            return;
        }
        let (began, prefixes) = (Instant::now(), popular.len());
        let tokens: usize = popular.iter().map(|one| one.tokens.len()).sum();
        // One that is refused is computed when it is asked for: the queue is full, or the engine stops.
        let asked = popular.into_iter().map(|one| self.admit(beginning(id, one), Purpose::WarmUp));
        let mut left: Vec<Generation> = asked.filter_map(Result::ok).collect();
        while !left.is_empty() && Instant::now() < until {
            std::thread::sleep(LOOK);
            left.retain_mut(|one| !one.has_ended());
        }
        let (seconds, given_up) = (began.elapsed().as_secs_f64(), left.len());
        let adapter = id.map_or_else(|| "base".to_owned(), |id| id.to_string());
        tracing::info!(%adapter, prefixes, tokens, seconds, given_up, "computed what is asked most often");
    }

    /// Asks the worker, between two of its steps, what is asked most often.
    fn popular(&self, id: Option<AdapterId>, until: Instant) -> Vec<Popular> {
        let slot = id.map(|id| self.shared.slots.get(id));
        let adapter = match slot {
            Some(None) => return Vec::new(),
            Some(Some(slot)) => Some(*slot.adapter.content_digest()),
            None => None,
        };
        let (reply, mut answer) = oneshot::channel();
        {
            let mut inbox = self.shared.inbox();
            if inbox.stop {
                return Vec::new();
            }
            inbox.questions.push(Question { adapter, reply });
        }
        self.shared.wake();
        loop {
            match answer.try_recv() {
                Ok(popular) => return popular,
                Err(oneshot::error::TryRecvError::Empty) if Instant::now() < until => {
                    std::thread::sleep(LOOK);
                }
                Err(_) => return Vec::new(),
            }
        }
    }
}

/// A request that computes a beginning and asks nothing.
fn beginning(id: Option<AdapterId>, popular: Popular) -> Request {
    Request {
        id: InteractionId::new(),
        prompt: popular.tokens,
        sampling: SamplingParams { max_tokens: 0, ..SamplingParams::default() },
        target: id.map_or(Target::Base, Target::Exact),
        echo_from: None,
        grammar: None,
        shown: Vec::new(),
        priority: Priority::Background,
        party: Party { caller: popular.caller, user: 0 },
    }
}
