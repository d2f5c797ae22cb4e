//! Where an answer's body ends: the framings of HTTP/1.1, as a state machine over bytes.
//!
//! Invariant: the decoder consumes exactly the bytes that belong to its message and not one more, at
//! whatever places the bytes were cut by the network. What follows a message is never taken for
//! part of it, and what is not well-formed is an error, never a guess: a guess about framing is
//! how one answer's bytes end up in another (RFC 9112 §6.3, §11.2).

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

/// Longest line of a chunk's size with its extensions, in bytes.
const MAX_SIZE_LINE: u16 = 4096;
/// Largest trailer section, in bytes.
const MAX_TRAILERS: usize = 16 * 1024;
/// Most trailer fields.
const MAX_TRAILER_FIELDS: usize = 64;

/// How a message's body is delimited (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    Empty,
    /// So many bytes.
    Length(u64),
    /// The chunked transfer coding.
    Chunked,
    /// Until the connection closes.
    Close,
}

/// What in a chunked body was not as RFC 9112 §7.1 has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadFraming {
    /// No digits, too many, or another character where the size should stand.
    #[error("a chunk's size is not a hexadecimal number")]
    Size,
    /// The line of a chunk's size does not end in time.
    #[error("the line of a chunk's size is longer than {MAX_SIZE_LINE} bytes")]
    SizeLine,
    /// Something else stands where CR LF should.
    #[error("a chunk is not closed by CR LF")]
    LineEnd,
    /// The trailer section is too large or not made of fields.
    #[error("the trailer section is malformed or larger than {MAX_TRAILERS} bytes")]
    Trailers,
}

/// Takes a body's data out of the bytes of a connection.
#[derive(Debug)]
pub struct Decoder {
    state: State,
}

#[derive(Debug)]
enum State {
    Length(u64),
    Close,
    Chunk(Chunk),
    Trailers(Vec<u8>),
    Done(Option<Box<HeaderMap>>),
}

#[derive(Debug, Clone, Copy)]
enum Chunk {
    /// In the hexadecimal digits: value so far, number of digits.
    Size { value: u64, digits: u8 },
    /// In the spaces that some servers put behind the size, counted.
    Padding { value: u64, seen: u16 },
    /// In what may follow the size: extensions, counted.
    Extension { value: u64, seen: u16 },
    /// Behind the CR of the size's line.
    SizeLineFeed { value: u64 },
    /// In the data, so many bytes left.
    Data(u64),
    /// Behind the data.
    DataReturn,
    /// Behind the CR that follows the data.
    DataLineFeed,
}

/// What one run of the decoder took and gave.
#[derive(Debug)]
pub struct Decoded<'a> {
    /// Bytes of the input that belong to this message.
    pub consumed: usize,
    /// The data among them.
    pub data: Data<'a>,
}

