//! One request before it runs: who asks, for what, and what it needs.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use hone_model::{KvCache, Model, ModelConfig};

use crate::generation::EventSender;
use crate::prefix::{Namespace, Owner};
use crate::room::Holding;
use crate::slots::Slot;
use crate::{GrowingAnswer, Priority, Request};

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Its answer.
    Answer,
    /// What is computed of its prompt, for those that its caller asks later. It waits as evaluations do.
    WarmUp,
}

/// An admitted request that waits for its place.
#[derive(Debug)]
pub(crate) struct Submitted {
    /// Its number in the order of arrival.
    pub(crate) ticket: u64,
    pub(crate) purpose: Purpose,
    pub(crate) request: Request,
    /// Pinned at submission; `None` is the base.
    pub(crate) slot: Option<Arc<Slot>>,
    /// What is sampled; its limit is `max_tokens`, or what the context leaves.
    pub(crate) answer: GrowingAnswer,
    pub(crate) events: EventSender,
    pub(crate) cancelled: Arc<AtomicBool>,
    pub(crate) arrived: Instant,
    /// Cache bytes for the prompt and all new tokens.
    pub(crate) kv_bytes: usize,
}

impl Submitted {
    pub(crate) fn is_background(&self) -> bool {
        self.request.priority == Priority::Background
    }

    /// Whom its blocks are kept for.
    pub(crate) fn owner(&self) -> Owner {
        let slot = self.slot.as_ref();
        let of_caller = self.purpose == Purpose::WarmUp || !self.is_background();
        Owner {
            adapter: slot.map(|slot| *slot.adapter.content_digest()),
            caller: of_caller.then_some(self.request.party.caller),
        }
    }

    pub(crate) fn namespace(&self, model: &Model) -> Namespace {
        let Owner { adapter, caller } = self.owner();
        let priority = caller.map_or(Priority::Background, |_| Priority::Interactive);
        Namespace::new(model.digest(), adapter.as_ref(), priority, self.request.party)
    }

    /// What it holds with so many tokens, as far as it can need them.
    pub(crate) fn holding(&self, config: &ModelConfig, tokens: usize) -> Holding {
        Holding {
            ticket: self.ticket,
            priority: self.request.priority,
            party: self.request.party,
            bytes: KvCache::bytes_for(config, tokens).min(self.kv_bytes),
        }
    }

    /// What it begins with, and room for so many tokens more than its prompt has.
    pub(crate) fn needs(&self, config: &ModelConfig, more: usize) -> Holding {
        self.holding(config, self.request.prompt.len() + more)
    }
}
