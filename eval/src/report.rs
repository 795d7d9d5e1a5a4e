//! Champion against candidate, family by family.
//!
//! Prevents a comparison of unequal things: answers are paired row by row, and a row that only one
//! side answered is an error, not a rounding.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::conduct::Conduct;
use crate::evidence::Evidence;
use crate::row_result::RowResult;
use crate::stats::{Bootstrap, mcnemar_exact, paired_bootstrap, percent};
use crate::{Error, Part, Result};

/// How often two sides passed the same rows, and how sure the difference is. Points are hundredths
/// of all rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Rows.
    pub items: usize,
    /// Passed by the champion.
    pub champion: usize,
    /// Passed by the candidate.
    pub candidate: usize,
    /// Failed by the champion, passed by the candidate.
    pub gained: usize,
    /// Passed by the champion, failed by the candidate.
    pub lost: usize,
    /// Points by which the candidate is better.
    pub gain: f64,
    /// 95 % interval of the gain, in points.
    pub interval: (f64, f64),
    /// Exact two-sided McNemar test.
    pub p: f64,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FamilyLine {
    /// The family.
    pub family: String,
    /// What its suites are asked for.
    pub part: Part,
    /// The figures.
    #[serde(flatten)]
    pub comparison: Comparison,
}

/// How the candidate answers the controls, beside another side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConductChange {
    /// The other side.
    pub before: Conduct,
    /// The candidate.
    pub after: Conduct,
    /// Which answers end for one of them only.
    pub ends: Ends,
}

/// Answers that end by themselves for one side and not for the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// For the other side only.
    pub lost: usize,
    /// For the candidate only.
    pub gained: usize,
}

impl Ends {
    fn of(pairs: &[Pair<'_>]) -> Self {
        let count = |only: fn(&RowResult, &RowResult) -> bool| {
            pairs.iter().filter(|(before, after)| only(before, after)).count()
        };
        Self {
            lost: count(|before, after| before.stopped && !after.stopped),
            gained: count(|before, after| !before.stopped && after.stopped),
        }
    }

    /// The chance that so many more would end for the other side if both were alike: exact one-sided sign test.
    pub(crate) fn chance_of_loss(self) -> f64 {
        match self.lost > self.gained {
            true => mcnemar_exact(self.gained as u64, self.lost as u64) / 2.0,
            false => 1.0,
        }
    }
}

/// The whole comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// All held-out rows; `None` when none was asked.
    pub heldout: Option<Comparison>,
    /// All corrected questions that only the candidate was taught.
    #[serde(default)]
    pub taught: Option<Comparison>,
    /// All corrected questions that both sides were taught.
    #[serde(default)]
    pub kept: Option<Comparison>,
    /// All control rows; `None` when none was asked.
    pub controls: Option<Comparison>,
    /// The controls once more, the base's answers against the candidate's.
    #[serde(default)]
    pub against_base: Option<Comparison>,
    /// And by family.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub families_against_base: Vec<FamilyLine>,
    /// How the candidate answers the controls, beside the champion.
    #[serde(default)]
    pub conduct_change: Option<ConductChange>,
    /// And beside the base.
    #[serde(default)]
    pub conduct_change_against_base: Option<ConductChange>,
    /// What shows that the corrections teach something.
    #[serde(default)]
    pub evidence: Option<Evidence>,
    /// By family: held-out first, then what was taught, what was kept, and controls; each by name.
    pub families: Vec<FamilyLine>,
    /// All rows.
    pub items: usize,
    /// Rows to which both gave the same text.
    pub identical: usize,
    /// Answers of the champion that ended by themselves.
    pub champion_stopped: usize,
    /// Answers of the candidate that ended by themselves.
    pub candidate_stopped: usize,
    /// Which ended for one of them only.
    #[serde(default)]
    pub ends: Ends,
}

