//! Before and after: the table that the demo ends with.

use std::time::Duration;

use hone_api::cycle::{CycleView, Verdict};
use serde::Serialize;

use super::ask::Round;
use super::story::Story;
use super::workload::Question;
use crate::output::{Output, Table, human_duration};

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// The family, or all of a kind.
    pub family: String,
    /// Questions.
    pub n: usize,
    /// Right answers of the base, in percent.
    pub before: f64,
    /// Right answers of what serves now, in percent.
    pub after: f64,
    /// The difference in points.
    pub change: f64,
}

/// One question with both answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// The question.
    pub question: String,
    /// The base's answer.
    pub before: String,
    /// The answer of what serves now.
    pub after: String,
}

/// One stage and its time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageTime {
    /// What was done.
    pub stage: String,
    /// How long it took.
    pub seconds: f64,
}

/// All that the demo has to say at its end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DemoReport {
    /// What happened first.
    pub story: Story,
    /// Whether a candidate serves now and the held-out accuracy rose.
    pub success: bool,
    /// What the gate decided.
    pub verdict: Option<Verdict>,
    /// Why.
    pub reason: String,
    /// What serves now.
    pub adapter: String,
    /// What the cycle made, whether or not it serves.
    pub candidate: Option<String>,
    /// The families that were taught.
    pub taught: Vec<Line>,
    /// All of them together.
    pub taught_total: Line,
    /// The controls: what the model could before.
    pub controls: Vec<Line>,
    /// All of them together.
    pub controls_total: Line,
    /// One question with both answers.
    pub sample: Option<Sample>,
    /// The time that each stage took.
    pub stages: Vec<StageTime>,
    /// All of it.
    pub seconds: f64,
    /// Where the daemon still listens.
    pub url: Option<String>,
}

/// The lines of the table for the held-out questions of one kind, and their total.
pub fn lines(
    questions: &[Question],
    before: &Round,
    after: &Round,
    controls: bool,
) -> (Vec<Line>, Line) {
    let mut families: Vec<&str> = Vec::new();
    for question in questions.iter().filter(|question| question.is_control == controls) {
        if !families.contains(&question.row.family.as_str()) {
            families.push(&question.row.family);
        }
    }
    families.sort_unstable();
    let line = |name: &str, of: &dyn Fn(&Question) -> bool| {
        let chosen: Vec<usize> =
            questions.iter().enumerate().filter(|(_, one)| of(one)).map(|(at, _)| at).collect();
        let right = |round: &Round| {
            let right =
                chosen.iter().filter(|at| round.asked.get(**at).is_some_and(|one| one.passed));
            percent(right.count(), chosen.len())
        };
        let (before, after) = (right(before), right(after));
        Line { family: name.to_owned(), n: chosen.len(), before, after, change: after - before }
    };
    let each = |family: &&str| line(family, &|one: &Question| one.row.family == **family);
    let total = if controls { "all controls" } else { "all taught" };
    (families.iter().map(each).collect(), line(total, &|one| one.is_control == controls))
}

#[allow(clippy::cast_precision_loss, reason = "a few thousand questions")]
fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

/// A question that the base got wrong and the adapter right; of those the shortest to read.
pub fn sample(questions: &[Question], before: &Round, after: &Round) -> Option<Sample> {
    let all = questions.iter().zip(&before.asked).zip(&after.asked);
    let learned = all.filter(|((_, before), after)| !before.passed && after.passed);
    let shortest = learned.min_by_key(|((question, before), after)| {
        question.text().len() + before.text.len() + after.text.len()
    });
    shortest.map(|((question, before), after)| Sample {
        question: question.text().to_owned(),
        before: before.text.trim().to_owned(),
        after: after.text.trim().to_owned(),
    })
}

/// Whether the demo showed what it is there to show.
pub fn succeeded(view: &CycleView, taught: &Line) -> bool {
    view.verdict == Some(Verdict::Promoted) && taught.change > 0.0
}

/// A stage with its time.
pub fn stage(name: &str, time: Duration) -> StageTime {
    StageTime { stage: name.to_owned(), seconds: (time.as_secs_f64() * 10.0).round() / 10.0 }
}

