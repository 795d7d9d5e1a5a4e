//! What was kept long enough.

use hone_api::UnixMillis;
use rusqlite::{Connection, params};

use crate::Store;
use crate::error::Result;

/// Rows that go in one commit: others' writes come in between.
const BATCH: i64 = 500;

/// What is too old.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expiry {
    /// Answers that came before this, and of which nobody says anything.
    pub interactions: Option<UnixMillis>,
    /// Feedback that came before this.
    pub feedback: Option<UnixMillis>,
    /// Events before this, of cycles that are over.
    pub events: Option<UnixMillis>,
    /// Bytes that the log may have; beyond them the oldest answers of which nobody says anything go.
    pub bytes: Option<u64>,
}

/// How much went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expired {
    /// Answers.
    pub interactions: usize,
    /// Feedback items.
    pub feedback: usize,
    /// Events.
    pub events: usize,
    /// Whether the log is larger than it may be, and nothing is left in it that may go.
    pub too_large: bool,
}

impl Store {
    /// Deletes what is too old, and overwrites its bytes in the files.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn expire(&self, expiry: Expiry) -> Result<Expired> {
        let mut all = Expired::default();
        loop {
            let batch = self.writer.write(move |c| expire(c, expiry)).await?;
            all.interactions += batch.interactions;
            all.feedback += batch.feedback;
            all.events += batch.events;
            all.too_large = batch.too_large;
            if batch.interactions + batch.feedback + batch.events == 0 {
                break;
            }
        }
        if all.interactions + all.feedback + all.events > 0 {
            self.writer.scrub().await?;
        }
        Ok(all)
    }
}

fn expire(connection: &Connection, expiry: Expiry) -> Result<Expired> {
    let delete = |sql: &str, before: Option<UnixMillis>| -> Result<usize> {
        let Some(before) = before else { return Ok(0) };
        Ok(connection.prepare_cached(sql)?.execute(params![before.0, BATCH])?)
    };
    let mut gone = Expired {
        feedback: delete(
            "DELETE FROM feedback WHERE id IN
                 (SELECT id FROM feedback WHERE created_at < ?1 ORDER BY id LIMIT ?2)",
            expiry.feedback,
        )?,
        interactions: delete(UNRATED, expiry.interactions)?,
        events: delete(
            "DELETE FROM cycle_events WHERE (cycle_id, sequence) IN
                 (SELECT cycle_id, sequence FROM cycle_events
                  JOIN cycles ON cycles.id = cycle_id
                  WHERE at < ?1 AND status NOT IN ('queued', 'running') LIMIT ?2)",
            expiry.events,
        )?,
        too_large: false,
    };
    if let Some(most) = expiry.bytes
        && bytes(connection)? > most
    {
        let more = delete(UNRATED, Some(UnixMillis(i64::MAX)))?;
        gone.interactions += more;
        gone.too_large = more == 0;
    }
    Ok(gone)
}

/// The oldest answers of which nobody says anything.
const UNRATED: &str = "DELETE FROM interactions WHERE id IN
     (SELECT id FROM interactions WHERE created_at < ?1
          AND NOT EXISTS (SELECT 1 FROM feedback WHERE inference_id = interactions.id)
      ORDER BY id LIMIT ?2)";

/// Bytes of the pages that hold something; what was deleted is written over later.
fn bytes(connection: &Connection) -> Result<u64> {
    let of = |name: &str| -> Result<u64> {
        let value: i64 = connection.pragma_query_value(None, name, |row| row.get(0))?;
        Ok(u64::try_from(value).unwrap_or(0))
    };
    Ok(of("page_count")?.saturating_sub(of("freelist_count")?) * of("page_size")?)
}
