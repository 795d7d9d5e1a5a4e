//! Typed settings with documented defaults, layering and validation.
