//! What shows that corrections teach something that holds beyond their own words.
//!
//! Two questions, each with a probability that chance alone gives as much. Do the answers belong to
//! their questions ([`crate::permutation`])? Random labels and shuffled answers fail here, however well
//! a model can learn them by heart. Are they likelier under adapters that never saw them than under the
//! one that serves? Where nothing was learned, they are not.
//!
//! An answer with a neighbour that says something else in the same sentence ([`crate::alike()`]) must fit
//! better than that neighbour: of contradictions none does.
//!
//! Answers are dealt out within their group ([`crate::groups()`]) and each large group is looked at alone:
//! what one skill shows says nothing of labels at random beside it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::alike::Alike;
use crate::permutation::{Block, fit};
use crate::shares::binomial_greater;
use crate::signed_rank::wilcoxon_signed_rank;

/// Cells of all matrices together, about: each is an answer to be weighed.
const CELLS: usize = 6000;
/// With so many corrections the serving adapter is not asked whether they fit: those that judge tell.
pub const MANY: usize = 100;
/// So many corrections can tell alone.
const ENOUGH: usize = 20;
/// Where there are two sources, the lighter one is asked alone if it sent so many corrections.
const ENOUGH_OF_TWO: usize = 8;
/// Draws of the permutation test.
const DRAWS: usize = 100_000;

/// How many of so many rows stand in one matrix: fewer of many, since it has as many cells as their
/// square.
#[must_use]
pub fn block_of(rows: usize) -> usize {
    (CELLS / rows.max(1)).clamp(4, 12)
}

/// A judged correction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Square {
    /// Mean log-probability by token, row by row.
    pub scores: Vec<f64>,
    /// Cluster of each row.
    pub clusters: Vec<usize>,
    /// Source of each row.
    pub sources: Vec<Option<String>>,
    /// Of each row its neighbours among the answers.
    pub alike: Vec<Option<Alike>>,
    /// The group of all rows; `None` for the rest, or where there is one group only.
    pub group: Option<String>,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Measured {
    /// Corrections that the serving adapter was not taught.
    pub new: usize,
    /// Everyone who said something.
    pub sources: usize,
    /// Whether most corrections have a result that can be checked.
    pub checkable: bool,
    /// The share of the commonest answer, and how many corrections share theirs with another.
    pub commonest: f64,
    /// Whether answers are given three times on average or more, as labels are.
    pub repeated: bool,
    /// Whether most answers have a neighbour that says something else in the same sentence.
    pub alike: bool,
    /// Judged rows.
    pub judged: Vec<Judged>,
    /// Under the adapters that did not see them.
    pub unseen: Vec<Square>,
    /// Under the adapter that serves; none where there are [`MANY`].
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
    /// Whether answers are given three times on average or more.
    pub repeated: bool,
    /// Whether most answers have a neighbour that says something else in the same sentence.
    #[serde(default)]
    pub alike: bool,
    /// The probability that answers assigned by chance fit their questions as well.
    pub fit: f64,
    /// By how many nats a token the answers fit their questions better than others'.
    pub fit_nats: f64,
    /// The same of each large group alone, where there is more than one group.
    #[serde(default)]
    pub groups: Vec<GroupFit>,
    /// The same without the corrections of the heaviest source; `None` with one source, or with two of
    /// which the other said too little.
    pub fit_without_heaviest: Option<f64>,
    /// The probability that unseen corrections become as much likelier by chance; `None` if none was
    /// judged.
    pub gain: Option<f64>,
    /// By how many nats a token they become likelier.
    pub gain_nats: f64,
    /// The gain without the corrections of the heaviest source; `None` where the others said too
    /// little.
    #[serde(default)]
    pub gain_without_heaviest: Option<f64>,
    /// Mean change of liked answers in nats a token; `None` without any.
    pub liked: Option<f64>,
    /// What the judge preferred; `None` where none is configured or nothing is left to its taste.
    #[serde(default)]
    pub judge: Option<Preferences>,
}

