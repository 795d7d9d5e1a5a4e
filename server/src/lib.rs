//! The HTTP surface: extract, call, map errors, stream, record.
