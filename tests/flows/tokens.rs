//! Callers that show a token: where it may stand, what reaches the backend, and what is said of a bad one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use crate::support::api::CHAT;
use crate::support::binary::Served;
use crate::support::{Ask, Backend, Gateway, toml, wire};

const SECRET: &str = "a secret that is long enough for SHA-256";
const KEY: &str = "caller-key-7f3a";

/// One route to `backend`, for tokens of `accounts` and holders of one key.
fn closed(backend: &Backend, issuer: &str, route: &str) -> String {
    let route = format!("allow = [\"accounts\", \"web\"]\n{route}");
    toml(&backend.url(), &route)
        + &format!("[keys.web]\nvalue = \"{KEY}\"\n[jwt.accounts]\n{issuer}\n")
}

/// Seconds of the epoch, so far from now.
fn later(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or(Duration::ZERO).as_secs() as i64 + seconds
}

fn unsigned(header: &Value, claims: &Value) -> String {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}", encode(header), encode(claims))
}

/// A token signed with [`SECRET`].
fn hs256(claims: &Value) -> String {
    let message = unsigned(&json!({ "alg": "HS256", "typ": "JWT" }), claims);
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn good() -> String {
    hs256(&json!({ "sub": "7", "exp": later(600) }))
}

/// Everything of the requests that reached `backend`.
fn reached(backend: &Backend) -> String {
    let heads = backend.requests().into_iter().map(|request| request.head);
    let heads = heads.map(|head| format!("{} {:?}\n", head.first, head.fields));
    heads.collect()
}

#[tokio::test]
async fn a_token_opens_a_route_wherever_it_may_stand_and_goes_no_further() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let places = "key_in = { cookie = \"session\", query = \"token\" }";
    let secret = format!("secret = \"{SECRET}\"");
    let gateway = Gateway::start(&closed(&backend, &secret, places)).await;
    for shown in [good(), KEY.to_owned()] {
        let cookie = format!("Cookie: a=1; session={shown}; b=2");
        let query = format!("/events?x=1&token={shown}&y=%20a");
        let asks = [
            Ask::get("/events").field(&format!("Authorization: Bearer {shown}")),
            Ask::get("/events").field(&format!("x-api-key: {shown}")),
            Ask::get("/events").field(&cookie),
            Ask::get(&query),
            Ask::get(&query)
                .field(&cookie)
                .field("Authorization: Bearer of-the-backend"),
        ];
        for ask in asks {
            assert_eq!(gateway.fetch(&ask).await.status(), 200, "{ask:?}");
        }
        let reached = reached(&backend);
        assert!(!reached.contains(&shown), "{reached}");
        assert!(!reached.contains("session=") && !reached.contains("token="));
    }
    let requests = backend.requests();
    assert_eq!(requests.len(), 10);
    assert_eq!(requests[2].head.get("cookie"), Some("a=1; b=2"));
    assert_eq!(requests[3].head.target(), "/events?x=1&y=%20a");
    let last = &requests[4].head;
    assert_eq!(last.get("authorization"), Some("Bearer of-the-backend"));
    assert_eq!(
        (last.get("cookie"), last.target()),
        (Some("a=1; b=2"), "/events?x=1&y=%20a")
    );
}

#[tokio::test]
async fn cookie_and_query_count_only_where_the_route_says_so() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let secret = format!("secret = \"{SECRET}\"");
    let gateway = Gateway::start(&closed(&backend, &secret, "")).await;
    for ask in [
        Ask::get(&format!("/events?token={}", good())),
        Ask::get("/events").field(&format!("Cookie: session={}", good())),
    ] {
        let answer = gateway.fetch(&ask).await;
        assert_eq!(answer.status(), 401);
        let challenge = answer.head.get("www-authenticate");
        assert_eq!(challenge, Some("Bearer realm=\"deltaway\""));
    }
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn a_refused_token_is_told_why_and_never_shown() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let issuer = format!(
        "secret = \"{SECRET}\"\nissuer = \"https://a\"\naudience = \"us\"\nleeway = \"1s\""
    );
    let gateway = Gateway::start(&closed(&backend, &issuer, "")).await;
    let full = |exp, iss, aud| json!({ "sub": "7", "exp": exp, "iss": iss, "aud": aud });
    let right = full(later(600), "https://a", "us");
    let none = unsigned(&json!({ "alg": "none" }), &right) + ".";
    let signed = hs256(&right);
    let (message, signature) = signed.rsplit_once('.').unwrap();
    let other = good();
    let (_, others) = other.rsplit_once('.').unwrap();
    let early = json!({ "exp": later(600), "nbf": later(300), "iss": "https://a", "aud": ["us"] });
    for (token, words) in [
        (
            hs256(&full(later(-60), "https://a", "us")),
            "it has expired",
        ),
        (hs256(&early), "it is not valid yet"),
        (
            hs256(&full(later(600), "https://b", "us")),
            "it is of another issuer",
        ),
        (
            hs256(&full(later(600), "https://a", "them")),
            "another audience",
        ),
        (
            hs256(&json!({ "iss": "https://a", "aud": "us" })),
            "it never expires",
        ),
        (format!("{message}.{others}"), "its signature is wrong"),
        (none, "its algorithm (`alg`) is not"),
        (format!("{signed}.{signature}"), "it is not a signed token"),
    ] {
        let ask = CHAT.ask().field(&format!("Authorization: Bearer {token}"));
        let answer = gateway.fetch(&ask).await;
        assert_eq!(answer.status(), 401, "{words}");
        let challenge = answer.head.get("www-authenticate").unwrap_or_default();
        let begin = "Bearer realm=\"deltaway\", error=\"invalid_token\", error_description=\"";
        assert!(
            challenge.starts_with(begin) && challenge.contains(words),
            "{challenge}"
        );
        let body = answer.json();
        let message = body["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(words), "{body}");
        let whole = format!("{:?} {}", answer.head.fields, answer.text());
        assert!(
            token
                .split('.')
                .all(|part| part.is_empty() || !whole.contains(part))
        );
    }
    assert_eq!(backend.connections(), 0);
    let good = CHAT
        .ask()
        .field(&format!("Authorization: Bearer {}", hs256(&right)));
    assert_eq!(gateway.fetch(&good).await.status(), 200);
}

