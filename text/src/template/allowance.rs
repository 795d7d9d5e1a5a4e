//! What one rendering may make: so many bytes of text and so many values, all that is thrown away included.
//!
//! Whoever makes something says so here before, if it can be told, or after (the filter `checked`). Time is looked at in the
//! same places, so a rendering also ends when its client leaves.

use std::cell::RefCell;

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

use crate::Effort;

/// Bytes of text that one rendering may make, what it reads, writes and throws away counted each time. A prompt of
/// 2 MiB, the longest body by default, needs about a tenth of it.
const BYTES: usize = 64 << 20;
/// What a value costs beside its text: what it takes in memory.
const ITEM: usize = 32;
/// Lists in lists. Deeper ones would end the stack when they are written or thrown away.
const DEPTH: usize = 64;

struct Allowance {
    left: usize,
    effort: Effort,
    /// Why the rendering was stopped, if it was stopped here.
    stopped: Option<crate::Error>,
}

thread_local! {
    /// Of the rendering on this thread.
    static CURRENT: RefCell<Option<Allowance>> = const { RefCell::new(None) };
}

/// Renders with an allowance.
///
/// # Errors
/// Why the rendering was stopped, or what `otherwise` makes of another error.
pub(super) fn within<T>(
    effort: &Effort,
    render: impl FnOnce() -> Result<T, Error>,
    otherwise: impl FnOnce(Error) -> crate::Error,
) -> Result<T, crate::Error> {
    let allowance = Allowance { left: BYTES, effort: effort.clone(), stopped: None };
    CURRENT.replace(Some(allowance));
    let result = render();
    let stopped = CURRENT.take().and_then(|allowance| allowance.stopped);
    match (stopped, result) {
        (Some(stopped), _) => Err(stopped),
        (None, result) => result.map_err(otherwise),
    }
}

/// Takes something off the allowance.
///
/// # Errors
/// Nothing is left, time is up, or nobody waits any more.
pub(super) fn spend(bytes: usize) -> Result<(), Error> {
    CURRENT.with_borrow_mut(|current| {
        // Constants are folded where nothing is rendered yet; there is nothing of ours among them.
        let Some(allowance) = current else { return Ok(()) };
        let stop = match (allowance.effort.check(), allowance.left.checked_sub(bytes)) {
            (Ok(()), Some(left)) => {
                allowance.left = left;
                return Ok(());
            }
            (Err(error), _) => error,
            (Ok(()), None) => crate::Error::Template(format!(
                "makes more than {} MiB of text and values; send less text, or use another template",
                BYTES >> 20
            )),
        };
        allowance.stopped = Some(stop);
        Err(Error::from(ErrorKind::OutOfFuel))
    })
}

/// Spends what a value has cost.
///
/// # Errors
/// As [`spend`]; a namespace inside of another value, which could hold itself; too many lists in lists.
pub(super) fn spend_value(value: &Value) -> Result<(), Error> {
    if is_namespace(value) { spend(1) } else { spend_at(value, 0) }
}

/// As [`spend_value`], for what is kept in a namespace.
///
/// # Errors
/// As [`spend_value`], and if it is itself a namespace.
pub(super) fn spend_kept(value: &Value) -> Result<(), Error> {
    spend_at(value, 0)
}

fn spend_at(value: &Value, depth: usize) -> Result<(), Error> {
    let refuse = |message: &'static str| Err(Error::new(ErrorKind::InvalidOperation, message));
    if depth > DEPTH {
        return refuse("lists are nested too deep");
    }
    if is_namespace(value) {
        return refuse("a namespace inside of another value is not supported");
    }
    match value.kind() {
        ValueKind::String => spend(1 + value.as_str().map_or(0, str::len)),
        ValueKind::Bytes => spend(1 + value.as_bytes().map_or(0, <[u8]>::len)),
        ValueKind::Seq | ValueKind::Iterable => value.try_iter()?.try_for_each(|item| {
            spend(ITEM)?;
            spend_at(&item, depth + 1)
        }),
        ValueKind::Map => value.try_iter()?.try_for_each(|key| {
            spend(2 * ITEM)?;
            spend_at(&key, depth + 1)?;
            spend_at(&value.get_item(&key)?, depth + 1)
        }),
        _ => spend(1),
    }
}

fn is_namespace(value: &Value) -> bool {
    let name = value.as_object().map(|object| object.type_name());
    name.is_some_and(|name| name.ends_with("::Namespace"))
}
