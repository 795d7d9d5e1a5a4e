//! The questions: built-in suites, files, and the held-out rows of a snapshot.
//!
//! Prevents a comparison across different questions: a suite has a digest over its rows, and every
//! row a hash of its own under which its answers are kept. A row that cannot be scored is refused
//! when it is read, with its line.

use std::path::Path;

use hone_api::chat::{Message, Role};
use hone_api::check::SuiteRow;
use hone_dataset::Example;
use hone_dataset::lines::{self, Unreadable};
use hone_model::starter;

use crate::score::Scorer;
use crate::{Error, Result};

/// Which part of the verdict a suite bears on.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Corrected questions that the adapter which answers never saw.
    HeldOut,
    /// Corrected questions that it was taught.
    Taught,
    /// Corrected questions that the serving adapter was taught before.
    Kept,
    /// What must not get worse.
    Control,
}

impl Part {
    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HeldOut => "held-out",
            Self::Taught => "taught",
            Self::Kept => "kept",
            Self::Control => "control",
        }
    }
}

/// Questions with their checks.
#[derive(Debug, Clone)]
pub struct Suite {
    /// Its name: the built-in name, or the file's without its ending.
    pub name: String,
    /// What it is asked for.
    pub part: Part,
    /// The rows, each with a family.
    pub rows: Vec<SuiteRow>,
    /// Hash of each row, hex: the same row has the same hash in every suite.
    pub hashes: Vec<String>,
    /// Hash of all rows in their order, hex.
    pub digest: String,
    pub(crate) scorers: Vec<Scorer>,
    /// Of each row the answer that its reference replaces, where there is one.
    pub(crate) rejected: Vec<Option<String>>,
}

/// How the names of the starter's control workloads begin.
const CONTROL: &str = "control_";

impl Suite {
    /// A suite of these rows. A row without a family gets the suite's name.
    ///
    /// # Errors
    /// [`Error::Line`] (the row's position from 1) for a row that cannot be asked or scored,
    /// [`Error::EmptySuite`].
    pub fn new(name: &str, part: Part, rows: Vec<SuiteRow>) -> Result<Self> {
        let numbered = rows.into_iter().enumerate().map(|(i, row)| (i + 1, row));
        Self::of_lines(name, part, numbered.collect())
    }

    fn of_lines(name: &str, part: Part, lines: Vec<(usize, SuiteRow)>) -> Result<Self> {
        if lines.is_empty() {
            return Err(Error::EmptySuite(name.to_owned()));
        }
        let mut suite = Self {
            name: name.to_owned(),
            part,
            rows: Vec::with_capacity(lines.len()),
            hashes: Vec::with_capacity(lines.len()),
            digest: String::new(),
            scorers: Vec::with_capacity(lines.len()),
            rejected: vec![None; lines.len()],
        };
        let mut all = blake3::Hasher::new();
        for (line, mut row) in lines {
            let wrong = |what: String| Error::Line { file: name.to_owned(), line, what };
            if !ends_with_a_question(&row.messages) {
                return Err(wrong("`messages` must end with what the user says".to_owned()));
            }
            let scorer = Scorer::new(&row.check).map_err(|error| wrong(error.to_string()))?;
            if row.family.is_empty() {
                name.clone_into(&mut row.family);
            }
            // Serialising plain structs into memory does not fail; the message is for form's sake.
            let json = serde_json::to_vec(&row).map_err(|error| wrong(error.to_string()))?;
            let hash = blake3::hash(&json);
            all.update(hash.as_bytes());
            suite.rows.push(row);
            suite.hashes.push(hash.to_hex().to_string());
            suite.scorers.push(scorer);
        }
        suite.digest = all.finalize().to_hex().to_string();
        Ok(suite)
    }

    /// Reads JSON lines: rows `{"messages":[…],"reference":"…","check":{…}}`, of which those with
    /// `split` heldout (or none) are kept, at most `limit` (0: all), the first ones.
    ///
    /// # Errors
    /// [`Error::Line`] with the line's number, e.g. for an unknown check; [`Error::EmptySuite`].
    pub fn parse(name: &str, part: Part, text: &str, limit: usize) -> Result<Self> {
        let limit = if limit == 0 { usize::MAX } else { limit };
        let mut rows = Vec::new();
        for (number, line) in lines::numbered(text) {
            let row: SuiteRow = serde_json::from_str(line).map_err(|error| Error::Line {
                file: name.to_owned(),
                line: number,
                what: format!("not a row of a suite: {error}"),
            })?;
            if rows.len() < limit && matches!(row.split.as_str(), "" | "heldout") {
                rows.push((number, row));
            }
        }
        Self::of_lines(name, part, rows)
    }

