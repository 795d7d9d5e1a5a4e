//! What the control groups of this process still allow it (cgroup v2).
//!
//! A unit's `MemoryMax`, a container's and a pod's limit stand in the group of the process or above
//! it, and the kernel enforces each of them. The root of the tree, as a whole machine sees it, has
//! no limit at all.

use std::path::{Component, Path};

/// The tree, as it is mounted everywhere.
const ROOT: &str = "/sys/fs/cgroup";

/// The tightest limit of the process's own group and of those above it, in bytes, whoever uses how much of it.
/// `None`: none of them has one.
#[must_use]
pub fn limit() -> Option<u64> {
    tightest(Path::new(ROOT), &own()?, bound)
}

/// Bytes that can be had before the tightest limit. `None`: none of the groups has one.
pub(crate) fn available() -> Option<u64> {
    available_below(Path::new(ROOT), &own()?)
}

/// The groups of this process, as the kernel writes them.
fn own() -> Option<String> {
    fs_err::read_to_string("/proc/self/cgroup").ok()
}

fn available_below(root: &Path, own: &str) -> Option<u64> {
    tightest(root, own, left)
}

/// The least of a figure over the process's own group and those above it, with the tree mounted at `root`;
/// `own` is the text of `/proc/self/cgroup`.
fn tightest(root: &Path, own: &str, figure: impl Fn(&Path) -> Option<u64>) -> Option<u64> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    // Outside of what this namespace shows; its root is all that can be asked.
    let hidden = Path::new(own).components().any(|part| part == Component::ParentDir);
    let group = Path::new(if hidden { "" } else { own });
    // In a container the path may be the host's. What is not there says nothing, and the last of
    // the ancestors is the root itself, where the container's own limit then stands.
    group.ancestors().filter_map(|group| figure(&root.join(group))).min()
}

fn read(group: &Path, file: &str) -> Option<String> {
    fs_err::read_to_string(group.join(file)).ok()
}

fn number(group: &Path, file: &str) -> Option<u64> {
    read(group, file)?.trim().parse().ok() // `max` is no number: no limit
}

/// A group's limit. Above `memory.high` the kernel slows it down until it has given memory back, so that is
/// one too.
fn bound(group: &Path) -> Option<u64> {
    [number(group, "memory.max"), number(group, "memory.high")].into_iter().flatten().min()
}

/// Bytes between what a group uses and its limit.
fn left(group: &Path) -> Option<u64> {
    let limit = bound(group)?;
    let used = number(group, "memory.current").unwrap_or_default();
    // Pages of files that were not used lately are given back before anything is refused.
    let cache = read(group, "memory.stat").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("inactive_file "))?;
        line.trim().parse::<u64>().ok()
    });
    Some(limit.saturating_sub(used.saturating_sub(cache.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A tree in which each file has this text.
    fn tree(files: &[(&str, &str)]) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, format!("{text}\n")).unwrap();
        }
        root
    }

    const UNIT: &str = "0::/system.slice/hone.service\n";

    #[test]
    fn the_limit_of_the_own_unit_counts() {
        let root = tree(&[
            ("system.slice/memory.max", "max"),
            ("system.slice/memory.current", "9000"),
            ("system.slice/hone.service/memory.max", "1000"),
            ("system.slice/hone.service/memory.high", "max"),
            ("system.slice/hone.service/memory.current", "300"),
        ]);
        assert_eq!(available_below(root.path(), UNIT), Some(700));
        // Old and new hierarchies side by side: the line of the new one counts.
        let both = format!("4:memory:/elsewhere\n1:name=systemd:/\n{UNIT}");
        assert_eq!(available_below(root.path(), &both), Some(700));
    }

    #[test]
    fn the_tightest_of_all_groups_counts() {
        let root = tree(&[
            ("system.slice/memory.max", "5000"),
            ("system.slice/memory.current", "4900"),
            ("system.slice/hone.service/memory.max", "1000"),
            ("system.slice/hone.service/memory.current", "300"),
        ]);
        assert_eq!(available_below(root.path(), UNIT), Some(100));
        assert_eq!(tightest(root.path(), UNIT, bound), Some(1000));
    }

    #[test]
    fn memory_high_is_a_limit_too() {
        let root = tree(&[
            ("system.slice/hone.service/memory.max", "1000"),
            ("system.slice/hone.service/memory.high", "800"),
            ("system.slice/hone.service/memory.current", "300"),
        ]);
        assert_eq!(available_below(root.path(), UNIT), Some(500));
    }

    #[test]
    fn cached_files_can_be_given_back() {
        let root = tree(&[
            ("system.slice/hone.service/memory.max", "1000"),
            ("system.slice/hone.service/memory.current", "990"),
            ("system.slice/hone.service/memory.stat", "anon 90\ninactive_file 400\nactive_file 7"),
        ]);
        assert_eq!(available_below(root.path(), UNIT), Some(410));
    }

    #[test]
    fn a_group_over_its_limit_has_nothing_left() {
        let root = tree(&[("memory.max", "1000"), ("memory.current", "1400")]);
        assert_eq!(available_below(root.path(), "0::/\n"), Some(0));
    }

    #[test]
    fn a_container_sees_its_own_limit_at_the_root() {
        let root = tree(&[("memory.max", "1000"), ("memory.current", "200")]);
        for own in ["0::/\n", "0::/kubepods/pod1/abc\n", "0::/../../elsewhere\n", "4:memory:/a\n"] {
            assert_eq!(available_below(root.path(), own), Some(800), "{own}");
        }
    }

    #[test]
    fn without_a_limit_there_is_none() {
        let root = tree(&[("system.slice/hone.service/memory.max", "max")]);
        assert_eq!(available_below(root.path(), UNIT), None);
        assert_eq!(available_below(root.path(), ""), None);
    }
}
