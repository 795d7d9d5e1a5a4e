//! Interactions, feedback, cycles and the audit trail in SQLite.
