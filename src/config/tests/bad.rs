//! Bad files: every kind of fault with its file, line, column, key, message and help.

use proptest::prelude::*;

use super::*;

/// Five good lines that each case builds on; its own text begins on line 6, inside the route.
pub(super) const GOOD: &str = "[upstreams.a]\nurl = 'http://a'\n[routes.r]\npath = '/'\nto = 'a'\n";

/// What is said about a file.
pub(super) fn said(source: &str, env: &Fixed) -> Vec<String> {
    match parse(source, "bad.toml", env) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}

/// Checks what is said about [`GOOD`] and `more`: `LINE:COLUMN: KEY: message | help` for each fault.
#[track_caller]
pub(super) fn check(more: &str, wanted: &[&str]) {
    let env = Fixed::default()
        .variable("NUMBER", "15")
        .file("empty", "\n# nothing\n")
        .file("keys", "good\nsha256:zz\n");
    let source = format!("{GOOD}{more}\n");
    let wanted: Vec<_> = wanted
        .iter()
        .map(|line| format!("bad.toml:{}", line.replacen(" | ", "\n    ", 1)))
        .collect();
    assert_eq!(said(&source, &env), wanted, "for {more}");
}

#[test]
fn what_is_not_toml() {
    check(
        "x = 127.0.0.1",
        &["6:10: invalid float | text stands in quotes; the rules of TOML are at https://toml.io"],
    );
    check(
        "x = 'abc",
        &[
            "6:9: invalid literal string, expected `'` | text stands in quotes; the rules of TOML are at https://toml.io",
        ],
    );
    check(
        "to = 'b'",
        &["6:1: duplicate key | a key is written once: take one out"],
    );
}

#[test]
fn broken_toml_hides_no_other_fault_and_invents_none() {
    let source =
        "[server]\nlisten = 127.0.0.1:8080\nworkers = 0\n[routes.r]\npath = '/'\nto = 'a'\n";
    let said = said(source, &Fixed::default());
    assert!(
        said.iter().any(|fault| fault.starts_with("bad.toml:2:")),
        "{said:?}"
    );
    assert!(
        said.iter()
            .any(|fault| fault.contains("3:11: server.workers")),
        "{said:?}"
    );
    let invented = |fault: &&String| fault.contains("no upstream") || fault.contains("missing");
    assert_eq!(
        said.iter().find(invented),
        None,
        "the upstream may stand in what was not read"
    );
}

#[test]
fn unknown_keys() {
    check(
        "paht = 1",
        &["6:1: routes.r.paht: there is no such key | did you mean `path`?"],
    );
    check(
        "[sever]\nlisten = 1",
        &["6:2: sever: there is no such key | did you mean `server`?"],
    );
    check(
        "[log]\nbananas = 1",
        &["7:1: log.bananas: there is no such key | there is: format, level, access"],
    );
    check(
        "[upstreams.b]\nulr = 'http://b'",
        &["7:1: upstreams.b.ulr: there is no such key | did you mean `url`?"],
    );
    check(
        "[routes.'x.y']\npath = '/x'\nto = 'a'\n\"ä\" = 1",
        &[
            "9:1: routes.\"x.y\".\"ä\": there is no such key | there is: host, path, method, query, header, \
           model, to, publish, subscribe, patterns, greeting, max_age, share, poll, resume, dedupe, \
           rewrite, request_headers, response_headers, allow, key_in, open, cors, max_body, \
           model_within, heartbeat, early_head, clocks, dialect, retry, failures, hedge, hedge_percent, \
           rescue, usage",
        ],
    );
}

#[test]
fn wrong_types() {
    check(
        "model = 5",
        &[
            "6:9: routes.r.model: is an integer | it has to be a model such as `\"gpt-4o\"` or `\"gpt-*\"`",
        ],
    );
    check(
        "open = 'yes'",
        &["6:8: routes.r.open: is a string | it has to be `true` or `false`"],
    );
    check(
        "query = 5",
        &["6:9: routes.r.query: is an integer | it has to be a table, each value text"],
    );
    check(
        "query = { a = 1 }",
        &["6:15: routes.r.query.a: is an integer | it has to be text"],
    );
    check(
        "[server]\nworkers = 0",
        &["7:11: server.workers: is out of bounds | it has to be a whole number from 1 to 1024"],
    );
    check(
        "model = []",
        &[
            "6:9: routes.r.model: is an empty list | it takes at least one, a model such as `\"gpt-4o\"` or \
           `\"gpt-*\"`, or the key is left out",
        ],
    );
    check(
        "dialect = 'openai-chatt'",
        &["6:11: routes.r.dialect: `openai-chatt` is not known here | did you mean `openai-chat`?"],
    );
}

