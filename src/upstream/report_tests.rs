//! The report of an upstream, as JSON.

use serde_json::{Value, json};

use super::*;
use crate::upstream::fixtures::{endpoint, group};

fn reported(group: &Group) -> Value {
    serde_json::to_value(group.report(Instant::now())).unwrap()
}

#[test]
fn a_report_names_every_endpoint_with_its_weight() {
    let addresses = ["10.0.0.1:80", "10.0.0.2:80"].map(|text| text.parse().unwrap());
    let endpoints: Vec<_> = addresses.map(|address| endpoint(address, "/v1")).into();
    endpoints[1].health.set_checked(false);
    let group = group(endpoints, |upstream| upstream.endpoints[1].weight = 3);
    let usual = json!({
        "name": "http://10.0.0.1:80/v1", "weight": 1, "checked": true, "standing": "in", "out_for_ms": null, "rests_for_ms": null,
        "failures_in_row": 0, "ejections": 0, "in_flight": 0, "first_event_ms": null,
    });
    let mut second = usual.clone();
    second["name"] = json!("http://10.0.0.2:80/v1");
    second["weight"] = json!(3);
    second["checked"] = json!(false);
    let expected = json!({
        "name": "model", "balance": "round-robin", "endpoints": [usual, second], "retries_left": 3,
    });
    assert_eq!(reported(&group), expected);
}

#[test]
fn balances_and_standings_are_told_in_the_words_of_the_configuration() {
    let with = |balance: Balance| {
        let group = group(Vec::new(), |upstream| upstream.balance = balance);
        let report = reported(&group);
        (report["balance"].clone(), report["hash_by"].clone())
    };
    assert_eq!(with(Balance::LeastInFlight).0, "least-in-flight");
    assert_eq!(with(Balance::FirstEvent).0, "first-event");
    let by_header = Balance::Hash(HashBy::Header(http::header::COOKIE));
    assert_eq!(with(by_header), (json!("hash"), json!("cookie")));
    assert_eq!(with(Balance::Hash(HashBy::Caller)).1, "caller");
    let standings = [Standing::In, Standing::Out, Standing::Trial];
    assert_eq!(json!(standings), json!(["in", "out", "trial"]));
}
