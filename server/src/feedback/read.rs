//! What a request of `POST /v1/feedback` says, and whether it may.

use std::collections::BTreeMap;

use hone_api::check::Check;
use hone_api::error::Invalid;
use hone_api::feedback::{Feedback, Signal};
use hone_api::{FeedbackId, UnixMillis};

use super::request::{FeedbackRequest, ValueForms};
use crate::control::FeedbackLimits;

/// What a request says.
#[derive(Debug)]
pub(super) struct Said {
    /// The item; its source is not known yet.
    pub(super) feedback: Feedback,
    /// The end user whom it names.
    pub(super) user: Option<String>,
    /// Only check, store nothing.
    pub(super) dryrun: bool,
}

/// What a request says, if it may.
///
/// # Errors
/// The first field that is wrong, by name.
pub(super) fn said(request: FeedbackRequest, limits: &FeedbackLimits) -> Result<Said, Invalid> {
    let tags = request.tags.unwrap_or_default();
    check_sizes(&request.value, &tags, limits)?;
    check_tags(&tags)?;
    let feedback = Feedback {
        id: FeedbackId::new(),
        inference_id: request.inference_id,
        signal: signal(&request.metric_name, request.value)?,
        tags,
        source: None,
        created_at: UnixMillis::now(),
    };
    let user = request.user.or(request.safety_identifier);
    Ok(Said { feedback, user, dryrun: request.dryrun.unwrap_or(false) })
}

/// What is kept for years, and read as a whole by each cycle, must not be of any size.
fn check_sizes(
    value: &ValueForms,
    tags: &BTreeMap<String, String>,
    limits: &FeedbackLimits,
) -> Result<(), Invalid> {
    let text = if let ValueForms::Text(text) = value { text.len() } else { 0 };
    let most = limits.text;
    if text > most {
        let message =
            format!("`value` has {text} bytes; at most {most} are taken (feedback.max_text)");
        return Err(Invalid::field("value", message).code("too_large"));
    }
    let (count, most) = (tags.len(), limits.tags);
    if count > most {
        let message = format!("`tags` has {count} entries; at most {most} (feedback.max_tags)");
        return Err(Invalid::field("tags", message).code("too_large"));
    }
    let bytes: usize = tags.iter().map(|(name, value)| name.len() + value.len()).sum();
    let most = limits.tag_text;
    if bytes > most {
        let message =
            format!("`tags` has {bytes} bytes; at most {most} are taken (feedback.max_tag_text)");
        return Err(Invalid::field("tags", message).code("too_large"));
    }
    Ok(())
}

fn signal(metric: &str, value: ValueForms) -> Result<Signal, Invalid> {
    let wrong = |wants: &str| {
        Invalid::field("value", format!("`value` of the metric `{metric}` must be {wants}"))
    };
    let text = |value: ValueForms| match value {
        ValueForms::Text(text) if !text.trim().is_empty() => Ok(text),
        _ => Err(wrong("a string that is not empty")),
    };
    match metric {
        "thumbs" => match value {
            ValueForms::Boolean(up) => Ok(Signal::Thumbs(up)),
            _ => Err(wrong("true or false")),
        },
        "score" => match value {
            ValueForms::Number(score) if (0.0..=1.0).contains(&score) => Ok(Signal::Score(score)),
            _ => Err(wrong("a number from 0 to 1")),
        },
        "demonstration" => text(value).map(Signal::Demonstration),
        "comment" => text(value).map(Signal::Comment),
        "discard" if value == ValueForms::Boolean(true) => Ok(Signal::Discard),
        "discard" => Err(wrong("true")),
        other => Err(Invalid::field(
            "metric_name",
            format!(
                "there is no metric `{other:.60}`; use thumbs, score, demonstration, comment or \
                 discard"
            ),
        )),
    }
}

/// A check that cannot be applied would be noticed much later, when somebody else looks at it.
fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), Invalid> {
    let Some(check) = tags.get("check") else { return Ok(()) };
    Check::from_tag(check).map(drop).map_err(|why| {
        Invalid::field("tags.check", format!("`tags.check` is no check that can be applied: {why}"))
    })
}

