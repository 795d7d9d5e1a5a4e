//! Nights of which the truth is known: what a gate would see, drawn at random, without a model.
//!
//! Prevents a gate from being believed because it sounds strict: how often it promotes noise, and how
//! often it misses a gain, is counted over nights of which it is known what the candidate learned.
//! Pure functions of a truth and a seed.
//!
//! Of each corrected row it is drawn whether champion and candidate pass, and by how much likelier
//! the candidate finds each answer of the block under the row's question:
//!
//! ```text
//! difference(question i, answer j) = form + ease(label of j) + question(i) + noise(i, label of j)
//!                                  + lift, if j has i's label and the candidate learned i
//!                                  − lift, if j has i's label and the candidate forgot i
//! ```
//!
//! So what was learned of form lifts all answers alike, and only a row that was really learned has
//! an answer that fits its question better than before; a row that changes sides by chance has none.
//! Rows of one label have one answer, and copies are equal in everything.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::evidence::Square;

mod report;

pub use report::{Told, false_promotions, judged, promoted, report};

/// What is true about a candidate. Points are hundredths of rows, likelihoods are differences between
/// candidate and champion in nats per token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Truth {
    /// Corrected rows, copies included.
    pub rows: usize,
    /// How often each of them is there; at least 1.
    pub copies: usize,
    /// How many different answers there are; 0: each row has its own.
    pub labels: usize,
    /// The share of corrected rows that the champion passes, 0 to 1.
    pub champion: f64,
    /// By how many points the candidate is better on corrected rows; below 0 it is worse.
    pub gain: f64,
    /// Points of corrected rows that change sides for no reason, half of them each way.
    pub churn: f64,
    /// How much likelier every answer became under every question.
    pub form: f64,
    /// How much likelier the answer of a row that was learned became under its question.
    pub lift: f64,
    /// The standard deviation of what differs without a reason between two rows.
    pub noise: f64,
    /// Rows whose answers are compared under each other's questions, at most; copies stay together.
    pub block: usize,
    /// Control rows.
    pub controls: usize,
    /// The share of controls that the champion passes, 0 to 1.
    pub controls_champion: f64,
    /// By how many points the candidate is better on controls; below 0 it is worse.
    pub controls_gain: f64,
    /// Points of controls that change sides for no reason.
    pub controls_churn: f64,
}

impl Truth {
    /// Nothing was there to be learned, as with labels at random: the form was learned, the right
    /// answer of no row.
    #[must_use]
    pub const fn nothing(rows: usize) -> Self {
        Self {
            rows,
            copies: 1,
            labels: 0,
            champion: 0.25,
            gain: 0.0,
            churn: 10.0,
            form: 0.5,
            lift: 1.0,
            noise: 0.3,
            block: 50,
            controls: 1200,
            controls_champion: 0.98,
            controls_gain: 0.0,
            controls_churn: 2.0,
        }
    }

    /// The candidate is better by `points` on corrected rows, and as good elsewhere.
    #[must_use]
    pub const fn gain(points: f64, rows: usize) -> Self {
        Self { gain: points, ..Self::nothing(rows) }
    }

    /// The candidate is worse by `points`, on corrected rows and on controls.
    #[must_use]
    pub const fn worse(points: f64, rows: usize) -> Self {
        Self { gain: -points, controls_gain: -points, ..Self::nothing(rows) }
    }

    /// The candidate is better by `gain` points on corrected rows and worse by `loss` on controls.
    #[must_use]
    pub const fn paid_for(gain: f64, loss: f64, rows: usize) -> Self {
        Self { controls_gain: -loss, ..Self::gain(gain, rows) }
    }
}

/// What is seen of one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Copies of each other have the same number.
    pub cluster: usize,
    /// Whether the champion passes.
    pub champion_passed: bool,
    /// Whether the candidate passes.
    pub candidate_passed: bool,
    /// How much likelier the candidate finds the row's answer than the champion does, in nats per
    /// token.
    pub likelier: f64,
}

/// What is seen of one candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Night {
    /// The corrected rows.
    pub corrected: Vec<Row>,
    /// Their answers under each other's questions, in the order of the rows: of candidate minus
    /// champion, as [`Row::likelier`] is.
    pub blocks: Vec<Square>,
    /// The control rows, no two of one cluster.
    pub controls: Vec<Row>,
}

