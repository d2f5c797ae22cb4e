//! The recordings: real answers of model providers, each with its licence and source.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// One recorded exchange.
#[derive(Debug)]
pub struct Recording {
    /// Its folder, such as `openai/chat-text-0123`.
    pub name: String,
    /// The status of the answer.
    pub status: u16,
    /// The content type of the answer, where one is known.
    pub content_type: Option<String>,
    /// The request's method.
    pub method: String,
    /// The request's path and query.
    pub target: String,
    /// The request's body.
    pub request: Vec<u8>,
    /// The answer's body.
    pub body: Vec<u8>,
    /// All of `meta.json`.
    pub meta: Value,
}

/// Every recording, by name.
pub fn all() -> Vec<Recording> {
    let root = root();
    let mut found: Vec<_> = folders(&root)
        .iter()
        .flat_map(|provider| folders(provider))
        .map(|folder| read(&root, &folder))
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(found.len() >= 300, "only {} recordings", found.len());
    found
}

/// The recording of this name.
pub fn named(name: &str) -> Recording {
    let root = root();
    read(&root, &root.join(name))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings")
}

fn folders(path: &Path) -> Vec<PathBuf> {
    fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect()
}

fn read(root: &Path, folder: &Path) -> Recording {
    let name = folder.strip_prefix(root).unwrap().to_str().unwrap();
    let meta: Value = json(&folder.join("meta.json"));
    let request: Value = json(&folder.join("request.json"));
    let answer = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_stem().is_some_and(|stem| stem == "response"))
        .unwrap_or_else(|| panic!("{name} has no response"));
    Recording {
        name: name.to_owned(),
        status: u16::try_from(meta["status"].as_u64().unwrap()).unwrap(),
        content_type: meta["response_content_type"]
            .as_str()
            .map(|value| value.trim_end_matches(" (assumed)").to_owned()),
        method: request["method"].as_str().unwrap().to_owned(),
        target: target(request["url"].as_str().unwrap())
            .unwrap_or_else(|| usual_target(meta["dialect"].as_str().unwrap()).to_owned()),
        request: match &request["body"] {
            Value::Null => Vec::new(),
            Value::String(text) => text.clone().into_bytes(),
            body => serde_json::to_vec(body).unwrap(),
        },
        body: fs::read(answer).unwrap(),
        meta,
    }
}

/// Path and query of a URL, if it has any. Placeholders of the recorders, such as `<KEY>`, lose what no URL may hold.
fn target(url: &str) -> Option<String> {
    let behind = url.split_once("://").map_or(url, |(_, behind)| behind);
    let path = &behind[behind.find('/')?..];
    Some(path.replace(['<', '>', '{', '}', ' '], "_"))
}

/// Where a dialect is usually spoken, for recordings that do not say.
fn usual_target(dialect: &str) -> &'static str {
    match dialect {
        "openai-chat" => "/v1/chat/completions",
        "openai-completions" => "/v1/completions",
        "openai-responses" => "/v1/responses",
        "anthropic-messages" => "/v1/messages",
        "gemini" => "/v1beta/models/gemini:streamGenerateContent?alt=sse",
        _ => "/stream",
    }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}
