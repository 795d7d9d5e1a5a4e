//! Making an adapter live, and going back.
//!
//! One order for both: have the engine hold the weights (and compute with them what is asked most often, unless it goes back), say
//! in the audit trail what is intended, move the pointer (the only truth about what is live), let the engine follow, say that it
//! is done.
//! A kill between the pointer and the last word is completed at the next start by [`Promoter::recover`].
//! The previous adapter stays loaded, so going back needs no reload.

use std::sync::Arc;
use std::time::Duration;

use fail::fail_point;
use hone_adapters::{LivePointer, Registry};
use hone_api::adapter::AdapterState;
use hone_api::{AdapterId, AdapterRef, UnixMillis};
use hone_engine::Generate;
use hone_store::Store;
use serde_json::{Value, json};

use crate::journal::{Decision, Journal};

/// The audit action before the pointer moves.
const INTENDED: &str = "adapter.intended";
/// The audit action when an intention came to nothing.
const ABANDONED: &str = "adapter.abandoned";
/// A promotion waits so long, at most, until what is asked most often is computed for what it makes live. Then requests pay for it
/// themselves, as they would have without.
const WARM_UP: Duration = Duration::from_secs(10);
/// How far back the last intention is looked for at the start.
const LOOK_BACK: usize = 200;

/// What went wrong. The pointer stays where it was, unless it says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry refused: something else is live, or there is no such adapter.
    #[error(transparent)]
    Registry(#[from] hone_adapters::Error),
    /// The engine could not load it, or it changes nothing.
    #[error(transparent)]
    Engine(#[from] hone_engine::Error),
    /// The store could not note it.
    #[error(transparent)]
    Store(#[from] hone_store::Error),
    /// As many adapters are kept as may be.
    #[error(
        "{0} adapters are kept, and retention.adapters lets no more in; delete some, or raise it"
    )]
    TooMany(usize),
    /// The daemon is stopping.
    #[error("the daemon is stopping; try again when it is back")]
    Stopping(#[from] tokio::task::JoinError),
}

/// Where the pointer shall go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// To this adapter; `None` is the base.
    Promote(Option<AdapterId>),
    /// To the previous one, or to the one given.
    RollBack(Option<Option<AdapterId>>),
}

/// A request to move the pointer.
#[derive(Debug, Clone)]
pub struct PromotionRequest {
    /// Where to.
    pub change: Change,
    /// What must be live now, if given.
    pub expected_live: Option<Option<AdapterId>>,
    /// Who wants it.
    pub actor: String,
    /// Why.
    pub reason: String,
}

impl PromotionRequest {
    /// Whether it asks for what is so already: that is no event, and leaves no trace.
    fn changes_nothing(&self, now: &LivePointer) -> bool {
        let is_expected = self.expected_live.is_none_or(|expected| expected == now.live);
        let asks_for_it = match self.change {
            Change::Promote(to) | Change::RollBack(Some(to)) => to == now.live,
            Change::RollBack(None) => false,
        };
        is_expected && asks_for_it
    }
}

/// Moves the pointer and takes the engine along; one request at a time.
pub struct Promoter {
    registry: Arc<Registry>,
    engine: Arc<dyn Generate>,
    journal: Journal,
    one_at_a_time: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Promoter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Promoter").field("live", &self.registry.live()).finish_non_exhaustive()
    }
}

impl Promoter {
    /// For this registry and engine.
    pub fn new(registry: Arc<Registry>, engine: Arc<dyn Generate>, journal: Journal) -> Self {
        Self { registry, engine, journal, one_at_a_time: tokio::sync::Mutex::new(()) }
    }

