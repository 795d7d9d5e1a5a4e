//! What the daemon tells about itself, so that it can be told again after a restart: each cycle's
//! row and events, and one audit row for each decision.
//!
//! A follower of a cycle reads the stored events and is woken when there are more. It can neither
//! miss one nor see one that a crash would take back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fail::fail_point;
use futures_util::Stream;
use hone_api::cycle::{CycleEvent, CycleStatus, CycleView, Step};
use hone_api::erasure::ErasureView;
use hone_api::{CycleId, UnixMillis};
use hone_store::{AuditEntry, Result, Store};
use serde_json::{Value, json};
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::sync::CancellationToken;

/// Kinds of events after which there are no more.
const LAST: [&str; 3] = ["finished", "failed", "cancelled"];

/// How long until rows that the store refused are offered again.
const AGAIN: Duration = Duration::from_secs(5);

/// The store's tables for cycles and audit, with a bell.
#[derive(Debug, Clone)]
pub struct Journal {
    store: Store,
    bell: watch::Sender<u64>,
    /// Rows of what is done already and that the store has refused so far, oldest first.
    owed: Arc<Mutex<VecDeque<AuditEntry>>>,
    owing: Arc<Notify>,
}

/// A decision, for the audit trail.
#[derive(Debug, Clone)]
pub struct Decision {
    /// `daemon`, `schedule`, `operator`.
    pub actor: String,
    /// What was done: `adapter.promoted`.
    pub action: &'static str,
    /// To what: an id.
    pub subject: String,
    /// Why.
    pub reason: String,
    /// Figures.
    pub data: Value,
}

impl Journal {
    /// A journal in this store.
    pub fn new(store: Store) -> Self {
        let (owed, owing) = (Arc::default(), Arc::default());
        Self { store, bell: watch::Sender::new(0), owed, owing }
    }

    /// Stores a cycle that somebody asked for, and notes who, in one commit.
    ///
    /// # Errors
    /// The store's.
    pub async fn begin(&self, cycle: &CycleView, asked: Decision) -> Result<()> {
        self.pay().await?;
        self.store.insert_asked_cycle(cycle.clone(), entry(asked)).await
    }

    /// Writes where a cycle stands.
    ///
    /// # Errors
    /// The store's.
    pub async fn save(&self, cycle: &CycleView) -> Result<()> {
        self.store.update_cycle(cycle.clone()).await?;
        fail_point!("cycle.save");
        self.ring();
        Ok(())
    }

    /// Tells one event of a cycle.
    ///
    /// # Errors
    /// The store's.
    pub async fn tell(
        &self,
        (cycle_id, step): (CycleId, Step),
        kind: &str,
        message: impl Into<String>,
        data: Value,
    ) -> Result<()> {
        self.store.append_event(event((cycle_id, step), kind, message, data)).await?;
        self.ring();
        Ok(())
    }

    /// Writes the last row of a cycle, tells its last event and notes the decision, in one commit: a kill
    /// leaves all of it or nothing.
    ///
    /// # Errors
    /// The store's.
    pub async fn end(
        &self,
        cycle: &CycleView,
        kind: &str,
        message: impl Into<String>,
        data: Value,
        decision: Decision,
    ) -> Result<()> {
        self.pay().await?;
        let last = event((cycle.id, cycle.step), kind, message, data);
        self.store.end_cycle(cycle.clone(), last, entry(decision)).await?;
        self.ring();
        Ok(())
    }

    /// Notes a decision for good.
    ///
    /// # Errors
    /// The store's.
    pub async fn audit(&self, decision: Decision) -> Result<()> {
        self.pay().await?;
        self.store.append_audit(entry(decision)).await
    }

    /// The same, unless it is noted already: for what is done again after a kill.
    ///
    /// # Errors
    /// The store's.
    pub async fn audit_once(&self, decision: Decision) -> Result<()> {
        self.pay().await?;
        self.store.append_audit_once(entry(decision)).await
    }

    /// Notes that an erasure is done, in one commit with its receipt.
    ///
    /// # Errors
    /// The store's.
    pub async fn end_erasure(&self, receipt: ErasureView, decision: Decision) -> Result<()> {
        self.pay().await?;
        self.store.finish_erasure(receipt, entry(decision)).await
    }

    /// Notes what is done already, or must not wait: what the store refuses now is offered to it again until
    /// it takes it.
    pub async fn audit_or_owe(&self, decision: Decision) {
        self.owed.lock().await.push_back(entry(decision));
        if let Err(error) = self.pay().await {
            tracing::error!(%error, "the audit trail lags behind: what is owed is written when it can be");
            self.owing.notify_one();
        }
    }

    /// Offers what is owed to the store until it takes it, or until `stop`.
    pub async fn settle(self, stop: CancellationToken) {
        while stop.run_until_cancelled(self.owing.notified()).await.is_some() {
            while self.pay().await.is_err() {
                if stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await.is_none() {
                    break;
                }
            }
        }
    }

