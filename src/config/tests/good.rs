//! Good files: what comes out of them.

use std::time::Duration;

use super::*;

/// The configuration that ten lines make.
const MINIMAL: &str = r#"
[server]
listen = "127.0.0.1:8080"

[admin]
listen = "127.0.0.1:9090"

[upstreams.model]
url = "http://127.0.0.1:9000"

[routes.chat]
path = "/v1/*"
to = "model"
"#;

fn good(source: &str, env: &Fixed) -> Config {
    parse(source, "dir/good.toml", env).unwrap_or_else(|faults| panic!("{faults}"))
}

fn route(lines: &str) -> Route {
    let source =
        format!("[upstreams.a]\nurl = 'http://a'\n[keys.k]\nvalue = 'x'\n[routes.r]\n{lines}\n");
    let config = good(&source, &Fixed::default());
    Route::clone(&config.routes[0])
}

#[test]
fn ten_lines_are_enough_and_the_defaults_are_the_written_ones() {
    let config = good(MINIMAL, &Fixed::default());
    let server = &config.server;
    assert_eq!(server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!((server.workers, server.max_connections), (None, 10_000));
    assert_eq!(server.max_head, 16 * 1024);
    assert_eq!(server.head_timeout, Duration::from_secs(10));
    assert_eq!(server.keep_alive, Duration::from_secs(75));
    assert_eq!(server.upload_timeout, Duration::from_secs(60));
    assert_eq!(server.drain, Duration::from_secs(30));
    assert!(server.trusted_proxies.is_empty());
    assert_eq!(config.admin.unwrap().listen.port(), 9090);
    assert_eq!(
        (config.log.format, config.log.level.as_str()),
        (LogFormat::Json, "info")
    );
    assert!(config.log.access);

    let upstream = &config.upstreams["model"];
    assert_eq!(
        upstream.endpoints[0].endpoint.to_string(),
        "http://127.0.0.1:9000"
    );
    assert_eq!(
        (upstream.pool_idle, upstream.pool_keep),
        (64, Duration::from_secs(4))
    );
    assert_eq!(upstream.clocks, Clocks::default());

    let route = &config.routes[0];
    assert_eq!(
        (&*route.name, route.place.line, route.place.column),
        ("chat", 11, 9)
    );
    assert!(route.matches.path.rest);
    assert_eq!(route.matches.path.segments, [Segment::Literal("v1".into())]);
    assert!(Arc::ptr_eq(&route.to[0].upstream, upstream));
    assert_eq!((route.max_body, route.model_within), (32 << 20, 32 << 20));
    assert_eq!(route.heartbeat, Some(Duration::from_secs(15)));
    assert_eq!(route.early_head, None);
    assert_eq!(route.dialect, DialectChoice::Auto);
    assert!(matches!(route.allow, Allow::Everybody));
    assert!(route.cors.is_none());
}

#[test]
fn a_route_with_everything() {
    let route = route(
        "host = ['API.example.com.', '*.example.org', '[::1]']\npath = '/users/{id}/caf%C3%A9'\n\
         method = ['GET', 'POST']\nquery = { a = '$$1' }\nheader = { X-Tenant = 'eu' }\n\
         model = ['gpt-4o', 'gpt-*', '*']\nto = [{ upstream = 'a', model = 'm' }, 'a']\nrewrite = '/x'\n\
         allow = ['k']\nheartbeat = 'off'\nearly_head = '20s'\ndialect = 'bedrock'\n\
         clocks = { idle = 'off', total = '2m' }\n\
         request_headers = { set = { host = 'h' }, remove = ['Cookie'] }\n\
         cors = { origins = ['*'] }",
    );
    let matches = &route.matches;
    assert_eq!(
        matches.hosts,
        [
            HostPattern::Exact("api.example.com".into()),
            HostPattern::Below(".example.org".into()),
            HostPattern::Exact("[::1]".into()),
        ]
    );
    assert_eq!(
        matches.path.segments,
        [
            Segment::Literal("users".into()),
            Segment::Parameter("id".into()),
            Segment::Literal("café".into()),
        ]
    );
    assert_eq!(matches.query, [("a".to_owned(), "$1".to_owned())]);
    assert_eq!(matches.headers[0].0, "x-tenant");
    assert_eq!(
        matches.models,
        [
            ModelPattern::Exact("gpt-4o".into()),
            ModelPattern::Prefix("gpt-".into()),
            ModelPattern::Prefix(String::new()),
        ]
    );
    assert_eq!(route.to[0].model.as_deref(), Some("m"));
    assert_eq!(route.to[1].model, None);
    assert_eq!(
        (route.heartbeat, route.early_head),
        (None, Some(Duration::from_secs(20)))
    );
    assert_eq!(route.dialect, DialectChoice::Fixed(Dialect::Bedrock));
    assert_eq!(route.clocks.idle, Limit::Off);
    assert_eq!(route.clocks.connect, Limit::Unset);
    assert!(matches!(&route.allow, Allow::Callers(keys, _) if &*keys[0].name == "k"));
    assert!(matches!(route.cors.unwrap().origins, Origins::Any));
}

#[test]
fn paths_keep_what_tells_them_apart() {
    let path = |text: &str| text.parse::<PathPattern>().unwrap();
    let literal = |text: &str| Segment::Literal(text.into());
    assert_eq!(path("/"), PathPattern::default());
    assert_eq!(
        path("/*"),
        PathPattern {
            segments: vec![],
            rest: true,
            rest_name: None
        }
    );
    assert_eq!(
        path("/a/"),
        PathPattern {
            segments: vec![literal("a"), literal("")],
            rest: false,
            rest_name: None
        }
    );
    assert_eq!(
        path("/a/*"),
        PathPattern {
            segments: vec![literal("a")],
            rest: true,
            rest_name: None
        }
    );
    assert_eq!(path("/a%2Fb").segments, [literal("a/b")]);
}

#[test]
fn endpoints_are_written_back_whole() {
    let endpoint = |text: &str| text.parse::<Endpoint>().unwrap().to_string();
    assert_eq!(endpoint("builtin:demo"), "builtin:demo");
    assert_eq!(endpoint("HTTP://Model:8000/"), "http://model:8000");
    assert_eq!(
        endpoint("https://a.example/v1/"),
        "https://a.example:443/v1"
    );
    assert_eq!(endpoint("http://[::1]"), "http://[::1]:80");
    assert_eq!(endpoint("http://10.0.0.7"), "http://10.0.0.7:80");
}

#[test]
fn every_dialect_has_its_word() {
    for (word, dialect) in [
        ("plain", Dialect::Plain),
        ("openai-chat", Dialect::OpenaiChat),
        ("openai-text", Dialect::OpenaiText),
        ("openai-responses", Dialect::OpenaiResponses),
        ("anthropic-messages", Dialect::AnthropicMessages),
        ("gemini", Dialect::Gemini),
        ("ollama", Dialect::Ollama),
        ("bedrock", Dialect::Bedrock),
    ] {
        let route = route(&format!("path = '/'\nto = 'a'\ndialect = '{word}'"));
        assert_eq!(route.dialect, DialectChoice::Fixed(dialect));
    }
}

#[test]
fn a_key_that_may_be_empty_and_is_has_no_hash() {
    let source =
        format!("{MINIMAL}[keys.k]\nvalue = '${{KEY:-}}'\n[keys.l]\nvalue = '${{LATER:-}}'\n");
    let keys = good(&source, &Fixed::default().variable("KEY", "")).keys;
    assert!(keys["k"].hashes.is_empty() && keys["l"].hashes.is_empty());
    let keys = good(&source, &Fixed::default().variable("KEY", "x")).keys;
    assert_eq!((keys["k"].hashes.len(), keys["l"].hashes.len()), (1, 0));
}

#[test]
fn keys_are_kept_as_hashes() {
    let hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let source = format!(
        "{MINIMAL}[keys.value]\nvalue = 'hello'\n[keys.file]\nfile = 'keys'\n[keys.hash]\n\
         hash = 'sha256:{}'\n",
        hello.to_uppercase().replace('2', "3")
    );
    let env = Fixed::default().file("dir/keys", "# two of them\r\n\r\none\r\n  two \r\n");
    let keys = good(&source, &env).keys;
    let hex: String = keys["value"].hashes[0]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hex, hello);
    assert_eq!(
        keys["file"].hashes.len(),
        2,
        "relative to the folder of the configuration"
    );
    assert_eq!(keys["hash"].hashes[0][0], 0x3c);
}

