//! Table `interactions` with `answers`: everything that is kept of each answered request.

use std::collections::BTreeMap;

use hone_api::interaction::{Answer, Endpoint, Interaction, Timings};
use hone_api::{AdapterId, InteractionId, UnixMillis};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use crate::column::{self, Id};
use crate::error::{Error, Result, is_taken};
use crate::page::{Order, Page};
use crate::{AuditEntry, Store, audit};

/// Which interactions a list shows. The default shows the oldest twenty of all.
#[derive(Debug, Clone, PartialEq)]
pub struct InteractionFilter {
    /// The model name as the client sent it.
    pub model: Option<String>,
    /// The adapter that answered; `Some(None)` is the base.
    pub adapter: Option<Option<AdapterId>>,
    /// Each pair must be in the interaction's metadata.
    pub metadata: BTreeMap<String, String>,
    /// Whether it has feedback.
    pub has_feedback: Option<bool>,
    /// Whether the client asked that it be listed (`store: true`).
    pub stored: Option<bool>,
    /// The endpoint that answered.
    pub endpoint: Option<Endpoint>,
    /// Whether it came through `/v1/responses`.
    pub response: Option<bool>,
    /// The API key that asked.
    pub key_id: Option<String>,
    /// The end user, by the keyed hash of her name.
    pub user: Option<String>,
    /// The conversation, by its keyed hash.
    pub conversation: Option<String>,
    /// Arrived at this instant or later.
    pub since: Option<UnixMillis>,
    /// Arrived before this instant.
    pub until: Option<UnixMillis>,
    /// The list begins behind this id, in the order of the list. It need not exist any more.
    pub after: Option<InteractionId>,
    /// At most so many.
    pub limit: usize,
    /// Which way it runs.
    pub order: Order,
}

impl Default for InteractionFilter {
    fn default() -> Self {
        Self {
            model: None,
            adapter: None,
            metadata: BTreeMap::new(),
            has_feedback: None,
            stored: None,
            endpoint: None,
            response: None,
            key_id: None,
            user: None,
            conversation: None,
            since: None,
            until: None,
            after: None,
            limit: 20,
            order: Order::Ascending,
        }
    }
}

impl Store {
    /// Replaces an interaction's metadata, and tells that it did; to what it is already, it does nothing.
    ///
    /// # Errors
    /// [`Error::UnknownInteraction`], and those of the disk.
    pub async fn set_metadata(
        &self,
        id: InteractionId,
        metadata: BTreeMap<String, String>,
        entry: AuditEntry,
    ) -> Result<()> {
        self.writer
            .write(move |c| match set_metadata(c, id, &metadata)? {
                true => audit::append(c, &entry),
                false => Ok(()),
            })
            .await
    }
}

pub(crate) fn insert(connection: &Connection, interaction: &Interaction) -> Result<()> {
    let key = interaction.id.bytes();
    connection
        .prepare_cached(
            "INSERT INTO interactions (id, created_at, endpoint, model, adapter_id, base_digest,
                 template_digest, messages, sampling, prompt_tokens, queue_ms, ttft_ms, total_ms,
                 key_id, end_user, metadata, stored, trainable, source, conversation, tools,
                 adapter_digest, grammar, computed_by, response, cached_tokens)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
                 ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26)",
        )?
        .execute(params![
            key,
            interaction.created_at.0,
            column::to_word("endpoint", &interaction.endpoint)?,
            interaction.model,
            interaction.adapter_id.map(Id::bytes),
            interaction.base_digest,
            interaction.template_digest,
            column::to_json("messages", &interaction.messages)?,
            column::to_json("sampling", &interaction.sampling)?,
            column::pack_tokens(&interaction.prompt_tokens),
            finite(interaction.timings.queue_ms),
            finite(interaction.timings.ttft_ms),
            finite(interaction.timings.total_ms),
            interaction.key_id,
            interaction.user,
            column::to_json("metadata", &interaction.metadata)?,
            interaction.stored,
            interaction.trainable,
            interaction.source,
            interaction.conversation,
            column::to_json("tools", &interaction.tools)?,
            interaction.adapter_digest,
            interaction.grammar,
            interaction.computed_by,
            interaction.response.as_ref().map(|echo| column::to_json("response", echo)).transpose()?,
            interaction.cached_tokens,
        ])
        .map_err(|error| {
            if is_taken(&error) { Error::Duplicate(interaction.id.to_string()) } else { error.into() }
        })?;
    let mut statement = connection.prepare_cached(
        "INSERT INTO answers (interaction_id, position, text, tokens, logprobs, finish_reason, tool_calls)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for (position, answer) in (0_i64..).zip(&interaction.answers) {
        statement.execute(params![
            key,
            position,
            answer.text,
            column::pack_tokens(&answer.tokens),
            column::pack_floats(&answer.logprobs),
            column::to_word("finish_reason", &answer.finish_reason)?,
            column::to_json("tool_calls", &answer.tool_calls)?,
        ])?;
    }
    Ok(())
}

