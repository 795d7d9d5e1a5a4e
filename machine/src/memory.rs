//! How much memory there is for this process.

use rustix::process::{Resource, getrlimit};

use crate::cgroup;
use crate::room::Room;

/// What this process may have in all, whoever uses how much of it now: the machine's memory, the process's own limits, or
/// those of its control groups, whichever is least.
#[must_use]
pub fn limit() -> Room {
    least([meminfo("MemTotal:", "all of this machine"), cgroup::limit()])
}

/// What can be had now: of the machine, or of a control group if that is tighter. Files that the kernel has read count as
/// free, those of mapped weights too: whoever needs them counts them.
#[must_use]
pub fn available() -> Room {
    least([meminfo("MemAvailable:", "free on this machine"), cgroup::available()])
}

fn least(rooms: [Option<Room>; 2]) -> Room {
    let own = [(Resource::As, "ulimit -v"), (Resource::Data, "ulimit -d")];
    let own = own.into_iter().filter_map(|(resource, name)| {
        Some(Room { bytes: getrlimit(resource).current?, by: name.to_owned() })
    });
    let all = rooms.into_iter().flatten().chain(own);
    let unknown = || Room { bytes: u64::MAX, by: "nobody knows how much there is".to_owned() };
    all.min_by_key(|room| room.bytes).unwrap_or_else(unknown)
}

fn meminfo(name: &str, by: &str) -> Option<Room> {
    let text = fs_err::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Room { bytes: kibibytes << 10, by: by.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory_and_less_of_it_is_free() {
        let (limit, available) = (limit(), available());
        assert!(limit.bytes > 64 << 20 && limit.bytes < u64::MAX, "{limit}");
        assert!(available.bytes > 0 && available.bytes <= limit.bytes, "{available} of {limit}");
    }
}
