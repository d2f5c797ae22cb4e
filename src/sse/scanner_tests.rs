//! The scanner against the standard's own algorithm, put as simply as it can be.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::{LineSink, Scanner};

/// What a sink is told, with the fragments of a line put together.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Line(Vec<u8>),
    BlockEnd,
}

#[derive(Debug, Default)]
struct Record {
    told: Vec<Told>,
    line: Option<Vec<u8>>,
}

impl LineSink for Record {
    fn fragment(&mut self, bytes: &[u8], starts: bool, ends: bool) {
        assert_eq!(
            starts,
            self.line.is_none(),
            "a line starts exactly where none is open"
        );
        let line = self.line.get_or_insert_default();
        line.extend_from_slice(bytes);
        if ends {
            self.told.extend(self.line.take().map(Told::Line));
        }
    }

    fn block_end(&mut self) {
        assert!(self.line.is_none(), "a blank line inside a line");
        self.told.push(Told::BlockEnd);
    }
}

/// The standard's algorithm, as simply as it can be put: the whole stream at once, lines first.
/// Gives the lines that are over, the events dispatched, and the line in progress.
fn reference(stream: &[u8]) -> (Vec<Told>, u64, Vec<u8>) {
    let text = stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream);
    let mut lines = vec![Vec::new()];
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' => {
                bytes.next_if_eq(&b'\n');
                lines.push(Vec::new());
            }
            b'\n' => lines.push(Vec::new()),
            other => lines.last_mut().unwrap().push(other),
        }
    }
    let open = lines.pop().unwrap();
    let mut told = Vec::new();
    let mut events = 0;
    let mut data = None::<Vec<u8>>;
    for line in lines {
        if line.is_empty() {
            events += u64::from(data.take().is_some());
            told.push(Told::BlockEnd);
            continue;
        }
        let colon = line
            .iter()
            .position(|&byte| byte == b':')
            .unwrap_or(line.len());
        if &line[..colon] == b"data" {
            data.get_or_insert_default()
                .extend_from_slice(&line[colon..]);
        }
        told.push(Told::Line(line));
    }
    (told, events, open)
}

/// Whether a block may go in behind `before`, from the whole of it: the text so far ends with a
/// blank line, or there is none; and a CR at its end is known to be bare.
fn reference_boundary(before: &[u8]) -> bool {
    let text = before.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(before);
    if text.is_empty() {
        return true;
    }
    if before.len() < 3 && b"\xEF\xBB\xBF".starts_with(before) {
        return false;
    }
    let (told, _, open) = reference(before);
    if told.last() != Some(&Told::BlockEnd) || !open.is_empty() {
        return false;
    }
    let Some(without) = text.strip_suffix(b"\r") else {
        return true;
    };
    // The end of the line before the blank one.
    without.ends_with(b"\r")
}

fn whole(stream: &[u8]) -> (Scanner, Record) {
    let mut scanner = Scanner::new();
    let mut record = Record::default();
    scanner.feed(stream, &mut record);
    (scanner, record)
}

fn events(stream: &[u8]) -> u64 {
    whole(stream).0.events()
}

fn at_boundary(stream: &[u8]) -> bool {
    whole(stream).0.at_boundary()
}

#[test]
fn events_are_what_a_client_dispatches() {
    assert_eq!(events(b"data: a\n\ndata: b\n\n"), 2);
    assert_eq!(
        events(b"data:a\r\rdata:b\r\n\r\ndata\n\n"),
        3,
        "any line end, and `data` alone"
    );
    assert_eq!(events(b"data:\n\n"), 1, "an empty value is dispatched");
    assert_eq!(events(b"\n\n\n"), 0, "empty blocks");
    assert_eq!(events(b": data: a\n\n"), 0, "a comment");
    assert_eq!(events(b"id: 1\nretry: 5\nevent: x\n\n"), 0, "no data");
    assert_eq!(
        events(b"database: x\n\n data: x\n\nDATA: x\n\n"),
        0,
        "other fields"
    );
    assert_eq!(
        events(b"id: 1\ndata: a\ndata: b\n\n"),
        1,
        "one event, two lines"
    );
    assert_eq!(
        events(b"data: a\n"),
        0,
        "a client discards a block without its blank line"
    );
    assert_eq!(
        events(b"\xEF\xBB\xBFdata: a\n\n"),
        1,
        "behind a byte order mark"
    );
    assert_eq!(
        events(b"\n\xEF\xBB\xBFdata: a\n\n"),
        0,
        "a mark later on is text"
    );
}

