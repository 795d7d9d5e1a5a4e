//! What operators ask for through the API, carried out.

mod refusal;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use hone_api::adapter::{AdapterView, LiveView, Provenance};
use hone_api::cycle::{CycleEvent, CycleView, NextCycle};
use hone_api::erasure::{ErasureView, RecallView, Subject};
use hone_api::evaluation::{EvalRequest, EvalView};
use hone_api::waiting::WaitingView;
use hone_api::{AdapterId, AdapterRef, CycleId, RunId};
use hone_server::caller::Caller;
use hone_server::control::{
    Control, ControlResult, FeedbackLimits, ImportAdapter, LiveChange, LoadLora,
};
use hone_server::control_error::ControlError;
use hone_server::metrics::PromotionOutcome;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::cycle::{CancelError, Cycles, StartError};
use crate::erase::{self, Eraser};
use crate::evals::Evals;
use crate::import;
use crate::journal::Decision;
use crate::next::{self, Count};
use crate::promote::{Change, Error, PromotionRequest};
use crate::services::Services;
use crate::waiting;
use refusal::unfinished;

/// What comes next when the store does not say.
const UNKNOWN: &str = "`hone status` says what comes next";

/// The daemon behind the API.
#[derive(Debug, Clone)]
pub struct Operator {
    services: Arc<Services>,
    cycles: Arc<Cycles>,
    eraser: Eraser,
    evals: Evals,
    feedback: Arc<Notify>,
    tasks: TaskTracker,
    /// Where that work runs: an HTTP worker's own runtime ends with the worker.
    runtime: Handle,
}

impl Operator {
    /// `feedback` rings the schedule; what is asked for becomes one of `tasks`. Call it on the
    /// runtime that shall carry it out.
    pub fn new(
        services: Arc<Services>,
        cycles: Arc<Cycles>,
        evals: Evals,
        feedback: Arc<Notify>,
        tasks: TaskTracker,
    ) -> Self {
        let eraser = Eraser::new(Arc::clone(&services), Arc::clone(&cycles));
        Self { services, cycles, eraser, evals, feedback, tasks, runtime: Handle::current() }
    }

    /// Ends what a kill has cut off. Before any cycle runs.
    ///
    /// # Errors
    /// The disk's.
    pub async fn resume(&self) -> anyhow::Result<()> {
        self.eraser.resume().await
    }

