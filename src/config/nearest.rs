//! "Did you mean": the known word nearest to one that is not known.

/// The word of `known` that `word` was most likely meant to be; none if nothing comes near.
pub(super) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let most = (word.chars().count() / 3).max(1);
    known
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The help for a word that is not known: the nearest one, or all there are.
pub(super) fn did_you_mean(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there is: {}", known.join(", ")),
    }
}

/// The least number of letters put in, taken out, replaced or swapped with their neighbour that
/// make one word of the other. Case and the choice between `-` and `_` cost nothing.
fn distance(a: &str, b: &str) -> usize {
    let letters = |word: &str| -> Vec<char> {
        word.chars()
            .map(|c| {
                if c == '-' {
                    '_'
                } else {
                    c.to_ascii_lowercase()
                }
            })
            .collect()
    };
    let (a, b) = (letters(a), letters(b));
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before_last[j - 2] + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised() {
        let known = ["listen", "head_timeout", "keep_alive", "to"];
        let near = |word| nearest(word, known.into_iter());
        assert_eq!(near("lisen"), Some("listen"));
        assert_eq!(near("lsiten"), Some("listen"));
        assert_eq!(near("Keep-Alive"), Some("keep_alive"));
        assert_eq!(near("head_timeuot"), Some("head_timeout"));
        assert_eq!(near("too"), Some("to"));
        assert_eq!(near("bananas"), None);
        assert_eq!(near(""), None);
    }

    #[test]
    fn the_help_names_the_nearest_or_all() {
        assert_eq!(
            did_you_mean("modle", &["model", "chat"]),
            "did you mean `model`?"
        );
        assert_eq!(
            did_you_mean("bananas", &["model", "chat"]),
            "there is: model, chat"
        );
    }
}
