//! The real binary: its commands, its log, its operators' listener, its signals.

use serde_json::Value;

use crate::support::api::{CHAT, MESSAGES};
use crate::support::binary::{Served, file, run};
use crate::support::wire::Framing;
use crate::support::{Ask, Backend, Client, Ended, toml, wire};

fn routes(backend: &Backend, route: &str) -> String {
    let source = toml(&backend.url(), route);
    source[source.find("[upstreams").unwrap()..].to_owned()
}

fn whole_stream() -> Vec<u8> {
    let mut whole = wire::event_stream();
    whole.extend(wire::chunks(CHAT.events));
    whole.extend(wire::chunks([CHAT.finish, CHAT.marker]));
    whole.extend(wire::LAST);
    whole
}

#[tokio::test]
async fn each_request_gets_one_line_that_says_how_it_went() {
    let backend = Backend::answering(whole_stream()).await;
    let served = Served::start(&routes(&backend, ""), &[]).await;
    let answer = served.fetch(&CHAT.ask()).await;
    assert_eq!(answer.text(), CHAT.whole());
    let line = served.access(0).await;
    let text = |key: &str| {
        line[key]
            .as_str()
            .unwrap_or_else(|| panic!("{key} in {line}"))
            .to_owned()
    };
    assert_eq!(
        (text("route"), text("upstream"), text("ending")),
        ("all".into(), "model".into(), "complete".into())
    );
    assert!(
        text("endpoint").contains(&backend.address.to_string()),
        "{line}"
    );
    assert_eq!(
        (text("method"), text("path")),
        ("POST".into(), CHAT.target.into())
    );
    assert_eq!(text("request_id"), answer.head.get("x-request-id").unwrap());
    assert_eq!(line["status"], 200);
    assert_eq!(line["events"], 4);
    assert_eq!(line["bytes"], Value::from(CHAT.whole().len()));
    let time = |key: &str| {
        line[key]
            .as_f64()
            .unwrap_or_else(|| panic!("{key} in {line}"))
    };
    assert!(time("first_byte_ms") <= time("first_event_ms"), "{line}");
    assert!(time("first_event_ms") <= time("total_ms"), "{line}");

    served.fetch(&Ask::get("/a?secret=1")).await;
    served.access(1).await;
    assert_eq!(served.accesses().len(), 2, "one each");
}

#[tokio::test]
async fn ordinary_answers_are_complete_also_where_they_have_no_body() {
    let backend = Backend::playing(|mut peer| async move {
        while let Some(request) = peer.request().await {
            let answer = match request.head.target() {
                "/length" => wire::json(200, "{}"),
                "/chunked" => wire::answer(Framing::Chunked, 200, "text/plain", "hello"),
                "/empty" => wire::json(200, ""),
                "/204" => wire::head("HTTP/1.1 204 No Content", &[]),
                "/304" => wire::head("HTTP/1.1 304 Not Modified", &["ETag: \"1\""]),
                _ => wire::head("HTTP/1.1 200 OK", &["Content-Length: 9"]),
            };
            peer.send(answer).await;
        }
    })
    .await;
    let served = Served::start(&routes(&backend, ""), &[]).await;
    let targets = ["/length", "/chunked", "/empty", "/204", "/304", "/head"];
    let mut endings = Vec::new();
    for (index, target) in targets.into_iter().enumerate() {
        let method = if target == "/head" { "HEAD" } else { "GET" };
        served.fetch(&Ask::new(method, target)).await;
        endings.push(served.access(index).await["ending"].clone());
    }
    assert_eq!(
        endings,
        targets.map(|_| Value::from("complete")),
        "{targets:?}"
    );
}

#[tokio::test]
async fn secrets_stay_out_of_the_log_and_of_what_clients_see() {
    let backend = Backend::playing(|mut peer| async move {
        peer.request().await;
    })
    .await;
    let secrets = "credentials = { bearer = \"${UPSTREAM}\" }\n\
                   [keys.web]\nvalue = \"${CALLER}\"\n[routes";
    let routes = routes(&backend, "allow = [\"web\"]").replace("[routes", secrets);
    let source = format!("level = \"trace\"\n{routes}");
    let (upstream, caller) = ("sk-upstream-5d1e", "caller-8c2f");
    let served = Served::start(&source, &[("UPSTREAM", upstream), ("CALLER", caller)]).await;
    let mut seen = String::new();
    for key in [caller, "wrong-4e4e"] {
        let answer = served
            .fetch(&CHAT.ask().field(&format!("Authorization: Bearer {key}")))
            .await;
        seen += &format!("{:?} {}", answer.head, answer.text());
    }
    served.access(1).await;
    seen += &served.ask_admin("/metrics").await.text();
    seen += &served.lines().join("\n");
    for secret in [upstream, caller, "wrong-4e4e"] {
        assert!(!seen.contains(secret), "{secret} in {seen}");
    }
}