    /// Carries an order out to its end, also when the client that gave it leaves: its request is
    /// dropped then, and half a promotion would leave the engine behind the pointer.
    fn to_the_end<T: Send + 'static, F>(
        &self,
        caller: &Caller,
        order: impl FnOnce(Self, Caller) -> F,
    ) -> BoxFuture<'static, ControlResult<T>>
    where
        F: Future<Output = ControlResult<T>> + Send + 'static,
    {
        let done = self.tasks.spawn_on(order(self.clone(), caller.clone()), &self.runtime);
        async move { done.await.map_err(Error::from)? }.boxed()
    }

    async fn change(
        &self,
        caller: &Caller,
        change: Change,
        wanted: LiveChange,
    ) -> ControlResult<LiveView> {
        let default = match change {
            Change::Promote(_) => "promoted by hand",
            Change::RollBack(_) => "rolled back by hand",
        };
        let request = PromotionRequest {
            change,
            expected_live: wanted.expected_live,
            actor: caller.actor(),
            reason: wanted.reason.unwrap_or_else(|| default.to_owned()),
        };
        let before = self.services.registry.live().epoch;
        let pointer = self.services.promoter.execute(request).await?;
        if let Change::Promote(Some(id)) = change {
            let registry = self.services.registry.clone();
            let chosen = tokio::task::spawn_blocking(move || registry.choose(id)).await;
            if let Err(error) = chosen.map_err(Error::from)? {
                tracing::warn!(adapter = %id, %error, "retention may take it once it is replaced");
            }
        }
        if pointer.epoch != before {
            self.services.metrics.promotion(match change {
                Change::Promote(_) => PromotionOutcome::Manual,
                Change::RollBack(_) => PromotionOutcome::RolledBack,
            });
        }
        Ok(pointer.view())
    }

    fn resolve(&self, reference: &AdapterRef) -> ControlResult<Option<AdapterId>> {
        Ok(self.services.registry.resolve(reference).map_err(Error::from)?)
    }

    async fn import(
        &self,
        caller: &Caller,
        folder: &str,
        name: Option<String>,
    ) -> ControlResult<AdapterView> {
        let source = self.services.registry.drop_path(folder).map_err(Error::from)?;
        let request = import::ImportRequest { source, name, actor: caller.actor() };
        Ok(import::run(&self.services, request).await?)
    }

    async fn delete(&self, caller: &Caller, id: AdapterId) -> ControlResult<()> {
        let registry = self.services.registry.clone();
        let deleted = tokio::task::spawn_blocking(move || registry.delete(id)).await;
        deleted.map_err(Error::from)?.map_err(Error::from)?;
        self.services.promoter.unload(id).await?;
        let decision = Decision {
            actor: caller.actor(),
            action: "adapter.deleted",
            subject: id.to_string(),
            reason: "deleted by hand".to_owned(),
            data: json!({}),
        };
        self.services.journal.audit_or_owe(decision).await;
        Ok(())
    }

    async fn load_lora(&self, caller: &Caller, load: LoadLora) -> ControlResult<()> {
        let holder = self.services.registry.get(&AdapterRef::Name(load.name.clone())).ok();
        let Some(old) = holder else {
            self.import(caller, &load.path, Some(load.name)).await?;
            return Ok(());
        };
        if !load.in_place {
            let text = format!(
                "The lora adapter '{}' has already been loaded. Set load_inplace to true to replace it.",
                load.name
            );
            return Err(ControlError::Conflict(text));
        }
        if self.services.registry.live().live == Some(old.id) {
            let text = format!(
                "The lora adapter '{}' is live, and what is live changes by promotion only: load the \
                 new one under another name and promote it with POST /v1/adapters/<name>/promote.",
                load.name
            );
            return Err(ControlError::Conflict(text));
        }
        // The new one first, nameless: if it is refused, the old one keeps its name and serves on.
        let new = self.import(caller, &load.path, None).await?;
        let registry = self.services.registry.clone();
        let name = load.name.clone();
        let renamed = tokio::task::spawn_blocking(move || {
            registry.set_name(old.id, None)?;
            registry.set_name(new.id, Some(&name))
        });
        renamed.await.map_err(Error::from)?.map_err(Error::from)?;
        let decision = Decision {
            actor: caller.actor(),
            action: "adapter.named",
            subject: new.id.to_string(),
            reason: format!("takes the name `{}` over", load.name),
            data: json!({ "from": old.id }),
        };
        self.services.journal.audit_or_owe(decision).await;
        match self.delete(caller, old.id).await {
            // It is the one to go back to: it stays, without the name.
            Err(ControlError::Conflict(_)) => Ok(()),
            other => other,
        }
    }
}

