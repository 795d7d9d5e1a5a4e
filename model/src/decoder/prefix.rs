//! Sequences of a training batch that begin alike, with a system prompt for instance: what they share is computed once.
//!
//! Only attention sees that there are several. For it rows are laid out again, each sequence with a copy of the shared rows
//! before its own, and on the way back the gradients of the copies are summed. So the results are those of whole sequences.

use std::ops::Range;

use hone_device::{Buffer, Device};

/// Sequences whose first rows are shared: these stand once, before the own rows of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PrefixGroup {
    /// The shared rows; empty for a sequence by itself.
    pub(crate) shared: Range<usize>,
    /// The own rows of each sequence.
    pub(crate) own: Vec<Range<usize>>,
}

/// Where the rows of a step lie in the layout that attention sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SharedPrefixes {
    /// For each row of the layout the row of the step that it copies.
    rows: Vec<usize>,
    /// For each row of the step its first copy; ascending.
    firsts: Vec<usize>,
}

impl SharedPrefixes {
    /// The groups are those of all rows of the step, in their order.
    pub(crate) fn new(groups: &[PrefixGroup]) -> Self {
        let (mut rows, mut firsts) = (Vec::new(), Vec::new());
        for group in groups {
            firsts.extend((0..group.shared.len()).map(|row| rows.len() + row));
            for own in &group.own {
                rows.extend(group.shared.clone());
                firsts.extend((0..own.len()).map(|row| rows.len() + row));
                rows.extend(own.clone());
            }
        }
        Self { rows, firsts }
    }

    /// Rows of the step.
    pub(crate) fn len(&self) -> usize {
        self.firsts.len()
    }

    /// Rows of `width` as attention sees them.
    pub(crate) fn copied(&self, device: &dyn Device, rows: &Buffer, width: usize) -> Buffer {
        device.index_select(rows, &self.rows, width)
    }

    /// The backward of [`SharedPrefixes::copied`].
    pub(crate) fn summed(&self, device: &dyn Device, copies: &Buffer, width: usize) -> Buffer {
        device.index_add(copies, &self.rows, self.firsts.len(), width)
    }

    /// Keeps one copy of each row: all copies are equal.
    pub(crate) fn once(&self, device: &dyn Device, copies: &mut Buffer, width: usize) {
        device.gather_rows(copies, &self.firsts, width);
    }

    /// The backward of [`SharedPrefixes::once`]: nothing reads the other copies.
    pub(crate) fn once_backward(&self, device: &dyn Device, rows: Buffer, width: usize) -> Buffer {
        device.scatter_rows(rows, &self.firsts, self.rows.len(), width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sequence_has_a_copy_of_what_is_shared() {
        let alike = PrefixGroup { shared: 0..2, own: vec![2..3, 3..6] };
        let apart = PrefixGroup { shared: 6..6, own: vec![6..8, 8..9] };
        let prefixes = SharedPrefixes::new(&[alike, apart]);
        assert_eq!(prefixes.rows, [0, 1, 2, 0, 1, 3, 4, 5, 6, 7, 8]);
        assert_eq!(prefixes.firsts, [0, 1, 2, 5, 6, 7, 8, 9, 10]);
        assert_eq!(prefixes.len(), 9);
    }
}
