//! Values as columns: ids as 16 bytes, vocabulary words as text, structures as JSON, token ids and
//! log-probabilities as compact blobs.

use hone_api::{AdapterId, CycleId, ErasureId, FeedbackId, InteractionId, UnixMillis};
use rusqlite::Row;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// An id and its 16 bytes.
pub(crate) trait Id: Sized {
    fn bytes(self) -> [u8; 16];
    fn of(bytes: [u8; 16]) -> Self;
}

macro_rules! id_column {
    ($($name:ident),*) => {$(
        impl Id for $name {
            fn bytes(self) -> [u8; 16] {
                self.uuid().into_bytes()
            }
            fn of(bytes: [u8; 16]) -> Self {
                Self::from_uuid(uuid::Uuid::from_bytes(bytes))
            }
        }
    )*};
}
id_column!(InteractionId, FeedbackId, AdapterId, CycleId, ErasureId);

pub(crate) fn id<T: Id>(row: &Row<'_>, column: &'static str) -> Result<T> {
    Ok(T::of(row.get::<_, [u8; 16]>(column)?))
}

pub(crate) fn optional_id<T: Id>(row: &Row<'_>, column: &'static str) -> Result<Option<T>> {
    Ok(row.get::<_, Option<[u8; 16]>>(column)?.map(T::of))
}

pub(crate) fn instant(row: &Row<'_>, column: &'static str) -> Result<UnixMillis> {
    Ok(UnixMillis(row.get(column)?))
}

pub(crate) fn to_json(column: &'static str, value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::value(column, error))
}

pub(crate) fn json<T: DeserializeOwned>(row: &Row<'_>, column: &'static str) -> Result<T> {
    let text = row.get_ref(column)?.as_str().map_err(|error| Error::value(column, error))?;
    serde_json::from_str(text).map_err(|error| Error::value(column, error))
}

pub(crate) fn optional_json<T: DeserializeOwned>(
    row: &Row<'_>,
    column: &'static str,
) -> Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    let read = |text: String| serde_json::from_str(&text);
    text.map(read).transpose().map_err(|error| Error::value(column, error))
}

/// A unit variant as its word on the wire, e.g. `Step::Select` as `select`.
pub(crate) fn to_word(column: &'static str, value: &impl Serialize) -> Result<String> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        Ok(other) => Err(Error::value(column, format!("{other} is not a word"))),
        Err(error) => Err(Error::value(column, error)),
    }
}

pub(crate) fn word<T: DeserializeOwned>(row: &Row<'_>, column: &'static str) -> Result<T> {
    from_word(column, row.get(column)?)
}

pub(crate) fn optional_word<T: DeserializeOwned>(
    row: &Row<'_>,
    column: &'static str,
) -> Result<Option<T>> {
    row.get::<_, Option<String>>(column)?.map(|word| from_word(column, word)).transpose()
}

fn from_word<T: DeserializeOwned>(column: &'static str, word: String) -> Result<T> {
    serde_json::from_value(serde_json::Value::String(word))
        .map_err(|error| Error::value(column, error))
}

/// Token ids as LEB128: two bytes each for most vocabularies, where four would be zero padded.
pub(crate) fn pack_tokens(tokens: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(tokens.len() * 2);
    for &token in tokens {
        let mut rest = token;
        while rest >= 0x80 {
            bytes.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
    }
    bytes
}

pub(crate) fn unpack_tokens(column: &'static str, bytes: &[u8]) -> Result<Vec<u32>> {
    let mut tokens = Vec::with_capacity(bytes.len() / 2);
    let (mut token, mut shift) = (0_u64, 0_u32);
    for &byte in bytes {
        token |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            tokens.push(u32::try_from(token).map_err(|error| Error::value(column, error))?);
            (token, shift) = (0, 0);
        } else {
            shift += 7;
            if shift > 28 {
                return Err(Error::value(column, "a token id is longer than 32 bits"));
            }
        }
    }
    if shift > 0 {
        return Err(Error::value(column, "the last token id is cut off"));
    }
    Ok(tokens)
}

pub(crate) fn pack_floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(crate) fn unpack_floats(column: &'static str, bytes: &[u8]) -> Result<Vec<f32>> {
    let (chunks, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(Error::value(column, "the last number is cut off"));
    }
    Ok(chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_token_ids_take_two_bytes() {
        assert_eq!(pack_tokens(&[0, 127, 128, 4095]).len(), 1 + 1 + 2 + 2);
    }

    proptest! {
        #[test]
        fn tokens_round_trip(tokens: Vec<u32>) {
            prop_assert_eq!(unpack_tokens("t", &pack_tokens(&tokens)).unwrap(), tokens);
        }

        #[test]
        fn floats_round_trip_bit_by_bit(bits: Vec<u32>) {
            let values: Vec<f32> = bits.iter().copied().map(f32::from_bits).collect();
            let back = unpack_floats("f", &pack_floats(&values)).unwrap();
            prop_assert_eq!(back.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), bits);
        }

        #[test]
        fn any_bytes_are_tokens_or_an_error(bytes: Vec<u8>) {
            if let Ok(tokens) = unpack_tokens("t", &bytes) {
                prop_assert!(tokens.len() <= bytes.len());
            }
            prop_assert_eq!(unpack_floats("f", &bytes).is_ok(), bytes.len() % 4 == 0);
        }
    }
}