impl Decoder {
    /// A decoder at the first byte of a body.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Empty | Framing::Length(0) => State::Done(None),
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunk(Chunk::Size {
                value: 0,
                digits: 0,
            }),
            Framing::Close => State::Close,
        };
        Self { state }
    }

    /// Whether the last byte of the message was consumed.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done(_))
    }

    /// Whether the end of the connection is this body's proper end.
    pub fn ends_by_close(&self) -> bool {
        matches!(self.state, State::Close)
    }

    /// Bytes still to come, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        match &self.state {
            State::Length(left) => Some(*left),
            State::Done(None) => Some(0),
            State::Done(Some(_)) | State::Close | State::Chunk(_) | State::Trailers(_) => None,
        }
    }

    /// The trailers, once: after the message is done.
    pub fn take_trailers(&mut self) -> Option<HeaderMap> {
        match &mut self.state {
            State::Done(trailers) => trailers.take().map(|boxed| *boxed),
            _ => None,
        }
    }

    /// Whether `input` is all that is still to come, and nothing else: the body's data as it is.
    pub fn ends_with(&mut self, input: &[u8]) -> bool {
        let ends = matches!(self.state, State::Length(left) if left == input.len() as u64);
        if ends {
            self.state = State::Done(None);
        }
        ends
    }

    /// Consumes what belongs to this message from the front of `input`.
    ///
    /// # Errors
    ///
    /// [`BadFraming`]: the connection is of no further use.
    pub fn decode<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<'a>, BadFraming> {
        match &mut self.state {
            State::Done(_) => Ok(Decoded {
                consumed: 0,
                data: Data::Nothing,
            }),
            State::Close => Ok(Decoded {
                consumed: input.len(),
                data: Data::One(input),
            }),
            State::Length(left) => {
                let taken = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(input.len());
                *left -= taken as u64;
                if *left == 0 {
                    self.state = State::Done(None);
                }
                Ok(Decoded {
                    consumed: taken,
                    data: Data::One(&input[..taken]),
                })
            }
            State::Chunk(_) | State::Trailers(_) => self.decode_chunked(input),
        }
    }

    fn decode_chunked<'a>(&mut self, input: &'a [u8]) -> Result<Decoded<'a>, BadFraming> {
        if let State::Chunk(Chunk::Size { digits: 0, .. }) = self.state
            && let Some(run) = one_chunk(input)
        {
            return Ok(Decoded {
                consumed: input.len(),
                data: Data::One(run),
            });
        }
        let mut data = Data::Nothing;
        let mut at = 0;
        while at < input.len() {
            let rest = &input[at..];
            at += match &mut self.state {
                State::Chunk(Chunk::Data(left)) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    data.add(&rest[..taken], rest.len());
                    *left -= taken as u64;
                    if *left == 0 {
                        self.state = State::Chunk(Chunk::DataReturn);
                    }
                    taken
                }
                State::Chunk(chunk) => {
                    let (taken, next) = frame(*chunk, rest)?;
                    self.state = next;
                    taken
                }
                State::Trailers(seen) => {
                    let (taken, end) = trailers(seen, rest)?;
                    if let Some(fields) = end {
                        self.state = State::Done(fields);
                    }
                    taken
                }
                State::Done(_) | State::Length(_) | State::Close => break,
            };
        }
        Ok(Decoded { consumed: at, data })
    }
}

/// The data of `input` if that is one whole chunk and nothing else, as most reads of a stream are.
fn one_chunk(input: &[u8]) -> Option<&[u8]> {
    let mut size = 0;
    let mut rest = input;
    // Eight digits are more than a read can bring.
    for _ in 0..8 {
        let (&byte, behind) = rest.split_first()?;
        let Some(digit) = char::from(byte).to_digit(16) else {
            break;
        };
        size = size << 4 | digit as usize;
        rest = behind;
    }
    let (data, end) = rest.strip_prefix(b"\r\n")?.split_at_checked(size)?;
    // A chunk without data would be the last one, and no digits are no size: both leave `size` at 0.
    (end == b"\r\n" && size > 0).then_some(data)
}

/// The data of one read. Nearly always it is one run, which is not copied where it is.
#[derive(Debug)]
pub enum Data<'a> {
    /// None.
    Nothing,
    /// One run, in the input.
    One(&'a [u8]),
    /// Several, put together.
    Several(BytesMut),
}

impl<'a> Data<'a> {
    fn add(&mut self, run: &'a [u8], room: usize) {
        match self {
            Self::Nothing => *self = Self::One(run),
            Self::One(first) => {
                let mut all = BytesMut::with_capacity(first.len() + room);
                all.extend_from_slice(first);
                all.extend_from_slice(run);
                *self = Self::Several(all);
            }
            Self::Several(all) => all.extend_from_slice(run),
        }
    }

    /// The bytes; none if there was no data.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Nothing => &[],
            Self::One(run) => run,
            Self::Several(all) => all,
        }
    }

    /// The bytes to keep: copied once, into an allocation of exactly their size.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Nothing => Bytes::new(),
            Self::One(run) => Bytes::copy_from_slice(run),
            Self::Several(all) => all.freeze(),
        }
    }
}

