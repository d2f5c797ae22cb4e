//! Every place of a key, every way to be turned away, and what is left of the fields.
#![allow(clippy::unwrap_used)]

use super::*;

fn keys(all: &[(&str, &[&str])]) -> Allow {
    let key = |(name, keys): &(&str, &[&str])| {
        let hashes = keys.iter().map(|key| Sha256::digest(key).into()).collect();
        Arc::new(ApiKey {
            name: (*name).into(),
            hashes,
            topics: crate::config::TopicRights::default(),
        })
    };
    Allow::Callers(all.iter().map(key).collect(), Vec::new())
}

fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn name(result: Result<Option<Principal>, Denied>) -> String {
    result.unwrap().unwrap().name.to_string()
}

#[test]
fn everybody_is_nobody_in_particular() {
    let mut headers = map(&[("authorization", "Bearer x"), ("x-api-key", "y")]);
    assert_eq!(authenticate(&Allow::Everybody, &mut headers), Ok(None));
    assert_eq!(headers.len(), 2);
}

#[test]
fn each_place_of_a_key() {
    let allow = keys(&[("ann", &["k1", "k2"]), ("bob", &["k3"])]);
    for (line, wanted) in [
        (("authorization", "Bearer k1"), "ann"),
        (("authorization", "bEARER   k2 "), "ann"),
        (("x-api-key", "k3"), "bob"),
        (("api-key", " k3 "), "bob"),
        (("x-goog-api-key", "k2"), "ann"),
    ] {
        let mut headers = map(&[line, ("accept", "*/*")]);
        assert_eq!(name(authenticate(&allow, &mut headers)), wanted);
        assert_eq!(headers.len(), 1, "{line:?} stays");
    }
}

#[test]
fn who_is_not_let_in() {
    let allow = keys(&[("ann", &["k1"])]);
    let denied = |lines: &[(&'static str, &str)]| {
        let mut headers = map(lines);
        let denied = authenticate(&allow, &mut headers).unwrap_err();
        assert_eq!(headers, map(lines));
        denied
    };
    assert_eq!(denied(&[]), Denied::Missing);
    assert_eq!(denied(&[("authorization", "Bearer ")]), Denied::Missing);
    assert_eq!(denied(&[("authorization", "Basic azE=")]), Denied::Missing);
    assert_eq!(denied(&[("authorization", "k1")]), Denied::Missing);
    assert_eq!(denied(&[("x-api-key", "")]), Denied::Missing);
    assert_eq!(denied(&[("authorization", "Bearer k")]), Denied::Unknown);
    assert_eq!(denied(&[("x-api-key", "k11")]), Denied::Unknown);
    let none = Allow::Callers(Vec::new(), Vec::new());
    assert_eq!(
        authenticate(&none, &mut map(&[("api-key", "k1")])),
        Err(Denied::Unknown)
    );
    let unset = keys(&[("ann", &[])]);
    assert_eq!(
        authenticate(&unset, &mut map(&[("api-key", "k1")])),
        Err(Denied::Unknown)
    );
    assert_eq!(
        authenticate(&unset, &mut map(&[("api-key", "")])),
        Err(Denied::Missing)
    );
    assert!(
        Denied::Unknown
            .challenge()
            .to_str()
            .unwrap()
            .contains("invalid_token")
    );
    assert!(
        !Denied::Missing
            .challenge()
            .to_str()
            .unwrap()
            .contains("error")
    );
}

#[test]
fn any_valid_one_counts_and_every_valid_one_goes() {
    let allow = keys(&[("ann", &["k1"]), ("bob", &["k2"])]);
    let mut headers = map(&[
        ("authorization", "Bearer for-the-backend"),
        ("x-api-key", "k2"),
    ]);
    assert_eq!(name(authenticate(&allow, &mut headers)), "bob");
    assert_eq!(headers, map(&[("authorization", "Bearer for-the-backend")]));
    let mut headers = map(&[
        ("x-api-key", "k2"),
        ("authorization", "Bearer no"),
        ("authorization", "Bearer k1"),
        ("api-key", "k1"),
    ]);
    assert_eq!(name(authenticate(&allow, &mut headers)), "ann");
    assert!(headers.is_empty());
}

#[test]
fn a_head_full_of_keys_costs_eight_hashes() {
    let allow = keys(&[("ann", &["k1"])]);
    let mut lines = vec![("authorization", "Bearer no"); MOST_PRESENTED];
    lines.push(("authorization", "Bearer k1"));
    assert_eq!(authenticate(&allow, &mut map(&lines)), Err(Denied::Unknown));
    lines.remove(0);
    assert_eq!(name(authenticate(&allow, &mut map(&lines))), "ann");
}
