//! How far a request had come when its deadline was there.

/// How far a request had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It had no token yet.
    Waiting,
    /// It had.
    Answering,
}

impl Phase {
    /// All of them.
    pub(crate) const ALL: [Self; 2] = [Self::Waiting, Self::Answering];

    /// The word in the figures.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Answering => "answering",
        }
    }
}
