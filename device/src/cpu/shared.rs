//! Elements that the parts of a job share.

/// A pointer that parts of a job may share; each writes its own elements.
pub(crate) struct Shared<T>(*mut T);

// Not derived: that would ask for elements that can be copied.
impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

// SAFETY: users write disjoint elements only.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn new(slice: &mut [T]) -> Self {
        Self(slice.as_mut_ptr())
    }

    pub(crate) fn ptr(self) -> *mut T {
        self.0
    }

    /// The elements `from..from + len`.
    ///
    /// # Safety
    /// They lie inside of the slice, and no other part touches them during `'a`.
    pub(crate) unsafe fn part<'a>(self, from: usize, len: usize) -> &'a mut [T] {
        // SAFETY: the caller keeps the parts inside and disjoint.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(from), len) }
    }
}