#[test]
fn units() {
    check(
        "max_body = 10",
        &[
            "6:12: routes.r.max_body: is a number without a unit | it has to be a size such as `\"64KiB\"`",
        ],
    );
    check(
        "max_body = '1 MiB'",
        &[
            "6:12: routes.r.max_body: `1 MiB` is a size with an unknown unit | \
           write a whole number and its unit: \"512B\", \"64KiB\", \"20MiB\", \"1MB\"",
        ],
    );
    check(
        "heartbeat = '${NUMBER}'",
        &[
            "6:13: routes.r.heartbeat: `${NUMBER}` is a duration without a unit | \
           write a whole number and its unit: \"250ms\", \"15s\", \"2m\", \"1h\", \"1d\"",
        ],
    );
    check(
        "clocks = { idle = '0s' }",
        &[
            "6:19: routes.r.clocks.idle: `0s` is no time at all | at least \"1ms\"; \"off\" is without",
        ],
    );
    check(
        "[server]\nmax_head = '4KiB'\nhead_timeout = '0s'\nkeep_alive = 'off'",
        &[
            "7:12: server.max_head: `4KiB` is too small | at least \"8KiB\"",
            "8:16: server.head_timeout: `0s` is too short | at least \"1ms\"",
            "9:14: server.keep_alive: `off` is not a duration | \
             write a whole number and its unit: \"250ms\", \"15s\", \"2m\", \"1h\", \"1d\"",
        ],
    );
}

#[test]
fn names() {
    check(
        "allow = ['nobody']",
        &["6:10: routes.r.allow[0]: there is no key `nobody` | declare it: [keys.nobody]"],
    );
    check(
        "[routes.s]\npath = '/s'\nto = [{ upstream = 'aa' }, 'demo']",
        &[
            "8:20: routes.s.to[0].upstream: there is no upstream `aa` | did you mean `a`?",
            "8:28: routes.s.to[1]: there is no upstream `demo` | there is: a",
        ],
    );
    check(
        "[keys.'a b']\nvalue = 'x'",
        &["6:7: keys.\"a b\": is not a name | it has to be a name: letters, digits, `-`, `_`, `.`"],
    );
}

#[test]
fn what_is_missing() {
    check(
        "[routes.s]",
        &[
            "6:9: routes.s: has neither `to` nor `publish` nor `subscribe` | \
             exactly one of: `to`, `publish`, `subscribe`, `publish` with `subscribe`",
            "6:9: routes.s.path: is missing | it is a path such as `\"/exact\"`, `\"/prefix/*\"`, \
             `\"/users/{id}/events\"` or `\"/send/{topic*}\"`",
        ],
    );
    check(
        "[upstreams.b]",
        &[
            "6:12: upstreams.b: has neither `url` nor `endpoints` | exactly one of: `url`, `endpoints`",
        ],
    );
    let none = Fixed::default();
    assert_eq!(
        said("", &none),
        ["bad.toml:1:1: routes: is missing\n    it is a table of named tables"]
    );
    assert_eq!(
        said("[routes]", &none),
        [
            "bad.toml:1:2: routes: holds no route\n    at least one: [routes.NAME] with `path` and `to`"
        ]
    );
}

#[test]
fn what_excludes_one_another() {
    check(
        "[upstreams.b]\nurl = 'http://b'\nendpoints = ['http://c']",
        &["6:12: upstreams.b: has `url` and `endpoints` | exactly one of: `url`, `endpoints`"],
    );
    check(
        "[upstreams.b]\nurl = 'http://b'\ncredentials = { header = 'x-key' }",
        &["8:1: upstreams.b.credentials: has `header` | \
           exactly one of: `bearer`, `header` with `value`, `query` with `value`"],
    );
    check(
        "open = true\nallow = ['k']\n[keys.k]\nvalue = 'x'",
        &["6:8: routes.r.open: contradicts `allow` | \
           keep `allow` to ask for a key, or `open = true` to let everybody in"],
    );
}

