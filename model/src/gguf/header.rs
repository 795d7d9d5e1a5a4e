//! The header of a GGUF file, read where it lies.
//!
//! A file may come from anywhere, so every length and count is held against the bytes that are left before it is used,
//! and nothing is copied: texts, arrays and tensors are slices of the file. What is wrong is an error that names it.

use std::collections::{BTreeMap, btree_map::Entry};

use super::{
    blocks::{Format, SUPPORTED},
    cursor::{Cursor, Reason},
    value::Value,
};
use crate::Error;

/// Bytes in which the whole header must lie; that of a vocabulary of 256 000 tokens has about 15 MiB.
const HEADER: usize = 256 << 20;
/// Keys and tensors, each; the largest models have a few thousand.
const COUNT: u64 = 1 << 16;
/// Bytes of a key or of a tensor's name.
const NAME: usize = 1 << 16;
/// Dimensions of a tensor.
const DIMENSIONS: u32 = 4;
/// Bytes to which the tensors are aligned, where the file does not say.
const ALIGNMENT: u64 = 32;
/// The most that a file may say.
const MOST_ALIGNED: u64 = 1 << 20;
/// The fewest bytes that a key has with its value: a length, a kind and a number.
const LEAST_KEY: u64 = 8 + 4 + 1;
/// The fewest that the entry of a tensor has: a length, dimensions, a format and an offset.
const LEAST_TENSOR: u64 = 8 + 4 + 8 + 4 + 8;

/// The keys of a file, by name.
pub(super) type Metadata<'a> = BTreeMap<&'a str, Value<'a>>;

/// A parsed header over the bytes of the file.
#[derive(Debug)]
pub(super) struct Header<'a> {
    pub(super) metadata: Metadata<'a>,
    pub(super) tensors: BTreeMap<&'a str, Tensor<'a>>,
}

/// One tensor.
#[derive(Debug, Clone)]
pub(super) struct Tensor<'a> {
    /// Slowest first, as in safetensors; GGUF writes them the other way round.
    pub(super) shape: Vec<usize>,
    pub(super) format: Format,
    /// Whole blocks.
    pub(super) bytes: &'a [u8],
}

/// Where the header says that a tensor lies.
struct Place {
    shape: Vec<usize>,
    format: Format,
    offset: u64,
    length: u64,
}

/// Why a header is not read.
enum Fault {
    /// It is wrong.
    Wrong(Reason),
    /// It asks for something that this build lacks.
    Unsupported { what: String, supported: &'static str },
}

impl From<Reason> for Fault {
    fn from(reason: Reason) -> Self {
        Self::Wrong(reason)
    }
}

impl<'a> Header<'a> {
    /// Reads the header of a file of this name.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Unsupported`], with the file's name.
    pub(super) fn parse(file: &str, bytes: &'a [u8]) -> Result<Self, Error> {
        read(bytes).map_err(|fault| match fault {
            Fault::Wrong(reason) => Error::invalid(file, reason),
            Fault::Unsupported { what, supported } => Error::Unsupported {
                what: format!("{what} of {file}"),
                supported: supported.into(),
            },
        })
    }
}

fn read(file: &[u8]) -> Result<Header<'_>, Fault> {
    let head = &file[..file.len().min(HEADER)];
    let mut cursor = Cursor::new(head);
    if !file.starts_with(b"GGUF") {
        return Err(Fault::Wrong(
            "it does not begin as a GGUF file does; a model is a GGUF file, or a folder with config.json, \
             *.safetensors and tokenizer.json"
                .into(),
        ));
    }
    cursor.take(4, "the magic")?;
    check_version(cursor.u32("the version")?)?;
    let tensor_count = cursor.u64("the number of tensors")?;
    let key_count = cursor.u64("the number of keys")?;
    let least = key_count
        .checked_mul(LEAST_KEY)
        .zip(tensor_count.checked_mul(LEAST_TENSOR))
        .and_then(|(keys, tensors)| keys.checked_add(tensors));
    if least.is_none_or(|least| least > cursor.left()) || key_count.max(tensor_count) > COUNT {
        return Err(Fault::Wrong(format!(
            "{key_count} keys and {tensor_count} tensors cannot stand in the {} bytes of its header; copy the file \
             again",
            cursor.left()
        )));
    }
    let mut metadata = Metadata::new();
    for _ in 0..key_count {
        let name = cursor.name(NAME, "the name of a key")?;
        let value = Value::read(&mut cursor, head).map_err(|why| format!("key {name}: {why}"))?;
        insert(&mut metadata, name, value)?;
    }
    let mut places = BTreeMap::new();
    for _ in 0..tensor_count {
        let name = cursor.name(NAME, "the name of a tensor")?;
        insert(&mut places, name, place(&mut cursor, name)?)?;
    }
    let start = (cursor.at() as u64).next_multiple_of(alignment(&metadata)?);
    let tensors = put(file, start, alignment(&metadata)?, places)?;
    Ok(Header { metadata, tensors })
}

