//! Table `feedback`: what users said, each item once.

use std::collections::BTreeMap;

use hone_api::feedback::{Feedback, Signal};
use hone_api::{FeedbackId, InteractionId, UnixMillis};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::column::{self, Id};
use crate::error::{Error, Result, is_taken};
use crate::interactions;
use crate::page::{Order, Page};

/// One feedback item on its way in.
#[derive(Debug, Clone, PartialEq)]
pub struct NewFeedback {
    /// The item; its id and time are made by the caller.
    pub feedback: Feedback,
    /// The API key that it came through.
    pub key_id: Option<String>,
    /// The end user whom the app named: a keyed hash.
    pub user: Option<String>,
    /// The client's `Idempotency-Key`; it counts within the item's source. The item's own id as its
    /// key is the same item wherever it was stored: an export that comes back.
    pub idempotency_key: Option<String>,
}

/// The answer to an accepted item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The id under which it is stored: the first one's, if it came before.
    pub id: FeedbackId,
    /// Whether the same item with the same key was stored before.
    pub duplicate: bool,
}

/// `pending`: the interaction was being answered when the item arrived, and whether it will have
/// its text.
pub(crate) fn append(
    connection: &Connection,
    new: &NewFeedback,
    pending: Option<bool>,
) -> Result<Appended> {
    let feedback = &new.feedback;
    let body_hash = body_hash(feedback)?;
    if let Some(key) = &new.idempotency_key
        && let Some((id, hash)) = known(connection, feedback.source.as_deref(), key)?
    {
        return if hash == body_hash {
            Ok(Appended { id, duplicate: true })
        } else {
            Err(Error::IdempotencyMismatch { key: key.clone() })
        };
    }
    if new.idempotency_key.as_deref() == Some(feedback.id.to_string().as_str())
        && let Some(hash) = hash_of(connection, feedback.id)?
    {
        return if hash == body_hash {
            Ok(Appended { id: feedback.id, duplicate: true })
        } else {
            Err(Error::IdempotencyMismatch { key: feedback.id.to_string() })
        };
    }
    let id = feedback.inference_id;
    let keeps_text = match pending {
        Some(keeps_text) => keeps_text,
        None => interactions::keeps_text(connection, id)?.ok_or(Error::UnknownInteraction(id))?,
    };
    let value = match &feedback.signal {
        Signal::Thumbs(good) => serde_json::Value::from(*good),
        Signal::Score(score) => serde_json::Value::from(*score),
        // Who asked that the text be kept out did not mean that its correction be kept.
        Signal::Demonstration(_) | Signal::Comment(_) if !keeps_text => "".into(),
        Signal::Demonstration(text) | Signal::Comment(text) => text.as_str().into(),
        Signal::Discard => true.into(),
    };
    let mut tags = feedback.tags.clone();
    if !keeps_text {
        tags.remove("check"); // holds what the answer should say
    }
    connection
        .prepare_cached(
            "INSERT INTO feedback (id, inference_id, metric_name, value, failure, tags, source,
                 created_at, idempotency_key, body_hash, key_id, end_user)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            feedback.id.bytes(),
            feedback.inference_id.bytes(),
            feedback.signal.metric_name(),
            value.to_string(),
            feedback.signal.is_failure(),
            column::to_json("tags", &tags)?,
            feedback.source,
            feedback.created_at.0,
            new.idempotency_key,
            body_hash,
            new.key_id,
            new.user,
        ])
        .map_err(|error| {
            if is_taken(&error) { Error::Duplicate(feedback.id.to_string()) } else { error.into() }
        })?;
    Ok(Appended { id: feedback.id, duplicate: false })
}

/// What makes two items the same item: all but the id, the time and the source.
fn body_hash(feedback: &Feedback) -> Result<[u8; 32]> {
    let body = (feedback.inference_id, &feedback.signal, &feedback.tags);
    Ok(*blake3::hash(column::to_json("value", &body)?.as_bytes()).as_bytes())
}

