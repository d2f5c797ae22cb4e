//! The splitter and the reader of lines against the simplest ones that could be right.

use proptest::prelude::*;

use super::{Block, LONGEST_ID_LINE, Lines, REUSED, Splitter, TooLarge};
use crate::sse::{Frame, reference};

type Fed = (Vec<Block>, Result<(), TooLarge>);

/// All chunks and the end of the stream, through a splitter.
fn split<'a>(most: usize, chunks: impl IntoIterator<Item = &'a [u8]>) -> Fed {
    let mut splitter = Splitter::new(most);
    let mut blocks = Vec::new();
    let mut out = |block| blocks.push(block);
    for chunk in chunks {
        // An error lasts: the end tells it again.
        let _ = splitter.feed(chunk, &mut out);
    }
    let end = splitter.finish(&mut out);
    (blocks, end)
}

/// The same through a reader of lines.
fn split_lines<'a>(most: usize, chunks: impl IntoIterator<Item = &'a [u8]>) -> Fed {
    let mut lines = Lines::new(most);
    let mut blocks = Vec::new();
    let mut out = |block| blocks.push(block);
    for chunk in chunks {
        let _ = lines.feed(chunk, &mut out);
    }
    let end = lines.finish(&mut out);
    (blocks, end)
}

/// What [`split`] must give.
fn expected(most: usize, stream: &[u8]) -> Fed {
    let mut blocks = Vec::new();
    for said in reference::blocks(&[stream, b"\n\n"].concat()) {
        if said.kept.len() > most {
            return (blocks, Err(TooLarge::Event { most }));
        }
        if said.data.is_some() || said.id.is_some() || said.retry.is_some() {
            blocks.push(Block {
                frame: said.data.map(|_| Frame::from_lines(said.kept.into())),
                id: said.id.map(Into::into),
                retry: said.retry,
            });
        }
    }
    (blocks, Ok(()))
}

/// What [`split_lines`] must give.
fn expected_lines(most: usize, stream: &[u8]) -> Fed {
    let mut blocks = Vec::new();
    for line in stream.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut event = Vec::new();
        for part in line.split(|&byte| byte == b'\r') {
            event.extend([b"data: ", part, b"\n"].concat());
        }
        if !line.is_empty() && event.len() > most {
            return (blocks, Err(TooLarge::Event { most }));
        }
        if !line.is_empty() {
            blocks.push(Block {
                frame: Some(Frame::from_lines(event.into())),
                id: None,
                retry: None,
            });
        }
    }
    (blocks, Ok(()))
}

/// Whether no field of a further event has come, from the whole stream so far.
fn expected_between(so_far: &[u8]) -> bool {
    const FIELDS: [&[u8]; 4] = [b"data", b"event", b"retry", b"id"];
    if so_far.len() < 3 && b"\xEF\xBB\xBF".starts_with(so_far) {
        return true;
    }
    let lines = reference::lines(so_far);
    let is_field = |line: &Vec<u8>| {
        let name = line.split(|&byte| byte == b':').next().unwrap();
        // Such an id is as good as none.
        let is_void = name == b"id" && line.contains(&0);
        FIELDS.contains(&name) && !is_void
    };
    let mut unfinished = lines.iter().rev().take_while(|line| !line.is_empty());
    // One more line end shows the line that is open, if one is.
    let open = reference::lines(&[so_far, b"\n"].concat());
    let open = open.get(lines.len()).cloned().unwrap_or_default();
    let may_be_field = |field: &[u8]| {
        let field = [field, b":"].concat();
        !open.is_empty() && (field.starts_with(&open) || open.starts_with(&field))
    };
    !unfinished.any(is_field) && !FIELDS.iter().any(|field| may_be_field(field))
}

type Shown = (Option<String>, Option<String>, Option<u64>);

/// The blocks whose blank line has come: frame, id and `retry` of each.
fn shown(stream: &str) -> Vec<Shown> {
    let mut shown = Vec::new();
    let mut out = |block: Block| {
        let text = |frame: Frame| String::from_utf8(frame.as_bytes().to_vec()).unwrap();
        shown.push((block.frame.map(text), block.id.map(Into::into), block.retry));
    };
    let fed = Splitter::new(usize::MAX).feed(stream.as_bytes(), &mut out);
    assert_eq!(fed, Ok(()));
    shown
}

