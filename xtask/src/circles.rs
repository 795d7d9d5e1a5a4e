//! No circles among the modules of a crate: two files that import each other are one file that nobody can read alone.
//!
//! The `use` lines of a crate's sources, and the paths `crate::…` and `super::…` in their code, are edges between modules. Names
//! that a `lib.rs` or `mod.rs` re-exports are followed to where they stand. Of each edge the two ends below their common
//! parent count, so a folder is one module to its neighbours, and a parent and its child are none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Result, bail};

use crate::sizes;

/// A module's path below its crate's root, which is the empty one.
type Module = Vec<String>;

/// Who imports whom.
type Edge = (String, String);

/// What the names that a module re-exports stand for, as paths from the crate's root.
type Exports = BTreeMap<String, Module>;

/// Fails with every group of modules that import each other in a circle.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut wrong = Vec::new();
    for entry in fs_err::read_dir(root)? {
        let folder = entry?.path();
        if !folder.join("Cargo.toml").exists() || !folder.join("src").exists() {
            continue;
        }
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut sources = BTreeMap::new();
        for file in sizes::rust_files(&folder.join("src"))? {
            let path = file.strip_prefix(&folder)?.to_string_lossy().into_owned();
            if !sizes::is_of_tests(&path) {
                sources.insert(module_of(&path), fs_err::read_to_string(&file)?);
            }
        }
        let edges = edges(&sources);
        wrong.extend(groups(&edges).iter().map(|group| format!("{name}: {}", group.join(", "))));
    }
    if !wrong.is_empty() {
        bail!(
            "these modules import each other; move what they share below both:\n{}",
            wrong.join("\n")
        );
    }
    Ok(())
}

/// The module that a file below its crate holds.
fn module_of(path: &str) -> Module {
    let path = path.strip_prefix("src/").unwrap_or(path);
    let mut parts: Module = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| matches!(&**last, "lib" | "main" | "mod")) {
        parts.pop();
    }
    parts
}

/// Who imports whom in a crate, by full names; the two ends of an edge have one parent.
fn edges(sources: &BTreeMap<Module, String>) -> BTreeSet<Edge> {
    let tests: BTreeSet<Module> =
        sources.iter().flat_map(|(module, text)| tests_of(module, text)).collect();
    let is_of_tests =
        |module: &Module| (0..=module.len()).any(|length| tests.contains(&module[..length]));
    let codes: BTreeMap<&Module, String> = sources
        .iter()
        .filter(|(module, _)| !is_of_tests(module))
        .map(|(module, text)| (module, code(text)))
        .collect();
    let modules: BTreeSet<&Module> = sources.keys().collect();
    let exports: BTreeMap<&Module, Exports> =
        codes.iter().map(|(module, code)| (*module, exports(module, code, &modules))).collect();
    let mut edges = BTreeSet::new();
    for (module, code) in &codes {
        for path in references(code) {
            let Some(path) = absolute(module, &path) else { continue };
            let target = resolve(&path, &modules, &exports);
            let common = module.iter().zip(&target).take_while(|(one, other)| one == other).count();
            if common < module.len().min(target.len()) {
                edges.insert((module[..=common].join("::"), target[..=common].join("::")));
            }
        }
    }
    edges
}

/// The text without comments, and without what stands under `#[cfg(test)]`.
fn code(text: &str) -> String {
    let mut kept = String::new();
    for line in sizes::production(text) {
        kept.push_str(line.split("//").next().unwrap_or_default());
        kept.push('\n');
    }
    kept
}

/// The modules in files of their own that a module has for its tests alone.
fn tests_of(module: &Module, text: &str) -> Vec<Module> {
    let declared = text.split("#[cfg(test)]\n").skip(1).filter_map(|rest| {
        let name = rest.trim_start().strip_prefix("mod ")?.lines().next()?.strip_suffix(';')?;
        Some([&module[..], &[name.to_owned()]].concat())
    });
    declared.collect()
}