fn known(
    connection: &Connection,
    source: Option<&str>,
    key: &str,
) -> Result<Option<(FeedbackId, [u8; 32])>> {
    Ok(connection
        .prepare_cached(
            "SELECT id, body_hash FROM feedback
             WHERE coalesce(source, '') = ?1 AND idempotency_key = ?2",
        )?
        .query_row(params![source.unwrap_or(""), key], |row| {
            Ok((FeedbackId::of(row.get("id")?), row.get("body_hash")?))
        })
        .optional()?)
}

fn hash_of(connection: &Connection, id: FeedbackId) -> Result<Option<[u8; 32]>> {
    Ok(connection
        .prepare_cached("SELECT body_hash FROM feedback WHERE id = ?1")?
        .query_row([id.bytes()], |row| row.get(0))
        .optional()?)
}

/// All feedback for one answer, in order of arrival.
pub(crate) fn of_interaction(connection: &Connection, id: InteractionId) -> Result<Vec<Feedback>> {
    let mut statement =
        connection.prepare_cached("SELECT * FROM feedback WHERE inference_id = ?1 ORDER BY id")?;
    let mut rows = statement.query(params![id.bytes()])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// All feedback by arrival, behind `after`.
pub(crate) fn list(
    connection: &Connection,
    after: Option<FeedbackId>,
    limit: usize,
    order: Order,
) -> Result<Page<Feedback>> {
    let mut statement = connection.prepare_cached(match order {
        Order::Ascending => "SELECT * FROM feedback WHERE id > ?1 ORDER BY id LIMIT ?2",
        Order::Descending => "SELECT * FROM feedback WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
    })?;
    Page::of_ids(&mut statement, after.map(Id::bytes), limit, order, read)
}

/// How many answers that may teach were voted bad or corrected after `since`; counted up to `most`.
pub(crate) fn failures_since(connection: &Connection, since: UnixMillis, most: u64) -> Result<u64> {
    let count: i64 = connection
        .prepare_cached(
            "SELECT count(*) FROM (
                 SELECT DISTINCT inference_id FROM feedback
                 JOIN interactions ON interactions.id = feedback.inference_id AND trainable = 1
                 WHERE failure = 1 AND feedback.created_at > ?1 LIMIT ?2)",
        )?
        .query_row([since.0, i64::try_from(most).unwrap_or(i64::MAX)], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// How many answers that may teach were corrected after an instant; counted up to `most`.
pub(crate) fn corrected_since(
    connection: &Connection,
    since: UnixMillis,
    most: u64,
) -> Result<u64> {
    let count: i64 = connection
        .prepare_cached(
            "SELECT count(*) FROM (
                 SELECT DISTINCT inference_id FROM feedback
                 JOIN interactions ON interactions.id = feedback.inference_id AND trainable = 1
                 WHERE failure = 1 AND metric_name = 'demonstration' AND feedback.created_at > ?1
                 LIMIT ?2)",
        )?
        .query_row([since.0, i64::try_from(most).unwrap_or(i64::MAX)], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

pub(crate) fn count_by_metric(connection: &Connection) -> Result<BTreeMap<String, u64>> {
    let mut statement =
        connection.prepare_cached("SELECT metric_name, count(*) FROM feedback GROUP BY 1")?;
    let mut rows = statement.query([])?;
    let mut counts = BTreeMap::new();
    while let Some(row) = rows.next()? {
        counts.insert(row.get(0)?, u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0));
    }
    Ok(counts)
}

fn read(row: &Row<'_>) -> Result<Feedback> {
    let metric: String = row.get("metric_name")?;
    let signal = match metric.as_str() {
        "thumbs" => Signal::Thumbs(column::json(row, "value")?),
        "score" => Signal::Score(column::json(row, "value")?),
        "demonstration" => Signal::Demonstration(column::json(row, "value")?),
        "comment" => Signal::Comment(column::json(row, "value")?),
        "discard" => Signal::Discard,
        other => {
            return Err(Error::value("metric_name", format!("`{other}` is not a known metric")));
        }
    };
    Ok(Feedback {
        id: column::id(row, "id")?,
        inference_id: column::id(row, "inference_id")?,
        signal,
        tags: column::json(row, "tags")?,
        source: row.get("source")?,
        created_at: column::instant(row, "created_at")?,
    })
}
