//! `[jwt.NAME]`.

use std::time::Duration;

use super::server::ANY_TIME;
use super::{Fallback, Key, Kind, TEXT, Table, table};

table! {
    /// `[jwt.NAME]`.
    TOKENS {
        about: "Who signs callers' tokens (JSON Web Tokens, RFC 7519), by a name that `allow` uses as it uses \
                the names of keys; no key has the same one. A caller shows its token where it would show a \
                key, `Authorization: Bearer TOKEN`. A token has to be signed by this issuer with the one \
                algorithm its key is for, to have an `exp` that has not passed, and to be no longer than 8 KiB. \
                It is never sent to the upstream. The access log names its holder `NAME:SUB`, by its `sub`.",
        example: "[jwt.accounts]\njwks = \"accounts.json\"\nissuer = \"https://accounts.example.com\"\n\
                  audience = \"deltaway\"\n\n\
                  [jwt.backend]\nsecret = \"${JWT_SECRET}\"\nleeway = \"1m\"\ntopics_claim = \"topics\"\n",
        forms: &[&["secret"], &["public_key"], &["jwks"]]
    }
    TOKENS_SECRET = ("secret", Kind::Secret, Fallback::Absent("–"),
        "A secret shared with the issuer, for HS256: at least 32 bytes, best made by chance \
         (`openssl rand -hex 32`). One written as `\"${NAME:-}\"` may be empty: the start succeeds, warns, and \
         nobody is let in by a token of this issuer.");
    TOKENS_PUBLIC_KEY = ("public_key", Kind::File, Fallback::Absent("–"),
        "The issuer's public key, a PEM file with `-----BEGIN PUBLIC KEY-----`. An RSA key of 2048 bits or more is \
         for RS256, a key on the curve P-256 for ES256.");
    TOKENS_JWKS = ("jwks", Kind::File, Fallback::Absent("–"),
        "A set of the issuer's keys (RFC 7517), for RS256, ES256 and HS256. A token that names a key (`kid`) \
         is checked with that one, and with keys that have no `kid`. Keys for other uses or algorithms are skipped.");
    TOKENS_ISSUER = ("issuer", Kind::Text(&TEXT), Fallback::Absent("any, and none"),
        "The `iss` a token has to have.");
    TOKENS_AUDIENCE = ("audience", Kind::Text(&TEXT), Fallback::Absent("none"),
        "The `aud` a token has to have, perhaps among others. Where this is not written, a token that has an \
         `aud` is refused, since it was meant for somebody else (RFC 7519 §4.1.3).");
    TOKENS_LEEWAY = ("leeway", ANY_TIME, Fallback::Duration(Duration::from_secs(30)),
        "How far the issuer's clock may be from ours, where `exp` and `nbf` are checked.");
    TOKENS_TOPICS_CLAIM = ("topics_claim", Kind::Text(&TEXT), Fallback::Absent("whatever the route leads to"),
        "The claim that holds the topics a caller may use: `{\"publish\": [\"a\"], \"subscribe\": [\"user/1\", \"room/*\"]}`, \
         each a list of names and patterns. A token without it, or without one of the two lists, may use none.");
}
