//! Files of one JSON object a line, as people write and export them.

use std::io;
use std::path::Path;

/// Why a file of lines cannot be read.
#[derive(Debug)]
pub enum Unreadable {
    /// The disk's.
    Io(io::Error),
    /// The number of the first line that is not UTF-8, from 1.
    NotUtf8(usize),
}

/// The text of a file, as it is.
///
/// # Errors
/// The disk's; a line is not UTF-8.
pub fn read(path: &Path) -> Result<String, Unreadable> {
    let bytes = fs_err::read(path).map_err(Unreadable::Io)?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        Unreadable::NotUtf8(valid.iter().filter(|byte| **byte == b'\n').count() + 1)
    })
}

/// The lines that hold something, each with its number from 1. Some editors and exports begin a file
/// with a mark of its encoding, which is no part of the first line.
pub fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.trim_start_matches('\u{feff}').lines();
    lines.enumerate().map(|(index, line)| (index + 1, line)).filter(|(_, l)| !l.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_numbers() {
        let lines: Vec<_> = numbered("\u{feff}{}\r\n\n {} \n").collect();
        assert_eq!(lines, [(1, "{}"), (3, " {} ")]);
    }

    #[test]
    fn the_line_in_another_encoding_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), b"{}\n\xe9\n").unwrap();
        assert!(matches!(read(file.path()), Err(Unreadable::NotUtf8(2))));
    }
}
