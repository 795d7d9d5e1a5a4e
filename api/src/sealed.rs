//! JSON files that tell whether they are whole.
//!
//! A bit that flipped on a disk mostly leaves valid JSON behind: another rank, another epoch. A sealed file ends with the
//! checksum of all bytes before it, so that a reader of today or of a later version, which knows more fields, can tell.

use serde::{Serialize, de::DeserializeOwned};

/// What stands before the checksum.
const BEFORE: &str = ",\n  \"checksum\": \"";
/// What stands behind it.
const AFTER: &str = "\"\n}\n";
/// Hex digits of a checksum, BLAKE3.
const DIGITS: usize = 64;

/// Why a file cannot be believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// It was changed after it was written.
    #[error("its checksum does not fit its content")]
    Checksum,
    /// It carries no checksum: cut off, or of another version.
    #[error("it does not end with its checksum")]
    Unsealed,
    /// It is no JSON, or another thing.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// The bytes of a sealed file: pretty JSON with the field `checksum` at its end.
///
/// # Errors
/// The value is no JSON object, or cannot be written as JSON.
pub fn seal<T: Serialize>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    if bytes.len() < 3 || !bytes.ends_with(b"\n}") {
        return Err(<serde_json::Error as serde::ser::Error>::custom(
            "only an object with fields can be sealed",
        ));
    }
    bytes.truncate(bytes.len() - 2);
    let checksum = blake3::hash(&bytes).to_hex();
    for part in [BEFORE, checksum.as_str(), AFTER] {
        bytes.extend_from_slice(part.as_bytes());
    }
    Ok(bytes)
}

/// Reads a sealed file.
///
/// # Errors
/// [`Broken`]
pub fn open<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Broken> {
    let (content, checksum) = parts(bytes).ok_or(Broken::Unsealed)?;
    if blake3::hash(content).to_hex().as_bytes() != checksum {
        return Err(Broken::Checksum);
    }
    let mut json = content.to_vec();
    json.push(b'}');
    Ok(serde_json::from_slice(&json)?)
}

/// Reads a file that a person, or a version from before seals, may have written without one. `T` must deny unknown
/// fields: a seal that is itself damaged is one.
///
/// # Errors
/// [`Broken`]
pub fn open_or_plain<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Broken> {
    match parts(bytes) {
        Some(_) => open(bytes),
        None => Ok(serde_json::from_slice(bytes)?),
    }
}

/// The content and its checksum, if the bytes end with one.
fn parts(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_suffix(AFTER.as_bytes())?;
    let (rest, checksum) = rest.split_at_checked(rest.len().checked_sub(DIGITS)?)?;
    Some((rest.strip_suffix(BEFORE.as_bytes())?, checksum))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        rank: u32,
        name: String,
        rates: Vec<f64>,
    }

    fn order() -> Order {
        Order { rank: 16, name: "a \"b\"\n}".into(), rates: vec![0.1, 1e-30] }
    }

    #[test]
    fn what_is_sealed_is_read_and_is_json() {
        let bytes = seal(&order()).unwrap();
        assert_eq!(open::<Order>(&bytes).unwrap(), order());
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((json["rank"].as_u64(), json["checksum"].is_string()), (Some(16), true));
        let plain = serde_json::to_vec(&order()).unwrap();
        assert_eq!(open_or_plain::<Order>(&plain).unwrap(), order());
        assert!(matches!(open::<Order>(&plain), Err(Broken::Unsealed)));
        assert!(seal(&[1, 2]).is_err());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let bytes = seal(&order()).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open::<Order>(&flipped).is_err(), "bit {bit}");
            assert!(open_or_plain::<Order>(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(open::<Order>(&bytes[..length]).is_err(), "{length} bytes");
            assert!(open_or_plain::<Order>(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}
