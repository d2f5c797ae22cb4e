//! What every recorded answer tells besides its end, against a JSON parser that reads all of it.

#![allow(clippy::unwrap_used)]

use serde_json::Value;

use super::recordings_tests::{Recording, recordings, recordings_with};
use super::{BodyKind, Marker, Usage, Watcher, usage_in_document};
use crate::config::Dialect;

/// What an answer told, by a parser: usage, and whether there was content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Read {
    usage: Usage,
    content: bool,
}

fn told(watcher: &Watcher) -> (Usage, bool, Option<&[u8]>, Option<&str>) {
    (
        watcher.usage(),
        watcher.has_content(),
        watcher.error(),
        watcher.model(),
    )
}

#[test]
fn streams_tell_what_a_parser_reads() {
    let mut reported = 0;
    let mut with_content = 0;
    for recording in recordings() {
        let mut watcher = recording.watcher();
        watcher.feed(&recording.body);
        let read = naive(&recording);
        let name = &recording.name;
        assert_eq!(watcher.usage(), read.usage, "{name}");
        assert_eq!(watcher.has_content(), read.content, "{name}");
        assert_eq!(
            watcher.error().is_some(),
            watcher.marker() == Marker::Failed,
            "{name}"
        );
        reported += u32::from(watcher.usage().completion.is_some());
        with_content += u32::from(watcher.has_content());
    }
    assert!(
        reported > 120 && with_content > 150,
        "{reported} {with_content}"
    );
}

#[test]
fn pieces_tell_the_same() {
    let mut random = fastrand::Rng::with_seed(0x70_1D);
    for recording in recordings() {
        let mut whole = recording.watcher();
        whole.feed(&recording.body);
        for most in [2, 200, 4000] {
            let mut pieces = recording.watcher();
            let mut rest = &recording.body[..];
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(random.usize(1..=most).min(rest.len()));
                pieces.feed(piece);
                rest = behind;
            }
            assert_eq!(told(&pieces), told(&whole), "{} {most}", recording.name);
        }
    }
}

