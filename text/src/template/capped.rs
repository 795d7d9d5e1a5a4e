//! The text of a prompt, up to a size.

use std::io::{self, Write};

/// Bytes of a rendered prompt.
pub(super) const MAX_OUTPUT: usize = 16 << 20;

/// Takes bytes up to [`MAX_OUTPUT`].
#[derive(Default)]
pub(super) struct Capped {
    pub(super) bytes: Vec<u8>,
    /// There was more.
    pub(super) over: bool,
}

impl Write for Capped {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + piece.len() > MAX_OUTPUT {
            self.over = true;
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
