//! Whose prompts may share: the same weights, asked by the same caller.

use std::fmt;

use crate::{Party, Priority};

/// A hash of the base's digest, the digest of the adapter's content and the caller. Prefixes are found within one namespace
/// only, so neither an adapter that took another one's name nor a caller that measures times sees what is another's.
///
/// It is a hash of fields of fixed width and comes before all tokens: no token ids, and no text in a field, can make one
/// namespace look like another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Namespace([u8; 32]);

impl Namespace {
    /// For a base by its digest, an adapter by the digest of its content (`None` is the base alone), and who asks.
    /// Evaluations share among themselves, and with nobody else.
    pub(crate) fn new(
        base: &str,
        adapter: Option<&[u8; 32]>,
        priority: Priority,
        party: Party,
    ) -> Self {
        let (kind, caller) = match priority {
            Priority::Interactive => (0, party.caller),
            Priority::Background => (1, 0),
        };
        let mut hasher = blake3::Hasher::new_derive_key("hone engine: namespace of prefixes, 1");
        hasher.update(blake3::hash(base.as_bytes()).as_bytes());
        hasher.update(&[u8::from(adapter.is_some())]);
        hasher.update(adapter.unwrap_or(&[0; 32]));
        hasher.update(&[kind]).update(&caller.to_le_bytes());
        Self(*hasher.finalize().as_bytes())
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Namespace({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Parts = (String, Option<[u8; 32]>, bool, u64);

    fn of((base, adapter, background, caller): &Parts) -> Namespace {
        let priority = if *background { Priority::Background } else { Priority::Interactive };
        Namespace::new(base, adapter.as_ref(), priority, Party { caller: *caller, user: 7 })
    }

    fn parts() -> impl Strategy<Value = Parts> {
        // Few values of each kind, so that fields are often equal, and those that attempts at a collision would choose:
        // what would be left of a field if it ran into the next one.
        let base = prop::sample::select(vec!["", "a", "aa", "a\0", "\0", "\u{1}"]);
        let digest = prop::sample::select(vec![[0; 32], [1; 32], *blake3::hash(b"a").as_bytes()]);
        let caller = prop::sample::select(vec![0, 1, 256, u64::MAX]);
        let base = base.prop_map(str::to_owned);
        (base, prop::option::of(digest), any::<bool>(), caller)
    }

    proptest! {
        #[test]
        fn equal_only_if_all_parts_are(one in parts(), other in parts()) {
            // Evaluations have no caller.
            let told = |(base, adapter, background, caller): &Parts| {
                (base.clone(), *adapter, *background, if *background { 0 } else { *caller })
            };
            prop_assert_eq!(of(&one) == of(&other), told(&one) == told(&other));
        }
    }

    #[test]
    fn end_users_of_a_key_share_and_keys_do_not() {
        let of = |caller, user| {
            Namespace::new("base", None, Priority::Interactive, Party { caller, user })
        };
        assert_eq!(of(1, 1), of(1, 2));
        assert_ne!(of(1, 1), of(2, 1));
    }
}
