//! What a person writes for a model of the hub.

use std::fmt;

use crate::Error;

/// The revision that is meant when none is named.
const MAIN: &str = "main";

/// Which file of a repository is the model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// Its folder: safetensors with configuration and tokenizer.
    Folder,
    /// A GGUF file by its path.
    File(String),
    /// The one GGUF file of this quantisation, e.g. `Q4_K_M`.
    Quantised(String),
}

/// A model of the hub: `org/name`, with `@revision`, and for GGUF files `org/name/file.gguf` or `org/name:Q4_K_M`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    repo: String,
    revision: String,
    pub(crate) part: Part,
}

impl Name {
    /// Whether a text is meant as an id and not as a path: two words with a slash between them, or a GGUF file of such a
    /// repository. What begins with `/`, `.` or `~` is a path.
    #[must_use]
    pub fn looks_like(text: &str) -> bool {
        Self::parse(text).is_ok()
    }

    /// Reads an id.
    ///
    /// # Errors
    /// [`Error::Name`]
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |reason| Err(Error::Name { name: text.to_owned(), reason });
        let (rest, revision) = match text.rsplit_once('@') {
            Some((rest, revision)) => (rest, revision),
            None => (text, MAIN),
        };
        // A branch may have slashes (`refs/pr/1`); `..` and empty words would lead out of the cache.
        if !revision.split('/').all(is_word) {
            return wrong("what stands behind the @ is no revision");
        }
        let mut words = rest.splitn(3, '/');
        let (Some(org), Some(name)) = (words.next(), words.next()) else {
            return wrong("it has no slash");
        };
        let (name, part) = match (name.split_once(':'), words.next()) {
            (None, None) => (name, Part::Folder),
            (Some((name, quantisation)), None) if is_word(quantisation) => {
                (name, Part::Quantised(quantisation.to_owned()))
            }
            (None, Some(file)) if file.ends_with(".gguf") && file.split('/').all(is_word) => {
                (name, Part::File(file.to_owned()))
            }
            _ => {
                return wrong(
                    "what stands behind the name is neither a .gguf file nor a quantisation",
                );
            }
        };
        if !is_word(org) || !is_word(name) || org.ends_with(':') {
            return wrong("its words may have letters, digits, `-`, `_` and `.`");
        }
        Ok(Self { repo: format!("{org}/{name}"), revision: revision.to_owned(), part })
    }

    /// `org/name`.
    #[must_use]
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// A branch, a tag or a commit; `main` if none was named.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The same of another revision.
    #[must_use]
    pub fn at(&self, revision: &str) -> Self {
        Self { revision: revision.to_owned(), ..self.clone() }
    }

    /// Whether the revision is a whole commit, which never changes.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        is_commit(&self.revision)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repo)?;
        match &self.part {
            Part::Folder => {}
            Part::File(file) => write!(f, "/{file}")?,
            Part::Quantised(quantisation) => write!(f, ":{quantisation}")?,
        }
        if self.revision == MAIN { Ok(()) } else { write!(f, "@{}", self.revision) }
    }
}

/// Forty hex digits.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A part of a name: letters, digits and `-_.`, and it does not begin with a dot.
pub(crate) fn is_word(text: &str) -> bool {
    let all = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    !text.is_empty() && all && !text.starts_with('.') && text.len() <= 128
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_told_from_paths() {
        for (text, repo, revision, part) in [
            ("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B", "main", Part::Folder),
            ("a/b@v1.0", "a/b", "v1.0", Part::Folder),
            ("a/b@refs/pr/3", "a/b", "refs/pr/3", Part::Folder),
            ("a/b-GGUF:Q4_K_M", "a/b-GGUF", "main", Part::Quantised("Q4_K_M".into())),
            ("a/b/c.Q8_0.gguf@x", "a/b", "x", Part::File("c.Q8_0.gguf".into())),
            ("a/b/BF16/c.gguf", "a/b", "main", Part::File("BF16/c.gguf".into())),
        ] {
            let name = Name::parse(text).unwrap();
            assert_eq!((name.repo(), name.revision(), &name.part), (repo, revision, &part));
            assert_eq!(name.to_string(), text);
        }
        for text in [
            "starter",
            "",
            "/models/a",
            "./a/b",
            "../a",
            "~/a",
            "a/",
            "/",
            "a/b/c",
            "a/../b.gguf",
            "a/b@",
            "a/b@../../c",
            "a/b:",
            "a b/c",
            "C:\\models\\a",
            "a/b/../c.gguf",
            "https://huggingface.co/a/b",
            "a/.b",
            "a/b//c.gguf",
        ] {
            assert!(!Name::looks_like(text), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_taken_stays_in_its_folder(text in "[a-z./@:~A-Z0-9-]{0,24}") {
            if let Ok(name) = Name::parse(&text) {
                prop_assert_eq!(&Name::parse(&name.to_string()).unwrap(), &name);
                let all = format!("{}/{}", name.repo(), name.revision());
                prop_assert!(all.split('/').all(|word| !word.is_empty() && !word.starts_with('.')));
            }
        }
    }
}
