//! Interactions, feedback, cycles and the audit trail in SQLite.
//!
//! One thread writes (see `writer`), and answers only after the commit: what was acknowledged is on
//! disk. Readers have connections of their own and see whole commits. Ids and instants are made
//! above; this crate inserts them as they come.
//!
//! | module | what |
//! |---|---|
//! | `connection` | opening, durability, migrations, the readers |
//! | `writer` | the one writer, group commit |
//! | `pending` | ids that are valid before they are stored |
//! | `interactions` `feedback` `cycles` `audit` `keys` `ledger` `erasures` | one table each |
//! | `chain` `head` | what binds the rows of the audit trail; how far it has come |
//! | `inspect` | a copy and a check beside the daemon |
//! | `presence` | whether the file is still the one that was opened |
//! | `expiry` | what was kept long enough |
//! | `reword` | what was told of a cycle, without certain words |
//! | `end_users` | plain names of older versions become hashes |
//! | `column` | values as columns |

#![forbid(unsafe_code)]

mod audit;
mod chain;
mod column;
mod connection;
mod cycles;
mod end_users;
mod erasures;
mod error;
mod expiry;
mod feedback;
mod head;
mod inspect;
mod interactions;
mod keys;
mod ledger;
mod page;
mod pending;
mod presence;
mod reword;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use hone_api::cycle::{CycleEvent, CycleView};
use hone_api::feedback::Feedback;
use hone_api::interaction::Interaction;
use hone_api::{CycleId, FeedbackId, InteractionId, UnixMillis};

pub use audit::{AuditEntry, FollowedTrail, follow_trail};
pub use chain::Chain;
pub use erasures::Erasure;
pub use error::{Error, Result};
pub use expiry::{Expired, Expiry};
pub use feedback::{Appended, NewFeedback};
pub use inspect::{copy, inspect};
pub use interactions::InteractionFilter;
pub use keys::StoredKey;
pub use ledger::GateTest;
pub use page::{Order, Page};
pub use pending::PendingAnswer;

use connection::Readers;
use head::Noted;
use pending::PendingIds;
use presence::Presence;
use writer::{Around, Writer};

/// Read connections at most; more readers wait.
const READERS: u32 = 4;

/// The database of one data directory. Clones share it.
#[derive(Clone)]
pub struct Store {
    writer: Arc<Writer>,
    readers: Arc<Readers>,
    pending: Arc<PendingIds>,
    presence: Arc<Presence>,
}

/// Totals for metrics and status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answered requests.
    pub interactions: u64,
    /// Feedback items by metric name.
    pub feedback: BTreeMap<String, u64>,
}

impl Store {
    /// Opens the database file, makes it if it is missing, and brings its schema up to date.
    ///
    /// # Errors
    /// [`Error::Open`], [`Error::Corrupt`], [`Error::Newer`], [`Error::DiskFull`].
    pub fn open(path: &Path) -> Result<Self> {
        let connection = connection::open_writer(path)?;
        let presence = Arc::new(Presence::of(path)?);
        let noted = Noted::open(path, &connection)?;
        let watch = Watch { presence: Arc::clone(&presence), noted };
        let writer = Writer::start(connection, watch)
            .map_err(|error| Error::Open { path: path.to_owned(), detail: error.to_string() })?;
        Ok(Self {
            writer: Arc::new(writer),
            readers: Readers::new(path, READERS, Arc::clone(&presence)),
            pending: Arc::default(),
            presence,
        })
    }

    /// Whether the database is still the file that was opened, and may be written to. It costs little; every
    /// write asks it as well.
    ///
    /// # Errors
    /// [`Error::Gone`]
    pub fn check_presence(&self) -> Result<()> {
        self.presence.check()
    }

    /// Makes `id` valid for feedback from now on, until the guard is dropped. Register before the
    /// first byte of the answer, drop after [`Store::append_interaction`] has returned. `keeps_text`:
    /// whether the interaction will have its text; what is said of one without is kept without, too.
    pub fn register_pending(&self, id: InteractionId, keeps_text: bool) -> PendingAnswer {
        self.pending.register_pending(id, keeps_text)
    }

