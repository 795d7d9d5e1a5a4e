//! What is asked, without the courtesy around it.
//!
//! "Hi! How long can I return a rug?" and "How long can I return a rug? Thanks, Ann" are one question, and
//! two answers to it are a contradiction. Only whole phrases of greetings and thanks go, from the beginning
//! and from the end: names, numbers and every word of the question stay. Other languages than English stay
//! as they are.

use hone_api::chat::Message;

use crate::dedup::prompt_key;

/// So many words of the question must be left.
const FEWEST_WORDS: usize = 3;

/// A phrase of these words alone may stand before a question.
const BEFORE: [&str; 60] = [
    "a",
    "advance",
    "afternoon",
    "again",
    "all",
    "am",
    "another",
    "are",
    "ask",
    "asked",
    "asks",
    "can",
    "colleague",
    "could",
    "curious",
    "customer",
    "day",
    "dear",
    "doing",
    "evening",
    "everyone",
    "for",
    "good",
    "hello",
    "help",
    "hey",
    "hi",
    "hope",
    "i",
    "in",
    "just",
    "know",
    "like",
    "me",
    "more",
    "morning",
    "one",
    "please",
    "question",
    "quick",
    "somebody",
    "someone",
    "something",
    "team",
    "tell",
    "thank",
    "thanks",
    "there",
    "thing",
    "this",
    "to",
    "today",
    "wants",
    "was",
    "we",
    "well",
    "with",
    "wondering",
    "would",
    "you",
];
/// After one of these a name may follow: "Hello Ann,".
const GREETINGS: [&str; 7] = ["afternoon", "dear", "evening", "hello", "hey", "hi", "morning"];
/// A phrase of these words alone may stand behind it.
const BEHIND: [&str; 40] = [
    "a",
    "advance",
    "appreciated",
    "be",
    "best",
    "bye",
    "cheers",
    "day",
    "evening",
    "for",
    "good",
    "great",
    "have",
    "help",
    "in",
    "it",
    "kind",
    "know",
    "let",
    "lot",
    "many",
    "me",
    "much",
    "nice",
    "please",
    "regards",
    "sincerely",
    "so",
    "thank",
    "thanks",
    "the",
    "time",
    "very",
    "warm",
    "week",
    "wishes",
    "would",
    "you",
    "your",
    "yours",
];
/// After a phrase that begins with one of these its writer may stand.
const SIGN_OFFS: [&str; 8] =
    ["best", "cheers", "kind", "regards", "sincerely", "thanks", "warm", "yours"];
/// Where one of these is asked for, a greeting behind it may be what the question is about.
const ABOUT_WORDS: [&str; 12] = [
    "classify",
    "label",
    "mean",
    "rephrase",
    "reply",
    "respond",
    "rewrite",
    "say",
    "sentiment",
    "spell",
    "tone",
    "translate",
];

/// As [`prompt_key`], without the courtesy around the last turn.
pub(crate) fn asked_key(prompt: &[Message]) -> String {
    let Some((last, before)) = prompt.split_last() else { return prompt_key(prompt) };
    let question = Message::new(last.role, question(&last.said()));
    let conversation: Vec<Message> = before.iter().cloned().chain([question]).collect();
    prompt_key(&conversation)
}

/// The words of the question, in lower case.
fn question(text: &str) -> String {
    let mut phrases = phrases(text);
    let about_words = phrases.iter().flat_map(|it| &it.words).any(|word| is_in(word, &ABOUT_WORDS));
    while phrases.first().is_some_and(Phrase::opens) && left(&phrases[1..]) {
        phrases.remove(0);
    }
    if !about_words {
        phrases.truncate(without_closing(&phrases));
    }
    let words: Vec<&str> = phrases.iter().flat_map(|phrase| &phrase.words).copied().collect();
    let words = match words.as_slice() {
        [first, rest @ ..] if is_in(first, &["please"]) && rest.len() >= FEWEST_WORDS => rest,
        [rest @ .., last] if is_in(last, &["please"]) && rest.len() >= FEWEST_WORDS => rest,
        words => words,
    };
    words.join(" ").trim_end_matches(['.', '?', ',']).to_lowercase()
}

