//! Evaluations on demand: one suite, one adapter, or two of them side by side.
//!
//! They live in memory: a restart forgets them (their answers are kept and not asked again).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use hone_api::evaluation::{EvalRequest, EvalStatus, EvalView};
use hone_api::{AdapterRef, RunId, UnixMillis};
use hone_eval::{Bootstrap, Part, RowResult, Suite, compare};
use hone_server::control::ControlResult;
use hone_server::control_error::ControlError;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::compare::{Side, answer};
use crate::promote::Error;
use crate::services::Services;

/// How many ended evaluations are remembered.
const REMEMBERED: usize = 100;

/// The evaluations of this run of the daemon.
#[derive(Debug, Clone)]
pub struct Evals {
    services: Arc<Services>,
    tasks: TaskTracker,
    stop: CancellationToken,
    views: Arc<Mutex<BTreeMap<RunId, EvalView>>>,
}

impl Evals {
    /// None yet. Their work is one of `tasks` and ends with `stop`.
    pub fn new(services: Arc<Services>, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self { services, tasks, stop, views: Arc::default() }
    }

    /// Starts one. What cannot be asked is refused here, not later.
    ///
    /// # Errors
    /// The suite or an adapter is unknown.
    pub async fn start(&self, mut request: EvalRequest) -> ControlResult<EvalView> {
        let suite = self.suite(&request).await?;
        let sides = if request.against.is_some() { 2 } else { 1 };
        self.admit(suite.rows.len() * sides)?;
        // Whoever follows the evaluation need not read the questions each time.
        request.lines = None;
        let live = AdapterRef::Live;
        let adapter = self.side(request.adapter.as_ref().unwrap_or(&live)).await?;
        let against = match &request.against {
            Some(reference) => Some(self.side(reference).await?),
            None => None,
        };
        let view = EvalView {
            id: RunId::new(),
            object: "eval".to_owned(),
            status: EvalStatus::Running,
            total: suite.rows.len() * if against.is_some() { 2 } else { 1 },
            request,
            done: 0,
            report: None,
            error: None,
            created_at: UnixMillis::now(),
            finished_at: None,
        };
        self.remember(view.clone());
        let (evals, id) = (self.clone(), view.id);
        self.tasks.spawn(async move {
            let stop = evals.stop.clone();
            let report = tokio::select! {
                report = evals.run(id, suite, adapter, against) => report,
                () = stop.cancelled() => Err(anyhow::anyhow!("the daemon stopped")),
            };
            evals.change(id, |view| {
                view.finished_at = Some(UnixMillis::now());
                match report {
                    Ok(report) => {
                        view.status = EvalStatus::Finished;
                        view.report = Some(report);
                    }
                    Err(error) => {
                        view.status = EvalStatus::Failed;
                        view.error = Some(crate::error_chain::describe(&error));
                    }
                }
            });
        });
        Ok(view)
    }

    /// Whether one more may run beside those that do.
    fn admit(&self, questions: usize) -> ControlResult<()> {
        let settings = self.services.settings.now();
        let limits = &settings.evaluation;
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let running = views.values().filter(|view| view.status == EvalStatus::Running);
        let (count, asked) =
            running.fold((0, 0), |(count, asked), view| (count + 1, asked + view.total));
        if count >= limits.on_demand {
            return Err(ControlError::TooMany(format!(
                "{count} evaluations run (evaluation.on_demand); start this one when one has ended"
            )));
        }
        if asked + questions > limits.on_demand_rows {
            return Err(ControlError::TooMany(format!(
                "{asked} questions are under way and this evaluation has {questions}; at most {} are \
                 taken (evaluation.on_demand_rows): set a `limit`",
                limits.on_demand_rows
            )));
        }
        Ok(())
    }

    /// One of them.
    pub fn get(&self, id: RunId) -> Option<EvalView> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    async fn run(
        &self,
        id: RunId,
        suite: Suite,
        adapter: Side,
        against: Option<Side>,
    ) -> anyhow::Result<Value> {
        let suites = [suite];
        let rows = self.ask(id, &adapter, &suites, 0).await?;
        let Some(champion) = against else { return Ok(summary(&adapter.name(), &rows)) };
        let other = self.ask(id, &champion, &suites, rows.len()).await?;
        comparison((&adapter.name(), &rows), (&champion.name(), &other))
    }