    /// Writes what is owed, oldest first.
    async fn pay(&self) -> Result<()> {
        let mut owed = self.owed.lock().await;
        while let Some(oldest) = owed.front() {
            self.store.append_audit(oldest.clone()).await?;
            owed.pop_front();
        }
        Ok(())
    }

    /// The events of a cycle behind `after`, as they come, to its end.
    pub fn follow(
        &self,
        cycle: CycleId,
        after: u64,
    ) -> impl Stream<Item = Result<CycleEvent>> + Send + use<> {
        struct Follower {
            journal: Journal,
            bell: watch::Receiver<u64>,
            ready: VecDeque<CycleEvent>,
            after: u64,
            ended: bool,
        }
        let follower = Follower {
            journal: self.clone(),
            bell: self.bell.subscribe(),
            ready: VecDeque::new(),
            after,
            ended: false,
        };
        futures_util::stream::try_unfold(follower, move |mut follower| async move {
            loop {
                if let Some(event) = follower.ready.pop_front() {
                    follower.after = event.sequence;
                    follower.ended = LAST.contains(&event.kind.as_str());
                    return Ok(Some((event, follower)));
                }
                if follower.ended {
                    return Ok(None);
                }
                follower.bell.mark_unchanged();
                let store = &follower.journal.store;
                // The row first: it is over no sooner than its last event is there.
                let over = store.cycle(cycle).await?.is_none_or(|cycle| is_over(&cycle));
                follower.ready = store.events(cycle, follower.after).await?.into();
                let nothing_new = follower.ready.is_empty();
                if nothing_new && (over || follower.bell.changed().await.is_err()) {
                    return Ok(None);
                }
            }
        })
    }

    fn ring(&self) {
        self.bell.send_modify(|count| *count += 1);
    }
}

fn entry(decision: Decision) -> AuditEntry {
    let Decision { actor, action, subject, reason, data } = decision;
    tracing::info!(actor, action, subject, reason, "decided");
    let (at, action) = (UnixMillis::now(), action.to_owned());
    AuditEntry { at, actor, action, subject, reason, data }
}

fn event(
    (cycle_id, step): (CycleId, Step),
    kind: &str,
    message: impl Into<String>,
    data: Value,
) -> CycleEvent {
    let (kind, message) = (kind.to_owned(), message.into());
    CycleEvent { cycle_id, sequence: 0, at: UnixMillis::now(), step, kind, message, data }
}

/// Whether a cycle will not move again.
pub fn is_over(cycle: &CycleView) -> bool {
    !matches!(cycle.status, CycleStatus::Queued | CycleStatus::Running)
}

/// The figures of an error, for events.
pub fn no_data() -> Value {
    json!({})
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use hone_api::cycle::Trigger;

    use super::*;

    fn cycle(id: CycleId) -> CycleView {
        let status = CycleStatus::Running;
        CycleView { id, status, ..CycleView::queued(Trigger::Manual, UnixMillis(1)) }
    }

    #[tokio::test]
    async fn a_follower_sees_each_event_once_and_then_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("hone.db")).unwrap();
        let journal = Journal::new(store.clone());
        let id = CycleId::new();
        store.insert_cycle(cycle(id)).await.unwrap();
        let tell = |kind: &'static str| {
            let journal = journal.clone();
            async move { journal.tell((id, Step::Select), kind, kind, no_data()).await.unwrap() }
        };
        tell("step_started").await;
        let follower = journal.follow(id, 0).map(|event| event.unwrap().kind).collect::<Vec<_>>();
        let teller = async {
            tokio::task::yield_now().await;
            tell("progress").await;
            tell("finished").await;
        };
        let (kinds, ()) = tokio::join!(follower, teller);
        assert_eq!(kinds, ["step_started", "progress", "finished"]);

        // The last row and the last event come together.
        let other = cycle(CycleId::new());
        store.insert_cycle(other.clone()).await.unwrap();
        let follower = journal.follow(other.id, 0).map(|event| event.unwrap().kind).collect();
        let over = CycleView { status: CycleStatus::Finished, ..other };
        let teller = async {
            tokio::task::yield_now().await;
            let decision = Decision {
                actor: "daemon".to_owned(),
                action: "cycle.skipped",
                subject: over.id.to_string(),
                reason: String::new(),
                data: no_data(),
            };
            journal.end(&over, "finished", "", no_data(), decision).await.unwrap();
        };
        let (kinds, ()): (Vec<_>, ()) = tokio::join!(follower, teller);
        assert_eq!(kinds, ["finished"]);

        // Again from the middle, and from the end.
        let rest: Vec<_> =
            journal.follow(id, 2).map(|event| event.unwrap().sequence).collect().await;
        assert_eq!(rest, [3]);
        let mut over = cycle(id);
        over.status = CycleStatus::Finished;
        journal.save(&over).await.unwrap();
        assert_eq!(journal.follow(id, 3).count().await, 0);
    }
}