/// Compares two sides' answers to the same suites, in any order.
///
/// # Errors
/// [`Error::Unpaired`] when one side answered a row that the other did not, or nobody answered.
pub fn compare(
    champion: &[RowResult],
    candidate: &[RowResult],
    bootstrap: Bootstrap,
) -> Result<Report> {
    let pairs = pair(champion, candidate)?;
    let of_part = |part| {
        let chosen: Vec<_> = pairs.iter().copied().filter(|(a, _)| a.part == part).collect();
        (!chosen.is_empty()).then(|| comparison(&chosen, bootstrap))
    };
    let mut families: BTreeMap<(Part, &str), Vec<Pair<'_>>> = BTreeMap::new();
    for pair in &pairs {
        families.entry((pair.0.part, &pair.0.family)).or_default().push(*pair);
    }
    let line = |((part, family), pairs): ((Part, &str), Vec<Pair<'_>>)| FamilyLine {
        family: family.to_owned(),
        part,
        comparison: comparison(&pairs, bootstrap),
    };
    let conduct = Conduct::of(champion).zip(Conduct::of(candidate));
    let controls: Vec<_> =
        pairs.iter().copied().filter(|(row, _)| row.part == Part::Control).collect();
    let stopped = |rows: &[RowResult]| rows.iter().filter(|row| row.stopped).count();
    Ok(Report {
        heldout: of_part(Part::HeldOut),
        taught: of_part(Part::Taught),
        kept: of_part(Part::Kept),
        controls: of_part(Part::Control),
        against_base: None,
        families_against_base: Vec::new(),
        conduct_change: conduct.map(|(before, after)| ConductChange {
            before,
            after,
            ends: Ends::of(&controls),
        }),
        conduct_change_against_base: None,
        evidence: None,
        families: families.into_iter().map(line).collect(),
        items: pairs.len(),
        identical: pairs.iter().filter(|(a, b)| a.text == b.text).count(),
        champion_stopped: stopped(champion),
        candidate_stopped: stopped(candidate),
        ends: Ends::of(&pairs),
    })
}

type Pair<'a> = (&'a RowResult, &'a RowResult);

fn pair<'a>(champion: &'a [RowResult], candidate: &'a [RowResult]) -> Result<Vec<Pair<'a>>> {
    let key = |row: &'a RowResult| (row.part, row.suite.as_str(), row.row);
    let mut others: BTreeMap<_, &RowResult> = candidate.iter().map(|row| (key(row), row)).collect();
    if others.len() != candidate.len() {
        return Err(Error::Unpaired("two suites have the same name".to_owned()));
    }
    let mut pairs = Vec::with_capacity(champion.len());
    for row in champion {
        let place = || format!("row {} of `{}`", row.row + 1, row.suite);
        let Some(other) = others.remove(&key(row)) else {
            return Err(Error::Unpaired(format!("only the champion answered {}", place())));
        };
        if other.hash != row.hash {
            return Err(Error::Unpaired(format!("{} changed between the two", place())));
        }
        pairs.push((row, other));
    }
    if let Some(row) = others.into_values().next() {
        let place = format!("row {} of `{}`", row.row + 1, row.suite);
        return Err(Error::Unpaired(format!("only the candidate answered {place}")));
    }
    if pairs.is_empty() {
        return Err(Error::Unpaired("there are none".to_owned()));
    }
    Ok(pairs)
}

