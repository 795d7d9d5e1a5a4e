//! Whose a request is, and what is kept of it.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::error::Invalid;
use crate::fields::Fields;

/// Pairs that `metadata` may have.
pub const METADATA_PAIRS: usize = 16;

/// The fields of requests for answers that say whose they are and what is kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct Keeping {
    /// The end user; kept with the interaction as a keyed hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `false`: keep no text. `true`: list it as a stored completion. A response is stored, so that others can go on from
    /// it, unless this is `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<bool>,
    /// Up to 16 pairs, kept with the interaction.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub metadata: BTreeMap<String, String>,
}

impl Keeping {
    /// Takes the fields out of a request.
    ///
    /// # Errors
    /// The first field that is wrong, by name.
    pub fn take(fields: &mut Fields) -> Result<Self, Invalid> {
        Ok(Self {
            user: user(fields)?,
            store: fields.take("store")?,
            metadata: metadata(fields)?.unwrap_or_default(),
        })
    }
}

/// Takes the end user out: `user`, or else `safety_identifier`.
///
/// # Errors
/// One of them is no string.
pub fn user(fields: &mut Fields) -> Result<Option<String>, Invalid> {
    let user = fields.take("user")?;
    Ok(user.or(fields.take("safety_identifier")?))
}

/// Takes `metadata` out: at most 16 pairs of strings, keys up to 64 characters, values up to 512.
///
/// # Errors
/// It is something else.
pub fn metadata(fields: &mut Fields) -> Result<Option<BTreeMap<String, String>>, Invalid> {
    let Some(metadata) = fields.texts("metadata")? else { return Ok(None) };
    let wrong = |message: String| Err(Invalid::field("metadata", message));
    if metadata.len() > METADATA_PAIRS {
        let count = metadata.len();
        return wrong(format!("`metadata` has {count} pairs; at most {METADATA_PAIRS}"));
    }
    for (key, value) in &metadata {
        if key.is_empty() || key.chars().count() > 64 {
            return wrong(format!("the `metadata` key `{key:.80}` must have 1 to 64 characters"));
        }
        if value.chars().count() > 512 {
            return wrong(format!("the `metadata` value of `{key}` has more than 512 characters"));
        }
    }
    Ok(Some(metadata))
}
