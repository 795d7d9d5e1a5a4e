//! Who trains, who validates, who is held out.
//!
//! Whole clusters are assigned, so that no held-out prompt has a near-copy that trains. The order is
//! a hash of the cluster, so that a cluster mostly keeps its side as the log grows; each family gives
//! its share, so that a small one is judged too. A cluster with a prompt that was held out in an
//! earlier cycle is held out for ever.

use std::collections::{BTreeMap, BTreeSet};

use crate::example::{Kind, Split};
use crate::policy::Policy;

/// What the split must know of a row.
#[derive(Debug, Clone)]
pub(crate) struct Member<'a> {
    pub(crate) key: &'a str,
    pub(crate) cluster: usize,
    pub(crate) kind: Kind,
    pub(crate) family: &'a str,
    /// False for duplicates: they tie clusters together but count for nothing.
    pub(crate) counts: bool,
}

#[derive(Debug)]
struct Cluster<'a> {
    /// The smallest key: the cluster's name.
    name: &'a str,
    size: usize,
    known: bool,
    strata: BTreeMap<Stratum<'a>, usize>,
}

type Stratum<'a> = (Kind, &'a str);

/// The side of each member, in their order.
pub(crate) fn assign(
    policy: &Policy,
    members: &[Member<'_>],
    known_holdout: &BTreeSet<String>,
) -> Vec<Split> {
    let mut clusters: BTreeMap<usize, Cluster<'_>> = BTreeMap::new();
    for member in members {
        let cluster = clusters.entry(member.cluster).or_insert_with(|| Cluster {
            name: member.key,
            size: 0,
            known: false,
            strata: BTreeMap::new(),
        });
        cluster.name = cluster.name.min(member.key);
        cluster.known |= known_holdout.contains(member.key);
        if member.counts {
            cluster.size += 1;
            *cluster.strata.entry((member.kind, member.family)).or_default() += 1;
        }
    }
    let mut strata: BTreeMap<Stratum<'_>, Vec<(usize, &Cluster<'_>)>> = BTreeMap::new();
    for (&id, cluster) in &clusters {
        let stratum = cluster.stratum();
        strata.entry(stratum).or_default().push((id, cluster));
    }
    let mut sides: BTreeMap<usize, Split> = BTreeMap::new();
    for mut stratum in strata.into_values() {
        let order =
            |salt| move |&(_, one): &(usize, &Cluster<'_>)| rank(policy.seed, salt, one.name);
        stratum.sort_by_key(order("held out"));
        let (held_out, mut rest) = take(stratum, policy.holdout_percent, |it| it.known);
        rest.sort_by_key(order("validation"));
        let (validation, train) = take(rest, policy.validation_percent, |_| false);
        for (part, split) in
            [(held_out, Split::HeldOut), (validation, Split::Validation), (train, Split::Train)]
        {
            sides.extend(part.into_iter().map(|(id, _)| (id, split)));
        }
    }
    members.iter().map(|it| sides.get(&it.cluster).copied().unwrap_or(Split::HeldOut)).collect()
}

impl<'a> Cluster<'a> {
    /// Where most of its rows belong.
    fn stratum(&self) -> Stratum<'a> {
        let most = self.strata.iter().max_by(|(a, n), (b, m)| n.cmp(m).then_with(|| b.cmp(a)));
        most.map_or((Kind::Supervised, ""), |(stratum, _)| *stratum)
    }
}

type Part<'c, 'a> = Vec<(usize, &'c Cluster<'a>)>;

/// Takes the clusters that `must` go, then others in their order as long as that brings the part
/// closer to `percent` of all rows. A cluster too large for the part stays behind, so that it cannot
/// swallow a family.
fn take<'c, 'a>(
    clusters: Part<'c, 'a>,
    percent: f64,
    must: impl Fn(&Cluster<'a>) -> bool,
) -> (Part<'c, 'a>, Part<'c, 'a>) {
    let total: usize = clusters.iter().map(|(_, cluster)| cluster.size).sum();
    let wanted = (total as f64 * percent / 100.0).round() as usize;
    let (mut taken, open): (Part<'c, 'a>, Part<'c, 'a>) =
        clusters.into_iter().partition(|(_, cluster)| must(cluster));
    let mut size: usize = taken.iter().map(|(_, cluster)| cluster.size).sum();
    let mut left = Vec::new();
    for (id, cluster) in open {
        let after = size + cluster.size;
        let closer = after <= wanted || after - wanted < wanted.saturating_sub(size);
        if closer && size < wanted {
            size = after;
            taken.push((id, cluster));
        } else {
            left.push((id, cluster));
        }
    }
    (taken, left)
}

/// A number that looks random and never changes.
pub(crate) fn rank(seed: u64, salt: &str, name: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("hone dataset 2026 rank");
    hasher.update(&seed.to_le_bytes());
    hasher.update(salt.as_bytes());
    hasher.update(b"\n");
    hasher.update(name.as_bytes());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(keys: &[String], clusters: &[usize]) -> Vec<Split> {
        let members: Vec<_> = keys
            .iter()
            .zip(clusters)
            .map(|(key, &cluster)| Member {
                key,
                cluster,
                kind: Kind::Supervised,
                family: "f",
                counts: true,
            })
            .collect();
        assign(&Policy::default(), &members, &BTreeSet::new())
    }

    fn keys(count: usize) -> Vec<String> {
        (0..count).map(|it| format!("key {it}")).collect()
    }

    fn share(splits: &[Split], of: Split) -> usize {
        splits.iter().filter(|&&it| it == of).count()
    }

    #[test]
    fn each_family_gives_its_share() {
        for count in [5, 10, 40, 333] {
            let splits = members(&keys(count), &(0..count).collect::<Vec<_>>());
            let wanted = (count as f64 * 0.2).round() as usize;
            assert_eq!(share(&splits, Split::HeldOut), wanted, "of {count}");
            let rest = ((count - wanted) as f64 * 0.1).round() as usize;
            assert_eq!(share(&splits, Split::Validation), rest, "of {count}");
        }
    }

    #[test]
    fn a_cluster_that_is_most_of_a_family_trains() {
        let mut clusters = vec![0; 80];
        clusters.extend(80..100);
        let splits = members(&keys(100), &clusters);
        assert!(splits[..80].iter().all(|&it| it == Split::Train));
        assert_eq!(share(&splits, Split::HeldOut), 20);
    }

    #[test]
    fn most_rows_keep_their_side_as_the_log_grows() {
        let all = keys(400);
        let clusters: Vec<_> = (0..400).collect();
        let before = members(&all[..200], &clusters[..200]);
        let after = members(&all, &clusters);
        let moved = before
            .iter()
            .zip(&after)
            .filter(|(a, b)| **a != Split::HeldOut && **b == Split::HeldOut);
        assert!(moved.count() < 15);
    }
}
