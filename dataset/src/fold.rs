//! Cross-fitting: which rows judge an adapter that never saw them.
//!
//! No row is given away. Each is judged by an adapter that was trained on the other half; of very many
//! a part is, which saves time. The adapter that may serve is trained on all of them. Whole clusters go
//! into one fold, so that no judged row has a near copy that trained.

use std::collections::BTreeMap;

use crate::rank::rank;

/// Fewer rows are too few to train on a part of them: no fold judges those.
pub const FEWEST_JUDGED: usize = 8;
/// Judged rows that are enough: they show a gain of 5 points four times of five.
const ENOUGH: usize = 500;

/// How many folds there are, and how many of them judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) folds: usize,
    pub(crate) judged: usize,
}

impl Plan {
    /// For so many rows; `share` is the part of many rows that judges, 0 to 1.
    pub(crate) fn of(rows: usize, share: f64) -> Self {
        if rows < FEWEST_JUDGED {
            return Self { folds: 0, judged: 0 };
        }
        // Halves judge most rows for the time that they take: two runs on half the rows each.
        if rows < 2 * ENOUGH {
            return Self { folds: 2, judged: 2 };
        }
        let most = if share > 0.0 { (1.0 / share).round().clamp(2.0, 10.0) as usize } else { 2 };
        Self { folds: (rows / ENOUGH).min(most), judged: 1 }
    }
}

/// A row to put into a fold.
#[derive(Debug, Clone)]
pub(crate) struct Member<'a> {
    pub(crate) cluster: usize,
    pub(crate) family: &'a str,
    pub(crate) key: &'a str,
}

/// The fold of each row that is judged, `None` for those that are not.
pub(crate) fn assign(members: &[Member<'_>], plan: Plan, seed: u64) -> Vec<Option<usize>> {
    let mut clusters: BTreeMap<usize, (&str, &str, usize)> = BTreeMap::new();
    for member in members {
        let cluster = clusters.entry(member.cluster).or_insert((member.family, member.key, 0));
        cluster.1 = cluster.1.min(member.key);
        cluster.2 += 1;
    }
    let mut order: Vec<(usize, (&str, &str, usize))> = clusters.into_iter().collect();
    // Families one after the other, so that each fold gets its share; within one, by chance.
    order.sort_by_key(|(_, (family, key, _))| (*family, rank(seed, "fold", key)));
    let mut sizes = vec![0_usize; plan.folds];
    let mut folds: BTreeMap<usize, usize> = BTreeMap::new();
    for (cluster, (_, _, size)) in order {
        if let Some(smallest) = (0..plan.folds).min_by_key(|fold| (sizes[*fold], *fold)) {
            sizes[smallest] += size;
            folds.insert(cluster, smallest);
        }
    }
    let fold = |member: &Member<'_>| {
        folds.get(&member.cluster).copied().filter(|fold| *fold < plan.judged)
    };
    members.iter().map(fold).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folds(clusters: &[usize], share: f64) -> Vec<Option<usize>> {
        let keys: Vec<String> = (0..clusters.len()).map(|it| format!("k{it}")).collect();
        let members: Vec<Member<'_>> = clusters
            .iter()
            .zip(&keys)
            .map(|(cluster, key)| Member { cluster: *cluster, family: "f", key })
            .collect();
        assign(&members, Plan::of(clusters.len(), share), 17)
    }

    #[test]
    fn rows_are_all_judged_and_very_many_in_part() {
        let judged = |rows: usize| {
            let clusters: Vec<usize> = (0..rows).collect();
            folds(&clusters, 0.2).iter().flatten().count()
        };
        assert_eq!(judged(5), 0);
        for few in [8, 10, 23, 30, 60] {
            assert_eq!(judged(few), few, "{few}");
        }
        assert_eq!(judged(400), 400);
        assert_eq!([judged(1000), judged(2000), judged(4000)], [500, 500, 800]);
    }

    #[test]
    fn a_cluster_is_not_torn_apart() {
        let clusters: Vec<usize> = (0..40).map(|it| it / 4).collect();
        let folds = folds(&clusters, 0.2);
        for cluster in folds.chunks(4) {
            assert!(cluster.iter().all(|fold| *fold == cluster[0]));
        }
    }
}
