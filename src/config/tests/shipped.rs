//! What is shipped: the files in `config/`, the reference, the schema, the examples in the reference.

use super::*;
use crate::config::keys::{ADDRESS, CALLER_NAME, CHECK_AT, COOKIE, EVENT_NAME, FILTER, HASH};
use crate::config::keys::{
    HASH_BY, HEADER_NAME, HEADER_VALUE, HOST, HUB_PATH, METHOD, MODEL, MODEL_NAME, NAME, NETWORK,
};
use crate::config::keys::{ON_LEAVE, ORIGIN, PATH, QUERY_NAME, REWRITE, TEXT, TOPIC_PATTERN};
use crate::config::keys::{TOPIC_TEMPLATE, UPSTREAM_NAME, URL};
use crate::config::reference::tables;

/// The clone's own folder.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file in `config/`, with its text.
fn shipped() -> Vec<(PathBuf, String)> {
    let mut files: Vec<_> = std::fs::read_dir(root().join("config"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
        .collect();
    files.sort();
    assert!(files.len() >= 7, "one file a use: {files:?}");
    files
}

/// The variables that the shipped files ask for.
fn variables() -> Fixed {
    Fixed::default()
        .variable("DELTAWAY_KEY", "caller")
        .variable("OPENAI_API_KEY", "secret")
        .variable("SUPPORT_KEY", "support")
}

/// A TOML document as JSON, for the schema.
fn json(source: &str) -> serde_json::Value {
    fn convert(value: &toml::de::DeValue<'_>) -> serde_json::Value {
        use toml::de::DeValue;
        match value {
            DeValue::String(text) => text.to_string().into(),
            DeValue::Integer(number) => number.as_str().parse::<i64>().unwrap().into(),
            DeValue::Boolean(flag) => (*flag).into(),
            DeValue::Array(list) => list.iter().map(|item| convert(item.get_ref())).collect(),
            DeValue::Table(table) => table
                .iter()
                .map(|(name, value)| (name.get_ref().to_string(), convert(value.get_ref())))
                .collect(),
            other => other.type_str().into(),
        }
    }
    let document = DeTable::parse(source).unwrap().into_inner();
    convert(&toml::de::DeValue::Table(document))
}

/// What the schema has against a document.
fn against(source: &str) -> Vec<String> {
    let validator = jsonschema::validator_for(&json_schema()).unwrap();
    let instance = json(source);
    let errors = validator
        .iter_errors(&instance)
        .map(|error| error.instance_path().to_string());
    errors.collect()
}

#[test]
fn every_shipped_file_compiles() {
    for (path, source) in shipped() {
        let file = path.display().to_string();
        let config =
            parse(&source, &file, &variables()).unwrap_or_else(|faults| panic!("{faults}"));
        assert!(!config.routes.is_empty());
    }
}

#[test]
fn the_file_of_the_image_starts_with_nothing_set_and_lets_nobody_use_a_credential() {
    let source = std::fs::read_to_string(root().join("config/container.toml")).unwrap();
    let config = parse(&source, "container.toml", &Fixed::default()).unwrap();
    assert!(config.server.listen.ip().is_unspecified());
    assert!(config.keys.values().all(|key| key.hashes.is_empty()));
}

#[test]
fn the_embedded_file_starts_with_nothing_set_and_says_what_is_missing() {
    let config = parse(EMBEDDED, EMBEDDED_NAME, &Fixed::default()).unwrap();
    assert_eq!(
        config.upstreams["demo"].endpoints[0].endpoint,
        Endpoint::Demo
    );
    let Some(Credential::Bearer(secret)) = &config.upstreams["openai"].credential else {
        panic!("openai takes a bearer");
    };
    assert_eq!(
        secret.reveal().unwrap_err().to_string(),
        "OPENAI_API_KEY is not set"
    );
    let Some(Credential::Header(name, secret)) = &config.upstreams["anthropic"].credential else {
        panic!("anthropic takes a header");
    };
    assert_eq!(name, "x-api-key");
    assert_eq!(
        secret.reveal().unwrap_err().to_string(),
        "ANTHROPIC_API_KEY is not set"
    );
}

#[test]
fn the_embedded_file_names_every_key() {
    let tables = tables();
    let missing: Vec<_> = tables
        .iter()
        .flat_map(|(paths, table)| table.keys.iter().map(move |key| (paths, key.name)))
        .filter(|(_, name)| {
            !EMBEDDED.lines().any(|line| {
                let line = line.trim_start_matches(['#', ' ']);
                let assigned = |text: &str| text.starts_with(&format!("{name} ="));
                assigned(line)
                    || line
                        .match_indices(['{', ','])
                        .any(|(at, _)| assigned(line[at + 1..].trim_start()))
                    || line.contains(&format!(".{name}]"))
            })
        })
        .collect();
    assert!(
        missing.is_empty(),
        "not in config/deltaway.toml: {missing:?}"
    );
}

#[test]
fn the_defaults_shown_in_the_embedded_file_are_the_defaults() {
    for (paths, table) in tables() {
        for key in table.keys {
            let default = key.fallback.words();
            let Some(default) = default
                .strip_prefix('`')
                .and_then(|rest| rest.strip_suffix('`'))
            else {
                continue;
            };
            let shown = format!("{} = {default}", key.name);
            assert!(
                EMBEDDED.contains(&shown),
                "{paths:?}: config/deltaway.toml should show {shown}"
            );
        }
    }
}

#[test]
fn the_reference_is_the_one_that_is_generated() {
    let path = root().join("docs/configuration.md");
    if std::env::var_os("DELTAWAY_BLESS").is_some() {
        std::fs::write(&path, reference()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == reference(),
        "docs/configuration.md is not what the table of keys says; write it again with\n    \
         DELTAWAY_BLESS=1 cargo test --lib config::tests::shipped"
    );
}

#[test]
fn the_examples_of_the_reference_make_one_good_file() {
    let examples: Vec<_> = tables().iter().map(|(_, table)| table.example).collect();
    let source = examples.join("\n");
    let env = Fixed::default()
        .variable("WEB_KEY", "web")
        .variable("JWT_SECRET", "0123456789abcdef0123456789abcdef")
        .file("accounts.json", include_str!("keys/jwks.json"))
        .file("secrets/anthropic", "secret\n");
    let config = parse(&source, "example.toml", &env).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.routes.len(), 7);
    assert_eq!(against(&source), [""; 0]);
    let empty: Vec<_> = tables()
        .into_iter()
        .filter(|(_, table)| table.example.is_empty())
        .collect();
    assert!(empty.is_empty(), "every table has an example");
}

#[test]
fn the_schema_is_a_schema_and_lets_every_shipped_file_pass() {
    assert!(jsonschema::meta::is_valid(&json_schema()));
    for (path, source) in shipped() {
        assert_eq!(against(&source), [""; 0], "{}", path.display());
    }
}

/// A small file that the schema lets pass.
const GOOD: &str = "[upstreams.a]\nurl = 'http://a'\n[routes.r]\npath = '/'\nto = 'a'\n";

/// Where the schema finds fault with [`GOOD`] and `more`.
#[track_caller]
fn refused(more: &str) -> String {
    let at = against(&format!("{GOOD}{more}"));
    assert!(!at.is_empty(), "the schema lets pass: {more}");
    at[0].clone()
}

#[test]
fn the_schema_refuses_what_is_wrong() {
    assert_eq!(against(GOOD), [""; 0]);
    assert_eq!(refused("paht = '/'"), "/routes/r");
    assert_eq!(refused("max_body = '1 MiB'"), "/routes/r/max_body");
    assert_eq!(refused("heartbeat = 15"), "/routes/r/heartbeat");
    assert_eq!(refused("dialect = 'openai'"), "/routes/r/dialect");
    assert_eq!(refused("share = 'yes'"), "/routes/r/share");
    assert_eq!(refused("resume = { keep = 10 }"), "/routes/r/resume");
    assert_eq!(refused("publish = 'a'"), "/routes/r");
    assert_eq!(refused("[routes.s]\npath = '/'"), "/routes/s");
    assert_eq!(
        refused("[routes.s]\npath = '/'\nsubscribe = '{'"),
        "/routes/s/subscribe"
    );
    assert_eq!(refused("[topics.'a//b']"), "/topics");
    assert_eq!(refused("[topics.a]\nslow = 'no'"), "/topics/a/slow");
    assert_eq!(refused("[hub]\npath = '/a/'"), "/hub/path");
    let more = "share = true\nresume = { history = { age = '1d' } }\n[routes.s]\npath = '/{t*}'\n\
                publish = '{t}'\nsubscribe = ['{t}', '*']\n[topics.'a/*']\n";
    assert_eq!(against(&format!("{GOOD}{more}")), [""; 0]);
    assert_eq!(refused("model = []"), "/routes/r/model");
    assert_eq!(
        refused("clocks = { idle = 'never' }"),
        "/routes/r/clocks/idle"
    );
    assert_eq!(
        refused("[server]\nlisten = 'localhost:80'"),
        "/server/listen"
    );
    assert_eq!(refused("[server]\nworkers = 0"), "/server/workers");
    assert_eq!(refused("[keys.k]\nhash = 'x'"), "/keys/k/hash");
    assert_eq!(refused("[keys.k]\nvalue = 'x'\nfile = 'y'"), "/keys/k");
    assert_eq!(refused("[keys.'a b']\nvalue = 'x'"), "/keys");
    assert_eq!(refused("[upstreams.b]\nca = 'x'"), "/upstreams/b");
    assert_eq!(
        refused("[upstreams.b]\nurl = 'ftp://x'"),
        "/upstreams/b/url"
    );
    assert_eq!(
        refused("[upstreams.b]\nurl = 'http://b'\ncredentials = { bearer = 'x', value = 'y' }"),
        "/upstreams/b/credentials"
    );
    assert!(!against("[server]").is_empty(), "routes are required");
    assert!(!against("[routes]").is_empty(), "one at least");
}

#[test]
fn the_schema_knows_what_happens_when_backends_fail() {
    for (lines, at) in [
        ("endpoints = [{ weight = 2 }]", "/upstreams/b/endpoints/0"),
        ("url = 'http://b'\nhttp = '3'", "/upstreams/b/http"),
        ("url = 'http://b'\nhash_by = 'a b'", "/upstreams/b/hash_by"),
        ("url = 'http://b'\ncheck = {}", "/upstreams/b/check"),
        ("url = 'http://b'\neject = 'no'", "/upstreams/b/eject"),
    ] {
        assert_eq!(refused(&format!("[upstreams.b]\n{lines}")), at);
    }
    assert_eq!(refused("retry = 2"), "/routes/r/retry");
    assert_eq!(
        refused("failures = { quota = 'never' }"),
        "/routes/r/failures/quota"
    );
    assert_eq!(refused("hedge = 2"), "/routes/r/hedge");
    let more = "eject = false\nendpoints = ['http://b', { url = 'http://c', weight = 3 }]\n\
                balance = 'hash'\nhash_by = 'x-session'\ncheck = { path = '/' }\n\
                [routes.s]\npath = '/s'\nto = ['a', { upstream = 'b', larger = true }]\nretry = false\n\
                failures = { quota = 'larger' }\nhedge = 'off'\nusage = 'trailers'\nrescue = true\n";
    assert_eq!(against(&format!("{GOOD}[upstreams.b]\n{more}")), [""; 0]);
}

#[test]
fn the_patterns_of_texts_know_their_samples() {
    let forms = [
        &ADDRESS,
        &CALLER_NAME,
        &CHECK_AT,
        &COOKIE,
        &EVENT_NAME,
        &FILTER,
        &HASH,
        &HASH_BY,
        &HEADER_NAME,
        &HEADER_VALUE,
        &HOST,
        &HUB_PATH,
        &METHOD,
        &MODEL,
        &MODEL_NAME,
        &NAME,
        &NETWORK,
        &ON_LEAVE,
        &ORIGIN,
        &PATH,
        &QUERY_NAME,
        &REWRITE,
        &TEXT,
        &TOPIC_PATTERN,
        &TOPIC_TEMPLATE,
        &UPSTREAM_NAME,
        &URL,
    ];
    for form in forms {
        let schema = serde_json::json!({ "pattern": format!("^(?:{})$", form.pattern) });
        let validator = jsonschema::validator_for(&schema).unwrap();
        let (good, bad) = form.samples;
        for text in good {
            assert!(
                validator.is_valid(&(*text).into()),
                "{} should take {text:?}",
                form.words
            );
        }
        for text in bad {
            assert!(
                !validator.is_valid(&(*text).into()),
                "{} should refuse {text:?}",
                form.words
            );
        }
    }
}
