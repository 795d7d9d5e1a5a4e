//! A row to train on, and which of its wordings is shown when.

use hone_dataset::Teacher;
use hone_model::train::TrainSequence;

/// A row to train on.
#[derive(Debug, Clone, PartialEq)]
pub struct Lesson {
    /// How often it is shown in a pass, at least.
    pub showings: usize,
    /// Whose distribution it keeps, if it keeps one.
    pub teacher: Teacher,
    /// The row itself, then with its question in other wordings.
    pub(super) wordings: Vec<TrainSequence>,
}

impl Lesson {
    /// The row as it is shown for the `number`-th time.
    pub fn shown(&self, number: usize) -> &TrainSequence {
        &self.wordings[number % self.wordings.len()]
    }

    /// The row as it is shown for the `number`-th time in a pass. Over the passes it goes through its
    /// wordings, or its conversations.
    pub fn shown_in(&self, pass: usize, number: usize) -> &TrainSequence {
        self.shown(pass * self.showings + number)
    }

    /// The row as it was written.
    pub fn itself(&self) -> &TrainSequence {
        self.shown(0)
    }

    /// The row in the last of its other wordings: none is shown less often.
    pub fn in_other_words(&self) -> Option<&TrainSequence> {
        self.wordings[1..].last()
    }

    pub(super) fn into_itself(mut self) -> TrainSequence {
        self.wordings.swap_remove(0)
    }

    /// All its wordings.
    pub fn wordings(&self) -> &[TrainSequence] {
        &self.wordings
    }

    /// Whether it teaches its answer and nothing else.
    pub fn is_taught(&self) -> bool {
        self.itself().imitated && !self.itself().has_kl_to_base()
    }
}
