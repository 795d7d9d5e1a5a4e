//! Whether an answer passes its check, decided without a model.
//!
//! Prevents two tools from scoring the same text differently: the four checks of the workload files
//! are those of `model/starter/recipe/checks.py`, tested against it.

use std::sync::{Arc, LazyLock};

use hone_api::check::{Check, NO_JUDGE};
use jsonschema::{PatternOptions, Validator};
use regex::Regex;
use serde_json::Value;

use crate::similar::Words;
use crate::{Error, Result};

/// A number in running text; commas group digits.
static NUMBER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"-?[0-9][0-9,]*(?:\.[0-9]+)?").ok());

/// Whether `text` passes `check`.
///
/// # Errors
/// [`Error::Check`] for a check that cannot be applied.
pub fn score(check: &Check, text: &str) -> Result<bool> {
    Scorer::new(check).map(|scorer| scorer.passes(text))
}

/// A check, ready to be applied to many answers.
#[derive(Debug, Clone)]
pub struct Scorer(Kind);

#[derive(Debug, Clone)]
enum Kind {
    FinalNumber(f64),
    Exact(String),
    Similar(Words),
    Contains(String),
    Regex(Regex),
    Choice(Vec<String>),
    Schema(Arc<Validator>),
}

impl Scorer {
    /// Prepares a check.
    ///
    /// # Errors
    /// [`Error::Check`] for a pattern that does not compile, a schema that is none, an empty
    /// choice, and for `judge`.
    pub fn new(check: &Check) -> Result<Self> {
        check.validate().map_err(Error::Check)?;
        let kind = match check {
            Check::FinalNumber(value) => Kind::FinalNumber(*value),
            Check::Exact(value) => Kind::Exact(without_dots(strip(value)).to_owned()),
            Check::Similar(value) => Kind::Similar(Words::of(value)),
            Check::Contains(value) => Kind::Contains(value.to_lowercase()),
            Check::Regex(pattern) => Kind::Regex(
                Regex::new(pattern).map_err(|error| Error::Check(format!("regex: {error}")))?,
            ),
            Check::Choice(options) => {
                Kind::Choice(options.iter().map(|o| strip(o).to_lowercase()).collect())
            }
            Check::JsonSchema(schema) => Kind::Schema(Arc::new(validator(schema)?)),
            Check::Judge(_) => return Err(Error::Check(NO_JUDGE.to_owned())),
        };
        Ok(Self(kind))
    }

    /// Whether an answer passes.
    #[must_use]
    pub fn passes(&self, text: &str) -> bool {
        let text = strip(text);
        match &self.0 {
            Kind::FinalNumber(value) => {
                final_number(text).is_some_and(|number| (number - value).abs() < 1e-6)
            }
            Kind::Exact(value) => without_dots(text) == value,
            Kind::Similar(words) => words.say_the_same_as(&Words::of(text)),
            Kind::Contains(value) => text.to_lowercase().contains(value),
            Kind::Regex(pattern) => pattern.is_match(text),
            Kind::Choice(options) => last_named(options, text) == Some(0),
            Kind::Schema(schema) => {
                serde_json::from_str(text).is_ok_and(|value| schema.is_valid(&value))
            }
        }
    }
}

/// A schema, ready to be applied; all of it comes with the check, and its patterns take linear time.
fn validator(schema: &Value) -> Result<Validator> {
    let bad = |why: &dyn std::fmt::Display| Error::Check(format!("json_schema: {why}"));
    if !schema.is_object() {
        return Err(bad(&"a schema must be an object"));
    }
    jsonschema::options()
        .should_validate_formats(true)
        .with_pattern_options(PatternOptions::regex())
        .build(schema)
        .map_err(|error| bad(&error))
}

/// Python's `str.strip()`.
fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// Python's `rstrip(".").rstrip()`.
fn without_dots(text: &str) -> &str {
    text.trim_end_matches('.').trim_end_matches(is_space)
}

/// The first number after the last `####`, or else the last number of the text.
fn final_number(text: &str) -> Option<f64> {
    let pattern = NUMBER.as_ref()?;
    let found = match text.rsplit_once("####") {
        Some((_, tail)) => pattern.find(tail),
        None => pattern.find_iter(text).last(),
    };
    found?.as_str().replace(',', "").parse().ok()
}