impl Control for Operator {
    fn start_cycle(&self, caller: &Caller) -> BoxFuture<'_, ControlResult<CycleView>> {
        self.to_the_end(caller, |this, caller| async move {
            this.cycles.ask_for(caller.actor()).await.map_err(|error| match error {
                StartError::Waiting(_) | StartError::Untrainable(_) => {
                    ControlError::Conflict(error.to_string())
                }
                StartError::Store(error) => Error::from(error).into(),
            })
        })
    }

    fn next_cycle(&self, _: &Caller) -> BoxFuture<'_, NextCycle> {
        async move {
            next::look(&self.services, Count::All).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "what comes next cannot be told");
                NextCycle { message: UNKNOWN.to_owned(), ..NextCycle::default() }
            })
        }
        .boxed()
    }

    fn after_feedback(&self) -> BoxFuture<'_, String> {
        async move {
            match next::look(&self.services, Count::Enough).await {
                Ok(next) => next.message,
                Err(error) => {
                    tracing::warn!(%error, "what comes next cannot be told");
                    UNKNOWN.to_owned()
                }
            }
        }
        .boxed()
    }

    fn training_max_length(&self) -> usize {
        self.services.settings.now().training.max_length
    }

    fn evaluation_max_tokens(&self) -> usize {
        self.services.settings.now().evaluation.max_tokens as usize
    }

    fn feedback_limits(&self) -> FeedbackLimits {
        let settings = self.services.settings.now();
        let feedback = &settings.feedback;
        FeedbackLimits {
            text: feedback.max_text.len(),
            tags: feedback.max_tags,
            tag_text: feedback.max_tag_text.len(),
        }
    }

    fn redacts_the_log(&self) -> bool {
        self.services.settings.now().retention.redact
    }

    fn waiting(&self, _: &Caller) -> BoxFuture<'_, ControlResult<Vec<WaitingView>>> {
        async move { Ok(waiting::list(&self.services).await?) }.boxed()
    }

    fn cancel_cycle(
        &self,
        caller: &Caller,
        id: CycleId,
    ) -> BoxFuture<'_, ControlResult<CycleView>> {
        self.to_the_end(caller, move |this, caller| async move {
            let stopping = this.cycles.cancel(id).await.map_err(|error| match error {
                CancelError::Unknown(_) => ControlError::NotFound(error.to_string()),
                CancelError::Over(_) => ControlError::Conflict(error.to_string()),
                CancelError::Store(error) => Error::from(error).into(),
            })?;
            // It is done already, so a disk that is full does not make it a failure.
            let decision = Decision {
                actor: caller.actor(),
                action: "cycle.told_to_stop",
                subject: id.to_string(),
                reason: "by hand".to_owned(),
                data: json!({}),
            };
            this.services.journal.audit_or_owe(decision).await;
            Ok(stopping)
        })
    }

    fn cycle_events(
        &self,
        _: &Caller,
        id: CycleId,
        after: u64,
    ) -> BoxFuture<'_, ControlResult<BoxStream<'static, CycleEvent>>> {
        async move {
            let cycle = self.services.store.cycle(id).await.map_err(Error::from)?;
            if cycle.is_none() {
                return Err(ControlError::NotFound(CancelError::Unknown(id).to_string()));
            }
            let events = self.services.journal.follow(id, after);
            // A store that fails ends the stream; the client comes back with `Last-Event-ID`.
            let events = events.map(|event| {
                event.inspect_err(|error| tracing::warn!(%error, "a stream of events ends early"))
            });
            Ok(events.filter_map(|event| std::future::ready(event.ok())).boxed())
        }
        .boxed()
    }

    fn promote(
        &self,
        caller: &Caller,
        change: LiveChange,
    ) -> BoxFuture<'_, ControlResult<LiveView>> {
        self.to_the_end(caller, |this, caller| async move {
            let to = change.to.clone().ok_or_else(|| ControlError::Invalid {
                message: "which adapter shall go live?".to_owned(),
                param: Some("to"),
            })?;
            let to = this.resolve(&to)?;
            this.change(&caller, Change::Promote(to), change).await
        })
    }

    fn rollback(
        &self,
        caller: &Caller,
        change: LiveChange,
    ) -> BoxFuture<'_, ControlResult<LiveView>> {
        self.to_the_end(caller, |this, caller| async move {
            let to = change.to.as_ref().map(|to| this.resolve(to)).transpose()?;
            this.change(&caller, Change::RollBack(to), change).await
        })
    }

    fn import_adapter(
        &self,
        caller: &Caller,
        wanted: ImportAdapter,
    ) -> BoxFuture<'_, ControlResult<AdapterView>> {
        self.to_the_end(caller, |this, caller| async move {
            let source = this.services.registry.drop_path(&wanted.folder).map_err(Error::from)?;
            let name = wanted.name.unwrap_or_else(|| import::folder_name(&source));
            let request = import::ImportRequest { source, name: Some(name), actor: caller.actor() };
            Ok(import::run(&this.services, request).await?)
        })
    }

    fn delete_adapter(
        &self,
        caller: &Caller,
        adapter: AdapterRef,
    ) -> BoxFuture<'_, ControlResult<AdapterId>> {
        self.to_the_end(caller, |this, caller| async move {
            let id = this.resolve(&adapter)?.ok_or_else(|| {
                ControlError::Conflict("the base model cannot be deleted".to_owned())
            })?;
            this.delete(&caller, id).await?;
            Ok(id)
        })
    }

    fn load_lora(&self, caller: &Caller, load: LoadLora) -> BoxFuture<'_, ControlResult<()>> {
        self.to_the_end(caller, |this, caller| async move {
            Self::load_lora(&this, &caller, load).await
        })
    }

    fn unload_lora(&self, caller: &Caller, name: String) -> BoxFuture<'_, ControlResult<()>> {
        self.to_the_end(caller, |this, caller| async move {
            let found = this.services.registry.get(&AdapterRef::Name(name));
            let view = found.map_err(Error::from)?;
            if matches!(view.provenance, Provenance::Cycle { .. }) {
                let text = format!("{} came from a cycle; delete it as an adapter", view.id);
                return Err(ControlError::Conflict(text));
            }
            this.delete(&caller, view.id).await
        })
    }

    fn erase(
        &self,
        caller: &Caller,
        subject: Subject,
    ) -> BoxFuture<'_, ControlResult<ErasureView>> {
        self.to_the_end(caller, |this, caller| async move {
            match this.eraser.erase(subject.clone(), caller.actor()).await {
                Ok(Some(receipt)) => Ok(receipt),
                Ok(None) => erase::nothing_to_erase(subject),
                Err(error) => Err(unfinished(&error)),
            }
        })
    }

    fn recall(&self, _: &Caller, subject: Subject) -> BoxFuture<'_, ControlResult<RecallView>> {
        async move { self.eraser.recall(subject).await.map_err(|error| unfinished(&error)) }.boxed()
    }

    fn start_eval(
        &self,
        caller: &Caller,
        request: EvalRequest,
    ) -> BoxFuture<'_, ControlResult<EvalView>> {
        self.to_the_end(caller, |this, _| async move { this.evals.start(request).await })
    }

    fn eval(&self, _: &Caller, id: RunId) -> BoxFuture<'_, ControlResult<EvalView>> {
        let found = self.evals.get(id);
        async move {
            found.ok_or_else(|| {
                ControlError::NotFound(format!(
                    "no evaluation {id}; they are forgotten at a restart"
                ))
            })
        }
        .boxed()
    }

    fn feedback_arrived(&self) {
        self.feedback.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::testing::Rig;

    fn operator(rig: &Rig) -> Operator {
        let services = &rig.services;
        let tasks = TaskTracker::new();
        let evals = Evals::new(services.clone(), tasks.clone(), CancellationToken::new());
        let cycles = Arc::new(Cycles::new(services.clone()));
        Operator::new(services.clone(), cycles, evals, Arc::default(), tasks)
    }

    fn load(folder: &str, in_place: bool) -> LoadLora {
        LoadLora { name: "mine".into(), path: folder.into(), in_place }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_order_is_carried_out_though_its_client_has_left() {
        let rig = Rig::new().await;
        let operator = operator(&rig);
        let id = rig.adapter(1).await;
        let to = Some(AdapterRef::Id(id));
        drop(Control::promote(
            &operator,
            &Caller::operator(),
            LiveChange { to, expected_live: None, reason: None },
        ));
        operator.tasks.close();
        operator.tasks.wait().await;
        assert_eq!(rig.services.registry.live().live, Some(id));
        assert_eq!(rig.services.engine.live(), Some(id), "the engine follows the pointer");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_live_adapter_is_not_replaced_in_place() {
        let rig = Rig::new().await;
        let operator = operator(&rig);
        rig.drop_adapter("first", 1.0, 1);
        rig.drop_adapter("second", 1.0, 2);
        operator.load_lora(&Caller::operator(), load("first", false)).await.unwrap();
        operator.load_lora(&Caller::operator(), load("second", true)).await.unwrap();
        assert_eq!(rig.services.registry.list().len(), 1, "what did not serve is replaced");
        let second = rig.services.registry.list()[0].id;
        let mine = Some(AdapterRef::Name("mine".into()));
        let change = LiveChange { to: mine, expected_live: None, reason: None };
        Control::promote(&operator, &Caller::operator(), change).await.unwrap();
        let error = operator.load_lora(&Caller::operator(), load("first", true)).await.unwrap_err();
        assert!(
            matches!(&error, ControlError::Conflict(text) if text.contains("promote")),
            "{error}"
        );
        let live = rig.services.registry.get(&AdapterRef::Live).unwrap();
        assert_eq!((live.id, live.name.as_deref()), (second, Some("mine")));
        assert_eq!(rig.services.registry.list().len(), 1);
    }
}
