//! What an answer's text is held to, as a grammar in Lark.

use hone_api::error::Invalid;
use hone_api::structured::{Asked, Constraint};
use hone_text::{Error, FrontEnd, JsonSchema, grammar};
use serde_json::{Value, json};

use crate::grammars::Made;

/// What an answer's text is held to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Source {
    /// The whole grammar.
    pub(crate) lark: String,
    /// The same as one rule; `None`: it is a grammar of the client's own.
    pub(crate) rule: Option<String>,
    /// Where it came in.
    pub(crate) field: String,
    /// What was asked for and says nothing.
    pub(crate) ignored: Vec<String>,
}

impl Source {
    /// The grammar of a constraint.
    ///
    /// # Errors
    /// A schema that is larger or deeper than one may be; a grammar in another language.
    pub(crate) fn of(asked: Asked) -> Result<Self, Invalid> {
        let Asked { field, constraint } = asked;
        let (rule, ignored) = match constraint {
            Constraint::Grammar(lark) if lark.contains("::=") => {
                let message = format!(
                    "`{field}` must be a grammar in Lark (`start: \"yes\" | \"no\"`), not in GBNF or EBNF"
                );
                return Err(Invalid::field(&field, message));
            }
            Constraint::Grammar(lark) => {
                return Ok(Self { lark, rule: None, field, ignored: Vec::new() });
            }
            Constraint::Regex(pattern) => (grammar::regex_rule(&pattern), Vec::new()),
            Constraint::Choice(choices) => (grammar::choice_rule(&choices), Vec::new()),
            Constraint::JsonObject => schema(&field, json!({"type": "object"}))?,
            Constraint::Schema(value) => schema(&field, value)?,
        };
        Ok(Self { lark: format!("start: {rule}\n"), rule: Some(rule), field, ignored })
    }

    pub(crate) fn make(&self, front_end: &FrontEnd) -> Result<Made, Invalid> {
        let grammar = front_end.grammar(&self.lark);
        let grammar = grammar.map_err(|error| refused(&self.field, &error))?;
        let lark = self.lark.as_str().into();
        Ok(Made { grammar, lark, ignored: self.ignored.clone() })
    }
}

fn schema(field: &str, value: Value) -> Result<(String, Vec<String>), Invalid> {
    let schema = JsonSchema::new(value).map_err(|error| refused(field, &error))?;
    let remarks = schema.remarks().iter().map(|format| format!("{field} (format {format})"));
    Ok((schema.lark(), remarks.collect()))
}

/// What a client hears of a grammar that is none.
pub(crate) fn refused(field: &str, error: &Error) -> Invalid {
    Invalid::field(field, format!("`{field}` cannot be applied: {error}"))
}