#[cfg(test)]
mod tests {
    use hone_api::InteractionId;
    use serde_json::{Value, json};

    use super::*;

    const LIMITS: FeedbackLimits = FeedbackLimits { text: 1000, tags: 4, tag_text: 200 };

    fn said(body: Value) -> Result<Said, Invalid> {
        super::said(FeedbackRequest::from_json(body)?, &LIMITS)
    }

    #[test]
    fn texts_and_tags_have_limits() {
        let id = InteractionId::new().to_string();
        let item = |value: &str, tags: Value| json!({"inference_id": id, "metric_name": "comment", "value": value, "tags": tags});
        let many: BTreeMap<_, _> = (0..5).map(|index| (index.to_string(), "x")).collect();
        assert!(said(item(&"x".repeat(1000), json!({}))).is_ok());
        assert_eq!(param(item(&"x".repeat(1001), json!({}))).as_deref(), Some("value"));
        assert_eq!(param(item("x", json!(many))).as_deref(), Some("tags"));
        assert_eq!(param(item("x", json!({"a": "x".repeat(200)}))).as_deref(), Some("tags"));
        assert!(said(item("x", json!({"a": "x".repeat(199)}))).is_ok());
    }

    fn param(body: Value) -> Option<String> {
        said(body).err().and_then(|error| error.param)
    }

    #[test]
    fn each_metric_has_its_type() {
        let id = InteractionId::new().to_string();
        let item = |metric: &str, value: Value| json!({"inference_id": id, "metric_name": metric, "value": value});
        for (metric, good, bad) in [
            ("thumbs", json!(true), json!(1)),
            ("score", json!(0.5), json!(1.5)),
            ("demonstration", json!("so"), json!(" ")),
            ("comment", json!("hm"), json!({})),
            ("discard", json!(true), json!(false)),
        ] {
            assert!(said(item(metric, good)).is_ok(), "{metric}");
            assert_eq!(param(item(metric, bad)).as_deref(), Some("value"), "{metric}");
        }
        assert_eq!(param(item("stars", json!(5))).as_deref(), Some("metric_name"));
    }

    #[test]
    fn the_end_user_has_two_names() {
        let id = InteractionId::new().to_string();
        let by = |names: Value| {
            let mut body = json!({"inference_id": id, "metric_name": "thumbs", "value": true});
            body.as_object_mut().unwrap().extend(names.as_object().unwrap().clone());
            said(body).map(|said| said.user)
        };
        assert_eq!(by(json!({})), Ok(None));
        assert_eq!(by(json!({"safety_identifier": "s"})), Ok(Some("s".to_owned())));
        assert_eq!(by(json!({"user": "u", "safety_identifier": "s"})), Ok(Some("u".to_owned())));
        assert_eq!(by(json!({"user": 5})).unwrap_err().param.as_deref(), Some("user"));
        // Whose word it is follows from who sends it.
        assert_eq!(by(json!({"source": "x"})).unwrap_err().param.as_deref(), Some("source"));
    }

    #[test]
    fn unknown_fields_and_episodes_are_refused_by_name() {
        let id = InteractionId::new().to_string();
        let with = |name: &str, value: Value| {
            let mut body = json!({"inference_id": id, "metric_name": "thumbs", "value": true});
            body[name] = value;
            body
        };
        assert_eq!(param(with("colour", json!("red"))).as_deref(), Some("colour"));
        assert_eq!(param(with("episode_id", json!(id))).as_deref(), Some("episode_id"));
        for check in ["{}", r#"{"type":"regex","value":"("}"#, r#"{"type":"judge","value":"?"}"#] {
            let tags = with("tags", json!({"check": check}));
            assert_eq!(param(tags).as_deref(), Some("tags.check"), "{check}");
        }
        assert!(said(with("tags", json!({"check": r#"{"type":"exact","value":"a"}"#}))).is_ok());
    }
}
