//! What the demo's users ask: rows of the shipped workloads.

use std::time::Duration;

use anyhow::{Context as _, bail};
use hone_api::check::SuiteRow;
use hone_eval::Scorer;

/// The five families that the starter model never saw.
pub const FAMILIES: [&str; 5] = ["averages", "discounts", "house_format", "northwind", "triage"];
/// Questions that users ask of the five families, in all.
const TEACHING: usize = 200;
/// And of a model that takes its time.
const TEACHING_A_SLOW_ONE: usize = 100;
/// What the evening of ten corrections takes a model that takes its time.
const SLOW_EVENING: Duration = Duration::from_mins(3);
/// Most questions of one family: the workload has 400.
const TEACHING_PER_FAMILY: usize = 300;

/// A question with its check, ready to be asked.
#[derive(Debug)]
pub struct Question {
    /// The row it comes from.
    pub row: SuiteRow,
    /// Whether its family is one of the skills that must not suffer.
    pub is_control: bool,
    scorer: Scorer,
}

impl Question {
    /// Of a row.
    ///
    /// # Errors
    /// Its check cannot be applied.
    pub fn new(row: SuiteRow) -> anyhow::Result<Self> {
        let is_control = row.family.starts_with("control_");
        Ok(Self { is_control, scorer: Scorer::new(&row.check)?, row })
    }

    /// Whether an answer passes.
    pub fn passes(&self, answer: &str) -> bool {
        self.scorer.passes(answer)
    }

    /// What the user says last.
    pub fn text(&self) -> &str {
        self.row.messages.last().map_or("", |message| message.content.as_str())
    }
}

/// The families to teach: those named, or all five.
///
/// # Errors
/// A name that is none of the five.
pub fn families(named: &[String]) -> anyhow::Result<Vec<&'static str>> {
    if let Some(wrong) = named.iter().find(|name| !FAMILIES.contains(&name.as_str())) {
        bail!("`{wrong}` is no family of the demo; choose of {}", FAMILIES.join(", "));
    }
    let chosen = |family: &&str| named.is_empty() || named.iter().any(|name| name == family);
    Ok(FAMILIES.into_iter().filter(chosen).collect())
}

/// The first questions of a family with `count` different answers.
///
/// # Errors
/// This build does not hold the workloads.
pub fn distinct(family: &str, count: usize) -> anyhow::Result<Vec<Question>> {
    let mut seen = std::collections::BTreeSet::new();
    let rows = rows(family, "feedback")?.into_iter();
    let rows = rows.filter(|row| seen.insert(row.reference.clone())).take(count);
    rows.map(Question::new).collect()
}

/// How many questions are taught to a model, by the time that its evening took.
pub fn teaching_by(evening: Duration) -> usize {
    if evening > SLOW_EVENING { TEACHING_A_SLOW_ONE } else { TEACHING }
}

/// What users ask before the cycle: so many questions of the families, mixed with everyday questions that
/// nobody says anything about unless they like the answer.
///
/// # Errors
/// This build does not hold the workloads.
pub fn teaching(families: &[&str], count: usize) -> anyhow::Result<Vec<Question>> {
    let each = (count / families.len().max(1)).min(TEACHING_PER_FAMILY);
    let mut chosen = Vec::new();
    for family in families {
        chosen.push(spread(rows(family, "feedback")?, each));
    }
    let count: usize = chosen.iter().map(Vec::len).sum();
    chosen.push(spread(rows("rehearsal", "rehearsal")?, count / 4));
    interleave(chosen).into_iter().map(Question::new).collect()
}

/// The held-out questions: `each` of every family, half as many of every control.
///
/// # Errors
/// This build does not hold the workloads.
pub fn heldout(families: &[&str], each: usize) -> anyhow::Result<Vec<Question>> {
    let mut chosen = Vec::new();
    for (name, _) in hone_model::starter::workloads() {
        if families.contains(name) {
            chosen.push(spread(rows(name, "heldout")?, each));
        } else if name.starts_with("control_") {
            chosen.push(spread(rows(name, "heldout")?, each.div_ceil(2)));
        }
    }
    interleave(chosen).into_iter().map(Question::new).collect()
}

