//! Adapters on disk: import, verify, states and the live pointer.