/// SQLite has no NaN (it becomes NULL): a clock gone wrong must not lose the interaction.
fn finite(milliseconds: f64) -> f64 {
    if milliseconds.is_finite() { milliseconds } else { 0.0 }
}

/// Whether an interaction has its text; `None`: there is no such interaction. No prompt is empty,
/// so one without messages was kept without text.
pub(crate) fn keeps_text(connection: &Connection, id: InteractionId) -> Result<Option<bool>> {
    Ok(connection
        .prepare_cached("SELECT messages <> '[]' FROM interactions WHERE id = ?1")?
        .query_row(params![id.bytes()], |row| row.get(0))
        .optional()?)
}

pub(crate) fn get(connection: &Connection, id: InteractionId) -> Result<Option<Interaction>> {
    connection
        .prepare_cached("SELECT * FROM interactions WHERE id = ?1")?
        .query_row(params![id.bytes()], |row| Ok(read(connection, row)))
        .optional()?
        .transpose()
}

pub(crate) fn list(
    connection: &Connection,
    filter: &InteractionFilter,
) -> Result<Page<Interaction>> {
    let mut clauses = vec!["1"];
    let mut values: Vec<Value> = Vec::new();
    let mut add = |clause: &'static str, value: Value| {
        clauses.push(clause);
        values.push(value);
    };
    if let Some(model) = &filter.model {
        add("model = ?", Value::Text(model.clone()));
    }
    if let Some(adapter) = filter.adapter {
        let value = adapter.map_or(Value::Null, |id| Value::Blob(id.bytes().to_vec()));
        add("adapter_id IS ?", value);
    }
    if let Some(since) = filter.since {
        add("created_at >= ?", Value::Integer(since.0));
    }
    if let Some(until) = filter.until {
        add("created_at < ?", Value::Integer(until.0));
    }
    if let Some(after) = filter.after {
        let clause = match filter.order {
            Order::Ascending => "id > ?",
            Order::Descending => "id < ?",
        };
        add(clause, Value::Blob(after.bytes().to_vec()));
    }
    if let Some(stored) = filter.stored {
        add("stored = ?", Value::Integer(stored.into()));
    }
    if let Some(endpoint) = &filter.endpoint {
        add("endpoint = ?", Value::Text(column::to_word("endpoint", endpoint)?));
    }
    if let Some(key) = &filter.key_id {
        add("key_id = ?", Value::Text(key.clone()));
    }
    if let Some(user) = &filter.user {
        add("end_user = ?", Value::Text(user.clone()));
    }
    if let Some(conversation) = &filter.conversation {
        add("conversation = ?", Value::Text(conversation.clone()));
    }
    for (name, value) in &filter.metadata {
        clauses.push("EXISTS (SELECT 1 FROM json_each(metadata) WHERE key = ? AND value = ?)");
        values.push(Value::Text(name.clone()));
        values.push(Value::Text(value.clone()));
    }
    match filter.response {
        Some(true) => clauses.push("response IS NOT NULL"),
        Some(false) => clauses.push("response IS NULL"),
        None => (),
    }
    match filter.has_feedback {
        Some(true) => clauses.push("id IN (SELECT inference_id FROM feedback)"),
        Some(false) => clauses.push("id NOT IN (SELECT inference_id FROM feedback)"),
        None => (),
    }
    let direction = match filter.order {
        Order::Ascending => "ASC",
        Order::Descending => "DESC",
    };
    let one_more = i64::try_from(filter.limit).unwrap_or(i64::MAX).saturating_add(1);
    values.push(Value::Integer(one_more));
    let sql = format!(
        "SELECT * FROM interactions WHERE {} ORDER BY id {direction} LIMIT ?",
        clauses.join(" AND ")
    );
    let items = collect(connection, &sql, values)?;
    Ok(Page::cut(items, filter.limit))
}

