//! Prompts that are the same, or nearly.
//!
//! Similarity is the Jaccard index over triples of words of the last turn; numbers are words, so
//! one template filled with other numbers gives other prompts. Where earlier turns or a system
//! message exist they must be as similar too: a long common preamble does not make two questions
//! one. Candidates come from MinHash with banding and are verified by the exact index.

use std::collections::HashMap;

use hone_api::chat::Message;

/// Bands × rows of the signature. A pair at 0.7 is missed about once in 6,000 pairs, one at 0.95
/// practically never.
const BANDS: usize = 32;
const ROWS: usize = 4;
/// Modulus of the hash family: the Mersenne prime 2^61 - 1.
const PRIME: u64 = (1 << 61) - 1;

/// Hash of the prompt as it was asked, with case and white space evened out: hex. Two interactions
/// with the same key asked the same.
#[must_use]
pub fn prompt_key(prompt: &[Message]) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("hone dataset 2026 prompt key");
    for message in prompt {
        hasher.update(message.role.as_str().as_bytes());
        hasher.update(b"\n");
        for word in message.said().split_whitespace() {
            hasher.update(word.to_lowercase().as_bytes());
            hasher.update(b" ");
        }
        hasher.update(b"\n");
    }
    hasher.finalize().to_hex().to_string()
}

/// What of a prompt is compared.
#[derive(Debug, Clone)]
pub(crate) struct Fingerprint {
    /// Hashed word triples of the last turn, sorted.
    question: Vec<u64>,
    /// Those of everything before it.
    context: Vec<u64>,
    numbers: Vec<String>,
}

impl Fingerprint {
    pub(crate) fn of(prompt: &[Message]) -> Self {
        let (last, before) = match prompt.split_last() {
            Some((last, before)) => (last.said(), before),
            None => ("".into(), prompt),
        };
        let last = last.as_ref();
        let question = words(last);
        let context: Vec<String> =
            before.iter().flat_map(|message| words(&message.said())).collect();
        let numbers = context.iter().chain(&question);
        let numbers = numbers.filter(|word| word.starts_with(char::is_numeric)).cloned().collect();
        let mut question = shingles(&question);
        if question.is_empty() && !last.trim().is_empty() {
            // Signs only: equal or different, nothing between.
            question.push(first_word(&blake3::hash(last.trim().as_bytes())));
        }
        Self { question, context: shingles(&context), numbers }
    }

    /// 0 (nothing in common) to 1.
    pub(crate) fn similarity(&self, other: &Self) -> f64 {
        jaccard(&self.question, &other.question).min(jaccard(&self.context, &other.context))
    }

    /// One hash for each band of the MinHash signature.
    fn bands(&self, family: &[(u64, u64)]) -> Vec<u64> {
        let signature: Vec<u64> = family
            .iter()
            .map(|&(a, b)| {
                let hash = |shingle: &u64| {
                    let value = u128::from(a) * u128::from(shingle % PRIME) + u128::from(b);
                    (value % u128::from(PRIME)) as u64
                };
                self.question.iter().map(hash).min().unwrap_or(PRIME)
            })
            .collect();
        signature
            .chunks(ROWS)
            .map(|rows| {
                let bytes: Vec<u8> = rows.iter().flat_map(|row| row.to_le_bytes()).collect();
                first_word(&blake3::hash(&bytes))
            })
            .collect()
    }
}

/// A prompt to compare, with the answer it teaches.
pub(crate) struct Prompt<'a> {
    pub(crate) fingerprint: &'a Fingerprint,
    pub(crate) answer: &'a str,
}

/// What [`group`] finds, by position.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Groups {
    /// The cluster, as the position of its first member: prompts that are similar, directly or
    /// through others.
    pub(crate) cluster: Vec<usize>,
    /// Whether the prompt nearly repeats an earlier one that stays, with the same numbers and the
    /// same answer.
    pub(crate) repeats: Vec<bool>,
}

