//! `[upstreams.NAME]`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use http::header::HeaderValue;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::{checked, clocks, failures, headers, parsed};
use crate::config::faults::{Gathered, Malformed};
use crate::config::keys::{
    CREDENTIAL_BEARER, CREDENTIAL_HEADER, CREDENTIAL_QUERY, CREDENTIAL_VALUE, ENDPOINT_URL,
    ENDPOINT_WEIGHT, Key, POOL_IDLE, POOL_KEEP, UPSTREAM_CA, UPSTREAM_CLOCKS, UPSTREAM_CREDENTIALS,
    UPSTREAM_ENDPOINTS, UPSTREAM_LOOKUP, UPSTREAM_POOL, UPSTREAM_URL, root,
};
use crate::config::secret::Secret;
use crate::config::values::{Credential, Endpoint, Upstream, Weighted};
use crate::config::written::{Node, Section, Value};

/// Every upstream by name; none where it is wrong, so that routes may still refer to it.
pub(super) type Upstreams = BTreeMap<String, Option<Arc<Upstream>>>;

pub(super) fn upstreams(file: &Section, gathered: &mut Gathered<'_>) -> Upstreams {
    let named = file.section(&root::UPSTREAMS);
    let entries = named.iter().flat_map(|section| &section.entries);
    let mut upstreams: Upstreams = entries.map(|entry| (entry.name.clone(), None)).collect();
    for (name, section) in file.sections(&root::UPSTREAMS) {
        let upstream = upstream(name, section, gathered);
        upstreams.insert(name.to_owned(), Some(Arc::new(upstream)));
    }
    upstreams
}

fn upstream(name: &str, section: &Section, gathered: &mut Gathered<'_>) -> Upstream {
    let nothing = Section::default();
    let pool = section.section(&UPSTREAM_POOL).unwrap_or(&nothing);
    let credential = section
        .section(&UPSTREAM_CREDENTIALS)
        .and_then(|section| credential(section, gathered));
    let endpoints = endpoints(section, gathered);
    let ca = ca(section, &endpoints, gathered);
    Upstream {
        name: name.into(),
        endpoints,
        balance: failures::balance(section, gathered),
        http: failures::http(section),
        lookup: section.duration(&UPSTREAM_LOOKUP),
        check: failures::check(section, gathered),
        eject: failures::eject(section, gathered),
        retry_budget: failures::retry_budget(section),
        prefill: failures::prefill(section),
        credential,
        ca,
        pool_idle: pool.count(&POOL_IDLE).unwrap_or_default(),
        pool_keep: pool.duration(&POOL_KEEP),
        clocks: clocks(section.section(&UPSTREAM_CLOCKS)),
    }
}

fn endpoints(section: &Section, gathered: &mut Gathered<'_>) -> Vec<Weighted> {
    if let Some(node) = section.node(&UPSTREAM_URL) {
        return weighted(node, gathered).into_iter().collect();
    }
    let nodes = section.list(&UPSTREAM_ENDPOINTS);
    let mut endpoints: Vec<Weighted> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let Some(weighted) = weighted(node, gathered) else {
            continue;
        };
        let known = |other: &Weighted| other.endpoint == weighted.endpoint;
        if weighted.endpoint == Endpoint::Demo && nodes.len() > 1 {
            let error = Malformed::new(
                "stands beside other endpoints",
                "give `builtin:demo` an upstream of its own",
            );
            gathered.wrong(node.at, &node.path, error);
        } else if endpoints.iter().any(known) {
            let help = "keep one: `{ url = …, weight = 2 }` gives it twice the share";
            let error = Malformed::new("is there twice", help);
            gathered.wrong(node.at, &node.path, error);
        }
        endpoints.push(weighted);
    }
    endpoints
}

/// An endpoint, from its URL or from a table with its weight.
fn weighted(node: &Node, gathered: &mut Gathered<'_>) -> Option<Weighted> {
    let nothing = Section::default();
    let (url, section) = match &node.value {
        Value::Table(section) => (section.node(&ENDPOINT_URL)?, section),
        _ => (node, &nothing),
    };
    Some(Weighted {
        endpoint: parsed(url, gathered)?,
        weight: failures::number(section, &ENDPOINT_WEIGHT),
    })
}

fn ca(section: &Section, endpoints: &[Weighted], gathered: &mut Gathered<'_>) -> Option<PathBuf> {
    let file = section.file(&UPSTREAM_CA)?;
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(file.text.as_bytes()).collect();
    let error = if !certificates.is_ok_and(|found| !found.is_empty()) {
        Malformed::new(
            "names a file without a certificate",
            "a PEM file with `-----BEGIN CERTIFICATE-----`",
        )
    } else if endpoints
        .iter()
        .all(|weighted| !matches!(weighted.endpoint, Endpoint::Url { tls: true, .. }))
    {
        Malformed::new(
            "has no use: no endpoint is `https://`",
            "take it out, or mend the URL",
        )
    } else {
        return Some(file.path.clone());
    };
    let at = section
        .node(&UPSTREAM_CA)
        .map_or(section.at, |node| node.at);
    gathered.wrong(at, &section.path_of(&UPSTREAM_CA), error);
    None
}

fn credential(section: &Section, gathered: &mut Gathered<'_>) -> Option<Credential> {
    if let Some(secret) = section.secret(&CREDENTIAL_BEARER) {
        check_sendable(section, &CREDENTIAL_BEARER, secret, gathered);
        return Some(Credential::Bearer(secret.clone()));
    }
    let header = section
        .node(&CREDENTIAL_HEADER)
        .and_then(|node| checked(node, credential_header, gathered));
    let query = section
        .node(&CREDENTIAL_QUERY)
        .and_then(|node| checked(node, not_empty, gathered));
    let secret = section.secret(&CREDENTIAL_VALUE)?;
    if let Some(name) = header {
        check_sendable(section, &CREDENTIAL_VALUE, secret, gathered);
        return Some(Credential::Header(name, secret.clone()));
    }
    query.map(|name| Credential::Query(name.into(), secret.clone()))
}

fn credential_header(text: &str) -> Result<http::HeaderName, Malformed> {
    let name = headers::changeable(text)?;
    if name == http::header::HOST {
        return Err(Malformed::new(
            "holds no credentials",
            r#"such as "x-api-key""#,
        ));
    }
    Ok(name)
}

fn not_empty(text: &str) -> Result<String, Malformed> {
    if text.is_empty() {
        return Err(Malformed::new("is empty", r#"such as "key""#));
    }
    Ok(text.to_owned())
}

/// A secret with a line break in it would fail at every request, far from where it is mended.
fn check_sendable(section: &Section, key: &Key, secret: &Secret, gathered: &mut Gathered<'_>) {
    let sendable = |value: &str| HeaderValue::from_str(value).is_ok();
    if secret.reveal().is_ok_and(|value| !sendable(value)) {
        let error = Malformed::new(
            "has a character that no header may have",
            "visible ASCII; is there a line break at the end of the variable?",
        );
        let at = section.node(key).map_or(section.at, |node| node.at);
        gathered.wrong(at, &section.path_of(key), error);
    }
}
