//! Which request goes where: host, path, method, query, header, model, rewriting and renaming.

use serde_json::Value;

use crate::support::{Ask, Backend, Gateway, wire};

/// A backend for each name, which answers with it; then the routes.
async fn serving(names: &[&str], routes: &str) -> (Vec<Backend>, Gateway) {
    let mut source = "[server]\nlisten = \"127.0.0.1:0\"\n".to_owned();
    let mut backends = Vec::new();
    for name in names {
        let backend = Backend::answering(wire::json(200, &format!("{name:?}"))).await;
        source += &format!("[upstreams.{name}]\nurl = \"{}\"\n", backend.url());
        backends.push(backend);
    }
    (backends, Gateway::start(&(source + routes)).await)
}

fn chat(model: &str) -> Ask {
    Ask::post(
        "/v1/chat/completions",
        format!("{{\"model\":\"{model}\",\"messages\":[]}}"),
    )
}

async fn taken(gateway: &Gateway, ask: &Ask) -> String {
    let answer = gateway.fetch(ask).await;
    match answer.status() {
        200 => answer.json().as_str().unwrap().to_owned(),
        status => status.to_string(),
    }
}

#[tokio::test]
async fn the_most_particular_path_wins() {
    let (_backends, gateway) = serving(
        &["exact", "parameter", "prefix", "rest"],
        "[routes.a]\npath = \"/users/me/events\"\nto = \"exact\"\n\
         [routes.b]\npath = \"/users/{id}/events\"\nto = \"parameter\"\n\
         [routes.c]\npath = \"/users/*\"\nto = \"prefix\"\n\
         [routes.d]\npath = \"/*\"\nto = \"rest\"\n",
    )
    .await;
    for (path, to) in [
        ("/users/me/events", "exact"),
        ("/users/%6De/events", "exact"),
        ("/users/7/events", "parameter"),
        ("/users//events", "prefix"),
        ("/users/7/other", "prefix"),
        ("/users", "prefix"),
        ("/users/", "prefix"),
        ("/usersx", "rest"),
        ("/", "rest"),
    ] {
        assert_eq!(taken(&gateway, &Ask::get(path)).await, to, "{path}");
    }
}

#[tokio::test]
async fn host_method_query_and_header_decide() {
    let (_backends, gateway) = serving(
        &["host", "below", "post", "query", "header", "rest"],
        "[routes.a]\nhost = \"api.test\"\npath = \"/*\"\nto = \"host\"\n\
         [routes.b]\nhost = \"*.below.test\"\npath = \"/*\"\nto = \"below\"\n\
         [routes.c]\npath = \"/x\"\nmethod = \"POST\"\nto = \"post\"\n\
         [routes.d]\npath = \"/x\"\nmethod = \"GET\"\nquery = { kind = \"a b\" }\nto = \"query\"\n\
         [routes.e]\npath = \"/x\"\nmethod = \"GET\"\nheader = { x-kind = \"h\" }\nto = \"header\"\n\
         [routes.f]\npath = \"/*\"\nto = \"rest\"\n",
    )
    .await;
    let host = |host: &str| {
        let first = "GET /any HTTP/1.1";
        wire::head(first, &[&format!("Host: {host}")])
    };
    for (name, to) in [
        ("api.test", "host"),
        ("API.test:8080", "host"),
        ("a.below.test", "below"),
        ("below.test", "rest"),
        ("other.test", "rest"),
    ] {
        let mut client = crate::support::Client::connect(gateway.address).await;
        client.send(host(name)).await;
        assert_eq!(client.answer().await.json(), Value::from(to), "{name}");
    }
    assert_eq!(taken(&gateway, &Ask::post("/x", "{}")).await, "post");
    assert_eq!(taken(&gateway, &Ask::get("/x?kind=a+b")).await, "query");
    assert_eq!(
        taken(&gateway, &Ask::get("/x?kind=a%20b&z=1")).await,
        "query"
    );
    assert_eq!(
        taken(&gateway, &Ask::get("/x").field("X-Kind: h")).await,
        "header"
    );
    assert_eq!(taken(&gateway, &Ask::get("/x?kind=c")).await, "rest");
}

