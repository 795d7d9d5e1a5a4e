//! The registry as a whole: promotions, repairs, and a small model that it is compared with.

use super::*;
use crate::WEIGHTS;
use crate::import::Import;
use crate::pointer::LIVE;
use crate::testing::{peft_config, tiny_base, write_random_adapter};
use fs_err as fs;
use hone_api::adapter::Provenance;
use proptest::prelude::*;

struct Place {
    dir: tempfile::TempDir,
    registry: Registry,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::open(dir.path(), tiny_base()).unwrap();
        Self { dir, registry }
    }

    /// Opens the same directory again, as after a crash.
    fn reopen(self) -> Self {
        drop(self.registry);
        let registry = Registry::open(self.dir.path(), tiny_base()).unwrap();
        Self { dir: self.dir, registry }
    }

    fn import(&self, name: Option<&str>, seed: u64) -> Result<AdapterView> {
        self.import_from(Provenance::Import { folder: "source".to_owned() }, name, seed)
    }

    fn import_from(
        &self,
        provenance: Provenance,
        name: Option<&str>,
        seed: u64,
    ) -> Result<AdapterView> {
        let source = self.dir.path().join("drop/source");
        write_random_adapter(&source, &tiny_base(), 2, seed);
        self.registry.import(Import {
            id: AdapterId::new(),
            source,
            name: name.map(str::to_owned),
            provenance,
            now: UnixMillis(1),
        })
    }

    /// As a cycle registers what it trained.
    fn train(&self, seed: u64) -> AdapterId {
        let provenance =
            Provenance::Cycle { cycle_id: hone_api::CycleId::new(), snapshot: "s".to_owned() };
        self.import_from(provenance, None, seed).unwrap().id
    }

    fn add(&self, seed: u64) -> AdapterId {
        self.import(None, seed).unwrap().id
    }

    fn promote(&self, to: Option<AdapterId>) -> LivePointer {
        self.registry.promote(to, None, UnixMillis(2)).unwrap()
    }

    fn state(&self, id: AdapterId) -> AdapterState {
        self.registry.get(&AdapterRef::Id(id)).unwrap().state
    }

    fn live_json(&self) -> PathBuf {
        self.dir.path().join(LIVE)
    }
}

#[test]
fn the_first_start_serves_the_base() {
    let place = Place::new();
    assert_eq!(place.registry.live().live, None);
    assert_eq!(place.registry.live().epoch, 0);
    assert!(place.registry.warnings().is_empty());
    assert_eq!(place.registry.resolve(&AdapterRef::Live).unwrap(), None);
    assert!(matches!(place.registry.get(&AdapterRef::Live), Err(Error::IsBase(_))));
    let nothing = place.registry.rollback(None, None, UnixMillis(1), &|_| false);
    assert!(matches!(nothing, Err(Error::NothingToRollBack)));
}

#[test]
fn imported_promoted_rolled_back() {
    let place = Place::new();
    let one = place.import(Some("one"), 1).unwrap();
    assert!(matches!(place.registry.resolve(&AdapterRef::Candidate), Err(Error::Unknown(_))));
    let two = place.train(2);
    place.add(3);
    assert_eq!(one.state, AdapterState::Candidate);
    let candidate = place.registry.resolve(&AdapterRef::Candidate).unwrap();
    assert_eq!(candidate, Some(two), "what a cycle made, and not the newest import");
    assert_eq!(place.registry.resolve(&AdapterRef::Name("one".into())).unwrap(), Some(one.id));
    place.promote(Some(one.id));
    let pointer = place.promote(Some(two));
    assert_eq!((pointer.epoch, pointer.live, pointer.previous), (2, Some(two), Some(one.id)));
    assert_eq!(place.state(one.id), AdapterState::Retired);
    assert_eq!(place.state(two), AdapterState::Live);
    let back = place.registry.rollback(None, Some(Some(two)), UnixMillis(3), &|_| false).unwrap();
    assert_eq!((back.epoch, back.live, back.previous), (3, Some(one.id), Some(two)));
    let place = place.reopen();
    assert_eq!(place.registry.live(), back);
    assert_eq!(place.state(one.id), AdapterState::Live);
    let base = place.registry.rollback(Some(None), None, UnixMillis(4), &|_| false).unwrap();
    assert_eq!(base.live, None);
}