#[tokio::test]
async fn the_operators_listener_tells_life_readiness_and_figures() {
    let backend = Backend::answering(whole_stream()).await;
    let served = Served::start(&routes(&backend, ""), &[]).await;
    assert_eq!(served.ask_admin("/livez").await.status(), 200);
    assert_eq!(served.ask_admin("/readyz").await.status(), 200);
    assert_eq!(served.ask_admin("/other").await.status(), 404);
    served.fetch(&CHAT.ask()).await;
    served.access(0).await;
    let metrics = served.ask_admin("/metrics").await;
    assert_eq!(metrics.status(), 200);
    let text = metrics.text();
    assert!(
        text.lines()
            .any(|line| line.starts_with("deltaway_requests_total{") && line.contains("complete")),
        "{text}"
    );
    assert!(text.trim_end().ends_with("# EOF"), "{text}");
    assert_eq!(
        served.fetch(&Ask::get("/livez")).await.status(),
        200,
        "the backend's, not ours"
    );
    assert_eq!(backend.requests().last().unwrap().head.target(), "/livez");
}

#[tokio::test]
async fn sigterm_lets_a_running_stream_finish_and_then_ends() {
    let backend = Backend::listen().await;
    let mut served = Served::start(&routes(&backend, ""), &[]).await;
    let mut client = Client::asking(served.address, &MESSAGES.ask()).await;
    let (mut peer, _) = backend.request().await;
    peer.send(wire::event_stream()).await;
    peer.chunk(MESSAGES.begun()).await;
    client.head().await;
    client.reads(MESSAGES.begun()).await;
    served.terminate();
    let address = served.address;
    crate::support::until("the listener to close", || {
        std::net::TcpStream::connect(address).is_err().then_some(())
    })
    .await;
    peer.chunk(MESSAGES.finish).await;
    client.reads(MESSAGES.finish).await;
    peer.chunk(MESSAGES.marker).await;
    peer.send(wire::LAST).await;
    assert_eq!(
        client.rest().await,
        (MESSAGES.marker.into(), Ended::LastChunk(vec![]))
    );
    assert_eq!(served.code().await, Some(0));
    assert_eq!(served.access(0).await["ending"], "complete");
}

#[tokio::test]
async fn sigterm_ends_at_the_limit_even_while_a_stream_runs() {
    let backend = Backend::listen().await;
    let rest = routes(&backend, "");
    let mut served = Served::start_with_server("drain = \"200ms\"", &rest, &[]).await;
    let mut client = Client::asking(served.address, &MESSAGES.ask()).await;
    let (mut peer, _) = backend.request().await;
    peer.send(wire::event_stream()).await;
    peer.chunk(MESSAGES.begun()).await;
    client.head().await;
    client.reads(MESSAGES.begun()).await;
    served.terminate();
    let (tail, ended) = client.rest().await;
    assert!(
        MESSAGES.is_error(&tail) || !ended.is_clean(),
        "{tail:?} {ended:?}"
    );
    peer.left().await;
    served.code().await;
}

#[tokio::test]
async fn check_names_every_fault_at_once_with_its_place() {
    let faulty = file(
        "[server]\nlisten = \"127.0.0.1:0\"\nbogus = 1\n\
         [upstreams.model]\nurl = \"http://127.0.0.1:9\"\ncredentials = { bearer = \"${NOT_SET}\" }\n\
         [routes.chat]\npath = \"/v1/*\"\nto = \"nowhere\"\nheartbeat = \"15 parsecs\"\n",
    );
    let path = faulty.path().to_str().unwrap();
    let said = run(&["check", "--config", path], &[]).await;
    assert!(said.code.is_some_and(|code| code != 0), "{said:?}");
    let all = said.out + &said.err;
    for place in [":3:", ":6:", ":9:", ":10:"] {
        assert!(all.contains(&format!("{path}{place}")), "{place} in {all}");
    }
    for word in ["bogus", "NOT_SET", "nowhere", "heartbeat"] {
        assert!(all.contains(word), "{word} in {all}");
    }
    let served = run(&["--config", path], &[]).await;
    assert!(
        served.code.is_some_and(|code| code != 0),
        "it does not serve it either"
    );
}