#[tokio::test]
async fn the_model_decides_and_can_be_renamed() {
    let (backends, gateway) = serving(
        &["gpt", "mini", "local"],
        "[routes.a]\npath = \"/v1/*\"\nmodel = \"gpt-*\"\nto = \"gpt\"\n\
         [routes.b]\npath = \"/v1/*\"\nmodel = \"gpt-mini\"\nto = [{ upstream = \"mini\", model = \"tiny \\\"1\\\"\" }]\n\
         [routes.c]\npath = \"/v1/*\"\nto = \"local\"\n",
    )
    .await;
    assert_eq!(taken(&gateway, &chat("gpt-4o")).await, "gpt");
    assert_eq!(taken(&gateway, &chat("gpt-mini")).await, "mini");
    assert_eq!(taken(&gateway, &chat("qwen")).await, "local");
    assert_eq!(taken(&gateway, &Ask::get("/v1/models")).await, "local");
    assert_eq!(
        taken(&gateway, &chat("g\\u0070t-4o")).await,
        "gpt",
        "an escape is no way past"
    );

    let renamed = &backends[1].requests()[0];
    let body: Value = serde_json::from_slice(&renamed.body).unwrap();
    assert_eq!(body["model"], "tiny \"1\"");
    assert_eq!(
        renamed.body,
        &b"{\"model\":\"tiny \\\"1\\\"\",\"messages\":[]}"[..]
    );
    let kept = &backends[0].requests()[0];
    assert_eq!(
        kept.body,
        &b"{\"model\":\"gpt-4o\",\"messages\":[]}"[..],
        "byte for byte"
    );
}

#[tokio::test]
async fn the_model_is_found_behind_large_content() {
    let (backends, gateway) = serving(
        &["gpt"],
        "[routes.a]\npath = \"/v1/*\"\nmodel = \"gpt-*\"\nto = \"gpt\"\n",
    )
    .await;
    let image = "A".repeat(6_000_000);
    let body = format!(
        "{{\"messages\":[{{\"content\":\"{image}\",\"model\":\"inner\"}}],\"nested\":{{\"model\":\"x\"}},\"model\":\"gpt-4o\"}}"
    );
    assert_eq!(
        taken(&gateway, &Ask::post("/v1/chat/completions", &body)).await,
        "gpt"
    );
    assert!(backends[0].requests()[0].body == body);
}

#[tokio::test]
async fn a_model_beyond_the_bound_is_refused() {
    let (backends, gateway) = serving(
        &["gpt"],
        "[routes.a]\npath = \"/v1/*\"\nmodel = \"gpt-*\"\nmodel_within = \"1KiB\"\nto = \"gpt\"\n",
    )
    .await;
    let body = format!("{{\"x\":\"{}\",\"model\":\"gpt-4o\"}}", "A".repeat(5_000));
    assert_eq!(
        taken(&gateway, &Ask::post("/v1/chat/completions", &body)).await,
        "413"
    );
    // Also where it stands in front: a second one could follow behind the bound.
    let body = format!("{{\"model\":\"gpt-4o\",\"x\":\"{}\"}}", "A".repeat(5_000));
    assert_eq!(
        taken(&gateway, &Ask::post("/v1/chat/completions", &body)).await,
        "413"
    );
    let body = format!("{{\"x\":\"{}\",\"model\":\"gpt-4o\"}}", "A".repeat(500));
    assert_eq!(
        taken(&gateway, &Ask::post("/v1/chat/completions", &body)).await,
        "gpt"
    );
    assert_eq!(backends[0].requests().len(), 1);
}

