//! One turn of the loop: select, train, register, evaluate, decide, promote.
//!
//! The row in the store is the truth about a cycle. A step ends with one write of that row, its
//! outcome and the next step in it; what a step makes is named by its cycle or by its content. So a
//! daemon that was killed anywhere goes on at the step that had not ended, and repeats nothing that
//! had. One cycle runs at a time, and one more may wait.

mod ask;
mod attempt;
mod decide;
mod evaluate;
mod evidence;
mod general;
mod halt;
mod judged;
mod make_way;
mod other_models;
mod promote;
mod register;
mod select;
mod start;
mod told;
mod train;

use std::sync::Arc;
use std::time::Duration;

use hone_api::adapter::AdapterState;
use hone_api::cycle::{CycleStatus, CycleView, Step, Verdict};
use hone_api::{AdapterId, AdapterRef, CycleId, UnixMillis};
use hone_server::metrics::PromotionOutcome;
use serde_json::{Value, json};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use crate::error_chain;
use crate::journal::{is_over, no_data};
use crate::services::Services;
use crate::stained;

pub use ask::StartError;
pub use select::teaching;
pub use start::GOES_ON_FROM;

use halt::Halt;

/// After the store refused: how long until the next try.
const PAUSE: Duration = Duration::from_secs(5);

/// The shortest time between two progress events.
const BEAT: Duration = Duration::from_millis(400);

/// How a step ended.
enum End {
    /// On to the next one.
    Next { outcome: Value, message: String },
    /// The cycle is over.
    Over { verdict: Verdict, reason: String, outcome: Value },
    /// Something else serves than was compared with: back to the comparison.
    CompareAgain,
    /// The candidate was not enough, and another try may be: back to the training.
    TryAgain { outcome: Value, message: String },
    /// It was told to halt.
    Halted,
}

/// What a step works on.
struct Work<'a> {
    services: &'a Services,
    cycle: &'a mut CycleView,
    halt: &'a CancellationToken,
}

impl Work<'_> {
    async fn progress(&self, message: String, data: Value) -> anyhow::Result<()> {
        let at = (self.cycle.id, self.cycle.step);
        Ok(self.services.journal.tell(at, "progress", message, data).await?)
    }

    /// Notes that a candidate is refused.
    async fn reject(&self, id: AdapterId, reason: &str) -> anyhow::Result<()> {
        let (registry, why) = (Arc::clone(&self.services.registry), reason.to_owned());
        let rejected = tokio::task::spawn_blocking(move || {
            match registry.reject(id, &why, UnixMillis::now()) {
                Ok(_) => Ok(true),
                // Repeated after a kill, or a person was faster.
                Err(hone_adapters::Error::Transition { .. }) => {
                    let view = registry.get(&AdapterRef::Id(id))?;
                    Ok(view.state == AdapterState::Rejected)
                }
                Err(error) => Err(error),
            }
        })
        .await??;
        if rejected {
            self.services.journal.audit_once(told::refusal(self.cycle, id, reason)).await?;
        }
        Ok(())
    }

    /// The candidate's folder of work.
    fn run_dir(&self) -> std::path::PathBuf {
        self.services.dirs.run(self.cycle.id)
    }
}

/// Why a cycle cannot be cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// There is none.
    #[error("no cycle {0}; `hone cycle list` shows the ones there are")]
    Unknown(CycleId),
    /// It is over.
    #[error("{0} is over already")]
    Over(CycleId),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] hone_store::Error),
}

/// The queue of cycles and the one that runs.
#[derive(Debug)]
pub struct Cycles {
    services: Arc<Services>,
    current: Mutex<Option<(CycleId, Halt)>>,
    /// Held while one is put into the queue.
    queueing: Mutex<()>,
    /// Held while one runs, and while nothing may.
    turn: Arc<Mutex<()>>,
    /// Rings when a cycle comes.
    come: Notify,
    /// Rings when one ends.
    ended: Arc<Notify>,
}

impl Cycles {
    /// An empty queue; what waits in the store is found by [`Cycles::run`].
    pub fn new(services: Arc<Services>) -> Self {
        Self {
            services,
            current: Mutex::default(),
            queueing: Mutex::default(),
            turn: Arc::default(),
            come: Notify::new(),
            ended: Arc::default(),
        }
    }

    /// Rings when a cycle ends. For one listener, who may be busy meanwhile: the ring is kept.
    pub fn ended(&self) -> Arc<Notify> {
        Arc::clone(&self.ended)
    }

