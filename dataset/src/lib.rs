//! Pure functions from interactions and feedback to an immutable, hashed snapshot.
