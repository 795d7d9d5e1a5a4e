//! Personal data out, placeholders in.
//!
//! Each recogniser is a pattern with a validator behind it, because the texts are full of other
//! numbers: sums, prices, dates and order numbers must come through untouched, or the model learns
//! nonsense. `tests/redaction.rs` measures recall and precision per kind on labelled texts.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

/// What a placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entity {
    /// An e-mail address, unless its domain is reserved for examples (RFC 2606).
    Email,
    /// A telephone number, unless it is kept free for stories.
    Phone,
    /// A payment card number.
    Card,
    /// An international bank account number.
    Iban,
    /// An API key, a token or a private key.
    Key,
}

impl Entity {
    /// What is put in its place.
    #[must_use]
    pub const fn placeholder(self) -> &'static str {
        match self {
            Self::Email => "[EMAIL]",
            Self::Phone => "[PHONE]",
            Self::Card => "[CARD]",
            Self::Iban => "[IBAN]",
            Self::Key => "[KEY]",
        }
    }
}

/// A text without personal data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redacted {
    /// The text with placeholders.
    pub text: String,
    /// How many of each kind were replaced.
    pub counts: BTreeMap<Entity, usize>,
}

/// Replaces all personal data that is found.
#[must_use]
pub fn redact(text: &str) -> Redacted {
    let mut clean = String::with_capacity(text.len());
    let mut counts = BTreeMap::new();
    let mut done = 0;
    for (entity, range) in find(text) {
        clean.push_str(&text[done..range.start]);
        clean.push_str(entity.placeholder());
        *counts.entry(entity).or_default() += 1;
        done = range.end;
    }
    clean.push_str(&text[done..]);
    Redacted { text: clean, counts }
}

/// Where personal data is, in byte offsets, left to right, without overlaps.
#[must_use]
pub fn find(text: &str) -> Vec<(Entity, Range<usize>)> {
    // By start; they do not overlap, so only the last one that starts before an end can reach in.
    let mut found: BTreeMap<usize, (usize, Entity)> = BTreeMap::new();
    // Earlier recognisers win where two overlap: a card number inside a token is part of the token.
    for (entity, recognise) in RECOGNISERS {
        for range in recognise(text) {
            let neighbour = found.range(..range.end).next_back();
            if neighbour.is_none_or(|(_, (end, _))| *end <= range.start) {
                found.insert(range.start, (range.end, *entity));
            }
        }
    }
    found.into_iter().map(|(start, (end, entity))| (entity, start..end)).collect()
}

type Recognise = fn(&str) -> Vec<Range<usize>>;

const RECOGNISERS: &[(Entity, Recognise)] = &[
    (Entity::Key, keys),
    (Entity::Email, emails),
    (Entity::Iban, ibans),
    (Entity::Card, cards),
    (Entity::Phone, phones),
];

/// A pattern of this file. They are fixed, so one that did not compile would match nothing and fail
/// every test of its kind.
fn pattern(source: &str) -> Option<Regex> {
    Regex::new(source).ok()
}

fn matches(pattern: &Option<Regex>, text: &str) -> Vec<Range<usize>> {
    pattern.iter().flat_map(|it| it.find_iter(text)).map(|found| found.range()).collect()
}

/// The ranges of the group `it`.
fn groups(pattern: &Option<Regex>, text: &str) -> Vec<Range<usize>> {
    let captures = pattern.iter().flat_map(|it| it.captures_iter(text));
    captures.filter_map(|found| found.name("it")).map(|group| group.range()).collect()
}

// --- keys ---------------------------------------------------------------------------------------

/// Forms that name themselves by a prefix.
static KEY: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(concat!(
        r"(?x) \b(?: ",
        r"  sk-(?:ant-|proj-|svcacct-|or-v1-)?[A-Za-z0-9_-]{16,}",
        r"| hone-[A-Za-z0-9_]{20,}",
        r"| (?:AKIA|ASIA)[0-9A-Z]{16}\b",
        r"| gh[pousr]_[A-Za-z0-9]{30,}",
        r"| github_pat_[A-Za-z0-9_]{22,}",
        r"| glpat-[A-Za-z0-9_-]{20,}",
        r"| xox[abprs]-[A-Za-z0-9-]{10,}",
        r"| AIza[0-9A-Za-z_-]{35}",
        r"| hf_[A-Za-z0-9]{30,}",
        r"| [spr]k_(?:live|test)_[A-Za-z0-9]{16,}",
        r"| npm_[A-Za-z0-9]{36}",
        r"| SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
        r"| eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
        r")",
    ))
});