#[tokio::test]
async fn keys_of_a_set_take_turns() {
    let random = SystemRandom::new();
    let pairs: Vec<_> = (0..2)
        .map(|_| {
            let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap()
        })
        .collect();
    let keys = pairs.iter().enumerate().map(|(number, pair)| {
        let point = pair.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        json!({ "kty": "EC", "crv": "P-256", "kid": number.to_string(), "x": x, "y": y })
    });
    let set = json!({ "keys": keys.collect::<Vec<_>>() });
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, set.to_string().as_bytes()).unwrap();
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let jwks = format!("jwks = \"{}\"", file.path().display());
    let gateway = Gateway::start(&closed(&backend, &jwks, "")).await;
    for (signs, named, status) in [(0, "0", 200), (1, "1", 200), (1, "0", 401), (1, "2", 401)] {
        let header = json!({ "alg": "ES256", "kid": named });
        let message = unsigned(&header, &json!({ "exp": later(60) }));
        let signature = pairs[signs].sign(&random, message.as_bytes()).unwrap();
        let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
        let ask = CHAT.ask().field(&format!("Authorization: Bearer {token}"));
        assert_eq!(
            gateway.fetch(&ask).await.status(),
            status,
            "{signs} as {named}"
        );
    }
}

#[tokio::test]
async fn where_the_model_decides_a_stranger_is_turned_away_before_its_body_is_held() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let secret = format!("secret = \"{SECRET}\"");
    let rules = "model = \"gpt-*\"\nkey_in = { query = \"token\" }";
    let gateway = Gateway::start(&closed(&backend, &secret, rules)).await;
    for (token, status) in [(good(), 200), ("a.b.c".to_owned(), 401)] {
        let target = format!("{}?token={token}", CHAT.target);
        let body = json!({ "model": "gpt-4o", "messages": [] }).to_string();
        let answer = gateway.fetch(&Ask::post(&target, body)).await;
        assert_eq!(answer.status(), status);
    }
    assert_eq!(backend.requests()[0].head.target(), CHAT.target);
}

#[tokio::test]
async fn the_log_names_the_holder_and_holds_no_token() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let places = "key_in = { query = \"token\" }";
    let secret = "secret = \"${SECRET:-}\"";
    // The listener is the binary's own matter here.
    let source = closed(&backend, secret, places);
    let rest = source.split_once("[upstreams").map(|(_, rest)| rest);
    let rest = format!("[upstreams{}", rest.unwrap_or_default());
    let binary = Served::start(&rest, &[("SECRET", SECRET)]).await;
    let long = "x\n".repeat(500);
    let tokens = [
        good(),
        hs256(&json!({ "sub": long, "exp": later(600) })),
        hs256(&json!({ "sub": "8", "exp": later(-600) })),
    ];
    for token in &tokens {
        binary.fetch(&Ask::get(&format!("/x?token={token}"))).await;
    }
    let first = binary.access(0).await;
    assert_eq!(
        (&first["principal"], &first["status"]),
        (&json!("accounts:7"), &json!(200))
    );
    let second = binary.access(1).await;
    let name = second["principal"].as_str().unwrap_or_default();
    assert!(name.starts_with("accounts:x") && name.len() < 400, "{name}");
    assert!(!name.contains('\n'));
    let third = binary.access(2).await;
    assert_eq!(
        (&third["principal"], &third["status"]),
        (&Value::Null, &json!(401))
    );
    assert!(
        third["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("expired"))
    );
    let lines = binary.lines().join("\n");
    for token in &tokens {
        assert!(token.split('.').skip(1).all(|part| !lines.contains(part)));
    }
}

#[tokio::test]
async fn what_a_token_lets_its_holder_read_ends_with_the_token() {
    let backend = Backend::listen().await;
    let issuer = format!("secret = \"{SECRET}\"\nleeway = \"1ms\"");
    let topics = "[routes.topics]\npath = \"/topics/{topic}\"\nsubscribe = \"{topic}\"\nallow = [\"accounts\"]\n";
    let config = closed(&backend, &issuer, "share = true") + topics;
    let gateway = Gateway::start(&config).await;
    let expires = later(2);
    let token = hs256(&json!({ "sub": "7", "exp": expires }));
    let field = format!("Authorization: Bearer {token}");
    let mut topic = gateway.asking(&Ask::get("/topics/a").field(&field)).await;
    assert_eq!(topic.head().await.status(), 200);
    let mut feed = gateway.asking(&Ask::get("/prices").field(&field)).await;
    let (mut peer, _) = backend.request().await;
    peer.send(wire::event_stream()).await;
    assert_eq!(feed.head().await.status(), 200);
    for client in [&mut topic, &mut feed] {
        let (_, ended) = client.rest().await;
        assert!(ended.is_clean(), "{ended:?}");
        assert!(later(0) >= expires, "not before");
    }
}
