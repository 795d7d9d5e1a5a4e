//! Notes in the audit trail when the time of a key has run out. It opens nothing from that instant on, whether
//! this looks or not.

use std::time::Duration;

use hone_api::UnixMillis;
use hone_store::Store;
use tokio_util::sync::CancellationToken;

/// How often this looks.
const EVERY: Duration = Duration::from_secs(60);

/// Looks until `stop`.
pub async fn run(store: Store, stop: CancellationToken) {
    loop {
        if let Err(error) = store.note_expired_keys(UnixMillis::now()).await {
            tracing::warn!(%error, "the end of a key's time is not noted yet");
        }
        if stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            return;
        }
    }
}
