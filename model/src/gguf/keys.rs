//! Asking the metadata for a key of a kind.

use super::header::Metadata;
use crate::Error;

/// The metadata of a file.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    /// The file's name, for refusals.
    pub(super) file: &'a str,
    pub(super) metadata: &'a Metadata<'a>,
}

macro_rules! askers {
    ($($name:ident -> $type:ty, $kind:literal;)*) => {$(
        #[doc = concat!("The key, if it is there; it must be ", $kind, ".")]
        pub(super) fn $name(&self, key: &str) -> Result<Option<$type>, Error> {
            let Some(value) = self.metadata.get(key) else { return Ok(None) };
            value.$name().map(Some).ok_or_else(|| self.wrong(key, concat!("it is not ", $kind)))
        }
    )*};
}

impl<'a> Keys<'a> {
    askers! {
        whole -> u64, "a whole number";
        real -> f64, "a finite number with a fraction";
        boolean -> bool, "true or false";
        text -> &'a str, "a text";
        texts -> impl Iterator<Item = Option<&'a str>> + use<'a>, "a list of texts";
        integers -> impl Iterator<Item = i128> + use<'a>, "a list of whole numbers";
        reals -> impl Iterator<Item = f64> + use<'a>, "a list of numbers with a fraction";
    }

    /// The value of a key that must be there.
    pub(super) fn need<T>(&self, key: &str, value: Option<T>) -> Result<T, Error> {
        value.ok_or_else(|| self.wrong(key, "it is missing; convert the model again"))
    }

    /// What is wrong with a key.
    pub(super) fn wrong(&self, key: &str, reason: &str) -> Error {
        Error::invalid(self.file, format!("key {key}: {reason}"))
    }

    /// A key whose value this build does not implement.
    pub(super) fn unsupported(&self, key: &str, value: &str, supported: &str) -> Error {
        Error::Unsupported {
            what: format!("{key} {value} of {}", self.file),
            supported: supported.to_owned(),
        }
    }

    /// Refuses keys below a prefix that are none of those known: what they say may change what the model computes.
    pub(super) fn only(&self, prefix: &str, known: &[&str]) -> Result<(), Error> {
        let names = self.metadata.keys().filter_map(|key| key.strip_prefix(prefix));
        match names.into_iter().find(|name| !known.contains(name)) {
            Some(name) => Err(Error::Unsupported {
                what: format!("the key {prefix}{name} of {}", self.file),
                supported: "the keys that are known; this one may change what it computes".into(),
            }),
            None => Ok(()),
        }
    }
}