    /// Stores an answered request. It is on disk when this returns.
    ///
    /// # Errors
    /// [`Error::Duplicate`] if the id is taken, and those of the disk.
    pub async fn append_interaction(&self, interaction: Interaction) -> Result<()> {
        let id = interaction.id;
        let written = self.writer.write(move |c| interactions::insert(c, &interaction)).await;
        if written.as_ref().is_err_and(|error| !matches!(error, Error::Duplicate(_))) {
            self.pending.lose(id);
        }
        written
    }

    /// Stores a feedback item, once per `Idempotency-Key`. It is on disk when this returns.
    ///
    /// # Errors
    /// [`Error::UnknownInteraction`] if the id is neither pending nor stored, [`Error::Lost`] if
    /// its answer could not be stored,
    /// [`Error::IdempotencyMismatch`] if the key came before with another body, and those of the
    /// disk.
    pub async fn append_feedback(&self, new: NewFeedback) -> Result<Appended> {
        // What is pending is looked up before the row: an id that stopped being pending before this
        // line ended after its row was committed, so one of the two looks finds it.
        let pending = self.pending.keeps_text(new.feedback.inference_id);
        let appended = self.writer.write(move |c| feedback::append(c, &new, pending)).await;
        appended.map_err(|error| match error {
            Error::UnknownInteraction(id) if self.pending.is_lost(id) => Error::Lost(id),
            error => error,
        })
    }