/// A block that begins like a private key; without an end it reaches to the end of the text.
static PEM: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(
        r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)",
    )
});

/// Values that their name gives away.
static NAMED_KEY: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(concat!(
        r#"(?i)(?:\bbearer\s+|\b(?:api[_ -]?key|access[_ -]?token|auth[_ -]?token|secret[_ -]?key"#,
        r#"|client[_ -]?secret)["']?\s*(?:[:=]|is)\s*["']?)(?P<it>[A-Za-z0-9._~+/-]{16,}=*)"#,
    ))
});

fn keys(text: &str) -> Vec<Range<usize>> {
    let mut found = matches(&PEM, text);
    // `sk-` also begins words with hyphens: a key has digits.
    found.extend(matches(&KEY, text).into_iter().filter(|it| has_digit(&text[it.clone()])));
    found.extend(groups(&NAMED_KEY, text).into_iter().filter(|it| has_digit(&text[it.clone()])));
    found
}

fn has_digit(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit())
}

// --- e-mail -------------------------------------------------------------------------------------

static EMAIL: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(
        r"[\p{L}\p{N}][\p{L}\p{N}._%+'-]*@(?:[\p{L}\p{N}](?:[\p{L}\p{N}-]*[\p{L}\p{N}])?\.)+\p{L}{2,24}\b",
    )
});

/// Domains that belong to nobody.
const RESERVED: &[&str] =
    &["example", "test", "invalid", "localhost", "example.com", "example.org", "example.net"];

fn emails(text: &str) -> Vec<Range<usize>> {
    let mut found = matches(&EMAIL, text);
    found.retain(|range| {
        let address = text[range.clone()].to_lowercase();
        let domain = address.rsplit('@').next().unwrap_or("");
        !RESERVED.iter().any(|reserved| {
            domain.strip_suffix(reserved).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    });
    found
}

// --- bank accounts ------------------------------------------------------------------------------

static IBAN: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r"(?i)\b[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]){11,42}"));

/// Length by country (SWIFT's registry).
#[rustfmt::skip] // one per line would be a page
const IBAN_LENGTHS: &[(&str, usize)] = &[
    ("AD", 24), ("AE", 23), ("AL", 28), ("AT", 20), ("AZ", 28), ("BA", 20), ("BE", 16), ("BG", 22),
    ("BH", 22), ("BI", 27), ("BR", 29), ("BY", 28), ("CH", 21), ("CR", 22), ("CY", 28), ("CZ", 24),
    ("DE", 22), ("DJ", 27), ("DK", 18), ("DO", 28), ("EE", 20), ("EG", 29), ("ES", 24), ("FI", 18),
    ("FK", 18), ("FO", 18), ("FR", 27), ("GB", 22), ("GE", 22), ("GI", 23), ("GL", 18), ("GR", 27),
    ("GT", 28), ("HN", 28), ("HR", 21), ("HU", 28), ("IE", 22), ("IL", 23), ("IQ", 23), ("IS", 26),
    ("IT", 27), ("JO", 30), ("KW", 30), ("KZ", 20), ("LB", 28), ("LC", 32), ("LI", 21), ("LT", 20),
    ("LU", 20), ("LV", 21), ("LY", 25), ("MC", 27), ("MD", 24), ("ME", 22), ("MK", 19), ("MN", 20),
    ("MR", 27), ("MT", 31), ("MU", 30), ("NI", 28), ("NL", 18), ("NO", 15), ("OM", 23), ("PK", 24),
    ("PL", 28), ("PS", 29), ("PT", 25), ("QA", 29), ("RO", 24), ("RS", 22), ("RU", 33), ("SA", 24),
    ("SC", 31), ("SD", 18), ("SE", 24), ("SI", 19), ("SK", 24), ("SM", 27), ("SO", 23), ("ST", 25),
    ("SV", 28), ("TL", 23), ("TN", 24), ("TR", 26), ("UA", 29), ("VA", 22), ("VG", 24), ("XK", 20),
    ("YE", 30),
];

