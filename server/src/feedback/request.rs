//! The body of `POST /v1/feedback`, in TensorZero's shape.

use std::collections::BTreeMap;

use hone_api::InteractionId;
use hone_api::error::Invalid;
use hone_api::fields::Fields;
use serde_json::Value;
use utoipa::ToSchema;

/// The body of `POST /v1/feedback`.
#[derive(Debug, PartialEq, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FeedbackRequest {
    /// The `id` of an answer.
    pub(super) inference_id: InteractionId,
    /// `thumbs`, `score`, `demonstration`, `comment` or `discard`.
    #[schema(examples("thumbs"))]
    pub(super) metric_name: String,
    /// A boolean for `thumbs`, a number from 0 to 1 for `score`, `true` for `discard`, a string for the
    /// others.
    pub(super) value: ValueForms,
    /// Free labels; `check` may hold a check as JSON, `family` a group (both only from keys with the scope
    /// `adapters`).
    pub(super) tags: Option<BTreeMap<String, String>>,
    /// Who says it, if your app knows; wins over the header `x-hone-user`. Kept as a keyed hash only.
    pub(super) user: Option<String>,
    /// OpenAI's newer name of `user`.
    pub(super) safety_identifier: Option<String>,
    /// Only check, store nothing.
    pub(super) dryrun: Option<bool>,
    /// Accepted for TensorZero's clients; says nothing here.
    internal: Option<bool>,
}

impl FeedbackRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// The first field that is wrong, by name.
    pub(super) fn from_json(body: Value) -> Result<Self, Invalid> {
        let mut fields = Fields::new(body)?;
        if fields.value("episode_id").is_some() {
            let message = "`episode_id` is not supported; name one answer with `inference_id`";
            return Err(Invalid::field("episode_id", message).code("unsupported_parameter"));
        }
        let id: String = fields.required("inference_id")?;
        let request = Self {
            inference_id: id.parse().map_err(|error| {
                Invalid::field("inference_id", format!("`inference_id`: {error}"))
            })?,
            metric_name: fields.required("metric_name")?,
            value: ValueForms::take(&mut fields)?,
            tags: fields.texts("tags")?,
            user: fields.take("user")?,
            safety_identifier: fields.take("safety_identifier")?,
            dryrun: fields.take("dryrun")?,
            internal: fields.take("internal")?,
        };
        fields.finish()?;
        Ok(request)
    }
}

/// The shapes of `value`.
#[derive(Debug, PartialEq, ToSchema)]
#[serde(untagged)]
pub(crate) enum ValueForms {
    /// For `thumbs` and `discard`.
    Boolean(bool),
    /// For `score`.
    Number(f64),
    /// For `demonstration` and `comment`.
    Text(String),
}

impl ValueForms {
    fn take(fields: &mut Fields) -> Result<Self, Invalid> {
        match fields.required("value")? {
            Value::Bool(value) => Ok(Self::Boolean(value)),
            Value::String(text) => Ok(Self::Text(text)),
            Value::Number(number) => number.as_f64().map(Self::Number).ok_or_else(Self::wrong),
            _ => Err(Self::wrong()),
        }
    }

    fn wrong() -> Invalid {
        Invalid::field("value", "`value` must be true or false, a number, or a string")
    }
}
