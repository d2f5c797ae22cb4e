//! Answers made of two.