#[test]
fn secrets_come_from_variables_and_files_and_are_never_printed() {
    let source = format!(
        "{MINIMAL}request_headers = {{ set = {{ x-api-key = 'hunter2', x-b = '${{TOKEN}}' }} }}\n\
         query = {{ token = 'hunter2' }}\nheader = {{ x-c = 'hunter2' }}\n\
         [keys.k]\nvalue = '${{TOKEN}}'\n\
         [upstreams.b]\nurl = 'http://b'\ncredentials = {{ bearer = {{ file = 'token' }} }}\n\
         [upstreams.c]\nurl = 'http://c'\ncredentials = {{ query = 'key', value = 'x${{TOKEN:-}}' }}\n\
         [upstreams.d]\nurl = 'http://d'\ncredentials = {{ header = 'x-k', value = 'Key ${{NONE:-}}' }}\n"
    );
    let env = Fixed::default()
        .variable("TOKEN", "hunter2")
        .file("dir/token", "hunter2\r\n\n");
    let config = good(&source, &env);
    let credential = |name: &str| config.upstreams[name].credential.clone().unwrap();
    assert!(
        matches!(credential("b"), Credential::Bearer(secret) if secret.reveal() == Ok("hunter2"))
    );
    assert!(
        matches!(credential("c"), Credential::Query(_, secret) if secret.reveal() == Ok("xhunter2"))
    );
    let Credential::Header(_, secret) = credential("d") else {
        panic!("it is a header");
    };
    let missing = secret.reveal().unwrap_err();
    assert_eq!(
        missing.to_string(),
        "NONE is not set",
        "the text around it is no secret by itself"
    );
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn line_ends_and_a_byte_order_mark_do_not_matter() {
    let windows = format!("\u{feff}{}", MINIMAL.replace('\n', "\r\n"));
    let config = good(&windows, &Fixed::default());
    assert_eq!(config.routes[0].place.line, 11);
}

#[test]
fn routes_keep_the_order_of_the_file() {
    let source = "[upstreams.a]\nurl = 'http://a'\n[routes.z]\npath = '/z'\nto = 'a'\n[routes.b]\npath = '/b'\nto = 'a'\n";
    let config = good(source, &Fixed::default());
    let names: Vec<_> = config.routes.iter().map(|route| &*route.name).collect();
    assert_eq!(names, ["z", "b"]);
}
