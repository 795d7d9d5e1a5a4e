//! A text on the wire: a string, or an array of parts whose texts are joined.

use serde_json::Value;

use crate::error::Invalid;
use crate::fields::{Fields, kind};

/// Takes a text out; `kinds` are the types that a part may have, the one to send first.
///
/// # Errors
/// It is missing, is neither, or a part is of another type.
pub(crate) fn text_of(fields: &mut Fields, name: &str, kinds: &[&str]) -> Result<String, Invalid> {
    let path = fields.path(name);
    match fields.value(name) {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(parts)) => {
            let mut text = String::new();
            for (at, part) in parts.into_iter().enumerate() {
                let mut part = Fields::nested(part, &format!("{path}[{at}]"))?;
                let kind: String = part.required("type")?;
                if !kinds.contains(&kind.as_str()) {
                    let instead = kinds.first().copied().unwrap_or_default();
                    let path = part.path("type");
                    let message = format!(
                        "content parts of type `{kind:.40}` are not supported (`{path}`); send {instead}"
                    );
                    return Err(Invalid::field(&path, message));
                }
                text.push_str(&part.required::<String>("text")?);
            }
            Ok(text)
        }
        None => Err(Invalid::field(&path, format!("`{path}` is missing; it is required"))),
        Some(other) => {
            let kind = kind(&other);
            let message = format!("`{path}` must be a string or an array of parts, not {kind}");
            Err(Invalid::field(&path, message))
        }
    }
}