#[test]
fn variables_and_files() {
    check(
        "rewrite = '${NONE}${NONE2}'",
        &[
            "6:11: routes.r.rewrite: the variable NONE is not set | set it, or write ${NONE:-} to let it be empty",
            "6:11: routes.r.rewrite: the variable NONE2 is not set | set it, or write ${NONE2:-} to let it be empty",
        ],
    );
    check(
        "[keys.k]\nvalue = '$KEY'",
        &["7:9: keys.k.value: a `$` that begins no variable | \
           write ${NAME}, ${NAME:-default}, or $$ for the sign itself"],
    );
    check(
        "[keys.k]\nfile = 'none'",
        &[
            "7:8: keys.k.file: the file `none` cannot be read: entity not found | \
           paths are relative to the folder of the configuration",
        ],
    );
    check(
        "[keys.k]\nfile = 'keys'\n[keys.l]\nfile = 'empty'",
        &[
            "7:8: keys.k.file: line 2 of the file is not a SHA-256 | \
             `sha256:` and 64 hexadecimal digits, from: printf %s \"$KEY\" | sha256sum",
            "9:8: keys.l.file: names a file without a key | one key or `sha256:HEX` a line",
        ],
    );
    check(
        "[upstreams.b]\nurl = 'https://b'\nca = 'empty'",
        &["8:6: upstreams.b.ca: names a file without a certificate | \
           a PEM file with `-----BEGIN CERTIFICATE-----`"],
    );
    check(
        "[upstreams.b]\nurl = 'http://b'\ncredentials = { bearer = { file = 'gone' } }",
        &[
            "8:35: upstreams.b.credentials.bearer.file: the file `gone` cannot be read: entity not found | \
           paths are relative to the folder of the configuration",
        ],
    );
}

#[test]
fn keys_of_callers() {
    check(
        "[keys.k]\nhash = 'not-a-hash'",
        &["7:8: keys.k.hash: is not a SHA-256 | \
           `sha256:` and 64 hexadecimal digits, from: printf %s \"$KEY\" | sha256sum"],
    );
    check(
        "[keys.l]\nvalue = ''",
        &["7:9: keys.l.value: is empty | \
           give it a value, or say that it may be empty: \"${NAME:-}\""],
    );
    check(
        "[keys.k]\nvalue = 'x'\n[keys.l]\nvalue = 'x'",
        &["8:7: keys.l: holds a key that `k` holds too | \
           a key that goes by two names would let in neither or both: keep one"],
    );
}

#[test]
fn lending_credentials_to_strangers() {
    const LENDS: &str = "[upstreams.b]\nurl = 'http://b'\ncredentials = { bearer = '${UNSET:-}' }\n\
                         [routes.s]\npath = '/s'\nto = ['a', 'b']\n\
                         [routes.t]\npath = '/t'\nto = 'a'\n\
                         request_headers = { set = { Authorization = 'x' } }\n\
                         [server]\nlisten = '0.0.0.0:80'";
    let help = "name the keys that are let in (`allow`), or state it with `open = true`";
    let beyond = "puts in credentials, asks no caller for a key, and listens beyond this machine";
    check(
        LENDS,
        &[
            &format!("9:9: routes.s: {beyond} (0.0.0.0:80) | {help}"),
            &format!("12:9: routes.t: {beyond} (0.0.0.0:80) | {help}"),
        ],
    );
    check(&LENDS.replace("0.0.0.0", "127.9.9.9"), &[]);
    check(&LENDS.replace("0.0.0.0", "[::ffff:127.0.0.1]"), &[]);
    let stated = LENDS.replace("path = '/s'", "path = '/s'\nopen = true");
    let stated = stated.replace("path = '/t'", "path = '/t'\nallow = ['k']");
    check(&format!("{stated}\n[keys.k]\nvalue = 'x'"), &[]);
}

#[test]
fn the_address_of_the_command_line_decides_who_is_a_stranger() {
    let source = format!(
        "{GOOD}[upstreams.b]\nurl = 'http://b'\ncredentials = {{ bearer = 'x' }}\n\
         [routes.s]\npath = '/s'\nto = 'b'\n"
    );
    let listen = |address: &str| {
        let overrides = Overrides {
            listen: Some(address.parse().unwrap()),
        };
        parse_with(&source, "bad.toml", &Fixed::default(), overrides)
    };
    assert_eq!(listen("127.0.0.1:1").unwrap().server.listen.port(), 1);
    let faults = listen("[::]:80").unwrap_err();
    assert_eq!(faults[0].key, "routes.s");
    assert!(faults[0].message.ends_with("([::]:80)"));
}

