//! Headers by name and value, and which of them are nobody's to change.

use http::header::{self, HeaderName, HeaderValue};

use super::{checked, each};
use crate::config::faults::{Gathered, Malformed};
use crate::config::keys::{HEADERS_REMOVE, HEADERS_SET, Key};
use crate::config::values::HeaderEdits;
use crate::config::written::{Entry, Section};

/// Which way a head goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// To the upstream.
    Request,
    /// To the client.
    Response,
}

pub(super) fn edits(
    section: Option<&Section>,
    way: Way,
    gathered: &mut Gathered<'_>,
) -> HeaderEdits {
    let Some(section) = section else {
        return HeaderEdits::default();
    };
    let removable = match way {
        Way::Request => removable_from_request,
        Way::Response => changeable,
    };
    let remove = each(section, &HEADERS_REMOVE, removable, gathered);
    let mut set: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for entry in entries(section, &HEADERS_SET) {
        let Some(name) = named(entry, changeable, gathered) else {
            continue;
        };
        if way == Way::Response && name == header::HOST {
            let error = Malformed::new(
                "is no header of an answer",
                "it belongs to `request_headers`",
            );
            gathered.wrong(entry.node.at, &entry.node.path, error);
        }
        if set.iter().any(|(other, _)| *other == name) {
            gathered.wrong(entry.node.at, &entry.node.path, twice());
        }
        if let Some(mut value) = checked(&entry.node, value, gathered) {
            // What came out of a variable, or goes where secrets go, is not to be printed.
            let from_variable = entry
                .node
                .text()
                .is_some_and(|text| text.raw.contains("${"));
            value.set_sensitive(from_variable || holds_credentials(&name));
            set.push((name, value));
        }
    }
    HeaderEdits { remove, set }
}

/// `header` of a route: names with the values they have to have.
pub(super) fn wanted(
    section: &Section,
    key: &Key,
    gathered: &mut Gathered<'_>,
) -> Vec<(HeaderName, String)> {
    let mut wanted: Vec<(HeaderName, String)> = Vec::new();
    for entry in entries(section, key) {
        let Some(name) = named(entry, name, gathered) else {
            continue;
        };
        if wanted.iter().any(|(other, _)| *other == name) {
            gathered.wrong(entry.node.at, &entry.node.path, twice());
        }
        if checked(&entry.node, value, gathered).is_some() {
            let value = entry
                .node
                .text()
                .map(|text| text.value.clone())
                .unwrap_or_default();
            wanted.push((name, value));
        }
    }
    wanted
}

/// The entries of the free table at `key`.
pub(super) fn entries<'s>(section: &'s Section, key: &Key) -> &'s [Entry] {
    section.section(key).map_or(&[], |map| &map.entries)
}

/// A header's name.
pub(super) fn name(text: &str) -> Result<HeaderName, Malformed> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
        Malformed::new(
            "is not the name of a header",
            "letters, digits and `-`, such as `x-tenant`",
        )
    })
}

/// The name of a header that may be set.
pub(super) fn changeable(text: &str) -> Result<HeaderName, Malformed> {
    let name = name(text)?;
    if FRAMING.contains(&name.as_str()) {
        return Err(Malformed::new(
            "belongs to one connection and is not passed on",
            "take it out: framing and connections are handled for you",
        ));
    }
    Ok(name)
}

/// Headers that by their name hold a secret.
pub(super) fn holds_credentials(name: &HeaderName) -> bool {
    [
        header::AUTHORIZATION,
        header::PROXY_AUTHORIZATION,
        header::COOKIE,
    ]
    .contains(name)
        || ["x-api-key", "api-key", "x-goog-api-key"].contains(&name.as_str())
}

fn removable_from_request(text: &str) -> Result<HeaderName, Malformed> {
    let name = changeable(text)?;
    if name == header::HOST {
        return Err(Malformed::new(
            "cannot be removed: every request has one",
            "`set = { host = \"…\" }` replaces it",
        ));
    }
    Ok(name)
}

fn named(
    entry: &Entry,
    read: fn(&str) -> Result<HeaderName, Malformed>,
    gathered: &mut Gathered<'_>,
) -> Option<HeaderName> {
    match read(&entry.name) {
        Ok(name) => Some(name),
        Err(error) => {
            gathered.wrong(entry.node.at, &entry.node.path, error);
            None
        }
    }
}

/// A header's value: RFC 9110 §5.5.
fn value(text: &str) -> Result<HeaderValue, Malformed> {
    HeaderValue::from_str(text).map_err(|_| {
        Malformed::new(
            "has a character that no header may have",
            "visible ASCII and spaces; no line breaks",
        )
    })
}

fn twice() -> Malformed {
    Malformed::new(
        "is there twice",
        "names of headers do not differ by case: keep one",
    )
}

/// RFC 9110 §7.6.1 and what frames a message (RFC 9112 §6).
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
