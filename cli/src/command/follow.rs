//! Watches a cycle through its event stream until it stands still.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hone_api::cycle::{CycleEvent, CycleStatus, CycleView, Step};

use super::words::{number, word};
use crate::client::{Client, ClientError, path};
use crate::output::{Bars, Output};

/// A cycle that stands still, and how long its steps took.
#[derive(Debug)]
pub struct Followed {
    /// The cycle at its end.
    pub view: CycleView,
    /// Time of each step.
    pub times: BTreeMap<Step, Duration>,
}

/// Follows the cycle to its end and shows its progress. A stream that breaks is taken up again
/// where it broke.
///
/// # Errors
/// The daemon is gone for more than a few seconds, or refuses.
pub async fn follow(client: &Client, id: &str, output: Output) -> Result<Followed, ClientError> {
    let mut show = Show::new(output);
    let (mut seen, mut failures) = (0, 0);
    loop {
        match read(client, id, &mut seen, &mut show).await {
            Ok(()) => failures = 0,
            Err(ClientError::Refused { status, .. }) if status < 500 => {
                return Err(error_again(client, id).await);
            }
            Err(error) if failures >= 20 => return Err(error),
            Err(_) => failures += 1,
        }
        match client.get::<CycleView>(&path::cycle(id)?).await {
            Ok(view) if !matches!(view.status, CycleStatus::Queued | CycleStatus::Running) => {
                return Ok(Followed { times: show.end(), view });
            }
            Err(error) if failures >= 20 => return Err(error),
            Err(_) => failures += 1,
            Ok(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// The refusal of the cycle itself, which names what is wrong better than the stream's.
async fn error_again(client: &Client, id: &str) -> ClientError {
    let found = match path::cycle(id) {
        Ok(path) => client.get::<CycleView>(&path).await,
        Err(error) => Err(error),
    };
    match found {
        Err(error) => error,
        Ok(_) => ClientError::Foreign {
            url: client.url().to_owned(),
            reason: "it has the cycle but no events of it".to_owned(),
        },
    }
}

async fn read(
    client: &Client,
    id: &str,
    seen: &mut u64,
    show: &mut Show,
) -> Result<(), ClientError> {
    let mut events = client.events(&format!("{}/events", path::cycle(id)?)).await?;
    while let Some(event) = events.next().await? {
        let Ok(event) = serde_json::from_str::<CycleEvent>(&event.data) else { continue };
        if event.sequence > *seen {
            *seen = event.sequence;
            show.event(&event);
        }
    }
    Ok(())
}

/// One bar for the step that runs.
struct Show {
    output: Output,
    bar: Option<(Step, Bars)>,
    pace: Pace,
    times: BTreeMap<Step, Duration>,
}

impl Show {
    fn new(output: Output) -> Self {
        Self { output, bar: None, pace: Pace::new(), times: BTreeMap::new() }
    }

    fn event(&mut self, event: &CycleEvent) {
        if self.bar.as_ref().is_none_or(|(step, _)| *step != event.step) {
            self.finish("");
            self.pace = Pace::new();
            self.bar = Some((event.step, Bars::new(self.output, title(event.step), 0)));
        }
        match event.kind.as_str() {
            "step_finished" => self.finish(&event.message),
            "progress" => {
                let count = |name: &str| event.data.get(name).and_then(serde_json::Value::as_u64);
                let (done, total) = match (count("step"), count("steps")) {
                    (Some(step), Some(steps)) => (step, steps),
                    _ => (count("done").unwrap_or(0), count("total").unwrap_or(0)),
                };
                let left = self.pace.left(done, total);
                if let Some((_, bar)) = &mut self.bar {
                    bar.at(done, total, &note(event, left));
                }
            }
            "failed" | "cancelled" => {
                self.bar = None;
                self.output.say(format_args!("{}: {}", event.kind, event.message));
            }
            _ => {}
        }
    }

    fn finish(&mut self, message: &str) {
        if let Some((step, bar)) = self.bar.take() {
            *self.times.entry(step).or_default() += bar.finish(message);
        }
    }

    fn end(mut self) -> BTreeMap<Step, Duration> {
        self.bar = None;
        self.times
    }
}

fn title(step: Step) -> &'static str {
    match step {
        Step::Select => "Choose what to learn from",
        Step::Train => "Train a candidate",
        Step::Register => "Verify the adapter",
        Step::Evaluate => "Compare it on held-out questions",
        Step::Decide => "Decide",
        Step::Promote => "Promote",
    }
}

/// How fast the run goes that is under way. A step may have several, each of which counts from nothing.
struct Pace {
    since: Instant,
    from: u64,
    done: u64,
}

impl Pace {
    fn new() -> Self {
        Self { since: Instant::now(), from: 0, done: 0 }
    }

    /// How long the rest will take.
    fn left(&mut self, done: u64, total: u64) -> Option<Duration> {
        if done < self.done {
            (self.since, self.from) = (Instant::now(), done);
        }
        self.done = done;
        eta(self.since.elapsed(), done - self.from.min(done), total.checked_sub(done)?)
    }
}

fn eta(elapsed: Duration, done: u64, left: u64) -> Option<Duration> {
    #[allow(clippy::cast_precision_loss, reason = "an estimate")]
    (done > 0).then(|| elapsed.mul_f64(left as f64 / done as f64))
}

/// Behind the bar: the figures that a person watches.
fn note(event: &CycleEvent, left: Option<Duration>) -> String {
    let figure = |name: &str| event.data.get(name).and_then(serde_json::Value::as_f64);
    let mut parts = Vec::new();
    for (name, unit) in [("loss", "loss"), ("validation_loss", "validation")] {
        if let Some(value) = figure(name) {
            parts.push(format!("{unit} {value:.3}"));
        }
    }
    if let Some(speed) = figure("tokens_per_second") {
        parts.push(format!("{} tokens/s", number(speed.round())));
    }
    if let Some(left) = left {
        parts.push(format!("{} left", crate::output::human_duration(left)));
    }
    if parts.is_empty() {
        parts.push(if event.message.is_empty() {
            word(&event.step)
        } else {
            event.message.clone()
        });
    }
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_of_a_step_has_a_pace_of_its_own() {
        let mut pace = Pace::new();
        assert_eq!(pace.left(0, 90), None, "nothing is known yet");
        pace.since = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        assert_eq!(pace.left(30, 90).unwrap().as_secs(), 20);
        // The next run begins, and the time of the one before says nothing about it.
        assert_eq!(pace.left(2, 50), None);
        assert!(pace.left(4, 50).unwrap() < Duration::from_secs(5));
    }
}
