//! The memory that this process may have, before anything is promised from it.

use anyhow::ensure;
use hone_config::{Engine, Loaded};
use rustix::process::{Resource, getrlimit};

/// The key of the memory for attention's caches.
const KV: &str = "engine.kv_memory";

/// Bytes that the process may have: of the machine, of its own limits, or of its control groups, whichever is least. Unknown
/// (not Linux) counts as plenty.
pub fn limit() -> u64 {
    let machine = meminfo("MemTotal:");
    let group = hone_trainer::cgroup::limit();
    let own = [Resource::As, Resource::Data].map(|resource| getrlimit(resource).current);
    machine.into_iter().chain(group).chain(own.into_iter().flatten()).min().unwrap_or(u64::MAX)
}

/// Bytes that nobody uses now, on the machine as a whole; `None`: it does not say.
pub fn free() -> Option<u64> {
    meminfo("MemAvailable:")
}

fn meminfo(name: &str) -> Option<u64> {
    let text = fs_err::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// What of it may be promised: the model, its tokenizer and the requests need some, too.
fn most() -> u64 {
    limit() / 10 * 9
}

/// Refuses caches that were asked for and cannot be had: the kernel would end the daemon when they fill.
///
/// # Errors
/// One sentence with both figures.
pub fn check(loaded: &Loaded) -> anyhow::Result<()> {
    let asked = loaded.config.engine.kv_memory.0;
    let by_default = loaded.layer_of(KV).is_none_or(|layer| layer == "default");
    ensure!(
        by_default || asked <= most(),
        "{KV} is {} MiB, and this process may have {} MiB in all; ask for at most {} MiB",
        asked >> 20,
        limit() >> 20,
        most() >> 20
    );
    Ok(())
}

/// Bytes for attention's caches: what was asked for, or half of what there is where even the default is too much.
pub fn kv_bytes(engine: &Engine) -> usize {
    let asked = engine.kv_memory.0;
    if asked <= most() {
        return engine.kv_memory.len();
    }
    let half = limit() / 2;
    tracing::warn!(
        mebibytes = half >> 20,
        "{KV} is more than this process may have; it takes less"
    );
    usize::try_from(half).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use hone_config::Sources;

    use super::*;

    fn with(kv_memory: &str) -> Loaded {
        let environment = vec![("HONE__ENGINE__KV_MEMORY".to_owned(), kv_memory.to_owned())];
        Sources { environment, ..Sources::default() }.load().unwrap()
    }

    #[test]
    fn what_no_machine_has_is_refused_with_the_figure() {
        assert!(check(&with("64 MiB")).is_ok());
        assert!(check(&Sources::default().load().unwrap()).is_ok(), "the default is no demand");
        let error = check(&with("100000 GiB")).unwrap_err().to_string();
        assert!(error.contains("engine.kv_memory is 102400000 MiB"), "{error}");
        assert!(kv_bytes(&with("100000 GiB").config.engine) < 1 << 46);
    }
}
