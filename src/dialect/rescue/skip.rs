//! A delivered text that another answer may say again.

/// The part of a delivered text that another answer has not said again yet.
#[derive(Debug, Clone)]
pub(super) struct Skip {
    text: String,
    /// Bytes of it that were said again.
    done: usize,
    /// Whether all of it must be.
    must: bool,
}

impl Skip {
    /// A text that must come again: the answer began anew.
    pub(super) fn all(text: &str) -> Self {
        Self::new(text, true)
    }

    /// A text, the end of what was delivered, of which as much as comes is left out.
    pub(super) fn some(text: &str) -> Self {
        Self::new(text, false)
    }

    fn new(text: &str, must: bool) -> Self {
        Self {
            text: text.to_owned(),
            done: 0,
            must,
        }
    }

    /// Whether more of the text has to come again.
    pub(super) fn is_short(&self) -> bool {
        self.must && self.done < self.text.len()
    }

    /// What of a piece of the answer is new; `None` where it differs from what must come again.
    pub(super) fn take<'a>(&mut self, piece: &'a str) -> Option<&'a str> {
        let left = &self.text[self.done..];
        let same: usize = left
            .chars()
            .zip(piece.chars())
            .take_while(|(old, new)| old == new)
            .map(|(old, _)| old.len_utf8())
            .sum();
        let differs = same < left.len() && same < piece.len();
        if differs && self.must {
            return None;
        }
        self.done += same;
        if differs {
            self.done = self.text.len();
        }
        if self.done == self.text.len() {
            self.text = String::new();
            self.done = 0;
        }
        Some(&piece[same..])
    }
}
