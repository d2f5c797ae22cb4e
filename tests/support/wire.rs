//! HTTP/1 as bytes: heads and bodies read strictly, and written as a test wants them.
//!
//! Nothing here is the gateway's: a fault in its codec must not be shared by what checks it.

use bytes::{Buf, Bytes, BytesMut};

/// The first line and the fields of a request or an answer, as they stood on the wire.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// The first line, without its line end.
    pub first: String,
    /// Names as written and values, in order.
    pub fields: Vec<(String, String)>,
}

impl Head {
    /// Takes a whole head out of `buffer`, or nothing when it is not all there.
    pub fn take(buffer: &mut BytesMut) -> Option<Self> {
        let end = find(buffer, b"\r\n\r\n")? + 4;
        let bytes = buffer.split_to(end);
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let fields = lines
            .filter(|line| !line.is_empty())
            .map(|line| {
                let (name, value) = line.split_once(':').expect("a field line with a colon");
                (name.to_owned(), value.trim().to_owned())
            })
            .collect();
        Some(Self { first, fields })
    }

    /// The status of an answer.
    pub fn status(&self) -> u16 {
        self.word(1).parse().expect("a status")
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.word(0)
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        self.word(1)
    }

    /// Every value of `name`, whatever its case.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The only value of `name`; none when it is absent. Fails when it stands there twice.
    #[track_caller]
    pub fn get(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} stands more than once in {self:?}");
        all.first().copied()
    }

    /// Whether `name` holds `token` in its comma-separated list.
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .iter()
            .flat_map(|value| value.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(token))
    }

    fn word(&self, index: usize) -> &str {
        self.first
            .split(' ')
            .nth(index)
            .expect("a word of the first line")
    }

    fn framing(&self) -> Option<Body> {
        if self.lists("transfer-encoding", "chunked") {
            assert!(
                self.get("content-length").is_none(),
                "two framings in {self:?}"
            );
            return Some(Body::Chunked(Chunk::Size));
        }
        let length = self.get("content-length")?;
        Some(Body::Length(length.parse().expect("a length")))
    }

    /// How the body of this request is framed.
    pub fn request_body(&self) -> Body {
        self.framing().unwrap_or(Body::Length(0))
    }

    /// How the body of this answer to a `method` is framed.
    pub fn answer_body(&self, method: &str) -> Body {
        let status = self.status();
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Body::Length(0);
        }
        self.framing().unwrap_or(Body::UntilClose)
    }
}

/// Where a body stands in its framing.
#[derive(Debug, Clone)]
pub enum Body {
    /// This many bytes are to come.
    Length(u64),
    /// Chunks.
    Chunked(Chunk),
    /// Everything until the connection closes.
    UntilClose,
    /// It has ended, with these trailers.
    Over(Vec<(String, String)>),
}

/// Where a chunked body stands.
#[derive(Debug, Clone)]
pub enum Chunk {
    /// A size line is next.
    Size,
    /// This many bytes of a chunk's data are to come.
    Data(u64),
    /// The line end after the data is next.
    End,
    /// The last chunk was seen; trailers and the empty line are next.
    Trailers,
}

impl Body {
    /// Takes what `buffer` holds of the body's data. Fails on framing that is not exactly right.
    pub fn take(&mut self, buffer: &mut BytesMut) -> Bytes {
        let mut data = BytesMut::new();
        while self.step(buffer, &mut data) {}
        data.freeze()
    }

    /// Whether the framing has said that this is the end.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Over(_))
    }

    fn step(&mut self, buffer: &mut BytesMut, data: &mut BytesMut) -> bool {
        match self {
            Self::Over(_) => false,
            Self::UntilClose => {
                data.extend_from_slice(&buffer.split());
                false
            }
            Self::Length(0) => {
                *self = Self::Over(Vec::new());
                false
            }
            Self::Length(left) => {
                *left -= move_up_to(*left, buffer, data);
                *left == 0
            }
            Self::Chunked(state) => match state.step(buffer, data) {
                Step::More => true,
                Step::Starved => false,
                Step::Over(trailers) => {
                    *self = Self::Over(trailers);
                    false
                }
            },
        }
    }
}

enum Step {
    More,
    Starved,
    Over(Vec<(String, String)>),
}