#[test]
fn swapping_needs_the_right_expectation() {
    let place = Place::new();
    let (one, two) = (place.add(1), place.add(2));
    place.registry.promote(Some(one), Some(None), UnixMillis(2)).unwrap();
    let error = place.registry.promote(Some(two), Some(None), UnixMillis(3)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("`{one}` serves now, not `base`; look again before deciding")
    );
    assert_eq!(place.registry.live().epoch, 1);
    let same = place.registry.promote(Some(one), None, UnixMillis(9)).unwrap();
    assert_eq!((same.epoch, same.changed_at), (1, UnixMillis(2)), "nothing moved");
}

#[test]
fn of_many_who_expect_the_same_one_wins() {
    let place = Place::new();
    let adapters: Vec<_> = (0..8).map(|seed| place.add(seed)).collect();
    let won: usize = std::thread::scope(|scope| {
        let registry = &place.registry;
        let threads: Vec<_> = adapters
            .iter()
            .map(|id| {
                scope.spawn(|| registry.promote(Some(*id), Some(None), UnixMillis(2)).is_ok())
            })
            .collect();
        threads.into_iter().map(|t| usize::from(t.join().unwrap())).sum()
    });
    assert_eq!(won, 1);
    assert_eq!(place.registry.live().epoch, 1);
}

#[test]
fn a_rejected_adapter_comes_back_only_by_hand() {
    let place = Place::new();
    let id = place.add(1);
    place.registry.reject(id, "controls fell by 9 points", UnixMillis(2)).unwrap();
    let error = place.registry.promote(Some(id), None, UnixMillis(3)).unwrap_err();
    assert!(matches!(error, Error::Transition { .. }), "{error}");
    let manifest = place.registry.manifest(&AdapterRef::Id(id)).unwrap();
    assert_eq!(manifest.reason(), "controls fell by 9 points");
    place.registry.reinstate(id, "looked at by hand", UnixMillis(4)).unwrap();
    place.promote(Some(id));
}

#[test]
fn unknown_is_unknown() {
    let place = Place::new();
    let id = AdapterId::new();
    assert!(matches!(place.registry.resolve(&AdapterRef::Id(id)), Err(Error::Unknown(_))));
    assert!(matches!(
        place.registry.resolve(&AdapterRef::Name("x".into())),
        Err(Error::Unknown(_))
    ));
    assert!(matches!(
        place.registry.promote(Some(id), None, UnixMillis(1)),
        Err(Error::Unknown(_))
    ));
    assert!(matches!(place.registry.delete(id), Err(Error::Unknown(_))));
}

#[test]
fn names_are_taken_once_and_imports_can_be_repeated() {
    let place = Place::new();
    let one = place.import(Some("tone"), 1).unwrap();
    assert_eq!(place.import(Some("tone"), 1).unwrap().id, one.id, "the same weights");
    assert!(matches!(place.import(Some("tone"), 2), Err(Error::NameTaken { .. })));
    assert!(matches!(place.import(Some("live"), 2), Err(Error::Name(_))));
    assert_eq!(place.registry.list().len(), 1);
    let two = place.add(2);
    assert!(matches!(place.registry.set_name(two, Some("tone")), Err(Error::NameTaken { .. })));
    for like in ["Tone", "TONE"] {
        assert!(matches!(place.registry.set_name(two, Some(like)), Err(Error::NameTaken { .. })));
        assert!(matches!(place.import(Some(like), 1), Err(Error::NameTaken { .. })), "{like}");
    }
    place.registry.set_name(one.id, Some("Tone")).unwrap();
    assert!(place.registry.resolve(&AdapterRef::Name("tone".into())).is_err());
    place.registry.set_name(one.id, None).unwrap();
    place.registry.set_name(two, Some("tone")).unwrap();
    let place = place.reopen();
    assert_eq!(place.registry.resolve(&AdapterRef::Name("tone".into())).unwrap(), Some(two));
}

