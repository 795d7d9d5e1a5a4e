//! Starts cycles by themselves: asks [`schedule::due`] again whenever something has changed that
//! could matter (feedback, settings, the end of a cycle, time).

use std::sync::Arc;
use std::time::Duration;

use hone_api::UnixMillis;
use hone_store::Order;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::cycle::Cycles;
use crate::journal::is_over;
use crate::schedule::{self, Due, Situation};
use crate::services::Services;

/// Feedback comes in bursts; it is counted once per burst.
const BURST: Duration = Duration::from_secs(1);

/// Starts cycles until `stop`. `feedback` rings when an item was stored.
pub async fn run(
    services: Arc<Services>,
    cycles: Arc<Cycles>,
    feedback: Arc<Notify>,
    stop: CancellationToken,
) {
    // What cannot be trained needs no clock.
    if services.trainable().is_err() {
        return;
    }
    let mut settings = services.settings.subscribe();
    let ended = cycles.ended();
    let mut cron_from = UnixMillis::now();
    while !stop.is_cancelled() {
        let wait = match look(&services, cron_from).await {
            Ok(situation) => match schedule::due(&services.settings.now().schedule, &situation) {
                Due::Now(trigger) => {
                    if let Err(error) = cycles.start(trigger).await {
                        tracing::error!(%error, "a cycle is due but does not start");
                    }
                    cron_from = situation.now;
                    continue_after_error()
                }
                Due::Wait(wait) => Duration::from_millis(wait.unsigned_abs()),
            },
            Err(error) => {
                tracing::error!(%error, "the schedule cannot look into the store");
                continue_after_error()
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = feedback.notified() => tokio::time::sleep(BURST).await,
            _ = settings.changed() => {}
            () = ended.notified() => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Never in a tight loop, whatever fails.
const fn continue_after_error() -> Duration {
    Duration::from_secs(1)
}

async fn look(services: &Services, cron_from: UnixMillis) -> hone_store::Result<Situation> {
    let last = services.store.cycles(None, 1, Order::Descending).await?.items.into_iter().next();
    let last_cycle = last.as_ref().map(|cycle| cycle.created_at);
    let busy = last.is_some_and(|cycle| !is_over(&cycle))
        || !services.store.unfinished_cycles().await?.is_empty();
    let failures = services.store.failures_since(last_cycle.unwrap_or(UnixMillis(0))).await?;
    let cron_from = last_cycle.map_or(cron_from, |last| cron_from.max(last));
    Ok(Situation { now: UnixMillis::now(), cron_from, last_cycle, failures, busy })
}
