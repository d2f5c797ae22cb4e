//! The model that a request's body of 100 KB names, read out of it.
//!
//! The figure is bytes of the body a second. The whole body is read wherever `model` stands, since a second one
//! might follow; `first` and `last` should therefore be alike. Beside it, the same body read into
//! `serde_json::Value`, which is what a gateway does that keeps the tree: it also
//! decodes and allocates all of it, and does not notice a key that stands twice.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use deltaway::dialect::read_request;
use serde_json::{Value, json};

const SIZE: usize = 100_000;
const MODEL: &str = "gpt-4.1-mini";

pub fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("asking");
    for (place, body) in [("first", body(true)), ("last", body(false))] {
        assert_eq!(by_facts(&body).as_deref(), Some(MODEL));
        assert_eq!(by_tree(&body).as_deref(), Some(MODEL));
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(format!("read_request/{place}"), |bencher| {
            bencher.iter(|| by_facts(black_box(&body)));
        });
        group.bench_function(format!("serde_json::Value/{place}"), |bencher| {
            bencher.iter(|| by_tree(black_box(&body)));
        });
    }
    group.finish();
}

fn by_facts(body: &[u8]) -> Option<String> {
    let facts = read_request(body).expect("a request");
    Some(facts.model?.name)
}

fn by_tree(body: &[u8]) -> Option<String> {
    let tree: Value = serde_json::from_slice(body).expect("JSON");
    Some(tree.get("model")?.as_str()?.to_owned())
}

/// A long conversation, in messages of about half a kilobyte with line breaks, quotes and some other scripts.
fn body(model_first: bool) -> Vec<u8> {
    let text =
        "He said: \"It depends.\"\nSo we looked: déjà vu, 東京, and some more of the usual. "
            .repeat(6);
    let message = json!({"role": "user", "content": text}).to_string();
    let messages = vec![message.as_str(); SIZE / (message.len() + 1)].join(",");
    let rest = format!("\"stream\":true,\"temperature\":0.2,\"messages\":[{messages}]");
    let model = format!("\"model\":\"{MODEL}\"");
    let body = match model_first {
        true => format!("{{{model},{rest}}}"),
        false => format!("{{{rest},{model}}}"),
    };
    body.into_bytes()
}
