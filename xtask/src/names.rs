//! No two public types of the workspace have one name: whoever reads `Report` knows which one is meant.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};

use crate::sizes;

/// What each crate has one of.
const OF_EACH_CRATE: [&str; 2] = ["Error", "Result"];

/// Fails with every name that two public types have.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut sources = Vec::new();
    for file in sizes::rust_files(root)? {
        let path = file.strip_prefix(root)?.to_string_lossy().into_owned();
        if !sizes::is_of_tests(&path) {
            sources.push((path, fs_err::read_to_string(&file)?));
        }
    }
    let twice = twice(&sources);
    if !twice.is_empty() {
        bail!("these public types share a name; say in it what each one is:\n{}", twice.join("\n"));
    }
    Ok(())
}

fn twice(sources: &[(String, String)]) -> Vec<String> {
    let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (path, text) in sources {
        for line in sizes::production(text) {
            if let Some(name) = declared(line).filter(|name| !OF_EACH_CRATE.contains(name)) {
                places.entry(name).or_default().push(path);
            }
        }
    }
    let shared = places.into_iter().filter(|(_, paths)| paths.len() > 1);
    shared.map(|(name, paths)| format!("{name}: {}", paths.join(", "))).collect()
}

/// The public type that a line declares.
fn declared(line: &str) -> Option<&str> {
    let mut words = line.trim_start().strip_prefix("pub ")?.split_whitespace();
    let is_kind = |word: &str| ["struct", "enum", "trait", "type", "union"].contains(&word);
    // `pub unsafe trait`
    let kind = words.next().filter(|word| *word != "unsafe").or_else(|| words.next())?;
    let name = words.next().filter(|_| is_kind(kind))?;
    let name = name.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next()?;
    Some(name).filter(|name| !name.is_empty()) // `$name`, in a macro
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_used_twice() {
        check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
    }

    #[test]
    fn a_name_is_found_wherever_it_stands() {
        let source = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        let sources = [
            source("a/src/lib.rs", "pub struct Report<'a> {\n}\npub enum Error {}\nstruct Own;\n"),
            source(
                "b/src/c.rs",
                "    pub type Report = u8;\npub(crate) struct Own;\npub fn f() {}\n",
            ),
            source("b/src/d.rs", "pub unsafe trait Error {}\n#[cfg(test)]\npub struct Report;\n"),
        ];
        assert_eq!(twice(&sources), ["Report: a/src/lib.rs, b/src/c.rs"]);
    }
}