/// How many phrases are left without those that close.
fn without_closing(phrases: &[Phrase<'_>]) -> usize {
    let taken = match phrases {
        [.., end, name] if end.signs_off() && name.is_name() => 2,
        [.., before, last] if last.closes() && !before.introduces => 1,
        _ => 0,
    };
    let stay = &phrases[..phrases.len() - taken];
    if taken == 0 || !left(stay) { phrases.len() } else { without_closing(stay) }
}

/// Words up to a sign that ends a sentence or a part of one, or to the end of a line.
struct Phrase<'a> {
    words: Vec<&'a str>,
    /// Whether a colon ends it: what follows is what it speaks of.
    introduces: bool,
}

fn phrases(text: &str) -> Vec<Phrase<'_>> {
    let mut phrases = Vec::new();
    for line in text.lines() {
        let mut words = Vec::new();
        for word in line.split_whitespace() {
            words.push(word);
            if word.ends_with(['.', '!', '?', ',', ':', ';']) {
                let introduces = word.ends_with(':');
                phrases.push(Phrase { words: std::mem::take(&mut words), introduces });
            }
        }
        if !words.is_empty() {
            phrases.push(Phrase { words, introduces: false });
        }
    }
    phrases
}

/// Whether enough of a question is left.
fn left(phrases: &[Phrase<'_>]) -> bool {
    phrases.iter().map(|phrase| phrase.words.len()).sum::<usize>() >= FEWEST_WORDS
}

impl Phrase<'_> {
    fn opens(&self) -> bool {
        let at_name = self.words.iter().rposition(|word| is_in(word, &GREETINGS));
        let words = match at_name.map(|at| self.words.split_at(at + 1)) {
            Some((greeting, name)) if are_name(name) => greeting,
            _ => &self.words,
        };
        words.iter().all(|word| is_in(word, &BEFORE))
    }

    fn closes(&self) -> bool {
        self.words.iter().all(|word| is_in(word, &BEHIND))
    }

    fn signs_off(&self) -> bool {
        self.closes() && self.words.first().is_some_and(|word| is_in(word, &SIGN_OFFS))
    }

    fn is_name(&self) -> bool {
        are_name(&self.words)
    }
}

/// One or two words with a capital letter and no digit.
fn are_name(words: &[&str]) -> bool {
    let is_name = |word: &&str| {
        word.starts_with(char::is_uppercase) && !word.contains(|c: char| c.is_ascii_digit())
    };
    (1..=2).contains(&words.len()) && words.iter().all(is_name)
}

fn is_in(word: &str, list: &[&str]) -> bool {
    let word = word.trim_end_matches(['.', '!', '?', ',', ':', ';']);
    list.iter().any(|listed| listed.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_people_write_around_a_question_goes() {
        let bare = question("How long can I return a rug?");
        assert_eq!(bare, "how long can i return a rug");
        for asked in [
            "Hi! How long can I return a rug?",
            "Hello Ann, how long can I return a rug?",
            "Good morning. Quick question: how long can I return a rug?",
            "Could you help me with this? How long can I return a rug?",
            "A customer asks: How long can I return a rug? Thanks in advance.",
            "How long can I return a rug, please?",
            "please how long can I return a rug",
            "How long can I return a rug?\n\nKind regards,\nAnn Smith",
            "How long can I return a rug? Thanks, Ben.",
        ] {
            assert_eq!(question(asked), bare, "{asked}");
        }
    }

    #[test]
    fn what_makes_another_question_stays() {
        for (one, other) in [
            ("Translate into French: Thank you", "Translate into French: Cheers"),
            (
                "Translate this into French. Thank you.",
                "Translate this into French. Have a nice day.",
            ),
            ("How do you say thanks", "How do you say cheers"),
            ("For Paris: how many days do I need?", "For Oslo: how many days do I need?"),
            ("Hi, what is 3 - 5?", "Hi, what is 3 + 5?"),
            ("Hello! What is 5!", "Hello! What is 5"),
            ("Hello, can you open it on Sunday?", "Hello, can you not open it on Sunday?"),
            ("Hi", "Thanks"),
            ("Hello there", "How are you?"),
        ] {
            assert_ne!(question(one), question(other), "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn something_is_left_and_nothing_more_goes(text in "([a-zA-Z][a-zA-Z0-9,.!?:]{0,5}[ \n]){0,12}") {
            let once = question(&text);
            let words = text.split_whitespace().count();
            prop_assert!(once.split_whitespace().count() >= words.min(FEWEST_WORDS));
        }
    }
}
