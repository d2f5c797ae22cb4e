//! The decoder against whole bodies, every split of them, and arbitrary bytes.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// Feeds `pieces` one after another; gives the data, the bytes consumed and the decoder.
fn run(framing: Framing, pieces: &[&[u8]]) -> Result<(Vec<u8>, usize, Decoder), BadFraming> {
    let mut decoder = Decoder::new(framing);
    let (mut data, mut consumed) = (Vec::new(), 0);
    for piece in pieces {
        let step = decoder.decode(piece)?;
        data.extend_from_slice(step.data.as_slice());
        consumed += step.consumed;
        if step.consumed < piece.len() {
            break;
        }
    }
    Ok((data, consumed, decoder))
}

#[test]
fn a_chunked_body_is_the_same_at_every_split() {
    let body = b"5\r\nhello\r\n1;name=\"v\"\r\n \r\n000A\r\n0123456789\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\nHTTP/1.1";
    let end = body.len() - b"HTTP/1.1".len();
    for split in 0..body.len() {
        let (data, consumed, mut decoder) =
            run(Framing::Chunked, &[&body[..split], &body[split..]]).unwrap();
        assert_eq!(data, b"hello 0123456789", "split at {split}");
        assert_eq!(consumed, end, "split at {split}");
        assert!(decoder.is_done());
        let trailers = decoder.take_trailers().unwrap();
        assert_eq!(trailers.get_all("x-sum").iter().count(), 2);
        assert!(decoder.take_trailers().is_none());
    }
}

#[test]
fn lengths_end_exactly_and_leave_the_rest() {
    let (data, consumed, decoder) = run(Framing::Length(3), &[b"ab", b"cd"]).unwrap();
    assert_eq!(
        (data.as_slice(), consumed, decoder.is_done()),
        (&b"abc"[..], 3, true)
    );
    assert_eq!(decoder.remaining(), Some(0));
    let (_, consumed, decoder) = run(Framing::Empty, &[b"x"]).unwrap();
    assert_eq!((consumed, decoder.is_done()), (0, true));
}

#[test]
fn a_body_by_close_is_never_done_by_itself() {
    let (data, _, decoder) = run(Framing::Close, &[b"a", b"b"]).unwrap();
    assert_eq!(data, b"ab");
    assert!(!decoder.is_done() && decoder.ends_by_close());
}

#[test]
fn malformed_chunks_are_errors() {
    let cases: [(&[u8], BadFraming); 10] = [
        (b"\r\n", BadFraming::Size),
        (b"g\r\n", BadFraming::Size),
        (b"-1\r\n", BadFraming::Size),
        (b"0x5\r\n", BadFraming::Size),
        (b"11111111111111111\r\n", BadFraming::Size),
        (b"5\nhello", BadFraming::Size),
        (b"5\r\nhellox", BadFraming::LineEnd),
        (b"5;a\nhello", BadFraming::LineEnd),
        (b"0\r\nA: b\n\r\n", BadFraming::LineEnd),
        (b"0\r\n: b\r\n\r\n", BadFraming::Trailers),
    ];
    for (body, expected) in cases {
        let found = run(Framing::Chunked, &[body]).err();
        assert_eq!(found, Some(expected), "{}", body.escape_ascii());
    }
}

#[test]
fn endless_lines_and_trailers_are_bounded() {
    let mut line = b"5;".to_vec();
    line.resize(usize::from(MAX_SIZE_LINE) + 10, b'x');
    assert_eq!(
        run(Framing::Chunked, &[&line]).err(),
        Some(BadFraming::SizeLine)
    );
    let mut section = b"0\r\nA: ".to_vec();
    section.resize(MAX_TRAILERS + 10, b'x');
    assert_eq!(
        run(Framing::Chunked, &[&section]).err(),
        Some(BadFraming::Trailers)
    );
}

fn encode(chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
        body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    body
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded_however_it_is_cut(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let body = encode(&chunks);
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        places.extend([0, body.len()]);
        places.sort_unstable();
        let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect();
        let (data, consumed, decoder) = run(Framing::Chunked, &pieces).unwrap();
        prop_assert_eq!(data, chunks.concat());
        prop_assert_eq!(consumed, body.len());
        prop_assert!(decoder.is_done());
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_never_give_more_than_came(
        body in prop::collection::vec(any::<u8>(), 0..400),
        cut in any::<prop::sample::Index>(),
    ) {
        let cut = cut.index(body.len() + 1);
        let whole = run(Framing::Chunked, &[&body]);
        let parts = run(Framing::Chunked, &[&body[..cut], &body[cut..]]);
        match (whole, parts) {
            (Ok((a, used_a, _)), Ok((b, used_b, _))) => {
                prop_assert!(a.len() <= body.len());
                prop_assert_eq!((a, used_a), (b, used_b));
            }
            (Err(a), Err(b)) => prop_assert_eq!(a, b),
            (a, b) => prop_assert!(false, "{:?} and {:?}", a.map(|x| x.0), b.map(|x| x.0)),
        }
    }
}

/// Every recorded answer, chunked as a server may chunk it, at every place where the network may cut
/// it in two (in long ones: at every place near both ends, and at some between).
#[test]
fn recorded_answers_come_out_byte_for_byte_at_every_split() {
    let recordings = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings");
    let mut tried = 0;
    for provider in std::fs::read_dir(recordings).unwrap() {
        let Ok(folders) = std::fs::read_dir(provider.unwrap().path()) else {
            continue;
        };
        for file in folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap()) {
            let path = file.unwrap().path();
            if path.file_stem().is_some_and(|stem| stem == "response") {
                comes_out_at_every_split(&std::fs::read(&path).unwrap(), &path);
                tried += 1;
            }
        }
    }
    assert!(tried >= 300, "only {tried} recordings were found");
}

fn comes_out_at_every_split(answer: &[u8], path: &std::path::Path) {
    const NEAR: usize = 300;
    let chunks: Vec<Vec<u8>> = answer.chunks(97).map(<[u8]>::to_vec).collect();
    let body = encode(&chunks);
    let between = (NEAR..body.len().saturating_sub(NEAR)).step_by(body.len() / 40 + 1);
    let near = (0..body.len().min(NEAR)).chain(body.len().saturating_sub(NEAR)..body.len());
    for split in near.chain(between) {
        let (data, consumed, decoder) =
            run(Framing::Chunked, &[&body[..split], &body[split..]]).unwrap();
        assert!(data == answer, "{} at {split}", path.display());
        assert!(consumed == body.len() && decoder.is_done());
    }
}
