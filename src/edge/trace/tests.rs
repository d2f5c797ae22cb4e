//! Which ids are believed, and that a valid parent always leaves.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
const ID: &str = "0af7651916cd43dd8448eb211c80319c";

fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

/// The ids of a request, with ours among its fields.
fn traced(headers: &mut HeaderMap, trusted: bool) -> Trace {
    let trace = Trace::of(headers, trusted);
    let mut added = Added::default();
    trace.add(&mut added);
    for (name, _) in added.unwritten() {
        assert!(!headers.contains_key(name), "{name}");
    }
    added.join(headers);
    trace
}

#[test]
fn hexadecimal() {
    assert_eq!(&hex::<4>(0xabcde), b"bcde");
    assert_eq!(&hex::<32>(u128::MAX), &[b'f'; 32]);
}

#[test]
fn fresh_ids_are_put_in() {
    let mut headers = map(&[("tracestate", "a=b")]);
    let trace = traced(&mut headers, false);
    assert_eq!(trace.request_id().len(), 32);
    assert_eq!(headers["x-request-id"], trace.request_id());
    let parent = headers["traceparent"].to_str().unwrap();
    assert_eq!(trace_id(parent.as_bytes()), Some(trace.trace_id));
    assert_eq!(&parent[3..35], trace.trace_id.as_str());
    assert!(!headers.contains_key("tracestate"));
    let other = traced(&mut map(&[]), true);
    assert_ne!(other.request_id, trace.request_id);
    assert_ne!(other.trace_id, trace.trace_id);
}

#[test]
fn a_request_id_is_believed_from_trusted_peers_when_it_is_sane() {
    let id = |lines: &[(&'static str, &str)], trusted| {
        let mut headers = map(lines);
        let trace = traced(&mut headers, trusted);
        assert_eq!(only(&headers, &REQUEST_ID), Some(&trace.request_id));
        trace.request_id().to_owned()
    };
    assert_eq!(id(&[("x-request-id", "req_1")], true), "req_1");
    assert_ne!(id(&[("x-request-id", "req_1")], false), "req_1");
    let long = "x".repeat(LONGEST);
    assert_eq!(id(&[("x-request-id", &long)], true), long);
    for bad in [format!("{long}x").as_str(), "", "a b", "\u{e9}", "a\tb"] {
        assert_eq!(id(&[("x-request-id", bad)], true).len(), 32, "{bad}");
    }
    assert_eq!(
        id(&[("x-request-id", "a"), ("x-request-id", "b")], true).len(),
        32
    );
}

#[test]
fn a_valid_parent_passes_unchanged_from_anyone() {
    let sent = [
        ("traceparent", VALID),
        ("tracestate", "a=b"),
        ("tracestate", "c=d"),
    ];
    let mut headers = map(&sent);
    let trace = traced(&mut headers, false);
    assert_eq!(trace.trace_id.as_str(), ID);
    headers.remove(REQUEST_ID);
    assert_eq!(headers, map(&sent));
}

#[test]
fn what_is_no_parent() {
    let later = format!("01{}-extra", &VALID[2..]);
    assert_eq!(trace_id(later.as_bytes()).unwrap().as_str(), ID);
    assert!(trace_id(&later.as_bytes()[..PARENT]).is_some());
    for bad in [
        format!("{VALID}-extra"),
        format!("{VALID} "),
        format!("01{}x", &VALID[2..]),
        format!("ff{}", &VALID[2..]),
        VALID.to_uppercase(),
        VALID[..54].to_owned(),
        VALID.replace('-', "_"),
        VALID.replace(ID, &"0".repeat(32)),
        VALID.replace("b7ad6b7169203331", &"0".repeat(16)),
        format!("0x{}", &VALID[2..]),
        String::new(),
    ] {
        assert_eq!(trace_id(bad.as_bytes()), None, "{bad}");
    }
    let mut twice = map(&[("traceparent", VALID), ("traceparent", VALID)]);
    assert_ne!(traced(&mut twice, true).trace_id.as_str(), ID);
    assert!(only(&twice, &TRACEPARENT).is_some());
}

proptest! {
    #[test]
    fn whatever_comes_a_valid_parent_leaves(
        parent in prop_oneof![any::<[u8; 56]>().prop_map(|bytes| bytes.map(|byte| byte & 0x7f | 0x20)).prop_map(Vec::from),
            "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,5})?".prop_map(String::into_bytes)],
        at in 0usize..55, with in 0x20u8..0x7f,
    ) {
        for change in [false, true] {
            let mut parent = parent.clone();
            if change { parent[at] = with }
            let Ok(sent) = HeaderValue::from_bytes(&parent) else { continue };
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, sent.clone());
            let trace = traced(&mut headers, false);
            let left = only(&headers, &TRACEPARENT).unwrap().clone();
            prop_assert_eq!(trace_id(left.as_bytes()), Some(trace.trace_id));
            prop_assert_eq!(left == sent, trace_id(sent.as_bytes()).is_some());
        }
    }
}
