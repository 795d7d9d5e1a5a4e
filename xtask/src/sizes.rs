//! No source file outgrows one idea. Tests don't count: neither at the end of a file nor
//! in a `tests.rs`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Lines of production code that still read as one idea.
const LIMIT: usize = 450;

/// Folders that hold no code of ours.
const SKIPPED: [&str; 5] = ["target", ".git", "starter", "hone-data", "node_modules"];

/// Fails with every Rust file over the limit.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut long = Vec::new();
    for file in rust_files(root)? {
        let lines = production_lines(&fs_err::read_to_string(&file)?);
        if lines > LIMIT {
            long.push(format!("{lines:5} {}", file.display()));
        }
    }
    if !long.is_empty() {
        bail!("more than {LIMIT} lines of production code; split by idea:\n{}", long.join("\n"));
    }
    Ok(())
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type()?.is_dir() {
            if !SKIPPED.iter().any(|skipped| name == *skipped) {
                files.extend(rust_files(&path)?);
            }
        } else if name != "tests.rs" && path.extension().is_some_and(|it| it == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

fn production_lines(text: &str) -> usize {
    text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count()
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
    }
}
