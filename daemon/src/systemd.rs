//! Tells systemd how the daemon fares: ready, reloading, stopping, and that it is alive.
//!
//! Without `NOTIFY_SOCKET` nobody asked, and nothing is sent. Without `WATCHDOG_USEC` nobody waits
//! for signs of life, and none are given.

use std::sync::Arc;

use futures_util::stream::{self, Stream, StreamExt};
use hone_engine::Generate;
use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Says that the daemon is ready, with a line for `systemctl status`; that it stops, when `stop`
/// is cancelled; and from the first to the last, twice in each watchdog's time, that it is alive.
pub async fn accompany(engine: Arc<dyn Generate>, status: String, stop: CancellationToken) {
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
    let stopping = async {
        stop.cancelled().await;
        let what = "open answers may end, no new ones begin";
        tell(&[NotifyState::Stopping, NotifyState::Status(what)]);
    };
    let alive = async {
        let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else {
            return;
        };
        let mut ticks = tokio::time::interval(limit / 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ticks = stream::unfold(ticks, |mut ticks| async move {
            ticks.tick().await;
            Some(((), ticks))
        });
        let ping = || tell(&[NotifyState::Watchdog]);
        signs_of_life(&stop, ticks, || engine.health().fault(), ping).await;
    };
    tokio::join!(stopping, alive);
}

/// Says that the settings are read again, and that it is done, whether or not they held.
pub fn while_reloading<T>(reload: impl FnOnce() -> T) -> T {
    // Without the time, newer versions of systemd take the reload for failed.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "systemd is not told of the reload"),
    }
    let reloaded = reload();
    tell(&[NotifyState::Ready]);
    reloaded
}

/// Pings at each tick while nothing is at fault. A daemon that stops has an engine that ends: that
/// is the end here, too.
async fn signs_of_life(
    stop: &CancellationToken,
    ticks: impl Stream<Item = ()>,
    mut fault: impl FnMut() -> Option<&'static str>,
    mut ping: impl FnMut(),
) {
    let (mut ticks, mut told) = (std::pin::pin!(ticks), None);
    while let Some(()) = ticks.next().await {
        let fault = fault();
        match fault {
            None => ping(),
            Some(_) if stop.is_cancelled() => return,
            Some(what) if told != fault => {
                tracing::error!("{what}; the watchdog gets no more signs of life");
            }
            Some(_) => {}
        }
        told = fault;
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "NOTIFY_SOCKET is there, and nobody hears it");
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn an_engine_at_fault_gives_no_sign_of_life() {
        let (stuck, ended) = (Some("the engine makes no steps"), Some("its thread has ended"));
        // What is found at each tick; from the sixth on the daemon stops, and its answers drain.
        let found = [None, None, stuck, stuck, None, None, None, ended, None];
        let stop = CancellationToken::new();
        let (tick, mut pinged_at) = (Cell::new(0), Vec::new());
        let ticks = stream::iter(1..=found.len()).map(|now| {
            tick.set(now);
            if now == 6 {
                stop.cancel();
            }
        });
        let fault = || found[tick.get() - 1];
        signs_of_life(&stop, ticks, fault, || pinged_at.push(tick.get())).await;
        assert_eq!(pinged_at, [1, 2, 5, 6, 7]);
        assert_eq!(tick.get(), 8, "an engine that has ended while the daemon stops is the end");
    }
}