fn comparison(pairs: &[Pair<'_>], bootstrap: Bootstrap) -> Comparison {
    let count = |which: fn(&RowResult, &RowResult) -> bool| {
        pairs.iter().filter(|(a, b)| which(a, b)).count()
    };
    let (gained, lost) = (count(|a, b| !a.passed && b.passed), count(|a, b| a.passed && !b.passed));
    let difference = |(a, b): &Pair<'_>| f64::from(i8::from(b.passed) - i8::from(a.passed));
    let differences: Vec<f64> = pairs.iter().map(difference).collect();
    let (low, high) = paired_bootstrap(&differences, bootstrap);
    Comparison {
        items: pairs.len(),
        champion: count(|a, _| a.passed),
        candidate: count(|_, b| b.passed),
        gained,
        lost,
        gain: 100.0 * (gained as f64 - lost as f64) / pairs.len() as f64,
        interval: (100.0 * low, 100.0 * high),
        p: mcnemar_exact(gained as u64, lost as u64),
    }
}

impl Comparison {
    /// Share of rows that the champion passed, in percent.
    #[must_use]
    pub fn champion_percent(&self) -> f64 {
        percent(self.champion, self.items)
    }

    /// Share of rows that the candidate passed, in percent.
    #[must_use]
    pub fn candidate_percent(&self) -> f64 {
        percent(self.candidate, self.items)
    }
}

impl Report {
    /// The candidate's accuracy by family, between 0 and 1, as the registry keeps it.
    #[must_use]
    pub fn scores(&self) -> BTreeMap<String, f64> {
        let score = |line: &FamilyLine| {
            let c = &line.comparison;
            (line.family.clone(), c.candidate as f64 / c.items.max(1) as f64)
        };
        let lines = self.families.iter();
        let shown = |line: &&FamilyLine| !matches!(line.part, Part::Taught | Part::Kept);
        lines.filter(shown).map(score).collect()
    }

    /// A table for people, in fixed-width text.
    #[must_use]
    pub fn table(&self) -> String {
        let widest = self.families.iter().map(|line| line.family.chars().count()).max();
        let width = widest.unwrap_or(0).max("all held-out".len());
        let mut table = format!(
            "{:width$}  {:>5}  {:>6}  {:>6}  {:>6}  {:>15}  {:>7}\n",
            "family", "n", "before", "after", "change", "95 % interval", "p"
        );
        let mut line = |name: &str, c: &Comparison| {
            let interval = format!("{:+.1} to {:+.1}", c.interval.0, c.interval.1);
            let (before, after) = (c.champion_percent(), c.candidate_percent());
            let p = p_value(c.p);
            // writing to a String cannot fail
            let _ = writeln!(
                table,
                "{name:width$}  {:>5}  {before:>6.1}  {after:>6.1}  {:>+6.1}  {interval:>15}  {p:>7}",
                c.items, c.gain
            );
        };
        for (part, all, name) in [
            (Part::HeldOut, &self.heldout, "all held-out"),
            (Part::Taught, &self.taught, "all taught"),
            (Part::Kept, &self.kept, "all kept"),
            (Part::Control, &self.controls, "all controls"),
        ] {
            let lines = self.families.iter().filter(|family| family.part == part);
            for family in lines.filter(|_| part != Part::Taught && part != Part::Kept) {
                line(&family.family, &family.comparison);
            }
            if let Some(all) = all {
                line(name, all);
            }
        }
        table
    }
}

/// A probability for people: four digits, or its order of magnitude when it is tiny.
pub(crate) fn p_value(p: f64) -> String {
    if p >= 0.0001 { format!("{p:.4}") } else { format!("{p:.0e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn row(part: Part, family: &str, row: usize, passed: bool) -> RowResult {
        RowResult {
            suite: family.to_owned(),
            part,
            family: family.to_owned(),
            row,
            hash: format!("{family}-{row}"),
            text: if passed { "right" } else { "wrong" }.to_owned(),
            passed,
            stopped: true,
            tokens: 3,
        }
    }

    fn rows(pattern: &str) -> Vec<RowResult> {
        let row = |(i, c)| row(Part::HeldOut, "sums", i, c == '1');
        pattern.chars().enumerate().map(row).collect()
    }

    #[test]
    fn pairs_are_counted() {
        let report = compare(&rows("110000"), &rows("101110"), Bootstrap::default()).unwrap();
        let held = report.heldout.clone().unwrap();
        assert_eq!((held.items, held.champion, held.candidate), (6, 2, 4));
        assert_eq!((held.gained, held.lost), (3, 1));
        assert!((held.gain - 100.0 / 3.0).abs() < 1e-9);
        assert!((held.p - 0.625).abs() < 1e-12);
        assert_eq!(report.identical, 2);
        assert_eq!(report.controls, None);
        assert_eq!(report.scores()["sums"], 4.0 / 6.0);
        let table = report.table();
        assert!(table.contains("sums              6    33.3    66.7   +33.3"), "{table}");
    }

    #[test]
    fn order_does_not_matter_but_completeness_does() {
        let mut shuffled = rows("1011");
        shuffled.reverse();
        assert!(compare(&rows("0000"), &shuffled, Bootstrap::default()).is_ok());
        for (champion, candidate) in [("000", "00"), ("00", "000"), ("", "")] {
            let report = compare(&rows(champion), &rows(candidate), Bootstrap::default());
            assert!(matches!(report, Err(Error::Unpaired(_))), "{champion} {candidate}");
        }
        let mut changed = rows("00");
        changed[1].hash = "another".to_owned();
        let report = compare(&rows("00"), &changed, Bootstrap::default());
        assert!(matches!(report, Err(Error::Unpaired(_))));
    }
}