fn one(frame: Option<&str>, id: Option<&str>, retry: Option<u64>) -> Vec<Shown> {
    vec![(frame.map(Into::into), id.map(Into::into), retry)]
}

#[test]
fn the_lines_of_an_event_stay_as_they_came() {
    assert_eq!(
        shown("event:a\r\ndata:  b\rdata\ndata:c \r\nretry: 5\n\n"),
        one(
            Some("event:a\ndata:  b\ndata\ndata:c \nretry: 5\n"),
            None,
            Some(5)
        )
    );
}

#[test]
fn what_means_nothing_is_dropped() {
    assert_eq!(
        shown("\u{FEFF}: hi\nid: 7\ndatabase: x\nDATA: x\n data: x\nnonsense\ndata: a\n:\n\n"),
        one(Some("data: a\n"), Some("7"), None)
    );
    assert_eq!(shown(": hi\n\n\n\nevent: a\n\nfoo: x\n\n"), []);
}

#[test]
fn strays_are_data_where_they_are_kept() {
    let stream = "data: 1\n\n: comment\nid: 7\n{\n  \"error\": {\r\n    \"c:d\"\n  }\n}\n\n:\n\n";
    let kept = "data: {\ndata:   \"error\": {\ndata:     \"c:d\"\ndata:   }\ndata: }\n";
    for size in 1..stream.len() {
        let mut splitter = Splitter::keeping_strays(100);
        let mut blocks = Vec::new();
        for chunk in stream.as_bytes().chunks(size) {
            splitter
                .feed(chunk, &mut |block| blocks.push(block))
                .unwrap();
        }
        assert_eq!(blocks.len(), 2, "in pieces of {size}");
        let frame = blocks[1].frame.as_ref().unwrap();
        assert_eq!(
            std::str::from_utf8(frame.as_bytes()).unwrap(),
            kept,
            "in pieces of {size}"
        );
        assert_eq!(blocks[1].id.as_deref(), Some("7"));
    }
    let mut splitter = Splitter::keeping_strays(10);
    assert!(splitter.feed(b"{\n{\n", &mut |_| ()).is_err());
}

#[test]
fn a_block_without_data_is_no_event() {
    assert_eq!(shown("id: 1\n\n"), one(None, Some("1"), None));
    assert_eq!(shown("event: a\nretry: 10\n\n"), one(None, None, Some(10)));
    assert_eq!(shown("retry: x\n\n"), []);
}

#[test]
fn the_last_id_counts() {
    assert_eq!(shown("id: 1\nid: 2\n\n"), one(None, Some("2"), None));
    assert_eq!(shown("id: 1\nid\n\n"), one(None, Some(""), None));
    assert_eq!(
        shown("id: 1\nid: 2\0\n\n"),
        one(None, Some("1"), None),
        "one with a NUL is ignored"
    );
    assert_eq!(
        shown("retry: 1\nretry: 2x\n\n"),
        one(None, None, Some(1)),
        "and so is a time that is no number"
    );
}

#[test]
fn an_event_without_its_blank_line_waits_for_the_end() {
    assert_eq!(shown("data: a\n"), []);
    for stream in ["data: a", "data: a\r", "data: a\n", "data: a\r\n"] {
        let (blocks, end) = split(100, [stream.as_bytes()]);
        assert_eq!((blocks.len(), end), (1, Ok(())), "{stream:?}");
    }
}

#[test]
fn the_bound_is_on_the_lines_that_are_kept() {
    let event =
        "event: a\r\n: a comment that is longer than all the rest\r\nid: 1\r\ndata: b\r\n\r\n";
    let most = "event: a\ndata: b\n".len();
    assert_eq!(split(most, [event.as_bytes()]).1, Ok(()));
    assert_eq!(
        split(most - 1, [event.as_bytes()]),
        (vec![], Err(TooLarge::Event { most: most - 1 }))
    );
    assert_eq!(
        split(most, [&b"event: a\nevent: b\n"[..], b"\n"]).1,
        Err(TooLarge::Event { most }),
        "without data, too"
    );
}