    /// Reads a file; see [`Suite::parse`]. The suite's name is the file's without its ending.
    ///
    /// # Errors
    /// As [`Suite::parse`]; the disk's.
    pub fn load(path: &Path, part: Part, limit: usize) -> Result<Self> {
        let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
        Self::parse(&name, part, &read(path)?, limit)
    }

    /// A suite that ships with the starter model: a `control_…` or one of the held-back families.
    ///
    /// # Errors
    /// [`Error::UnknownSuite`], naming those there are.
    pub fn builtin(name: &str, limit: usize) -> Result<Self> {
        let lines = starter::workload(name).ok_or_else(|| unknown(name))?;
        let part = if name.starts_with(CONTROL) { Part::Control } else { Part::HeldOut };
        Self::parse(name, part, lines, limit)
    }

    /// A built-in suite, or else a file.
    ///
    /// # Errors
    /// [`Error::UnknownSuite`] when there is neither; as [`Suite::load`].
    pub fn find(name_or_path: &str, limit: usize) -> Result<Self> {
        if starter::workload(name_or_path).is_some() {
            return Self::builtin(name_or_path, limit);
        }
        let path = Path::new(name_or_path);
        if !path.is_file() {
            return Err(unknown(name_or_path));
        }
        Self::load(path, Part::HeldOut, limit)
    }

    /// The control suites of a configuration: `starter` stands for all built-in ones when the
    /// starter model is served, and for none otherwise; other names as in [`Suite::find`]. At most
    /// `limit` rows of each (0: all).
    ///
    /// # Errors
    /// As [`Suite::find`].
    pub fn controls(names: &[String], limit: usize, starter_is_served: bool) -> Result<Vec<Self>> {
        let mut suites = Vec::new();
        for name in names {
            if name == "starter" {
                let controls = starter::workloads().iter().map(|(name, _)| *name);
                let controls =
                    controls.filter(|name| starter_is_served && name.starts_with(CONTROL));
                for control in controls {
                    suites.push(Self::builtin(control, limit)?);
                }
            } else {
                suites.push(Self { part: Part::Control, ..Self::find(name, limit)? });
            }
        }
        Ok(suites)
    }

    /// Rows of a snapshot, at most `limit` (0: all), the newest.
    ///
    /// Users wrote them, so one that cannot be asked (it ends with an answer) or scored (its check
    /// is none that can be applied) is left out: it must not stand in the way of all the others.
    ///
    /// # Errors
    /// [`Error::EmptySuite`] when there is none.
    pub fn from_examples(
        name: &str,
        part: Part,
        examples: &[&Example],
        limit: usize,
    ) -> Result<Self> {
        let mut usable: Vec<&Example> =
            examples.iter().copied().filter(|example| is_usable(example)).collect();
        usable.sort_by_key(|example| example.id);
        let skip = if limit == 0 { 0 } else { usable.len().saturating_sub(limit) };
        let usable = usable.split_off(skip);
        let rows = usable.iter().map(|example| SuiteRow {
            family: example.family.clone(),
            split: "heldout".to_owned(),
            messages: example.prompt().to_vec(),
            tools: example.tools.clone(),
            reference: example.reference().to_owned(),
            check: example.check.clone(),
        });
        let mut suite = Self::new(name, part, rows.collect())?;
        suite.rejected = usable.into_iter().map(|example| example.rejected.clone()).collect();
        Ok(suite)
    }
}

/// Whether a row of a snapshot can be asked and scored.
fn is_usable(example: &Example) -> bool {
    let why = match (ends_with_a_question(example.prompt()), Scorer::new(&example.check)) {
        (true, Ok(_)) => return true,
        (true, Err(error)) => error.to_string(),
        (false, _) => "its conversation ends with an answer".to_owned(),
    };
    tracing::warn!(row = %example.id, why, "a row is left out of the evaluation");
    false
}

fn ends_with_a_question(messages: &[Message]) -> bool {
    messages.last().is_some_and(|message| message.role != Role::Assistant)
}

/// The names of the built-in suites.
#[must_use]
pub fn builtin_names() -> Vec<&'static str> {
    let has_held_out = |lines: &str| lines.contains(r#""split":"heldout""#);
    starter::workloads()
        .iter()
        .filter(|(_, lines)| has_held_out(lines))
        .map(|(name, _)| *name)
        .collect()
}

/// The text of a suite's file.
///
/// # Errors
/// [`Error::Line`] for a line that is not UTF-8; the disk's.
pub fn read(path: &Path) -> Result<String> {
    lines::read(path).map_err(|error| match error {
        Unreadable::Io(error) => error.into(),
        Unreadable::NotUtf8(line) => Error::Line {
            file: path.display().to_string(),
            line,
            what: "it is not UTF-8; save the file in that encoding".to_owned(),
        },
    })
}