fn check_version(version: u32) -> Result<(), Fault> {
    let refused = |what: String| Err(Fault::Unsupported { what, supported: "GGUF 2 and 3" });
    match version {
        2 | 3 => Ok(()),
        _ if matches!(version.swap_bytes(), 1..=3) => {
            refused("the order of bytes (big-endian)".into())
        }
        _ => refused(format!("version {version}")),
    }
}

fn insert<'a, T>(into: &mut BTreeMap<&'a str, T>, name: &'a str, value: T) -> Result<(), Fault> {
    match into.entry(name) {
        Entry::Vacant(entry) => {
            entry.insert(value);
            Ok(())
        }
        Entry::Occupied(_) => Err(Fault::Wrong(format!("{name} is there twice"))),
    }
}

/// Bytes to which tensors are aligned.
fn alignment(metadata: &Metadata<'_>) -> Result<u64, Reason> {
    let Some(value) = metadata.get("general.alignment") else { return Ok(ALIGNMENT) };
    let aligned =
        value.whole().filter(|to| to.is_power_of_two() && (8..=MOST_ALIGNED).contains(to));
    aligned
        .ok_or_else(|| format!("general.alignment is not a power of two from 8 to {MOST_ALIGNED}"))
}

/// Reads the entry of a tensor behind its name.
fn place(cursor: &mut Cursor<'_>, name: &str) -> Result<Place, Fault> {
    let dimensions = cursor.u32("the dimensions of a tensor")?;
    if !(1..=DIMENSIONS).contains(&dimensions) {
        return Err(Fault::Wrong(format!("tensor {name} has {dimensions} dimensions")));
    }
    let mut sizes = Vec::new();
    for _ in 0..dimensions {
        sizes.push(cursor.u64("the shape of a tensor")?);
    }
    let format = cursor.u32("the format of a tensor")?;
    let format = Format::of(format).map_err(|format| Fault::Unsupported {
        what: format!("number format {format} of tensor {name}"),
        supported: SUPPORTED,
    })?;
    let offset = cursor.u64("the offset of a tensor")?;
    let (values, bytes) = format.block();
    let all = sizes.iter().try_fold(1u64, |product, size| product.checked_mul(*size));
    let row = sizes.first().copied().unwrap_or_default();
    // Within the address space, and so that no two of its numbers overflow together.
    let length = all
        .filter(|all| *all > 0 && row.is_multiple_of(values as u64))
        .and_then(|all| (all / values as u64).checked_mul(bytes as u64))
        .filter(|length| i64::try_from(*length).is_ok());
    let shape = sizes.iter().rev().map(|size| usize::try_from(*size).ok()).collect();
    match (length, shape) {
        (Some(length), Some(shape)) => Ok(Place { shape, format, offset, length }),
        _ => Err(Fault::Wrong(format!(
            "tensor {name} has the shape {sizes:?}, of which no rows of blocks of {values} can be made"
        ))),
    }
}

