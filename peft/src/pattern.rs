//! `rank_pattern` and `alpha_pattern`: values of single modules, by the end of their path.

use serde_json::Value;

use crate::Error;

/// Values by the end of a module's path.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Pattern(Vec<(String, f64)>);

impl Pattern {
    /// Reads an object of numbers. PEFT takes the keys as regular expressions; those that are more than a path with an
    /// anchor are refused, for they could name other modules than a path would.
    pub(crate) fn parse(option: &str, value: &Value) -> Result<Self, Error> {
        let wrong = || Error::Invalid(format!("`{option}` must be an object of numbers"));
        let mut entries = Vec::new();
        for (key, value) in value.as_object().ok_or_else(wrong)? {
            let number = value.as_f64().filter(|number| number.is_finite()).ok_or_else(wrong)?;
            let path = key.trim_start_matches('^').trim_end_matches('$').replace("\\.", ".");
            let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
            if path.is_empty() || !path.chars().all(is_plain) {
                return Err(Error::Unsupported { option: option.into(), value: key.clone() });
            }
            entries.push((path, number));
        }
        Ok(Self(entries))
    }

    /// The value of the first entry whose path is the module's, or a tail of it.
    pub(crate) fn of(&self, module: &str) -> Option<f64> {
        let names = |path: &str| {
            module == path || module.strip_suffix(path).is_some_and(|head| head.ends_with('.'))
        };
        self.0.iter().find(|(path, _)| names(path)).map(|(_, value)| *value)
    }

    /// All values.
    pub(crate) fn values(&self) -> impl Iterator<Item = f64> + '_ {
        self.0.iter().map(|(_, value)| *value)
    }
}
