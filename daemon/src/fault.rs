//! Where the crash tests have this process killed.
//!
//! A released binary has no fail points, and this does nothing. In a test build `HONE_KILL_AT=store.commit:3` kills the
//! process group when that point is reached for the third time in one process, as a power cut would: a training process
//! takes the daemon along.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use rustix::process::{Signal, getppid, kill_current_process_group, kill_process};

/// The variable that names the point and the hit.
const KILL_AT: &str = "HONE_KILL_AT";

/// Arms the point that the environment names. `is_child`: the parent is a daemon.
///
/// # Errors
/// The variable is none of `point:hit`.
pub fn arm(is_child: bool) -> anyhow::Result<()> {
    let Some(wanted) = std::env::var(KILL_AT).ok().filter(|_| fail::has_failpoints()) else {
        return Ok(());
    };
    let (point, hit) = wanted.split_once(':').context("HONE_KILL_AT looks like store.commit:3")?;
    let left = AtomicU64::new(hit.parse().context("HONE_KILL_AT ends with a number")?);
    let reached = move || {
        if left.fetch_sub(1, Ordering::SeqCst) == 1 {
            if let Some(daemon) = getppid().filter(|_| is_child) {
                let _ = kill_process(daemon, Signal::KILL);
            }
            let _ = kill_current_process_group(Signal::KILL);
        }
    };
    fail::cfg_callback(point, reached).map_err(anyhow::Error::msg)
}
