//! No core files: the memory of a process holds prompts, answers and keys.

use rustix::process::{Resource, getrlimit, setrlimit};

/// At this limit the kernel writes no core file and hands none to a program (`core_pattern` with a pipe) either, which a
/// limit of 0 does not keep it from (`fs/coredump.c`).
const NONE_AT_ALL: u64 = 1;

/// From now on a crash of this process, or of one that it starts, leaves no copy of its memory. Who looks for a fault
/// lifts it again with `prlimit --core`: the hard limit stays.
///
/// # Errors
/// The system's.
pub fn forbid() -> std::io::Result<()> {
    let mut limit = getrlimit(Resource::Core);
    limit.current = Some(NONE_AT_ALL.min(limit.maximum.unwrap_or(NONE_AT_ALL)));
    Ok(setrlimit(Resource::Core, limit)?)
}
