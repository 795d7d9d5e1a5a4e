//! Text that is written under the allowance.

use minijinja::{Error, ErrorKind};

use super::allowance::spend;

/// Text of which every byte is paid for.
pub(super) struct Priced(pub(super) Vec<u8>);

impl std::io::Write for Priced {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        spend(piece.len()).map_err(std::io::Error::other)?;
        self.0.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is wrong with a template, as the engine's error.
pub(super) fn refuse(message: impl ToString) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.to_string())
}