/// Compares prompts, given in order of preference. Each is compared with those before it that share
/// a band with it; a repetition is not compared further, so that a flood of copies costs little.
pub(crate) fn group(prompts: &[Prompt<'_>], near: f64, similar: f64) -> Groups {
    let family = hash_family();
    let mut buckets: HashMap<(usize, u64), Vec<usize>> = HashMap::new();
    let mut sets = Sets::new(prompts.len());
    let mut repeats = vec![false; prompts.len()];
    // Which prompt looked at this one last: a pair may share many bands.
    let mut seen_by = vec![usize::MAX; prompts.len()];
    for (position, prompt) in prompts.iter().enumerate() {
        let bands = prompt.fingerprint.bands(&family);
        for &earlier in bands.iter().enumerate().filter_map(|it| buckets.get(&bucket(it))).flatten()
        {
            if std::mem::replace(&mut seen_by[earlier], position) == position {
                continue;
            }
            let other = &prompts[earlier];
            let may_repeat = prompt.fingerprint.numbers == other.fingerprint.numbers
                && prompt.answer.trim() == other.answer.trim();
            if !may_repeat && sets.together(earlier, position) {
                continue;
            }
            let similarity = prompt.fingerprint.similarity(other.fingerprint);
            repeats[position] |= may_repeat && similarity >= near;
            if similarity >= similar {
                sets.join(earlier, position);
            }
        }
        if !repeats[position] {
            for band in bands.iter().enumerate() {
                buckets.entry(bucket(band)).or_default().push(position);
            }
        }
    }
    Groups { cluster: (0..prompts.len()).map(|it| sets.root(it)).collect(), repeats }
}

const fn bucket((band, hash): (usize, &u64)) -> (usize, u64) {
    (band, *hash)
}

/// Factors and offsets of the permutations, the same for ever.
fn hash_family() -> Vec<(u64, u64)> {
    let mut bytes = vec![0; BANDS * ROWS * 16];
    blake3::Hasher::new_derive_key("hone dataset 2026 minhash").finalize_xof().fill(&mut bytes);
    let (words, _) = bytes.as_chunks::<8>();
    words
        .chunks(2)
        .map(|pair| {
            let [a, b] = [pair[0], pair[1]].map(|word| u64::from_le_bytes(word) % PRIME);
            (a.max(1), b)
        })
        .collect()
}

/// Lower-case runs of letters and runs of digits, each one word. Where no spaces are written
/// (Chinese, Japanese, Korean), each character is one.
pub(crate) fn words(text: &str) -> Vec<String> {
    #[derive(PartialEq)]
    enum Class {
        Number,
        Letter,
        Sign,
    }
    let mut words: Vec<String> = Vec::new();
    let mut last = None;
    for character in text.chars() {
        let class = match character {
            _ if character.is_numeric() => Some(Class::Number),
            '\u{2e80}'..='\u{ffff}' if character.is_alphabetic() => Some(Class::Sign),
            _ if character.is_alphabetic() => Some(Class::Letter),
            _ => None,
        };
        if class.is_some() {
            match words.last_mut() {
                Some(word) if class == last && class != Some(Class::Sign) => {
                    word.extend(character.to_lowercase())
                }
                _ => words.push(character.to_lowercase().collect()),
            }
        }
        last = class;
    }
    words
}

fn shingles(words: &[String]) -> Vec<u64> {
    if words.is_empty() {
        return Vec::new();
    }
    let mut hashes: Vec<u64> = words
        .windows(words.len().min(3))
        .map(|triple| first_word(&blake3::hash(triple.join("\u{1f}").as_bytes())))
        .collect();
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}

/// Of two sorted sets.
fn jaccard(one: &[u64], other: &[u64]) -> f64 {
    let (mut common, mut at, mut to) = (0, 0, 0);
    while let (Some(left), Some(right)) = (one.get(at), other.get(to)) {
        common += usize::from(left == right);
        at += usize::from(left <= right);
        to += usize::from(right <= left);
    }
    let all = one.len() + other.len() - common;
    if all == 0 { 1.0 } else { common as f64 / all as f64 }
}

fn first_word(hash: &blake3::Hash) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(word)
}

/// Disjoint sets; the root of a set is its smallest member.
struct Sets(Vec<usize>);

impl Sets {
    fn new(len: usize) -> Self {
        Self((0..len).collect())
    }

    fn root(&mut self, mut member: usize) -> usize {
        while self.0[member] != member {
            self.0[member] = self.0[self.0[member]];
            member = self.0[member];
        }
        member
    }