    /// Stops a cycle that waits or runs. One that runs ends within the time of a checkpoint.
    ///
    /// # Errors
    /// [`CancelError`]
    pub async fn cancel(&self, id: CycleId) -> Result<CycleView, CancelError> {
        let current = self.current.lock().await;
        let mut cycle = self.services.store.cycle(id).await?.ok_or(CancelError::Unknown(id))?;
        if is_over(&cycle) {
            return Err(CancelError::Over(id));
        }
        match &*current {
            Some((running, halt)) if *running == id => halt.cancel(),
            _ => self.close(&mut cycle, Close::Cancelled).await?,
        }
        Ok(cycle)
    }

    /// Runs what waits, one after the other, until `stop`. A cycle that was running when the
    /// daemon ended goes on first.
    pub async fn run(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let turn = self.turn.lock().await;
            match self.next(&stop).await {
                Ok(Some((cycle, halt))) => {
                    let id = cycle.id;
                    match self.run_one(cycle, &halt, &stop).await {
                        Ok(()) if stop.is_cancelled() => {}
                        // Here, where no cycle is making what nothing names yet.
                        Ok(()) => crate::retention::tidy(&self.services).await,
                        Err(error) => {
                            tracing::error!(cycle = %id, %error, "the store refuses; the cycle waits");
                            pause(&stop).await;
                        }
                    }
                    *self.current.lock().await = None;
                    self.ended.notify_one();
                }
                Ok(None) => {
                    drop(turn);
                    tokio::select! {
                        () = self.come.notified() => {}
                        () = stop.cancelled() => {}
                    }
                }
                Err(error) => {
                    drop(turn);
                    tracing::error!(%error, "the store refuses; cycles wait");
                    pause(&stop).await;
                }
            }
        }
    }

    async fn next(
        &self,
        stop: &CancellationToken,
    ) -> hone_store::Result<Option<(CycleView, Halt)>> {
        let mut current = self.current.lock().await;
        let next = first(self.services.store.unfinished_cycles().await?);
        Ok(next.map(|cycle| {
            let halt = Halt::with(stop);
            *current = Some((cycle.id, halt.clone()));
            (cycle, halt)
        }))
    }

    /// Runs a cycle from where it stands to its end, or until it is halted.
    async fn run_one(
        &self,
        mut cycle: CycleView,
        halt: &Halt,
        stop: &CancellationToken,
    ) -> hone_store::Result<()> {
        let journal = &self.services.journal;
        if cycle.status == CycleStatus::Queued {
            journal.audit_once(told::cycle(&cycle, "cycle.started", "")).await?;
            cycle.status = CycleStatus::Running;
            journal.save(&cycle).await?;
        } else {
            let message = format!("goes on at {:?} after a restart", cycle.step).to_lowercase();
            journal.tell((cycle.id, cycle.step), "resumed", message, no_data()).await?;
        }
        loop {
            let step = cycle.step;
            journal.tell((cycle.id, step), "step_started", "", no_data()).await?;
            let began = std::time::Instant::now();
            let end =
                run_step(Work { services: &self.services, cycle: &mut cycle, halt: &halt.now })
                    .await;
            let took = began.elapsed();
            let seconds = took.as_secs_f64();
            if let Ok(End::Next { .. } | End::Over { .. }) = &end {
                self.services.metrics.cycle_step(step, took);
            }
            match end {
                Ok(End::Next { outcome, message }) => {
                    cycle.outcomes.insert(step, timed(outcome, seconds));
                    cycle.step = after(step);
                    journal.save(&cycle).await?;
                    let outcome = cycle.outcomes[&step].clone();
                    journal.tell((cycle.id, step), "step_finished", message, outcome).await?;
                }
                Ok(End::CompareAgain) => {
                    // The tries are kept with the decision.
                    for again in [Step::Evaluate, Step::Promote] {
                        cycle.outcomes.remove(&again);
                    }
                    cycle.step = Step::Evaluate;
                    journal.save(&cycle).await?;
                }
                Ok(End::TryAgain { outcome, message }) => {
                    for again in [Step::Register, Step::Evaluate] {
                        cycle.outcomes.remove(&again);
                    }
                    cycle.outcomes.insert(Step::Decide, timed(outcome, seconds));
                    cycle.step = Step::Train;
                    journal.save(&cycle).await?;
                    journal.tell((cycle.id, step), "tried", message, no_data()).await?;
                }
                Ok(End::Over { verdict, reason, outcome }) => {
                    cycle.outcomes.insert(step, timed(outcome, seconds));
                    return self.close(&mut cycle, Close::Finished { verdict, reason }).await;
                }
                // The daemon stops: the row stays as it is, and the next start goes on here.
                Ok(End::Halted) | Err(_) if halt.is_a_pause(stop) => return Ok(()),
                Ok(End::Halted) => return self.close(&mut cycle, Close::Cancelled).await,
                Err(error) => {
                    return self
                        .close(&mut cycle, Close::Failed(error_chain::describe(&error)))
                        .await;
                }
            }
        }
    }

    /// Writes the last row, the last event and the audit row of a cycle, in one commit.
    async fn close(&self, cycle: &mut CycleView, close: Close) -> hone_store::Result<()> {
        let (status, kind, action, verdict, reason) = match close {
            Close::Finished { verdict, reason } => {
                (CycleStatus::Finished, "finished", verdict_action(verdict), Some(verdict), reason)
            }
            Close::Failed(reason) => (CycleStatus::Failed, "failed", "cycle.failed", None, reason),
            Close::Cancelled => {
                let reason = "told to stop".to_owned();
                (CycleStatus::Cancelled, "cancelled", "cycle.cancelled", None, reason)
            }
        };
        if matches!(status, CycleStatus::Failed | CycleStatus::Cancelled) {
            self.give_up_candidate(cycle, &reason).await;
        }
        let reason = match status {
            CycleStatus::Finished => self.without_the_erased(cycle, reason).await,
            _ => reason,
        };
        cycle.status = status;
        cycle.verdict = verdict;
        cycle.reason = Some(reason.clone());
        cycle.finished_at = Some(UnixMillis::now());
        // Whoever has read the last event finds it counted.
        match (verdict, status) {
            (Some(verdict), _) => {
                self.services.metrics.promotion(PromotionOutcome::Verdict(verdict))
            }
            (None, CycleStatus::Failed) => {
                self.services.metrics.promotion(PromotionOutcome::Failed)
            }
            (None, _) => {}
        }
        let data = json!({ "verdict": verdict });
        let decision = told::cycle(cycle, action, &reason);
        self.services.journal.end(cycle, kind, reason, data, decision).await
    }

    /// Whatever the verdict: what was trained on what a person had erased serves no longer, and is deleted before
    /// the cycle reads as finished, so that a kill after its end leaves nothing.
    async fn without_the_erased(&self, cycle: &CycleView, reason: String) -> String {
        let reason = match stained::take_back(&self.services, cycle.id.to_string()).await {
            Ok(Some(taken_back)) => format!("{reason}; {taken_back}"),
            Ok(None) => reason,
            Err(error) => {
                tracing::error!(
                    "what was erased is still served: {}",
                    error_chain::describe(&error)
                );
                reason
            }
        };
        if let Err(error) = stained::sweep(&self.services).await {
            tracing::error!(
                "what was trained on erased rows stays: {}",
                error_chain::describe(&error)
            );
        }
        reason
    }

    /// A candidate that nobody will judge any more must not be what `candidate` means. Before the
    /// last row is written, so that a kill in between leaves the cycle to do it again.
    async fn give_up_candidate(&self, cycle: &CycleView, reason: &str) {
        let Some(id) = cycle.candidate else { return };
        let why = format!("its cycle ended without a verdict: {reason}");
        let registry = Arc::clone(&self.services.registry);
        let rejected = tokio::task::spawn_blocking({
            let why = why.clone();
            move || registry.reject(id, &why, UnixMillis::now())
        });
        let rejected = rejected.await;
        match rejected {
            Ok(Ok(_)) => {
                self.services.journal.audit_or_owe(told::refusal(cycle, id, &why)).await;
                if let Err(error) = self.services.promoter.unload(id).await {
                    tracing::warn!(adapter = %id, %error, "a given-up candidate stays in memory");
                }
            }
            // Rejected already, or a person made it live; or it was deleted.
            Ok(Err(hone_adapters::Error::Transition { .. } | hone_adapters::Error::Unknown(_))) => {
            }
            Ok(Err(error)) => tracing::error!(adapter = %id, %error, "a candidate stays unjudged"),
            Err(error) => tracing::error!(adapter = %id, %error, "a candidate stays unjudged"),
        }
    }
}