#[tokio::test]
async fn two_models_in_one_body_are_refused() {
    let (backends, gateway) = serving(
        &["gpt", "rest"],
        "[routes.a]\npath = \"/v1/*\"\nmodel = \"gpt-*\"\nto = \"gpt\"\n\
         [routes.b]\npath = \"/v1/*\"\nto = \"rest\"\n",
    )
    .await;
    for body in [
        r#"{"model":"gpt-4o","model":"other"}"#,
        r#"{"model":"other","messages":[],"model":"gpt-4o"}"#,
        r#"{"model":"gpt-4o","mod\u0065l":"other"}"#,
    ] {
        let answer = gateway
            .fetch(&Ask::post("/v1/chat/completions", body))
            .await;
        assert_eq!(answer.status(), 400, "{body}");
        let message = answer.json()["error"]["message"].to_string();
        assert!(message.contains("model"), "{message}");
    }
    assert!(backends.iter().all(|backend| backend.requests().is_empty()));
}

#[tokio::test]
async fn the_model_of_gemini_and_azure_stands_in_the_path() {
    let (_backends, gateway) = serving(
        &["gemini", "azure", "rest"],
        "[routes.a]\npath = \"/v1beta/*\"\nmodel = \"gemini-*\"\nto = \"gemini\"\n\
         [routes.b]\npath = \"/openai/deployments/*\"\nmodel = \"gpt-4o\"\nto = \"azure\"\n\
         [routes.c]\npath = \"/*\"\nto = \"rest\"\n",
    )
    .await;
    let gemini = Ask::post(
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        "{}",
    );
    assert_eq!(taken(&gateway, &gemini).await, "gemini");
    let azure = Ask::post(
        "/openai/deployments/gpt-4o/chat/completions?api-version=1",
        "{}",
    );
    assert_eq!(taken(&gateway, &azure).await, "azure");
    let other = Ask::post(
        "/openai/deployments/other/chat/completions?api-version=1",
        "{}",
    );
    assert_eq!(taken(&gateway, &other).await, "rest");
}

#[tokio::test]
async fn a_prefix_is_rewritten_and_the_query_stays() {
    let (backends, gateway) = serving(
        &["one", "two"],
        "[routes.a]\npath = \"/openai/*\"\nrewrite = \"/\"\nto = \"one\"\n\
         [routes.b]\npath = \"/old\"\nrewrite = \"/new/place\"\nto = \"two\"\n",
    )
    .await;
    for (from, to) in [
        ("/openai/v1/models?a=1", "/v1/models?a=1"),
        ("/openai", "/"),
        ("/openai/a%2Fb", "/a%2Fb"),
    ] {
        gateway.fetch(&Ask::get(from)).await;
        assert_eq!(backends[0].requests().last().unwrap().head.target(), to);
    }
    gateway.fetch(&Ask::get("/old?x=y")).await;
    assert_eq!(backends[1].requests()[0].head.target(), "/new/place?x=y");
}

#[tokio::test]
async fn a_path_cannot_climb_out_of_its_route() {
    let (backends, gateway) = serving(
        &["open", "closed"],
        "[keys.k]\nvalue = \"secret-key\"\n\
         [routes.a]\npath = \"/open/*\"\nto = \"open\"\n\
         [routes.b]\npath = \"/closed/*\"\nto = \"closed\"\nallow = [\"k\"]\n",
    )
    .await;
    for path in [
        "/open/../closed/x",
        "/open/%2e%2e/closed/x",
        "/open/./../closed",
        "/open/..%2fclosed",
    ] {
        gateway.fetch(&Ask::get(path)).await;
        for request in backends[0].requests() {
            let target = request.head.target().to_ascii_lowercase();
            let climbs = target
                .split('/')
                .any(|part| part == ".." || part == "%2e%2e");
            assert!(!climbs, "{path} reached the backend as {target}");
        }
    }
    assert!(backends[1].requests().is_empty());
}
