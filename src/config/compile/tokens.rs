//! `[jwt.NAME]`: who signs callers' tokens, and who is named in `allow`.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::callers::Callers;
use super::route::Names;
use super::{checked, spki};
use crate::config::faults::{Gathered, Malformed};
use crate::config::keys::{
    Key, TOKENS_AUDIENCE, TOKENS_ISSUER, TOKENS_JWKS, TOKENS_LEEWAY, TOKENS_PUBLIC_KEY,
    TOKENS_SECRET, TOKENS_TOPICS_CLAIM, root,
};
use crate::config::nearest::did_you_mean;
use crate::config::values::{Algorithm, Allow, Issuer, KeyMaterial, VerifyingKey};
use crate::config::written::{Node, Section};

/// Every issuer by name; none for a name that is wrong, so that routes may still refer to it.
pub(super) type Issuers = BTreeMap<String, Option<Arc<Issuer>>>;

/// Every issuer. `callers` are the keys, whose names no issuer may have.
pub(super) fn issuers(file: &Section, callers: &Callers, gathered: &mut Gathered<'_>) -> Issuers {
    let named = file.section(&root::JWT);
    let entries = named.iter().flat_map(|section| &section.entries);
    let mut issuers: Issuers = entries.map(|entry| (entry.name.clone(), None)).collect();
    for (name, section) in file.sections(&root::JWT) {
        if callers.contains_key(name) {
            let help = "`allow` would mean both: give one of them another name";
            let error = Malformed::new(format!("`keys.{name}` has the same name"), help);
            gathered.wrong(section.at, &section.path, error);
        }
        let issuer = issuer(name, section, gathered).map(Arc::new);
        issuers.insert(name.to_owned(), issuer);
    }
    issuers
}

/// The callers that `nodes` name: holders of keys, and of tokens of issuers.
pub(super) fn callers(nodes: &[Node], names: &Names<'_>, gathered: &mut Gathered<'_>) -> Allow {
    let mut keys = Vec::new();
    let mut issuers = Vec::new();
    for node in nodes {
        let Some(text) = node.text() else { continue };
        if let Some(key) = names.keys.get(&text.value) {
            keys.extend(key.clone());
        } else if let Some(issuer) = names.issuers.get(&text.value) {
            issuers.extend(issuer.clone());
        } else {
            let known = names.keys.keys().chain(names.issuers.keys());
            let known: Vec<_> = known.map(String::as_str).collect();
            let message = format!("there is no key `{}`", text.raw);
            let help = match known.is_empty() {
                true => format!("declare it: [keys.{}]", text.raw),
                false => did_you_mean(&text.raw, &known),
            };
            gathered.absent(node.at, &node.path, Malformed::new(message, help));
        }
    }
    Allow::Callers(keys, issuers)
}

fn issuer(name: &str, section: &Section, gathered: &mut Gathered<'_>) -> Option<Issuer> {
    let mut text = |key: &Key| {
        let node = section.node(key)?;
        checked(node, not_empty, gathered)
    };
    let issuer = text(&TOKENS_ISSUER);
    let audience = text(&TOKENS_AUDIENCE);
    let topics_claim = text(&TOKENS_TOPICS_CLAIM);
    Some(Issuer {
        name: name.into(),
        keys: keys(section, gathered)?,
        issuer,
        audience,
        leeway: section.duration(&TOKENS_LEEWAY),
        topics_claim,
    })
}

fn not_empty(text: &str) -> Result<Arc<str>, Malformed> {
    if text.is_empty() {
        return Err(Malformed::new("is empty", "some text, or leave it out"));
    }
    Ok(text.into())
}

/// The keys of one issuer; none where something is wrong.
fn keys(section: &Section, gathered: &mut Gathered<'_>) -> Option<Vec<VerifyingKey>> {
    let (key, read) = if let Some(secret) = section.secret(&TOKENS_SECRET) {
        // Allowed to be empty, and it is: nobody is let in.
        let Ok(secret) = secret.reveal() else {
            return Some(Vec::new());
        };
        let shared = spki::shared(secret.as_bytes());
        (
            &TOKENS_SECRET,
            shared.map(|material| vec![unnamed(material)]),
        )
    } else if let Some(file) = section.file(&TOKENS_PUBLIC_KEY) {
        let read = spki::public_key(&file.text);
        (&TOKENS_PUBLIC_KEY, read.map(|key| vec![key]))
    } else {
        (&TOKENS_JWKS, key_set(&section.file(&TOKENS_JWKS)?.text))
    };
    match read {
        Ok(keys) => Some(keys),
        Err(error) => {
            let at = section.node(key).map_or(section.at, |node| node.at);
            gathered.wrong(at, &section.path_of(key), error);
            None
        }
    }
}

