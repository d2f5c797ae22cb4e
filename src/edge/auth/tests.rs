//! Every place of a key or token, every way to be turned away, and what is left of the request.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, Request};
use ring::hmac;
use serde_json::{Value, json};

use super::*;
use crate::config::{Algorithm, KeyMaterial, TopicRights, VerifyingKey};

/// When the tests are: in seconds of the epoch.
const NOW: u64 = 1_700_000_000;
const SECRET: &[u8] = b"a secret that is long enough for SHA-256";

fn keys(all: &[(&str, &[&str])]) -> Allow {
    let key = |(name, keys): &(&str, &[&str])| {
        let hashes = keys.iter().map(|key| Sha256::digest(key).into()).collect();
        Arc::new(ApiKey {
            name: (*name).into(),
            hashes,
            topics: TopicRights::default(),
        })
    };
    Allow::Callers(all.iter().map(key).collect(), Vec::new())
}

fn issuer(name: &str, secret: &[u8]) -> Arc<Issuer> {
    let key = VerifyingKey {
        id: None,
        algorithm: Algorithm::Hs256,
        material: KeyMaterial::Shared(secret.into()),
    };
    Arc::new(Issuer {
        name: name.into(),
        keys: vec![key],
        issuer: None,
        audience: None,
        leeway: Duration::ZERO,
        topics_claim: None,
    })
}

/// Holders of the key `k1`, and of tokens of `accounts` and `others`.
fn callers() -> Allow {
    let Allow::Callers(keys, _) = keys(&[("ann", &["k1"])]) else {
        panic!("keys are asked for")
    };
    let issuers = vec![
        issuer("others", b"another secret"),
        issuer("accounts", SECRET),
    ];
    Allow::Callers(keys, issuers)
}

