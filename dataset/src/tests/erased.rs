//! What a person wants gone is gone from the files, and what is left can still be trusted.

use std::collections::BTreeSet;
use std::path::Path;

use super::{answered, ask, curated, fix, small};
use crate::erase::{erase, rows_of};
use crate::{Policy, Snapshot};

fn holds(folder: &Path, text: &str) -> bool {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.map(|file| std::fs::read_to_string(file).unwrap()).any(|content| content.contains(text))
}

#[test]
fn rows_leave_and_the_rest_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let whole = small();
    let path = whole.write(folder.path()).unwrap();
    let ids = BTreeSet::from([whole.examples[3].id, whole.examples[5].id]);
    let text = &whole.examples[3].messages[0].content;
    assert!(holds(&path, text));
    assert_eq!(rows_of(&path, &ids).unwrap(), 2);

    for _ in 0..2 {
        assert_eq!(erase(&path, &ids).unwrap(), Some(2));
        assert!(!holds(&path, text));
        assert!(Snapshot::is_erased(&path));
        let left = Snapshot::read(&path).unwrap();
        assert_eq!(left.examples.len(), whole.examples.len() - 2);
        assert_eq!(left.manifest.hash, whole.manifest.hash, "it keeps its name");
        assert_eq!(rows_of(&path, &ids).unwrap(), 2, "what it held is known for ever");
    }

    // Of a second person, later.
    let more = BTreeSet::from([whole.examples[0].id]);
    assert_eq!(erase(&path, &more).unwrap(), Some(1));
    assert_eq!(rows_of(&path, &ids).unwrap() + rows_of(&path, &more).unwrap(), 3);
    assert_eq!(Snapshot::read(&path).unwrap().examples.len(), whole.examples.len() - 3);
}

#[test]
fn a_kill_between_two_files_is_made_good_by_the_repetition() {
    let folder = tempfile::tempdir().unwrap();
    let whole = small();
    let path = whole.write(folder.path()).unwrap();
    let ids = BTreeSet::from([whole.examples[3].id]);
    let names = ["rows.jsonl", "rehearsal.jsonl", "manifest.json"];
    let before = names.map(|name| std::fs::read(path.join(name)).unwrap());
    erase(&path, &ids).unwrap();
    let after = Snapshot::read(&path).unwrap();
    for written in 0..names.len() {
        for at in written..names.len() {
            std::fs::write(path.join(names[at]), &before[at]).unwrap();
        }
        assert!(written > 0 || Snapshot::read(&path).is_err(), "nothing is trained on it");
        assert_eq!(erase(&path, &ids).unwrap(), Some(1));
        assert_eq!(Snapshot::read(&path).unwrap(), after);
    }
}

#[test]
fn what_a_person_called_her_rows_goes_too() {
    let folder = tempfile::tempdir().unwrap();
    let tagged = |number: u32, family| {
        let text = format!("Question {number}?");
        ask(number, &text).say_with("a", fix("Seven."), &[("family", family)])
    };
    let rows = [tagged(1, "secret-project"), tagged(2, "billing"), tagged(3, "billing")];
    let whole = curated(&Policy::plain(), &rows).seal(vec![answered("How are you?")]).unwrap();
    let path = whole.write(folder.path()).unwrap();
    erase(&path, &BTreeSet::from([whole.examples[0].id])).unwrap();
    assert!(!holds(&path, "secret-project") && holds(&path, "billing"));
}

#[test]
fn what_she_only_asked_is_rehearsed_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let asked = hone_api::InteractionId::new();
    let mut rehearsed = answered("Tell me a Wobbegong joke");
    rehearsed.id = Some(asked);
    let rows = [ask(1, "Who?").say("a", fix("Me."))];
    let whole = curated(&Policy::plain(), &rows).seal(vec![rehearsed, answered("Hi")]).unwrap();
    let path = whole.write(folder.path()).unwrap();
    assert_eq!(erase(&path, &BTreeSet::from([asked])).unwrap(), Some(1));
    assert!(!holds(&path, "Wobbegong") && holds(&path, "Hi"));
    assert_eq!(Snapshot::read(&path).unwrap().rehearsal.len(), 1);
}

#[test]
fn an_untouched_snapshot_stays_and_a_damaged_one_goes() {
    let folder = tempfile::tempdir().unwrap();
    let whole = small();
    let path = whole.write(folder.path()).unwrap();
    let strangers = BTreeSet::from([hone_api::InteractionId::new()]);
    assert_eq!(erase(&path, &strangers).unwrap(), Some(0));
    assert_eq!(Snapshot::read(&path).unwrap(), whole);
    std::fs::write(path.join("rows.jsonl"), "{").unwrap();
    assert_eq!(erase(&path, &strangers).unwrap(), None);
    assert!(!path.exists(), "nobody could tell what is in it");
}
