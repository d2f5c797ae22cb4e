//! The demo backend over real sockets, as the gateway meets it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// Nothing here takes longer unless it hangs.
const LIMIT: Duration = Duration::from_secs(20);

struct Demo {
    base: String,
    client: Client,
    server: AbortHandle,
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Demo {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(super::serve(listener)).abort_handle();
        let client = Client::builder().timeout(LIMIT).build().unwrap();
        Self {
            base,
            client,
            server,
        }
    }

    async fn get(&self, path: &str) -> Response {
        self.client
            .get(format!("{}{path}", self.base))
            .send()
            .await
            .unwrap()
    }

    async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Response {
        self.client
            .post(format!("{}{path}", self.base))
            .body(body)
            .send()
            .await
            .unwrap()
    }

    async fn chat(&self, query: &str, request: &Value) -> Response {
        self.post(&format!("/v1/chat/completions{query}"), request.to_string())
            .await
    }
}

/// Reads until what came satisfies `enough`, and gives it all.
async fn read_until(answer: &mut Response, enough: impl Fn(&str) -> bool) -> String {
    let mut seen = String::new();
    while !enough(&seen) {
        let chunk = answer
            .chunk()
            .await
            .unwrap()
            .expect("the stream ended too early");
        seen.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    seen
}

async fn json_of(answer: Response) -> Value {
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

/// The data of each event of a stream.
fn data_of(stream: &str) -> Vec<&str> {
    stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .collect()
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

fn ask(text: &str) -> Value {
    json!({ "model": "any", "messages": [
        { "role": "system", "content": "Be brief." },
        { "role": "user", "content": text },
    ]})
}

#[tokio::test]
async fn a_streamed_completion_is_the_whole_one_in_pieces() {
    let demo = Demo::start().await;
    let mut request = ask("Say \"hi\"\nand \\ more");
    let whole = json_of(demo.chat("", &request).await).await;
    let text = whole["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.contains("“Say \"hi\" and \\ more”"), "{text}");
    assert_eq!(whole["model"], "any");
    assert_eq!(whole["choices"][0]["finish_reason"], "stop");

    request["stream"] = json!(true);
    request["stream_options"] = json!({ "include_usage": true });
    let answer = demo.chat("?pace=10000", &request).await;
    assert_eq!(header(&answer, "content-type"), "text/event-stream");
    let stream = answer.text().await.unwrap();
    let mut data = data_of(&stream);
    assert_eq!(data.pop(), Some("[DONE]"));
    let chunks: Vec<Value> = data
        .iter()
        .map(|chunk| serde_json::from_str(chunk).unwrap())
        .collect();
    let streamed: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(streamed, text);
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let [.., finish, usage] = chunks.as_slice() else {
        panic!("too few chunks")
    };
    assert_eq!(finish["choices"][0]["finish_reason"], "stop");
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"], whole["usage"]);
    assert_eq!(usage["usage"]["completion_tokens"], json!(chunks.len() - 3));
}

#[tokio::test]
async fn no_usage_chunk_unless_asked_for() {
    let demo = Demo::start().await;
    let mut request = ask("hi");
    request["stream"] = json!(true);
    let stream = demo
        .chat("?pace=10000", &request)
        .await
        .text()
        .await
        .unwrap();
    assert!(!stream.contains("total_tokens"));
}

#[tokio::test]
async fn a_token_limit_ends_the_answer_with_length() {
    let demo = Demo::start().await;
    let mut request = ask("hi");
    request["max_tokens"] = json!(3);
    let whole = json_of(demo.chat("", &request).await).await;
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    assert_eq!(whole["usage"]["completion_tokens"], 3);
}

#[tokio::test]
async fn the_first_word_does_not_wait_for_the_second() {
    let demo = Demo::start().await;
    let mut request = ask("hi");
    request["stream"] = json!(true);
    // The second word would come long after this test's limit.
    let mut answer = demo.chat("?pace=0.01", &request).await;
    let seen = read_until(&mut answer, |seen| data_of(seen).len() == 2).await;
    assert!(seen.contains(r#""content":"You""#), "{seen}");
}

#[tokio::test]
async fn readings_continue_after_the_last_one_seen() {
    let demo = Demo::start().await;
    let all = demo.get("/events?pace=10000&count=5").await;
    assert_eq!(header(&all, "content-type"), "text/event-stream");
    let all = all.text().await.unwrap();
    assert!(
        all.starts_with("retry: 2000\n\nid: 1\nevent: level\ndata: {"),
        "{all}"
    );

    let rest = demo
        .client
        .get(format!("{}/events?pace=10000&count=3", demo.base));
    let rest = rest
        .header("Last-Event-ID", "2")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let from_three = &all[all.find("id: 3\n").unwrap()..];
    assert_eq!(rest, format!("retry: 2000\n\n{from_three}"));
}

#[tokio::test]
async fn an_id_that_is_not_ours_starts_the_count_again() {
    let demo = Demo::start().await;
    let stream = demo.client.get(format!("{}/events?count=1", demo.base));
    let stream = stream
        .header("Last-Event-ID", "elsewhere")
        .send()
        .await
        .unwrap();
    assert!(stream.text().await.unwrap().contains("id: 1\n"));
}

#[tokio::test]
async fn refusals_have_openai_shape() {
    let demo = Demo::start().await;
    let cases = [
        (
            demo.post("/v1/chat/completions", "{").await,
            400,
            "invalid_json",
        ),
        (
            demo.post("/v1/chat/completions", "{\"messages\":[]}").await,
            400,
            "invalid_value",
        ),
        (
            demo.post("/v1/chat/completions?pace=fast", "{}").await,
            400,
            "invalid_value",
        ),
        (demo.get("/events?count=-1").await, 400, "invalid_value"),
        (
            demo.get("/v1/chat/completions").await,
            405,
            "method_not_allowed",
        ),
        (demo.post("/events", "").await, 405, "method_not_allowed"),
        (demo.get("/nothing").await, 404, "not_found"),
        (
            demo.post("/v1/chat/completions", " ".repeat(1024 * 1024 + 1))
                .await,
            413,
            "body_too_large",
        ),
    ];
    for (answer, status, code) in cases {
        assert_eq!(answer.status(), StatusCode::from_u16(status).unwrap());
        let allow = header(&answer, "allow").to_owned();
        let error = json_of(answer).await;
        assert_eq!(error["error"]["code"], code);
        assert_eq!(error["error"]["type"], "invalid_request_error");
        assert!(
            error["error"]["message"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        );
        assert_eq!(allow.is_empty(), status != 405);
    }
}

#[tokio::test]
async fn the_models_are_listed() {
    let demo = Demo::start().await;
    assert_eq!(
        json_of(demo.get("/v1/models").await).await["data"][0]["id"],
        "demo"
    );
}

#[tokio::test]
async fn the_page_comes_with_a_strict_policy() {
    let demo = Demo::start().await;
    let page = demo.get("/").await;
    assert_eq!(header(&page, "content-type"), "text/html; charset=utf-8");
    let policy = header(&page, "content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(page.text().await.unwrap().starts_with("<!doctype html>"));
}

#[tokio::test]
async fn dropping_the_server_ends_its_connections() {
    let demo = Demo::start().await;
    let mut stream = demo.get("/events?pace=0.01").await;
    read_until(&mut stream, |seen| seen.contains("id: 1\n")).await;
    demo.server.abort();
    let broken = loop {
        match stream.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a stream that was cut off looks finished"),
            Err(error) => break error,
        }
    };
    assert!(!broken.is_timeout(), "the connection stays open");
}