#[test]
fn many_at_once_in_the_order_of_the_file() {
    let source = "\
[server]
listen = 'localhost:8080'
workres = 2
head_timeout = 10

[keys.team]
hash = 'hunter2'

[upstreams.model]
url = 'http://user:hunter2@127.0.0.1:9000'
credentials = { bearer = '${TOKEN}' }
ca = 'missing.pem'

[routes.chat]
path = '/v1/*/chat'
method = 'post'
to = [{ upstream = 'modell' }]
allow = ['teem']
max_body = '20 MB'
";
    let faults = parse(source, "etc/gate.toml", &Fixed::default()).unwrap_err();
    let found: Vec<_> = faults
        .iter()
        .map(|fault| (fault.place.line, fault.place.column, fault.key.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (2, 10, "server.listen"),
            (3, 1, "server.workres"),
            (4, 16, "server.head_timeout"),
            (7, 8, "keys.team.hash"),
            (10, 7, "upstreams.model.url"),
            (11, 26, "upstreams.model.credentials.bearer"),
            (12, 6, "upstreams.model.ca"),
            (15, 8, "routes.chat.path"),
            (16, 10, "routes.chat.method"),
            (17, 20, "routes.chat.to[0].upstream"),
            (18, 10, "routes.chat.allow[0]"),
            (19, 12, "routes.chat.max_body"),
        ]
    );
    let text = faults.to_string();
    assert!(text.starts_with(
        "etc/gate.toml:2:10: server.listen: is not an IP address with a port\n    such as"
    ));
    assert!(!text.contains("hunter2"), "no secret is repeated: {text}");
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault() {
    let faults = load(Path::new("gone.toml"), &Fixed::default()).unwrap_err();
    assert_eq!(
        faults.to_string(),
        "gone.toml:1:1: the configuration cannot be read: entity not found\n    name a file with --config"
    );
}

#[test]
fn what_a_variable_held_is_never_shown() {
    let examples: Vec<_> = crate::config::reference::tables()
        .iter()
        .map(|(_, table)| table.example)
        .collect();
    let source = examples.join("\n");
    let texts: Vec<_> = source.match_indices('"').map(|(at, _)| at).collect();
    let mut wrong = 0;
    for pair in texts.chunks_exact(2) {
        let source = format!(
            "{}\"${{HIDDEN}}\"{}",
            &source[..pair[0]],
            &source[pair[1] + 1..]
        );
        for value in [
            "hunter2",
            "hunter2 \u{1}/..",
            "https://hunter2:x@a",
            "hunter2*?",
            "99999hunter2",
        ] {
            let env = Fixed::default()
                .variable("HIDDEN", value)
                .variable("WEB_KEY", "web")
                .file("secrets/anthropic", "secret");
            if let Err(faults) = parse(&source, "f", &env) {
                wrong += 1;
                let text = faults.to_string();
                assert!(!text.contains("hunter2"), "{text}\nin {source}");
            }
        }
    }
    assert!(wrong > 50, "the values were wrong in most places: {wrong}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_text_is_read_or_refused_but_never_a_panic(source in "(?s).{0,200}") {
        if let Err(faults) = parse(&source, "f", &Fixed::default()) {
            prop_assert!(!faults.is_empty());
        }
    }

    #[test]
    fn a_damaged_file_is_read_or_refused_with_places_in_it(
        from in 0.0..1.0f64,
        length in 0usize..40,
        put in "[\\[\\]{}='\"a-z0-9$.\n ]{0,12}",
    ) {
        let chars: Vec<char> = EMBEDDED.chars().collect();
        let from = (from * chars.len() as f64) as usize;
        let to = (from + length).min(chars.len());
        let before: String = chars[..from].iter().collect();
        let after: String = chars[to..].iter().collect();
        let source = format!("{before}{put}{after}");
        if let Err(faults) = parse(&source, "f", &Fixed::default()) {
            prop_assert!(!faults.is_empty());
            for fault in &*faults {
                let line = source.split('\n').nth(fault.place.line - 1);
                let columns = line.map_or(0, |line| line.chars().count());
                prop_assert!(line.is_some() && fault.place.column <= columns + 1, "{}", fault);
            }
        }
    }
}