    fn together(&mut self, one: usize, other: usize) -> bool {
        self.root(one) == self.root(other)
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.0[one.max(other)] = one.min(other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_api::chat::Role;
    use proptest::prelude::*;

    fn user(text: &str) -> Vec<Message> {
        vec![Message::new(Role::User, text)]
    }

    fn similarity(one: &str, other: &str) -> f64 {
        Fingerprint::of(&user(one)).similarity(&Fingerprint::of(&user(other)))
    }

    #[test]
    fn case_and_space_do_not_change_the_key_but_words_and_roles_do() {
        let key = prompt_key(&user("Where is  Oslo?"));
        assert_eq!(key, prompt_key(&user(" where is\nOSLO? ")));
        assert_ne!(key, prompt_key(&user("Where is Oslo")));
        assert_ne!(key, prompt_key(&[Message::new(Role::System, "Where is Oslo?")]));
        let two = [Message::new(Role::User, "a"), Message::new(Role::User, "b")];
        assert_ne!(prompt_key(&two), prompt_key(&user("a b")));
    }

    #[test]
    fn the_key_never_changes() {
        // Keys are in every ledger of held-out prompts: another value would free them to train.
        assert_eq!(
            prompt_key(&user("Where is Oslo?")),
            "e8bfed54c34e1da3e5c03f2a70a6604d929aedf75700437fa3dedf57f4ba86cb"
        );
    }

    #[test]
    fn other_numbers_are_another_task() {
        assert!(
            similarity("Find the average of 30, 29, 1.", "Find the average of 7, 9, 11.") < 0.5
        );
        assert_eq!(similarity("Where is Oslo?", "where is oslo"), 1.0);
        assert!(similarity("Where is Oslo?", "When is Easter?") < 0.1);
    }

    #[test]
    fn digits_and_letters_are_words_of_their_own() {
        assert_eq!(words("Pay $1,250 to A4-b!"), ["pay", "1", "250", "to", "a", "4", "b"]);
        assert_eq!(words("東京は2つ"), ["東", "京", "は", "2", "つ"]);
        assert_eq!(similarity("??!", "🦀"), 0.0);
        assert_eq!(similarity("🦀 ", "🦀"), 1.0);
    }

    #[test]
    fn a_common_preamble_does_not_make_two_questions_one() {
        let system =
            Message::new(Role::System, "You answer for a shop with many rules. ".repeat(50));
        let ask = |text: &str| Fingerprint::of(&[system.clone(), Message::new(Role::User, text)]);
        assert!(ask("When do you open?").similarity(&ask("How do I return a rug?")) < 0.1);
        let other = Fingerprint::of(&[
            Message::new(Role::System, "You answer for a bank."),
            Message::new(Role::User, "When do you open?"),
        ]);
        assert!(ask("When do you open?").similarity(&other) < 0.5);
    }

    #[test]
    fn near_duplicates_need_the_same_numbers_and_answer() {
        let text = (0..200).map(|i| format!("word{}", i % 97)).collect::<Vec<_>>().join(" ");
        let prints: Vec<_> = [
            format!("{text} costs 5"),
            format!("{text} costs 6"),
            format!("please {text} costs 5"),
            format!("oh {text} costs 5"),
        ]
        .iter()
        .map(|text| Fingerprint::of(&user(text)))
        .collect();
        let groups = grouped(&prints, &["a", "a", "a", "b"], 0.9);
        assert_eq!(groups.repeats, [false, false, true, false]);
        assert_eq!(groups.cluster, [0; 4]);
    }

    fn grouped(prints: &[Fingerprint], answers: &[&str], similar: f64) -> Groups {
        let prompts: Vec<_> = prints
            .iter()
            .zip(answers)
            .map(|(fingerprint, answer)| Prompt { fingerprint, answer })
            .collect();
        group(&prompts, 0.9, similar)
    }

    #[test]
    fn thousands_of_similar_prompts_are_grouped_in_a_moment() {
        let prints: Vec<_> = (0..3000)
            .map(|it| {
                format!("Support ticket from {it}: nobody delivered my rug on Friday, order {it}.")
            })
            .map(|text| Fingerprint::of(&user(&text)))
            .collect();
        let start = std::time::Instant::now();
        let groups = grouped(&prints, &vec!["x"; prints.len()], 0.5);
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
        assert!(groups.repeats.iter().all(|repeats| !repeats));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Clusters found through banding are those of comparing every pair, in any order.
        #[test]
        fn banding_finds_what_comparing_all_finds(
            texts in prop::collection::vec("[abc]( [abcd]){3,12}", 1..24),
        ) {
            let prints: Vec<_> = texts.iter().map(|text| Fingerprint::of(&user(text))).collect();
            let mut all = Sets::new(prints.len());
            for one in 0..prints.len() {
                for other in one + 1..prints.len() {
                    if prints[one].similarity(&prints[other]) >= 0.8 {
                        all.join(one, other);
                    }
                }
            }
            let expected: Vec<_> = (0..prints.len()).map(|it| all.root(it)).collect();
            let answers: Vec<String> = (0..prints.len()).map(|it| it.to_string()).collect();
            let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
            prop_assert_eq!(grouped(&prints, &answers, 0.8).cluster, expected);
        }

        #[test]
        fn similarity_is_symmetric_and_bounded(one in ".{0,60}", other in ".{0,60}") {
            let value = similarity(&one, &other);
            prop_assert!((0.0..=1.0).contains(&value));
            prop_assert_eq!(value, similarity(&other, &one));
            prop_assert_eq!(similarity(&one, &one), 1.0);
        }
    }
}