fn ibans(text: &str) -> Vec<Range<usize>> {
    matches(&IBAN, text)
        .into_iter()
        .filter_map(|range| {
            // The pattern may run on into the next words; the country says where the number ends.
            let found = &text[range.clone()];
            let country = found.get(..2)?.to_ascii_uppercase();
            let (_, length) = IBAN_LENGTHS.iter().find(|(name, _)| *name == country)?;
            let mut characters =
                found.char_indices().filter(|(_, it)| it.is_ascii_alphanumeric()).take(*length);
            let number: String = characters.by_ref().map(|(_, it)| it).collect();
            let (last, _) = found
                .char_indices()
                .filter(|(_, it)| it.is_ascii_alphanumeric())
                .nth(length - 1)?;
            let whole = text[range.start + last + 1..].chars().next();
            let ends = whole.is_none_or(|next| !next.is_ascii_alphanumeric());
            (ends && is_iban(&number)).then(|| range.start..range.start + last + 1)
        })
        .collect()
}

/// ISO 7064 mod 97-10 over the number with its first four characters moved to the end.
fn is_iban(number: &str) -> bool {
    let moved = number.chars().skip(4).chain(number.chars().take(4));
    let remainder = moved.filter_map(|it| it.to_digit(36)).fold(0_u32, |sum, digit| {
        if digit < 10 { (sum * 10 + digit) % 97 } else { (sum * 100 + digit) % 97 }
    });
    remainder == 1
}

// --- payment cards ------------------------------------------------------------------------------

/// Digits in one run or in the groups that are printed on cards.
static CARD: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(concat!(
        r"\b(?:[0-9]{13,19}",
        r"|[0-9]{4}(?: [0-9]{4}){2,3}(?: [0-9]{1,4})?|[0-9]{4}(?:-[0-9]{4}){2,3}(?:-[0-9]{1,4})?",
        r"|3[0-9]{3}[ -][0-9]{6}[ -][0-9]{4,5})\b",
    ))
});

/// What stands right before numbers that are no cards.
static OTHER_NUMBER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)(?:order|invoice|tracking|parcel|shipment|ticket|case|serial|part|item|isbn|ean|id)",
        r"(?:\s+(?:number|no\.?|nr\.?|id|code))?(?:\s+is)?\s*[:#]*\s*$",
    ))
});

fn cards(text: &str) -> Vec<Range<usize>> {
    let mut found = matches(&CARD, text);
    found.retain(|range| {
        let digits: Vec<u32> =
            text[range.clone()].chars().filter_map(|it| it.to_digit(10)).collect();
        (13..=19).contains(&digits.len())
            && issuer(&digits)
            && luhn(&digits)
            && !part_of_a_number(text, range)
            && !follows_a_number(text, range)
            && !preceded_by(&OTHER_NUMBER, text, range)
    });
    found
}

/// The first digits of the card networks: Visa, Mastercard, American Express, Diners, Discover, JCB,
/// Maestro, UnionPay.
fn issuer(digits: &[u32]) -> bool {
    let four = digits.iter().take(4).fold(0, |sum, digit| sum * 10 + digit);
    matches!(four, 2221..=2720 | 3000..=3059 | 3400..=3499 | 3528..=3589 | 3600..=3999 | 4000..=6999)
}

fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, &digit)| match place % 2 {
            0 => digit,
            _ if digit > 4 => digit * 2 - 9,
            _ => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}

// --- telephone numbers --------------------------------------------------------------------------

