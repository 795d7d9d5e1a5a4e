//! Checks: how an answer is judged without a model, and the rows of suites and workloads.
//!
//! A row is `{"messages":[…],"reference":"…","check":{"type":…,"value":…}}`. The scoring itself
//! lives in `eval`; this is the shape.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::chat::{Message, Tool};

/// Why [`Check::Judge`] is refused.
pub const NO_JUDGE: &str =
    "`judge` needs a judge, and evaluations do not ask one yet; use another check";

/// What an answer must satisfy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", content = "value", rename_all = "snake_case", deny_unknown_fields)]
pub enum Check {
    /// The number after the last `####`, or else the last number of the text, equals this.
    FinalNumber(f64),
    /// The stripped text equals this; one final dot is ignored on either side.
    Exact(String),
    /// The text says the same as this in nearly the same words: the same numbers, addresses and
    /// names of things with digits, and most of the other words.
    Similar(String),
    /// This occurs in the text, ignoring case.
    Contains(String),
    /// This pattern (RE2 syntax) is found in the stripped text.
    Regex(String),
    /// The last of these options that the text names is the first one of the list.
    Choice(Vec<String>),
    /// The text is JSON that satisfies this schema.
    JsonSchema(serde_json::Value),
    /// A judge decides by this rubric; refused until a judge is configured.
    Judge(String),
}

impl Check {
    /// Reads the feedback tag `check`.
    ///
    /// # Errors
    /// What is wrong with it: it cannot be read, [`Self::validate`] says no, or every text passes.
    pub fn from_tag(json: &str) -> Result<Self, String> {
        let check: Self = serde_json::from_str(json).map_err(|error| error.to_string())?;
        check.validate()?;
        match &check {
            Self::Contains(text) if text.is_empty() => Err("every text contains it".to_owned()),
            _ => Ok(check),
        }
    }

    /// Whether it can be applied. The keywords of a schema are not looked at: `eval` knows which
    /// ones it applies.
    ///
    /// # Errors
    /// What is wrong with it, in a few words.
    pub fn validate(&self) -> Result<(), String> {
        let refuse = |why: &str| Err(why.to_owned());
        match self {
            Self::FinalNumber(number) if !number.is_finite() => refuse("it is not a number"),
            Self::Regex(pattern) => match regex::Regex::new(pattern) {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("regex: {error}")),
            },
            Self::Choice(options)
                if options.is_empty() || options.iter().any(|option| option.trim().is_empty()) =>
            {
                refuse("choice needs options that are not empty")
            }
            Self::Similar(text) if text.trim().is_empty() => refuse("similar needs a text"),
            Self::Judge(_) => refuse(NO_JUDGE),
            _ => Ok(()),
        }
    }
}

/// One line of a suite or workload file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SuiteRow {
    /// The group that scores are reported by; empty means the file's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub family: String,
    /// `feedback`, `heldout`, `rehearsal`; empty means `heldout`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub split: String,
    /// The conversation up to the answer.
    pub messages: Vec<Message>,
    /// What the model is told of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<Tool>>)]
    pub tools: Vec<Tool>,
    /// An answer that passes.
    #[serde(default)]
    pub reference: String,
    /// What an answer must satisfy.
    pub check: Check,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_cannot_run_is_refused() {
        let good = r#"{"type":"contains","value":"Oslo"}"#;
        assert_eq!(Check::from_tag(good), Ok(Check::Contains("Oslo".to_owned())));
        for bad in [
            "",
            "Oslo",
            r#"{"type":"magic","value":"x"}"#,
            r#"{"type":"regex","value":"("}"#,
            r#"{"type":"regex","value":"a(?=b)"}"#,
            r#"{"type":"contains","value":""}"#,
            r#"{"type":"choice","value":[]}"#,
            r#"{"type":"choice","value":["yes"," "]}"#,
            r#"{"type":"judge","value":"be nice"}"#,
            r#"{"type":"final_number","value":"22"}"#,
        ] {
            assert!(Check::from_tag(bad).is_err(), "{bad}");
        }
    }
}
