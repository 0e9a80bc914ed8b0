//! What the log becomes.