fn unknown(name: &str) -> Error {
    let known = builtin_names();
    let known = if known.is_empty() {
        "the built-in ones of a build with the starter model".to_owned()
    } else {
        known.join(", ")
    };
    Error::UnknownSuite { name: name.chars().take(200).collect(), known }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = r#"{"messages":[{"role":"user","content":"1+1"}],"reference":"2","check":{"type":"final_number","value":2}}"#;

    fn parse(lines: &str) -> Result<Suite> {
        Suite::parse("mine", Part::HeldOut, lines, 0)
    }

    #[test]
    fn rows_are_read_and_named() {
        let suite = parse(&format!("{ROW}\n\n{ROW}\n")).unwrap();
        assert_eq!(suite.rows.len(), 2);
        assert_eq!(suite.rows[0].family, "mine");
        assert_eq!(suite.hashes[0], suite.hashes[1]);
        assert_ne!(suite.digest, parse(ROW).unwrap().digest);
        assert_eq!(parse(&format!("\u{feff}{ROW}")).unwrap().rows.len(), 1);
        assert_eq!(
            Suite::parse("mine", Part::HeldOut, &format!("{ROW}\n{ROW}"), 1).unwrap().rows.len(),
            1
        );
    }

    #[test]
    fn errors_name_the_line() {
        let cases = [
            (
                ROW.replace("final_number", "vibes"),
                "line 2: not a row of a suite: unknown variant `vibes`",
            ),
            (
                ROW.replace(
                    r#""type":"final_number","value":2"#,
                    r#""type":"judge","value":"nice?""#,
                ),
                "line 2: the check cannot be applied: `judge`",
            ),
            (
                ROW.replace(r#""type":"final_number","value":2"#, r#""type":"regex","value":"(""#),
                "line 2: the check cannot be applied: regex",
            ),
            (ROW.replace("user", "assistant"), "line 2: `messages` must end"),
            (ROW.replace(r#"{"role":"user","content":"1+1"}"#, ""), "line 2: `messages` must end"),
            ("{".to_owned(), "line 2: not a row"),
        ];
        for (line, expected) in cases {
            let error = parse(&format!("{ROW}\n{line}")).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}\n{expected}");
        }
    }

    #[test]
    fn only_held_out_rows_are_asked() {
        let taught = ROW.replace(r#"{"messages""#, r#"{"split":"feedback","messages""#);
        assert!(matches!(parse(&taught), Err(Error::EmptySuite(_))));
        assert_eq!(parse(&format!("{taught}\n{ROW}")).unwrap().rows.len(), 1);
        assert!(matches!(parse(""), Err(Error::EmptySuite(_))));
    }

    #[test]
    fn what_users_wrote_cannot_stop_an_evaluation() {
        let example = |number: u32, check: &str, roles: &[Role]| Example {
            id: hone_api::InteractionId::new(),
            kind: hone_dataset::Kind::Supervised,
            fold: None,
            older: false,
            cluster: 0,
            source: None,
            of_base: true,
            rejected: None,
            bad_turns: Vec::new(),
            family: "f".to_owned(),
            tools: Vec::new(),
            messages: roles.iter().map(|role| Message::new(*role, number.to_string())).collect(),
            check: serde_json::from_str(check).unwrap(),
            key: String::new(),
        };
        let fine = r#"{"type":"exact","value":"x"}"#;
        let asked = [Role::User, Role::Assistant];
        let mut examples = vec![
            example(1, fine, &asked),
            example(2, r#"{"type":"json_schema","value":{"type":"text"}}"#, &asked),
            example(3, r#"{"type":"choice","value":[" "]}"#, &asked),
            example(4, fine, &[Role::User, Role::Assistant, Role::Assistant]),
        ];
        let suite = |examples: &[Example]| {
            Suite::from_examples("mine", Part::Taught, &examples.iter().collect::<Vec<_>>(), 0)
        };
        let found = suite(&examples).unwrap();
        assert_eq!(found.rows.len(), 1);
        assert_eq!(found.rows[0].messages[0].content, "1");
        examples.remove(0);
        assert!(matches!(suite(&examples), Err(Error::EmptySuite(_))));
    }

    #[test]
    fn a_file_in_another_encoding_is_told_by_its_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), [ROW.as_bytes(), b"\n\xe9\n"].concat()).unwrap();
        let error = Suite::load(file.path(), Part::Control, 0).unwrap_err().to_string();
        assert!(error.contains("line 2: it is not UTF-8"), "{error}");
    }

    #[test]
    fn an_unknown_suite_is_refused() {
        assert!(matches!(Suite::find("no-such-suite", 0), Err(Error::UnknownSuite { .. })));
    }
}
