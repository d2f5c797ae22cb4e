//! The commands: where the configuration comes from, what outweighs what, and exit codes that a
//! script can rely on.

use crate::support::api::CHAT;
use crate::support::binary::{Served, file, run, run_in};
use crate::support::{Ask, Backend, Client, Ended, toml, until, wire};

fn routes(backend: &Backend, route: &str) -> String {
    let source = toml(&backend.url(), route);
    source[source.find("[upstreams").unwrap()..].to_owned()
}

#[tokio::test]
async fn the_log_can_be_text_for_people() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let rest = format!("format = \"text\"\n{}", routes(&backend, ""));
    let served = Served::start(&rest, &[]).await;
    let answer = served.fetch(&Ask::get("/hello")).await;
    let line = until("an access-log line", || {
        let lines = served.lines();
        lines.into_iter().find(|line| line.contains("/hello"))
    })
    .await;
    let id = answer.head.get("x-request-id").unwrap();
    for part in [
        "INFO",
        "request",
        "status=200",
        "ending=\"complete\"",
        "route=\"all\"",
        id,
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert!(!line.contains('\u{1b}'), "no colours in a pipe: {line}");
    assert!(!line.starts_with('{'), "{line}");
}

#[tokio::test]
async fn an_argument_outweighs_the_variable_and_that_the_file() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let rest = routes(&backend, "");
    let served = Served::start_by_argument(&rest, "--listen", "DELTAWAY_LISTEN").await;
    assert_eq!(served.fetch(&Ask::get("/x")).await.status(), 200);
    let said = run(&["--listen", "nowhere"], &[]).await;
    assert_eq!(said.code, Some(2), "{said:?}");
}

#[tokio::test]
async fn the_configuration_is_named_by_argument_or_variable_or_is_the_one_inside() {
    let one =
        file("[upstreams.a]\nurl = \"http://127.0.0.1:9\"\n[routes.a]\npath = \"/\"\nto = \"a\"\n");
    let one = one.path().to_str().unwrap();
    let faulty = file("nothing = 1\n");
    let faulty = faulty.path().to_str().unwrap();
    let said = run(&["check"], &[("DELTAWAY_CONFIG", one)]).await;
    assert!(said.code == Some(0) && said.out.contains(one), "{said:?}");
    let said = run(&["check", "--config", one], &[("DELTAWAY_CONFIG", faulty)]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let said = run(&["check"], &[("DELTAWAY_CONFIG", faulty)]).await;
    assert_eq!(said.code, Some(1), "{said:?}");

    let empty = tempfile::tempdir().unwrap();
    let said = run_in(empty.path(), &["check"]).await;
    assert_eq!(said.code, Some(0), "the file inside has no fault: {said:?}");
    let said = run(&["check", "--config", "/no/such/file.toml"], &[]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("/no/such/file.toml"), "{said:?}");
}

#[tokio::test]
async fn credentials_for_everybody_beyond_loopback_are_a_fault_unless_on_purpose() {
    let source = |open: &str| {
        format!(
            "[upstreams.a]\nurl = \"http://127.0.0.1:9\"\ncredentials = {{ bearer = \"sk-1\" }}\n\
             [routes.a]\npath = \"/*\"\nto = \"a\"\n{open}"
        )
    };
    let careless = file(&source(""));
    let careless = careless.path().to_str().unwrap();
    let said = run(&["check", "--config", careless], &[]).await;
    assert_eq!(said.code, Some(0), "on loopback it is fine: {said:?}");
    let beyond = ["check", "--config", careless, "--listen", "0.0.0.0:8080"];
    let said = run(&beyond, &[]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.err.contains("routes.a") && said.err.contains("open"),
        "{said:?}"
    );
    assert!(!said.err.contains("sk-1"), "{said:?}");
    let variable = [("DELTAWAY_LISTEN", "[::]:8080")];
    let said = run(&["check", "--config", careless], &variable).await;
    assert_eq!(said.code, Some(1), "{said:?}");

    let meant = file(&source("open = true\n"));
    let meant = ["check", "--config", meant.path().to_str().unwrap()];
    let said = run(&[&meant[..], &["--listen", "0.0.0.0:8080"]].concat(), &[]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[tokio::test]
async fn explain_tells_the_chain_what_a_header_changes_and_that_nothing_fits() {
    let config = file(
        "[upstreams.a]\nurl = \"http://127.0.0.1:1\"\n[upstreams.b]\nurl = \"http://127.0.0.1:2\"\n\
         [routes.chain]\npath = \"/v1/*\"\nmethod = \"POST\"\nto = [\"a\", { upstream = \"b\", model = \"tiny\" }]\n\
         [routes.canary]\npath = \"/v1/*\"\nmethod = \"POST\"\nheader = { x-env = \"canary\" }\nto = \"b\"\n",
    );
    let explain = async |rest: &[&str]| {
        let path = config.path().to_str().unwrap();
        run(&[&["explain", "--config", path], rest].concat(), &[]).await
    };
    let said = explain(&["POST", "/v1/chat/completions"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    for part in ["`chain`", "`a`", "or else", "`b`", "`tiny`"] {
        assert!(said.out.contains(part), "{part} in {}", said.out);
    }
    let said = explain(&["POST", "/v1/x", "-H", "X-Env: canary"]).await;
    assert!(said.out.contains("takes route `canary`"), "{said:?}");
    let said = explain(&["GET", "/v1/x"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.out.contains("405") && said.out.contains("POST"),
        "{said:?}"
    );
    let said = explain(&["POST", "/elsewhere"]).await;
    assert!(said.code == Some(1) && said.out.contains("404"), "{said:?}");
}

#[tokio::test]
async fn completions_are_there_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = run(&["completions", shell], &[]).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        for word in ["deltaway", "explain", "config"] {
            assert!(said.out.contains(word), "{word} for {shell}");
        }
    }
    assert_eq!(run(&["completions", "tcl"], &[]).await.code, Some(2));
}

#[tokio::test]
async fn a_draining_gateway_lives_but_is_not_ready() {
    let backend = Backend::listen().await;
    let mut served = Served::start(&routes(&backend, ""), &[]).await;
    let mut client = Client::asking(served.address, &CHAT.ask()).await;
    let (mut peer, _) = backend.request().await;
    peer.send(wire::event_stream()).await;
    peer.chunk(CHAT.begun()).await;
    client.head().await;
    let health = async |path: &str| {
        let url = format!("http://{}{path}", served.admin);
        run(&["health", "--url", &url], &[]).await
    };
    assert_eq!(health("/readyz").await.code, Some(0));
    served.terminate();
    let address = served.address;
    until("the listener to close", || {
        std::net::TcpStream::connect(address).is_err().then_some(())
    })
    .await;
    let said = health("/readyz").await;
    assert!(said.code == Some(1) && said.err.contains("503"), "{said:?}");
    assert_eq!(health("/livez").await.code, Some(0));
    peer.chunk(CHAT.finish.to_owned() + CHAT.marker).await;
    peer.send(wire::LAST).await;
    assert_eq!(client.rest().await.1, Ended::LastChunk(vec![]));
    assert_eq!(served.code().await, Some(0));
}
