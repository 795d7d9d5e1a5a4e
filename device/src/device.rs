//! What a device is.

use std::fmt::Debug;

use crate::ops::{AttentionOps, LossOps, MemoryOps, ProductOps, RowOps};

/// Something that a decoder is computed on: memory of its own, and every operation, forward and backward.
///
/// Rows of activations are in [`Buffer`](crate::Buffer)s, weights in [`Matrix`](crate::Matrix), keys and values in
/// [`LayerCache`](crate::LayerCache). Only the device that made one looks into it, so a device may keep them where it likes and in
/// the precision that it likes. All operations have returned their result when they return, and panic if the shapes of their
/// operands do not fit together, or if an operand belongs to another device: that is a fault of the program, never of a user.
///
/// An operation's result for one row does not depend on the other rows of the call.
pub trait Device:
    MemoryOps + ProductOps + RowOps + AttentionOps + LossOps + Debug + Send + Sync
{
    /// What it is called in logs and reports.
    fn name(&self) -> &'static str;

    /// Threads of the processor that it keeps busy.
    fn threads(&self) -> usize;
}
