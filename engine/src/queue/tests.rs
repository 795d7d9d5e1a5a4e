use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Who runs how much; takes what is popped as running from then on.
#[derive(Default)]
struct Taken(BTreeMap<Party, usize>);

impl Taken {
    fn take(&mut self, party: Party) {
        *self.0.entry(party).or_default() += 1;
    }

    fn end(&mut self, party: Party) {
        *self.0.entry(party).or_default() -= 1;
    }

    fn of(&self, which: impl Fn(&Party) -> bool) -> Standing {
        let running = self.0.iter().filter(|(party, _)| which(party)).map(|(_, n)| n).sum();
        Standing { running, had: 0 }
    }
}

impl Standings for Taken {
    fn caller(&self, caller: u64) -> Standing {
        self.of(|party| party.caller == caller)
    }

    fn user(&self, party: Party) -> Standing {
        self.of(|other| *other == party)
    }
}

const ANN: Party = Party { caller: 1, user: 1 };
const BOB: Party = Party { caller: 2, user: 1 };

fn people(capacity: usize, items: impl IntoIterator<Item = i32>) -> Queue<i32> {
    let mut queue = Queue::new(capacity);
    for item in items {
        queue.push(Priority::Interactive, ANN, item).unwrap();
    }
    queue
}

fn pop(queue: &mut Queue<i32>, fits: impl Fn(&i32) -> bool) -> Option<i32> {
    queue.pop(true, &Taken::default(), fits)
}

