//! The upstream's credential in place of the caller's own.
//!
//! Invariant: after [`replace`], nothing that a caller could have proved itself with is left, and
//! the credential is marked sensitive (no debug print of the headers shows it).

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, HeaderValue, PROXY_AUTHORIZATION};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::KEY_FIELDS;
use crate::config::{Credential, MissingSecret, Secret};

/// Why the upstream's credential cannot be put in. Nothing may be sent then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The secret was allowed to be empty, and is (503, naming the variable).
    #[error(transparent)]
    Missing(#[from] MissingSecret),
    /// The secret holds what no header field can carry, such as a line end.
    #[error("{0:?} holds a character that a header field cannot carry")]
    Unfit(Secret),
}

/// Takes the credential out of the fields of an answer: a backend that redirects tends to repeat the
/// address it was asked at, and with it a credential that stood in the query.
pub fn conceal(credential: &Credential, headers: &mut HeaderMap) {
    let Credential::Query(_, secret) = credential else {
        return;
    };
    let Ok(secret) = secret.reveal() else { return };
    let encoded = utf8_percent_encode(secret, ENCODED).to_string();
    for value in headers.values_mut() {
        for form in [encoded.as_str(), secret] {
            if memchr::memmem::find(value.as_bytes(), form.as_bytes()).is_some() {
                let text = String::from_utf8_lossy(value.as_bytes()).replace(form, "REMOVED");
                // What is left of a field value is one; if not, nothing of it is passed on.
                *value = HeaderValue::try_from(text)
                    .unwrap_or_else(|_| HeaderValue::from_static("REMOVED"));
            }
        }
    }
}

/// What stays as it is in a query (RFC 3986 §2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Removes the caller's credentials from `headers` and, where the credential is a query parameter,
/// from the query of `target` (path and query), then puts `credential` in.
///
/// # Errors
///
/// [`CredentialError`]; the request is then not fit to be sent.
pub fn replace(
    credential: &Credential,
    headers: &mut HeaderMap,
    target: &mut String,
) -> Result<(), CredentialError> {
    for name in KEY_FIELDS.iter().chain([&PROXY_AUTHORIZATION, &COOKIE]) {
        headers.remove(name);
    }
    match credential {
        Credential::Bearer(secret) => {
            let value = ["Bearer ", secret.reveal()?].concat();
            headers.insert(AUTHORIZATION, sensitive(value, secret)?);
        }
        Credential::Header(name, secret) => {
            headers.insert(
                name.clone(),
                sensitive(secret.reveal()?.to_owned(), secret)?,
            );
        }
        Credential::Query(name, secret) => {
            let secret = secret.reveal()?;
            remove_parameters(target, &[name, "key", "api-key"]);
            target.push(if target.contains('?') { '&' } else { '?' });
            target.extend(utf8_percent_encode(name, ENCODED));
            target.push('=');
            target.extend(utf8_percent_encode(secret, ENCODED));
        }
    }
    Ok(())
}

fn sensitive(value: String, secret: &Secret) -> Result<HeaderValue, CredentialError> {
    let mut value =
        HeaderValue::try_from(value).map_err(|_| CredentialError::Unfit(secret.clone()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Takes the parameters called one of `names` (decoded, in any case) out of the query.
fn remove_parameters(target: &mut String, names: &[&str]) {
    let Some(question) = target.find('?') else {
        return;
    };
    let query = target.split_off(question);
    for pair in query[1..].split('&').filter(|pair| !pair.is_empty()) {
        let key = pair.split('=').next().unwrap_or(pair);
        let key = percent_decode_str(key).decode_utf8_lossy();
        if names.iter().any(|name| key.eq_ignore_ascii_case(name)) {
            continue;
        }
        target.push(if target.len() == question { '?' } else { '&' });
        target.push_str(pair);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::header::HeaderName;

    fn callers() -> HeaderMap {
        let mut headers = HeaderMap::new();
        let own = [
            "authorization",
            "proxy-authorization",
            "x-api-key",
            "api-key",
            "x-goog-api-key",
        ];
        for name in own.into_iter().chain(["cookie", "cookie", "accept"]) {
            headers.append(name, HeaderValue::from_static("callers"));
        }
        headers
    }

    fn replaced(credential: Credential, target: &str) -> (HeaderMap, String) {
        let (mut headers, mut target) = (callers(), target.to_owned());
        replace(&credential, &mut headers, &mut target).unwrap();
        assert_eq!(headers.remove("accept").unwrap(), "callers");
        (headers, target)
    }

    fn secret(value: &str) -> Secret {
        Secret::new(value, "NAME_OF_IT")
    }

    #[test]
    fn in_a_header() {
        let (headers, target) = replaced(Credential::Bearer(secret("s3")), "/v1?key=mine");
        assert_eq!(headers[AUTHORIZATION], "Bearer s3");
        assert_eq!((headers.len(), target.as_str()), (1, "/v1?key=mine"));
        assert!(!format!("{headers:?}").contains("s3"));
        let name = HeaderName::from_static("x-api-key");
        let (headers, _) = replaced(Credential::Header(name.clone(), secret("s3")), "/");
        assert_eq!(headers[&name], "s3");
        assert_eq!(headers.len(), 1);
        assert!(headers[name].is_sensitive());
    }

    #[test]
    fn in_the_query() {
        for (before, after) in [
            ("/v1", "/v1?token=s%263"),
            ("/v1?", "/v1?token=s%263"),
            ("/v1?alt=sse", "/v1?alt=sse&token=s%263"),
            (
                "/v1?token=mine&alt=sse&KEY=x&api-key=y",
                "/v1?alt=sse&token=s%263",
            ),
            ("/v1?t%6Fken=mine&%6bey", "/v1?token=s%263"),
            ("/v1?keys=1&&a?b=2", "/v1?keys=1&a?b=2&token=s%263"),
        ] {
            let (headers, target) =
                replaced(Credential::Query("token".into(), secret("s&3")), before);
            assert!(headers.is_empty());
            assert_eq!(target, after, "{before}");
        }
    }

    #[test]
    fn what_cannot_be_put_in() {
        let name = HeaderName::from_static("x");
        for credential in [
            Credential::Bearer(secret("")),
            Credential::Header(name.clone(), secret("")),
            Credential::Query("x".into(), secret("")),
        ] {
            let error = replace(&credential, &mut callers(), &mut "/".to_owned()).unwrap_err();
            assert_eq!(error.to_string(), "NAME_OF_IT is not set");
        }
        let split = Credential::Header(name, secret("a\r\nb: c"));
        let error = replace(&split, &mut callers(), &mut "/".to_owned()).unwrap_err();
        assert!(error.to_string().contains("NAME_OF_IT") && !error.to_string().contains("b: c"));
    }
}
