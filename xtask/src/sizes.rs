//! No source file outgrows one idea. Tests don't count: neither what stands under `#[cfg(test)]`, wherever in a file, nor
//! files and folders of tests.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Lines of production code that still read as one idea.
const LIMIT: usize = 450;

/// Folders that hold no code of ours.
const SKIPPED: [&str; 5] = ["target", ".git", "starter", "hone-data", "node_modules"];

/// Says how large the code is, and fails with every Rust file over the limit.
pub(crate) fn check(root: &Path) -> Result<String> {
    let (mut long, mut sizes, mut all) = (Vec::new(), Vec::new(), 0);
    for file in rust_files(root)? {
        let text = fs_err::read_to_string(&file)?;
        all += text.lines().count();
        if is_of_tests(&file.strip_prefix(root).unwrap_or(&file).to_string_lossy()) {
            continue;
        }
        let lines = production_lines(&text);
        if lines > LIMIT {
            long.push(format!("{lines:5} {}", file.display()));
        }
        sizes.push(lines);
    }
    if !long.is_empty() {
        bail!("more than {LIMIT} lines of production code; split by idea:\n{}", long.join("\n"));
    }
    sizes.sort_unstable();
    let production: usize = sizes.iter().sum();
    let median = sizes.get(sizes.len() / 2).copied().unwrap_or_default();
    Ok(format!(
        "{} files, {production} lines, median {median}, longest {}; beside them {} lines of tests, {} % of all",
        sizes.len(),
        sizes.last().copied().unwrap_or_default(),
        all - production,
        100 * (all - production) / all.max(1)
    ))
}

/// All Rust files below a folder of ours.
pub(crate) fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type()?.is_dir() {
            if !SKIPPED.iter().any(|skipped| name == *skipped) {
                files.extend(rust_files(&path)?);
            }
        } else if path.extension().is_some_and(|it| it == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

/// Whether a file below the root holds nothing but tests and what they stand on.
pub(crate) fn is_of_tests(path: &str) -> bool {
    let parts = path.split('/').map(|part| part.trim_end_matches(".rs"));
    parts.into_iter().any(|part| ["tests", "testing", "benches"].contains(&part))
}

fn production_lines(text: &str) -> usize {
    production(text).len()
}

/// The lines without the items that stand under `#[cfg(test)]`.
pub(crate) fn production(text: &str) -> Vec<&str> {
    let mut lines = text.lines();
    let mut kept = Vec::new();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            let margin = line.len() - line.trim_start().len();
            skip_item(&mut lines, margin);
        } else {
            kept.push(line);
        }
    }
    kept
}

/// Leaves out an item, up to where rustfmt ends it: `;` (or the comma of a field) at the end of its first line, or
/// a bracket at its margin.
fn skip_item<'a>(lines: &mut impl Iterator<Item = &'a str>, margin: usize) {
    for line in lines {
        let (at, line) = (line.len() - line.trim_start().len(), line.trim());
        let is_attribute = line.starts_with("#[") || line.starts_with("//");
        let ends = line.ends_with([';', ',']) || line.ends_with("{}") || line.starts_with('}');
        if at == margin && ends && !is_attribute {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_is_too_long() {
        check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
    }

    #[test]
    fn tests_do_not_count() {
        assert_eq!(production_lines("a\nb\n#[cfg(test)]\nmod tests {}\n"), 2);
        let between =
            "a\n#[cfg(test)]\n#[allow(dead_code)]\nmod tests {\n    fn one() {\n    }\n}\nb\n";
        assert_eq!(production_lines(between), 2);
        let inside =
            "impl A {\n    #[cfg(test)]\n    fn only() {\n        x;\n    }\n    fn b() {}\n}\n";
        assert_eq!(production_lines(inside), 3);
        assert_eq!(production_lines("#[cfg(test)]\nmod tests;\nmod after;\n"), 1);
        assert!(is_of_tests("tests/api/main.rs") && is_of_tests("engine/src/tests.rs"));
        assert!(!is_of_tests("engine/src/engine.rs"));
    }
}
