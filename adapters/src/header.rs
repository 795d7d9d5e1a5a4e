//! The header of a safetensors file, read with suspicion.
//!
//! Prevents a crafted header from costing memory or hiding bytes: at most 1 MiB, no name twice, the
//! tensors cover the rest of the file without gap or overlap.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

use crate::Refusal;

/// The largest header that is read, in bytes. Hone's own are below 100 KB.
pub(crate) const MAX_HEADER: u64 = 1 << 20;

/// The number formats that adapters come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dtype {
    F32,
    F16,
    Bf16,
}

impl Dtype {
    pub(crate) const fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// One tensor of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<u64>,
    /// Size of its data. The data of one entry follows that of the entry before.
    pub(crate) bytes: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

struct RawHeader(Vec<(String, RawEntry)>);

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<BTreeMap<String, String>>()?;
                    } else {
                        entries.push((name, map.next_value()?));
                    }
                }
                Ok(RawHeader(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// Reads the table of tensors, in the order of their data, which has `data_bytes` in all.
pub(crate) fn parse(json: &[u8], data_bytes: u64) -> Result<Vec<Entry>, Refusal> {
    let RawHeader(raw) = serde_json::from_slice(json)
        .map_err(|error| Refusal::Header(format!("its table of tensors is broken ({error})")))?;
    let mut entries = Vec::with_capacity(raw.len());
    for (name, RawEntry { dtype, shape, data_offsets }) in raw {
        let dtype = match dtype.as_str() {
            "F32" => Dtype::F32,
            "F16" => Dtype::F16,
            "BF16" => Dtype::Bf16,
            _ => return Err(Refusal::Dtype { tensor: name, dtype }),
        };
        let elements = shape.iter().try_fold(1_u64, |product, n| product.checked_mul(*n));
        let bytes = elements.and_then(|n| n.checked_mul(dtype.bytes()));
        let (start, end) = data_offsets;
        if bytes.is_none() || end.checked_sub(start) != bytes {
            return Err(Refusal::Header(format!("`{name}` has offsets that do not fit its shape")));
        }
        let bytes = end - start;
        entries.push((start, Entry { name, dtype, shape, bytes }));
    }
    entries.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
    let mut position = 0;
    for (start, entry) in &entries {
        if *start != position {
            return Err(Refusal::Header(format!(
                "there is a gap or an overlap at `{}`",
                entry.name
            )));
        }
        position += entry.bytes;
    }
    if position != data_bytes {
        return Err(Refusal::Truncated { expected: position, found: data_bytes });
    }
    Ok(entries.into_iter().map(|(_, entry)| entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tensors_come_in_the_order_of_their_data() {
        let json = br#"{"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},
            "__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[2,1],"data_offsets":[0,4]}}"#;
        let entries = parse(json, 8).unwrap();
        assert_eq!(entries.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(matches!(parse(json, 7), Err(Refusal::Truncated { expected: 8, found: 7 })));
    }

    #[test]
    fn gaps_overlaps_and_wrong_sizes_are_refused() {
        for json in [
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}}"#,
            r#"{"a":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,8]}}"#,
            r#"{"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#,
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"more":1}}"#,
            r#"[]"#,
            "",
        ] {
            assert!(parse(json.as_bytes(), 8).is_err(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..200), data: u64) {
            let _ = parse(&bytes, data);
        }
    }
}