fn unnamed(material: KeyMaterial) -> VerifyingKey {
    VerifyingKey {
        id: None,
        algorithm: Algorithm::Hs256,
        material,
    }
}

/// A JSON Web Key Set (RFC 7517 §5).
#[derive(Deserialize)]
struct KeySet {
    keys: Vec<WebKey>,
}

/// A JSON Web Key (RFC 7517 §4, RFC 7518 §6): what there is to say of the kinds that are used here.
#[derive(Deserialize)]
struct WebKey {
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

/// The keys in `text` that are good for a signature that is known here.
fn key_set(text: &str) -> Result<Vec<VerifyingKey>, Malformed> {
    const HELP: &str = r#"`{"keys": [...]}` as RFC 7517 has it"#;
    let set: KeySet = serde_json::from_str(text).map_err(|error| {
        // Its own words may hold a key.
        let (line, column) = (error.line(), error.column());
        let message = format!("names a file that is no set of keys: line {line}, column {column}");
        Malformed::new(message, HELP)
    })?;
    let mut keys = Vec::new();
    for (index, key) in set.keys.into_iter().enumerate() {
        let Some(algorithm) = key.algorithm() else {
            continue;
        };
        let material = key.material(algorithm).map_err(|error| {
            let message = format!("names a file whose key {} {}", index + 1, error.message);
            Malformed::new(message, error.help)
        })?;
        keys.push(VerifyingKey {
            id: key.kid.map(Arc::from),
            algorithm,
            material,
        });
    }
    if keys.is_empty() {
        let help = "one with `kty` RSA, EC (P-256) or oct, for RS256, ES256 or HS256";
        let message = "names a file without a key that signatures are checked with";
        return Err(Malformed::new(message, help));
    }
    Ok(keys)
}

impl WebKey {
    /// The algorithm it is for; none where it is for something else than is done here.
    fn algorithm(&self) -> Option<Algorithm> {
        let (algorithm, name) = match self.kty.as_str() {
            "RSA" => (Algorithm::Rs256, "RS256"),
            "EC" if self.crv.as_deref() == Some("P-256") => (Algorithm::Es256, "ES256"),
            "oct" => (Algorithm::Hs256, "HS256"),
            _ => return None,
        };
        let signs = self.purpose.as_deref().is_none_or(|word| word == "sig");
        let operations = self.key_ops.as_deref();
        let verifies = operations.is_none_or(|words| words.iter().any(|word| word == "verify"));
        let meant = self.alg.as_deref().is_none_or(|alg| alg == name);
        (signs && verifies && meant).then_some(algorithm)
    }

    fn material(&self, algorithm: Algorithm) -> Result<KeyMaterial, Malformed> {
        match algorithm {
            Algorithm::Rs256 => spki::rsa(&bytes("n", &self.n)?, &bytes("e", &self.e)?),
            Algorithm::Es256 => {
                let (x, y) = (bytes("x", &self.x)?, bytes("y", &self.y)?);
                spki::point(&[&[4], x.as_slice(), &y].concat())
            }
            Algorithm::Hs256 => spki::shared(&bytes("k", &self.k)?),
        }
    }
}

/// The bytes of the member `name` (RFC 7515 §2: base64url without padding).
fn bytes(name: &str, text: &Option<String>) -> Result<Vec<u8>, Malformed> {
    let Some(text) = text else {
        let help = "RFC 7518 §6 says what a key has to have";
        return Err(Malformed::new(format!("has no `{name}`"), help));
    };
    URL_SAFE_NO_PAD.decode(text).map_err(|_| {
        let message = format!("has a `{name}` that is not base64url");
        Malformed::new(message, "letters, digits, `-` and `_`, without `=`")
    })
}