#[tokio::test]
async fn check_is_content_with_a_good_file() {
    let good = file(
        "[server]\nlisten = \"127.0.0.1:8080\"\n\n[admin]\nlisten = \"127.0.0.1:9090\"\n\n\
         [upstreams.model]\nurl = \"http://127.0.0.1:9000\"\n\n[routes.chat]\npath = \"/v1/*\"\nto = \"model\"\n",
    );
    let said = run(&["check", "--config", good.path().to_str().unwrap()], &[]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[tokio::test]
async fn schema_prints_a_json_schema_that_takes_the_example() {
    let said = run(&["schema"], &[]).await;
    assert_eq!(said.code, Some(0));
    let schema: Value = serde_json::from_str(&said.out).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let good = serde_json::json!({
        "server": { "listen": "127.0.0.1:8080" },
        "upstreams": { "model": { "url": "http://127.0.0.1:9000" } },
        "routes": { "chat": { "path": "/v1/*", "to": "model" } }
    });
    assert!(validator.is_valid(&good));
    assert!(!validator.is_valid(&serde_json::json!({ "server": { "bogus": 1 } })));
}

#[tokio::test]
async fn explain_says_where_a_request_would_go() {
    let config = file(
        "[upstreams.openai]\nurl = \"http://127.0.0.1:9000\"\n[upstreams.local]\nurl = \"http://127.0.0.1:9001\"\n\
         [routes.gpt]\npath = \"/v1/*\"\nmodel = \"gpt-*\"\nto = \"openai\"\n\
         [routes.rest]\npath = \"/v1/*\"\nto = \"local\"\n",
    );
    let path = config.path().to_str().unwrap();
    let explain = async |model: &str| {
        let arguments = [
            "explain",
            "POST",
            "/v1/chat/completions",
            "--model",
            model,
            "--config",
            path,
        ];
        let said = run(&arguments, &[]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        said.out
    };
    let said = explain("gpt-4o").await;
    assert!(said.contains("gpt") && said.contains("openai"), "{said}");
    let said = explain("qwen").await;
    assert!(said.contains("rest") && said.contains("local"), "{said}");
}

#[tokio::test]
async fn health_asks_a_running_gateway() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let served = Served::start(&routes(&backend, ""), &[]).await;
    let said = run(&["health", "--config", served.config()], &[]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let refusing = crate::support::backend::Refusing::new();
    let config = file(&format!(
        "[admin]\nlisten = \"{}\"\n[upstreams.a]\nurl = \"http://127.0.0.1:9\"\n[routes.a]\npath = \"/*\"\nto = \"a\"\n",
        refusing.address
    ));
    let said = run(
        &["health", "--config", config.path().to_str().unwrap()],
        &[],
    )
    .await;
    assert!(said.code.is_some_and(|code| code != 0), "{said:?}");
}

#[tokio::test]
async fn the_address_can_be_given_from_outside() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let served = Served::start_by_variable(&routes(&backend, ""), "DELTAWAY_LISTEN").await;
    assert_eq!(served.fetch(&Ask::get("/x")).await.status(), 200);
}

#[tokio::test]
async fn help_version_and_completions_are_as_people_expect() {
    let said = run(&["--version"], &[]).await;
    assert_eq!(
        (said.code, said.out.trim()),
        (Some(0), concat!("deltaway ", env!("CARGO_PKG_VERSION")))
    );
    let said = run(&["--help"], &[]).await;
    for command in ["check", "schema", "explain", "health", "completions"] {
        assert!(said.out.contains(command), "{command} in {}", said.out);
    }
    let said = run(&["completions", "bash"], &[]).await;
    assert!(
        said.code == Some(0) && said.out.contains("deltaway"),
        "{said:?}"
    );
    assert_eq!(run(&["--no-such-thing"], &[]).await.code, Some(2));
}

/// The kernel's table of descriptors grew under load, which stopped a worker for 10 to 20 ms each time.
#[tokio::test]
async fn there_is_room_for_all_connections_from_the_start() {
    let backend = Backend::answering(whole_stream()).await;
    let server = "max_connections = 400";
    let served = Served::start_with_server(server, &routes(&backend, ""), &[]).await;
    let room: u32 = served.status("FDSize").parse().unwrap();
    assert!(room >= 2 * 400, "{room}");
    assert!(room <= 4 * 400, "{room}");
}
