//! Pages of lists.

use rusqlite::{Row, Statement, params};

use crate::error::Result;

/// Which way a list runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    #[default]
    Ascending,
    /// Newest first.
    Descending,
}

impl Order {
    /// The id that every list begins behind, if nobody names one.
    pub(crate) const fn beginning(self) -> [u8; 16] {
        match self {
            Self::Ascending => [0; 16],
            Self::Descending => [0xff; 16],
        }
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The entries, in the order asked for.
    pub items: Vec<T>,
    /// Whether more would follow behind the last one.
    pub has_more: bool,
}

impl<T> Page<T> {
    /// A page of a table by id. `statement` takes the id that the page begins behind, and how many
    /// rows at most.
    pub(crate) fn of_ids(
        statement: &mut Statement<'_>,
        after: Option<[u8; 16]>,
        limit: usize,
        order: Order,
        read: impl Fn(&Row<'_>) -> Result<T>,
    ) -> Result<Self> {
        let one_more = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let mut rows = statement.query(params![after.unwrap_or(order.beginning()), one_more])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(read(row)?);
        }
        Ok(Self::cut(found, limit))
    }

    /// A page from a query that asked for one entry more than `limit`.
    pub(crate) fn cut(mut items: Vec<T>, limit: usize) -> Self {
        let has_more = items.len() > limit;
        items.truncate(limit);
        Self { items, has_more }
    }
}