/// One candidate. The same truth and seed give the same night.
///
/// Shares that cannot be are brought as near as they can be: where the champion passes everything,
/// nothing can be gained.
#[must_use]
pub fn night(truth: &Truth, seed: u64) -> Night {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let each = truth.copies.max(1);
    let sides = Sides::new(truth.champion, truth.gain, truth.churn);
    let (mut corrected, mut blocks) = (Vec::with_capacity(truth.rows), Vec::new());
    let rows: Vec<usize> = (0..truth.rows).map(|row| row / each).collect();
    // copies stay together
    for clusters in rows.chunks((truth.block / each).max(1) * each) {
        let (seen, block) = block(truth, &sides, clusters, &mut rng);
        corrected.extend(seen);
        blocks.push(block);
    }
    let sides = Sides::new(truth.controls_champion, truth.controls_gain, truth.controls_churn);
    let controls = (0..truth.controls).map(|cluster| {
        let drawn = sides.draw(&mut rng);
        let likelier = drawn.learned * truth.lift + truth.noise * normal(&mut rng);
        drawn.row(cluster, likelier)
    });
    Night { corrected, blocks, controls: controls.collect() }
}

/// The rows of one block and their scores; `clusters` are those of its rows, copies side by side.
fn block(
    truth: &Truth,
    sides: &Sides,
    clusters: &[usize],
    rng: &mut ChaCha8Rng,
) -> (Vec<Row>, Square) {
    let first = clusters.first().copied().unwrap_or(0);
    let distinct = clusters.last().map_or(0, |last| last - first + 1);
    let labels: Vec<usize> = (0..distinct)
        .map(|at| if truth.labels == 0 { at } else { rng.random_range(0..truth.labels) })
        .collect();
    let kinds = if truth.labels == 0 { distinct } else { truth.labels };
    let ease: Vec<f64> = (0..kinds).map(|_| truth.noise * normal(rng)).collect();
    let drawn: Vec<Drawn> = (0..distinct).map(|_| sides.draw(rng)).collect();
    // by distinct question and kind of answer
    let mut scores = vec![0.0; distinct * kinds];
    for (i, drawn) in drawn.iter().enumerate() {
        let question = truth.noise * normal(rng);
        for kind in 0..kinds {
            let fits = if labels[i] == kind { drawn.learned * truth.lift } else { 0.0 };
            scores[i * kinds + kind] =
                truth.form + ease[kind] + question + fits + truth.noise * normal(rng);
        }
    }
    let score = |i: usize, j: usize| scores[(i - first) * kinds + labels[j - first]];
    let seen = clusters.iter();
    let seen = seen.map(|cluster| drawn[cluster - first].row(*cluster, score(*cluster, *cluster)));
    let pairs = clusters.iter().flat_map(|i| clusters.iter().map(move |j| (*i, *j)));
    let block = Square {
        scores: pairs.map(|(i, j)| score(i, j)).collect(),
        clusters: clusters.to_vec(),
        sources: vec![None; clusters.len()],
        alike: vec![None; clusters.len()],
        group: None,
    };
    (seen.collect(), block)
}

/// What became of one row.
struct Drawn {
    champion_passed: bool,
    candidate_passed: bool,
    /// 1 if it was learned, -1 if it was forgotten, 0 otherwise.
    learned: f64,
}

impl Drawn {
    const fn row(&self, cluster: usize, likelier: f64) -> Row {
        let Self { champion_passed, candidate_passed, .. } = *self;
        Row { cluster, champion_passed, candidate_passed, likelier }
    }
}

/// How probable it is that a row changes sides.
struct Sides {
    champion: f64,
    learned: f64,
    forgotten: f64,
    /// By chance, each way.
    chance: f64,
}

impl Sides {
    /// From the champion's share, and points.
    fn new(champion: f64, gain: f64, churn: f64) -> Self {
        let learned = (gain.max(0.0) / 100.0).min(1.0 - champion);
        let forgotten = ((-gain).max(0.0) / 100.0).min(champion);
        // as much each way, or chance would be a gain
        let room = (1.0 - champion - learned).min(champion - forgotten);
        Self { champion, learned, forgotten, chance: (churn.max(0.0) / 200.0).min(room) }
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> Drawn {
        let at: f64 = rng.random();
        let champion_passed = at < self.champion;
        let (changes, why) =
            if champion_passed { (at, self.forgotten) } else { (at - self.champion, self.learned) };
        let turned = changes < why + self.chance;
        let learned = match (changes < why, champion_passed) {
            (true, false) => 1.0,
            (true, true) => -1.0,
            (false, _) => 0.0,
        };
        Drawn { champion_passed, candidate_passed: champion_passed != turned, learned }
    }
}

/// From the standard normal distribution (Box and Muller, 1958).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permutation::{Block, fit};
    use crate::signed_rank::wilcoxon_signed_rank;
    use crate::stats::mcnemar_exact;

    fn passed(rows: &[Row], of: impl Fn(&Row) -> bool) -> f64 {
        rows.iter().filter(|row| of(row)).count() as f64 / rows.len() as f64
    }

