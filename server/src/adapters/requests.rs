//! What is asked of adapters.

use hone_api::error::Invalid;
use hone_api::fields::Fields;
use serde_json::Value;
use utoipa::ToSchema;

/// The body of `POST /v1/adapters`.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportRequest {
    /// A folder below the drop folder.
    #[schema(pattern = "^[A-Za-z0-9](\\.?[A-Za-z0-9_-])*\\.?$", max_length = 64)]
    pub(super) folder: String,
    /// The name to ask for it by; the folder's, if there is none.
    #[schema(pattern = "^[A-Za-z0-9](\\.?[A-Za-z0-9_-])*\\.?$", max_length = 64)]
    pub(super) name: Option<String>,
}

impl ImportRequest {
    pub(super) fn from_json(body: Value) -> Result<Self, Invalid> {
        let mut fields = Fields::new(body)?;
        let request = Self { folder: fields.required("folder")?, name: fields.take("name")? };
        fields.finish()?;
        Ok(request)
    }
}

/// The body of a rollback.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RollbackRequest {
    /// Where to. Without it: to what served before.
    pub(super) to: Option<String>,
    /// Only if this serves now: an adapter's id, name or alias; `base` or null for the base.
    #[schema(value_type = Option<String>)]
    pub(super) expected_live: Option<Option<String>>,
    /// For the audit trail.
    pub(super) reason: Option<String>,
}

impl RollbackRequest {
    pub(super) fn from_json(body: Value) -> Result<Self, Invalid> {
        let mut fields = Fields::new(body)?;
        let request = Self {
            to: fields.take("to")?,
            expected_live: expected_live(&mut fields)?,
            reason: fields.take("reason")?,
        };
        fields.finish()?;
        Ok(request)
    }
}

/// The body of a promotion.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PromoteRequest {
    /// Only if this serves now: an adapter's id, name or alias; `base` or null for the base.
    #[schema(value_type = Option<String>)]
    pub(super) expected_live: Option<Option<String>>,
    /// For the audit trail.
    pub(super) reason: Option<String>,
}

impl PromoteRequest {
    pub(super) fn from_json(body: Value) -> Result<Self, Invalid> {
        let mut fields = Fields::new(body)?;
        fields.unsupported("canary", &[])?;
        let request =
            Self { expected_live: expected_live(&mut fields)?, reason: fields.take("reason")? };
        fields.finish()?;
        Ok(request)
    }
}

/// Nothing said, the base (`null`), or a reference.
fn expected_live(fields: &mut Fields) -> Result<Option<Option<String>>, Invalid> {
    match fields.present("expected_live") {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(Value::String(text)) => Ok(Some(Some(text))),
        Some(_) => {
            let message = "`expected_live` must be an adapter's id or name, `base`, or null";
            Err(Invalid::field("expected_live", message))
        }
    }
}
