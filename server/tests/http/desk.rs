//! The daemon behind the server, as small as it can be.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use hone_adapters::{Import, Registry};
use hone_api::adapter::{AdapterView, LiveView, Provenance};
use hone_api::cycle::{CycleEvent, CycleStatus, CycleView, NextCycle, Step, Trigger};
use hone_api::erasure::{ErasureView, RecallView, Removed, Subject};
use hone_api::evaluation::{EvalRequest, EvalStatus, EvalView};
use hone_api::interaction::Interaction;
use hone_api::waiting::{Votes, WaitingReason, WaitingView};
use hone_api::{AdapterId, AdapterRef, CycleId, RunId, UnixMillis};
use hone_engine::Generate;
use hone_server::caller::Caller;
use hone_server::control::{
    Control, ControlResult, FeedbackLimits, ImportAdapter, LiveChange, LoadLora,
};
use hone_server::control_error::ControlError;
use hone_store::{Erasure, InteractionFilter, Order, Store};
use serde_json::Value;

/// The daemon's part, as small as it can be.
pub(crate) struct Desk {
    pub(crate) engine: Arc<dyn Generate>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) store: Store,
    pub(crate) arrived: Mutex<usize>,
    /// Whether personal data stays out of the log.
    pub(crate) redacts: Arc<AtomicBool>,
}

impl Desk {
    fn id(&self, reference: &AdapterRef) -> ControlResult<Option<AdapterId>> {
        Ok(self.registry.resolve(reference)?)
    }

    fn swap(&self, pointer: hone_adapters::LivePointer) -> ControlResult<LiveView> {
        if let Some(id) = pointer.live {
            let load = self.engine.load(id, &self.registry.dir(id));
            load.map_err(|error| ControlError::Internal(error.to_string()))?;
        }
        self.engine
            .set_live(pointer.live, pointer.epoch)
            .map_err(|error| ControlError::Internal(error.to_string()))?;
        Ok(LiveView {
            epoch: pointer.epoch,
            live: pointer.live,
            previous: pointer.previous,
            changed_at: pointer.changed_at,
        })
    }
}

pub(crate) fn cycle(id: CycleId) -> CycleView {
    CycleView {
        id,
        object: "cycle".to_owned(),
        status: CycleStatus::Running,
        trigger: Trigger::Manual,
        step: Step::Train,
        verdict: None,
        reason: None,
        snapshot: None,
        candidate: None,
        champion: None,
        outcomes: std::collections::BTreeMap::new(),
        created_at: UnixMillis::now(),
        finished_at: None,
    }
}