#[test]
fn of_many_who_want_a_name_one_gets_it() {
    let place = Place::new();
    let adapters: Vec<_> = (0..8).map(|seed| place.add(seed)).collect();
    let together = std::sync::Barrier::new(adapters.len());
    let won: usize = std::thread::scope(|scope| {
        let (registry, together) = (&place.registry, &together);
        let threads = adapters.iter().map(|id| {
            scope.spawn(move || {
                together.wait();
                registry.set_name(*id, Some("tone")).is_ok()
            })
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
    });
    assert_eq!(won, 1);
}

#[test]
fn a_refused_import_leaves_nothing() {
    let place = Place::new();
    let source = place.dir.path().join("drop/bad");
    write_random_adapter(&source, &tiny_base(), 2, 1);
    fs::write(source.join("extra.pt"), "pickle").unwrap();
    let error = place
        .registry
        .import(Import {
            id: AdapterId::new(),
            source,
            name: None,
            provenance: Provenance::Import { folder: "bad".to_owned() },
            now: UnixMillis(1),
        })
        .unwrap_err();
    assert!(error.to_string().starts_with("`bad` is refused: it holds `extra.pt`"), "{error}");
    assert_eq!(fs::read_dir(place.dir.path().join("adapters")).unwrap().count(), 0);
}

#[test]
fn live_and_previous_cannot_be_deleted() {
    let place = Place::new();
    let (one, two, three) = (place.add(1), place.add(2), place.add(3));
    place.promote(Some(one));
    place.promote(Some(two));
    for id in [one, two] {
        assert!(matches!(place.registry.delete(id), Err(Error::InUse(_))));
    }
    place.registry.delete(three).unwrap();
    assert!(!place.registry.dir(three).exists());
    place.registry.reject(place.add(4), "worse", UnixMillis(5)).unwrap();
    place.registry.reject(place.train(5), "worse", UnixMillis(5)).unwrap();
    assert_eq!(place.registry.gc(0).unwrap().len(), 1);
    assert_eq!(place.registry.list().len(), 3, "what a person brought stays");
}

#[test]
fn what_a_person_made_serve_stays() {
    let place = Place::new();
    let (one, two) = (place.train(1), place.train(2));
    place.promote(Some(one));
    place.registry.choose(one).unwrap();
    for seed in [3, 4] {
        place.promote(Some(place.train(seed)));
    }
    place.promote(Some(two));
    place.promote(None);
    let gone = place.registry.gc(0).unwrap();
    assert_eq!(gone.len(), 2, "three and four; two is the previous one");
    assert!(place.registry.dir(one).exists() && place.reopen().registry.dir(one).exists());
}

#[test]
fn what_is_in_memory_can_be_gone_back_to_without_its_files() {
    let place = Place::new();
    let (one, two) = (place.train(1), place.train(2));
    place.promote(Some(one));
    place.promote(Some(two));
    fs::remove_dir_all(place.registry.dir(one)).unwrap();
    let back = |held: bool| place.registry.rollback(None, None, UnixMillis(5), &|_| held);
    assert!(matches!(back(false), Err(Error::Damaged { .. })));
    assert_eq!(back(true).unwrap().live, Some(one));
    // After a restart nothing is in memory: what served before that does.
    let place = place.reopen();
    assert_eq!(place.registry.live().live, Some(two));
    assert!(!place.registry.warnings().is_empty());
}

#[test]
fn who_asks_for_an_adapter_does_not_wait_for_a_change() {
    let place = Place::new();
    let one = place.import(Some("one"), 1).unwrap().id;
    let _somebody_waits_for_the_disk = place.registry.changing();
    assert_eq!(place.registry.resolve(&AdapterRef::Name("one".into())).unwrap(), Some(one));
    assert_eq!(place.registry.list().len(), 1);
    place.registry.with_verified(one, |_| Ok::<_, Error>(())).unwrap();
}

#[test]
fn what_is_being_read_is_not_deleted_meanwhile() {
    let place = Place::new();
    let one = place.add(1);
    std::thread::scope(|scope| {
        let deleted = place.registry.with_verified(one, |dir| {
            let deletion = scope.spawn(|| place.registry.delete(one));
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert!(dir.exists(), "not while it is read");
            Ok::<_, Error>(deletion)
        });
        deleted.unwrap().join().unwrap().unwrap();
    });
    assert!(!place.registry.dir(one).exists());
    let gone = place.registry.with_verified(one, |_| Ok(()));
    assert!(matches!(gone, Err(Error::Unknown(_))), "and is not read afterwards");
}

#[test]
fn a_broken_pointer_is_rebuilt_from_the_manifests() {
    for content in ["", "{", "{\"epoch\":7}"] {
        let place = Place::new();
        let (one, two) = (place.add(1), place.add(2));
        place.promote(Some(one));
        place.promote(Some(two));
        fs::write(place.live_json(), content).unwrap();
        let place = place.reopen();
        let pointer = place.registry.live();
        assert_eq!((pointer.live, pointer.previous), (Some(two), Some(one)));
        assert!(pointer.epoch > 2);
        assert_eq!(place.registry.warnings().len(), 1);
        assert!(place.reopen().registry.warnings().is_empty(), "repaired for good");
    }
}

#[test]
fn a_lost_pointer_after_a_return_to_the_base_means_the_base() {
    let place = Place::new();
    let one = place.add(1);
    place.promote(Some(one));
    place.promote(None);
    fs::remove_file(place.live_json()).unwrap();
    let pointer = place.reopen().registry.live();
    assert_eq!((pointer.live, pointer.previous), (None, Some(one)));
    assert!(pointer.epoch > 2);
}

#[test]
fn a_damaged_live_adapter_falls_back_to_the_previous_one() {
    let place = Place::new();
    let (one, two) = (place.add(1), place.add(2));
    place.promote(Some(one));
    place.promote(Some(two));
    let weights = place.registry.dir(two).join(WEIGHTS);
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    let place = place.reopen();
    assert_eq!(place.registry.live().live, Some(one));
    assert_eq!(place.registry.live().epoch, 3);
    assert_eq!(place.state(one), AdapterState::Live);
    assert_eq!(place.registry.warnings().len(), 1, "{:?}", place.registry.warnings());
    let error = place.registry.promote(Some(two), None, UnixMillis(9)).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}

#[test]
fn without_live_and_previous_the_base_serves() {
    let place = Place::new();
    let (one, two) = (place.add(1), place.add(2));
    place.promote(Some(one));
    place.promote(Some(two));
    fs::remove_dir_all(place.registry.dir(one)).unwrap();
    fs::remove_dir_all(place.registry.dir(two)).unwrap();
    let place = place.reopen();
    let pointer = place.registry.live();
    assert_eq!((pointer.live, pointer.previous), (None, None));
    assert!(pointer.epoch > 2);
    assert!(place.reopen().registry.warnings().is_empty());
}

#[test]
fn another_base_serves_itself_and_the_adapter_waits() {
    let place = Place::new();
    let one = place.add(1);
    place.promote(Some(one));
    let other = BaseShape { digest: "other".to_owned(), ..tiny_base() };
    let registry = Registry::open(place.dir.path(), other).unwrap();
    assert_eq!(registry.live().live, None);
    assert!(matches!(
        registry.rollback(None, None, UnixMillis(5), &|_| false),
        Err(Error::OtherBase { .. })
    ));
    let place = place.reopen();
    let back = place.registry.rollback(None, None, UnixMillis(6), &|_| false).unwrap();
    assert_eq!(back.live, Some(one));
}

#[test]
fn a_broken_manifest_leaves_the_others_alone() {
    let place = Place::new();
    let (one, two) = (place.add(1), place.add(2));
    fs::write(place.registry.dir(one).join("manifest.json"), "{}").unwrap();
    let place = place.reopen();
    assert_eq!(place.registry.list().iter().map(|a| a.id).collect::<Vec<_>>(), [two]);
    let unusable = |place: &Place| {
        place.registry.warnings().iter().map(|warning| warning.unusable).collect::<Vec<_>>()
    };
    assert_eq!(unusable(&place), [Some(one)]);
    assert_eq!(unusable(&place.reopen()), [Some(one)], "it is found as long as it is so");
}

#[test]
fn a_kill_between_the_pointer_and_the_manifests_is_caught_up() {
    let place = Place::new();
    let (one, two) = (place.add(1), place.add(2));
    place.promote(Some(one));
    // the pointer moves, then the process dies
    place.registry.live().moved(Some(two), UnixMillis(3)).write(&place.live_json()).unwrap();
    let place = place.reopen();
    assert_eq!(place.registry.live().live, Some(two));
    assert_eq!(place.state(one), AdapterState::Retired);
    assert_eq!(place.state(two), AdapterState::Live);
    assert!(place.registry.warnings().is_empty(), "this is no damage");
}

#[test]
fn a_kill_during_an_import_leaves_no_trace() {
    let place = Place::new();
    let root = place.dir.path().join("adapters");
    write_random_adapter(&root.join(".unfinished-x"), &tiny_base(), 2, 1);
    fs::create_dir_all(root.join(".trash-ad-y")).unwrap();
    fs::write(place.dir.path().join(".unfinished-y"), "{").unwrap();
    let place = place.reopen();
    assert_eq!(fs::read_dir(root).unwrap().count(), 0);
    assert!(!place.dir.path().join(".unfinished-y").exists());
}

#[test]
fn the_drop_folder_confines() {
    let place = Place::new();
    write_random_adapter(&place.registry.drop_dir().join("mine"), &tiny_base(), 2, 1);
    assert!(place.registry.drop_path("mine").is_ok());
    for bad in ["../adapters", "/etc", "mine/../../x", ""] {
        assert!(place.registry.drop_path(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_configuration_counts_as_weights() {
    let place = Place::new();
    let one = place.add(1);
    let mut config = peft_config(&tiny_base(), 2);
    config["lora_alpha"] = 64.into();
    fs::write(place.registry.dir(one).join(crate::CONFIG), config.to_string()).unwrap();
    assert!(matches!(place.registry.with_verified(one, |_| Ok(())), Err(Error::Damaged { .. })));
}

/// What a caller can do.
#[derive(Debug, Clone)]
enum Operation {
    Import,
    Promote(prop::sample::Index, bool),
    ToBase,
    Rollback,
    Reject(prop::sample::Index),
    Reinstate(prop::sample::Index),
    Delete(prop::sample::Index),
    Collect(usize),
    Reopen,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        2 => Just(Operation::Import),
        4 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(i, b)| Operation::Promote(i, b)),
        1 => Just(Operation::ToBase),
        2 => Just(Operation::Rollback),
        1 => any::<prop::sample::Index>().prop_map(Operation::Reject),
        1 => any::<prop::sample::Index>().prop_map(Operation::Reinstate),
        1 => any::<prop::sample::Index>().prop_map(Operation::Delete),
        1 => (0_usize..3).prop_map(Operation::Collect),
        1 => Just(Operation::Reopen),
    ]
}

/// The registry as one would write it on paper.
#[derive(Default)]
struct Paper {
    epoch: u64,
    live: Option<AdapterId>,
    previous: Option<AdapterId>,
    states: BTreeMap<AdapterId, AdapterState>,
}

impl Paper {
    fn go(&mut self, to: Option<AdapterId>) {
        if to == self.live {
            return;
        }
        if let Some(old) = self.live {
            self.states.insert(old, AdapterState::Retired);
        }
        if let Some(new) = to {
            self.states.insert(new, AdapterState::Live);
        }
        self.previous = std::mem::replace(&mut self.live, to);
        self.epoch += 1;
    }

    fn may_serve(&self, id: AdapterId) -> bool {
        use AdapterState::{Candidate, Live, Retired};
        matches!(self.states.get(&id), Some(Candidate | Live | Retired))
    }

    fn step(&mut self, id: AdapterId, from: AdapterState, to: AdapterState) -> bool {
        let legal = self.states.get(&id) == Some(&from);
        if legal {
            self.states.insert(id, to);
        }
        legal
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_registry_is_what_it_is_on_paper(operations in proptest::collection::vec(operation(), 1..24)) {
        use AdapterState::{Candidate, Rejected, Retired};
        let mut place = Place::new();
        let mut paper = Paper::default();
        let mut known: Vec<AdapterId> = Vec::new();
        for (turn, operation) in operations.into_iter().enumerate() {
            let now = UnixMillis(turn as i64 + 10);
            let pick = |index: prop::sample::Index| (!known.is_empty()).then(|| *index.get(&known));
            match operation {
                Operation::Import => {
                    let id = place.add(turn as u64);
                    paper.states.insert(id, Candidate);
                    known.push(id);
                }
                Operation::Promote(index, right) => {
                    let Some(id) = pick(index) else { continue };
                    let expected = if right { paper.live } else { Some(AdapterId::new()) };
                    let done = place.registry.promote(Some(id), Some(expected), now).is_ok();
                    prop_assert_eq!(done, right && paper.may_serve(id));
                    if done {
                        paper.go(Some(id));
                    }
                }
                Operation::ToBase => {
                    prop_assert!(place.registry.promote(None, None, now).is_ok());
                    paper.go(None);
                }
                Operation::Rollback => {
                    let back = place.registry.rollback(None, None, now, &|_| false);
                    prop_assert_eq!(back.is_ok(), paper.live != paper.previous);
                    paper.go(paper.previous);
                }
                Operation::Reject(index) => {
                    let Some(id) = pick(index) else { continue };
                    let done = place.registry.reject(id, "worse", now).is_ok();
                    prop_assert_eq!(done, paper.step(id, Candidate, Rejected));
                }
                Operation::Reinstate(index) => {
                    let Some(id) = pick(index) else { continue };
                    let done = place.registry.reinstate(id, "again", now).is_ok();
                    prop_assert_eq!(done, paper.step(id, Rejected, Candidate));
                }
                Operation::Delete(index) => {
                    let Some(id) = pick(index) else { continue };
                    let free = paper.states.contains_key(&id) && ![paper.live, paper.previous].contains(&Some(id));
                    prop_assert_eq!(place.registry.delete(id).is_ok(), free);
                    if free {
                        paper.states.remove(&id);
                    }
                }
                Operation::Collect(keep) => {
                    let gone = place.registry.gc(keep).unwrap();
                    for id in &gone {
                        prop_assert!(matches!(paper.states.remove(id), Some(Retired | Rejected)));
                        prop_assert!(![paper.live, paper.previous].contains(&Some(*id)));
                    }
                }
                Operation::Reopen => {
                    place = place.reopen();
                    prop_assert!(place.registry.warnings().is_empty());
                }
            }
            let pointer = place.registry.live();
            prop_assert_eq!(pointer.epoch, paper.epoch);
            prop_assert_eq!((pointer.live, pointer.previous), (paper.live, paper.previous));
            prop_assert_eq!(LivePointer::read(&place.live_json()), Ok(Some(pointer)));
            let states: BTreeMap<_, _> = place.registry.list().iter().map(|a| (a.id, a.state)).collect();
            prop_assert_eq!(&states, &paper.states);
        }
    }
}
