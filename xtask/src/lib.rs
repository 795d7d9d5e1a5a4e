//! Checks on the workspace itself: layers, file sizes.