impl Control for Desk {
    fn start_cycle(&self, _: &Caller) -> BoxFuture<'_, ControlResult<CycleView>> {
        async {
            let cycle = cycle(CycleId::new());
            self.store.insert_cycle(cycle.clone()).await?;
            Ok(cycle)
        }
        .boxed()
    }

    fn next_cycle(&self, _: &Caller) -> BoxFuture<'_, NextCycle> {
        let next = NextCycle {
            enabled: true,
            at: None,
            failures: Some(7),
            came: 2,
            missing: Some(5),
            message: "5 more corrections start a cycle".to_owned(),
        };
        async move { next }.boxed()
    }

    fn after_feedback(&self) -> BoxFuture<'_, String> {
        async { "5 more corrections start a cycle".to_owned() }.boxed()
    }

    fn training_max_length(&self) -> usize {
        100
    }

    fn evaluation_max_tokens(&self) -> usize {
        10
    }

    fn feedback_limits(&self) -> FeedbackLimits {
        FeedbackLimits { text: 64 << 10, tags: 8, tag_text: 4 << 10 }
    }

    fn redacts_the_log(&self) -> bool {
        self.redacts.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn waiting(&self, _: &Caller) -> BoxFuture<'_, ControlResult<Vec<WaitingView>>> {
        async move {
            let filter = InteractionFilter { order: Order::Descending, ..Default::default() };
            let all = self.store.interactions(filter).await?.items.into_iter();
            let view = |interaction: Interaction| WaitingView {
                object: "feedback.waiting".to_owned(),
                id: interaction.id,
                reason: WaitingReason::NoCorrection,
                message: WaitingReason::NoCorrection.message().to_owned(),
                messages: interaction.messages,
                answer: None,
                suggestions: Vec::new(),
                votes: Votes { good: 0, bad: 1 },
                created_at: interaction.created_at,
            };
            Ok(all.map(view).collect())
        }
        .boxed()
    }

    fn cancel_cycle(&self, _: &Caller, id: CycleId) -> BoxFuture<'_, ControlResult<CycleView>> {
        async move { Err(ControlError::Conflict(format!("{id} has ended"))) }.boxed()
    }

    fn cycle_events(
        &self,
        _: &Caller,
        id: CycleId,
        after: u64,
    ) -> BoxFuture<'_, ControlResult<BoxStream<'static, CycleEvent>>> {
        let events: Vec<_> = (after + 1..=3)
            .map(|sequence| CycleEvent {
                cycle_id: id,
                sequence,
                at: UnixMillis::now(),
                step: Step::Train,
                kind: if sequence == 3 { "finished" } else { "progress" }.to_owned(),
                message: format!("event {sequence}"),
                data: Value::Null,
            })
            .collect();
        async move { Ok(stream::iter(events).boxed()) }.boxed()
    }

    fn promote(&self, _: &Caller, change: LiveChange) -> BoxFuture<'_, ControlResult<LiveView>> {
        async move {
            let to = self.id(&change.to.unwrap_or(AdapterRef::Base))?;
            self.swap(self.registry.promote(to, change.expected_live, UnixMillis::now())?)
        }
        .boxed()
    }

    fn rollback(&self, _: &Caller, change: LiveChange) -> BoxFuture<'_, ControlResult<LiveView>> {
        async move {
            let to = change.to.map(|to| self.id(&to)).transpose()?;
            self.swap(self.registry.rollback(
                to,
                change.expected_live,
                UnixMillis::now(),
                &|_| false,
            )?)
        }
        .boxed()
    }

    fn import_adapter(
        &self,
        _: &Caller,
        import: ImportAdapter,
    ) -> BoxFuture<'_, ControlResult<AdapterView>> {
        async move {
            let source = self.registry.drop_path(&import.folder)?;
            Ok(self.registry.import(Import {
                id: AdapterId::new(),
                source,
                name: import.name.or(Some(import.folder.clone())),
                provenance: Provenance::Import { folder: import.folder },
                now: UnixMillis::now(),
            })?)
        }
        .boxed()
    }

    fn delete_adapter(
        &self,
        _: &Caller,
        adapter: AdapterRef,
    ) -> BoxFuture<'_, ControlResult<AdapterId>> {
        async move {
            let id = self.registry.get(&adapter)?.id;
            self.registry.delete(id)?;
            Ok(id)
        }
        .boxed()
    }

    fn load_lora(&self, _: &Caller, load: LoadLora) -> BoxFuture<'_, ControlResult<()>> {
        async move {
            if !load.in_place && self.id(&AdapterRef::Name(load.name.clone())).is_ok() {
                return Err(ControlError::Conflict(format!("`{}` is loaded already", load.name)));
            }
            let import = ImportAdapter { folder: load.path, name: Some(load.name) };
            self.import_adapter(&Caller::operator(), import).await.map(drop)
        }
        .boxed()
    }

    fn unload_lora(&self, _: &Caller, name: String) -> BoxFuture<'_, ControlResult<()>> {
        async move { self.delete_adapter(&Caller::operator(), AdapterRef::Name(name)).await.map(drop) }.boxed()
    }

    fn erase(&self, _: &Caller, subject: Subject) -> BoxFuture<'_, ControlResult<ErasureView>> {
        async move {
            let wanted = Erasure::of(subject.clone(), UnixMillis::now());
            let id = wanted.id;
            let begun = self.store.begin_erasure(wanted).await?;
            let (interactions, feedback) =
                begun.map_or((0, 0), |it| (it.interactions, it.feedback));
            Ok(ErasureView {
                id,
                object: "erasure".to_owned(),
                subject,
                at: UnixMillis::now(),
                removed: Removed { interactions, feedback, ..Removed::default() },
                snapshots: Vec::new(),
                adapters: Vec::new(),
                next: "no adapter was trained on it".to_owned(),
            })
        }
        .boxed()
    }

    fn recall(&self, _: &Caller, subject: Subject) -> BoxFuture<'_, ControlResult<RecallView>> {
        async move {
            let traces = self.store.traces(subject.clone()).await?;
            Ok(RecallView {
                object: "recall".to_owned(),
                subject,
                interactions: traces.interactions,
                feedback: traces.feedback,
                snapshots: Vec::new(),
                adapters: Vec::new(),
            })
        }
        .boxed()
    }

    fn start_eval(
        &self,
        _: &Caller,
        request: EvalRequest,
    ) -> BoxFuture<'_, ControlResult<EvalView>> {
        async move {
            Ok(EvalView {
                id: RunId::new(),
                object: "eval".to_owned(),
                status: EvalStatus::Running,
                request,
                done: 0,
                total: 10,
                report: None,
                error: None,
                created_at: UnixMillis::now(),
                finished_at: None,
            })
        }
        .boxed()
    }

    fn eval(&self, _: &Caller, id: RunId) -> BoxFuture<'_, ControlResult<EvalView>> {
        async move { Err(ControlError::NotFound(format!("there is no evaluation `{id}`"))) }.boxed()
    }

    fn feedback_arrived(&self) {
        *self.arrived.lock().unwrap() += 1;
    }
}
