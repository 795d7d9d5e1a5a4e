//! Equal beginnings that arrive together are computed once.
//!
//! A request whose prompt begins as another one's that is being computed waits, and takes that one's blocks over as they are
//! done. It takes no part in steps meanwhile, and loses nothing by that: the other one's tokens are computed in its place. When
//! that one leaves, or turns off, it goes on from where it is.

use crate::Priority;
use crate::prefix::Namespace;

/// A sequence whose opening is not computed yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beginning<'a> {
    /// Only within one namespace is anything shared.
    pub(crate) namespace: Namespace,
    /// Nobody waits for what comes after it.
    pub(crate) priority: Priority,
    /// All tokens of the opening.
    pub(crate) tokens: &'a [u32],
    /// How many of them it may take over; the logits of the others are wanted.
    pub(crate) takes: usize,
    /// How many of them are in its cache.
    pub(crate) computed: usize,
    /// It computes its own tokens already, and takes no more from others.
    pub(crate) has_begun: bool,
}

impl Beginning<'_> {
    /// Tokens in whole blocks that another one could take over from this one.
    fn shares(&self, other: &Beginning<'_>, block: usize) -> usize {
        if self.namespace != other.namespace || self.priority > other.priority {
            return 0;
        }
        let pairs = self.tokens.iter().zip(&other.tokens[..other.takes]);
        pairs.take_while(|(a, b)| a == b).count() / block * block
    }
}

/// For each sequence the one that it waits for, which computes blocks that it lacks; `None` for those that take part in the step.
/// They are in the order of their admission; `None` among them are those that share nothing.
pub(crate) fn leaders(all: &[Option<Beginning<'_>>], block: usize) -> Vec<Option<usize>> {
    let leader = |(index, follower): (usize, &Option<Beginning<'_>>)| {
        let follower = follower.as_ref().filter(|it| !it.has_begun)?;
        (0..all.len()).find(|other| {
            // One that has begun waits for nobody, and the others only for older ones: so nobody waits in a circle.
            let leads = |leader: &Beginning<'_>| *other < index || leader.has_begun;
            let leader = all[*other].as_ref().filter(|leader| *other != index && leads(leader));
            leader.is_some_and(|leader| leader.shares(follower, block) > follower.computed)
        })
    };
    all.iter().enumerate().map(leader).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Party;
    use proptest::prelude::*;

    const BLOCK: usize = 4;

    fn namespace(caller: u64) -> Namespace {
        Namespace::new("base", None, Priority::Interactive, Party { caller, user: 0 })
    }

    fn new(tokens: &[u32]) -> Option<Beginning<'_>> {
        Some(Beginning {
            namespace: namespace(0),
            priority: Priority::Interactive,
            tokens,
            takes: tokens.len().saturating_sub(1),
            computed: 0,
            has_begun: false,
        })
    }

    #[test]
    fn the_first_computes_and_the_others_wait() {
        let text: Vec<u32> = (0..20).collect();
        assert_eq!(leaders(&[new(&text), None, new(&text)], BLOCK), [None, None, Some(0)]);
        // What it lacks is less than a block.
        assert_eq!(leaders(&[new(&text), new(&text[..4])], BLOCK), [None, None]);
        assert_eq!(leaders(&[new(&text), new(&text[..5])], BLOCK), [None, Some(0)]);
        let there = Beginning { computed: 16, ..new(&text).unwrap() };
        assert_eq!(leaders(&[new(&text), Some(there)], BLOCK), [None, None]);
        let other = Beginning { namespace: namespace(1), ..new(&text).unwrap() };
        assert_eq!(leaders(&[new(&text), Some(other)], BLOCK), [None, None]);
        let later = Beginning { priority: Priority::Background, ..new(&text).unwrap() };
        assert_eq!(
            leaders(&[Some(later), new(&text)], BLOCK),
            [None, None],
            "a person waits for none"
        );
        assert_eq!(leaders(&[new(&text), Some(later)], BLOCK), [None, Some(0)]);
    }

    #[test]
    fn who_may_take_nothing_waits_for_nobody() {
        let text: Vec<u32> = (0..20).collect();
        let takes = |takes| Some(Beginning { takes, ..new(&text).unwrap() });
        assert_eq!(leaders(&[new(&text), takes(3), takes(4)], BLOCK), [None, None, Some(0)]);
    }

    #[test]
    fn who_has_begun_waits_for_nobody() {
        let text: Vec<u32> = (0..20).collect();
        let begun = |computed| Beginning { computed, has_begun: true, ..new(&text).unwrap() };
        assert_eq!(leaders(&[new(&text), Some(begun(0))], BLOCK), [Some(1), None]);
        assert_eq!(leaders(&[Some(begun(4)), Some(begun(8))], BLOCK), [None, None]);
    }

    /// A sequence as a small engine runs it.
    #[derive(Debug, Clone)]
    struct Fake {
        caller: u64,
        text: Vec<u32>,
        computed: usize,
        has_begun: bool,
        leaves_after: usize,
    }

    fn fake() -> impl Strategy<Value = Fake> {
        let text = prop::collection::vec(0..2_u32, 1..20);
        (0..2_u64, text, 0..9_usize).prop_map(|(caller, text, leaves_after)| Fake {
            caller,
            text,
            computed: 0,
            has_begun: false,
            leaves_after,
        })
    }

    proptest! {
        /// Whoever leaves in the middle: in each step somebody computes, all come to their end, and nobody computes a block that
        /// another one was computing before.
        #[test]
        fn all_are_computed(mut all in prop::collection::vec(fake(), 1..8)) {
            for step in 0.. {
                all.retain(|it| it.computed < it.text.len() && it.leaves_after != step);
                if all.is_empty() {
                    break;
                }
                let view = |it: &Fake| Beginning {
                    namespace: namespace(it.caller), priority: Priority::Interactive, tokens: &[], takes: it.text.len() - 1, computed: it.computed, has_begun: it.has_begun,
                };
                let views: Vec<_> =
                    all.iter().map(|it| Some(Beginning { tokens: &it.text, ..view(it) })).collect();
                let waits = leaders(&views, BLOCK);
                prop_assert!(waits.iter().any(Option::is_none), "nobody computes: {all:?}");
                for (index, leader) in waits.iter().enumerate() {
                    if let Some(leader) = leader {
                        let (own, others) = (views[index].unwrap(), views[*leader].unwrap());
                        prop_assert!(others.shares(&own, BLOCK) > own.computed && !own.has_begun);
                    }
                }
                let before = all.clone();
                for (index, leader) in waits.iter().enumerate() {
                    match leader {
                        None => (all[index].computed, all[index].has_begun) = (all[index].computed + 1, true),
                        Some(leader) => {
                            let (own, of) = (&before[index], &before[*leader]);
                            let same = own.text.iter().zip(&of.text).take_while(|(a, b)| a == b).count();
                            let done = same.min(of.computed).min(own.text.len() - 1) / BLOCK * BLOCK;
                            all[index].computed = own.computed.max(done);
                        }
                    }
                }
                prop_assert!(step < 1000);
            }
        }
    }
}
