//! Every row of the table of endings.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::{ClientEnd, Ending, TransportEnd, Verdict, judge};
use crate::config::Dialect;
use crate::dialect::{BodyKind, Watcher};

const FRAMED: TransportEnd = TransportEnd::Framed;
const CLOSED: TransportEnd = TransportEnd::Closed;
const CUT: TransportEnd = TransportEnd::Cut;

const OPEN: &str = "data: {\"choices\":[{\"finish_reason\":null}]}\n\n";
const FINISHED: &str = "data: {\"choices\":[{\"finish_reason\":\"stop\"}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";
const FAILED: &str = "data: {\"error\":{\"message\":\"no\"}}\n\n";

fn verdict(end: TransportEnd, dialect: Dialect, kind: BodyKind, body: &[&str]) -> Verdict {
    let mut watcher = Watcher::new(dialect, kind);
    for piece in body {
        watcher.feed(piece.as_bytes());
    }
    judge(end, &watcher)
}

/// Checks rows of the table: transport, body, what the ending is, what the client gets.
fn rows(dialect: Dialect, kind: BodyKind, rows: &[(TransportEnd, &[&str], Ending, ClientEnd)]) {
    for &(end, body, ending, client) in rows {
        let expected = Verdict { ending, client };
        assert_eq!(
            verdict(end, dialect, kind, body),
            expected,
            "{dialect:?} {end:?} {body:?}"
        );
    }
}

#[test]
fn a_model_stream_that_ends() {
    for end in [FRAMED, CLOSED] {
        rows(
            Dialect::OpenaiChat,
            BodyKind::Sse,
            &[
                (
                    end,
                    &[OPEN, FINISHED, DONE],
                    Ending::Complete,
                    ClientEnd::Clean,
                ),
                (end, &[OPEN, FINISHED], Ending::Complete, ClientEnd::Clean),
                (
                    end,
                    &[OPEN, "data: [DONE]\n"],
                    Ending::Complete,
                    ClientEnd::Clean,
                ),
                (
                    end,
                    &[OPEN, "data: [DONE]"],
                    Ending::Complete,
                    ClientEnd::Clean,
                ),
                (end, &[OPEN], Ending::Truncated, ClientEnd::ErrorEvent),
                (end, &[], Ending::Truncated, ClientEnd::ErrorEvent),
                (
                    end,
                    &[OPEN, "data: {\"choi"],
                    Ending::Truncated,
                    ClientEnd::Abort,
                ),
                (
                    end,
                    &[OPEN, "data: {}\n"],
                    Ending::Truncated,
                    ClientEnd::Abort,
                ),
                (end, &[OPEN, FAILED], Ending::Failed, ClientEnd::Clean),
                (end, &[OPEN, FAILED, DONE], Ending::Failed, ClientEnd::Clean),
            ],
        );
    }
}

#[test]
fn a_model_stream_that_is_cut() {
    rows(
        Dialect::OpenaiChat,
        BodyKind::Sse,
        &[
            (CUT, &[OPEN], Ending::Truncated, ClientEnd::ErrorEvent),
            (CUT, &[], Ending::Truncated, ClientEnd::ErrorEvent),
            (CUT, &[FINISHED], Ending::Truncated, ClientEnd::ErrorEvent),
            (CUT, &[FINISHED, DONE], Ending::Complete, ClientEnd::Clean),
            (
                CUT,
                &[FINISHED, "data: [DONE]\n"],
                Ending::Truncated,
                ClientEnd::Abort,
            ),
            (
                CUT,
                &[OPEN, "data: {\"choi"],
                Ending::Truncated,
                ClientEnd::Abort,
            ),
            (
                CUT,
                &[OPEN, ": a comm"],
                Ending::Truncated,
                ClientEnd::Abort,
            ),
            (CUT, &[FAILED], Ending::Failed, ClientEnd::Clean),
            (CUT, &[FAILED, "data: "], Ending::Failed, ClientEnd::Abort),
        ],
    );
}

#[test]
fn plain_streams_have_no_markers() {
    for dialect in [Dialect::Plain, Dialect::Ollama, Dialect::Bedrock] {
        rows(
            dialect,
            BodyKind::Sse,
            &[
                (FRAMED, &[OPEN], Ending::Complete, ClientEnd::Clean),
                (CLOSED, &[OPEN], Ending::Complete, ClientEnd::Clean),
                (CUT, &[OPEN], Ending::Truncated, ClientEnd::Abort),
                (CUT, &[DONE], Ending::Truncated, ClientEnd::Abort),
                (FRAMED, &[FAILED], Ending::Complete, ClientEnd::Clean),
            ],
        );
    }
}

#[test]
fn opaque_bodies_end_as_the_transport_says() {
    for dialect in [Dialect::Plain, Dialect::OpenaiChat, Dialect::Bedrock] {
        rows(
            dialect,
            BodyKind::Opaque,
            &[
                (FRAMED, &[OPEN], Ending::Complete, ClientEnd::Clean),
                (CLOSED, &[], Ending::Complete, ClientEnd::Clean),
                (CUT, &[OPEN, DONE], Ending::Truncated, ClientEnd::Abort),
            ],
        );
    }
}

#[test]
fn ollama_ends_by_lines() {
    rows(
        Dialect::Ollama,
        BodyKind::Ndjson,
        &[
            (
                FRAMED,
                &["{\"done\":false}\n{\"done\":true}\n"],
                Ending::Complete,
                ClientEnd::Clean,
            ),
            (
                FRAMED,
                &["{\"done\":true}"],
                Ending::Complete,
                ClientEnd::Clean,
            ),
            (
                CLOSED,
                &["{\"done\":false}\n"],
                Ending::Truncated,
                ClientEnd::ErrorEvent,
            ),
            (
                CUT,
                &["{\"done\":false}\n"],
                Ending::Truncated,
                ClientEnd::ErrorEvent,
            ),
            (CUT, &["{\"done\":fal"], Ending::Truncated, ClientEnd::Abort),
            (
                FRAMED,
                &["{\"error\":\"no\"}\n"],
                Ending::Failed,
                ClientEnd::Clean,
            ),
        ],
    );
    rows(
        Dialect::Plain,
        BodyKind::Ndjson,
        &[
            (
                FRAMED,
                &["{\"done\":false}\n"],
                Ending::Complete,
                ClientEnd::Clean,
            ),
            (
                CUT,
                &["{\"done\":false}\n"],
                Ending::Truncated,
                ClientEnd::Abort,
            ),
        ],
    );
}

#[test]
fn endings_have_words() {
    let words = [
        Ending::Complete,
        Ending::Truncated,
        Ending::Failed,
        Ending::Left,
    ];
    assert_eq!(
        words.map(|ending| ending.to_string()),
        ["complete", "truncated", "failed", "left"]
    );
}
