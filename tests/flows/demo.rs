//! What a newcomer sees without a key and without another program, and the files that ship.

use std::fs;
use std::path::Path;

use crate::support::binary::run;
use crate::support::{Ask, Ended, Gateway};

fn demo() -> Ask {
    let body = r#"{"model":"demo","stream":true,"messages":[{"role":"user","content":"hello"}]}"#;
    Ask::post("/v1/chat/completions", body)
}

#[tokio::test]
async fn the_shipped_configuration_streams_the_demo_and_shows_the_page() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/deltaway.toml");
    let source = fs::read_to_string(path)
        .unwrap()
        .replace("127.0.0.1:8080\"\n#", "127.0.0.1:0\"\n#")
        .replace("127.0.0.1:9090", "127.0.0.1:0");
    assert_eq!(source.matches("127.0.0.1:0\"").count(), 2, "both listeners");
    let gateway = Gateway::start(&source).await;
    let mut client = gateway.asking(&demo()).await;
    let head = client.head().await;
    assert_eq!(
        (head.status(), head.get("content-type")),
        (200, Some("text/event-stream"))
    );
    // The route keeps its answers: events have ids.
    client.reads("id: ").await;
    let (rest, ended) = client.rest().await;
    assert!(rest.ends_with(b"data: [DONE]\n\n"), "{rest:?}");
    assert_eq!(ended, Ended::LastChunk(vec![]));

    let page = gateway.fetch(&Ask::get("/")).await;
    assert_eq!(page.status(), 200);
    assert!(
        page.head
            .get("content-type")
            .unwrap()
            .starts_with("text/html")
    );

    let openai = Ask::post(
        "/v1/chat/completions",
        r#"{"model":"gpt-4o","messages":[]}"#,
    );
    let answer = gateway.fetch(&openai).await;
    assert_eq!(answer.status(), 503);
    assert!(
        answer.text().contains("OPENAI_API_KEY"),
        "{}",
        answer.text()
    );
}

/// Every `${NAME}` in `source`.
fn variables(source: &str) -> Vec<&str> {
    let parts = source.split("${").skip(1);
    parts
        .filter_map(|part| part.split(['}', ':']).next())
        .collect()
}

#[tokio::test]
async fn every_configuration_that_ships_has_no_fault() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "toml") {
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        let names = variables(&source);
        let values: Vec<_> = names.iter().map(|name| (*name, "some-value")).collect();
        let said = run(&["check", "--config", path.to_str().unwrap()], &values).await;
        assert_eq!(said.code, Some(0), "{}: {said:?}", path.display());
        count += 1;
    }
    assert!(count >= 5, "{count} files");
}
