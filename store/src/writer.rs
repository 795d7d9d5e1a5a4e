//! The one thread that writes SQL, and group commit.
//!
//! A commit costs an fsync. The writer takes everything that waits in its channel into one
//! transaction, commits once, and only then answers: an acknowledged write is on disk, and the cost
//! of the fsync is shared. Each write has a savepoint of its own, so a refused one leaves no trace
//! and does not harm its neighbours.

use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fail::fail_point;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::connection::BUSY_TIMEOUT;
use crate::error::{Error, Result};

/// Writes that may wait; beyond it callers wait for a place.
const QUEUE: usize = 1024;
/// Writes per commit, a bound on how long the first of them waits.
const BATCH: usize = 512;
/// How long emptying the log may wait for readers; writes wait with it.
const SCRUB_WAIT: Duration = Duration::from_millis(500);

/// What a write leaves until the commit: its answer, and whether it failed by itself.
struct Done {
    acknowledge: Box<dyn FnOnce(Result<()>) + Send>,
    failed: Option<Error>,
}

type Work = Box<dyn FnOnce(Result<&Connection>) -> Done + Send>;

enum Message {
    Write(Work),
    /// Fold the log into the file, so that it holds no copy of what was deleted.
    Scrub(oneshot::Sender<bool>),
    Close,
}

/// What stands around each transaction, on the writer's thread.
pub(crate) trait Around: Send + 'static {
    /// Whether anything may be written, or acknowledged, now.
    fn before(&self) -> Result<()>;
    /// Something was committed.
    fn after(&mut self, connection: &Connection);
}

/// The sending side. The thread ends when this is dropped or closed, after all that was accepted.
pub(crate) struct Writer {
    sender: mpsc::Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(crate) fn start(connection: Connection, around: impl Around) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("hone-store".to_owned())
            .spawn(move || run(&connection, receiver, around))?;
        Ok(Self { sender, thread: Mutex::new(Some(thread)) })
    }

    /// Runs `write` in the next transaction and returns its value after the commit. Once it waits
    /// in the queue it is done even if the caller goes away.
    pub(crate) async fn write<T, F>(&self, write: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let (answer, wait) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            let result = connection.and_then(|connection| in_savepoint(connection, write));
            let failed = result.as_ref().err().cloned();
            let acknowledge = Box::new(move |committed: Result<()>| {
                // Nobody may be listening any more; the row is written all the same.
                let _ = answer.send(result.and_then(|value| committed.map(|()| value)));
            });
            Done { acknowledge, failed }
        });
        fail_point!("store.enqueue");
        self.sender.send(Message::Write(work)).await.map_err(|_| Error::Closed)?;
        wait.await.map_err(|_| Error::Closed)?
    }

    /// Removes deleted bytes from the log as well: `secure_delete` overwrites them in the file, but
    /// the log keeps earlier images of its pages until it is folded in. False: a reader held on to it.
    pub(crate) async fn scrub(&self) -> Result<bool> {
        let (answer, wait) = oneshot::channel();
        self.sender.send(Message::Scrub(answer)).await.map_err(|_| Error::Closed)?;
        wait.await.map_err(|_| Error::Closed)
    }

    /// Commits all that was accepted, then ends the thread. Later writes fail with `Closed`.
    pub(crate) async fn close(&self) {
        let _ = self.sender.send(Message::Close).await;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

fn run(connection: &Connection, mut receiver: mpsc::Receiver<Message>, mut around: impl Around) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut scrubs = Vec::new();
    while let Some(first) = receiver.blocking_recv() {
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Write(work) => batch.push(work),
                Message::Scrub(answer) => scrubs.push(answer),
                // What is in the channel is still received; nothing new gets in.
                Message::Close => receiver.close(),
            }
            next = if batch.len() < BATCH { receiver.try_recv().ok() } else { None };
        }
        if commit(connection, &mut batch, &around) {
            around.after(connection);
        }
        if !scrubs.is_empty() {
            let folded = fold(connection);
            for answer in scrubs.drain(..) {
                let _: std::result::Result<(), bool> = answer.send(folded);
            }
        }
    }
    // An empty log makes the next start quick and the file complete by itself for copying.
    fold(connection);
}

/// Writes the log's pages into the file and empties the log, unless a reader holds on to it for
/// longer than a moment: then a later checkpoint does it. Whether it is empty now.
fn fold(connection: &Connection) -> bool {
    let outcome = connection
        .busy_timeout(SCRUB_WAIT)
        .and_then(|()| {
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        })
        .and_then(|busy: bool| connection.busy_timeout(BUSY_TIMEOUT).map(|()| busy));
    match &outcome {
        Ok(false) => (),
        Ok(true) => tracing::info!("a reader kept the database's log from being emptied"),
        Err(error) => tracing::warn!(%error, "the database's log could not be emptied"),
    }
    outcome.is_ok_and(|busy| !busy)
}