    /// Executes a request. What it asks for and already is costs nothing and changes nothing.
    ///
    /// # Errors
    /// [`Error`]; requests go on being answered by what was live.
    pub async fn execute(&self, request: PromotionRequest) -> Result<LivePointer, Error> {
        let _turn = self.one_at_a_time.lock().await;
        let old = self.registry.live();
        let to = match request.change {
            Change::Promote(to) | Change::RollBack(Some(to)) => to,
            Change::RollBack(None) => old.previous,
        };
        if request.changes_nothing(&old) {
            return Ok(old);
        }
        // What is refused before anything moves is no event either.
        if request.change == Change::RollBack(None) && old.live == old.previous {
            return Err(hone_adapters::Error::NothingToRollBack.into());
        }
        self.registry.check_move(to, request.expected_live)?;
        match to {
            Some(id) => {
                self.load(id).await?;
            }
            None => self.load_base().await?,
        }
        // Going back cannot wait.
        if let Change::Promote(_) = request.change {
            self.warm_up(to).await?;
        }
        let intended = Self::decision(INTENDED, &request, to, old.epoch);
        match request.change {
            Change::Promote(_) => self.journal.audit(intended).await?,
            // Going back cannot wait until the disk has room.
            Change::RollBack(_) => self.journal.audit_or_owe(intended).await,
        }
        fail_point!("audit.intend");
        let moved = self.move_pointer(&request).await;
        let now = self.registry.live();
        let end = match &moved {
            Ok(new) => Self::decision(done(request.change), &request, new.live, new.epoch),
            Err(error) if now.epoch > old.epoch => {
                let reason = format!("{}; the engine does not follow: {error}", request.reason);
                let request = PromotionRequest { reason, ..request.clone() };
                Self::decision(done(request.change), &request, now.live, now.epoch)
            }
            Err(error) => {
                let request = PromotionRequest { reason: error.to_string(), ..request.clone() };
                Self::decision(ABANDONED, &request, to, old.epoch)
            }
        };
        self.journal.audit_or_owe(end).await;
        fail_point!("audit.done");
        moved
    }

    async fn move_pointer(&self, request: &PromotionRequest) -> Result<LivePointer, Error> {
        let (registry, engine) = (self.registry.clone(), self.engine.clone());
        let (expected, change) = (request.expected_live, request.change);
        let moved = blocking(move || match change {
            Change::Promote(to) => registry.promote(to, expected, UnixMillis::now()),
            Change::RollBack(to) => {
                let is_held = |id| engine.is_loaded(id);
                registry.rollback(to, expected, UnixMillis::now(), &is_held)
            }
        });
        let new = moved.await??;
        self.sync_engine(new).await?;
        fail_point!("slots.swapped");
        Ok(new)
    }

    /// Has the engine hold an adapter's weights, and proves that they are the verified ones, for this
    /// base, and change something.
    ///
    /// # Errors
    /// The registry's or the engine's, which holds nothing then.
    pub async fn load(&self, id: AdapterId) -> Result<Option<hone_engine::LoadedAdapter>, Error> {
        if self.engine.is_loaded(id) {
            return Ok(None);
        }
        let (engine, registry) = (self.engine.clone(), self.registry.clone());
        let loaded = blocking(move || -> Result<_, Error> {
            registry.with_verified(id, |dir| Ok(engine.load(id, dir)?))
        });
        Ok(Some(loaded.await??))
    }

    /// Has the engine compute for what shall serve what is asked most often of what does.
    async fn warm_up(&self, id: Option<AdapterId>) -> Result<(), Error> {
        let engine = self.engine.clone();
        Ok(blocking(move || engine.warm_up(id, WARM_UP)).await?)
    }

    async fn load_base(&self) -> Result<(), Error> {
        let engine = self.engine.clone();
        Ok(blocking(move || engine.load_base()).await??)
    }

    async fn sync_engine(&self, pointer: LivePointer) -> Result<(), Error> {
        let engine = self.engine.clone();
        let set = blocking(move || engine.set_live(pointer.live, pointer.epoch)).await?;
        self.keep(pointer);
        Ok(set?)
    }

    /// Going back must not wait for the disk.
    fn keep(&self, pointer: LivePointer) {
        let ids: Vec<AdapterId> = pointer.live.into_iter().chain(pointer.previous).collect();
        self.engine.keep(&ids);
    }

    /// At the start: the engine holds what the pointer names, and what may be asked for by name. An
    /// adapter that no longer loads is left out; if it is the live one, the pointer goes back.
    ///
    /// # Errors
    /// The store's or the disk's.
    pub async fn recover(&self, store: &Store) -> Result<LivePointer, Error> {
        self.complete_last_intention(store).await?;
        self.keep(self.registry.live());
        for view in self.registry.list() {
            if self.is_wanted(view.id)
                && let Err(error) = self.load(view.id).await
            {
                tracing::error!(adapter = %view.id, %error, "an adapter does not load");
            }
        }
        let mut pointer = self.registry.live();
        if let Some(id) = pointer.live.filter(|id| !self.engine.is_loaded(*id)) {
            let previous = pointer.previous.filter(|id| self.engine.is_loaded(*id));
            let registry = self.registry.clone();
            let back =
                blocking(move || registry.promote(previous, Some(Some(id)), UnixMillis::now()));
            pointer = back.await??;
            let request = PromotionRequest {
                change: Change::RollBack(Some(previous)),
                expected_live: None,
                actor: "daemon".to_owned(),
                reason: format!("{id} does not load any more"),
            };
            self.note(done(request.change), &request, pointer.live, pointer.epoch).await?;
        }
        self.sync_engine(pointer).await?;
        Ok(pointer)
    }

