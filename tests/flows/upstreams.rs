//! How operators see their upstreams: who is asked, who is well, and that checks show.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use deltaway::config::{Check, Config};
use serde_json::{Value, json};

use crate::support::{Ask, Backend, Gateway, wire, within};

const ADMIN: &str = "[admin]\nlisten = \"127.0.0.1:0\"\n";

/// Two upstreams, of which a route names one.
fn two(first: &Backend, second: &Backend) -> String {
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n{ADMIN}\
         [upstreams.spare]\nurl = \"{}\"\n[upstreams.model]\nurl = \"{}/v1\"\n\
         [routes.all]\npath = \"/*\"\nto = \"model\"\n",
        second.url(),
        first.url()
    )
}

/// A backend whose checks are answered with the status in `status`.
async fn of_status(status: Arc<AtomicU16>) -> Backend {
    Backend::playing(move |mut peer| {
        let status = status.clone();
        async move {
            while peer.request().await.is_some() {
                let status = status.load(Ordering::SeqCst);
                peer.send(wire::json(status, "{}")).await;
            }
        }
    })
    .await
}

fn often(config: &mut Config) {
    for upstream in config.upstreams.values_mut() {
        Arc::make_mut(upstream).check = Some(Check {
            path: "/health".into(),
            every: Duration::from_millis(5),
            within: Duration::from_secs(10),
            up: 2,
            down: 2,
        });
    }
}

async fn upstreams(gateway: &Gateway) -> Vec<Value> {
    let answer = gateway.ask_admin("/upstreams").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.head.get("content-type"), Some("application/json"));
    assert_eq!(answer.head.get("cache-control"), Some("no-store"));
    answer.json()["upstreams"].as_array().unwrap().clone()
}

/// Asks until the endpoint of the first upstream is as well as this.
async fn until_first_is(gateway: &Gateway, checked: bool) {
    let what = format!("the first endpoint to be well: {checked}");
    let asking = async {
        let mut look = tokio::time::interval(Duration::from_millis(5));
        while upstreams(gateway).await[0]["endpoints"][0]["checked"] != checked {
            look.tick().await;
        }
    };
    within(&what, asking).await;
}

#[tokio::test]
async fn every_upstream_is_shown_by_name_whether_a_route_names_it_or_not() {
    let first = Backend::answering(wire::json(200, "{}")).await;
    let second = Backend::answering(wire::json(200, "{}")).await;
    let gateway = Gateway::start(&two(&first, &second)).await;
    let shown = upstreams(&gateway).await;
    let names: Vec<_> = shown.iter().map(|upstream| &upstream["name"]).collect();
    assert_eq!(names, ["model", "spare"]);
    assert_eq!(shown[0]["balance"], "round-robin");
    let endpoints = shown[0]["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 1);
    assert_eq!(endpoints[0]["name"], format!("{}/v1", first.url()));
    for (key, value) in [
        ("weight", json!(1)),
        ("checked", json!(true)),
        ("standing", json!("in")),
    ] {
        assert_eq!(endpoints[0][key], value, "{key}");
    }
    assert!(first.requests().is_empty(), "nobody wanted checks");
    let other = gateway.ask_admin("/upstream").await;
    assert!(other.text().contains("/upstreams"), "{}", other.text());
    gateway.stop().await;
}

#[tokio::test]
async fn checks_are_made_and_what_they_find_is_shown() {
    let status = Arc::new(AtomicU16::new(200));
    let first = of_status(status.clone()).await;
    let second = of_status(Arc::new(AtomicU16::new(200))).await;
    let gateway = Gateway::start_changed(&two(&first, &second), &[], often).await;
    for (becomes, well) in [(500, false), (200, true), (429, false)] {
        status.store(becomes, Ordering::SeqCst);
        until_first_is(&gateway, well).await;
    }
    let shown = upstreams(&gateway).await;
    assert_eq!(shown[1]["endpoints"][0]["checked"], true);
    let asked = first.requests();
    assert!(
        asked
            .iter()
            .all(|request| request.head.target() == "/v1/health")
    );
    gateway.stop().await;
}

#[tokio::test]
async fn checks_end_with_the_gateway() {
    let well = Arc::new(AtomicU16::new(200));
    let first = of_status(well.clone()).await;
    let second = Backend::listen().await;
    let gateway = Gateway::start_changed(&two(&first, &second), &[], often).await;
    let (mut peer, request) = second.request().await;
    assert_eq!(request.head.target(), "/health");
    gateway.stop().await;
    peer.left().await;
    assert!(second.is_left_alone_for(Duration::from_millis(100)).await);
}

#[tokio::test]
async fn an_endpoint_is_found_by_name() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let url = format!("http://localhost:{}", backend.address.port());
    let gateway = Gateway::start(&crate::support::toml(&url, "")).await;
    for _ in 0..3 {
        assert_eq!(gateway.fetch(&Ask::get("/x")).await.status(), 200);
    }
    gateway.stop().await;
}