/// How a cycle is closed.
enum Close {
    Finished { verdict: Verdict, reason: String },
    Failed(String),
    Cancelled,
}

const fn verdict_action(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Promoted => "cycle.promoted",
        Verdict::Rejected => "cycle.rejected",
        Verdict::Held => "cycle.held",
        Verdict::Skipped => "cycle.skipped",
    }
}

async fn run_step(work: Work<'_>) -> anyhow::Result<End> {
    if work.halt.is_cancelled() {
        return Ok(End::Halted);
    }
    match work.cycle.step {
        Step::Select => select::run(work).await,
        Step::Train => train::run(work).await,
        Step::Register => register::run(work).await,
        Step::Evaluate => evaluate::run(work).await,
        Step::Decide => decide::run(work).await,
        Step::Promote => promote::run(work).await,
    }
}

/// The order of the steps. The last one ends the cycle itself.
const fn after(step: Step) -> Step {
    match step {
        Step::Select => Step::Train,
        Step::Train => Step::Register,
        Step::Register => Step::Evaluate,
        Step::Evaluate => Step::Decide,
        Step::Decide | Step::Promote => Step::Promote,
    }
}

/// Which of the unfinished cycles (oldest first) runs next: the one that was running.
fn first(unfinished: Vec<CycleView>) -> Option<CycleView> {
    let running = unfinished.iter().position(|cycle| cycle.status == CycleStatus::Running);
    unfinished.into_iter().nth(running.unwrap_or(0))
}

