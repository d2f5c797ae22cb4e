//! The forms a text can have to be: their names in words, and patterns for editors.
//!
//! The patterns are a help while typing, looser than the checks that compile a value, and never
//! stricter; a text with a `$` in it passes them all, since it is known only once expanded.

/// A form of text.
pub(in crate::config) struct Form {
    /// What it is, in words, with an example.
    pub(in crate::config) words: &'static str,
    /// A regular expression over the whole text, in the dialect of JSON Schema.
    pub(in crate::config) pattern: &'static str,
    /// Texts that are of this form, and texts that are not; held against the pattern by a test.
    #[cfg_attr(
        not(test),
        allow(dead_code, reason = "the test of the patterns reads it")
    )]
    pub(in crate::config) samples: (&'static [&'static str], &'static [&'static str]),
}

/// `127.0.0.1:8080`.
pub(in crate::config) static ADDRESS: Form = Form {
    words: "an address and port such as `\"127.0.0.1:8080\"` or `\"[::1]:8080\"`",
    pattern: r"([0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}",
    samples: (
        &["0.0.0.0:80", "[::1]:8080"],
        &["localhost:80", ":8080", "1.2.3.4"],
    ),
};

/// `10.0.0.0/8`.
pub(in crate::config) static NETWORK: Form = Form {
    words: "an IP address or network such as `\"10.0.0.0/8\"`",
    pattern: r"[0-9A-Fa-f:.]+(/[0-9]{1,3})?",
    samples: (
        &["10.0.0.0/8", "::1", "fd00::/8"],
        &["example.com", "10.0.0.0/"],
    ),
};

/// A `tracing` filter.
pub(in crate::config) static FILTER: Form = Form {
    words: "a level such as `\"info\"`, or a filter such as `\"info,deltaway=debug\"`",
    pattern: r".+",
    samples: (&["info", "warn,deltaway=debug"], &[""]),
};

/// `sha256:` and 64 digits.
pub(in crate::config) static HASH: Form = Form {
    words: "`\"sha256:…\"` with 64 hexadecimal digits",
    pattern: r"sha256:[0-9A-Fa-f]{64}",
    samples: (
        &["sha256:2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824"],
        &[
            "sha256:2c",
            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        ],
    ),
};

/// `https://host/base`.
pub(in crate::config) static URL: Form = Form {
    words: "a URL such as `\"https://api.example.com/base\"`, or `\"builtin:demo\"`",
    pattern: r"builtin:demo|[Hh][Tt][Tt][Pp][Ss]?://[^/?#@]+(/[^?#]*)?",
    samples: (
        &["http://[::1]:9000", "https://a.example/v1", "builtin:demo"],
        &[
            "ftp://a",
            "http://u@a",
            "http://a?b",
            "a:80",
            "builtin:other",
        ],
    ),
};

/// A header's name.
pub(in crate::config) static HEADER_NAME: Form = Form {
    words: "the name of a header",
    pattern: r"[!#$%&'*+.^_`|~0-9A-Za-z-]+",
    samples: (&["x-api-key", "*"], &["", "a b", "a:"]),
};

/// A header's value.
pub(in crate::config) static HEADER_VALUE: Form = Form {
    words: "the value of a header",
    pattern: r"[^\r\n]*",
    samples: (&["", "no-cache, no-store"], &["a\nb"]),
};

/// What a check asks for.
pub(in crate::config) static CHECK_AT: Form = Form {
    words: "a path such as `\"/health\"`",
    pattern: r"/[^#]*",
    samples: (&["/", "/health?full=1"], &["", "health", "/a#b"]),
};

/// What requests to one endpoint have in common.
pub(in crate::config) static HASH_BY: Form = Form {
    words: "`\"caller\"`, or the name of a header",
    pattern: r"[!#$%&'*+.^_`|~0-9A-Za-z-]+",
    samples: (&["caller", "x-session"], &["", "a b", "a:"]),
};

/// A query parameter's name.
pub(in crate::config) static QUERY_NAME: Form = Form {
    words: "the name of a query parameter",
    pattern: r".+",
    samples: (&["key"], &[""]),
};

/// Any text.
pub(in crate::config) static TEXT: Form = Form {
    words: "text",
    pattern: r"[^\u0000]*",
    samples: (&["", "anything"], &["\0"]),
};

/// A host of a route.
pub(in crate::config) static HOST: Form = Form {
    words: "a host such as `\"api.example.com\"` or `\"*.example.com\"`",
    pattern: r"(\*\.)?[0-9A-Za-z_-]+(\.[0-9A-Za-z_-]+)*\.?|\[[0-9A-Fa-f:.]+\]",
    samples: (
        &["localhost", "*.example.com", "127.0.0.1", "[::1]"],
        &["*", "a.*.com", "a:80", "http://a"],
    ),
};

