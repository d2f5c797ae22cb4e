//! Who may call, with what, and which secrets go where.

use crate::support::api::{CHAT, GEMINI, MESSAGES};
use crate::support::{Ask, Backend, Gateway, toml, wire};

const CALLER: &str = "caller-key-7f3a";
const SECRET: &str = "sk-upstream-91bc";

fn closed(backend: &Backend, credentials: &str) -> String {
    let keys = format!("[keys.web]\nvalue = \"{CALLER}\"\n[routes.all]");
    let credentials = format!("{credentials}\n{keys}");
    toml(&backend.url(), "allow = [\"web\"]").replace("[routes.all]", &credentials)
}

#[tokio::test]
async fn only_holders_of_an_allowed_key_get_in_however_they_show_it() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = Gateway::start(&closed(&backend, "")).await;
    for field in [
        format!("Authorization: Bearer {CALLER}"),
        format!("authorization: bearer {CALLER}"),
        format!("x-api-key: {CALLER}"),
    ] {
        assert_eq!(
            gateway.fetch(&CHAT.ask().field(&field)).await.status(),
            200,
            "{field}"
        );
    }
    let google = GEMINI.ask().field(&format!("x-goog-api-key: {CALLER}"));
    assert_eq!(gateway.fetch(&google).await.status(), 200);
    assert_eq!(backend.requests().len(), 4);
    for request in backend.requests() {
        let fields = format!("{:?} {:?}", request.head.fields, request.head.first);
        assert!(
            !fields.contains(CALLER),
            "the caller's key went on: {fields}"
        );
    }

    let wrong = [
        None,
        Some("Authorization: Bearer wrong".to_owned()),
        Some(format!("Authorization: Bearer {CALLER}x")),
        Some(format!("Authorization: Basic {CALLER}")),
        Some("x-api-key:".to_owned()),
    ];
    for field in wrong {
        let ask = field
            .as_ref()
            .map_or(CHAT.ask(), |field| CHAT.ask().field(field));
        let answer = gateway.fetch(&ask).await;
        assert_eq!(answer.status(), 401, "{field:?}");
        assert!(answer.head.get("www-authenticate").is_some(), "{field:?}");
        assert!(!answer.text().contains(CALLER));
    }
    assert_eq!(backend.requests().len(), 4);
}

#[tokio::test]
async fn a_key_can_be_given_as_its_hash_or_in_a_file() {
    // SHA-256 of "hello".
    let hash = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, b"# two keys\nfirst-key\n\nsecond-key\n").unwrap();
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let source = toml(&backend.url(), "allow = [\"hashed\", \"filed\"]")
        + &format!(
            "[keys.hashed]\nhash = \"{hash}\"\n[keys.filed]\nfile = \"{}\"\n",
            file.path().display()
        );
    let gateway = Gateway::start(&source).await;
    for (key, status) in [
        ("hello", 200),
        ("first-key", 200),
        ("second-key", 200),
        ("# two keys", 401),
        ("", 401),
    ] {
        let ask = CHAT.ask().field(&format!("Authorization: Bearer {key}"));
        assert_eq!(gateway.fetch(&ask).await.status(), status, "{key}");
    }
}

#[tokio::test]
async fn the_upstreams_credentials_replace_the_callers() {
    let cases = [
        (
            format!("credentials = {{ bearer = \"{SECRET}\" }}"),
            "authorization",
            format!("Bearer {SECRET}"),
        ),
        (
            format!("credentials = {{ header = \"x-api-key\", value = \"{SECRET}\" }}"),
            "x-api-key",
            SECRET.to_owned(),
        ),
    ];
    for (credentials, name, value) in cases {
        let backend = Backend::answering(wire::json(200, "{}")).await;
        let gateway = Gateway::start(&closed(&backend, &credentials)).await;
        let ask = MESSAGES
            .ask()
            .field(&format!("Authorization: Bearer {CALLER}"))
            .field("x-api-key: another-of-the-callers")
            .field("Cookie: session=1");
        assert_eq!(gateway.fetch(&ask).await.status(), 200);
        let requests = backend.requests();
        let head = &requests[0].head;
        assert_eq!(head.get(name), Some(value.as_str()));
        let fields = format!("{:?}", head.fields);
        assert!(
            !fields.contains(CALLER) && !fields.contains("another-of"),
            "{fields}"
        );
    }
}

