//! `[jwt.NAME]`: keys as openssl and other programs write them, and what is wrong with others.

use std::time::Duration;

use super::bad::said;
use super::*;

const RSA: &str = include_str!("keys/rsa.pem");
const RSA_1024: &str = include_str!("keys/rsa-1024.pem");
const P256: &str = include_str!("keys/p256.pem");
const P256_COMPRESSED: &str = include_str!("keys/p256-compressed.pem");
const P384: &str = include_str!("keys/p384.pem");
const ED25519: &str = include_str!("keys/ed25519.pem");
/// The keys of `rsa.pem` and `p256.pem`, a secret, and keys for other uses and algorithms.
const JWKS: &str = include_str!("keys/jwks.json");
const SECRET: &str = "a secret that is long enough for SHA-256";

fn env() -> Fixed {
    Fixed::default()
        .variable("SECRET", SECRET)
        .file("rsa.pem", RSA)
        .file("p256.pem", P256)
        .file("jwks.json", JWKS)
        .file("secret", &format!("{SECRET}\n"))
}

/// The file with these keys in `[jwt.a]`, and a route that lets its callers in.
fn source(keys: &str) -> String {
    format!(
        "[upstreams.u]\nurl = 'http://u'\n[routes.r]\npath = '/'\nto = 'u'\nallow = ['a']\n\
         [jwt.a]\n{keys}\n"
    )
}

fn issuer(keys: &str) -> Issuer {
    let config = parse(&source(keys), "good.toml", &env());
    let config = config.unwrap_or_else(|faults| panic!("{faults}"));
    let issuer = config.issuers["a"].clone();
    let Allow::Callers(none, issuers) = &config.routes[0].allow else {
        panic!("the route asks for tokens")
    };
    assert!(none.is_empty() && Arc::ptr_eq(&issuers[0], &issuer));
    Issuer::clone(&issuer)
}

/// The one fault of the file with these keys in `[jwt.a]`.
#[track_caller]
fn fault(keys: &str, env: &Fixed) -> String {
    let said = said(&source(keys), env);
    assert_eq!(said.len(), 1, "{said:?}");
    said[0].replacen("\n    ", " | ", 1)
}

/// What a key is, for comparison.
fn shown(key: &VerifyingKey) -> (Option<&str>, Algorithm, Vec<u8>) {
    let bytes = match &key.material {
        KeyMaterial::Shared(bytes) | KeyMaterial::Point(bytes) => bytes.to_vec(),
        KeyMaterial::Rsa(modulus, exponent) => [&**modulus, exponent].concat(),
    };
    (key.id.as_deref(), key.algorithm, bytes)
}

#[test]
fn what_is_not_written_is_the_default() {
    let issuer = issuer("secret = '${SECRET}'");
    assert_eq!(&*issuer.name, "a");
    assert_eq!((issuer.issuer, issuer.audience), (None, None));
    assert_eq!(issuer.leeway, Duration::from_secs(30));
    assert_eq!(issuer.topics_claim, None);
    let wanted = (None, Algorithm::Hs256, SECRET.into());
    assert_eq!(shown(&issuer.keys[0]), wanted);
}

#[test]
fn what_is_written_counts() {
    let issuer = issuer(
        "secret = { file = 'secret' }\nissuer = 'https://i'\naudience = 'us'\nleeway = '0s'\n\
         topics_claim = 'https://i/topics'",
    );
    assert_eq!(shown(&issuer.keys[0]).2, SECRET.as_bytes());
    assert_eq!(issuer.issuer.as_deref(), Some("https://i"));
    assert_eq!(issuer.audience.as_deref(), Some("us"));
    assert_eq!(issuer.leeway, Duration::ZERO);
    assert_eq!(issuer.topics_claim.as_deref(), Some("https://i/topics"));
}

#[test]
fn a_key_is_the_same_in_pem_and_in_a_set() {
    let rsa = issuer("public_key = 'rsa.pem'");
    let p256 = issuer("public_key = 'p256.pem'");
    let set = issuer("jwks = 'jwks.json'");
    let named = |id: &'static str, alone: &Issuer| {
        let (none, algorithm, bytes) = shown(&alone.keys[0]);
        assert_eq!(none, None);
        (Some(id), algorithm, bytes)
    };
    let [first, second, third] = &set.keys[..] else {
        panic!("{} keys", set.keys.len())
    };
    assert_eq!(shown(first), named("r1", &rsa));
    assert_eq!(shown(second), named("e1", &p256));
    assert_eq!((&third.id, third.algorithm), (&None, Algorithm::Hs256));
    assert_eq!(rsa.keys[0].algorithm, Algorithm::Rs256);
    assert_eq!(p256.keys[0].algorithm, Algorithm::Es256);
}

#[test]
fn a_secret_that_may_be_empty_lets_nobody_in() {
    let issuer = issuer("secret = '${NOT_SET:-}'");
    assert!(issuer.keys.is_empty());
    assert!(!format!("{issuer:?}").contains("keys"));
}