/// Adds how long a step took.
fn timed(mut outcome: Value, seconds: f64) -> Value {
    if let Value::Object(fields) = &mut outcome {
        fields.insert("seconds".to_owned(), json!((seconds * 100.0).round() / 100.0));
    }
    outcome
}

async fn pause(stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(PAUSE) => {}
        () = stop.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use hone_api::cycle::Trigger;

    use super::*;

    fn cycle(status: CycleStatus) -> CycleView {
        CycleView { status, ..CycleView::queued(Trigger::Manual, UnixMillis(1)) }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_cycle_that_ends_without_a_verdict_takes_its_candidate_along() {
        let rig = crate::testing::Rig::new().await;
        let cycles = Cycles::new(rig.services.clone());
        let ends = [(1, Close::Failed("the disk is gone".into())), (2, Close::Cancelled)];
        for (seed, end) in ends {
            let id = rig.adapter(seed).await;
            let mut broken = CycleView { candidate: Some(id), ..cycle(CycleStatus::Running) };
            rig.services.store.insert_cycle(broken.clone()).await.unwrap();
            cycles.close(&mut broken, end).await.unwrap();
            let view = rig.services.registry.get(&AdapterRef::Id(id)).unwrap();
            assert_eq!(view.state, AdapterState::Rejected);
            let why = rig.services.registry.manifest(&AdapterRef::Id(id)).unwrap();
            let why = serde_json::to_string(&why).unwrap();
            assert!(why.contains("without a verdict: "), "{why}");
            assert!(!rig.services.engine.is_loaded(id));
            assert!(rig.services.registry.get(&AdapterRef::Candidate).is_err());
        }
        // What a person made live meanwhile serves on.
        let live = rig.adapter(3).await;
        rig.services.registry.promote(Some(live), None, UnixMillis::now()).unwrap();
        let mut late = CycleView { candidate: Some(live), ..cycle(CycleStatus::Running) };
        rig.services.store.insert_cycle(late.clone()).await.unwrap();
        cycles.close(&mut late, Close::Cancelled).await.unwrap();
        assert_eq!(rig.services.registry.live().live, Some(live));
        assert!(rig.services.engine.is_loaded(live));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_cancelled_does_not_go_on_after_a_stop() {
        let rig = crate::testing::Rig::new().await;
        let cycles = Cycles::new(rig.services.clone());
        for (cancelled, status) in [(true, CycleStatus::Cancelled), (false, CycleStatus::Running)] {
            let running = cycle(CycleStatus::Running);
            rig.services.store.insert_cycle(running.clone()).await.unwrap();
            let stop = CancellationToken::new();
            let halt = Halt::with(&stop);
            if cancelled {
                halt.cancel();
            }
            stop.cancel();
            cycles.run_one(running.clone(), &halt, &stop).await.unwrap();
            let left = rig.services.store.cycle(running.id).await.unwrap().unwrap();
            assert_eq!(left.status, status);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn at_most_one_waits() {
        let rig = crate::testing::Rig::new().await;
        let cycles = Cycles::new(rig.services.clone());
        let first = cycles.start(Trigger::Manual).await.unwrap();
        let second = cycles.start(Trigger::Manual).await.unwrap();
        let third = cycles.start(Trigger::Manual).await.unwrap_err();
        assert!(matches!(third, StartError::Waiting(id) if id == second.id), "{third}");
        cycles.cancel(first.id).await.unwrap();
        cycles.start(Trigger::Manual).await.unwrap();
    }

    #[test]
    fn the_interrupted_cycle_goes_first_then_the_oldest() {
        let queued = [cycle(CycleStatus::Queued), cycle(CycleStatus::Queued)];
        let running = cycle(CycleStatus::Running);
        assert!(first(Vec::new()).is_none());
        assert_eq!(first(queued.to_vec()).map(|c| c.id), Some(queued[0].id));
        let all = vec![queued[0].clone(), queued[1].clone(), running.clone()];
        assert_eq!(first(all).map(|c| c.id), Some(running.id));
    }

    #[test]
    fn every_step_leads_to_promote() {
        let mut step = Step::Select;
        let mut seen = vec![step];
        while step != Step::Promote {
            step = after(step);
            seen.push(step);
        }
        assert!(seen.is_sorted() && seen.len() == 6);
    }
}
