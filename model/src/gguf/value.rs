//! What a key of the metadata says.

use super::cursor::{Cursor, Reason};

/// Arrays within arrays; no key that Hone knows has any.
const DEPTH: usize = 4;

/// The kind of a value; the discriminant is GGUF's number for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    Text = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl Kind {
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::Text,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    fn read(cursor: &mut Cursor<'_>) -> Result<Self, Reason> {
        let number = cursor.u32("the kind of a value")?;
        let found = Self::ALL.into_iter().find(|kind| *kind as u32 == number);
        found.ok_or_else(|| {
            format!(
                "before byte {} it names the kind of value {number}, which GGUF does not have",
                cursor.at()
            )
        })
    }

    /// Bytes of one; none for what has no fixed size.
    fn size(self) -> Option<u64> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Text | Self::Array => None,
        }
    }
}

/// A value, as it lies in the file.
#[derive(Debug, Clone)]
pub(super) struct Value<'a> {
    kind: Kind,
    /// Of the members of an array.
    members: Option<(Kind, u64)>,
    /// The number's bytes, the text's, or those of all members.
    bytes: &'a [u8],
}

impl<'a> Value<'a> {
    /// Reads a value with its kind before it.
    pub(super) fn read(cursor: &mut Cursor<'a>, whole: &'a [u8]) -> Result<Self, Reason> {
        let kind = Kind::read(cursor)?;
        if kind != Kind::Array {
            let bytes = match kind.size() {
                Some(size) => cursor.take(size, "a number")?,
                None => cursor.counted("a text")?,
            };
            return Ok(Self { kind, members: None, bytes });
        }
        let of = Kind::read(cursor)?;
        let count = cursor.u64("the length of an array")?;
        let start = cursor.at();
        pass(cursor, of, count, DEPTH)?;
        Ok(Self { kind, members: Some((of, count)), bytes: &whole[start..cursor.at()] })
    }

    /// A whole number that is not negative.
    pub(super) fn whole(&self) -> Option<u64> {
        let number = integer(self.kind, self.bytes)?;
        u64::try_from(number).ok()
    }

    /// A finite number with a fraction.
    pub(super) fn real(&self) -> Option<f64> {
        real(self.kind, self.bytes).filter(|number| number.is_finite())
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        (self.kind == Kind::Bool).then(|| self.bytes != [0])
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        (self.kind == Kind::Text).then(|| std::str::from_utf8(self.bytes).ok()).flatten()
    }

    /// The texts of an array of texts; `None` in it is one that is not UTF-8.
    pub(super) fn texts(&self) -> Option<impl Iterator<Item = Option<&'a str>> + use<'a>> {
        let count = self.count_of(|kind| kind == Kind::Text)?;
        let mut cursor = Cursor::new(self.bytes);
        // The walk over the file found them all.
        Some((0..count).map(move |_| {
            let bytes = cursor.counted("a text").ok()?;
            std::str::from_utf8(bytes).ok()
        }))
    }

    /// The numbers of an array of whole numbers.
    pub(super) fn integers(&self) -> Option<impl Iterator<Item = i128> + use<'a>> {
        self.count_of(|kind| integer(kind, &[0; 8]).is_some())?;
        let (kind, _) = self.members?;
        let size = usize::try_from(kind.size()?).ok()?;
        Some(self.bytes.chunks_exact(size).filter_map(move |bytes| integer(kind, bytes)))
    }

    /// The numbers of an array of numbers with a fraction.
    pub(super) fn reals(&self) -> Option<impl Iterator<Item = f64> + use<'a>> {
        self.count_of(|kind| matches!(kind, Kind::F32 | Kind::F64))?;
        let (kind, _) = self.members?;
        let size = usize::try_from(kind.size()?).ok()?;
        Some(self.bytes.chunks_exact(size).filter_map(move |bytes| real(kind, bytes)))
    }

    fn count_of(&self, wanted: impl Fn(Kind) -> bool) -> Option<u64> {
        self.members.filter(|(kind, _)| wanted(*kind)).map(|(_, count)| count)
    }
}

/// Goes over the members of an array, so that each is known to be there.
fn pass(cursor: &mut Cursor<'_>, kind: Kind, count: u64, depth: usize) -> Result<(), Reason> {
    let what = "an array";
    if let Some(size) = kind.size() {
        let bytes = count.saturating_mul(size);
        return cursor.take(bytes, what).map(drop);
    }
    // A member has its length before it at least.
    if count > cursor.left() / 8 {
        let (at, left) = (cursor.at(), cursor.left());
        return Err(format!(
            "{what} of {count} at byte {at} cannot lie in the {left} bytes that are left; copy the file again"
        ));
    }
    for _ in 0..count {
        if kind == Kind::Text {
            cursor.counted("a text of an array")?;
        } else if depth == 0 {
            return Err(format!(
                "arrays within arrays at byte {}, more than {DEPTH} deep",
                cursor.at()
            ));
        } else {
            let (of, count) = (Kind::read(cursor)?, cursor.u64("the length of an array")?);
            pass(cursor, of, count, depth - 1)?;
        }
    }
    Ok(())
}

/// A whole number of at least one byte, lowest first, as its kind says.
fn integer(kind: Kind, bytes: &[u8]) -> Option<i128> {
    let (signed, size) = match kind {
        Kind::U8 => (false, 1),
        Kind::U16 => (false, 2),
        Kind::U32 => (false, 4),
        Kind::U64 => (false, 8),
        Kind::I8 => (true, 1),
        Kind::I16 => (true, 2),
        Kind::I32 => (true, 4),
        Kind::I64 => (true, 8),
        Kind::F32 | Kind::F64 | Kind::Bool | Kind::Text | Kind::Array => return None,
    };
    let number = bytes.get(..size)?.iter().rev().fold(0, |n: i128, b| n << 8 | i128::from(*b));
    let beyond = 1i128 << (8 * size);
    Some(if signed && number >= beyond / 2 { number - beyond } else { number })
}

fn real(kind: Kind, bytes: &[u8]) -> Option<f64> {
    match kind {
        Kind::F32 => bytes.first_chunk().map(|bytes| f64::from(f32::from_le_bytes(*bytes))),
        Kind::F64 => bytes.first_chunk().map(|bytes| f64::from_le_bytes(*bytes)),
        _ => None,
    }
}