    async fn ask(
        &self,
        id: RunId,
        side: &Side,
        suites: &[Suite],
        before: usize,
    ) -> anyhow::Result<Vec<RowResult>> {
        let progress = |done, _| self.change(id, |view| view.done = before + done);
        answer(&self.services, side, suites, &progress).await
    }

    async fn side(&self, reference: &AdapterRef) -> ControlResult<Side> {
        let adapter = self.services.registry.resolve(reference).map_err(Error::from)?;
        Ok(Side::load(&self.services, adapter).await?)
    }

    async fn suite(&self, request: &EvalRequest) -> ControlResult<Suite> {
        let (name, limit) = (request.suite.clone(), request.limit.unwrap_or(0));
        if let Some(lines) = &request.lines {
            let suite = Suite::parse(&name, Part::HeldOut, lines, limit);
            return suite.map_err(|error| ControlError::Invalid {
                message: error.to_string(),
                param: Some("lines"),
            });
        }
        if hone_eval::suite::builtin_names().contains(&name.as_str()) {
            return Suite::builtin(&name, limit)
                .map_err(|error| ControlError::Refused(error.to_string()));
        }
        let root = self.services.dirs.root().to_owned();
        let read = tokio::task::spawn_blocking(move || {
            let path = confined(&root, &name).map_err(ControlError::NotFound)?;
            Suite::load(&path, Part::HeldOut, limit)
                .map_err(|error| ControlError::Refused(error.to_string()))
        });
        read.await.map_err(Error::from)?
    }

    fn remember(&self, view: EvalView) {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.insert(view.id, view);
        while views.len() > REMEMBERED {
            let ended = views.values().find(|view| view.status != EvalStatus::Running);
            let Some(id) = ended.map(|view| view.id) else { break };
            views.remove(&id);
        }
    }

    fn change(&self, id: RunId, edit: impl FnOnce(&mut EvalView)) {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(view) = views.get_mut(&id) {
            edit(view);
        }
    }
}

/// A file below the data directory; nothing outside of it is read on a client's word.
fn confined(root: &std::path::Path, name: &str) -> Result<PathBuf, String> {
    let unknown = || {
        let known = hone_eval::suite::builtin_names().join(", ");
        format!("no suite `{name}`; name one of {known}, or a .jsonl file below the data directory")
    };
    let path = fs_err::canonicalize(root.join(name)).map_err(|_| unknown())?;
    let inside = path.starts_with(root) && path.extension().is_some_and(|it| it == "jsonl");
    inside.then_some(path).ok_or_else(unknown)
}

/// Two sides by question, each a name with its answers: the first one against the second.
///
/// # Errors
/// They did not answer the same questions.
pub fn comparison(
    (adapter, rows): (&str, &[RowResult]),
    (against, other): (&str, &[RowResult]),
) -> anyhow::Result<Value> {
    let mut report = serde_json::to_value(compare(other, rows, Bootstrap::default())?)?;
    report["adapter"] = json!(adapter);
    report["against"] = json!(against);
    Ok(report)
}

/// The scores of one side, which has this name.
pub fn summary(side: &str, rows: &[RowResult]) -> Value {
    let mut families: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for row in rows {
        let family = families.entry(&row.family).or_default();
        family.0 += 1;
        family.1 += usize::from(row.passed);
    }
    let figures = |(items, passed): (usize, usize)| {
        let (low, high) = hone_eval::stats::wilson(passed as u64, items as u64);
        json!({ "items": items, "passed": passed, "low": low, "high": high })
    };
    let passed = rows.iter().filter(|row| row.passed).count();
    let mut report = figures((rows.len(), passed));
    report["adapter"] = json!(side);
    report["stopped"] = json!(rows.iter().filter(|row| row.stopped).count());
    let families: BTreeMap<_, _> =
        families.into_iter().map(|(name, counts)| (name, figures(counts))).collect();
    report["families"] = json!(families);
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_suites_below_the_data_directory_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs_err::canonicalize(dir.path()).unwrap().join("data");
        fs_err::create_dir(&root).unwrap();
        for name in ["data/mine.jsonl", "data/hone.db", "outside.jsonl"] {
            fs_err::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(confined(&root, "mine.jsonl"), Ok(root.join("mine.jsonl")));
        let outside = dir.path().join("outside.jsonl");
        for name in ["../outside.jsonl", outside.to_str().unwrap(), "hone.db", "none.jsonl", ""] {
            let error = confined(&root, name).unwrap_err();
            assert!(error.contains("control_facts"), "{error}");
        }
    }
}
