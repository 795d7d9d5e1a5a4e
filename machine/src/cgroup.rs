//! What the control groups of this process still allow it (cgroup v2).
//!
//! A unit's `MemoryMax`, a container's and a pod's limit stand in the group of the process or above
//! it, and the kernel enforces each of them. The root of the tree, as a whole machine sees it, has
//! no limit at all.

use std::path::{Component, Path};

use crate::room::Room;

/// The tree, as it is mounted everywhere.
const ROOT: &str = "/sys/fs/cgroup";
/// The files that limit a group. Above `memory.high` the kernel slows it down until it has given memory back, so that is a
/// limit too.
const LIMITS: [&str; 2] = ["memory.max", "memory.high"];
/// What `memory.stat` calls pages of files: they are given back before anything is refused.
const FILES: [&str; 2] = ["inactive_file ", "active_file "];

/// The tightest limit of the process's own group and of those above it, whoever uses how much of it. `None`: none of them has
/// one.
pub(crate) fn limit() -> Option<Room> {
    limit_below(Path::new(ROOT), &own()?)
}

/// What can be had before the tightest limit. `None`: none of the groups has one.
pub(crate) fn available() -> Option<Room> {
    available_below(Path::new(ROOT), &own()?)
}

/// The groups of this process, as the kernel writes them.
fn own() -> Option<String> {
    fs_err::read_to_string("/proc/self/cgroup").ok()
}

fn limit_below(root: &Path, own: &str) -> Option<Room> {
    tightest(root, own, bound)
}

fn available_below(root: &Path, own: &str) -> Option<Room> {
    tightest(root, own, |group| {
        let (limit, file) = bound(group)?;
        Some((limit.saturating_sub(in_use(group)), file))
    })
}

/// The least of a figure over the process's own group and those above it, with the tree mounted at `root`;
/// `own` is the text of `/proc/self/cgroup`.
fn tightest(
    root: &Path,
    own: &str,
    figure: impl Fn(&Path) -> Option<(u64, &'static str)>,
) -> Option<Room> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    // Outside of what this namespace shows; its root is all that can be asked.
    let hidden = Path::new(own).components().any(|part| part == Component::ParentDir);
    let group = Path::new(if hidden { "" } else { own });
    // In a container the path may be the host's. What is not there says nothing, and the last of
    // the ancestors is the root itself, where the container's own limit then stands.
    let figures = group.ancestors().filter_map(|group| {
        let (bytes, file) = figure(&root.join(group))?;
        Some(Room { bytes, by: format!("{file} of the control group /{}", group.display()) })
    });
    figures.min_by_key(|room| room.bytes)
}

fn read(group: &Path, file: &str) -> Option<String> {
    fs_err::read_to_string(group.join(file)).ok()
}

fn number(group: &Path, file: &str) -> Option<u64> {
    read(group, file)?.trim().parse().ok() // `max` is no number: no limit
}

/// A group's limit, and the file that has it.
fn bound(group: &Path) -> Option<(u64, &'static str)> {
    LIMITS.into_iter().filter_map(|file| Some((number(group, file)?, file))).min()
}

/// Bytes that a group uses and does not give back by itself.
fn in_use(group: &Path) -> u64 {
    let used = number(group, "memory.current").unwrap_or_default();
    let stat = read(group, "memory.stat").unwrap_or_default();
    let figure = |name: &str| {
        let line = stat.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse::<u64>().ok()
    };
    used.saturating_sub(FILES.into_iter().filter_map(figure).sum())
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

    fn available(root: &TempDir, own: &str) -> Option<u64> {
        available_below(root.path(), own).map(|room| room.bytes)
    }

    #[test]
    fn the_limit_of_the_own_unit_counts() {
        let root = tree(&[
            ("system.slice/memory.max", "max"),
            ("system.slice/memory.current", "9000"),
            ("system.slice/hone.service/memory.max", "1000"),
            ("system.slice/hone.service/memory.high", "max"),
            ("system.slice/hone.service/memory.current", "300"),
        ]);
        assert_eq!(available(&root, UNIT), Some(700));
        // Old and new hierarchies side by side: the line of the new one counts.
        let both = format!("4:memory:/elsewhere\n1:name=systemd:/\n{UNIT}");
        assert_eq!(available(&root, &both), Some(700));
    }

    #[test]
    fn the_tightest_of_all_groups_counts() {
        let root = tree(&[
            ("system.slice/memory.max", "5000"),
            ("system.slice/memory.current", "4900"),
            ("system.slice/hone.service/memory.max", "1000"),
            ("system.slice/hone.service/memory.current", "300"),
        ]);
        assert_eq!(available(&root, UNIT), Some(100));
        let whose = available_below(root.path(), UNIT).unwrap().by;
        assert_eq!(whose, "memory.max of the control group /system.slice");
        assert_eq!(limit_below(root.path(), UNIT).unwrap().bytes, 1000);
    }

    #[test]
    fn memory_high_is_a_limit_too() {
        let root = tree(&[
            ("system.slice/hone.service/memory.max", "1000"),
            ("system.slice/hone.service/memory.high", "800"),
            ("system.slice/hone.service/memory.current", "300"),
        ]);
        assert_eq!(available(&root, UNIT), Some(500));
    }

    #[test]
    fn cached_files_can_be_given_back() {
        let root = tree(&[
            ("system.slice/hone.service/memory.max", "1000"),
            ("system.slice/hone.service/memory.current", "990"),
            ("system.slice/hone.service/memory.stat", "anon 90\ninactive_file 400\nactive_file 7"),
        ]);
        assert_eq!(available(&root, UNIT), Some(417));
    }

    #[test]
    fn a_group_over_its_limit_has_nothing_left() {
        let root = tree(&[("memory.max", "1000"), ("memory.current", "1400")]);
        assert_eq!(available(&root, "0::/\n"), Some(0));
    }

    #[test]
    fn a_container_sees_its_own_limit_at_the_root() {
        let root = tree(&[("memory.max", "1000"), ("memory.current", "200")]);
        for own in ["0::/\n", "0::/kubepods/pod1/abc\n", "0::/../../elsewhere\n", "4:memory:/a\n"] {
            assert_eq!(available(&root, own), Some(800), "{own}");
        }
    }

    #[test]
    fn without_a_limit_there_is_none() {
        let root = tree(&[("system.slice/hone.service/memory.max", "max")]);
        assert_eq!(available(&root, UNIT), None);
        assert_eq!(available(&root, ""), None);
    }
}