#[tokio::test]
async fn a_credential_can_go_into_the_query() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let credentials = "credentials = { query = \"key\", value = \"a b&c\" }";
    let gateway = Gateway::start(&closed(&backend, credentials)).await;
    let target = format!("{}&key=of-the-caller", GEMINI.target);
    let ask = Ask::post(&target, GEMINI.request).field(&format!("x-api-key: {CALLER}"));
    assert_eq!(gateway.fetch(&ask).await.status(), 200);
    let requests = backend.requests();
    let target = requests[0].head.target();
    assert!(
        target.contains("alt=sse") && !target.contains("of-the-caller"),
        "{target}"
    );
    assert!(
        target.contains("key=a%20b%26c") || target.contains("key=a+b%26c"),
        "{target}"
    );
}

#[tokio::test]
async fn without_credentials_the_callers_own_pass_through() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = Gateway::start(&toml(&backend.url(), "")).await;
    let ask = CHAT
        .ask()
        .field("Authorization: Bearer mine")
        .field("x-api-key: also");
    gateway.fetch(&ask).await;
    let requests = backend.requests();
    let head = &requests[0].head;
    assert_eq!(
        (head.get("authorization"), head.get("x-api-key")),
        (Some("Bearer mine"), Some("also"))
    );
}

#[tokio::test]
async fn a_preflight_is_answered_here_and_names_what_a_page_may_do() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let cors = "allow = [\"web\"]\n\
                cors = { origins = [\"https://app.test\"], expose = [\"x-request-id\"], credentials = true }";
    let source = closed(&backend, "").replace("allow = [\"web\"]", cors);
    let gateway = Gateway::start(&source).await;
    let preflight = Ask::new("OPTIONS", CHAT.target)
        .field("Origin: https://app.test")
        .field("Access-Control-Request-Method: POST")
        .field("Access-Control-Request-Headers: authorization, content-type");
    let answer = gateway.fetch(&preflight).await;
    assert!(matches!(answer.status(), 200 | 204), "{}", answer.status());
    let head = &answer.head;
    assert_eq!(
        head.get("access-control-allow-origin"),
        Some("https://app.test")
    );
    assert_eq!(head.get("access-control-allow-credentials"), Some("true"));
    assert!(
        head.lists("access-control-allow-methods", "POST"),
        "{head:?}"
    );
    assert!(
        head.lists("access-control-allow-headers", "authorization"),
        "{head:?}"
    );
    assert!(head.lists("vary", "origin"), "{head:?}");
    assert_eq!(
        backend.connections(),
        0,
        "nothing for the backend to do, and no key asked for"
    );

    let real = CHAT
        .ask()
        .field("Origin: https://app.test")
        .field(&format!("Authorization: Bearer {CALLER}"));
    let answer = gateway.fetch(&real).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.head.get("access-control-allow-origin"),
        Some("https://app.test")
    );
    assert!(
        answer
            .head
            .lists("access-control-expose-headers", "x-request-id")
    );

    let refused = gateway
        .fetch(&CHAT.ask().field("Origin: https://app.test"))
        .await;
    assert_eq!(refused.status(), 401);
    assert_eq!(
        refused.head.get("access-control-allow-origin"),
        Some("https://app.test"),
        "a page must be able to read why it was refused"
    );

    let stranger = preflight_of("https://evil.test");
    let answer = gateway.fetch(&stranger).await;
    assert_eq!(answer.head.get("access-control-allow-origin"), None);
}

