//! Recall and precision of the recognisers on labelled texts, and silence on the starter's.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code, also outside of #[test] functions"
)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use hone_api::check::SuiteRow;
use hone_dataset::redact::{Entity, find, redact};

/// A text and where personal data is in it.
type Labelled = (String, Vec<(Entity, Range<usize>)>);

/// Reads `{Kind|…}` marks.
fn unmark(line: &str) -> Labelled {
    let mut text = String::new();
    let mut spans = Vec::new();
    let mut rest = line;
    while let Some((before, marked)) = rest.split_once('{') {
        text.push_str(before);
        let (kind, marked) = marked.split_once('|').unwrap();
        let (inner, after) = marked.split_once('}').unwrap();
        let entity = match kind {
            "Email" => Entity::Email,
            "Phone" => Entity::Phone,
            "Card" => Entity::Card,
            "Iban" => Entity::Iban,
            "Key" => Entity::Key,
            other => panic!("{other}"),
        };
        spans.push((entity, text.len()..text.len() + inner.len()));
        text.push_str(inner);
        rest = after;
    }
    text.push_str(rest);
    (text, spans)
}

#[test]
fn the_labelled_texts_come_out_as_labelled() {
    let mut wrong = Vec::new();
    for line in include_str!("data/redaction.txt").lines().filter(|line| !line.starts_with('#')) {
        let (text, spans) = unmark(line);
        let found = find(&text);
        if found != spans {
            let shown: Vec<_> = found.iter().map(|(kind, at)| (kind, &text[at.clone()])).collect();
            wrong.push(format!("{line}\n    found {shown:?}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A small generator, so that the set is the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }

    fn string(&mut self, alphabet: &str, length: usize) -> String {
        let letters: Vec<char> = alphabet.chars().collect();
        (0..length).map(|_| letters[self.below(letters.len() as u64) as usize]).collect()
    }

    fn digits(&mut self, length: usize) -> String {
        self.string("0123456789", length)
    }
}

const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz";
const TOKEN: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

fn personal(random: &mut Random, entity: Entity) -> String {
    match entity {
        Entity::Email => {
            let (name, host) = (random.string(LETTERS, 5), random.string(LETTERS, 6));
            let number = random.digits(2);
            match random.below(3) {
                0 => format!("{name}@{host}.{}", random.pick(&["com", "de", "io", "co.uk"])),
                1 => format!("{name}.{host}{number}@mail.{host}.net"),
                _ => format!("{name}+{number}@{host}-{name}.org"),
            }
        }
        Entity::Phone => {
            let area = format!("{}{}", 2 + random.below(3), random.digits(2));
            let (exchange, line) = (format!("8{}", random.digits(2)), random.digits(4));
            match random.below(5) {
                0 => format!("+1 {area} {exchange} {line}"),
                1 => format!("({area}) {exchange}-{line}"),
                2 => format!("{area}-{exchange}-{line}"),
                3 => format!("+49 {area} {exchange}{line}"),
                _ => format!("0{area} {exchange}{line}"),
            }
        }
        Entity::Card => {
            let start = random.pick(&["4", "51", "2301", "6011", "37", "3530"]);
            let length = if start == "37" { 15 } else { 16 };
            let body = format!("{start}{}", random.digits(length - 1 - start.len()));
            let sum: u32 = body
                .chars()
                .rev()
                .filter_map(|it| it.to_digit(10))
                .enumerate()
                .map(|(place, digit)| match (place % 2, digit * 2) {
                    (0, twice) if twice > 9 => twice - 9,
                    (0, twice) => twice,
                    _ => digit,
                })
                .sum();
            let whole = format!("{body}{}", (10 - sum % 10) % 10);
            match (length, random.below(3)) {
                (16, 0) => [&whole[..4], &whole[4..8], &whole[8..12], &whole[12..]].join(" "),
                (16, 1) => [&whole[..4], &whole[4..8], &whole[8..12], &whole[12..]].join("-"),
                _ => whole,
            }
        }
        Entity::Iban => {
            let account = format!("DE00{}", random.digits(18));
            let digits = format!("{}131400", &account[4..]);
            let remainder = digits
                .chars()
                .filter_map(|it| it.to_digit(10))
                .fold(0, |sum, digit| (sum * 10 + digit) % 97);
            let whole = format!("DE{:02}{}", 98 - remainder, &account[4..]);
            if random.below(2) == 0 {
                whole
            } else {
                let groups: Vec<&str> =
                    (0..22).step_by(4).map(|at| &whole[at..(at + 4).min(22)]).collect();
                groups.join(" ")
            }
        }
        Entity::Key => {
            let prefix = random.pick(&["sk-", "sk-proj-", "hone-", "ghp_", "hf_"]);
            format!("{prefix}{}7", random.string(TOKEN, 40))
        }
    }
}

/// Texts that look alike and are nothing personal.
fn harmless(random: &mut Random) -> String {
    let (a, b, c) = (random.below(100_000), random.below(1_000), random.below(28) + 1);
    match random.below(8) {
        0 => format!("What is {a} - {b}? {a} - {b} = {}", a.abs_diff(b)),
        1 => format!(
            "Order number {} of 20{:02}-11-{c:02} costs ${a}.{:02}.",
            random.digits(10),
            c,
            c
        ),
        2 => format!("{a}*{b} = {}", a * b),
        3 => format!("Sort: {a} {b} {c} {} {}", a + 1, b + 1),
        4 => format!("Ticket #{} was opened on {c:02}.10.2024 at 14:30.", random.digits(9)),
        5 => format!("It costs {},{:03}.00 dollars in {}.", a % 900 + 100, b, 1900 + c),
        6 => format!("Write to care@{}.example.", random.string(LETTERS, 6)),
        _ => format!("The ratio is 0.{} or {a}/{b}.", random.digits(12)),
    }
}

/// Bars of promises.md: recall at least 0.98, precision at least 0.95 on 2,000 spans and more.
#[test]
fn recall_and_precision_reach_their_bars_for_each_kind() {
    let kinds = [Entity::Email, Entity::Phone, Entity::Card, Entity::Iban, Entity::Key];
    let frames = [
        ("My contact is ", ", thanks."),
        ("Please use ", " for it.\nOrder value: $169."),
        ("\n", " is mine"),
        ("(see ", ")"),
        ("I have 12 apples and ", ". 3 + 4 = 7"),
        ("Is it \"", "\"?"),
    ];
    let mut random = Random(7);
    let (mut labelled, mut hit) = (BTreeMap::new(), BTreeMap::new());
    let mut claimed = BTreeMap::new();
    for round in 0..3000 {
        let kind = kinds[round % kinds.len()];
        let (before, after) = frames[random.below(frames.len() as u64) as usize];
        let inner = personal(&mut random, kind);
        let noise = harmless(&mut random);
        let text = format!("{noise} {before}{inner}{after} {}", harmless(&mut random));
        let start = noise.len() + 1 + before.len();
        let expected = (kind, start..start + inner.len());
        *labelled.entry(kind).or_insert(0) += 1;
        for found in find(&text) {
            *claimed.entry(found.0).or_insert(0) += 1;
            if found == expected {
                *hit.entry(kind).or_insert(0) += 1;
            }
        }
    }
    for kind in kinds {
        let recall = f64::from(hit[&kind]) / f64::from(labelled[&kind]);
        let precision = f64::from(hit[&kind]) / f64::from(claimed[&kind]);
        assert!(recall >= 0.98, "recall of {kind:?} is {recall}");
        assert!(precision >= 0.95, "precision of {kind:?} is {precision}");
    }
}

#[test]
fn nothing_in_the_starters_workloads_is_touched() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/starter/workloads");
    let mut texts = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        for line in std::fs::read_to_string(entry.unwrap().path()).unwrap().lines() {
            let row: SuiteRow = serde_json::from_str(line).unwrap();
            let prompts = row.messages.iter().map(|message| &message.content);
            for text in prompts.chain([&row.reference]) {
                assert_eq!(&redact(text).text, text);
                texts += 1;
            }
        }
    }
    assert!(texts > 12_000);
}
