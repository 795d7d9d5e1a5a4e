//! What something will take, part by part.

use std::fmt;

use crate::room::{Room, mebibytes};

/// Memory that is about to be used, in named parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Need {
    parts: Vec<(&'static str, u64)>,
}

/// It does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{need} are needed, and {room} can be had")]
pub struct TooMuch {
    need: Need,
    room: Room,
}

impl Need {
    /// So many bytes for `part`.
    #[must_use]
    pub fn of(part: &'static str, bytes: u64) -> Self {
        Self::default().and(part, bytes)
    }

    /// And so many for another. Parts of nothing are not told.
    #[must_use]
    pub fn and(mut self, part: &'static str, bytes: u64) -> Self {
        if bytes > 0 {
            self.parts.push((part, bytes));
        }
        self
    }

    /// All parts together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.parts.iter().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }

    /// Whether it fits, with something left for what nobody counts.
    ///
    /// # Errors
    /// [`TooMuch`], with all figures.
    pub fn admit(&self, room: &Room) -> Result<(), TooMuch> {
        if self.bytes() <= room.promised() {
            return Ok(());
        }
        Err(TooMuch { need: self.clone(), room: room.clone() })
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", mebibytes(self.bytes()))?;
        let parts: Vec<String> = self
            .parts
            .iter()
            .map(|(part, bytes)| format!("{} for {part}", mebibytes(*bytes)))
            .collect();
        match parts.len() {
            0 => Ok(()),
            _ => write!(f, " ({})", parts.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_count_and_are_told() {
        let need = Need::of("weights", 500 << 20).and("nothing", 0).and("caches", 100 << 20);
        let room = |mebibytes: u64| Room { bytes: mebibytes << 20, by: "the test".to_owned() };
        assert!(need.admit(&room(667)).is_ok());
        let error = need.admit(&room(660)).unwrap_err().to_string();
        assert_eq!(
            error,
            "600 MiB (500 for weights, 100 for caches) are needed, and 660 MiB (the test) can be had"
        );
        assert!(Need::of("all", u64::MAX).and("more", 1).admit(&room(1 << 20)).is_err());
    }
}