impl DemoReport {
    /// What to do next.
    pub fn closing_words(&self) -> String {
        let failed = "hone: the demo did not end with a better model";
        match (self.success, &self.url, &self.candidate) {
            (true, Some(url), _) => format!(
                "Talk to it: `hone chat --url {url}`; see why it was promoted: `hone why --url {url}`."
            ),
            (true, None, _) => "Next: `hone` serves on http://127.0.0.1:8080; `hone chat` talks to it, /fix TEXT teaches it.".to_owned(),
            (false, Some(url), Some(id)) => format!("{failed}; `hone why {id} --url {url}` tells why"),
            (false, Some(url), None) => format!("{failed}; `hone cycle show --url {url}` tells why"),
            (false, None, _) => format!(
                "{failed}; run it again with --keep, which leaves the daemon there to be asked why"
            ),
        }
    }

    /// The totals of the table.
    fn in_a_sentence(&self) -> String {
        let (taught, controls) = (&self.taught_total, &self.controls_total);
        format!(
            "of {} unseen questions of what was taught {:.1} % were right and {:.1} % are; of {} of what \
             must be kept {:.1} % were and {:.1} % are.",
            taught.n, taught.before, taught.after, controls.n, controls.before, controls.after
        )
    }

    /// Prints it.
    ///
    /// # Errors
    /// stdout is closed.
    pub fn print(&self, output: Output) -> std::io::Result<()> {
        if output.is_json() {
            return output.value(self);
        }
        output.heading("One evening, ten corrections")?;
        output.line(self.story.tell())?;
        let (question, answer) = &self.story.sample;
        for (who, text) in [("user", question), ("after", answer)] {
            output.line(format_args!("{who:>8}  {}", text.replace('\n', "\n          ")))?;
        }
        output.heading("Many users: unseen questions of what was taught, and what must be kept")?;
        let mut table = Table::new(&["family", ">n", ">before %", ">after %", ">change"]);
        for (lines, total) in
            [(&self.taught, &self.taught_total), (&self.controls, &self.controls_total)]
        {
            for line in lines.iter().chain([total]) {
                add(&mut table, line);
            }
            table.gap();
        }
        output.table(&table)?;
        let verdict = self.verdict.map_or("no verdict", |verdict| match verdict {
            Verdict::Promoted => "Promoted",
            Verdict::Rejected => "Rejected",
            Verdict::Held => "Held for a person to decide",
            Verdict::Skipped => "Skipped",
        });
        output.line(format_args!("{verdict}: {}", self.in_a_sentence()))?;
        output.line(format_args!("By the gate, on questions of its own: {}", self.reason))?;
        if let Some(sample) = &self.sample {
            output.heading("One of the questions")?;
            for (who, text) in
                [("user", &sample.question), ("before", &sample.before), ("after", &sample.after)]
            {
                output.line(format_args!("{who:>8}  {}", text.replace('\n', "\n          ")))?;
            }
        }
        output.heading("Time")?;
        let mut table = Table::new(&["stage", ">time"]);
        for one in &self.stages {
            table.row(&[&one.stage, &human_duration(Duration::from_secs_f64(one.seconds))]);
        }
        table.row(&[&"all", &human_duration(Duration::from_secs_f64(self.seconds))]);
        output.table(&table)
    }
}

fn add(table: &mut Table, line: &Line) {
    table.row(&[
        &line.family,
        &line.n,
        &format!("{:.1}", line.before),
        &format!("{:.1}", line.after),
        &format!("{:+.1}", line.change),
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failure_the_words_name_what_can_be_asked_for() {
        let none = Line { family: String::new(), n: 0, before: 0.0, after: 0.0, change: 0.0 };
        let story = Story {
            corrections: 10,
            before: 0,
            after: 10,
            reworded: 30,
            reworded_right: 29,
            verdict: Some(Verdict::Promoted),
            reason: String::new(),
            sample: (String::new(), String::new()),
        };
        let mut report = DemoReport {
            story,
            success: false,
            verdict: Some(Verdict::Rejected),
            reason: String::new(),
            adapter: "base".to_owned(),
            candidate: Some("ad-1".to_owned()),
            taught: Vec::new(),
            taught_total: none.clone(),
            controls: Vec::new(),
            controls_total: none,
            sample: None,
            stages: Vec::new(),
            seconds: 0.0,
            url: Some("http://h:1".to_owned()),
        };
        assert!(report.closing_words().contains("`hone why ad-1 --url http://h:1`"));
        report.candidate = None;
        assert!(report.closing_words().contains("`hone cycle show --url http://h:1`"));
        report.url = None;
        assert!(report.closing_words().contains("again with --keep"));
    }
}
