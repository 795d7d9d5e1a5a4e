//! The life of an adapter: which moves there are.
//!
//! Prevents an adapter from coming to serve without having been verified, and a rejected one from
//! coming back unnoticed.

use hone_api::AdapterId;
use hone_api::adapter::AdapterState;

use crate::{Error, Result};

/// Whether an adapter may go from one state to another.
///
/// ```text
/// staged ─→ candidate ─→ canary ─→ live ⇄ retired
///    │          │  └──────────────↗
///    └→ rejected ←──┴── canary        rejected ─→ candidate (a person reinstates it)
/// ```
#[must_use]
pub const fn is_legal(from: AdapterState, to: AdapterState) -> bool {
    use AdapterState::{Canary, Candidate, Live, Rejected, Retired, Staged};
    matches!(
        (from, to),
        (Staged, Candidate | Rejected)
            | (Candidate, Canary | Live | Rejected)
            | (Canary, Live | Candidate | Rejected)
            | (Live, Retired)
            | (Retired, Live | Canary)
            | (Rejected, Candidate)
    )
}

/// Checks a move.
///
/// # Errors
/// [`Error::Transition`], naming both states.
pub fn check(id: AdapterId, from: AdapterState, to: AdapterState) -> Result<()> {
    if is_legal(from, to) {
        return Ok(());
    }
    Err(Error::Transition { id, from: word(from), to: word(to) })
}

/// The state as people read it.
#[must_use]
pub const fn word(state: AdapterState) -> &'static str {
    match state {
        AdapterState::Staged => "staged",
        AdapterState::Candidate => "candidate",
        AdapterState::Canary => "canary",
        AdapterState::Live => "live",
        AdapterState::Retired => "retired",
        AdapterState::Rejected => "rejected",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [AdapterState; 6] = [
        AdapterState::Staged,
        AdapterState::Candidate,
        AdapterState::Canary,
        AdapterState::Live,
        AdapterState::Retired,
        AdapterState::Rejected,
    ];

    #[test]
    fn a_refused_move_names_both_states() {
        let id = AdapterId::new();
        let error = check(id, AdapterState::Rejected, AdapterState::Live).unwrap_err();
        assert_eq!(error.to_string(), format!("{id} is rejected and cannot become live"));
    }

    proptest! {
        #[test]
        fn nothing_serves_that_was_not_a_candidate_since_its_last_rejection(
            steps in proptest::collection::vec(0_usize..6, 0..40)
        ) {
            let mut state = AdapterState::Staged;
            let mut verified = false;
            for step in steps {
                let to = ALL[step];
                if !is_legal(state, to) {
                    continue;
                }
                match to {
                    AdapterState::Candidate => verified = true,
                    AdapterState::Rejected => verified = false,
                    AdapterState::Live | AdapterState::Canary => prop_assert!(verified),
                    AdapterState::Staged => prop_assert!(false, "nothing returns to staged"),
                    AdapterState::Retired => prop_assert_eq!(state, AdapterState::Live),
                }
                state = to;
            }
        }
    }
}