/// How well the answers of one group fit their questions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupFit {
    /// The group; `None` for the rest.
    pub name: Option<String>,
    /// Corrections, copies counted once.
    pub rows: usize,
    /// The probability that answers assigned by chance fit as well.
    pub fit: f64,
}

/// How often a judge preferred an answer in both orders.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preferences {
    /// The candidate's.
    pub candidate: u64,
    /// The champion's.
    pub champion: u64,
    /// Neither.
    pub ties: u64,
    /// Of the judge's model, its rubric and the prompt.
    pub digest: String,
}

/// Fewer preferences than these decide nothing.
const FEWEST_PREFERENCES: u64 = 5;

impl Preferences {
    /// Whether the judge saw a difference often enough to decide. Of facts that an adapter was not
    /// told neither side knows any, and all answers are equally bad.
    #[must_use]
    pub const fn decide(&self) -> bool {
        self.candidate + self.champion >= FEWEST_PREFERENCES
    }

    /// The probability that a judge without a preference prefers the candidate as often (sign test).
    #[must_use]
    pub fn p(&self) -> f64 {
        binomial_greater(self.candidate, self.candidate + self.champion, 0.5)
    }
}

impl Evidence {
    /// Works out the figures.
    ///
    /// # Errors
    /// [`crate::Error::Scores`] for a likelihood that is not finite.
    pub fn of(measured: &Measured, seed: u64) -> Result<Self> {
        Self::with_draws(measured, seed, DRAWS)
    }

    /// The same with so many draws of the permutation test: fewer are faster and no less honest.
    pub(crate) fn with_draws(measured: &Measured, seed: u64, draws: usize) -> Result<Self> {
        let fits = |of| fits(measured, (seed, draws), of);
        let (p, nats) = fits(Rows::All)?;
        let heaviest = heaviest(measured);
        let without = |source| fits(Rows::Without(source));
        let groups = large_groups(measured).into_iter().map(|(name, rows)| {
            let (fit, _) = fits(Rows::Of(name))?;
            Ok(GroupFit { name: name.clone(), rows, fit })
        });
        let gains = by_cluster(&measured.judged);
        let of_others = heaviest.map(|heaviest| {
            let others = measured.judged.iter().filter(|row| row.source != *heaviest);
            by_cluster(&others.cloned().collect::<Vec<_>>())
        });
        let of_others = of_others.filter(|gains| gains.len() >= ENOUGH);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        Ok(Self {
            new: measured.new,
            judged: measured.judged.len(),
            sources: measured.sources,
            checkable: measured.checkable,
            commonest: 100.0 * measured.commonest,
            repeated: measured.repeated,
            alike: measured.alike,
            fit: p,
            fit_nats: nats,
            groups: groups.collect::<Result<_>>()?,
            fit_without_heaviest: heaviest.map(without).transpose()?.map(|(p, _)| p),
            gain: (!gains.is_empty()).then(|| wilcoxon_signed_rank(&gains)),
            gain_nats: mean(&gains),
            gain_without_heaviest: of_others.map(|gains| wilcoxon_signed_rank(&gains)),
            liked: (!measured.liked.is_empty()).then(|| mean(&measured.liked)),
            judge: None,
        })
    }

    /// What the night's test came to: that of the fit, and of a judge that decides. The gain in
    /// likelihood is asked for less strictly, and is no part of it.
    #[must_use]
    pub fn p(&self) -> f64 {
        self.fit.max(self.deciding_judge().map_or(0.0, Preferences::p))
    }

    /// The judge, if it decides.
    #[must_use]
    pub fn deciding_judge(&self) -> Option<&Preferences> {
        self.judge.as_ref().filter(|judge| judge.decide())
    }
}