impl Chunk {
    fn step(&mut self, buffer: &mut BytesMut, data: &mut BytesMut) -> Step {
        match self {
            Self::Size => {
                let Some(end) = find(buffer, b"\r\n") else {
                    return Step::Starved;
                };
                let line = buffer.split_to(end);
                buffer.advance(2);
                let digits = std::str::from_utf8(&line).expect("a size line in ASCII");
                let digits = digits.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(digits, 16)
                    .unwrap_or_else(|_| panic!("a chunk's size, not {digits:?}"));
                *self = if size == 0 {
                    Self::Trailers
                } else {
                    Self::Data(size)
                };
            }
            Self::Data(0) => *self = Self::End,
            Self::Data(left) => {
                if buffer.is_empty() {
                    return Step::Starved;
                }
                *left -= move_up_to(*left, buffer, data);
            }
            Self::End => {
                if buffer.len() < 2 {
                    return Step::Starved;
                }
                assert_eq!(&buffer.split_to(2)[..], b"\r\n", "the end of a chunk");
                *self = Self::Size;
            }
            Self::Trailers => {
                if buffer.starts_with(b"\r\n") {
                    buffer.advance(2);
                    return Step::Over(Vec::new());
                }
                let Some(end) = find(buffer, b"\r\n\r\n") else {
                    return Step::Starved;
                };
                let mut block = BytesMut::from(&b"\r\n"[..]);
                block.extend_from_slice(&buffer.split_to(end + 4));
                let trailers = Head::take(&mut block).expect("a whole trailer block");
                return Step::Over(trailers.fields);
            }
        }
        Step::More
    }
}

fn move_up_to(most: u64, from: &mut BytesMut, to: &mut BytesMut) -> u64 {
    let count = from.len().min(usize::try_from(most).unwrap_or(usize::MAX));
    to.extend_from_slice(&from.split_to(count));
    count as u64
}

/// Where `needle` begins in `haystack`.
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

/// The last chunk, without trailers.
pub const LAST: &[u8] = b"0\r\n\r\n";

/// One chunk.
pub fn chunk(data: impl AsRef<[u8]>) -> Vec<u8> {
    let data = data.as_ref();
    let mut out = format!("{:x}\r\n", data.len()).into_bytes();
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
    out
}

/// Several chunks, one for each part, without the last one.
pub fn chunks<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> Vec<u8> {
    parts.into_iter().flat_map(chunk).collect()
}

/// A head: the first line, these field lines (each `Name: value`), the empty line.
pub fn head(first: &str, fields: &[&str]) -> Vec<u8> {
    let mut out = format!("{first}\r\n");
    for field in fields {
        out.push_str(field);
        out.push_str("\r\n");
    }
    out.push_str("\r\n");
    out.into_bytes()
}

/// The head of an event stream, chunked.
pub fn event_stream() -> Vec<u8> {
    head(
        "HTTP/1.1 200 OK",
        &[
            "Content-Type: text/event-stream",
            "Transfer-Encoding: chunked",
        ],
    )
}

/// How a whole answer is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`.
    Length,
    /// `Transfer-Encoding: chunked`, in one chunk.
    Chunked,
    /// By closing the connection, HTTP/1.1.
    Close,
    /// By closing the connection, HTTP/1.0.
    Http10,
}

/// A whole answer. With [`Framing::Close`] and [`Framing::Http10`] the sender must close.
pub fn answer(
    framing: Framing,
    status: u16,
    content_type: &str,
    body: impl AsRef<[u8]>,
) -> Vec<u8> {
    let body = body.as_ref();
    let content_type = format!("Content-Type: {content_type}");
    let length = format!("Content-Length: {}", body.len());
    let version = if framing == Framing::Http10 {
        "HTTP/1.0"
    } else {
        "HTTP/1.1"
    };
    let framed = match framing {
        Framing::Length => length.as_str(),
        Framing::Chunked => "Transfer-Encoding: chunked",
        Framing::Close | Framing::Http10 => "Connection: close",
    };
    let mut out = head(
        &format!("{version} {status} Said"),
        &[&content_type, framed],
    );
    if framing == Framing::Chunked {
        if !body.is_empty() {
            out.extend_from_slice(&chunk(body));
        }
        out.extend_from_slice(LAST);
    } else {
        out.extend_from_slice(body);
    }
    out
}

/// A JSON answer with a length.
pub fn json(status: u16, body: &str) -> Vec<u8> {
    answer(Framing::Length, status, "application/json", body)
}