#[test]
fn boundaries_lie_between_events_only() {
    for between in [
        &b""[..],
        b"data: a\n\n",
        b"data: a\r\n\r\n",
        b"data: a\r\r",
        b": hello\n\n",
        b"\n",
        b"data: a\n\n\n",
        b"\xEF\xBB\xBF",
    ] {
        assert!(
            at_boundary(between),
            "{:?}",
            between.escape_ascii().to_string()
        );
    }
    for inside in [
        &b"d"[..],
        b"data: a",
        b"data: a\n",
        b"data: a\r",
        b"data: a\r\n",
        b"data: a\r\n\r",
        b"data: a\n\r",
        b"\r",
        b":",
        b": hello\n",
        b"data: a\n\ndata: b\n",
        b"\xEF",
        b"\xEF\xBB",
    ] {
        assert!(
            !at_boundary(inside),
            "{:?}",
            inside.escape_ascii().to_string()
        );
    }
}

#[test]
fn the_line_end_before_decides_about_a_cr() {
    assert!(
        at_boundary(b"data: a\r\n\r\ndata: b\r\r"),
        "bare now, whatever it was"
    );
    assert!(
        !at_boundary(b"data: a\r\rdata: b\r\n\r"),
        "its LF may still come"
    );
}

#[test]
fn half_a_byte_order_mark_is_the_first_line() {
    let (_, record) = whole(b"\xEF\xBBx\n");
    assert_eq!(record.told, [Told::Line(b"\xEF\xBBx".to_vec())]);
}

/// Bytes that make line ends, fields, comments and byte order marks likely.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just(&b"\n"[..]),
        3 => Just(&b"\r"[..]),
        2 => Just(&b"\r\n"[..]),
        3 => Just(&b"data:"[..]),
        1 => Just(&b"data"[..]),
        1 => Just(&b"dat"[..]),
        1 => Just(&b"a: x"[..]),
        1 => Just(&b":"[..]),
        1 => Just(&b"\xEF\xBB\xBF"[..]),
        1 => Just(&b"\xEF"[..]),
        1 => Just(&b"\xBB"[..]),
        2 => Just("{\"text\":\"Grüße, 世界 🦀\"}".as_bytes()),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_whole_is_what_the_standard_says(stream in stream()) {
        let (scanner, record) = whole(&stream);
        let (told, events, open) = reference(&stream);
        prop_assert_eq!(record.told, told);
        prop_assert_eq!(scanner.events(), events);
        // Half a byte order mark at the end of what there is may still become one.
        let mark = stream.len() < 3 && b"\xEF\xBB\xBF".starts_with(&stream);
        prop_assert_eq!(record.line.unwrap_or_default(), if mark { Vec::new() } else { open });
    }

    #[test]
    fn chunks_make_no_difference(
        stream in stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let mut scanner = Scanner::new();
        let mut record = Record::default();
        for pair in cuts.windows(2) {
            scanner.feed(&stream[pair[0]..pair[1]], &mut record);
            let so_far = &stream[..pair[1]];
            prop_assert_eq!(scanner.at_boundary(), reference_boundary(so_far));
            prop_assert_eq!(scanner.events(), reference(so_far).1);
        }
        let (_, all) = whole(&stream);
        prop_assert_eq!(record.told, all.told);
        prop_assert_eq!(record.line, all.line);
    }

    /// What the boundaries are for: a comment there changes neither events nor data.
    #[test]
    fn a_comment_at_a_boundary_changes_nothing(stream in stream(), cut in any::<prop::sample::Index>()) {
        let (before, after) = stream.split_at(cut.index(stream.len() + 1));
        // A byte order mark must stand first; see `Scanner::at_boundary`.
        if !at_boundary(before) || (before.is_empty() && after.starts_with(b"\xEF")) {
            return Ok(());
        }
        let fields = |stream: &[u8]| -> Vec<Told> {
            let comment = |told: &Told| matches!(told, Told::Line(line) if line.starts_with(b":"));
            let mut told = reference(stream).0;
            told.retain(|told| !comment(told));
            told.dedup_by(|one, two| *one == Told::BlockEnd && *two == Told::BlockEnd);
            if told.first() == Some(&Told::BlockEnd) {
                told.remove(0);
            }
            told
        };
        let with = [before, b":\n\n", after].concat();
        prop_assert_eq!(fields(&with), fields(&stream));
        prop_assert_eq!(events(&with), events(&stream));
    }
}