/// Those that may teach and have feedback, oldest first.
pub(crate) fn labelled(connection: &Connection) -> Result<Vec<Interaction>> {
    collect(
        connection,
        "SELECT * FROM interactions
         WHERE trainable = 1 AND id IN (SELECT inference_id FROM feedback) ORDER BY id",
        Vec::new(),
    )
}

/// Chats without tools that may teach, whose one answer is whole, and of which nobody has said anything: the
/// newest first.
pub(crate) fn unrated(connection: &Connection, limit: usize) -> Result<Vec<Interaction>> {
    collect(
        connection,
        "SELECT * FROM interactions
         WHERE trainable = 1 AND endpoint = 'chat' AND tools = '[]'
             AND NOT EXISTS (SELECT 1 FROM feedback WHERE inference_id = interactions.id)
             AND EXISTS (SELECT 1 FROM answers WHERE interaction_id = interactions.id
                             AND finish_reason = 'stop' AND text IS NOT NULL)
             AND (SELECT count(*) FROM answers WHERE interaction_id = interactions.id) = 1
         ORDER BY id DESC LIMIT ?",
        vec![Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX))],
    )
}

/// Whether that changed anything.
pub(crate) fn set_metadata(
    connection: &Connection,
    id: InteractionId,
    metadata: &BTreeMap<String, String>,
) -> Result<bool> {
    let metadata = column::to_json("metadata", metadata)?;
    let old: Option<String> = connection
        .prepare_cached("SELECT metadata FROM interactions WHERE id = ?1")?
        .query_row(params![id.bytes()], |row| row.get(0))
        .optional()?;
    if old.ok_or(Error::UnknownInteraction(id))? == metadata {
        return Ok(false);
    }
    connection
        .prepare_cached("UPDATE interactions SET metadata = ?2 WHERE id = ?1")?
        .execute(params![id.bytes(), metadata])?;
    Ok(true)
}

pub(crate) fn count(connection: &Connection) -> Result<u64> {
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM interactions")?
        .query_row([], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

fn collect(connection: &Connection, sql: &str, values: Vec<Value>) -> Result<Vec<Interaction>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(connection, row)?);
    }
    Ok(found)
}

fn read(connection: &Connection, row: &Row<'_>) -> Result<Interaction> {
    let id: InteractionId = column::id(row, "id")?;
    Ok(Interaction {
        id,
        created_at: column::instant(row, "created_at")?,
        endpoint: column::word(row, "endpoint")?,
        model: row.get("model")?,
        adapter_id: column::optional_id(row, "adapter_id")?,
        adapter_digest: row.get("adapter_digest")?,
        base_digest: row.get("base_digest")?,
        template_digest: row.get("template_digest")?,
        messages: column::json(row, "messages")?,
        tools: column::json(row, "tools")?,
        sampling: column::json(row, "sampling")?,
        grammar: row.get("grammar")?,
        computed_by: row.get("computed_by")?,
        prompt_tokens: column::unpack_tokens(
            "prompt_tokens",
            &row.get::<_, Vec<u8>>("prompt_tokens")?,
        )?,
        cached_tokens: row.get("cached_tokens")?,
        answers: answers(connection, id)?,
        timings: Timings {
            queue_ms: row.get("queue_ms")?,
            ttft_ms: row.get("ttft_ms")?,
            total_ms: row.get("total_ms")?,
        },
        key_id: row.get("key_id")?,
        user: row.get("end_user")?,
        conversation: row.get("conversation")?,
        source: row.get("source")?,
        metadata: column::json(row, "metadata")?,
        stored: row.get("stored")?,
        response: column::optional_json(row, "response")?,
        trainable: row.get("trainable")?,
    })
}

fn answers(connection: &Connection, id: InteractionId) -> Result<Vec<Answer>> {
    let mut statement = connection
        .prepare_cached("SELECT * FROM answers WHERE interaction_id = ?1 ORDER BY position")?;
    let mut rows = statement.query(params![id.bytes()])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Answer {
            text: row.get("text")?,
            tool_calls: column::json(row, "tool_calls")?,
            tokens: column::unpack_tokens("tokens", &row.get::<_, Vec<u8>>("tokens")?)?,
            logprobs: column::unpack_floats("logprobs", &row.get::<_, Vec<u8>>("logprobs")?)?,
            finish_reason: column::word(row, "finish_reason")?,
        });
    }
    Ok(found)
}
