//! `[keys.NAME]`.

use super::{Fallback, HASH, Key, Kind, TOPIC_PATTERN, Table, table};

table! {
    /// `[keys.NAME]`.
    CALLER {
        about: "A caller's API key, by the name that `allow` and the access log use. A caller shows it as \
                `Authorization: Bearer KEY`, or as `x-api-key`, `api-key` or `x-goog-api-key`. Only its \
                SHA-256 is kept. Make the hash of one with \
                `printf %s \"$KEY\" | sha256sum`.",
        example: "[keys.web]\nvalue = \"${WEB_KEY}\"\n\n[keys.batch]\n\
                  hash = \"sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\"\n\
                  publish = [\"user/*\"]\nsubscribe = []\n",
        forms: &[&["hash"], &["value"], &["file"]]
    }
    CALLER_HASH = ("hash", Kind::Text(&HASH), Fallback::Absent("–"),
        "The SHA-256 of the key, so that the configuration holds nothing worth stealing.");
    CALLER_VALUE = ("value", Kind::Secret, Fallback::Absent("–"),
        "The key itself. One written as `\"${NAME:-}\"` may be empty: the start succeeds, warns, and nobody is \
         let in by it.");
    CALLER_FILE = ("file", Kind::File, Fallback::Absent("–"),
        "A file with one key or `sha256:HEX` a line, all of which go by this name. Empty lines and \
         lines that begin with `#` are skipped.");
    CALLER_PUBLISH = ("publish", Kind::List(0, &Kind::Text(&TOPIC_PATTERN)), Fallback::Absent("wherever a route leads"),
        "The topics that its holders may publish to. An empty list is none at all. What is not among them is \
         answered 403.");
    CALLER_SUBSCRIBE = ("subscribe", Kind::List(0, &Kind::Text(&TOPIC_PATTERN)), Fallback::Absent("wherever a route leads"),
        "The topics that its holders may subscribe to, likewise.");
}
