//! Which rows are shown more often: those that are not known yet.
//!
//! Ten facts among three hundred sums need more showings than the sums, which teach each other. After
//! each pass the answers are weighed behind another wording of their questions than was shown; what is
//! unlikely there is known by its words only, and is shown in more wordings in the next pass. Rows
//! without other wordings have nothing more to show.

/// Nats that an answer as a whole must be away from certain to earn one more showing: at 0.5 it is
/// given six times in ten.
const EARNS: f64 = 0.5;

/// Showings of each row beyond the usual ones: one for every so many nats of its answer, at most
/// `most`, and of all rows together at most as many as they have usually. `losses` are the sums over
/// the tokens of the answers that are weighed.
pub(crate) fn extra(losses: &[Option<f64>], usual: &[usize], most: usize) -> Vec<usize> {
    let weighed = losses.iter().zip(usual).filter(|(loss, _)| loss.is_some());
    let room: usize = weighed.map(|(_, usual)| usual).sum();
    let mut earns = EARNS;
    loop {
        let of = |loss: &Option<f64>| ((loss.unwrap_or(0.0) / earns) as usize).min(most);
        let extra: Vec<usize> = losses.iter().map(of).collect();
        if extra.iter().sum::<usize>() <= room {
            return extra;
        }
        earns *= 1.25;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_shown_again_within_what_there_is_room_for() {
        let losses = [Some(0.1), Some(0.6), Some(9.0), None];
        assert_eq!(extra(&losses, &[2, 2, 2, 1], 3), [0, 1, 3, 0]);
        assert_eq!(extra(&losses, &[1, 1, 1, 1], 3), [0, 0, 3, 0], "the farthest first");
        assert_eq!(extra(&losses, &[1; 4], 0), [0; 4]);
        assert!(extra(&[], &[], 3).is_empty());
    }
}
