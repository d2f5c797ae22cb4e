//! What is kept of answers.
