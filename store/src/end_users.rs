//! Plain names of end users, which older versions kept, become keyed hashes.

use rusqlite::{Connection, params};

use crate::Store;
use crate::error::Result;

impl Store {
    /// Replaces what is still a plain name by `hash` of it, and overwrites its bytes in the files.
    ///
    /// # Errors
    /// Those of the disk.
    pub async fn hash_end_users<F>(&self, hash: F) -> Result<()>
    where
        F: Fn(&str) -> Option<String> + Send + 'static,
    {
        if self.writer.write(move |c| replace(c, hash)).await? > 0 {
            self.writer.scrub().await?;
        }
        Ok(())
    }
}

fn replace(connection: &Connection, hash: impl Fn(&str) -> Option<String>) -> Result<usize> {
    let mut plain = connection
        .prepare_cached("SELECT DISTINCT user FROM interactions WHERE user IS NOT NULL")?;
    let names: Vec<String> =
        plain.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut update = connection
        .prepare_cached("UPDATE interactions SET end_user = ?2, user = NULL WHERE user = ?1")?;
    for name in &names {
        update.execute(params![name, hash(name)])?;
    }
    Ok(names.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_plain_name_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hone.db");
        drop(crate::connection::open_writer(&path).unwrap());
        Connection::open(&path)
            .unwrap()
            .execute_batch(
                "INSERT INTO interactions (id, created_at, endpoint, model, base_digest,
                     template_digest, messages, sampling, prompt_tokens, queue_ms, ttft_ms, total_ms,
                     user, metadata, stored, trainable)
                 VALUES (zeroblob(16), 1, 'chat', 'hone', 'b', 't', '[]', '{}', x'', 0, 0, 0,
                     'ann-of-long-ago', '{}', 0, 1)",
            )
            .unwrap();
        let store = Store::open(&path).unwrap();
        for _ in 0..2 {
            store.hash_end_users(|name| Some(format!("#{}", name.len()))).await.unwrap();
        }
        let kept: String = Connection::open(&path)
            .unwrap()
            .query_row("SELECT end_user FROM interactions", [], |row| row.get(0))
            .unwrap();
        assert_eq!(kept, "#15");
        store.close().await;
        let bytes = std::fs::read(&path).unwrap();
        let name = b"ann-of-long-ago";
        assert!(!bytes.windows(name.len()).any(|window| window == name));
    }
}
