//! `${NAME}`, `${NAME:-default}` and `$$` in a string.
//!
//! A `$` that begins neither is refused: `"$TOKEN"` sent as it stands would look like a wrong
//! password hours later, at somebody else's server.

use super::environment::Environment;
use super::faults::Malformed;

/// A string with its variables put in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Expanded {
    /// The text that came out. Where `variables` is not empty it must not be shown.
    pub(super) text: String,
    /// The variables that were named, in order.
    pub(super) variables: Vec<String>,
    /// The first variable that was allowed to be empty, and is.
    pub(super) empty: Option<String>,
}

/// Puts variables into `raw`. `${NAME:-default}` takes the default where the variable is not set
/// or empty, as a shell does; a default ends at the first `}` and is taken literally.
///
/// # Errors
///
/// Everything that is wrong with it, not only the first.
pub(super) fn expand(raw: &str, env: &dyn Environment) -> Result<Expanded, Vec<Malformed>> {
    let mut out = Expanded::default();
    let mut faults = Vec::new();
    let mut rest = raw;
    while let Some(dollar) = rest.find('$') {
        out.text.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.text.push('$');
            rest = after;
        } else if let Some((inside, after)) =
            rest.strip_prefix('{').and_then(|open| open.split_once('}'))
        {
            if let Err(fault) = substitute(inside, env, &mut out) {
                faults.push(fault);
            }
            rest = after;
        } else {
            faults.push(Malformed::new(
                "a `$` that begins no variable",
                "write ${NAME}, ${NAME:-default}, or $$ for the sign itself",
            ));
        }
    }
    out.text.push_str(rest);
    if faults.is_empty() {
        Ok(out)
    } else {
        Err(faults)
    }
}

fn substitute(inside: &str, env: &dyn Environment, out: &mut Expanded) -> Result<(), Malformed> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    if !is_variable_name(name) {
        return Err(Malformed::new(
            "`${…}` does not hold the name of a variable",
            "a name is letters, digits and `_`, and does not begin with a digit: ${NAME}",
        ));
    }
    out.variables.push(name.to_owned());
    match (env.variable(name), default) {
        (Some(value), None) => out.text.push_str(&value),
        (Some(value), Some(_)) if !value.is_empty() => out.text.push_str(&value),
        (_, Some(default)) => {
            out.text.push_str(default);
            if default.is_empty() {
                out.empty.get_or_insert_with(|| name.to_owned());
            }
        }
        (None, None) => {
            return Err(Malformed::new(
                format!("the variable {name} is not set"),
                format!("set it, or write ${{{name}:-}} to let it be empty"),
            ));
        }
    }
    Ok(())
}

fn is_variable_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::tests::Fixed;

    fn text(raw: &str) -> String {
        let env = Fixed::default().variable("A", "1$2").variable("EMPTY", "");
        expand(raw, &env).unwrap().text
    }

    #[test]
    fn variables_are_put_in() {
        assert_eq!(text("x-${A}-y"), "x-1$2-y", "a value is not expanded again");
        assert_eq!(text("${A}${A}"), "1$21$2");
        assert_eq!(text("${UNSET:-b c}"), "b c");
        assert_eq!(text("${EMPTY:-d}"), "d");
        assert_eq!(text("${EMPTY}"), "");
        assert_eq!(text("$$${A}$${A}"), "$1$2${A}");
    }

    #[test]
    fn the_variable_that_may_be_empty_is_known() {
        let env = Fixed::default();
        let expanded = expand("Key ${TOKEN:-}", &env).unwrap();
        assert_eq!(expanded.empty.as_deref(), Some("TOKEN"));
        assert_eq!(expanded.variables, ["TOKEN"]);
        assert_eq!(expand("${TOKEN:-x}", &env).unwrap().empty, None);
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let faults = expand("${NONE} $x ${1} ${}", &Fixed::default()).unwrap_err();
        let messages: Vec<_> = faults.iter().map(|fault| fault.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "the variable NONE is not set",
                "a `$` that begins no variable",
                "`${…}` does not hold the name of a variable",
                "`${…}` does not hold the name of a variable",
            ]
        );
    }

    proptest! {
        #[test]
        fn a_doubled_dollar_is_the_sign_itself(plain in ".{0,24}") {
            let raw = plain.replace('$', "$$");
            prop_assert_eq!(expand(&raw, &Fixed::default()).unwrap().text, plain);
        }
    }
}
