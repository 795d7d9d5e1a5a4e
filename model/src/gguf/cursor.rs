//! Reading on in bytes that come from anywhere.

/// What is wrong with the bytes, in words.
pub(super) type Reason = String;

/// A place in bytes. Nothing is read, and nothing is made, before it is known to be there.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes before this place.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Bytes from here to the end.
    pub(super) fn left(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    /// The next bytes. `what` names them in the refusal.
    pub(super) fn take(&mut self, length: u64, what: &str) -> Result<&'a [u8], Reason> {
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length));
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| {
            format!(
                "{what} at byte {} would take {length} bytes, and {} are left; copy the file again",
                self.at,
                self.left()
            )
        })?;
        self.at += taken.len();
        Ok(taken)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, Reason> {
        let bytes = self.take(4, what)?;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, Reason> {
        let bytes = self.take(8, what)?;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// Bytes with their length before them.
    pub(super) fn counted(&mut self, what: &str) -> Result<&'a [u8], Reason> {
        let length = self.u64(what)?;
        self.take(length, what)
    }

    /// A name: counted, UTF-8 and of at most so many bytes.
    pub(super) fn name(&mut self, most: usize, what: &str) -> Result<&'a str, Reason> {
        let at = self.at;
        let bytes = self.counted(what)?;
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= most);
        text.ok_or_else(|| format!("{what} at byte {at} is no text of at most {most} bytes"))
    }
}