#[tokio::test]
async fn a_page_can_read_every_refusal_of_its_route() {
    let refusing = crate::support::backend::Refusing::new();
    let url = format!("http://{}", refusing.address);
    let rules = "cors = { origins = [\"https://app.test\"] }\nmax_body = \"1KB\"";
    let unset = "credentials = { bearer = \"${NOT_SET:-}\" }\n[routes.all]";
    let source = toml(&url, rules);
    let large = Ask::post(CHAT.target, vec![b' '; 2_000]);
    for (source, ask, status) in [
        (source.clone(), CHAT.ask(), 502),
        (source.clone(), large, 413),
        (source.replace("[routes.all]", unset), CHAT.ask(), 503),
    ] {
        let gateway = Gateway::start(&source).await;
        let answer = gateway.fetch(&ask.field("Origin: https://app.test")).await;
        assert_eq!(answer.status(), status);
        let head = &answer.head;
        let origin = head.get("access-control-allow-origin");
        assert_eq!(origin, Some("https://app.test"), "{status}");
        assert!(head.lists("access-control-expose-headers", "x-request-id"));
    }
}

#[tokio::test]
async fn where_a_route_has_cors_rules_the_backends_own_words_do_not_pass() {
    let fields = [
        "Access-Control-Allow-Origin: *",
        "Access-Control-Allow-Credentials: true",
        "Access-Control-Expose-Headers: x-secret",
        "Vary: X-Own",
        "Content-Length: 0",
    ];
    let backend = Backend::answering(wire::head("HTTP/1.1 200 OK", &fields)).await;
    let rules = "cors = { origins = [\"https://app.test\"] }";
    let gateway = Gateway::start(&toml(&backend.url(), rules)).await;
    for (origin, allowed) in [
        ("https://app.test", Some("https://app.test")),
        ("https://evil.test", None),
    ] {
        let ask = Ask::get("/x").field(&format!("Origin: {origin}"));
        let head = gateway.fetch(&ask).await.head;
        assert_eq!(head.get("access-control-allow-origin"), allowed, "{head:?}");
        assert_eq!(head.get("access-control-allow-credentials"), None);
        assert!(!head.lists("access-control-expose-headers", "x-secret"));
        assert!(head.lists("vary", "x-own") && head.lists("vary", "origin"));
    }
}

#[tokio::test]
async fn secrets_can_come_from_files() {
    let mut secret = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut secret, format!("{SECRET}\n").as_bytes()).unwrap();
    let file = secret.path().display();
    let backend = Backend::answering(wire::json(200, "{}")).await;
    for (credentials, field, value) in [
        (
            format!("bearer = {{ file = \"{file}\" }}"),
            "authorization",
            format!("Bearer {SECRET}"),
        ),
        (
            format!("header = \"api-key\", value = {{ file = \"{file}\" }}"),
            "api-key",
            SECRET.to_owned(),
        ),
    ] {
        let credentials = format!("credentials = {{ {credentials} }}\n[routes.all]");
        let source = toml(&backend.url(), "").replace("[routes.all]", &credentials);
        let gateway = Gateway::start(&source).await;
        assert_eq!(gateway.fetch(&CHAT.ask()).await.status(), 200);
        let requests = backend.requests();
        let head = &requests.last().unwrap().head;
        assert_eq!(
            head.get(field),
            Some(value.as_str()),
            "without the line's end"
        );
    }
}

fn preflight_of(origin: &str) -> Ask {
    Ask::new("OPTIONS", CHAT.target)
        .field(&format!("Origin: {origin}"))
        .field("Access-Control-Request-Method: POST")
}

#[tokio::test]
async fn without_cors_rules_the_backends_own_pass() {
    let fields = ["Access-Control-Allow-Origin: *", "Content-Length: 0"];
    let backend = Backend::answering(wire::head("HTTP/1.1 204 No Content", &fields[..1])).await;
    let gateway = Gateway::start(&toml(&backend.url(), "")).await;
    let answer = gateway.fetch(&preflight_of("https://any.test")).await;
    assert_eq!(answer.head.get("access-control-allow-origin"), Some("*"));
    assert_eq!(backend.requests()[0].head.method(), "OPTIONS");
}