/// How many held-out questions of each family can be asked with `total` questions in all.
pub fn each_of(total: usize, families: usize) -> usize {
    // Twelve controls with half as many questions each.
    (total / (families + 6)).clamp(20, 200)
}

fn rows(name: &str, split: &str) -> anyhow::Result<Vec<SuiteRow>> {
    let lines = hone_model::starter::workload(name).with_context(|| {
        format!("this build has no workload `{name}`; build with the feature `starter`")
    })?;
    let mut rows = Vec::new();
    for line in lines.lines() {
        let row: SuiteRow = serde_json::from_str(line)?;
        if row.split == split {
            rows.push(row);
        }
    }
    Ok(rows)
}

/// `count` rows, evenly spread over all.
fn spread<T>(all: Vec<T>, count: usize) -> Vec<T> {
    let len = all.len();
    let keep = |index: usize| (index + 1) * count / len > index * count / len;
    all.into_iter()
        .enumerate()
        .filter(|(index, _)| count >= len || keep(*index))
        .map(|(_, row)| row)
        .collect()
}

/// Rows of all groups in turn, as users of all kinds come in turn.
fn interleave<T>(groups: Vec<Vec<T>>) -> Vec<T> {
    let mut placed: Vec<(f64, T)> = Vec::new();
    for group in groups {
        #[allow(clippy::cast_precision_loss, reason = "a few hundred rows")]
        let step = 1.0 / group.len().max(1) as f64;
        let mut at = step / 2.0;
        for row in group {
            placed.push((at, row));
            at += step;
        }
    }
    placed.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    placed.into_iter().map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_even_and_exact() {
        assert_eq!(spread((0..10).collect(), 5), [1, 3, 5, 7, 9]);
        assert_eq!(spread((0..200).collect::<Vec<_>>(), 83).len(), 83);
        assert_eq!(spread(vec![1, 2], 9), [1, 2]);
    }

    #[test]
    fn groups_are_mixed() {
        assert_eq!(interleave(vec![vec![1, 1, 1, 1], vec![2, 2]]), [1, 2, 1, 1, 2, 1]);
    }

    #[test]
    fn every_fifth_question_is_an_everyday_one() {
        let all = families(&[]).unwrap();
        let rows = teaching(&all, teaching_by(SLOW_EVENING)).unwrap();
        assert_eq!(rows.iter().filter(|one| one.row.family == "rehearsal").count(), 50);
        assert_eq!(rows.iter().filter(|one| one.row.family == "triage").count(), 40);
        let slow = teaching(&all, teaching_by(SLOW_EVENING * 2)).unwrap();
        assert_eq!(slow.iter().filter(|one| one.row.family == "triage").count(), 20);
        let one = teaching(&families(&["triage".to_owned()]).unwrap(), TEACHING).unwrap();
        assert_eq!(one.len(), 250, "200 and a quarter more");
        assert!(families(&["nothing".to_owned()]).is_err());
    }

    #[test]
    fn what_is_measured_was_never_taught() {
        let all = families(&[]).unwrap();
        let taught: std::collections::BTreeSet<String> =
            teaching(&all, TEACHING).unwrap().iter().map(|one| one.text().to_owned()).collect();
        let measured = heldout(&all, 200).unwrap();
        assert_eq!(measured.len(), 2200);
        let held: Vec<_> = measured.iter().filter(|one| !one.is_control).collect();
        assert_eq!(held.len(), 1000);
        assert!(held.iter().all(|one| !taught.contains(one.text())));
    }

    #[test]
    fn a_reference_passes_its_own_check() {
        for question in heldout(&families(&[]).unwrap(), 20).unwrap() {
            assert!(question.passes(&question.row.reference), "{:?}", question.row);
        }
    }
}
