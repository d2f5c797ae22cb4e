//! Tokens of RFC 7515's own examples and of keys made here; every way to be refused.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;

use super::*;

/// When the tests are: in seconds of the epoch.
const NOW: u64 = 1_700_000_000;
const SECRET: &[u8] = b"a secret that is long enough for SHA-256";
/// RFC 7515 A.1 to A.3: the payload of all three expires at 1300819380.
const JOE: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const JOE_EXPIRES: u64 = 1_300_819_380;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn key(id: Option<&str>, material: KeyMaterial) -> VerifyingKey {
    let algorithm = match material {
        KeyMaterial::Shared(_) => Algorithm::Hs256,
        KeyMaterial::Rsa(..) => Algorithm::Rs256,
        KeyMaterial::Point(_) => Algorithm::Es256,
    };
    VerifyingKey {
        id: id.map(Arc::from),
        algorithm,
        material,
    }
}

fn issuer(keys: Vec<VerifyingKey>) -> Issuer {
    Issuer {
        name: "accounts".into(),
        keys,
        issuer: None,
        audience: None,
        leeway: Duration::from_secs(30),
        topics_claim: None,
    }
}

fn shared(secret: &[u8]) -> KeyMaterial {
    KeyMaterial::Shared(secret.into())
}

fn hs256() -> Issuer {
    issuer(vec![key(None, shared(SECRET))])
}

/// A token of these parts as they are written, with a good HMAC.
fn raw(header: &str, claims: &str, secret: &[u8]) -> String {
    let message = format!("{}.{}", encode(header), encode(claims));
    let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = hmac::sign(&secret, message.as_bytes());
    format!("{message}.{}", encode(signature))
}