fn token(claims: &Value) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let header = encode(br#"{"alg":"HS256","typ":"JWT"}"#);
    let message = format!("{header}.{}", encode(claims.to_string().as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let signature = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", encode(signature.as_ref()))
}

fn of(subject: &str) -> String {
    token(&json!({ "sub": subject, "exp": NOW + 60 }))
}

fn nowhere() -> CredentialsIn {
    CredentialsIn::default()
}

fn anywhere() -> CredentialsIn {
    CredentialsIn {
        cookie: Some("session".into()),
        query: Some("token".into()),
    }
}

fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn request(target: &str, lines: &[(&'static str, &str)]) -> Parts {
    let (mut parts, ()) = Request::get(target).body(()).unwrap().into_parts();
    parts.headers = map(lines);
    parts
}

fn enter(
    allow: &Allow,
    places: &CredentialsIn,
    request: &mut Parts,
) -> Result<Option<Principal>, Denied> {
    let now = UNIX_EPOCH + Duration::from_secs(NOW);
    authenticate_at(now, allow, places, request)
}

/// Who comes in with these fields, and what is left of them.
fn with(
    allow: &Allow,
    lines: &[(&'static str, &str)],
) -> (Result<Option<Principal>, Denied>, HeaderMap) {
    let mut request = request("/", lines);
    let result = enter(allow, &nowhere(), &mut request);
    (result, request.headers)
}

fn name(result: Result<Option<Principal>, Denied>) -> String {
    result.unwrap().unwrap().name.to_string()
}

#[test]
fn everybody_is_nobody_in_particular() {
    let lines = [("authorization", "Bearer x"), ("x-api-key", "y")];
    let (result, left) = with(&Allow::Everybody, &lines);
    assert_eq!((result, left), (Ok(None), map(&lines)));
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
        let (result, left) = with(&allow, &[line, ("accept", "*/*")]);
        assert_eq!(name(result), wanted);
        assert_eq!(left.len(), 1, "{line:?} stays");
    }
}

#[test]
fn who_is_not_let_in() {
    let allow = keys(&[("ann", &["k1"])]);
    let denied = |lines: &[(&'static str, &str)]| {
        let (result, left) = with(&allow, lines);
        assert_eq!(left, map(lines));
        result.unwrap_err()
    };
    assert_eq!(denied(&[]), Denied::Missing);
    assert_eq!(denied(&[("authorization", "Bearer ")]), Denied::Missing);
    assert_eq!(denied(&[("authorization", "Basic azE=")]), Denied::Missing);
    assert_eq!(denied(&[("authorization", "k1")]), Denied::Missing);
    assert_eq!(denied(&[("x-api-key", "")]), Denied::Missing);
    assert_eq!(denied(&[("authorization", "Bearer k")]), Denied::Unknown);
    assert_eq!(denied(&[("x-api-key", "k11")]), Denied::Unknown);
    assert_eq!(denied(&[("x-api-key", &of("x"))]), Denied::Unknown);
    let none = Allow::Callers(Vec::new(), Vec::new());
    assert_eq!(with(&none, &[("api-key", "k1")]).0, Err(Denied::Unknown));
    let unset = keys(&[("ann", &[])]);
    assert_eq!(with(&unset, &[("api-key", "k1")]).0, Err(Denied::Unknown));
    assert_eq!(with(&unset, &[("api-key", "")]).0, Err(Denied::Missing));
}

#[test]
fn a_challenge_says_why() {
    let challenge = |denied: Denied| denied.challenge().to_str().unwrap().to_owned();
    assert_eq!(challenge(Denied::Missing), r#"Bearer realm="deltaway""#);
    assert_eq!(
        challenge(Denied::Token(Refused::Expired)),
        r#"Bearer realm="deltaway", error="invalid_token", error_description="the token is not accepted: it has expired (`exp`)""#
    );
    use Refused::*;
    let reasons = [
        Long, Malformed, Critical, Key, Algorithm, Signature, Claims, Endless, Expired, Early,
        Issuer, Audience, Topics,
    ];
    for denied in reasons
        .map(Denied::Token)
        .into_iter()
        .chain([Denied::Unknown])
    {
        let challenge = challenge(denied);
        let (_, description) = challenge.split_once("error_description=\"").unwrap();
        let description = description.strip_suffix('"').unwrap();
        assert!(!description.contains(['"', '\\']), "{description}");
        assert!(description.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
        assert!(challenge.contains(r#"error="invalid_token""#));
    }
}

#[test]
fn any_valid_one_counts_and_every_valid_one_goes() {
    let allow = keys(&[("ann", &["k1"]), ("bob", &["k2"])]);
    let (result, left) = with(
        &allow,
        &[
            ("authorization", "Bearer for-the-backend"),
            ("x-api-key", "k2"),
        ],
    );
    assert_eq!(name(result), "bob");
    assert_eq!(left, map(&[("authorization", "Bearer for-the-backend")]));
    let (result, left) = with(
        &allow,
        &[
            ("x-api-key", "k2"),
            ("authorization", "Bearer no"),
            ("authorization", "Bearer k1"),
            ("api-key", "k1"),
        ],
    );
    assert_eq!(name(result), "ann");
    assert!(left.is_empty());
}

#[test]
fn a_head_full_of_keys_costs_eight_hashes() {
    let allow = keys(&[("ann", &["k1"])]);
    let mut lines = vec![("authorization", "Bearer no"); MOST_PRESENTED];
    lines.push(("authorization", "Bearer k1"));
    assert_eq!(with(&allow, &lines).0, Err(Denied::Unknown));
    lines.remove(0);
    assert_eq!(name(with(&allow, &lines).0), "ann");
}

#[test]
fn tokens_open_the_route_as_keys_do() {
    let bearer = format!("Bearer {}", of("7"));
    let (result, left) = with(
        &callers(),
        &[("authorization", &bearer), ("x-api-key", "theirs")],
    );
    let principal = result.unwrap().unwrap();
    assert_eq!(&*principal.name, "accounts:7");
    assert_eq!(
        principal.expires,
        Some(UNIX_EPOCH + Duration::from_secs(NOW + 60))
    );
    assert_eq!(principal.rights, TopicRights::default());
    assert_eq!(left, map(&[("x-api-key", "theirs")]));
    let (result, left) = with(
        &callers(),
        &[("authorization", &bearer), ("x-api-key", "k1")],
    );
    assert_eq!(name(result), "accounts:7");
    assert!(left.is_empty());
    let (result, left) = with(&callers(), &[("x-api-key", &of("8"))]);
    assert_eq!((name(result), left.len()), ("accounts:8".into(), 0));
}

#[test]
fn a_refused_token_is_told_why_and_stays() {
    let denied = |allow: &Allow, shown: &str| {
        let lines = [("authorization", &*format!("Bearer {shown}"))];
        let (result, left) = with(allow, &lines);
        assert_eq!(left, map(&lines));
        let denied = result.unwrap_err();
        assert!(!denied.to_string().contains(shown));
        denied
    };
    let old = token(&json!({ "exp": NOW }));
    assert_eq!(denied(&callers(), &old), Denied::Token(Refused::Expired));
    let changed = old.replace('.', ".e30");
    assert_eq!(
        denied(&callers(), &changed),
        Denied::Token(Refused::Malformed)
    );
    assert_eq!(denied(&callers(), "a.b"), Denied::Token(Refused::Malformed));
    assert_eq!(denied(&callers(), "s3cret"), Denied::Unknown);
    let others = Allow::Callers(Vec::new(), vec![issuer("others", b"another secret")]);
    assert_eq!(denied(&others, &of("7")), Denied::Token(Refused::Signature));
}

#[test]
fn cookies_and_parameters_where_the_route_names_them() {
    let target = format!("http://host/a%2Fb?x=1&t%6Fken={}&&y=%20", of("7"));
    let mut asking = request(&target, &[]);
    let denied = enter(&callers(), &nowhere(), &mut asking).unwrap_err();
    assert_eq!(denied, Denied::Missing);
    assert_eq!(asking.uri, *target);
    assert_eq!(
        name(enter(&callers(), &anywhere(), &mut asking)),
        "accounts:7"
    );
    assert_eq!(asking.uri, "http://host/a%2Fb?x=1&&y=%20");

    let cookie = format!("a=\"1\"; session={};b=2", of("7"));
    let mut asking = request(
        "/",
        &[
            ("cookie", &cookie),
            ("cookie", "session=k1"),
            ("cookie", "c"),
        ],
    );
    assert_eq!(
        enter(&callers(), &nowhere(), &mut asking),
        Err(Denied::Missing)
    );
    assert_eq!(
        name(enter(&callers(), &anywhere(), &mut asking)),
        "accounts:7"
    );
    let left = map(&[("cookie", "a=\"1\"; b=2"), ("cookie", "c")]);
    assert_eq!(asking.headers, left);

    for (target, cookie, left) in [
        ("/?token=k1", "session=no", "/"),
        ("/?token=%6b1&token=no", "session=no", "/"),
        ("/?token=no", "session=\"k1\"", "/?token=no"),
    ] {
        let mut asking = request(target, &[("cookie", cookie)]);
        assert_eq!(
            name(enter(&callers(), &anywhere(), &mut asking)),
            "ann",
            "{target}"
        );
        assert_eq!(asking.uri, left);
        assert_eq!(asking.headers.contains_key("cookie"), cookie.contains("no"));
    }
    for (target, cookie) in [
        ("/?TOKEN=k1", "Session=k1"),
        ("/?token", "session"),
        ("/?token=", "session="),
        ("/?xtoken=k1", "xsession=k1"),
    ] {
        let mut asking = request(target, &[("cookie", cookie)]);
        assert_eq!(
            enter(&callers(), &anywhere(), &mut asking),
            Err(Denied::Missing)
        );
        assert_eq!(
            (asking.uri.to_string(), asking.headers.len()),
            (target.into(), 1)
        );
    }
}

#[test]
fn a_parameter_is_read_as_a_form_writes_it() {
    let allow = keys(&[("ann", &["a b+c&d"])]);
    let mut asking = request("/p?token=a+b%2Bc%26d&z", &[]);
    assert_eq!(name(enter(&allow, &anywhere(), &mut asking)), "ann");
    assert_eq!(asking.uri, "/p?z");
}

#[test]
fn whoever_would_be_let_in_is_known_before() {
    let asking = request("/?token=k1", &[]);
    assert_eq!(admits(&callers(), &anywhere(), &asking), Ok(()));
    assert_eq!(
        admits(&callers(), &nowhere(), &asking),
        Err(Denied::Missing)
    );
    assert_eq!(admits(&Allow::Everybody, &nowhere(), &asking), Ok(()));
}

#[test]
fn claims_that_can_stand_in_a_name() {
    let claims = json!({ "exp": NOW + 60, "s": "x", "n": 7, "m": -7, "f": 7.5, "b": true, "l": [], "z": null });
    let bearer = format!("Bearer {}", token(&claims));
    let (result, _) = with(&callers(), &[("authorization", &bearer)]);
    let principal = result.unwrap().unwrap();
    assert_eq!(&*principal.name, "accounts");
    let claim = |name| principal.claim(name);
    assert_eq!(
        (claim("s"), claim("n")),
        (Some("x".into()), Some("7".into()))
    );
    assert_eq!(claim("m"), Some("-7".into()));
    for name in ["f", "b", "l", "z", "none"] {
        assert_eq!(claim(name), None, "{name}");
    }
    assert_eq!(
        Principal::new("ann".into(), TopicRights::default()).claim("s"),
        None
    );
    assert!(!format!("{principal:?}").contains("exp"));
}

#[test]
fn a_name_in_the_log_is_short_and_on_one_line() {
    let shown = |name: &str| Principal::new(name.into(), TopicRights::default()).shown();
    assert_eq!(&*shown("accounts:7"), "accounts:7");
    assert_eq!(&*shown("a\nb\u{85}"), "a\u{fffd}b\u{fffd}");
    let long = shown(&"ü".repeat(100));
    assert_eq!(*long, *format!("{}…", "ü".repeat(64)));
}

#[test]
fn callers_are_told_apart() {
    let principal = |claims: Value| {
        let bearer = format!("Bearer {}", token(&claims));
        with(&callers(), &[("authorization", &bearer)])
            .0
            .unwrap()
            .unwrap()
    };
    let none = HeaderMap::new();
    let fields = |lines: &[(&'static str, &str)]| identity(None, &map(lines));
    let sub = |sub: &str, exp| identity(Some(&principal(json!({ "sub": sub, "exp": exp }))), &none);
    let anonymous = |exp| identity(Some(&principal(json!({ "exp": exp }))), &none);
    assert_eq!(identity(None, &none), None);
    assert_eq!(fields(&[("accept", "*/*")]), None);
    assert_eq!(sub("7", NOW + 1), sub("7", NOW + 2));
    let key = Principal::new("ann".into(), TopicRights::default());
    let cookies = fields(&[("cookie", "a=1")]);
    assert_eq!(
        identity(Some(&key), &map(&[("cookie", "a=1")])),
        identity(Some(&key), &none)
    );
    assert_eq!(cookies, fields(&[("accept", "*/*"), ("cookie", "a=1")]));
    let all = [
        sub("7", NOW + 1),
        sub("8", NOW + 1),
        anonymous(NOW + 1),
        anonymous(NOW + 2),
        identity(Some(&key), &none),
        cookies,
        fields(&[("cookie", "a=1"), ("cookie", "b")]),
        fields(&[("cookie", "a=1b")]),
        fields(&[("authorization", "a=1")]),
        fields(&[("x-api-key", "a=1")]),
        fields(&[("api-key", "a=1")]),
        fields(&[("x-goog-api-key", "a=1")]),
        fields(&[("authorization", "")]),
    ];
    for (at, one) in all.iter().enumerate() {
        assert!(one.is_some());
        assert!(!all[..at].contains(one), "{at}");
    }
}