    async fn complete_last_intention(&self, store: &Store) -> Result<(), Error> {
        let actions = store.audit(LOOK_BACK).await?;
        let pointer = self.registry.live();
        let trail = actions.iter().map(|entry| (&*entry.action, &entry.data));
        let Some(open) = untold(trail, pointer.epoch) else { return Ok(()) };
        let moved = pointer.epoch > open.epoch;
        let change =
            if open.rollback { Change::RollBack(None) } else { Change::Promote(pointer.live) };
        let action = if moved { done(change) } else { ABANDONED };
        let request = PromotionRequest {
            change,
            expected_live: None,
            actor: "daemon".to_owned(),
            reason: "completed at the start: the daemon ended before it was written down"
                .to_owned(),
        };
        self.note(action, &request, pointer.live, pointer.epoch).await
    }

    async fn note(
        &self,
        action: &'static str,
        request: &PromotionRequest,
        to: Option<AdapterId>,
        epoch: u64,
    ) -> Result<(), Error> {
        Ok(self.journal.audit(Self::decision(action, request, to, epoch)).await?)
    }

    fn decision(
        action: &'static str,
        request: &PromotionRequest,
        to: Option<AdapterId>,
        epoch: u64,
    ) -> Decision {
        let name =
            |id: Option<AdapterId>| id.map_or_else(|| "base".to_owned(), |id| id.to_string());
        let rollback = matches!(request.change, Change::RollBack(_));
        Decision {
            actor: request.actor.clone(),
            action,
            subject: name(to),
            reason: request.reason.clone(),
            data: json!({ "epoch": epoch, "to": name(to), "rollback": rollback,
                "expected_live": request.expected_live.map(name) }),
        }
    }

    /// Whether an adapter's weights shall be in memory: what may be asked for by name, which is
    /// everything that was not refused. `promotion.keep` bounds how many that are. Where each is a model of its own, it is
    /// what serves.
    fn is_wanted(&self, id: AdapterId) -> bool {
        if !self.engine.abilities().adapters_side_by_side {
            return self.registry.live().live == Some(id);
        }
        let view = self.registry.get(&AdapterRef::Id(id));
        view.is_ok_and(|view| !matches!(view.state, AdapterState::Staged | AdapterState::Rejected))
    }

    /// Forgets an adapter that was refused or deleted.
    ///
    /// # Errors
    /// The daemon is stopping.
    pub async fn unload(&self, id: AdapterId) -> Result<(), Error> {
        let engine = self.engine.clone();
        blocking(move || engine.unload(id)).await?;
        Ok(())
    }
}

const fn done(change: Change) -> &'static str {
    match change {
        Change::Promote(_) => "adapter.promoted",
        Change::RollBack(_) => "adapter.rolled_back",
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, tokio::task::JoinError> {
    tokio::task::spawn_blocking(work).await
}

/// A request of which the audit trail does not say how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Open {
    /// The pointer's epoch before it.
    epoch: u64,
    rollback: bool,
}

/// The last intention in an audit trail (newest first), if nothing says how it ended, or a move to this epoch
/// that the trail does not know: the store refused its rows, and only going back does not wait for them.
fn untold<'a>(trail: impl Iterator<Item = (&'a str, &'a Value)>, epoch: u64) -> Option<Open> {
    for (action, data) in trail {
        let told = data["epoch"].as_u64();
        match action {
            INTENDED => {
                let rollback = data["rollback"].as_bool().unwrap_or(false);
                return Some(Open { epoch: told?, rollback });
            }
            ABANDONED | "adapter.promoted" | "adapter.rolled_back" => {
                let told = told.filter(|told| *told < epoch)?;
                return Some(Open { epoch: told, rollback: true });
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