fn token(claims: &Value) -> String {
    raw(r#"{"alg":"HS256"}"#, &claims.to_string(), SECRET)
}

fn why(issuer: &Issuer, token: &str) -> Option<Refused> {
    verify(issuer, token.as_bytes(), at(NOW)).err()
}

fn rsa_of_the_rfc() -> KeyMaterial {
    let modulus = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1\
                   Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSX\
                   ndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5Ihl\
                   JH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    KeyMaterial::Rsa(decode(modulus).into(), vec![1, 0, 1].into())
}

fn rs256_of_the_rfc() -> String {
    let signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2\
                     Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjt\
                     QBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6\
                     IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    format!("eyJhbGciOiJSUzI1NiJ9.{JOE}.{signature}")
}

fn examples_of_the_rfc() -> [(KeyMaterial, String); 3] {
    let secret = decode(
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
    );
    let x = decode("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU");
    let y = decode("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
    let hmac = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let ecdsa =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    [
        (
            shared(&secret),
            format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{JOE}.{hmac}"),
        ),
        (rsa_of_the_rfc(), rs256_of_the_rfc()),
        (
            KeyMaterial::Point([&[4], x.as_slice(), &y].concat().into()),
            format!("eyJhbGciOiJFUzI1NiJ9.{JOE}.{ecdsa}"),
        ),
    ]
}

/// A key pair on P-256 and the key its signatures are checked with.
fn pair(id: Option<&str>) -> (EcdsaKeyPair, VerifyingKey) {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random)
            .unwrap();
    let point = KeyMaterial::Point(pair.public_key().as_ref().into());
    (pair, key(id, point))
}

fn es256(pair: &EcdsaKeyPair, header: &Value, claims: &Value) -> String {
    let message = format!(
        "{}.{}",
        encode(header.to_string()),
        encode(claims.to_string())
    );
    let signature = pair.sign(&SystemRandom::new(), message.as_bytes());
    format!("{message}.{}", encode(signature.unwrap()))
}

#[test]
fn the_examples_of_rfc_7515_are_accepted_by_their_own_keys_only() {
    let examples = examples_of_the_rfc();
    for (own, (_, token)) in examples.iter().enumerate() {
        for (other, (material, _)) in examples.iter().enumerate() {
            let issuer = issuer(vec![key(None, material.clone())]);
            let verified = verify(&issuer, token.as_bytes(), at(JOE_EXPIRES - 1));
            if own == other {
                assert_eq!(verified.ok().unwrap().claims["iss"], "joe", "{own}");
            } else {
                assert_eq!(verified.err(), Some(Refused::Algorithm), "{own} {other}");
            }
        }
        let all = examples
            .iter()
            .map(|(material, _)| key(None, material.clone()));
        let all = issuer(all.collect());
        assert!(verify(&all, token.as_bytes(), at(JOE_EXPIRES)).is_ok());
        let late = verify(&all, token.as_bytes(), at(JOE_EXPIRES + 30));
        assert_eq!(late.err(), Some(Refused::Expired));
    }
}

#[test]
fn what_is_no_signed_token() {
    let issuer = hs256();
    let good = token(&json!({ "exp": NOW + 60 }));
    assert_eq!(why(&issuer, &good), None);
    let (header, rest) = good.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    for bad in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        format!("{header}.{claims}"),
        format!("{good}."),
        format!("{good}.{signature}"),
        format!("{header}=.{claims}.{signature}"),
        format!("{header}.{claims}.{signature}="),
        format!("{header}.{claims}+/.{signature}"),
        format!(" {good}"),
        format!("{header}\n.{claims}.{signature}"),
        raw("[]", "{}", SECRET),
        raw("", "{}", SECRET),
        raw(r#"{"alg":"HS256","alg":"HS256"}"#, "{}", SECRET),
        raw(r#"{"alg":"HS256","kid":1}"#, "{}", SECRET),
    ] {
        assert_eq!(why(&issuer, &bad), Some(Refused::Malformed), "{bad:?}");
    }
    let long = json!({ "exp": NOW + 60, "x": "x".repeat(LONGEST) });
    assert_eq!(why(&issuer, &token(&long)), Some(Refused::Long));
    let critical = raw(r#"{"alg":"HS256","crit":["b64"],"b64":true}"#, "{}", SECRET);
    assert_eq!(why(&issuer, &critical), Some(Refused::Critical));
}

#[test]
fn the_key_decides_the_algorithm_not_the_token() {
    let claims = json!({ "exp": NOW + 60 }).to_string();
    let none = format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(&claims));
    let rsa = rsa_of_the_rfc();
    let KeyMaterial::Rsa(modulus, _) = &rsa else {
        panic!("an RSA key")
    };
    // The public key taken for a secret: whoever knows it could sign.
    let confused = raw(r#"{"alg":"HS256"}"#, &claims, modulus);
    let issuers = [
        hs256(),
        issuer(vec![key(None, rsa.clone())]),
        issuer(vec![pair(None).1]),
    ];
    for issuer in &issuers {
        assert_eq!(why(issuer, &none), Some(Refused::Algorithm));
        for alg in [
            r#""NONE""#,
            r#""hs256""#,
            r#""RS512""#,
            r#""PS256""#,
            "null",
            "1",
        ] {
            let odd = raw(&format!(r#"{{"alg":{alg}}}"#), &claims, SECRET);
            assert_eq!(why(issuer, &odd), Some(Refused::Algorithm), "{alg}");
        }
        let silent = raw("{}", &claims, SECRET);
        assert_eq!(why(issuer, &silent), Some(Refused::Algorithm));
    }
    assert_eq!(why(&issuers[1], &confused), Some(Refused::Algorithm));
    let unset = issuer(Vec::new());
    assert_eq!(why(&unset, &confused), Some(Refused::Key));
}

#[test]
fn a_signature_of_another_is_none() {
    let claims = json!({ "exp": NOW + 60 });
    let other = raw(r#"{"alg":"HS256"}"#, &claims.to_string(), b"another secret");
    assert_eq!(why(&hs256(), &other), Some(Refused::Signature));
    let (_, mine) = pair(None);
    let (other, _) = pair(None);
    let token = es256(&other, &json!({ "alg": "ES256" }), &claims);
    assert_eq!(why(&issuer(vec![mine]), &token), Some(Refused::Signature));
    let bare = token.rsplit_once('.').unwrap().0;
    let (_, mine) = pair(None);
    let unsigned = format!("{bare}.");
    assert_eq!(
        why(&issuer(vec![mine]), &unsigned),
        Some(Refused::Signature)
    );
    assert_eq!(
        why(&issuer(vec![key(None, rsa_of_the_rfc())]), &{
            let token = rs256_of_the_rfc();
            token[..token.len() - 2].to_owned()
        }),
        Some(Refused::Signature)
    );
}

#[test]
fn the_key_that_is_named_is_the_one_that_counts() {
    let claims = json!({ "exp": NOW + 60 });
    let (first, first_key) = pair(Some("first"));
    let (second, second_key) = pair(Some("second"));
    let set = issuer(vec![
        first_key,
        second_key,
        key(Some("old"), shared(SECRET)),
    ]);
    let why = |pair, header: Value| why(&set, &es256(pair, &header, &claims));
    assert_eq!(why(&first, json!({ "alg": "ES256", "kid": "first" })), None);
    assert_eq!(
        why(&second, json!({ "alg": "ES256", "kid": "second" })),
        None
    );
    assert_eq!(why(&second, json!({ "alg": "ES256" })), None);
    let swapped = why(&second, json!({ "alg": "ES256", "kid": "first" }));
    assert_eq!(swapped, Some(Refused::Signature));
    let other = why(&second, json!({ "alg": "ES256", "kid": "old" }));
    assert_eq!(other, Some(Refused::Algorithm));
    let unknown = why(&second, json!({ "alg": "ES256", "kid": "third" }));
    assert_eq!(unknown, Some(Refused::Key));
    let (third, third_key) = pair(None);
    let token = es256(&third, &json!({ "alg": "ES256", "kid": "any" }), &claims);
    assert_eq!(super::tests::why(&issuer(vec![third_key]), &token), None);
}

#[test]
fn tokens_have_their_time() {
    for (claims, wanted) in [
        (json!({ "exp": NOW + 1 }), None),
        (json!({ "exp": NOW - 29 }), None),
        (json!({ "exp": NOW - 30 }), Some(Refused::Expired)),
        (json!({ "exp": NOW as f64 - 29.5 }), None),
        (json!({ "exp": -1 }), Some(Refused::Expired)),
        (json!({ "exp": 0 }), Some(Refused::Expired)),
        (json!({ "exp": u64::MAX }), None),
        (json!({ "exp": 1e300 }), None),
        (json!({}), Some(Refused::Endless)),
        (json!({ "exp": null }), Some(Refused::Claims)),
        (json!({ "exp": "1800000000" }), Some(Refused::Claims)),
        (json!({ "exp": NOW + 60, "nbf": NOW + 30 }), None),
        (
            json!({ "exp": NOW + 60, "nbf": NOW + 31 }),
            Some(Refused::Early),
        ),
        (
            json!({ "exp": NOW + 60, "nbf": true }),
            Some(Refused::Claims),
        ),
        (json!({ "exp": NOW + 60, "nbf": 0, "iat": NOW + 999 }), None),
    ] {
        assert_eq!(why(&hs256(), &token(&claims)), wanted, "{claims}");
    }
    let good = token(&json!({ "exp": NOW }));
    let accepted = verify(&hs256(), good.as_bytes(), at(NOW)).ok().unwrap();
    assert_eq!(accepted.expires, at(NOW + 30));
    for claims in ["[]", "", "1", "{\"exp\":1800000000,\"exp\":1900000000}"] {
        let odd = raw(r#"{"alg":"HS256"}"#, claims, SECRET);
        assert_eq!(why(&hs256(), &odd), Some(Refused::Claims), "{claims}");
    }
}

#[test]
fn tokens_are_of_somebody_and_for_somebody() {
    let with = |mut claims: Value| {
        claims["exp"] = json!(NOW + 60);
        token(&claims)
    };
    let mut asking = hs256();
    asking.issuer = Some("https://a".into());
    asking.audience = Some("us".into());
    for (claims, wanted) in [
        (json!({ "iss": "https://a", "aud": "us" }), None),
        (json!({ "iss": "https://a", "aud": ["them", "us"] }), None),
        (json!({ "aud": "us" }), Some(Refused::Issuer)),
        (
            json!({ "iss": "https://a/", "aud": "us" }),
            Some(Refused::Issuer),
        ),
        (
            json!({ "iss": ["https://a"], "aud": "us" }),
            Some(Refused::Issuer),
        ),
        (json!({ "iss": "https://a" }), Some(Refused::Audience)),
        (
            json!({ "iss": "https://a", "aud": "them" }),
            Some(Refused::Audience),
        ),
        (
            json!({ "iss": "https://a", "aud": [] }),
            Some(Refused::Audience),
        ),
        (
            json!({ "iss": "https://a", "aud": ["them", 1] }),
            Some(Refused::Audience),
        ),
        (
            json!({ "iss": "https://a", "aud": { "us": 1 } }),
            Some(Refused::Audience),
        ),
    ] {
        assert_eq!(why(&asking, &with(claims.clone())), wanted, "{claims}");
    }
    assert_eq!(why(&hs256(), &with(json!({ "iss": "anybody" }))), None);
    let stray = with(json!({ "aud": "them" }));
    assert_eq!(why(&hs256(), &stray), Some(Refused::Audience));
}

#[test]
fn rights_are_those_that_are_named() {
    let rights = |claims: Value, claim: Option<&str>| {
        let mut issuer = hs256();
        issuer.topics_claim = claim.map(Arc::from);
        let accepted = verify(&issuer, token(&claims).as_bytes(), at(NOW));
        accepted.map(|accepted| accepted.rights)
    };
    let list = |names: &[&str]| {
        let pattern = |name: &&str| TopicPattern::new(name).unwrap();
        Some(names.iter().map(pattern).collect())
    };
    let exp = NOW + 60;
    let all = json!({ "exp": exp, "t": { "publish": ["a"], "subscribe": ["b/*", "c"] } });
    assert_eq!(rights(all.clone(), None), Ok(TopicRights::default()));
    let named = rights(all.clone(), Some("t")).unwrap();
    assert_eq!(
        (named.publish, named.subscribe),
        (list(&["a"]), list(&["b/*", "c"]))
    );
    let nothing = Ok(TopicRights {
        publish: list(&[]),
        subscribe: list(&[]),
    });
    assert_eq!(rights(all, Some("other")), nothing);
    assert_eq!(rights(json!({ "exp": exp, "t": {} }), Some("t")), nothing);
    for odd in [
        json!(null),
        json!(["a"]),
        json!({ "publish": "a" }),
        json!({ "subscribe": [1] }),
        json!({ "subscribe": ["a//b"] }),
        json!({ "subscribe": ["ok", "a*"] }),
    ] {
        let refused = rights(json!({ "exp": exp, "t": odd }), Some("t"));
        assert_eq!(refused, Err(Refused::Topics), "{odd}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_there_is_refused(token in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(verify(&hs256(), &token, at(NOW)).is_err());
    }

    #[test]
    fn whatever_looks_like_a_token_is_refused(token in "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,90}") {
        let all = examples_of_the_rfc().into_iter().map(|(material, _)| key(None, material));
        prop_assert!(verify(&issuer(all.collect()), token.as_bytes(), at(NOW)).is_err());
    }

    #[test]
    fn whatever_is_well_signed_is_read_or_refused(header in ".{0,40}", claims in ".{0,60}") {
        let _ = verify(&hs256(), raw(&header, &claims, SECRET).as_bytes(), at(NOW));
        let signed = raw(r#"{"alg":"HS256"}"#, &claims, SECRET);
        let _ = verify(&hs256(), signed.as_bytes(), at(NOW));
    }
}

#[test]
fn no_character_of_a_token_can_be_changed() {
    let examples = examples_of_the_rfc();
    for (material, token) in examples {
        let issuer = issuer(vec![key(None, material)]);
        let refused = |token: &[u8]| verify(&issuer, token, at(JOE_EXPIRES)).is_err();
        for place in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            // Each character once, and the neighbours in the alphabet: they differ in the last bits only.
            for other in [
                b'A',
                b'_',
                b'.',
                b'=',
                changed[place] ^ 1,
                changed[place] + 1,
            ] {
                let own = std::mem::replace(&mut changed[place], other);
                assert!(other == own || refused(&changed), "{place}: {other}");
                changed[place] = own;
            }
            changed.remove(place);
            assert!(refused(&changed), "without {place}");
        }
    }
}