/// All paths into the own crate that the code names.
fn references(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut rest = code;
    while let Some((at, keyword)) = next_path(rest) {
        let tail = &rest[at..];
        let is_use = rest[..at].trim_end().ends_with("use");
        let end = match is_use {
            true => tail.find(';'),
            false => tail.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')),
        }
        .unwrap_or(tail.len());
        match is_use {
            true => paths.extend(expand(&tail[..end])),
            false => paths.push(tail[..end].trim_end_matches(':').to_owned()),
        }
        rest = &tail[end.max(keyword)..];
    }
    paths
}

/// Where the next path with `crate::`, `super::` or `self::` begins, and how long that word is.
fn next_path(code: &str) -> Option<(usize, usize)> {
    let of = |word: &str| {
        let found = code.match_indices(word).find(|(at, _)| {
            let before = code[..*at].chars().next_back();
            before.is_none_or(|c| !(c.is_alphanumeric() || c == '_' || c == ':' || c == '$'))
        });
        found.map(|(at, _)| (at, word.len()))
    };
    ["crate::", "super::", "self::"].iter().filter_map(|word| of(word)).min()
}

/// The paths of a `use` tree, without its braces.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((front, inside)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        return vec![path.split_whitespace().collect()];
    };
    let inside = inside.strip_suffix('}').unwrap_or(inside);
    let (mut all, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (at, c) in inside.char_indices().chain([(inside.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                if !inside[start..at].trim().is_empty() {
                    all.extend(expand(&format!("{front}{}", &inside[start..at])));
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    all
}

/// A path's parts from the crate's root; `None` if it leads out of the crate.
fn absolute(module: &Module, path: &str) -> Option<Module> {
    let mut parts = path.split("::").peekable();
    let mut base = module.clone();
    match parts.peek() {
        Some(&"crate") => base.clear(),
        Some(&"self") => {}
        _ => {
            while parts.next_if_eq(&"super").is_some() {
                base.pop()?;
            }
            return Some(base.into_iter().chain(parts.map(str::to_owned)).collect());
        }
    }
    parts.next();
    Some(base.into_iter().chain(parts.map(str::to_owned)).collect())
}

/// What a module re-exports, by name: `pub use` lines into the own crate, and into modules below it.
fn exports(module: &Module, code: &str, modules: &BTreeSet<&Module>) -> Exports {
    let mut exports = Exports::new();
    for statement in code.split(';') {
        let Some((front, tree)) = statement.rsplit_once("use ") else { continue };
        let visibility = front.lines().last().unwrap_or_default().trim();
        if !visibility.starts_with("pub") {
            continue;
        }
        for path in expand(tree) {
            let first = path.split("::").next().unwrap_or_default();
            let below = [&module[..], &[first.to_owned()]].concat();
            if !(matches!(first, "crate" | "self" | "super") || modules.contains(&below)) {
                continue;
            }
            let path = match modules.contains(&below) {
                true => format!("self::{path}"),
                false => path,
            };
            if let Some(target) = absolute(module, &path)
                && let Some(name) = target.last()
            {
                exports.insert(name.clone(), target);
            }
        }
    }
    exports
}

/// The module that a path leads to: as far as its parts are modules, and one step through a re-export.
fn resolve(
    path: &Module,
    modules: &BTreeSet<&Module>,
    exports: &BTreeMap<&Module, Exports>,
) -> Module {
    let deepest = |path: &Module| -> Module {
        let is_module = |length: &usize| modules.contains(&path[..*length].to_vec());
        path[..(0..=path.len()).rev().find(is_module).unwrap_or_default()].to_vec()
    };
    let found = deepest(path);
    let exported = path.get(found.len()).and_then(|name| exports.get(&found)?.get(name));
    exported.map_or(found, deepest)
}

/// Strongly connected groups of more than one module: those that reach each other.
fn groups(edges: &BTreeSet<Edge>) -> BTreeSet<Vec<&str>> {
    let reach = |from: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(node) = open.pop() {
            for (_, next) in edges.iter().filter(|(from, _)| *from == node) {
                if seen.insert(&**next) {
                    open.push(next.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        edges.iter().map(|(from, _)| (&**from, reach(from))).collect();
    let mut groups = BTreeSet::new();
    for (node, seen) in &reached {
        let is_mutual = |other: &&str| reached.get(other).is_some_and(|back| back.contains(node));
        let group: Vec<&str> = seen.iter().copied().filter(is_mutual).collect();
        if group.len() > 1 {
            groups.insert(group);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let sources =
            files.iter().map(|(path, text)| (module_of(path), (*text).to_owned())).collect();
        let own = |group: Vec<&str>| group.into_iter().map(str::to_owned).collect();
        groups(&edges(&sources)).into_iter().map(own).collect()
    }

    #[test]
    fn the_workspace_has_no_new_circles() {
        check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
    }

    #[test]
    fn a_use_tree_is_taken_apart() {
        let tree = "crate::{a::{B, c::D as E},\n    f::{self, G}, h}";
        let paths = ["crate::a::B", "crate::a::c::D", "crate::f::self", "crate::f::G", "crate::h"];
        assert_eq!(expand(tree), paths);
    }

    #[test]
    fn paths_in_code_count_and_comments_and_tests_do_not() {
        let text = "use crate::a::{B, C};\n\
            // use crate::comment::It;\n\
            fn f() { crate::d::run(super::e::X); std::self::no(); $crate::macros::no(); }\n\
            #[cfg(test)]\nuse crate::testing::Rig;\n\
            #[cfg(test)]\nmod tests {\n    use crate::more::Tests;\n}\n\
            pub(crate) use super::g::G;\n";
        let paths = ["crate::a::B", "crate::a::C", "crate::d::run", "super::e::X", "super::g::G"];
        assert_eq!(references(&code(text)), paths);
    }

    #[test]
    fn two_that_import_each_other_are_a_circle() {
        let root = ("src/lib.rs", "mod a; mod b; mod c;");
        let a = ("src/a.rs", "use crate::b::B;");
        assert_eq!(of(&[root, a, ("src/b.rs", "use super::a::A;")]), [["a", "b"]]);
        assert_eq!(of(&[root, a, ("src/b.rs", "struct B;")]), [[""; 0]; 0]);
        let of_tests = ("src/b.rs", "#[cfg(test)]\nmod kill;\n");
        assert_eq!(of(&[root, a, of_tests, ("src/b/kill.rs", "use crate::a::A;")]), [[""; 0]; 0]);
        let (b, c) = (("src/b.rs", "use crate::c::C;"), ("src/c.rs", "fn f() { crate::a::A }"));
        assert_eq!(of(&[root, a, b, c]), [["a", "b", "c"]]);
    }

    #[test]
    fn a_re_export_leads_to_where_the_name_stands() {
        let root = ("src/lib.rs", "mod a;\nmod b;\npub use b::B;");
        let files = [root, ("src/a.rs", "use crate::B;"), ("src/b.rs", "use crate::a::A;")];
        assert_eq!(of(&files), [["a", "b"]]);
    }

    #[test]
    fn a_folder_is_one_module_to_its_neighbours_and_none_to_its_children() {
        let files = [
            ("src/lib.rs", ""),
            ("src/a/mod.rs", "mod x; pub use x::X;"),
            ("src/a/x.rs", "use super::Y; use crate::b::B;"),
            ("src/b.rs", "use crate::a::X;"),
        ];
        assert_eq!(of(&files), [["a", "b"]]);
        let below = [
            ("src/a.rs", ""),
            ("src/a/x.rs", "use super::y::Y;"),
            ("src/a/y.rs", "use super::x::X;"),
        ];
        assert_eq!(of(&below), [["a::x", "a::y"]]);
    }
}
