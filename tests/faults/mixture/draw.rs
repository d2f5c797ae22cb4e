//! What is drawn for each request: how each backend fails it, and the text that it is to get.
//!
//! Everything here follows from the seed and the request's number, so that a backend that is asked again says the
//! same again, and a failing run can be played once more.

use std::time::Duration;

/// Events with text in an answer.
pub const TOKENS: usize = 20;
/// Backends on each route.
pub const BACKENDS: usize = 3;
/// Requests from one time that a backend is down to the next one's.
const DOWN_EVERY: usize = 600;
/// Requests that such a time lasts for.
const DOWN_FOR: usize = 120;

/// What a backend does to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing bad.
    Well,
    /// 429, with this field where it says how long to wait.
    RateLimited(Option<&'static str>),
    /// 500.
    Failed,
    /// 503.
    Overloaded,
    /// Resets the connection before any byte.
    Reset,
    /// Takes the request and never answers.
    Silent,
    /// Sends its head and never an event.
    HeadOnly,
    /// Ends the connection after so many tokens.
    Cut(usize, How),
    /// Says nothing more after so many tokens.
    Stall(usize),
    /// Sends an event of invalid JSON before this token.
    Garbage(usize),
    /// Reports an error in its stream after so many tokens.
    Reports(usize),
    /// Ends well without `[DONE]`.
    NoDone,
    /// Says everything, and keeps the answer open.
    Lingers,
    /// 400: the request is longer than its context.
    ContextLength,
    /// 400: the request was held back.
    ContentFilter,
}

/// How a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Closed between two events.
    Closed,
    /// Closed within an event.
    Within,
    /// Reset between two events.
    Reset,
    /// The answer ends as framed, without its finish.
    Framed,
    /// The answer ends as framed, within an event.
    Half,
}

/// What one backend does to one request.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// The first time that it is asked.
    fault: Fault,
    /// And every further time.
    always: bool,
    /// Whether it refuses to go on from a given beginning.
    pub refuses_beginnings: bool,
    /// Whether its text is another one from some token on.
    pub differs: bool,
    /// Whether its answers end with the connection.
    pub unframed: bool,
}

impl Part {
    /// What it does the `asked`th time, from 0.
    pub fn fault(&self, asked: usize) -> Fault {
        match asked > 0 && !self.always {
            true => Fault::Well,
            false => self.fault,
        }
    }

    fn may(&self, fault: Fault) -> bool {
        self.fault == fault
    }
}

/// The routes of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Three entries, with a hedge.
    Hedged,
    /// The last of the three entries is for what is too long for the others.
    Larger,
    /// The caller's head is sent early.
    Early,
    /// The answer is kept, for as long as somebody reads it.
    Kept,
    /// One entry, of which the three are the endpoints.
    Group,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its number.
    pub id: usize,
    /// The route it takes.
    pub route: Route,
    /// Each backend's part.
    pub parts: [Part; BACKENDS],
    /// From which token on a backend that differs does so.
    fork: usize,
    /// When its caller leaves, if it does.
    pub leaves: Option<Duration>,
    /// How long a backend waits between two writes.
    pub pause: Duration,
}

impl Case {
    /// The request of this number.
    pub fn draw(seed: u64, id: usize) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed ^ (id as u64).wrapping_mul(0x9E37_79B9));
        let route = match chance.u8(..7) {
            0 => Route::Larger,
            1 => Route::Early,
            2 => Route::Kept,
            3 => Route::Group,
            _ => Route::Hedged,
        };
        let parts = std::array::from_fn(|backend| match is_down(id, backend) {
            true => Part {
                fault: *chance.choice(&[Fault::Overloaded, Fault::Reset]).unwrap(),
                always: true,
                refuses_beginnings: false,
                differs: false,
                unframed: false,
            },
            false => Part {
                fault: fault(&mut chance),
                always: chance.u8(..3) == 0,
                refuses_beginnings: chance.u8(..4) == 0,
                differs: chance.u8(..100) < 3,
                unframed: chance.u8(..6) == 0,
            },
        });
        let leaves = (chance.u8(..100) < 4).then(|| Duration::from_millis(chance.u64(..120)));
        Self {
            id,
            route,
            parts,
            fork: chance.usize(1..TOKENS),
            leaves,
            pause: Duration::from_millis(chance.u64(..4)),
        }
    }

    /// One token of the text of a backend that differs or does not.
    fn token(&self, differs: bool, index: usize) -> String {
        let word = match differs && index >= self.fork {
            true => "other",
            false => ["so", "é", "漢", "x"][index % 4],
        };
        // Most tokens begin with their blank, and some end with one.
        match (self.id + index) % 3 {
            0 => format!("{word}{}.{index} ", self.id),
            _ => format!(" {word}{}.{index}", self.id),
        }
    }

    /// The tokens of such a backend.
    pub fn tokens(&self, differs: bool) -> Vec<String> {
        (0..TOKENS)
            .map(|index| self.token(differs, index))
            .collect()
    }

    /// Every text that is a right one: each backend's own.
    pub fn texts(&self) -> Vec<String> {
        let mut texts = vec![self.tokens(false).concat()];
        if self.parts.iter().any(|part| part.differs) {
            texts.push(self.tokens(true).concat());
        }
        texts
    }

    /// Whether an answer may lack its `[DONE]`.
    pub fn may_lack_done(&self) -> bool {
        self.parts.iter().any(|part| part.may(Fault::NoDone))
    }

    /// Whether a backend may have called the request itself a bad one.
    pub fn may_be_refused(&self) -> bool {
        let refuses =
            |part: &Part| part.may(Fault::ContextLength) || part.may(Fault::ContentFilter);
        self.parts.iter().any(refuses)
    }

    /// Whether an event of invalid JSON may come.
    pub fn may_be_garbled(&self) -> bool {
        let garbles = |part: &Part| matches!(part.fault, Fault::Garbage(_));
        self.parts.iter().any(garbles)
    }
}

/// Whether a backend is wholly down when this request comes: one after the other, with time between.
fn is_down(id: usize, backend: usize) -> bool {
    let down = (id / DOWN_EVERY) % BACKENDS == backend;
    down && id % DOWN_EVERY < DOWN_FOR
}

fn fault(chance: &mut fastrand::Rng) -> Fault {
    let at = chance.usize(1..TOKENS);
    match chance.u16(..100) {
        0..46 => Fault::Well,
        46..50 => Fault::RateLimited(None),
        50..53 => Fault::RateLimited(Some("retry-after-ms: 20")),
        53 => Fault::RateLimited(Some("Retry-After: 0")),
        54 if at == 1 => Fault::RateLimited(Some("Retry-After: 1")),
        54..59 => Fault::Failed,
        59..62 => Fault::Overloaded,
        62..67 => Fault::Reset,
        67..69 => Fault::Silent,
        69..71 => Fault::HeadOnly,
        71..76 => Fault::Cut(at, How::Closed),
        76..79 => Fault::Cut(at, How::Within),
        79..81 => Fault::Cut(at, How::Reset),
        81 => Fault::Cut(at, How::Framed),
        82 => Fault::Cut(at, How::Half),
        83..86 => Fault::Stall(at),
        86 => Fault::Lingers,
        87..91 => Fault::Garbage(at),
        91..94 => Fault::Reports(at - 1),
        94..97 => Fault::NoDone,
        97..99 => Fault::ContextLength,
        _ => Fault::ContentFilter,
    }
}