/// Whether something was committed.
fn commit(connection: &Connection, batch: &mut Vec<Work>, around: &impl Around) -> bool {
    if batch.is_empty() {
        return false;
    }
    let begun = around
        .before()
        .and_then(|()| connection.execute_batch("BEGIN IMMEDIATE").map_err(Error::from));
    fail_point!("store.begin");
    let mut failure = begun.err();
    let mut done = Vec::with_capacity(batch.len());
    for work in batch.drain(..) {
        let one = work(failure.as_ref().map_or(Ok(connection), |error| Err(error.clone())));
        // A full disk or an I/O error can make SQLite give up the whole transaction, not just the
        // statement: then the neighbours' rows are gone as well and must not be acknowledged.
        if failure.is_none() && connection.is_autocommit() {
            failure = Some(one.failed.clone().unwrap_or(Error::Closed));
        }
        done.push(one);
    }
    fail_point!("store.commit");
    let committed = match failure {
        Some(error) => Err(error),
        None => {
            around.before().and_then(|()| connection.execute_batch("COMMIT").map_err(Error::from))
        }
    };
    if let Err(error) = &committed {
        tracing::error!(%error, writes = done.len(), "a transaction failed; its writers are told");
        if !connection.is_autocommit() {
            let _ = connection.execute_batch("ROLLBACK");
        }
    }
    fail_point!("store.ack");
    for one in done {
        (one.acknowledge)(committed.clone());
    }
    committed.is_ok()
}

fn in_savepoint<T>(
    connection: &Connection,
    write: impl FnOnce(&Connection) -> Result<T>,
) -> Result<T> {
    connection.prepare_cached("SAVEPOINT one")?.execute([])?;
    let result = write(connection);
    if !connection.is_autocommit() {
        if result.is_err() {
            connection.prepare_cached("ROLLBACK TO one")?.execute([])?;
        }
        connection.prepare_cached("RELEASE one")?.execute([])?;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Around for () {
        fn before(&self) -> Result<()> {
            Ok(())
        }
        fn after(&mut self, _: &Connection) {}
    }

    fn writer(folder: &std::path::Path) -> Writer {
        let connection = Connection::open(folder.join("t.db")).unwrap();
        connection.execute_batch("CREATE TABLE t (x INTEGER PRIMARY KEY, y BLOB)").unwrap();
        Writer::start(connection, ()).unwrap()
    }

    fn count(folder: &std::path::Path) -> i64 {
        Connection::open(folder.join("t.db"))
            .unwrap()
            .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_refused_write_does_not_harm_its_neighbours() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(folder.path());
        let insert = |x: i64| {
            writer.write(move |c| {
                c.execute("INSERT INTO t (x) VALUES (?1)", [x])?;
                // A second row of the same write must go as well when the write fails.
                c.execute("INSERT INTO t (x) VALUES (?1)", [x + 100])?;
                Ok(x)
            })
        };
        // 1 and 2 succeed; the second `1` collides; 101 was inserted by the first.
        let (a, b, c, d) = tokio::join!(insert(1), insert(1), insert(2), insert(101));
        assert!(a.is_ok() && b.is_err() && c.is_ok() && d.is_err());
        writer.close().await;
        assert_eq!(count(folder.path()), 4);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn close_commits_what_was_accepted_and_refuses_what_comes_later() {
        let folder = tempfile::tempdir().unwrap();
        let writer = writer(folder.path());
        for x in 0..300 {
            let write: Work = Box::new(move |connection| {
                connection.unwrap().execute("INSERT INTO t (x) VALUES (?1)", [x]).unwrap();
                Done { acknowledge: Box::new(|_| ()), failed: None }
            });
            writer.sender.send(Message::Write(write)).await.unwrap();
        }
        writer.close().await;
        assert_eq!(count(folder.path()), 300);
        assert!(matches!(writer.write(|_| Ok(())).await, Err(Error::Closed)));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_disk_is_reported_and_nothing_false_is_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::open(folder.path().join("t.db")).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA max_page_count = 40;
                 CREATE TABLE t (x INTEGER PRIMARY KEY, y BLOB)",
            )
            .unwrap();
        let writer = Writer::start(connection, ()).unwrap();
        let mut acknowledged = 0;
        let mut full = 0;
        for x in 0..100_i64 {
            let insert = move |c: &Connection| {
                c.execute("INSERT INTO t (x, y) VALUES (?1, zeroblob(3000))", [x])?;
                Ok(())
            };
            match writer.write(insert).await {
                Ok(()) => acknowledged += 1,
                Err(Error::DiskFull) => full += 1,
                Err(other) => panic!("{other}"),
            }
        }
        writer.close().await;
        assert!(acknowledged > 10 && full > 10, "{acknowledged} {full}");
        assert_eq!(count(folder.path()), acknowledged);
    }
}
