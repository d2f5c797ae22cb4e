//! `cors` of a route.

use http::header::HeaderValue;

use super::{checked, each, headers, pattern};
use crate::config::faults::{Gathered, Malformed};
use crate::config::keys::{
    CORS_CREDENTIALS, CORS_EXPOSE, CORS_HEADERS, CORS_MAX_AGE, CORS_METHODS, CORS_ORIGINS,
};
use crate::config::values::{Cors, Origins};
use crate::config::written::{Node, Section};

pub(super) fn cors(section: &Section, gathered: &mut Gathered<'_>) -> Cors {
    let cors = Cors {
        origins: origins(section, gathered),
        methods: each(section, &CORS_METHODS, pattern::method, gathered),
        headers: each(section, &CORS_HEADERS, headers::name, gathered),
        expose: each(section, &CORS_EXPOSE, headers::name, gathered),
        credentials: section.flag(&CORS_CREDENTIALS),
        max_age: section.duration(&CORS_MAX_AGE),
    };
    if cors.credentials && matches!(cors.origins, Origins::Any) {
        let error = Malformed::new(
            "cannot be true for every origin: any page could act for whoever visits it",
            "list the origins, or leave `credentials` out",
        );
        let at = section
            .node(&CORS_CREDENTIALS)
            .map_or(section.at, |node| node.at);
        gathered.wrong(at, &section.path_of(&CORS_CREDENTIALS), error);
    }
    cors
}

fn origins(section: &Section, gathered: &mut Gathered<'_>) -> Origins {
    let nodes = section.list(&CORS_ORIGINS);
    let is_any = |node: &Node| node.text().is_some_and(|text| text.value == "*");
    if nodes.len() == 1 && nodes.iter().all(is_any) {
        return Origins::Any;
    }
    let (any, listed): (Vec<_>, Vec<_>) = nodes.iter().partition(|node| is_any(node));
    for node in any {
        let help = "`*` is every origin: keep it alone";
        let error = Malformed::new("stands beside other origins", help);
        gathered.wrong(node.at, &node.path, error);
    }
    let origins = listed
        .into_iter()
        .filter_map(|node| checked(node, origin, gathered));
    Origins::List(origins.collect())
}

/// An origin as a browser sends it (RFC 6454 §6.2): it is compared byte for byte.
fn origin(text: &str) -> Result<HeaderValue, Malformed> {
    let wrong = |message| {
        Malformed::new(
            message,
            r#"as browsers send it: "https://app.example.com", "http://localhost:3000""#,
        )
    };
    let (scheme, authority) = text
        .split_once("://")
        .ok_or_else(|| wrong("is not an origin: there is no scheme"))?;
    if scheme.is_empty() || authority.is_empty() || authority.contains(['?', '#', '@', ' ', '*']) {
        return Err(wrong("is not an origin"));
    }
    if authority.contains('/') {
        return Err(wrong("has a path, and no origin has one"));
    }
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(wrong("is not in lower case"));
    }
    let own_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => "\0",
    };
    if authority.ends_with(own_port) {
        return Err(wrong(
            "has the port that its scheme implies, which browsers leave out",
        ));
    }
    HeaderValue::from_str(text).map_err(|_| wrong("is not an origin"))
}
