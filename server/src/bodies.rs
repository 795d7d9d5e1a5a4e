//! The memory that request bodies share: each one is bounded, and so are all of them together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The room for bodies.
#[derive(Debug)]
pub(crate) struct Room {
    most: usize,
    taken: AtomicUsize,
}

impl Room {
    /// For so many bytes.
    pub(crate) const fn new(most: usize) -> Self {
        Self { most, taken: AtomicUsize::new(0) }
    }

    /// A body of nothing yet.
    pub(crate) fn body(self: &Arc<Self>) -> Held {
        Held { room: Arc::clone(self), bytes: 0 }
    }
}

/// What one body has of it, until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    room: Arc<Room>,
    bytes: usize,
}

impl Held {
    /// Takes so many bytes more. False: there is no room for them.
    #[must_use]
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let more = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= self.room.most);
        let taken = &self.room.taken;
        let grown = taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        self.bytes += if grown { bytes } else { 0 };
        grown
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_shared_and_comes_back() {
        let room = Arc::new(Room::new(100));
        let (mut one, mut two) = (room.body(), room.body());
        assert!(one.grow(60) && two.grow(40));
        assert!(!one.grow(1) && !two.grow(usize::MAX));
        drop(one);
        assert!(two.grow(60) && !two.grow(1));
        drop(two);
        assert_eq!(room.taken.load(Ordering::Relaxed), 0);
    }
}
