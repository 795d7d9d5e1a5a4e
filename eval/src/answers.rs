//! The answers that have been given: a file of JSON lines that an evaluation goes on from.
//!
//! Prevents work from being done twice: after a restart the evaluation continues behind the last
//! answer, and what the serving adapter said to a row is still known in the next cycle. An answer is
//! kept under everything that it depends on, so that none is ever used for another question.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use fail::fail_point;
use serde::{Deserialize, Serialize};

use crate::Result;

/// One answer, not scored: checks may change, answers do not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) text: String,
    /// Whether it ended by itself.
    pub(crate) stopped: bool,
    pub(crate) tokens: u32,
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    #[serde(flatten)]
    answer: Answer,
    /// Of all of the above: a flipped bit would be another answer.
    checksum: String,
}

impl Line {
    fn new(key: String, answer: Answer) -> Self {
        let mut hasher = blake3::Hasher::new();
        for text in [&key, &answer.text] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.update(&[u8::from(answer.stopped)]);
        hasher.update(&answer.tokens.to_le_bytes());
        let checksum = hasher.finalize().to_hex().to_string();
        Self { key, answer, checksum }
    }

    /// The line, if it is as it was written.
    fn parse(text: &[u8]) -> Option<Self> {
        let found: Self = serde_json::from_slice(text).ok()?;
        let expected = found.checksum.clone();
        let line = Self::new(found.key, found.answer);
        (line.checksum == expected).then_some(line)
    }
}

/// The answers in one file. Several evaluations may have it open at once: each line is appended.
#[derive(Debug)]
pub struct Answers(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    file: File,
    known: HashMap<String, Answer>,
}

impl Answers {
    /// Opens the file, creating it. A line that a kill cut off is dropped.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(path: &Path) -> Result<Self> {
        if let Some(dir) = path.parent() {
            fs_err::create_dir_all(dir)?;
        }
        let mut options = fs_err::OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).open(path)?.into_file();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64)?;
        }
        let lines = bytes[..whole].split(|byte| *byte == b'\n');
        // a damaged line costs one answer, which is given again
        let known = lines.filter_map(Line::parse).map(|line| (line.key, line.answer)).collect();
        Ok(Self(Mutex::new(Inner { file, known })))
    }

    /// How many answers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).known.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn get(&self, key: &str) -> Option<Answer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).known.get(key).cloned()
    }

    pub(crate) fn put(&self, key: String, answer: Answer) -> Result<()> {
        let mut line = serde_json::to_vec(&Line::new(key.clone(), answer.clone()))
            .map_err(std::io::Error::from)?;
        line.push(b'\n');
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.file.write_all(&line)?;
        fail_point!("eval.item");
        inner.known.insert(key, answer);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Answer {
        Answer { text: text.to_owned(), stopped: true, tokens: 2 }
    }

    #[test]
    fn two_evaluations_keep_each_others_answers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("answers.jsonl");
        let (one, other) = (Answers::open(&path).unwrap(), Answers::open(&path).unwrap());
        for number in 0..3 {
            one.put(format!("a{number}"), answer("one")).unwrap();
            other.put(format!("b{number}"), answer("a longer one")).unwrap();
        }
        assert_eq!(Answers::open(&path).unwrap().len(), 6);
    }

    #[test]
    fn a_flipped_bit_is_no_other_answer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("answers.jsonl");
        Answers::open(&path).unwrap().put("a".into(), answer("seven")).unwrap();
        let bytes = fs_err::read(&path).unwrap();
        for bit in 0..(bytes.len() - 1) * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs_err::write(&path, flipped).unwrap();
            let known = Answers::open(&path).unwrap();
            assert!(known.is_empty() || known.get("a") == Some(answer("seven")), "bit {bit}");
        }
    }

    #[test]
    fn answers_outlive_a_kill() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/answers.jsonl");
        let answers = Answers::open(&path).unwrap();
        answers.put("a".into(), answer("one\ntwo")).unwrap();
        answers.put("b".into(), answer("three")).unwrap();
        drop(answers);
        let bytes = fs_err::read(&path).unwrap();
        fs_err::write(&path, &bytes[..bytes.len() - 5]).unwrap();
        let answers = Answers::open(&path).unwrap();
        assert_eq!((answers.len(), answers.get("a")), (1, Some(answer("one\ntwo"))));
        answers.put("b".into(), answer("three")).unwrap();
        drop(answers);
        let answers = Answers::open(&path).unwrap();
        assert_eq!((answers.len(), answers.get("b")), (2, Some(answer("three"))));
    }
}
