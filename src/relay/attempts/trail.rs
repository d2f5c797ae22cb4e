//! What was tried for one request, for the access log.

use std::fmt::{self, Write};
use std::sync::Arc;

use crate::config::Trouble;

/// Most attempts that are remembered.
const MOST: usize = 16;

/// The attempts that led to no answer, in order; the first ones, where there were many.
#[derive(Debug, Clone, Default)]
pub struct Trail(Vec<(Arc<str>, &'static str)>);

impl Trail {
    /// An attempt on `upstream` has failed.
    pub fn failed(&mut self, upstream: &Arc<str>, trouble: Trouble) {
        self.note(upstream, trouble.word());
    }

    /// Something became of `upstream`.
    pub fn note(&mut self, upstream: &Arc<str>, word: &'static str) {
        if self.0.len() < MOST {
            self.0.push((upstream.clone(), word));
        }
    }

    /// Adds what `other` went through.
    pub fn join(&mut self, other: Self) {
        for (upstream, word) in other.0 {
            self.note(&upstream, word);
        }
    }

    /// It all in one line, with the last upstream and what became of it; none where nothing failed before that.
    pub fn told(&self, last: Option<(&str, &str)>) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        Some(match last {
            Some((upstream, word)) => format!("{self},{upstream}:{word}"),
            None => self.to_string(),
        })
    }
}

/// `openai:overloaded,openai:overloaded,vllm:silent`.
impl fmt::Display for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (upstream, word)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_char(',')?;
            }
            write!(f, "{upstream}:{word}")?;
        }
        if self.0.len() == MOST {
            f.write_str(",…")?;
        }
        Ok(())
    }
}