/// The bytes of a chunk's frame up to its data, its end or the trailers (RFC 9112 §7.1): how many
/// there are in `input`, and what follows them.
fn frame(mut chunk: Chunk, input: &[u8]) -> Result<(usize, State), BadFraming> {
    for (index, &byte) in input.iter().enumerate() {
        chunk = match chunk {
            Chunk::Size { value, digits } => size(value, digits, byte)?,
            Chunk::Padding { value, seen } => match byte {
                b'\r' => Chunk::SizeLineFeed { value },
                b';' => Chunk::Extension { value, seen },
                b' ' | b'\t' if seen < MAX_SIZE_LINE => Chunk::Padding {
                    value,
                    seen: seen + 1,
                },
                _ => return Err(BadFraming::Size),
            },
            Chunk::Extension { value, seen } => match byte {
                b'\r' => Chunk::SizeLineFeed { value },
                b'\n' => return Err(BadFraming::LineEnd),
                _ if seen == MAX_SIZE_LINE => return Err(BadFraming::SizeLine),
                _ => Chunk::Extension {
                    value,
                    seen: seen + 1,
                },
            },
            Chunk::SizeLineFeed { value } => match (byte, value) {
                (b'\n', 0) => return Ok((index + 1, State::Trailers(Vec::new()))),
                (b'\n', _) => return Ok((index + 1, State::Chunk(Chunk::Data(value)))),
                _ => return Err(BadFraming::LineEnd),
            },
            Chunk::DataReturn if byte == b'\r' => Chunk::DataLineFeed,
            Chunk::DataLineFeed if byte == b'\n' => Chunk::Size {
                value: 0,
                digits: 0,
            },
            Chunk::DataReturn | Chunk::DataLineFeed => return Err(BadFraming::LineEnd),
            // Data is taken in runs by the caller.
            Chunk::Data(_) => return Ok((index, State::Chunk(chunk))),
        };
    }
    Ok((input.len(), State::Chunk(chunk)))
}

/// One byte where a size stands or ends.
fn size(value: u64, digits: u8, byte: u8) -> Result<Chunk, BadFraming> {
    match (char::from(byte).to_digit(16), byte) {
        // Sixteen digits fill 64 bits.
        (Some(_), _) if digits == 16 => Err(BadFraming::Size),
        (Some(digit), _) => Ok(Chunk::Size {
            value: (value << 4) | u64::from(digit),
            digits: digits + 1,
        }),
        (None, _) if digits == 0 => Err(BadFraming::Size),
        (None, b'\r') => Ok(Chunk::SizeLineFeed { value }),
        (None, b' ' | b'\t') => Ok(Chunk::Padding { value, seen: 1 }),
        (None, b';') => Ok(Chunk::Extension { value, seen: 1 }),
        (None, _) => Err(BadFraming::Size),
    }
}

/// What of `input` belongs to the trailer section and, at its end, the fields.
type TrailerStep = (usize, Option<Option<Box<HeaderMap>>>);

fn trailers(seen: &mut Vec<u8>, input: &[u8]) -> Result<TrailerStep, BadFraming> {
    for (index, &byte) in input.iter().enumerate() {
        if seen.len() == MAX_TRAILERS {
            return Err(BadFraming::Trailers);
        }
        seen.push(byte);
        if seen.as_slice() == b"\r\n" {
            return Ok((index + 1, Some(None)));
        }
        if seen.ends_with(b"\r\n\r\n") {
            return Ok((index + 1, Some(Some(Box::new(fields(seen)?)))));
        }
        // A bare LF would let two parsers see two different ends.
        if byte == b'\n' && !seen.ends_with(b"\r\n") {
            return Err(BadFraming::LineEnd);
        }
    }
    Ok((input.len(), None))
}

fn fields(section: &[u8]) -> Result<HeaderMap, BadFraming> {
    let mut parsed = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
    let httparse::Status::Complete((_, parsed)) =
        httparse::parse_headers(section, &mut parsed).map_err(|_| BadFraming::Trailers)?
    else {
        return Err(BadFraming::Trailers);
    };
    let mut map = HeaderMap::with_capacity(parsed.len());
    for field in parsed {
        let name = http::HeaderName::from_bytes(field.name.as_bytes());
        let value = http::HeaderValue::from_bytes(field.value);
        map.append(
            name.map_err(|_| BadFraming::Trailers)?,
            value.map_err(|_| BadFraming::Trailers)?,
        );
    }
    Ok(map)
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