#[test]
fn whole_answers_tell_what_a_parser_reads() {
    let mut reported = 0;
    for recording in recordings_with(&[(BodyKind::Opaque, "response.json")]) {
        let usage = usage_in_document(recording.dialect, &recording.body);
        let Some(json) = same_length(&recording.body) else {
            continue;
        };
        let mut read = Read::default();
        let parts = json
            .as_array()
            .map_or(std::slice::from_ref(&json), Vec::as_slice);
        for part in parts {
            read_usage(recording.dialect, part, &mut read.usage);
            let seen = match recording.dialect {
                Dialect::OpenaiResponses => seen_output(&part["output"]),
                Dialect::AnthropicMessages => part["content"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .fold((false, 0), |all, one| both(all, seen_block(one))),
                dialect => seen(dialect, part),
            };
            read.usage.deltas = read.usage.deltas.max(u64::from(seen.0));
            read.usage.text_bytes += seen.1;
        }
        if usage.completion.is_some() {
            // Nothing is reckoned from what went by.
            (read.usage.deltas, read.usage.text_bytes) = (0, 0);
        }
        assert_eq!(usage, read.usage, "{}", recording.name);
        reported += u32::from(usage.completion.is_some());
    }
    assert!(reported > 15, "{reported}");
}

fn naive(recording: &Recording) -> Read {
    let mut read = Read::default();
    if matches!(recording.dialect, Dialect::Plain | Dialect::Bedrock) {
        return read;
    }
    for json in documents(recording) {
        let (new, text) = seen(recording.dialect, &json);
        read.content |= new || is_repeated(recording.dialect, &json);
        read.usage.deltas += u64::from(new);
        read.usage.text_bytes += text;
        read_usage(recording.dialect, &json, &mut read.usage);
    }
    read
}

/// The JSON documents of a stream. Their strings are as long as they are written.
fn documents(recording: &Recording) -> Vec<Value> {
    let text = String::from_utf8_lossy(&recording.body).replace("\r\n", "\n");
    if recording.kind == BodyKind::Ndjson {
        return text
            .lines()
            .filter_map(|l| same_length(l.as_bytes()))
            .collect();
    }
    text.split("\n\n")
        .filter_map(|block| {
            let data: Vec<_> = block
                .lines()
                .filter_map(|l| l.strip_prefix("data:"))
                .collect();
            same_length(data.join("\n").as_bytes())
        })
        .collect()
}

/// Parses a document with `x` in place of each byte of an escape: what a text is then long is what
/// it is long on the wire.
fn same_length(document: &[u8]) -> Option<Value> {
    let mut plain = document.to_vec();
    let mut at = 0;
    while at < plain.len() {
        if plain[at] == b'\\' {
            plain[at] = b'x';
            plain[at + 1] = b'x';
        }
        at += 1;
    }
    serde_json::from_slice(&plain).ok()
}

fn both(one: (bool, u64), other: (bool, u64)) -> (bool, u64) {
    (one.0 || other.0, one.1 + other.1)
}

fn long(value: &Value) -> u64 {
    value.as_str().map_or(0, |text| text.len() as u64)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Whether a document brings new content, and how much text.
fn seen(dialect: Dialect, json: &Value) -> (bool, u64) {
    match dialect {
        Dialect::OpenaiChat => {
            let choices = list(&json["choices"]);
            let deltas = choices.iter().any(|choice| choice["delta"].is_object());
            choices.iter().fold((false, 0), |all, choice| {
                let message = &choice[if deltas { "delta" } else { "message" }];
                both(all, seen_chat(message))
            })
        }
        Dialect::OpenaiText => {
            let text: u64 = list(&json["choices"])
                .iter()
                .map(|c| long(&c["text"]))
                .sum();
            (text > 0, text)
        }
        Dialect::OpenaiResponses => seen_response(json),
        Dialect::AnthropicMessages => match json["type"].as_str() {
            Some("content_block_delta") => {
                let delta = &json["delta"];
                let text = long(&delta["text"])
                    + long(&delta["thinking"])
                    + long(&delta["partial_json"])
                    + long(&delta["content"]);
                (text > 0, text)
            }
            Some("content_block_start") => seen_block(&json["content_block"]),
            _ => (false, 0),
        },
        Dialect::Gemini => {
            let answer = if json["response"].is_object() {
                &json["response"]
            } else {
                json
            };
            list(&answer["candidates"])
                .iter()
                .flat_map(|candidate| list(&candidate["content"]["parts"]))
                .fold((false, 0), |all, part| both(all, seen_part(part)))
        }
        Dialect::Ollama => {
            let message = &json["message"];
            let text = long(&json["response"])
                + long(&json["thinking"])
                + long(&message["content"])
                + long(&message["thinking"]);
            let calls = list(&message["tool_calls"]).iter();
            let args = calls.map(|call| call["function"]["arguments"].to_string().len() as u64);
            let text_and_args = text + args.sum::<u64>();
            (
                text > 0 || !list(&message["tool_calls"]).is_empty(),
                text_and_args,
            )
        }
        Dialect::Plain | Dialect::Bedrock => (false, 0),
    }
}

fn seen_chat(message: &Value) -> (bool, u64) {
    let content = match &message["content"] {
        Value::Array(parts) => parts.iter().fold((false, 0), |all, part| {
            let text = long(&part["text"])
                + list(&part["thinking"])
                    .iter()
                    .map(|t| long(&t["text"]))
                    .sum::<u64>();
            let thing = part["text"].is_null() && part["thinking"].is_null();
            both(all, (text > 0 || thing, text))
        }),
        text => (long(text) > 0, long(text)),
    };
    let thought = long(&message["reasoning"]).max(long(&message["reasoning_content"]));
    let calls = list(&message["tool_calls"]);
    let written: u64 = calls
        .iter()
        .map(|c| long(&c["function"]["arguments"]))
        .sum();
    let refusal = long(&message["refusal"]);
    let things = !calls.is_empty()
        || !list(&message["images"]).is_empty()
        || !list(&message["reasoning_details"]).is_empty()
        || long(&message["audio"]["data"]) + long(&message["audio"]["transcript"]) > 0;
    let text = content.1 + thought + written + refusal + long(&message["audio"]["transcript"]);
    (content.0 || thought > 0 || refusal > 0 || things, text)
}

fn seen_response(json: &Value) -> (bool, u64) {
    let kind = json["type"].as_str().unwrap_or_default();
    if kind.ends_with(".delta") {
        let text = long(&json["delta"]);
        return (
            text > 0,
            if kind.contains("audio.delta") {
                0
            } else {
                text
            },
        );
    }
    let call = json["item"]["type"]
        .as_str()
        .unwrap_or_default()
        .ends_with("_call");
    let new = kind == "response.output_item.added" && call
        || kind == "response.image_generation_call.partial_image";
    (new, 0)
}

/// Whether a document repeats content.
fn is_repeated(dialect: Dialect, json: &Value) -> bool {
    dialect == Dialect::OpenaiResponses
        && match json["type"].as_str() {
            Some("response.output_item.done") => {
                seen_output(&Value::Array(vec![json["item"].clone()])).0
            }
            Some("response.completed" | "response.incomplete") => {
                seen_output(&json["response"]["output"]).0
            }
            _ => false,
        }
}

fn seen_output(output: &Value) -> (bool, u64) {
    list(output).iter().fold((false, 0), |all, item| {
        let call = item["type"].as_str().unwrap_or_default().ends_with("_call");
        let parts = list(&item["content"]).iter().chain(list(&item["summary"]));
        let text = parts
            .map(|p| long(&p["text"]) + long(&p["refusal"]))
            .sum::<u64>()
            + long(&item["arguments"])
            + long(&item["input"]);
        both(all, (call || text > 0, text))
    })
}

fn seen_block(block: &Value) -> (bool, u64) {
    let kind = block["type"].as_str().unwrap_or_default();
    if matches!(kind, "text" | "thinking" | "compaction") {
        let text = long(&block["text"]) + long(&block["thinking"]) + long(&block["content"]);
        return (text > 0, text);
    }
    let input = block["input"]
        .as_object()
        .is_some_and(|input| !input.is_empty());
    let written = if input {
        block["input"].to_string().len() as u64
    } else {
        0
    };
    (true, written)
}

fn seen_part(part: &Value) -> (bool, u64) {
    let args = &part["functionCall"]["args"];
    let written = if args.is_object() {
        args.to_string().len() as u64
    } else {
        0
    };
    let text = long(&part["text"])
        + written
        + long(&part["executableCode"]["code"])
        + long(&part["codeExecutionResult"]["output"]);
    let things = [
        "inlineData",
        "fileData",
        "functionCall",
        "executableCode",
        "codeExecutionResult",
    ];
    (
        text > 0
            || things
                .iter()
                .any(|key| part[key].as_object().is_some_and(|it| !it.is_empty())),
        text,
    )
}

/// Takes the usage where each API has it.
fn read_usage(dialect: Dialect, json: &Value, usage: &mut Usage) {
    let take = |slot: &mut Option<u64>, value: &Value| *slot = value.as_u64().or(*slot);
    match dialect {
        Dialect::OpenaiChat | Dialect::OpenaiText => {
            let choices = list(&json["choices"]).iter().map(|choice| &choice["usage"]);
            let objects = choices.chain([&json["x_groq"]["usage"], &json["usage"]]);
            for told in objects {
                take(&mut usage.prompt, &told["prompt_tokens"]);
                take(&mut usage.completion, &told["completion_tokens"]);
                take(&mut usage.cached, &told["prompt_cache_hit_tokens"]);
                take(&mut usage.cached, &told["cached_tokens"]);
                take(
                    &mut usage.cached,
                    &told["prompt_tokens_details"]["cached_tokens"],
                );
                take(&mut usage.reasoning, &told["reasoning_tokens"]);
                take(
                    &mut usage.reasoning,
                    &told["completion_tokens_details"]["reasoning_tokens"],
                );
            }
        }
        Dialect::OpenaiResponses => {
            for told in [&json["response"]["usage"], &json["usage"]] {
                take(&mut usage.prompt, &told["input_tokens"]);
                take(&mut usage.completion, &told["output_tokens"]);
                take(
                    &mut usage.cached,
                    &told["input_tokens_details"]["cached_tokens"],
                );
                take(
                    &mut usage.reasoning,
                    &told["output_tokens_details"]["reasoning_tokens"],
                );
            }
        }
        Dialect::AnthropicMessages => {
            for told in [&json["message"]["usage"], &json["usage"]] {
                if let Some(input) = told["input_tokens"].as_u64() {
                    let part = |key: &str| told[key].as_u64().unwrap_or_default();
                    let cache =
                        part("cache_read_input_tokens") + part("cache_creation_input_tokens");
                    usage.prompt = Some(input + cache);
                }
                take(&mut usage.cached, &told["cache_read_input_tokens"]);
                take(
                    &mut usage.reasoning,
                    &told["output_tokens_details"]["thinking_tokens"],
                );
            }
            take(&mut usage.completion, &json["usage"]["output_tokens"]);
        }
        Dialect::Gemini => {
            let answer = if json["response"].is_object() {
                &json["response"]
            } else {
                json
            };
            let told = &answer["usageMetadata"];
            take(&mut usage.prompt, &told["promptTokenCount"]);
            take(&mut usage.cached, &told["cachedContentTokenCount"]);
            take(&mut usage.reasoning, &told["thoughtsTokenCount"]);
            let count = |key: &str| told[key].as_u64();
            if let Some(candidates) = count("candidatesTokenCount") {
                usage.completion =
                    Some(candidates + count("thoughtsTokenCount").unwrap_or_default());
            } else {
                take(&mut usage.completion, &told["thoughtsTokenCount"]);
            }
        }
        Dialect::Ollama => {
            take(&mut usage.prompt, &json["prompt_eval_count"]);
            take(&mut usage.completion, &json["eval_count"]);
        }
        Dialect::Plain | Dialect::Bedrock => {}
    }
}

/// Estimates against what is reported, for answers that are not a few tokens long. Reasoning that
/// the backend keeps to itself does not go by; neither do the tokens around a tool call.
#[test]
fn estimates_are_near_what_is_reported() {
    let mut near = 0_u32;
    let mut all = 0_u32;
    for recording in recordings() {
        let mut watcher = recording.watcher();
        watcher.feed(&recording.body);
        let usage = watcher.usage();
        let silent = Usage {
            completion: None,
            ..usage
        };
        let (Some(reported), Some((estimate, true))) = (usage.completion, silent.delivered())
        else {
            continue;
        };
        let shown = reported.saturating_sub(usage.reasoning.unwrap_or_default());
        let is_near = |reported: u64| reported <= estimate * 3 && estimate <= reported * 3;
        if shown >= 50 && !recording.name.contains("tools") {
            all += 1;
            near += u32::from(is_near(reported) || is_near(shown));
        }
    }
    assert!(all > 40 && near * 4 >= all * 3, "{near} of {all}");
}
