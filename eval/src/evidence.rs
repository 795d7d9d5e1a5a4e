//! What shows that corrections teach something that holds beyond their own words.
//!
//! Two questions, each with a probability that chance alone gives as much. Do the answers belong to
//! their questions ([`crate::permutation`])? Random labels and shuffled answers fail here, however well
//! a model can learn them by heart. Are they likelier under adapters that never saw them than under the
//! one that serves? Where nothing was learned, they are not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::permutation::{Block, fit};
use crate::signed_rank::wilcoxon_signed_rank;

/// Rows of one matrix at most: it has as many cells as their square.
pub const BLOCK: usize = 12;
/// Draws of the permutation test.
const DRAWS: usize = 100_000;

/// A judged correction.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Cluster of similar questions.
    pub cluster: usize,
    /// Whose say it is.
    pub source: Option<String>,
    /// Mean log-probability of the correction under the adapter that serves.
    pub champion: f64,
    /// Under the adapter that never saw it.
    pub candidate: f64,
}

/// A square of likelihoods: each row is a question, each column an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Square {
    /// Mean log-probability by token, row by row.
    pub scores: Vec<f64>,
    /// Cluster of each row.
    pub clusters: Vec<usize>,
    /// Source of each row.
    pub sources: Vec<Option<String>>,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Measured {
    /// Corrections that the serving adapter was not taught.
    pub new: usize,
    /// Everyone who said something.
    pub sources: usize,
    /// Whether most corrections have a result that can be checked.
    pub checkable: bool,
    /// The share of the commonest answer, and how many corrections share theirs with another.
    pub commonest: f64,
    /// Whether most answers are given more than once, as labels are.
    pub repeated: bool,
    /// Judged rows.
    pub judged: Vec<Judged>,
    /// Under the adapters that did not see them.
    pub unseen: Vec<Square>,
    /// Under the adapter that serves.
    pub champion: Vec<Square>,
    /// Change of the mean log-probability of liked answers.
    pub liked: Vec<f64>,
}

/// The figures that the gate looks at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Corrections that the serving adapter was not taught.
    pub new: usize,
    /// Corrections judged by adapters that never saw them.
    pub judged: usize,
    /// Everyone who said something.
    pub sources: usize,
    /// Whether most corrections have a result that can be checked.
    pub checkable: bool,
    /// The share of the commonest answer, in percent.
    pub commonest: f64,
    /// Whether most answers are given more than once.
    pub repeated: bool,
    /// The probability that answers assigned by chance fit their questions as well.
    pub fit: f64,
    /// By how many nats a token the answers fit their questions better than others'.
    pub fit_nats: f64,
    /// The same without the corrections of the heaviest source; `None` with one or two sources.
    pub fit_without_heaviest: Option<f64>,
    /// The probability that unseen corrections become as much likelier by chance; `None` if none was
    /// judged.
    pub gain: Option<f64>,
    /// By how many nats a token they become likelier.
    pub gain_nats: f64,
    /// Mean change of liked answers in nats a token; `None` without any.
    pub liked: Option<f64>,
}

impl Evidence {
    /// Works out the figures.
    ///
    /// # Errors
    /// [`crate::Error::Scores`] for a likelihood that is not finite.
    pub fn of(measured: &Measured, seed: u64) -> Result<Self> {
        let (p, nats) = fits(&measured.unseen, &measured.champion, seed, None)?;
        let without = |source| fits(&measured.unseen, &measured.champion, seed, Some(source));
        let heaviest = heaviest(measured);
        let gains = by_cluster(&measured.judged);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        Ok(Self {
            new: measured.new,
            judged: measured.judged.len(),
            sources: measured.sources,
            checkable: measured.checkable,
            commonest: 100.0 * measured.commonest,
            repeated: measured.repeated,
            fit: p,
            fit_nats: nats,
            fit_without_heaviest: heaviest.map(without).transpose()?.map(|(p, _)| p),
            gain: (!gains.is_empty()).then(|| wilcoxon_signed_rank(&gains)),
            gain_nats: mean(&gains),
            liked: (!measured.liked.is_empty()).then(|| mean(&measured.liked)),
        })
    }

    /// What the night's test came to: the larger of its probabilities.
    #[must_use]
    pub fn p(&self) -> f64 {
        self.fit.max(self.gain.unwrap_or(0.0))
    }
}

/// How well answers fit, under either of the two that do not know them. Asked twice, the smaller
/// probability counts twice (Bonferroni).
fn fits(
    unseen: &[Square],
    champion: &[Square],
    seed: u64,
    without: Option<&Option<String>>,
) -> Result<(f64, f64)> {
    let test = |squares: &[Square]| -> Result<_> {
        let blocks = squares.iter().map(|square| square.block(without));
        Ok(fit(&blocks.collect::<Result<Vec<Block>>>()?, seed, DRAWS))
    };
    let (one, other) = (test(unseen)?, test(champion)?);
    let better = if one.p <= other.p { &one } else { &other };
    Ok(((2.0 * better.p).min(1.0), better.statistic))
}

impl Square {
    /// Copies of one question count as one.
    fn block(&self, without: Option<&Option<String>>) -> Result<Block> {
        let n = self.clusters.len();
        let stays: Vec<usize> =
            (0..n).filter(|at| without.is_none_or(|source| self.sources[*at] != *source)).collect();
        let scores = stays.iter().flat_map(|row| stays.iter().map(move |column| (row, column)));
        let scores = scores.map(|(row, column)| self.scores[row * n + column]).collect();
        let clusters = stays.iter().map(|at| self.clusters[*at]).collect();
        Ok(Block::new(scores, clusters)?.merged())
    }
}

/// The source with the most judged corrections, if there are three or more.
fn heaviest(measured: &Measured) -> Option<&Option<String>> {
    let mut rows: BTreeMap<&Option<String>, usize> = BTreeMap::new();
    for source in measured.champion.iter().flat_map(|square| &square.sources) {
        *rows.entry(source).or_default() += 1;
    }
    if rows.len() < 3 {
        return None;
    }
    rows.into_iter().max_by_key(|(_, count)| *count).map(|(source, _)| source)
}

/// The mean gain of each cluster: copies count as one.
fn by_cluster(judged: &[Judged]) -> Vec<f64> {
    let mut clusters: BTreeMap<usize, (f64, usize)> = BTreeMap::new();
    for row in judged {
        let (sum, count) = clusters.entry(row.cluster).or_default();
        *sum += row.candidate - row.champion;
        *count += 1;
    }
    clusters.into_values().map(|(sum, count)| sum / count as f64).collect()
}
