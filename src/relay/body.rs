//! What the HTTP server sends as the body of an answer.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::context::Context as RequestContext;
use super::direct::{Aborted, Direct};
use super::record::Record;
use super::source::Source;
use super::told::Told;
use super::watch::Watch;
use crate::config::ResolvedClocks;
use crate::delivery::{Pump, SilenceClock};
use crate::dialect::{BodyKind, Watcher};

/// The body of an answer to a client.
#[derive(Debug, Default)]
pub struct Body(Kind);

#[derive(Debug, Default)]
enum Kind {
    #[default]
    Empty,
    /// Bytes that are there, with the record that is closed when they are sent.
    Whole(Bytes, Option<Box<Record>>),
    /// An upstream's body. Not in place: the server keeps room for a body in every connection, also in those
    /// that rest. Shared: see [`Pump`].
    Direct(Arc<Relayed>),
    /// A subscription. Boxed for the same reason.
    Watch(Box<Watch>),
}

impl Body {
    /// Bytes that are there already.
    pub fn whole(bytes: Bytes, record: Box<Record>) -> Self {
        Self(Kind::Whole(bytes, Some(record)))
    }

    /// A subscription's events.
    pub(super) fn watched(watch: Watch) -> Self {
        Self(Kind::Watch(Box::new(watch)))
    }

    /// An upstream's body, with its watcher and its clocks.
    pub(super) fn relayed(
        context: &RequestContext,
        clocks: &ResolvedClocks,
        source: Source,
        kind: BodyKind,
        record: Box<Record>,
    ) -> Self {
        let heartbeat = context
            .route
            .config
            .heartbeat
            .filter(|_| kind == BodyKind::Sse);
        let timed = matches!(&source, Source::Answer(incoming) if incoming.keeps_time());
        let mut clock = SilenceClock::new(heartbeat, clocks.idle.filter(|_| !timed));
        if let Some(limit) = clocks.first_event.filter(|_| kind != BodyKind::Opaque) {
            clock.limit_first_event(record.attempted(), limit);
        }
        if let Some(limit) = clocks.total {
            clock.limit_total(record.started(), limit);
        }
        let watcher = Watcher::new(context.dialect, kind);
        let wanted = context.route.config.usage;
        let told = Told::of(wanted, context.dialect, kind, context.takes_trailers);
        let socket = record.socket().clone();
        let direct = Direct::new(source, watcher, clock, record).telling(told);
        let direct = Arc::new(Relayed(Mutex::new(direct)));
        if kind != BodyKind::Opaque {
            let pump: Weak<dyn Pump> = Arc::<Relayed>::downgrade(&direct);
            socket.set_pump(pump);
        }
        Self(Kind::Direct(direct))
    }
}

/// An upstream's body, which belongs to the server, but is asked by the connection's task as well: one thread, and never
/// both at once.
#[derive(Debug)]
struct Relayed(Mutex<Direct>);

impl Relayed {
    fn lock(&self) -> MutexGuard<'_, Direct> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pump for Relayed {
    fn pump(&self, cx: &mut Context<'_>) -> bool {
        self.lock().poll_past(cx)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Whole(bytes, _) if bytes.is_empty() => Poll::Ready(None),
            Kind::Whole(bytes, record) => {
                let bytes = std::mem::take(bytes);
                if let Some(record) = record {
                    record.add_bytes(bytes.len());
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Direct(direct) => direct.lock().poll_frame(cx),
            Kind::Watch(watch) => watch.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Whole(bytes, _) => bytes.is_empty(),
            Kind::Direct(direct) => direct.lock().is_over(),
            Kind::Watch(watch) => watch.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Whole(bytes, _) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Direct(direct) => direct.lock().size_hint(),
            Kind::Watch(_) => SizeHint::default(),
        }
    }
}