    /// Whether feedback for an answer would be accepted: it is pending or stored.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn takes_feedback(&self, id: InteractionId) -> Result<bool> {
        // In this order for the reason that `append_feedback` gives.
        if self.pending.keeps_text(id).is_some() {
            return Ok(true);
        }
        Ok(self.readers.read(move |c| interactions::keeps_text(c, id)).await?.is_some())
    }

    /// One interaction, if it is stored.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn interaction(&self, id: InteractionId) -> Result<Option<Interaction>> {
        self.readers.read(move |c| interactions::get(c, id)).await
    }

    /// A page of interactions.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn interactions(&self, filter: InteractionFilter) -> Result<Page<Interaction>> {
        self.readers.read(move |c| interactions::list(c, &filter)).await
    }

    /// All feedback for one answer, in order of arrival.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn feedback_for(&self, id: InteractionId) -> Result<Vec<Feedback>> {
        self.readers.read(move |c| feedback::of_interaction(c, id)).await
    }

    /// A page of all feedback by arrival, behind `after`.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn feedback(
        &self,
        after: Option<FeedbackId>,
        limit: usize,
        order: Order,
    ) -> Result<Page<Feedback>> {
        self.readers.read(move |c| feedback::list(c, after, limit, order)).await
    }

    /// Every interaction that may teach and has feedback, with that feedback, oldest first.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn labelled(&self) -> Result<Vec<(Interaction, Vec<Feedback>)>> {
        self.readers
            .read(|c| {
                let rows = interactions::labelled(c)?.into_iter();
                rows.map(|interaction| {
                    let feedback = feedback::of_interaction(c, interaction.id)?;
                    Ok((interaction, feedback))
                })
                .collect()
            })
            .await
    }

    /// How many answers that may teach were voted bad or corrected after `since`.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn failures_since(&self, since: UnixMillis) -> Result<u64> {
        self.failures_since_up_to(since, u64::MAX).await
    }

    /// The same, counted no further than `most`, so that it costs little however many there are.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn failures_since_up_to(&self, since: UnixMillis, most: u64) -> Result<u64> {
        self.readers.read(move |c| feedback::failures_since(c, since, most)).await
    }

    /// How many answers that may teach were corrected after an instant, counted no further than `most`.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn corrected_since_up_to(&self, since: UnixMillis, most: u64) -> Result<u64> {
        self.readers.read(move |c| feedback::corrected_since(c, since, most)).await
    }

    /// Chats that may teach and of which nobody has said anything, with their one whole answer; the
    /// newest `limit`, newest first.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn unrated(&self, limit: usize) -> Result<Vec<Interaction>> {
        self.readers.read(move |c| interactions::unrated(c, limit)).await
    }

    /// Totals for metrics and status.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn counts(&self) -> Result<Counts> {
        self.readers
            .read(|c| {
                Ok(Counts {
                    interactions: interactions::count(c)?,
                    feedback: feedback::count_by_metric(c)?,
                })
            })
            .await
    }

    /// Writes a test of the gate into its ledger; a second one of the same cycle replaces the first.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn record_gate_test(&self, test: GateTest) -> Result<()> {
        self.writer.write(move |c| ledger::record(c, &test)).await
    }

    /// All tests of the gate, in order of time.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn gate_tests(&self) -> Result<Vec<GateTest>> {
        self.readers.read(ledger::list).await
    }

    /// Stores a new cycle.
    ///
    /// # Errors
    /// [`Error::Duplicate`] if the id is taken, and those of the disk.
    pub async fn insert_cycle(&self, cycle: CycleView) -> Result<()> {
        self.writer.write(move |c| cycles::insert(c, &cycle)).await
    }

    /// Writes where a cycle stands now.
    ///
    /// # Errors
    /// [`Error::UnknownCycle`], and those of the disk.
    pub async fn update_cycle(&self, cycle: CycleView) -> Result<()> {
        self.writer.write(move |c| cycles::update(c, &cycle)).await
    }

    /// Writes where a cycle stands at its end, together with its last event and its row of the audit trail:
    /// whoever sees that it is over finds both. Returns the event with its sequence number.
    ///
    /// # Errors
    /// [`Error::UnknownCycle`], and those of the disk; nothing is written then.
    pub async fn end_cycle(
        &self,
        cycle: CycleView,
        last: CycleEvent,
        entry: AuditEntry,
    ) -> Result<CycleEvent> {
        self.writer
            .write(move |c| {
                cycles::update(c, &cycle)?;
                audit::append(c, &entry)?;
                cycles::append_event(c, last)
            })
            .await
    }

    /// One cycle, if it is stored.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn cycle(&self, id: CycleId) -> Result<Option<CycleView>> {
        self.readers.read(move |c| cycles::get(c, id)).await
    }

    /// A page of cycles by age, behind `after`.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn cycles(
        &self,
        after: Option<CycleId>,
        limit: usize,
        order: Order,
    ) -> Result<Page<CycleView>> {
        self.readers.read(move |c| cycles::list(c, after, limit, order)).await
    }

    /// Queued and running cycles, oldest first.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn unfinished_cycles(&self) -> Result<Vec<CycleView>> {
        self.readers.read(cycles::unfinished).await
    }

    /// Stores an event under the cycle's next sequence number and returns it with that number; the
    /// number it came with does not count.
    ///
    /// # Errors
    /// [`Error::UnknownCycle`], and those of the disk.
    pub async fn append_event(&self, event: CycleEvent) -> Result<CycleEvent> {
        self.writer.write(move |c| cycles::append_event(c, event)).await
    }

    /// A cycle's events behind `after_sequence` (0: all), in order.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn events(&self, cycle: CycleId, after_sequence: u64) -> Result<Vec<CycleEvent>> {
        self.readers.read(move |c| cycles::events(c, cycle, after_sequence)).await
    }

    /// Reads the whole file and compares its tables with its indexes.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the first thing that is wrong.
    pub async fn check_integrity(&self) -> Result<()> {
        let path = self.readers.path().to_owned();
        self.readers
            .read(move |c| {
                let verdict: String =
                    c.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
                if verdict == "ok" { Ok(()) } else { Err(Error::Corrupt { path, detail: verdict }) }
            })
            .await
    }

    /// Commits everything that was accepted, folds the log into the file and closes it: the log and
    /// its index are gone then. Later calls fail with [`Error::Closed`].
    pub async fn close(&self) {
        // The last connection removes the log, and a reader may not.
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// What stands around each transaction: the file must be there, and the audit trail's head is noted.
struct Watch {
    presence: Arc<Presence>,
    noted: Noted,
}

impl Around for Watch {
    fn before(&self) -> Result<()> {
        self.presence.check()
    }

    fn after(&mut self, connection: &rusqlite::Connection) {
        self.noted.look(connection);
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.readers.path()).finish_non_exhaustive()
    }
}