/// The bytes of all tensors: each within the file, where it may be, and none in two.
fn put<'a>(
    file: &'a [u8],
    start: u64,
    alignment: u64,
    places: BTreeMap<&'a str, Place>,
) -> Result<BTreeMap<&'a str, Tensor<'a>>, Fault> {
    let mut order: Vec<_> = places.into_iter().collect();
    order.sort_by_key(|(_, place)| place.offset);
    let mut free = 0;
    let mut tensors = BTreeMap::new();
    for (name, Place { shape, format, offset, length }) in order {
        if !offset.is_multiple_of(alignment) {
            let reason = format!("tensor {name} begins at {offset}, no multiple of {alignment}");
            return Err(Fault::Wrong(reason));
        }
        if offset < free {
            return Err(Fault::Wrong(format!("tensor {name} lies over another")));
        }
        let begin = start.checked_add(offset);
        let range = begin.and_then(|begin| Some((begin, begin.checked_add(length)?)));
        let range = range.and_then(|(begin, end)| {
            Some(usize::try_from(begin).ok()?..usize::try_from(end).ok()?)
        });
        let bytes = range.and_then(|range| file.get(range)).ok_or_else(|| {
            format!(
                "tensor {name} ends beyond the file, which has {} bytes: it was cut off; copy it again",
                file.len()
            )
        })?;
        free = offset + length;
        tensors.insert(name, Tensor { shape, format, bytes });
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gguf::testing::Writer;

    fn small() -> Vec<u8> {
        Writer::new()
            .text("general.architecture", "llama")
            .whole("llama.block_count", 2)
            .real("llama.rope.freq_base", 10_000.0)
            .boolean("tokenizer.ggml.add_bos_token", true)
            .texts("tokenizer.ggml.tokens", &["a", "é", ""])
            .integers("tokenizer.ggml.token_type", &[1, -3, 6])
            .tensor("one", &[2, 32], Format::F32, &[0; 256])
            .tensor("two", &[2, 32], Format::Q8_0, &[1; 68])
            .finish()
    }

    fn refusal(bytes: &[u8]) -> String {
        Header::parse("x.gguf", bytes).unwrap_err().to_string()
    }

    #[test]
    fn a_header_is_read() {
        let bytes = small();
        let header = Header::parse("x.gguf", &bytes).unwrap();
        let value = |key: &str| &header.metadata[key];
        assert_eq!(value("general.architecture").text(), Some("llama"));
        assert_eq!(value("llama.block_count").whole(), Some(2));
        assert_eq!(value("llama.rope.freq_base").real(), Some(10_000.0));
        assert_eq!(value("tokenizer.ggml.add_bos_token").boolean(), Some(true));
        let texts: Vec<_> = value("tokenizer.ggml.tokens").texts().unwrap().collect();
        assert_eq!(texts, [Some("a"), Some("é"), Some("")]);
        let types: Vec<_> = value("tokenizer.ggml.token_type").integers().unwrap().collect();
        assert_eq!(types, [1, -3, 6]);
        assert!(value("tokenizer.ggml.token_type").texts().is_none());
        let two = &header.tensors["two"];
        assert_eq!((two.shape.as_slice(), two.format), ([2, 32].as_slice(), Format::Q8_0));
        assert_eq!(two.bytes, [1; 68]);
    }

    #[test]
    fn lengths_that_cannot_be_are_refused_and_not_allocated() {
        let long = 1u64 << 62;
        let head = |tensors: u64, keys: u64| {
            [b"GGUF".as_slice(), &3u32.to_le_bytes(), &tensors.to_le_bytes(), &keys.to_le_bytes()]
                .concat()
        };
        let key = |kind: u32| {
            [head(0, 1).as_slice(), &1u64.to_le_bytes(), b"k", &kind.to_le_bytes()].concat()
        };
        let array = |kind: u32, count: u64| {
            [key(9).as_slice(), &kind.to_le_bytes(), &count.to_le_bytes(), &[0; 64]].concat()
        };
        let name = [head(0, 1).as_slice(), &long.to_le_bytes(), &[0; 64]].concat();
        assert_eq!(name[..32].len(), 32);
        let deep = [9u32.to_le_bytes().as_slice(), &1u64.to_le_bytes()].concat().repeat(100);
        for (bytes, word) in [
            (b"GGUF".to_vec(), "the version at byte 4"),
            (b"GGML".to_vec(), "does not begin"),
            (Vec::new(), "does not begin"),
            (name[..32].to_vec(), "cannot stand in the 8 bytes"),
            (name, "would take 4611686018427387904 bytes"),
            (head(long, 0), "cannot stand"),
            (head(0, u64::MAX), "cannot stand"),
            (key(8), "key k: a text"),
            ([key(8).as_slice(), &long.to_le_bytes()].concat(), "key k: a text"),
            ([key(99).as_slice(), &[0; 8]].concat(), "the kind of value 99"),
            (array(4, long), "key k: an array"),
            (array(12, u64::MAX), "key k: an array"),
            (array(8, long), "cannot lie in the 64 bytes"),
            (array(9, 6), "the length of an array"),
            ([key(9).as_slice(), &deep].concat(), "arrays within arrays"),
        ] {
            let message = refusal(&bytes);
            assert!(message.contains(word), "{message} instead of {word}");
        }
    }

    #[test]
    fn tensors_lie_where_they_may() {
        let one = || Writer::new().tensor("one", &[2, 32], Format::F32, &[0; 256]);
        let good = one().at(256).tensor("two", &[32], Format::F32, &[0; 128]).finish();
        assert!(Header::parse("x", &good).is_ok());
        for (bytes, word) in [
            (one().at(128).tensor("two", &[32], Format::F32, &[0; 128]), "two lies over another"),
            (one().at(260).tensor("two", &[32], Format::F32, &[0; 128]), "no multiple of 32"),
            (
                one().at(1 << 62).tensor("two", &[32], Format::F32, &[0; 128]),
                "ends beyond the file",
            ),
            (
                one().at(u64::MAX - 31).tensor("two", &[32], Format::F32, &[]),
                "ends beyond the file",
            ),
            (one().tensor("one", &[32], Format::F32, &[0; 128]), "one is there twice"),
            (one().tensor("two", &[1 << 40, 1 << 40], Format::F32, &[]), "shape"),
            (one().tensor("two", &[32, 0], Format::F32, &[]), "shape"),
            (one().tensor("two", &[31], Format::Q8_0, &[]), "blocks of 32"),
            (one().tensor("two", &[1, 1, 1, 1, 1], Format::F32, &[0; 4]), "5 dimensions"),
            (one().whole("general.alignment", 0), "general.alignment"),
            (one().whole("general.alignment", 48), "general.alignment"),
            (one().whole("general.alignment", 1 << 40), "general.alignment"),
        ] {
            let message = refusal(&bytes.finish());
            assert!(message.contains(word), "{message} instead of {word}");
        }
        let cut = &good[..good.len() - 1];
        assert!(refusal(cut).contains("cut off"), "{}", refusal(cut));
    }

    #[test]
    fn other_versions_and_formats_are_named() {
        let with = |at: usize, byte: u8| {
            let mut bytes = small();
            bytes[at] = byte;
            bytes
        };
        assert!(refusal(&with(4, 1)).contains("version 1"));
        let big = [b"GGUF".as_slice(), &3u32.to_be_bytes(), &[0; 16]].concat();
        assert!(refusal(&big).contains("big-endian"));
        assert!(Header::parse("x", &with(4, 2)).is_ok());
    }

    proptest! {
        /// Whatever the bytes are, there is an answer; a slice of the file is all that it holds.
        #[test]
        fn any_bytes_have_an_answer(tail in prop::collection::vec(any::<u8>(), 0..400)) {
            drop(Header::parse("x", &[b"GGUF\x03\0\0\0".as_slice(), &tail].concat()));
        }

        #[test]
        fn any_change_has_an_answer(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut: prop::sample::Index,
            whole: bool,
        ) {
            let mut bytes = small();
            for (place, byte) in changes {
                let at = place.index(bytes.len());
                bytes[at] = byte;
            }
            let end = if whole { bytes.len() } else { cut.index(bytes.len()) };
            if let Ok(header) = Header::parse("x", &bytes[..end]) {
                for tensor in header.tensors.values() {
                    let values: usize = tensor.shape.iter().product();
                    prop_assert_eq!(tensor.format.to_f32(tensor.bytes).len(), values);
                }
                for value in header.metadata.values() {
                    let texts = value.texts().map_or(0, Iterator::count);
                    let numbers = value.integers().map_or(0, Iterator::count);
                    // A text has eight bytes of length at least.
                    prop_assert!(texts * 8 <= bytes.len() && numbers <= bytes.len());
                }
            }
        }
    }
}