#[test]
fn an_event_that_is_too_large_ends_all() {
    let mut splitter = Splitter::new(10);
    let mut blocks = 0;
    let stream = b"data: 1\n\ndata: 12345678\n\ndata: 2\n\n";
    let too_large = TooLarge::Event { most: 10 };
    let fault = Err(too_large);
    assert_eq!(splitter.feed(stream, &mut |_| blocks += 1), fault);
    assert_eq!(splitter.feed(b"data: 3\n\n", &mut |_| blocks += 1), fault);
    assert_eq!(splitter.finish(&mut |_| blocks += 1), fault);
    assert_eq!(blocks, 1);
    assert!(!splitter.is_between());
    assert_eq!(too_large.to_string(), "an event has more than 10 bytes");
}

#[test]
fn memory_does_not_grow_beyond_the_bound() {
    const MOST: usize = 100_000;
    let chunk = [b'x'; 1000];
    let mut splitter = Splitter::new(MOST);
    let mut out = |_| panic!("no event ends here");
    splitter.feed(b"data: ", &mut out).unwrap();
    let mut fed = 0;
    while splitter.feed(&chunk, &mut out).is_ok() {
        fed += chunk.len();
        assert!(splitter.gathered.lines.capacity() <= MOST);
    }
    assert_eq!(fed, 99_000);
    assert_eq!(splitter.gathered.lines.capacity(), 0);

    let mut lines = Lines::new(MOST);
    let mut fed = 0;
    while lines.feed(&chunk, &mut out).is_ok() {
        fed += chunk.len();
        assert!(lines.line.capacity() <= MOST);
    }
    assert_eq!(fed, 99_000);
    assert_eq!(lines.line.capacity(), 0);
}

#[test]
fn what_is_dropped_takes_no_memory() {
    let chunk = [b'x'; 1000];
    let mut splitter = Splitter::new(10);
    let mut out = |_| panic!("no event ends here");
    for start in [": ", "nonsense", "nonsense: "] {
        splitter.feed(start.as_bytes(), &mut out).unwrap();
        for _ in 0..1000 {
            splitter.feed(&chunk, &mut out).unwrap();
            assert!(splitter.gathered.lines.capacity() <= 10);
            assert!(splitter.is_between());
        }
        splitter.feed(b"\n\n", &mut out).unwrap();
    }
}

#[test]
fn an_id_has_a_bound_of_its_own() {
    let longest = format!("id: {}", "x".repeat(LONGEST_ID_LINE - 4));
    let longer = format!("{longest}x");
    let id = TooLarge::Id {
        most: LONGEST_ID_LINE,
    };
    for chunk in [1, 5, 1000, 10_000] {
        let (blocks, end) = split(1, longest.as_bytes().chunks(chunk));
        assert_eq!((blocks.len(), end), (1, Ok(())), "{chunk}");
        let (blocks, end) = split(1, longer.as_bytes().chunks(chunk));
        assert_eq!((blocks.len(), end), (0, Err(id)), "{chunk}");
    }
    assert!(id.to_string().contains("8192"));
}

/// Bytes are moved when a buffer grows. It doubles, so that is but a few times for each byte.
#[test]
fn byte_by_byte_is_no_more_work() {
    const LEN: usize = 1 << 20;
    let mut splitter = Splitter::new(usize::MAX);
    let mut lines = Lines::new(usize::MAX);
    let mut capacities = [vec![0], vec![0]];
    let mut events = 0;
    for at in 0..LEN {
        let byte = if at < 5 { b"data:"[at] } else { b'x' };
        splitter.feed(&[byte], &mut |_| ()).unwrap();
        lines.feed(&[byte], &mut |_| ()).unwrap();
        for (seen, now) in capacities
            .iter_mut()
            .zip([&splitter.gathered.lines, &lines.line])
        {
            seen.push(now.capacity());
            seen.dedup();
        }
    }
    assert!(capacities.iter().all(|seen| seen.len() < 20));
    splitter
        .finish(&mut |block| {
            events += 1;
            assert_eq!(block.frame.unwrap().len(), LEN + 1);
        })
        .unwrap();
    lines.finish(&mut |_| events += 1).unwrap();
    assert_eq!(events, 2);
}

#[test]
fn large_buffers_are_not_kept() {
    let large = vec![b'x'; 2 * REUSED];
    let mut splitter = Splitter::new(usize::MAX);
    let mut lines = Lines::new(usize::MAX);
    for piece in [&b"data: "[..], &large, b"\n\n", b"event: ", &large, b"\n\n"] {
        splitter.feed(piece, &mut |_| ()).unwrap();
        lines.feed(piece, &mut |_| ()).unwrap();
    }
    assert_eq!(splitter.gathered.lines.capacity(), 0);
    assert_eq!(lines.line.capacity(), 0);
    splitter.feed(b"data: a\n\n", &mut |_| ()).unwrap();
    assert!(splitter.gathered.lines.capacity() > 0, "a small one is");
}