/// Whose corrections are looked at.
#[derive(Clone, Copy)]
pub(crate) enum Rows<'a> {
    All,
    /// Those that this source did not send.
    Without(&'a Option<String>),
    /// Those of one group.
    Of(&'a Option<String>),
}

/// How well answers fit, under either of the two that do not know them. Where both are asked, the
/// smaller probability counts twice (Bonferroni).
fn fits(measured: &Measured, (seed, draws): (u64, usize), of: Rows<'_>) -> Result<(f64, f64)> {
    let test = |squares: &[Square]| -> Result<_> {
        let mut blocks = Vec::new();
        for square in squares {
            blocks.extend(square.blocks_of_neighbours(of)?);
            blocks.push(square.block(of)?);
        }
        Ok(fit(&blocks, seed, draws))
    };
    let (one, other) = (test(&measured.unseen)?, test(&measured.champion)?);
    if measured.unseen.is_empty() {
        return Ok((other.p, other.statistic));
    }
    if measured.champion.is_empty() {
        return Ok((one.p, one.statistic));
    }
    let better = if one.p <= other.p { &one } else { &other };
    Ok(((2.0 * better.p).min(1.0), better.statistic))
}

impl Square {
    /// Answers without neighbours. Copies of one question count as one.
    pub(crate) fn block(&self, of: Rows<'_>) -> Result<Block> {
        let rows: Vec<usize> =
            self.rows(of).into_iter().filter(|at| self.alike[*at].is_none()).collect();
        let clusters = rows.iter().map(|at| self.clusters[*at]).collect();
        Ok(Block::new(self.scores_of(&rows), clusters)?.merged())
    }

    /// One block for each sentence: its answers are dealt out among its own questions only. Copies of
    /// one question with the same answer count as one.
    fn blocks_of_neighbours(&self, of: Rows<'_>) -> Result<Vec<Block>> {
        let mut sentences: BTreeMap<usize, Vec<(usize, Alike)>> = BTreeMap::new();
        for at in self.rows(of) {
            if let Some(alike) = self.alike[at] {
                sentences.entry(alike.sentence).or_default().push((at, alike));
            }
        }
        let block = |rows: Vec<(usize, Alike)>| {
            let mut copies = BTreeMap::new();
            let clusters = rows.iter().map(|(at, alike)| {
                let next = copies.len();
                *copies.entry((self.clusters[*at], alike.says)).or_insert(next)
            });
            let clusters = clusters.collect();
            let rows: Vec<usize> = rows.iter().map(|(at, _)| *at).collect();
            Ok(Block::new(self.scores_of(&rows), clusters)?.merged())
        };
        sentences.into_values().map(block).collect()
    }

    fn rows(&self, of: Rows<'_>) -> Vec<usize> {
        let stays = |at: &usize| match of {
            Rows::All => true,
            Rows::Without(source) => self.sources[*at] != *source,
            Rows::Of(group) => self.group == *group,
        };
        (0..self.clusters.len()).filter(stays).collect()
    }

    fn scores_of(&self, rows: &[usize]) -> Vec<f64> {
        let n = self.clusters.len();
        let pairs = rows.iter().flat_map(|row| rows.iter().map(move |column| (row, column)));
        pairs.map(|(row, column)| self.scores[row * n + column]).collect()
    }
}

/// The squares of those that did not see them, or else of the adapter that serves.
fn squares(measured: &Measured) -> &[Square] {
    if measured.unseen.is_empty() { &measured.champion } else { &measured.unseen }
}

/// The source with the most judged corrections, if there are three or more, or two of which the other
/// said enough.
fn heaviest(measured: &Measured) -> Option<&Option<String>> {
    let mut rows: BTreeMap<&Option<String>, usize> = BTreeMap::new();
    for source in squares(measured).iter().flat_map(|square| &square.sources) {
        *rows.entry(source).or_default() += 1;
    }
    let can_tell = match rows.len() {
        0 | 1 => false,
        2 => rows.values().all(|count| *count >= ENOUGH_OF_TWO),
        _ => true,
    };
    let heaviest = rows.into_iter().max_by_key(|(_, count)| *count);
    heaviest.filter(|_| can_tell).map(|(source, _)| source)
}

/// The groups that can tell alone, with their rows; none where there is one group only.
fn large_groups(measured: &Measured) -> Vec<(&Option<String>, usize)> {
    let mut clusters: BTreeMap<&Option<String>, BTreeSet<usize>> = BTreeMap::new();
    for square in squares(measured) {
        clusters.entry(&square.group).or_default().extend(&square.clusters);
    }
    if clusters.len() < 2 {
        return Vec::new();
    }
    let sizes = clusters.into_iter().map(|(group, clusters)| (group, clusters.len()));
    sizes.filter(|(_, rows)| *rows >= ENOUGH).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Rows of one square: random likelihoods, and so much on top for a row's own answer.
    fn square(rows: usize, own: f64, seed: u64) -> Square {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let score = |at: usize| {
            let fits = if at.is_multiple_of(rows + 1) { own } else { 0.0 };
            rng.random_range(-3.0..-2.0) + fits
        };
        Square {
            scores: (0..rows * rows).map(score).collect(),
            clusters: (0..rows).collect(),
            sources: vec![None; rows],
            alike: vec![None; rows],
            group: None,
        }
    }

    fn judged(cluster: usize, gain: f64) -> Judged {
        Judged { cluster, source: None, champion: -2.0, candidate: -2.0 + gain }
    }

    fn measured(own: f64, gain: f64) -> Measured {
        Measured {
            new: 12,
            sources: 1,
            commonest: 0.25,
            judged: (0..12).map(|row| judged(row, gain * (1.0 + row as f64))).collect(),
            unseen: vec![square(12, own, 1)],
            champion: vec![square(12, 0.0, 2)],
            liked: vec![0.1, -0.3],
            ..Measured::default()
        }
    }

    fn evidence(measured: &Measured) -> Evidence {
        Evidence::with_draws(measured, 1, 20_000).unwrap()
    }

    #[test]
    fn answers_at_random_are_chance_and_own_answers_are_none() {
        let chance = evidence(&measured(0.0, -0.1));
        assert_eq!((chance.gain, chance.p()), (Some(1.0), chance.fit));
        let few = |seed: &u64| {
            let mut random = measured(0.0, 0.1);
            random.unseen = vec![square(12, 0.0, 2 * seed)];
            random.champion = vec![square(12, 0.0, 2 * seed + 1)];
            Evidence::with_draws(&random, 1, 999).unwrap().fit <= 0.1
        };
        let passed = (0..100).filter(few).count(); // 10 expected, standard deviation 3
        assert!((2..=20).contains(&passed), "{passed}");
        let own = evidence(&measured(2.0, 0.1));
        assert!(own.fit <= 2.0 / 20_001.0 + 1e-12 && own.fit_nats > 1.5, "{own:?}");
        assert!((own.gain.unwrap() - 0.5_f64.powi(12)).abs() < 1e-12);
        assert!((own.gain_nats - 0.65).abs() < 1e-9);
        assert_eq!((own.new, own.judged, own.sources, own.commonest), (12, 12, 1, 25.0));
        assert!((own.liked.unwrap() + 0.1).abs() < 1e-12);
    }

    #[test]
    fn contradictions_fit_better_than_strangers_but_not_than_each_other() {
        // four things, each asked three times and answered in three ways: any answer to a question
        // about the same thing is likelier than one about another
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let score = |at: usize| {
            let same_thing = at / 12 / 3 == at % 12 / 3;
            rng.random_range(-3.0..-2.0) + if same_thing { 2.0 } else { 0.0 }
        };
        let says = |at: usize| Some(Alike { sentence: at / 3, says: at });
        let neighbours: Vec<_> = (0..12).map(says).collect();
        let contradictions = Square {
            scores: (0..144).map(score).collect(),
            clusters: (0..12).collect(),
            sources: vec![None; 12],
            alike: vec![None; 12],
            group: None,
        };
        let mut measured = measured(0.0, 0.1);
        (measured.unseen, measured.champion) = (vec![contradictions], Vec::new());
        assert!(evidence(&measured).fit < 0.001, "strangers alone tell nothing");
        // Three contradictions are told beside an answer of which nobody says something else.
        for alone in [0..0, 9..12] {
            measured.unseen[0].alike.clone_from(&neighbours);
            measured.unseen[0].alike[alone].fill(None);
            assert!(evidence(&measured).fit > 0.05);
        }
        measured.unseen[0].alike = neighbours;
        // An adapter that knows which of the three is true tells them apart.
        (0..12).for_each(|row| measured.unseen[0].scores[row * 13] += 2.0);
        assert!(evidence(&measured).fit < 0.001);
        // Said of one question by several people in the same way it is one say.
        measured.unseen[0].alike = vec![Some(Alike { sentence: 0, says: 0 }); 12];
        measured.unseen[0].clusters = vec![0; 12];
        assert_eq!(evidence(&measured).fit, 1.0);
    }

    #[test]
    fn what_the_serving_adapter_knows_counts_too() {
        let mut known = measured(0.0, 0.1);
        known.champion = vec![square(12, 2.0, 3)];
        assert!(evidence(&known).fit < 0.001);
        known.unseen.clear();
        assert!(evidence(&known).fit < 0.001, "nothing was judged");
    }

    #[test]
    fn one_answer_for_all_belongs_to_none() {
        let mut same = measured(0.0, 0.1);
        let rows = |own: f64| Square {
            scores: (0..144).map(|at| own + f64::from(at / 12)).collect(),
            clusters: (0..12).collect(),
            sources: vec![None; 12],
            alike: vec![None; 12],
            group: None,
        };
        (same.unseen, same.champion) = (vec![rows(-2.0)], vec![rows(-3.0)]);
        assert_eq!(evidence(&same).fit, 1.0);
    }

    #[test]
    fn nothing_measured_shows_nothing() {
        let none = evidence(&Measured::default());
        assert_eq!((none.fit, none.gain, none.liked), (1.0, None, None));
        assert_eq!((none.gain_nats, none.fit_without_heaviest), (0.0, None));
        let mut broken = measured(0.0, 0.1);
        broken.unseen[0].scores[5] = f64::NAN;
        assert!(Evidence::of(&broken, 1).is_err());
    }

    #[test]
    fn the_heaviest_source_is_left_out() {
        // the first eight rows fit, and all are of one source
        let mut one_source = measured(0.0, 0.1);
        for square in [&mut one_source.unseen[0], &mut one_source.champion[0]] {
            for row in 0..8 {
                square.scores[row * 13] += 2.0;
            }
            let names = ["a", "a", "a", "a", "a", "a", "a", "a", "b", "b", "c", "c"];
            square.sources = names.map(|name| Some(name.to_owned())).to_vec();
        }
        let heavy = evidence(&one_source);
        assert!(heavy.fit < 0.001, "{heavy:?}");
        assert!(heavy.fit_without_heaviest.unwrap() > 0.05, "{heavy:?}");
        for square in [&mut one_source.unseen[0], &mut one_source.champion[0]] {
            square.sources[10..].fill(Some("b".to_owned()));
        }
        assert_eq!(evidence(&one_source).fit_without_heaviest, None, "the other said too little");
        // of two who both said enough, each must show alone
        let named = |name: &str, count| vec![Some(name.to_owned()); count];
        let mut two = measured(0.0, 0.1);
        let (mut unseen, mut champion) = (square(20, 0.0, 1), square(20, 0.0, 2));
        for square in [&mut unseen, &mut champion] {
            (0..12).for_each(|row| square.scores[row * 21] += 2.0);
            square.sources = [named("a", 12), named("b", 8)].concat();
        }
        (two.unseen, two.champion) = (vec![unseen], vec![champion]);
        let heavy = evidence(&two);
        assert!(heavy.fit < 0.001 && heavy.fit_without_heaviest.unwrap() > 0.05, "{heavy:?}");
    }

    #[test]
    fn the_gain_is_asked_without_the_heaviest_source_too() {
        let said = |source: &str, rows: usize, gain: f64| {
            let row = move |row: usize| Judged {
                source: Some(source.to_owned()),
                ..judged(row, gain * (1.0 + row as f64))
            };
            (0..rows).map(row).collect::<Vec<_>>()
        };
        let mut measured = measured(0.0, 0.1);
        let of = |measured: &mut Measured, others: usize, gain: f64| {
            measured.judged = [said("a", 60, 0.1), said("b", others, gain)].concat();
            (0..measured.judged.len()).for_each(|row| measured.judged[row].cluster = row);
            let sources = measured.judged.iter().map(|row| row.source.clone()).collect();
            let rows = measured.judged.len();
            measured.unseen = vec![Square { sources, ..square(rows, 0.0, 1) }];
            evidence(measured)
        };
        let alone = of(&mut measured, 20, -0.1);
        assert!(
            alone.gain.unwrap() < 0.01 && alone.gain_without_heaviest.unwrap() > 0.9,
            "{alone:?}"
        );
        assert!(of(&mut measured, 20, 0.1).gain_without_heaviest.unwrap() < 0.001);
        assert_eq!(of(&mut measured, 19, -0.1).gain_without_heaviest, None, "too few to tell");
    }

    #[test]
    fn each_large_group_is_looked_at_alone() {
        let of = |name: Option<&str>, rows: usize, own: f64, seed: u64| Square {
            group: name.map(str::to_owned),
            clusters: (100 * seed as usize..).take(rows).collect(),
            ..square(rows, own, seed)
        };
        let mut mixed = measured(0.0, 0.1);
        mixed.champion.clear();
        mixed.unseen = vec![
            of(Some("averages"), 12, 2.0, 1),
            of(Some("averages"), 12, 2.0, 2),
            of(Some("tickets"), 12, 0.0, 13),
            of(Some("tickets"), 12, 0.0, 14),
            of(None, 12, 2.0, 5),
        ];
        let found = evidence(&mixed);
        assert!(found.fit < 0.001, "together they fit");
        let [averages, tickets] = &found.groups[..] else { panic!("{:?}", found.groups) };
        assert_eq!((averages.name.as_deref(), averages.rows), (Some("averages"), 24));
        assert!(averages.fit < 0.001 && tickets.fit > 0.1, "{:?}", found.groups);
        mixed.unseen.truncate(2);
        assert_eq!(evidence(&mixed).groups, [], "one group is all there is");
    }

    #[test]
    fn copies_count_once() {
        let mut copied = measured(0.0, 0.0);
        copied.judged = vec![judged(1, 0.4), judged(1, 0.6), judged(1, 0.5), judged(2, -0.1)];
        let gains = by_cluster(&copied.judged);
        assert!((gains[0] - 0.5).abs() < 1e-9 && (gains[1] + 0.1).abs() < 1e-9, "{gains:?}");
        assert_eq!(evidence(&copied).gain, Some(0.5));
        // four copies of each of three questions have six permutations, not 12!
        let once = square(3, 5.0, 4);
        let scores = (0..144).map(|at| once.scores[at / 48 * 3 + at % 12 / 4]);
        let twelve = Square {
            scores: scores.collect(),
            clusters: (0..12).map(|row| row / 4).collect(),
            sources: vec![None; 12],
            alike: vec![None; 12],
            group: None,
        };
        (copied.unseen, copied.champion) = (vec![twelve], Vec::new());
        assert!((evidence(&copied).fit - 1.0 / 6.0).abs() < 1e-9);
    }
}
