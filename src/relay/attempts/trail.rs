//! What was tried for one request, for the access log.

use std::fmt::{self, Write};
use std::sync::Arc;

use crate::config::Trouble;

/// Most attempts that are remembered; further ones are counted.
const MOST: usize = 16;

/// The attempts that led to no answer, in order.
#[derive(Debug, Clone, Default)]
pub struct Trail {
    tried: Vec<(Arc<str>, &'static str)>,
    more: usize,
}

impl Trail {
    /// An attempt on `upstream` has failed.
    pub fn failed(&mut self, upstream: &Arc<str>, trouble: Trouble) {
        self.note(upstream, trouble.word());
    }

    /// Something became of `upstream`.
    pub fn note(&mut self, upstream: &Arc<str>, word: &'static str) {
        if self.tried.len() < MOST {
            self.tried.push((upstream.clone(), word));
        } else {
            self.more += 1;
        }
    }

    /// Adds what `other` went through.
    pub fn join(&mut self, other: Self) {
        for (upstream, word) in other.tried {
            self.note(&upstream, word);
        }
        self.more += other.more;
    }

    /// It all in one line, with the last upstream and what became of it; none where nothing failed before that.
    pub fn told(&self, last: Option<(&str, &str)>) -> Option<String> {
        if self.tried.is_empty() {
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
        for (index, (upstream, word)) in self.tried.iter().enumerate() {
            if index > 0 {
                f.write_char(',')?;
            }
            write!(f, "{upstream}:{word}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, ",and {more} more"),
        }
    }
}
