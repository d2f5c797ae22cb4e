//! How long failed answers ask to wait.
