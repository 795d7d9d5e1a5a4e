//! The memory that a job will need, before its first step.
//!
//! Training that runs out of memory after an hour, or takes the server with it, is what this
//! prevents: the peak is known from the longest batch, and a job that does not fit is refused.

use hone_model::train::Trainable;

use crate::Error;
use crate::job::Recompute;

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Keep intermediates for the backward pass.
    pub keep: bool,
    /// Peak beside the mapped base, in bytes.
    pub bytes: u64,
}

/// Bytes of the adapter, its gradients, moments, best copy and the checkpoint being written.
fn adapter_bytes(trainable: &Trainable) -> u64 {
    let parameters = trainable.layout().len() * trainable.model().config().num_layers;
    parameters as u64 * 4 * 10
}

/// Chooses between keeping and recomputing, for batches of at most `tokens` tokens.
///
/// # Errors
/// [`Error::Memory`] if even recomputing does not fit in `available` bytes.
pub fn plan(
    trainable: &Trainable,
    tokens: usize,
    recompute: Recompute,
    available: u64,
) -> Result<Plan, Error> {
    let need = |keep| {
        let (token, fixed) = trainable.memory(keep);
        let batch = token.saturating_mul(tokens as u64);
        batch.saturating_add(fixed).saturating_add(adapter_bytes(trainable))
    };
    let keep = match recompute {
        Recompute::Always => false,
        Recompute::Never => true,
        Recompute::Auto => need(true) <= available / 2,
    };
    let bytes = need(keep);
    if bytes > available / 10 * 9 {
        return Err(Error::Memory { needed: bytes >> 20, available: available >> 20 });
    }
    Ok(Plan { keep, bytes })
}

/// Bytes that can be had now: of the machine, or of a control group if that is tighter. Unknown
/// (not Linux) counts as plenty.
pub fn available() -> u64 {
    let machine = fs_err::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes << 10)
    });
    machine.unwrap_or(u64::MAX).min(crate::cgroup::available().unwrap_or(u64::MAX))
}