#[test]
fn people_go_first_and_evaluations_are_not_starved() {
    let mut queue = people(100, 0..20);
    for i in 0..3 {
        queue.push(Priority::Background, Party::default(), 1000 + i).unwrap();
    }
    let order: Vec<i32> = std::iter::from_fn(|| pop(&mut queue, |_| true)).collect();
    assert_eq!(order[..8], [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(order[8], 1000);
    assert_eq!(order[17], 1001);
    assert_eq!(order.len(), 23);
}

#[test]
fn a_full_class_refuses_and_the_other_does_not() {
    let mut queue = Queue::new(1);
    queue.push(Priority::Background, ANN, 1).unwrap();
    assert_eq!(queue.push(Priority::Background, BOB, 2), Err(2));
    assert!(queue.push(Priority::Interactive, ANN, 3).is_ok());
    assert!(queue.is_full(Priority::Interactive, ANN));
    assert!(queue.is_full(Priority::Interactive, BOB), "nobody has more than one place");
}

#[test]
fn one_that_does_not_fit_is_not_overtaken() {
    let mut queue = people(9, [50, 1]);
    assert_eq!(pop(&mut queue, |size| *size < 10), None);
    assert_eq!(pop(&mut queue, |size| *size < 60), Some(50));
}

#[test]
fn people_do_not_wait_for_an_evaluation_that_does_not_fit() {
    let mut queue = people(100, 0..20);
    queue.push(Priority::Background, ANN, 1000).unwrap();
    let few = |item: &i32| *item < 1000;
    let first: Vec<i32> = std::iter::from_fn(|| pop(&mut queue, few)).take(12).collect();
    assert_eq!(first, (0..12).collect::<Vec<_>>());
    assert_eq!(pop(&mut queue, |_| true), Some(1000), "its turn came long ago");
    assert_eq!(pop(&mut queue, |_| true), Some(12));
}

#[test]
fn evaluations_wait_while_their_places_are_taken() {
    let mut queue = Queue::new(9);
    queue.push(Priority::Background, ANN, 1).unwrap();
    assert_eq!(queue.pop(false, &Taken::default(), |_| true), None);
    assert_eq!(pop(&mut queue, |_| true), Some(1));
}

#[test]
fn the_heaviest_gives_way_with_its_newest_until_places_are_equal() {
    let mut queue = people(6, 0..6);
    assert!(queue.is_full(Priority::Interactive, ANN), "nobody makes room for who has the most");
    for (item, expected) in [(100, Ok(Some(5))), (101, Ok(Some(4))), (102, Ok(Some(3)))] {
        assert_eq!(queue.push(Priority::Interactive, BOB, item), expected);
    }
    assert_eq!(queue.push(Priority::Interactive, BOB, 103), Err(103), "three each");
    assert_eq!(queue.push(Priority::Interactive, ANN, 6), Err(6));
    // The same among users of one caller, and only among them.
    let other = Party { user: 2, ..ANN };
    assert_eq!(queue.push(Priority::Interactive, other, 7), Ok(Some(2)));
    assert_eq!(queue.push(Priority::Interactive, other, 8), Err(8), "two and one");
}

#[test]
fn a_place_is_taken_from_the_heaviest_user_of_the_heaviest_caller() {
    let mut queue = people(6, 0..3);
    for item in 10..13 {
        let user = Party { user: item, ..ANN };
        queue.push(Priority::Interactive, user, i32::try_from(item).unwrap()).unwrap();
    }
    assert_eq!(queue.push(Priority::Interactive, BOB, 100), Ok(Some(2)));
}

#[test]
fn callers_take_turns_and_so_do_their_users() {
    let mut queue = people(1000, 0..100);
    for user in 0..4 {
        for i in 0..3 {
            queue.push(Priority::Interactive, Party { caller: 2, user }, 1000 + i).unwrap();
        }
    }
    let mut taken = Taken::default();
    for _ in 0..24 {
        let (party, _) = queue.interactive.next(&taken).unwrap();
        queue.pop(true, &taken, |_| true).unwrap();
        taken.take(party);
    }
    assert_eq!(taken.caller(1).running, 12);
    for user in 0..4 {
        assert_eq!(taken.user(Party { caller: 2, user }).running, 3);
    }
}

fn party() -> impl Strategy<Value = Party> {
    (0u64..4, 0u64..3).prop_map(|(caller, user)| Party { caller, user })
}

#[derive(Debug, Clone)]
enum Act {
    Push(Party, bool),
    Pop,
    Remove(usize),
    End(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (party(), any::<bool>()).prop_map(|(party, background)| Act::Push(party, background)),
        2 => Just(Act::Pop),
        1 => (0usize..20).prop_map(Act::Remove),
        1 => (0usize..20).prop_map(Act::End),
    ];
    prop::collection::vec(act, 0..300)
}

/// What waits, as (ticket, party), the oldest first: people, then the others.
#[derive(Default)]
struct Model([Vec<(u64, Party)>; 2]);

impl Model {
    fn places(&self, which: impl Fn(&Party) -> bool) -> usize {
        self.0[0].iter().filter(|(_, party)| which(party)).count()
    }

    fn forget(&mut self, ticket: u64) -> Option<Party> {
        self.0.iter_mut().find_map(|class| {
            let at = class.iter().position(|(one, _)| *one == ticket)?;
            Some(class.remove(at).1)
        })
    }
}

proptest! {
    /// Against plain lists: nothing lost and nothing twice; whoever waits is taken as long as there is room (work
    /// conserving); one user's order is kept; turns and places go to who has fewest.
    #[test]
    fn places_and_turns_are_shared(acts in acts()) {
        const PLACES: usize = 7;
        let mut queue: Queue<u64> = Queue::new(PLACES);
        let (mut model, mut taken) = (Model::default(), Taken::default());
        let mut running = Vec::new();
        for act in acts {
            match act {
                Act::Push(party, background) => {
                    let priority = if background { Priority::Background } else { Priority::Interactive };
                    let ticket = queue.next_ticket();
                    let refused = queue.is_full(priority, party);
                    let class = usize::from(background);
                    let before = model.0[class].len();
                    match queue.push(priority, party, ticket) {
                        Ok(displaced) => {
                            prop_assert!(!refused);
                            prop_assert_eq!(displaced.is_some(), before == PLACES);
                            if let Some(ticket) = displaced {
                                let loser = model.forget(ticket).unwrap();
                                let of = |p: Party| model.places(|o| *o == p);
                                let all = |c: u64| model.places(|o| o.caller == c);
                                // It still has as many as the one that comes will have.
                                if loser.caller == party.caller {
                                    prop_assert!(of(loser) > of(party));
                                } else {
                                    prop_assert!(all(loser.caller) > all(party.caller));
                                }
                                let newer = |(t, p): &(u64, Party)| *p == loser && *t > ticket;
                                prop_assert!(!model.0[0].iter().any(newer), "not its newest");
                            }
                            model.0[class].push((ticket, party));
                        }
                        Err(item) => {
                            prop_assert!(refused && item == ticket && before == PLACES);
                            if !background {
                                let own = model.places(|o| o.caller == party.caller);
                                for caller in 0..4 {
                                    prop_assert!(model.places(|o| o.caller == caller) <= own + 1);
                                }
                            }
                        }
                    }
                }
                Act::Remove(pick) => {
                    let all: Vec<u64> = model.0.concat().iter().map(|(ticket, _)| *ticket).collect();
                    match all.get(pick) {
                        Some(ticket) => {
                            prop_assert_eq!(queue.remove(*ticket), Some(*ticket));
                            model.forget(*ticket);
                        }
                        None => prop_assert_eq!(queue.remove(u64::MAX), None),
                    }
                }
                Act::End(pick) => if pick < running.len() {
                    taken.end(running.remove(pick));
                },
                Act::Pop => match queue.pop(true, &taken, |_| true) {
                    Some(ticket) => {
                        let person = model.0[0].iter().any(|(one, _)| *one == ticket);
                        let party = model.forget(ticket).unwrap();
                        let older = |(t, p): &(u64, Party)| *t < ticket && (*p == party || !person);
                        prop_assert!(!model.0[usize::from(!person)].iter().any(older));
                        if person {
                            for (_, other) in &model.0[0] {
                                prop_assert!(taken.caller(party.caller) <= taken.caller(other.caller));
                                if other.caller == party.caller {
                                    prop_assert!(taken.user(party) <= taken.user(*other));
                                }
                            }
                            taken.take(party);
                            running.push(party);
                        }
                    }
                    None => prop_assert!(model.0.iter().all(Vec::is_empty)),
                },
            }
            prop_assert_eq!(queue.waiting(Priority::Interactive), model.0[0].len());
            prop_assert_eq!(queue.len(), model.0.concat().len());
        }
        prop_assert_eq!(queue.drain().count(), model.0.concat().len());
    }

    /// While all of them wait, no caller is ahead of another one by more than one turn, whoever asks how much.
    #[test]
    fn nobody_is_ahead_by_more_than_a_turn(waiting in prop::collection::vec(1usize..40, 2..6)) {
        let mut queue: Queue<usize> = Queue::new(1000);
        for (caller, count) in waiting.iter().enumerate() {
            let party = Party { caller: caller as u64, user: 0 };
            (0..*count).for_each(|_| { queue.push(Priority::Interactive, party, caller).unwrap(); });
        }
        let (mut left, mut taken) = (waiting.clone(), Taken::default());
        while let Some(caller) = queue.pop(true, &taken, |_| true) {
            left[caller] -= 1;
            taken.take(Party { caller: caller as u64, user: 0 });
            let turns = (0..left.len()).filter(|c| left[*c] > 0).map(|c| waiting[c] - left[c]);
            let turns: Vec<usize> = turns.collect();
            if let (Some(least), Some(most)) = (turns.iter().min(), turns.iter().max()) {
                prop_assert!(most - least <= 1, "{:?} of {:?}", turns, waiting);
            }
        }
        prop_assert!(left.iter().all(|left| *left == 0));
    }
}