/// Forms that are telephone numbers by themselves: +49 30 1234567, (415) 555-2671, 415-555-2671,
/// 030 / 1234567, 01 23 45 67 89.
static PHONE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(concat!(
        r"(?:\+|\b00)[1-9](?:[ ./-]?\(?[0-9]\)?){6,14}",
        r"|\(0?[0-9]{2,5}\) ?[0-9](?:[ /-]?[0-9]){5,9}\b",
        r"|\b(?:1[ .-])?[2-9][0-9]{2}-[2-9][0-9]{2}-[0-9]{4}\b",
        r"|\b(?:1[ .-])?[2-9][0-9]{2}\.[2-9][0-9]{2}\.[0-9]{4}\b",
        r"|\b0[1-9][0-9]{1,4}(?: ?/ ?| - | |-)[0-9]{3,8}(?:[ -][0-9]{2,5}){0,3}\b",
        r"|\b0[1-9](?:[ .][0-9]{2}){4}\b",
        r"|\b020 [0-9]{4} [0-9]{4}\b",
        r"|\b01[567][0-9]{8,9}\b|\b07[0-9]{9}\b",
    ))
});

/// Any number of seven digits and more right behind a word that announces one.
static ANNOUNCED_PHONE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)\b(?:phone|tel|telephone|mobile|cell|cellphone|fax|whatsapp|hotline|call (?:me|us|him|her)",
        r"|text (?:me|us|him|her)|ring me|reach me|dial)",
        r"(?:\s+(?:number|no\.?|nr\.?))?(?:\s+(?:is|at|on|under|by phone at))?[\s.:#]*",
        r"(?P<it>\(?[0-9](?:[ ./()-]{0,2}[0-9]){6,14})\b",
    ))
});

/// What stands right before a sum.
static ARITHMETIC_BEFORE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(
        r"(?i)(?:[=*/×÷<>+]|[0-9)]\s*-|\b(?:what is|how much is|calculate|compute|solve|evaluate|subtract|simplify)(?: this)?:?)\s*$",
    )
});

static ARITHMETIC_AFTER: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r"^\s*(?:[=*×÷<>+^]|-\s*[0-9]|/\s*[0-9])"));

static DATE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(concat!(
        r"^(?:(?:19|20)[0-9]{2}[-./](?:0?[1-9]|1[0-2])[-./](?:0?[1-9]|[12][0-9]|3[01])",
        r"|(?:0?[1-9]|[12][0-9]|3[01])[-./](?:0?[1-9]|[12][0-9]|3[01])[-./](?:19|20)?[0-9]{2})\b",
    ))
});

fn phones(text: &str) -> Vec<Range<usize>> {
    let mut found = matches(&PHONE, text);
    found.extend(groups(&ANNOUNCED_PHONE, text));
    for range in &mut found {
        // The bracket of "(see +49 30 1234567)" is not the number's.
        let number = &text[range.clone()];
        if number.ends_with(')') && number.matches('(').count() < number.matches(')').count() {
            range.end -= 1;
        }
    }
    found.retain(|range| {
        let digits = text[range.clone()].bytes().filter(u8::is_ascii_digit).count();
        let international = text[range.clone()].starts_with('+');
        (7..=15).contains(&digits)
            && (!international || digits >= 8)
            && !belongs_to_nobody(&text[range.clone()])
            && !part_of_a_number(text, range)
            && !preceded_by(&OTHER_NUMBER, text, range)
            && !preceded_by(&ARITHMETIC_BEFORE, text, range)
            && !follows_a_number(text, range)
            && !ARITHMETIC_AFTER.as_ref().is_some_and(|it| it.is_match(&text[range.end..]))
            && !DATE.as_ref().is_some_and(|it| it.is_match(&text[range.clone()]))
    });
    found.sort_by_key(|range| (range.start, usize::MAX - range.end));
    found
}

/// North American numbers that are kept free for stories: area code 555, and 555-0100 to 555-0199.
fn belongs_to_nobody(number: &str) -> bool {
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    let national = digits.strip_prefix('1').filter(|it| it.len() == 10).unwrap_or(&digits);
    match national.len() {
        10 => national.starts_with("555") || national[3..].starts_with("55501"),
        7 => national.starts_with("55501"),
        _ => false,
    }
}

