//! `/v1/embeddings`.

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::chat::request::{Accepted, model};
use crate::completion::{Prompt, PromptForms, prompts};
use crate::error::Invalid;
use crate::fields::Fields;
use crate::keeping::user;

/// Texts of one request at most, as OpenAI has it.
pub const INPUTS: usize = 2048;
/// Tokens of all texts of one request at most, as OpenAI has it.
pub const TOKENS: usize = 300_000;

/// How vectors are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EncodingFormat {
    /// An array of numbers.
    #[default]
    Float,
    /// The bytes of 32-bit floats, little endian, in base64.
    Base64,
}

/// The body of `POST /v1/embeddings`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct EmbeddingRequest {
    /// As for chat: the served model, its base, or an adapter.
    #[schema(min_length = 1)]
    pub model: String,
    /// A string, token ids, or an array of either: at most 2,048, none of them empty or longer than the context, with
    /// at most 300,000 tokens together.
    #[schema(value_type = PromptForms)]
    pub input: Vec<Prompt>,
    /// How vectors are written; default `float`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<EncodingFormat>)]
    pub encoding_format: Option<EncodingFormat>,
    /// Only the model's own width: a part of a mean of hidden states means nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub dimensions: Option<u32>,
    /// The end user; shares the engine's time by it, and is not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// Fields of other servers that would change the vectors, with the values at which they ask for nothing.
fn constraints() -> [(&'static str, Vec<Value>); 12] {
    [
        ("normalize", vec![json!(false)]),
        ("pooling", vec![json!("mean")]),
        ("truncate_prompt_tokens", Vec::new()),
        ("truncate", vec![json!(false)]),
        ("add_special_tokens", vec![json!(true)]),
        ("input_type", Vec::new()),
        ("task", Vec::new()),
        ("prompt_name", Vec::new()),
        ("instruction", vec![json!("")]),
        ("embed_dtype", vec![json!("float32")]),
        ("late_chunking", vec![json!(false)]),
        ("messages", Vec::new()),
    ]
}

impl EmbeddingRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// The first field that is wrong or not supported, by name.
    pub fn from_json(body: Value) -> Result<Accepted<Self>, Invalid> {
        let mut fields = Fields::new(body)?;
        let request = Self {
            model: model(&mut fields)?,
            input: prompts(&mut fields, "input")?,
            encoding_format: encoding_format(&mut fields)?,
            dimensions: fields
                .whole("dimensions", 1, i64::from(u32::MAX))?
                .and_then(|width| u32::try_from(width).ok()),
            user: user(&mut fields)?,
        };
        for (name, harmless) in constraints() {
            fields.unsupported(name, &harmless)?;
        }
        Ok(Accepted { request, ignored: fields.unknown() })
    }

    /// Checks what depends on the model, whose vectors have `width` numbers.
    ///
    /// # Errors
    /// The first field that is wrong, by name.
    pub fn check(&self, width: usize) -> Result<(), Invalid> {
        let count = self.input.len();
        if count == 0 || count > INPUTS {
            let message = format!("`input` has {count} entries; it must have 1 to {INPUTS}");
            return Err(Invalid::field("input", message));
        }
        let is_empty = |input: &Prompt| match input {
            Prompt::Text(text) => text.is_empty(),
            Prompt::Tokens(tokens) => tokens.is_empty(),
        };
        if let Some(at) = self.input.iter().position(is_empty) {
            let message = format!("entry {at} of `input` is empty; send some text");
            return Err(Invalid::field("input", message));
        }
        match self.dimensions {
            Some(asked) if usize::try_from(asked) != Ok(width) => {
                let message = format!(
                    "`dimensions` is {asked}; this model's vectors have {width} numbers, all of which belong together"
                );
                Err(Invalid::field("dimensions", message).code("unsupported_parameter"))
            }
            _ => Ok(()),
        }
    }
}

fn encoding_format(fields: &mut Fields) -> Result<Option<EncodingFormat>, Invalid> {
    match fields.take::<String>("encoding_format")?.as_deref() {
        None => Ok(None),
        Some("float") => Ok(Some(EncodingFormat::Float)),
        Some("base64") => Ok(Some(EncodingFormat::Base64)),
        Some(other) => {
            let message = format!("`encoding_format` is `{other:.40}`; it must be float or base64");
            Err(Invalid::field("encoding_format", message))
        }
    }
}

/// The answer of `POST /v1/embeddings`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct EmbeddingResponse {
    /// `list`.
    pub object: &'static str,
    /// One for each text, in their order.
    pub data: Vec<EmbeddingView>,
    /// As the client sent it.
    pub model: String,
    /// What was read.
    pub usage: EmbeddingUsage,
}

/// One text's vector.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct EmbeddingView {
    /// `embedding`.
    pub object: &'static str,
    /// The text's place.
    pub index: usize,
    /// The mean of the hidden states of its tokens behind the final norm; its length is not 1.
    pub embedding: VectorForms,
}

/// A vector as it was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum VectorForms {
    /// `float`.
    Float(Vec<f32>),
    /// `base64`.
    Base64(String),
}

/// Tokens read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct EmbeddingUsage {
    /// Of all texts.
    pub prompt_tokens: u32,
    /// The same.
    pub total_tokens: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(more: &Value) -> Result<Accepted<EmbeddingRequest>, Invalid> {
        let mut body = json!({"model": "m", "input": "x"});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        EmbeddingRequest::from_json(body)
    }

    #[test]
    fn all_shapes_of_inputs_are_read() {
        for (input, count) in [
            (json!("a"), 1),
            (json!(["a", "b"]), 2),
            (json!([1, 2, 3]), 1),
            (json!([[1], [2, 3]]), 2),
        ] {
            let accepted = read(&json!({"input": input})).unwrap();
            assert_eq!(accepted.request.input.len(), count);
            assert_eq!(accepted.request.check(64), Ok(()));
        }
        let whole = read(&json!({"dimensions": 64, "encoding_format": "base64"})).unwrap().request;
        assert_eq!(
            (whole.check(64), whole.encoding_format),
            (Ok(()), Some(EncodingFormat::Base64))
        );
        assert_eq!(read(&json!({"nobody_knows": 1})).unwrap().ignored, ["nobody_knows"]);
    }

    #[test]
    fn what_would_change_the_vectors_is_refused_by_name() {
        for (name, value) in [
            ("normalize", json!(true)),
            ("pooling", json!("cls")),
            ("input_type", json!("query")),
            ("encoding_format", json!("int8")),
            ("dimensions", json!(0)),
            ("model", json!("")),
            ("input", json!({"a": 1})),
        ] {
            assert_eq!(read(&json!({ name: value })).unwrap_err().param.as_deref(), Some(name));
        }
        for (name, value) in [
            ("input", json!("")),
            ("input", json!([])),
            ("input", json!(["a", ""])),
            ("input", json!([[1], []])),
            ("input", json!(vec!["a"; 2049])),
            ("dimensions", json!(32)),
        ] {
            let refused =
                read(&json!({ name: value })).and_then(|accepted| accepted.request.check(64));
            assert_eq!(refused.unwrap_err().param.as_deref(), Some(name));
        }
    }
}
