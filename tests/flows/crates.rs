//! Clients that others wrote, from crates.io: they must find nothing odd.

use std::pin::Pin;
use std::time::Duration;

use async_openai::config::OpenAIConfig;
use async_openai::types::chat::ChatCompletionRequestUserMessageArgs;
use async_openai::types::chat::{CreateChatCompletionRequest, CreateChatCompletionRequestArgs};
use eventsource_client::{Client as _, ClientBuilder, ReconnectOptions, SSE};
use futures_util::{StreamExt, TryStreamExt, stream};
use launchdarkly_sdk_transport::{ByteStream, HttpTransport, ResponseFuture, TransportError};

use crate::support::api::{CHAT, PLAIN};
use crate::support::recording;
use crate::support::wire::{self, LAST};
use crate::support::{Backend, Gateway, gateway, within};

fn openai(gateway: &Gateway) -> async_openai::Client<OpenAIConfig> {
    let config = OpenAIConfig::new()
        .with_api_base(format!("http://{}/v1", gateway.address))
        .with_api_key("sk-caller");
    async_openai::Client::build(
        reqwest::Client::builder().no_proxy().build().unwrap(),
        config,
    )
}

fn request() -> CreateChatCompletionRequest {
    let message = ChatCompletionRequestUserMessageArgs::default()
        .content("Hi")
        .build()
        .unwrap();
    CreateChatCompletionRequestArgs::default()
        .model("gpt-4o")
        .messages([message.into()])
        .build()
        .unwrap()
}

/// Answers one request with an event stream of these pieces, and the last chunk if `whole`.
async fn streaming(pieces: Vec<Vec<u8>>, whole: bool) -> Backend {
    Backend::playing(move |mut peer| {
        let pieces = pieces.clone();
        async move {
            while peer.request().await.is_some() {
                peer.send(wire::event_stream()).await;
                for piece in &pieces {
                    peer.chunk(piece).await;
                }
                if !whole {
                    return;
                }
                peer.send(LAST).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn async_openai_reads_a_recorded_stream_to_its_end() {
    let recording = recording::all()
        .into_iter()
        .find(|recording| recording.name.starts_with("openai/chat-text"))
        .expect("a chat of OpenAI's");
    let pieces = recording.body.chunks(37).map(<[u8]>::to_vec).collect();
    let backend = streaming(pieces, true).await;
    let gateway = gateway(&backend, "").await;
    let client = openai(&gateway);
    let stream = within("a stream", client.chat().create_stream(request()))
        .await
        .unwrap();
    let chunks: Vec<_> = within("its end", stream.try_collect()).await.unwrap();
    let text: String = chunks
        .iter()
        .flat_map(|chunk| &chunk.choices)
        .filter_map(|choice| choice.delta.content.as_deref())
        .collect();
    assert!(!text.is_empty());
    assert_eq!(
        chunks.len() as u64 + 1,
        recording.meta["events"].as_u64().unwrap()
    );
}

#[tokio::test]
async fn async_openai_raises_when_a_stream_was_cut() {
    let pieces = CHAT
        .events
        .iter()
        .map(|event| event.as_bytes().to_vec())
        .collect();
    let backend = streaming(pieces, false).await;
    let gateway = gateway(&backend, "").await;
    let client = openai(&gateway);
    let stream = within("a stream", client.chat().create_stream(request()))
        .await
        .unwrap();
    let results: Vec<_> = within("its end", stream.collect()).await;
    assert!(results.iter().any(Result::is_err), "{results:?}");
}

#[tokio::test]
async fn async_openai_reads_an_error_of_the_gateways_own() {
    let refusing = crate::support::backend::Refusing::new();
    let source = crate::support::toml(&format!("http://{}", refusing.address), "");
    let gateway = Gateway::start(&source).await;
    // A 5xx is tried again by the client for minutes; a refusal of ours is read once.
    let error = within(
        "a refusal",
        openai(&gateway).chat().create_stream(request()),
    )
    .await;
    let error = match error {
        Ok(stream) => within("its end", stream.try_collect::<Vec<_>>())
            .await
            .err(),
        Err(error) => Some(error),
    };
    assert!(error.is_some());
}

/// `reqwest` as the transport of `eventsource-client`, whose own is another build of hyper.
#[derive(Clone)]
pub struct Reqwest(reqwest::Client);

impl Reqwest {
    pub fn new() -> Self {
        Self(reqwest::Client::builder().no_proxy().build().unwrap())
    }
}

impl HttpTransport for Reqwest {
    fn request(&self, request: http::Request<Option<bytes::Bytes>>) -> ResponseFuture {
        let (head, body) = request.into_parts();
        let sent = self
            .0
            .request(head.method, head.uri.to_string())
            .headers(head.headers)
            .body(body.unwrap_or_default())
            .send();
        // The trait wants futures that are `Sync`, which a task's handle and a channel's end are.
        let sent = tokio::spawn(sent);
        Box::pin(async move {
            let answer = sent.await.unwrap().map_err(TransportError::new)?;
            let mut head = http::Response::builder().status(answer.status());
            if let Some(fields) = head.headers_mut() {
                fields.clone_from(answer.headers());
            }
            let (sender, receiver) = tokio::sync::mpsc::channel(1);
            tokio::spawn(async move {
                let mut body = Pin::from(Box::new(answer.bytes_stream()));
                loop {
                    let piece = tokio::select! {
                        piece = body.next() => piece,
                        () = sender.closed() => return,
                    };
                    let Some(piece) = piece else { return };
                    if sender
                        .send(piece.map_err(TransportError::new))
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
            });
            let pieces = stream::unfold(receiver, |mut receiver| async move {
                receiver.recv().await.map(|piece| (piece, receiver))
            });
            let pieces: ByteStream = Box::pin(pieces);
            Ok(head.body(pieces).unwrap())
        })
    }
}

#[tokio::test]
async fn an_eventsource_reads_events_comes_back_and_names_the_last_id() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "heartbeat = \"50ms\"").await;
    let delay = ReconnectOptions::reconnect(true)
        .delay(Duration::from_millis(20))
        .build();
    let client = ClientBuilder::for_url(&format!("http://{}{}", gateway.address, PLAIN.target))
        .unwrap()
        .reconnect(delay)
        .build_with_transport(Reqwest::new());
    let mut events = client.stream();
    let reading = tokio::spawn(async move {
        let mut read = Vec::new();
        let mut beats = 0;
        while read.len() < 3 || beats == 0 {
            match events.try_next().await {
                Ok(Some(SSE::Event(event))) => read.push(event.data),
                Ok(Some(SSE::Comment(_))) => beats += 1,
                Ok(_) | Err(eventsource_client::Error::Eof) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        read
    });
    let (mut first, _) = backend.request().await;
    first.send(wire::event_stream()).await;
    first.chunk("data: one\n\nid: 2\ndata: t").await;
    first.chunk("wo\n\n").await;
    first.send(LAST).await;
    // The same connection is used again, or a new one.
    let again = match tokio::time::timeout(Duration::from_secs(5), first.request()).await {
        Ok(Some(request)) => request,
        _ => panic!("the client does not come back"),
    };
    assert_eq!(again.head.get("last-event-id"), Some("2"));
    first.send(wire::event_stream()).await;
    first.chunk("data: three\n\n").await;
    let read = within("three events and a heartbeat", reading)
        .await
        .unwrap();
    assert_eq!(read, ["one", "two", "three"]);
}