#[test]
fn exactly_one_way_to_check() {
    let help = "exactly one of: `secret`, `public_key`, `jwks`";
    assert_eq!(
        fault("issuer = 'x'", &env()),
        format!("bad.toml:7:6: jwt.a: has neither `secret` nor `public_key` nor `jwks` | {help}")
    );
    assert_eq!(
        fault("secret = '${SECRET}'\njwks = 'jwks.json'", &env()),
        format!("bad.toml:7:6: jwt.a: has `secret` and `jwks` | {help}")
    );
    assert_eq!(
        fault("secret = '${SECRET}'\naudience = ''", &env()),
        "bad.toml:9:12: jwt.a.audience: is empty | some text, or leave it out"
    );
    assert_eq!(
        fault("secret = 'too short, 31 characters long:)'", &env()),
        "bad.toml:8:10: jwt.a.secret: is a secret of 31 bytes | at least 32 bytes: \
         `openssl rand -hex 32` makes one"
    );
}

#[test]
fn what_is_no_public_key() {
    let said = |text: &str| {
        let env = Fixed::default().file("key.pem", text);
        let fault = fault("public_key = 'key.pem'", &env);
        let said = fault.strip_prefix("bad.toml:8:14: jwt.a.public_key: ");
        said.unwrap().split(" | ").next().unwrap().to_owned()
    };
    for text in ["", "ssh-rsa AAAA", "-----BEGIN PUBLIC KEY-----\n"] {
        assert_eq!(said(text), "names a file without a public key in PEM");
    }
    let private = P256.replace("PUBLIC", "PRIVATE");
    assert_eq!(said(&private), "names a file without a public key in PEM");
    assert_eq!(
        said(&[RSA, P256].concat()),
        "names a file with several keys"
    );
    assert_eq!(said(RSA_1024), "is an RSA key of 1024 bits");
    for text in [P384, ED25519] {
        assert_eq!(said(text), "names a public key of an unknown kind");
    }
    let mut lines: Vec<_> = P256.lines().map(str::to_owned).collect();
    lines[1] = lines[1][..lines[1].len() - 4].to_owned() + "AAAA";
    assert_eq!(said(&lines.join("\n")), "is no point on its curve");
    let end_gone = RSA.replacen("IDAQAB", "IBAQAB", 1);
    assert_ne!(end_gone, RSA);
    assert_eq!(said(&end_gone), "names a public key of an unknown kind");
}

#[test]
fn a_compressed_point_is_refused() {
    let env = env().file("key.pem", P256_COMPRESSED);
    let fault = fault("public_key = 'key.pem'", &env);
    assert!(
        fault.contains("is no point on its curve | an uncompressed point"),
        "{fault}"
    );
}

#[test]
fn what_is_no_set_of_keys() {
    let said = |text: &str| {
        let env = Fixed::default().file("keys.json", text);
        let fault = fault("jwks = 'keys.json'", &env);
        let said = fault.strip_prefix("bad.toml:8:8: jwt.a.jwks: names a file ");
        said.unwrap().split(" | ").next().unwrap().to_owned()
    };
    let none = "without a key that signatures are checked with";
    assert_eq!(said("{\"keys\":[]}"), none);
    assert_eq!(
        said("{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-384\"}]}"),
        none
    );
    assert_eq!(said("{\"keys\":[{\"kty\":\"RSA\",\"use\":\"enc\"}]}"), none);
    assert_eq!(
        said("{\"keys\":[{\"kty\":\"oct\",\"alg\":\"HS512\"}]}"),
        none
    );
    assert_eq!(said("[]"), "that is no set of keys: line 1, column 2");
    let told = said("{\"keys\":[{\"kty\":\"oct\",\"k\":[\"hidden\"]}]}");
    assert!(told.starts_with("that is no set of keys: line 1") && !told.contains("hidden"));
    let twice = said("{\"keys\":[{\"kty\":\"oct\",\"kty\":\"RSA\"}]}");
    assert!(twice.starts_with("that is no set of keys"), "{twice}");
    assert_eq!(
        said("{\"keys\":[{\"kty\":\"oct\"}]}"),
        "whose key 1 has no `k`"
    );
    assert_eq!(
        said("{\"keys\":[{\"kty\":\"OKP\"},{\"kty\":\"oct\",\"k\":\"c2hvcnQ\"}]}"),
        "whose key 2 is a secret of 5 bytes"
    );
    assert_eq!(
        said("{\"keys\":[{\"kty\":\"RSA\",\"n\":\"a+b=\",\"e\":\"AQAB\"}]}"),
        "whose key 1 has a `n` that is not base64url"
    );
    assert_eq!(
        said("{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AQ\",\"y\":\"AQ\"}]}"),
        "whose key 1 is no point on its curve"
    );
    let even = JWKS.replacen("AQAB", "AQAA", 1);
    assert_eq!(said(&even), "whose key 1 is no usable RSA key");
}

#[test]
fn names_are_of_one_caller() {
    let both = "secret = '${SECRET}'\n[keys.a]\nvalue = 'x'";
    assert_eq!(
        fault(both, &env()),
        "bad.toml:7:6: jwt.a: `keys.a` has the same name | `allow` would mean both: give one of them \
         another name"
    );
    let slip = source("secret = '${SECRET}'\n[keys.accounts]\nvalue = 'x'");
    let slip = slip.replace("['a']", "['a', 'acounts', 'accounts']");
    assert_eq!(
        said(&slip, &env()),
        [
            "bad.toml:6:15: routes.r.allow[1]: there is no key `acounts`\n    did you mean `accounts`?"
        ]
    );
    let wrong = source("secret = 'short'");
    assert_eq!(
        said(&wrong, &env()).len(),
        1,
        "the route names an issuer that is wrong, not missing"
    );
}
