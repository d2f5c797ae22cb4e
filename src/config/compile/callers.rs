//! `[keys.NAME]`: what callers show, kept as hashes only.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{checked, streams};
use crate::config::faults::{Gathered, Malformed};
use crate::config::keys::{CALLER_FILE, CALLER_HASH, CALLER_VALUE, root};
use crate::config::values::ApiKey;
use crate::config::written::{File, Section};

/// A key's SHA-256.
type Hash = [u8; 32];

/// Every key by name; none for a name whose key is wrong, so that routes may still refer to it.
pub(super) type Callers = BTreeMap<String, Option<Arc<ApiKey>>>;

pub(super) fn callers(file: &Section, gathered: &mut Gathered<'_>) -> Callers {
    let mut callers = named_and_wrong(file);
    let mut holders: HashMap<Hash, &str> = HashMap::new();
    for (name, section) in file.sections(&root::KEYS) {
        let topics = streams::rights(section, gathered);
        let Some(hashes) = hashes(section, gathered) else {
            continue;
        };
        for hash in &hashes {
            if let Some(other) = holders.insert(*hash, name).filter(|other| *other != name) {
                let help = "a key that goes by two names would let in neither or both: keep one";
                let message = format!("holds a key that `{other}` holds too");
                gathered.wrong(section.at, &section.path, Malformed::new(message, help));
            }
        }
        let key = ApiKey {
            name: name.into(),
            hashes,
            topics,
        };
        callers.insert(name.to_owned(), Some(Arc::new(key)));
    }
    callers
}

fn named_and_wrong(file: &Section) -> Callers {
    let named = file.section(&root::KEYS);
    let entries = named.iter().flat_map(|section| &section.entries);
    entries.map(|entry| (entry.name.clone(), None)).collect()
}

/// The hashes of one name; none where something is wrong. A value that was allowed to be empty, and is,
/// has no hash at all: nobody is let in by it.
fn hashes(section: &Section, gathered: &mut Gathered<'_>) -> Option<Vec<Hash>> {
    if let Some(node) = section.node(&CALLER_HASH) {
        return Some(vec![checked(node, written_hash, gathered)?]);
    }
    if let Some(secret) = section.secret(&CALLER_VALUE) {
        let hash = secret.reveal().map(|value| Sha256::digest(value).into());
        return Some(hash.into_iter().collect());
    }
    let hashes = file_hashes(section, section.file(&CALLER_FILE)?, gathered);
    Some(hashes).filter(|hashes| !hashes.is_empty())
}

fn file_hashes(section: &Section, file: &File, gathered: &mut Gathered<'_>) -> Vec<Hash> {
    let path = section.path_of(&CALLER_FILE);
    let at = section
        .node(&CALLER_FILE)
        .map_or(section.at, |node| node.at);
    let mut hashes = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if !line.starts_with(PREFIX) {
            hashes.push(Sha256::digest(line).into());
            continue;
        }
        match written_hash(line) {
            Ok(hash) => hashes.push(hash),
            Err(error) => {
                let message = format!("line {} of the file {}", index + 1, error.message);
                gathered.wrong(at, &path, Malformed::new(message, error.help));
            }
        }
    }
    if hashes.is_empty() {
        let help = "one key or `sha256:HEX` a line";
        gathered.wrong(
            at,
            &path,
            Malformed::new("names a file without a key", help),
        );
    }
    hashes
}

/// What a written hash begins with.
const PREFIX: &str = "sha256:";

fn written_hash(text: &str) -> Result<Hash, Malformed> {
    let wrong = || {
        Malformed::new(
            "is not a SHA-256",
            "`sha256:` and 64 hexadecimal digits, from: printf %s \"$KEY\" | sha256sum",
        )
    };
    let digits = text.strip_prefix(PREFIX).ok_or_else(wrong)?;
    if digits.len() != 64 {
        return Err(wrong());
    }
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let (high, low) = digit(pair[0]).zip(digit(pair[1])).ok_or_else(wrong)?;
        *byte = u8::try_from(high * 16 + low).map_err(|_| wrong())?;
    }
    Ok(hash)
}
