//! The tree against a plain list of all texts that were kept.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{Party, Priority};

/// Positions of a block here.
const POSITIONS: usize = 4;

/// A block that knows for which tokens, and in which namespace, it was computed.
#[derive(Debug, Clone)]
struct Fake(Arc<(Namespace, Vec<u32>)>);

impl Shareable for Fake {
    fn bytes(&self) -> usize {
        10
    }

    fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

fn namespace(caller: u64) -> Namespace {
    Namespace::new("base", None, Priority::Interactive, Party { caller, user: 0 })
}

/// The blocks of a text: each depends on all tokens before its end.
fn blocks(caller: u64, text: &[u32]) -> Vec<Fake> {
    let ends = (1..=text.len().div_ceil(POSITIONS)).map(|n| text.len().min(n * POSITIONS));
    ends.map(|end| Fake(Arc::new((namespace(caller), text[..end].to_vec())))).collect()
}

#[derive(Debug, Clone)]
enum Action {
    Keep(u64, Vec<u32>),
    /// Holds what it found on to.
    Find(u64, Vec<u32>),
    /// Says that it was asked.
    Count(u64, Vec<u32>),
    /// Those who found something let go of it.
    LetGo,
    Evict,
    EvictOwn,
    Leave(u64),
}

fn action() -> impl Strategy<Value = Action> {
    // Two tokens and short texts: beginnings are often shared.
    let text = || prop::collection::vec(0u32..2, 1..15);
    prop_oneof![
        4 => (0u64..2, text()).prop_map(|(caller, text)| Action::Keep(caller, text)),
        4 => (0u64..2, text()).prop_map(|(caller, text)| Action::Find(caller, text)),
        3 => (0u64..2, text()).prop_map(|(caller, text)| Action::Count(caller, text)),
        1 => Just(Action::LetGo),
        1 => Just(Action::Evict),
        1 => Just(Action::EvictOwn),
        1 => (0u64..2).prop_map(Action::Leave),
    ]
}

fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever was kept, found and evicted: what is found was computed for exactly the tokens that were asked for, in
    /// the namespace that asked; and as long as nothing was evicted, it is the longest there is.
    #[test]
    fn what_is_found_was_computed_for_these_tokens(actions in prop::collection::vec(action(), 1..60)) {
        let mut tree = Tree::<Fake>::new(POSITIONS);
        let mut kept: Vec<(u64, Vec<u32>)> = Vec::new();
        let mut held = Vec::new();
        let mut evicted = false;
        for action in actions {
            match action {
                Action::Keep(caller, text) => {
                    let blocks = blocks(caller, &text);
                    tree.insert(namespace(caller), &text, |index| blocks.get(index).cloned());
                    kept.push((caller, text));
                }
                Action::Find(caller, text) => {
                    let found = tree.find(namespace(caller), &text);
                    let mut at = 0;
                    for (block, positions) in &found {
                        prop_assert_eq!(at % POSITIONS, 0, "only the last one is a part");
                        let (of, tokens) = block.0.as_ref();
                        prop_assert_eq!(*of, namespace(caller));
                        let end = at + positions;
                        prop_assert!(tokens.len() >= end && tokens[..end] == text[..end]);
                        at = end;
                    }
                    let mine = kept.iter().filter(|(of, _)| *of == caller);
                    let longest = mine.map(|(_, other)| common(other, &text)).max().unwrap_or(0);
                    prop_assert!(at <= longest);
                    prop_assert!(evicted || at == longest, "{at} of {longest}");
                    held.push(found);
                }
                Action::Count(caller, text) => tree.count(namespace(caller), &text),
                Action::LetGo => held.clear(),
                Action::Evict => evicted |= tree.evict(|_| true).is_some(),
                Action::EvictOwn => {
                    let own = tree.own_bytes();
                    let freed = tree.evict(|block| !block.is_shared());
                    // Whatever nobody holds can be given back, from the ends on.
                    prop_assert_eq!(freed, (own > 0).then_some(10));
                    prop_assert_eq!(tree.own_bytes(), own - freed.unwrap_or(0));
                    evicted |= freed.is_some();
                }
                Action::Leave(caller) => {
                    tree.retain(|of| of != namespace(caller));
                    kept.retain(|(of, _)| *of != caller);
                }
            }
            tree.check();
        }
        while tree.evict(|_| true).is_some() {}
        prop_assert_eq!(tree.bytes(), 0);
        tree.check();
    }
}

#[test]
fn what_was_not_used_for_longest_leaves_first() {
    let mut tree = Tree::<Fake>::new(POSITIONS);
    let texts = [vec![1; 6], vec![2; 6], vec![3; 6]];
    for text in &texts {
        let blocks = blocks(0, text);
        tree.insert(namespace(0), text, |index| blocks.get(index).cloned());
    }
    let found = |tree: &mut Tree<Fake>, text: &[u32]| -> usize {
        tree.find(namespace(0), text).iter().map(|(_, positions)| positions).sum()
    };
    assert_eq!(found(&mut tree, &texts[0]), 6);
    tree.evict(|_| true);
    assert_eq!(found(&mut tree, &texts[1]), 4, "its end has left, its beginning not yet");
    tree.evict(|_| true);
    tree.evict(|_| true);
    assert_eq!(found(&mut tree, &texts[2]), 0);
    assert_eq!((found(&mut tree, &texts[1]), found(&mut tree, &texts[0])), (4, 6));
}

#[test]
fn a_text_that_goes_on_takes_the_place_of_its_beginning() {
    let mut tree = Tree::<Fake>::new(POSITIONS);
    for length in [5, 7, 6, 8, 9] {
        let text: Vec<u32> = (0..length).collect();
        let blocks = blocks(0, &text);
        tree.insert(namespace(0), &text, |index| blocks.get(index).cloned());
        tree.check();
    }
    assert_eq!(tree.bytes(), 30, "two whole blocks and one of a single position");
}

#[test]
fn what_is_asked_most_often_comes_first_and_whole() {
    let mut tree = Tree::<Fake>::new(POSITIONS);
    let text = |end: &[u32]| [&[1; 8], end].concat();
    let [one, other, rare] = [text(&[2; 4]), text(&[3; 6]), vec![9; 12]];
    for (caller, text, asked) in [(0, &one, 5), (0, &other, 2), (0, &rare, 1), (1, &rare, 9)] {
        let blocks = blocks(caller, text);
        tree.insert(namespace(caller), text, |index| blocks.get(index).cloned());
        (0..asked).for_each(|_| tree.count(namespace(caller), text));
    }
    tree.check();
    let popular = |uses, blocks, texts| -> Vec<Vec<u32>> {
        let mine = |of| of == namespace(0);
        let found = tree.popular(mine, Bounds { uses, blocks, texts });
        found.into_iter().map(|(_, tokens)| tokens).collect()
    };
    assert_eq!(popular(2, 9, 9), [one.clone(), text(&[3; 4])], "whole blocks, and nothing rare");
    assert_eq!(popular(1, 9, 9).len(), 3);
    assert_eq!(popular(2, 3, 9), std::slice::from_ref(&one));
    assert_eq!(popular(2, 2, 9), [text(&[])], "its beginning, if there is no room for more");
    assert_eq!(popular(2, 9, 1), [one]);
    assert_eq!(popular(2, 0, 9), [[0; 0]; 0]);
    assert_eq!(
        tree.popular(|_| true, Bounds { uses: 8, blocks: 9, texts: 9 }),
        [(namespace(1), rare)]
    );
}