    /// The share of nights of which something holds.
    fn share(truth: Truth, nights: u64, holds: impl Fn(&Night) -> bool) -> f64 {
        (0..nights).filter(|seed| holds(&night(&truth, *seed))).count() as f64 / nights as f64
    }

    fn has_fit(night: &Night) -> bool {
        let blocks: Vec<Block> = night
            .blocks
            .iter()
            .map(|square| square.block(crate::evidence::Rows::All).unwrap())
            .collect();
        fit(&blocks, 1, 999).p <= 0.05
    }

    fn has_gain(night: &Night) -> bool {
        let count = |gained: bool| {
            let rows = night.corrected.iter();
            rows.filter(|row| {
                row.candidate_passed == gained && row.champion_passed != row.candidate_passed
            })
            .count() as u64
        };
        count(true) > count(false) && mcnemar_exact(count(true), count(false)) <= 0.05
    }

    #[test]
    fn shares_are_as_they_are_said_to_be() {
        let truth = Truth::paid_for(20.0, 3.0, 40_000);
        let truth = Truth { controls: 40_000, ..truth };
        let night = night(&truth, 1);
        let near = |share: f64, expected: f64| assert!((share - expected).abs() < 0.01, "{share}");
        near(passed(&night.corrected, |row| row.champion_passed), 0.25);
        near(passed(&night.corrected, |row| row.candidate_passed), 0.45);
        near(passed(&night.controls, |row| row.champion_passed), 0.98);
        near(passed(&night.controls, |row| row.candidate_passed), 0.95);
        near(passed(&night.corrected, |row| row.champion_passed && !row.candidate_passed), 0.05);
        let mean = |rows: &[Row]| rows.iter().map(|row| row.likelier).sum::<f64>() / 40_000.0;
        near(mean(&night.corrected), 0.7);
        near(mean(&night.controls), -0.03);
    }

    #[test]
    fn the_same_seed_gives_the_same_night() {
        let truth = Truth { copies: 3, labels: 4, ..Truth::gain(5.0, 70) };
        assert_eq!(night(&truth, 1), night(&truth, 1));
        assert_ne!(night(&truth, 1), night(&truth, 2));
    }

    #[test]
    fn blocks_hold_all_rows_and_copies_are_equal() {
        let night = night(&Truth { copies: 3, ..Truth::gain(5.0, 70) }, 1);
        assert_eq!(
            night.blocks.iter().map(|block| block.clusters.len()).collect::<Vec<_>>(),
            [48, 22]
        );
        assert_eq!(night.corrected.len(), 70);
        assert_eq!(night.corrected[0], night.corrected[2]);
        assert_ne!(night.corrected[2].likelier, night.corrected[3].likelier);
    }

    #[test]
    fn what_cannot_be_is_brought_near() {
        let none = night(&Truth { controls: 0, ..Truth::nothing(0) }, 1);
        assert!(none.corrected.is_empty() && none.blocks.is_empty() && none.controls.is_empty());
        let full = night(&Truth { champion: 1.0, block: 0, copies: 0, ..Truth::gain(50.0, 9) }, 1);
        assert!(full.corrected.iter().all(|row| row.champion_passed));
        assert_eq!(full.blocks.len(), 9);
    }

    #[test]
    fn form_alone_is_likelier_but_fits_no_better() {
        let likelier = |night: &Night| {
            let differences: Vec<f64> = night.corrected.iter().map(|row| row.likelier).collect();
            wilcoxon_signed_rank(&differences) <= 0.05
        };
        let nothing = Truth::nothing(60);
        assert!(share(nothing, 50, likelier) > 0.9, "why likelihood alone is not enough");
        for truth in [
            nothing,
            Truth { labels: 4, ..nothing },
            Truth { copies: 3, ..nothing },
            Truth { copies: 3, labels: 2, ..nothing },
        ] {
            // a standard deviation is 1.3 points
            let fits = share(truth, 300, has_fit);
            assert!(fits <= 0.09, "{fits}: {truth:?}");
            let gains = share(truth, 300, has_gain);
            assert!(truth.copies > 1 || gains <= 0.05, "{gains}: {truth:?}");
        }
    }

    #[test]
    fn a_gain_is_seen_and_a_loss_is_none() {
        assert!(share(Truth::gain(40.0, 40), 100, has_fit) > 0.9);
        assert!(share(Truth::gain(40.0, 40), 100, has_gain) > 0.9);
        assert!(share(Truth::worse(3.0, 300), 200, has_gain) <= 0.01);
        assert!(share(Truth::worse(10.0, 300), 200, has_fit) <= 0.01);
    }
}