/// Which option the text names last, ignoring case; of two that end together the longer one.
fn last_named(options: &[String], text: &str) -> Option<usize> {
    let text = text.to_lowercase();
    let ends = options.iter().enumerate().filter_map(|(index, option)| {
        Some((last_word(&text, option)?, option.len(), std::cmp::Reverse(index)))
    });
    ends.max().map(|(_, _, std::cmp::Reverse(index))| index)
}

/// Where the last occurrence of `word` ends that is not a part of a longer word.
fn last_word(text: &str, word: &str) -> Option<usize> {
    let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let whole = |start: usize| {
        let end = start + word.len();
        let glued_before = inside(text[..start].chars().next_back()) && inside(word.chars().next());
        let glued_after = inside(text[end..].chars().next()) && inside(word.chars().next_back());
        (!glued_before && !glued_after).then_some(end)
    };
    text.rmatch_indices(word).find_map(|(start, _)| whole(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn passes(check: &Check, text: &str) -> bool {
        score(check, text).unwrap()
    }

    #[test]
    fn the_choice_is_what_is_named_last() {
        let check = Check::Choice(vec!["Harbor".into(), "Ledger".into(), "Harbor North".into()]);
        assert!(passes(&check, "Ledger? No. Decision: harbor."));
        assert!(!passes(&check, "Harbor, or rather Ledger"));
        assert!(!passes(&check, "Harbor North"), "the longer option");
        assert!(!passes(&check, "harbormaster"), "not a word of its own");
        assert!(passes(&check, "Harbor, not the harbormaster of ledgers"));
        assert!(!passes(&check, ""));
        assert!(score(&Check::Choice(vec![]), "x").is_err());
    }

    #[test]
    fn a_judge_is_refused_by_name() {
        let error = score(&Check::Judge("be kind".into()), "x").unwrap_err();
        assert!(error.to_string().contains("`judge`"), "{error}");
    }

    #[test]
    fn a_bad_pattern_is_an_error() {
        assert!(matches!(score(&Check::Regex("(".into()), "x"), Err(Error::Check(_))));
        assert!(matches!(score(&Check::Regex("a(?=b)".into()), "x"), Err(Error::Check(_))));
    }

    #[test]
    fn json_is_validated() {
        let schema = serde_json::json!({"type": "object", "required": ["a"]});
        let check = Check::JsonSchema(schema);
        assert!(passes(&check, " {\"a\": 1} "));
        assert!(!passes(&check, "{}"));
        assert!(!passes(&check, "Here is it: {\"a\": 1}"));
        let schema = serde_json::json!({
            "$defs": {"code": {"type": "string", "pattern": "^[A-Z]{2}$"}},
            "type": "object", "additionalProperties": false,
            "properties": {"n": {"type": "integer", "minimum": 3}, "code": {"$ref": "#/$defs/code"}},
        });
        let check = Check::JsonSchema(schema);
        assert!(passes(&check, r#"{"n": 3.0, "code": "AB"}"#));
        for wrong in [r#"{"n": 2}"#, r#"{"code": "ab"}"#, r#"{"more": 1}"#, "3"] {
            assert!(!passes(&check, wrong), "{wrong}");
        }
    }

    #[test]
    fn a_schema_that_is_none_is_an_error() {
        for schema in [
            serde_json::json!({"type": "text"}),
            serde_json::json!({"required": "a"}),
            serde_json::json!({"pattern": "a(?=b)"}),
            serde_json::json!({"$ref": "http://example.com/schema"}),
            serde_json::json!(true),
        ] {
            let error = score(&Check::JsonSchema(schema.clone()), "1").unwrap_err().to_string();
            assert!(error.contains("json_schema: "), "{schema}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_a_check(text in ".*", value in ".{0,8}", number: f64) {
            for check in [
                Check::FinalNumber(number),
                Check::Exact(value.clone()),
                Check::Contains(value.clone()),
                Check::Regex(value.clone()),
                Check::Choice(vec![value.clone(), "x".to_owned()]),
            ] {
                let _ = score(&check, &text);
            }
        }

        #[test]
        fn a_text_passes_its_own_check(text in "[a-zA-Z0-9 ,.]{1,30}") {
            prop_assert!(passes(&Check::Exact(text.clone()), &text));
            let within = format!("so: {text}!");
            prop_assert!(passes(&Check::Contains(text.to_uppercase()), &within));
        }
    }
}