/// A path of a route.
pub(in crate::config) static PATH: Form = Form {
    words: "a path such as `\"/exact\"`, `\"/prefix/*\"`, `\"/users/{id}/events\"` or `\"/send/{topic*}\"`",
    pattern: r"/([^*?#]*/)?([^*?#]*|\*|\{[0-9A-Za-z_]+\*\})",
    samples: (
        &[
            "/",
            "/*",
            "/v1/*",
            "/users/{id}/events",
            "/{x*}",
            "/send/{topic*}",
        ],
        &["v1", "/a*", "/a/*/b", "/a?b", "/a{b*}", "/{a*}/b"],
    ),
};

/// The path of kept answers.
pub(in crate::config) static HUB_PATH: Form = Form {
    words: "a path such as `\"/streams\"`",
    pattern: r"(/[0-9A-Za-z._~-]+)+",
    samples: (&["/streams", "/a/b.c"], &["/", "streams", "/a/", "/{id}"]),
};

/// Topics, by a pattern over their names.
pub(in crate::config) static TOPIC_PATTERN: Form = Form {
    words: "a topic such as `\"orders/new\"`, or a pattern such as `\"orders/*\"`",
    pattern: r"([^/*{}]+|\*)(/([^/*{}]+|\*))*",
    samples: (
        &["a", "orders/*", "*/b/*", "*"],
        &["", "/a", "a/", "a//b", "a*", "{a}"],
    ),
};

/// What a topic's name is made of.
pub(in crate::config) static TOPIC_TEMPLATE: Form = Form {
    words: "a topic such as `\"orders/{id}\"`, `\"{topic*}\"`, `\"user/{query.user}\"` or `\"user/{jwt.sub}\"`",
    pattern: r"([^{}]|\{[^{}]+\})+",
    samples: (
        &[
            "a",
            "orders/{id}",
            "{topic*}",
            "a-{query.b}/{jwt.sub}",
            "all/*",
        ],
        &["", "{", "a}", "{}", "{{a}}"],
    ),
};

/// What happens to a kept answer that nobody reads.
pub(in crate::config) static ON_LEAVE: Form = Form {
    words: "`\"cancel\"`, `\"finish\"` or such as `\"linger 2m\"`",
    pattern: r"cancel|finish|linger [0-9]+(ms|s|m|h|d)",
    samples: (
        &["cancel", "finish", "linger 2m"],
        &["linger", "linger2m", "2m", ""],
    ),
};

/// An event's name.
pub(in crate::config) static EVENT_NAME: Form = Form {
    words: "the name of an event",
    pattern: r"[^\r\n\u0000]+",
    samples: (&["hello", "a b"], &["", "a\nb", "\0"]),
};

/// A cookie's name.
pub(in crate::config) static COOKIE: Form = Form {
    words: "the name of a cookie",
    pattern: r"[!#$%&'*+.^_`|~0-9A-Za-z-]+",
    samples: (&["session", "__Host-key"], &["", "a b", "a="]),
};

/// A path to rewrite to.
pub(in crate::config) static REWRITE: Form = Form {
    words: "a path such as `\"/api/v1\"`",
    pattern: r"/[^*?#{}]*",
    samples: (&["/", "/api/v1"], &["api", "/a/*", "/{id}"]),
};

/// An HTTP method.
pub(in crate::config) static METHOD: Form = Form {
    words: "a method such as `\"POST\"`",
    pattern: r"[A-Z][A-Z0-9_-]*",
    samples: (&["GET", "M-SEARCH"], &["get", "", "GET POST"]),
};

/// A model of a route.
pub(in crate::config) static MODEL: Form = Form {
    words: "a model such as `\"gpt-4o\"` or `\"gpt-*\"`",
    pattern: r"[^*]+\*?|\*",
    samples: (
        &["gpt-4o", "gpt-*", "*", "meta-llama/Llama 3"],
        &["", "*-mini", "a*b", "a**"],
    ),
};

/// A model as an upstream knows it.
pub(in crate::config) static MODEL_NAME: Form = Form {
    words: "the name of a model",
    pattern: r".+",
    samples: (&["gpt-4o"], &[""]),
};

/// The name of a key, an upstream or a route.
pub(in crate::config) static NAME: Form = Form {
    words: "a name: letters, digits, `-`, `_`, `.`",
    pattern: r"[0-9A-Za-z_.-]+",
    samples: (&["chat", "gpt-4.1_mini"], &["", "a b", "ü"]),
};

/// The name of an upstream, referred to.
pub(in crate::config) static UPSTREAM_NAME: Form = Form {
    words: "the name of an upstream",
    pattern: NAME.pattern,
    samples: NAME.samples,
};

/// The name of a key or of an issuer of tokens, referred to.
pub(in crate::config) static CALLER_NAME: Form = Form {
    words: "the name of a key or of an issuer of tokens",
    pattern: NAME.pattern,
    samples: NAME.samples,
};

/// An origin.
pub(in crate::config) static ORIGIN: Form = Form {
    words: "an origin such as `\"https://app.example.com\"`, or `\"*\"`",
    pattern: r"\*|[a-z][a-z0-9+.-]*://[^/?#@]+",
    samples: (
        &[
            "*",
            "https://app.example.com",
            "http://localhost:3000",
            "tauri://localhost",
        ],
        &["app.example.com", "https://a/", "null"],
    ),
};