/// `12 +34567890` is a sum, and `3704 0044 0532` a longer number.
fn follows_a_number(text: &str, range: &Range<usize>) -> bool {
    text[..range.start].trim_end_matches(' ').ends_with(|it: char| it.is_ascii_digit() || it == ')')
}

/// Whether the range is cut out of something longer: 1,234.5678 or 12345-6789-….
fn part_of_a_number(text: &str, range: &Range<usize>) -> bool {
    let mut before = text[..range.start].chars().rev();
    let mut after = text[range.end..].chars();
    let joins = |near: Option<char>, far: Option<char>| match near {
        Some(it) if it.is_alphanumeric() || "$€£¥_".contains(it) => true,
        Some('.' | ',' | '-' | '/') => far.is_some_and(|it| it.is_ascii_digit()),
        _ => false,
    };
    joins(before.next(), before.next()) || joins(after.next(), after.next())
}

fn preceded_by(pattern: &Option<Regex>, text: &str, range: &Range<usize>) -> bool {
    // A few words are enough, and keep a long text from being searched once per number.
    let from = text[..range.start].char_indices().rev().nth(40).map_or(0, |(at, _)| at);
    pattern.as_ref().is_some_and(|it| it.is_match(&text[from..range.start]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_pattern_compiles() {
        for pattern in [
            &KEY,
            &PEM,
            &NAMED_KEY,
            &EMAIL,
            &IBAN,
            &CARD,
            &OTHER_NUMBER,
            &PHONE,
            &ANNOUNCED_PHONE,
            &ARITHMETIC_BEFORE,
            &ARITHMETIC_AFTER,
            &DATE,
        ] {
            assert!(pattern.is_some());
        }
    }

    #[test]
    fn placeholders_stand_where_the_data_stood() {
        let clean = redact("Write to ann@corp.io or call +49 30 1234567, thanks.");
        assert_eq!(clean.text, "Write to [EMAIL] or call [PHONE], thanks.");
        assert_eq!(clean.counts, BTreeMap::from([(Entity::Email, 1), (Entity::Phone, 1)]));
    }

    #[test]
    fn luhn_and_iban_know_right_from_wrong() {
        let digits = |text: &str| text.chars().filter_map(|it| it.to_digit(10)).collect::<Vec<_>>();
        assert!(luhn(&digits("4111111111111111")));
        assert!(!luhn(&digits("4111111111111112")));
        assert!(is_iban("DE89370400440532013000"));
        assert!(!is_iban("DE89370400440532013001"));
    }

    #[test]
    fn a_text_full_of_addresses_takes_a_moment() {
        let start = std::time::Instant::now();
        let clean = redact(&"ann@corp.io +49 30 1234567, ".repeat(20_000));
        assert_eq!(clean.counts.values().sum::<usize>(), 40_000);
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
    }

    proptest! {
        #[test]
        fn any_text_survives_and_a_second_pass_finds_nothing(text in "\\PC{0,120}") {
            let once = redact(&text);
            prop_assert_eq!(&redact(&once.text).text, &once.text);
        }

        #[test]
        fn sums_survive(a in 0_u32..100_000, b in 0_u32..100_000, op in "[-+*/]", gap in " ?") {
            let text = format!("What is {a}{gap}{op}{gap}{b}? {a}{gap}{op}{gap}{b} = {}", u64::from(a) * 7);
            prop_assert_eq!(redact(&text).text, text);
        }

        #[test]
        fn a_card_is_found_in_any_grouping(number in 0_u64..10_u64.pow(14), style in 0..3) {
            let mut digits = format!("4{number:014}");
            for check in 0..10 {
                let all: Vec<u32> =
                    format!("{digits}{check}").chars().filter_map(|it| it.to_digit(10)).collect();
                if luhn(&all) {
                    digits.push_str(&check.to_string());
                    break;
                }
            }
            let groups: Vec<&str> =
                (0..4).map(|group| &digits[group * 4..group * 4 + 4]).collect();
            let written = groups.join(["", " ", "-"][style as usize]);
            prop_assert_eq!(redact(&format!("pay with {written}, please")).text, "pay with [CARD], please");
        }
    }
}
