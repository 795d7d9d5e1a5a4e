//! What the API may ask of the daemon. The daemon implements it; this crate knows no training.

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use hone_api::adapter::{AdapterView, LiveView};
use hone_api::cycle::{CycleEvent, CycleView, NextCycle};
use hone_api::erasure::{ErasureView, RecallView, Subject};
use hone_api::evaluation::{EvalRequest, EvalView};
use hone_api::waiting::WaitingView;
use hone_api::{AdapterId, AdapterRef, CycleId, RunId};

use crate::caller::Caller;
use crate::control_error::ControlError;

/// How large a feedback item may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedbackLimits {
    /// Bytes of a demonstration or comment.
    pub text: usize,
    /// Tags.
    pub tags: usize,
    /// Bytes of all tags, names and values together.
    pub tag_text: usize,
}

/// The answer of a control call.
pub type ControlResult<T> = Result<T, ControlError>;

/// Moves the live pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveChange {
    /// Where to. For a rollback `None` means: to what served before.
    pub to: Option<AdapterRef>,
    /// Only if this serves now (`Some(None)`: the base); else a conflict.
    pub expected_live: Option<Option<AdapterId>>,
    /// For the audit trail.
    pub reason: Option<String>,
}

/// Takes an adapter from the drop folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportAdapter {
    /// A name or a path below the drop folder.
    pub folder: String,
    /// The name to give it; the folder's, if `None`.
    pub name: Option<String>,
}

/// vLLM's load request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadLora {
    /// The name to ask for it by.
    pub name: String,
    /// A path below the drop folder.
    pub path: String,
    /// Replace an adapter of the same name instead of refusing.
    pub in_place: bool,
}

/// The daemon behind the API. Whoever asks stands in front of what is asked for.
pub trait Control: Send + Sync {
    /// Starts a cycle by hand, or queues it. [`ControlError::Conflict`]: one waits already.
    fn start_cycle(&self, caller: &Caller) -> BoxFuture<'_, ControlResult<CycleView>>;

    /// When a cycle starts by itself, and what is missing for it. What cannot be known is left out.
    fn next_cycle(&self, caller: &Caller) -> BoxFuture<'_, NextCycle>;

    /// What comes next, in one sentence, for whoever has just said something. It must cost little, and
    /// does not fail: what was said is on disk already.
    fn after_feedback(&self) -> BoxFuture<'_, String>;

    /// Tokens that a conversation may have in training (`training.max_length`); 0: the whole context.
    fn training_max_length(&self) -> usize;

    /// The longest answer that a cycle compares, in tokens (`evaluation.max_tokens`).
    fn evaluation_max_tokens(&self) -> usize;

    /// How large a feedback item may be (`feedback.max_text`, `max_tags`, `max_tag_text`).
    fn feedback_limits(&self) -> FeedbackLimits;

    /// Whether personal data is taken out before anything is written (`retention.redact`).
    fn redacts_the_log(&self) -> bool;

    /// All answers that wait for a person, the newest first.
    fn waiting(&self, caller: &Caller) -> BoxFuture<'_, ControlResult<Vec<WaitingView>>>;

    /// Stops a cycle; ending one that has ended is a conflict.
    fn cancel_cycle(&self, caller: &Caller, id: CycleId)
    -> BoxFuture<'_, ControlResult<CycleView>>;

    /// The events of a cycle after `after`, past ones first, then live ones. Ends with the cycle.
    fn cycle_events(
        &self,
        caller: &Caller,
        id: CycleId,
        after: u64,
    ) -> BoxFuture<'_, ControlResult<BoxStream<'static, CycleEvent>>>;

    /// Makes an adapter live: loads it, moves the pointer, swaps.
    fn promote(
        &self,
        caller: &Caller,
        change: LiveChange,
    ) -> BoxFuture<'_, ControlResult<LiveView>>;

    /// Returns to an earlier adapter.
    fn rollback(
        &self,
        caller: &Caller,
        change: LiveChange,
    ) -> BoxFuture<'_, ControlResult<LiveView>>;

    /// Imports, verifies and loads an adapter from the drop folder.
    fn import_adapter(
        &self,
        caller: &Caller,
        import: ImportAdapter,
    ) -> BoxFuture<'_, ControlResult<AdapterView>>;

    /// Removes an adapter for good and tells which one it was.
    fn delete_adapter(
        &self,
        caller: &Caller,
        adapter: AdapterRef,
    ) -> BoxFuture<'_, ControlResult<AdapterId>>;

    /// vLLM's load. [`ControlError::Conflict`]: the name is loaded already.
    fn load_lora(&self, caller: &Caller, load: LoadLora) -> BoxFuture<'_, ControlResult<()>>;

    /// vLLM's unload: the name is free again. [`ControlError::NotFound`]: there is none.
    fn unload_lora(&self, caller: &Caller, name: String) -> BoxFuture<'_, ControlResult<()>>;

    /// Removes everything of a subject. [`ControlError::NotFound`]: there is no such interaction; of a user
    /// there may be nothing.
    fn erase(&self, caller: &Caller, subject: Subject)
    -> BoxFuture<'_, ControlResult<ErasureView>>;

    /// Which snapshots and adapters saw something of a subject.
    fn recall(&self, caller: &Caller, subject: Subject)
    -> BoxFuture<'_, ControlResult<RecallView>>;

    /// Starts an evaluation.
    fn start_eval(
        &self,
        caller: &Caller,
        request: EvalRequest,
    ) -> BoxFuture<'_, ControlResult<EvalView>>;

    /// One evaluation.
    fn eval(&self, caller: &Caller, id: RunId) -> BoxFuture<'_, ControlResult<EvalView>>;

    /// A feedback item is on disk; the schedule may want to look. Must not block.
    fn feedback_arrived(&self);
}