#[test]
fn each_line_that_is_not_empty_is_an_event() {
    let (blocks, end) = split_lines(100, [&b"{\"a\":1}\r\n\n\r\n \n{\"b\"\r:2}\nlast"[..]]);
    let frames: Vec<_> = blocks
        .iter()
        .map(|block| block.frame.as_ref().unwrap().as_bytes())
        .collect();
    assert_eq!(
        frames,
        [
            &b"data: {\"a\":1}\n"[..],
            b"data:  \n",
            b"data: {\"b\"\ndata: :2}\n",
            b"data: last\n"
        ]
    );
    assert_eq!(end, Ok(()));
}

/// Bytes that make line ends, fields, comments and byte order marks likely.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        5 => Just(&b"\n"[..]),
        4 => Just(&b"\r"[..]),
        3 => Just(&b"\r\n"[..]),
        4 => Just(&b"data:"[..]),
        2 => Just(&b"id:"[..]),
        1 => Just(&b"id"[..]),
        1 => Just(&b"event: "[..]),
        1 => Just(&b"event"[..]),
        1 => Just(&b"retry: 1"[..]),
        1 => Just(&b"retry"[..]),
        1 => Just(&b"data"[..]),
        1 => Just(&b"eventx"[..]),
        1 => Just(&b"a: x"[..]),
        2 => Just(&b":"[..]),
        1 => Just(&b" "[..]),
        1 => Just(&b"7"[..]),
        1 => Just(&b"\0"[..]),
        1 => Just(&b"\xEF\xBB\xBF"[..]),
        1 => Just(&b"\xEF"[..]),
        1 => Just(&b"\xBB"[..]),
        1 => Just("{\"text\":\"Grüße, 世界 🦀\"}".as_bytes()),
    ];
    prop::collection::vec(piece, 0..32).prop_map(|pieces| pieces.concat())
}

/// The stream in pieces.
fn chunks<'a>(stream: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    cuts.extend([0, stream.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|two| &stream[two[0]..two[1]]).collect()
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..8)
}

fn bound() -> impl Strategy<Value = usize> {
    prop_oneof![0..40_usize, Just(usize::MAX)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn blocks_are_what_the_standard_says(stream in stream(), cuts in cuts(), most in bound()) {
        let expected = expected(most, &stream);
        prop_assert_eq!(&split(most, [&stream[..]]), &expected);
        prop_assert_eq!(&split(most, chunks(&stream, &cuts)), &expected);
        prop_assert_eq!(&split(most, stream.chunks(1)), &expected);
    }

    #[test]
    fn frames_say_what_the_standard_says(stream in stream()) {
        let (blocks, _) = split(usize::MAX, [&stream[..]]);
        let frames = blocks.iter().filter_map(|block| block.frame.as_ref());
        let said = reference::blocks(&[&stream[..], b"\n\n"].concat());
        let said: Vec<_> = said.into_iter().filter(|said| said.data.is_some()).collect();
        prop_assert_eq!(frames.clone().count(), said.len());
        for (frame, said) in frames.zip(said) {
            let parts = frame.parts();
            prop_assert_eq!(Some(parts.data), said.data);
            prop_assert_eq!(parts.event.unwrap_or_default(), said.name);
            prop_assert_eq!(parts.retry, said.retry);
        }
    }

    #[test]
    fn between_is_where_no_field_has_come(stream in stream(), cuts in cuts()) {
        let mut splitter = Splitter::new(usize::MAX);
        let mut fed = 0;
        for chunk in chunks(&stream, &cuts) {
            splitter.feed(chunk, &mut |_| ()).unwrap();
            fed += chunk.len();
            prop_assert_eq!(splitter.is_between(), expected_between(&stream[..fed]));
        }
    }

    #[test]
    fn lines_are_what_they_look_like(stream in stream(), cuts in cuts(), most in bound()) {
        let expected = expected_lines(most, &stream);
        prop_assert_eq!(&split_lines(most, [&stream[..]]), &expected);
        prop_assert_eq!(&split_lines(most, chunks(&stream, &cuts)), &expected);
        prop_assert_eq!(&split_lines(most, stream.chunks(1)), &expected);
    }
}
