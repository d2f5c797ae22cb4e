//! Where connections lead, and how long one is waited for.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::stage::{Backend, Caller, all, within};
use crate::upstream::{Ask, Found, Lookup, Place, Reason, Resolve, Upload};

/// Where the name leads, as the test has it.
#[derive(Debug, Clone)]
struct Told(Arc<Mutex<SocketAddr>>);

impl Resolve for Told {
    fn resolve(&self, _: &str, _: u16) -> Pin<Box<dyn Future<Output = Found> + Send>> {
        let address = *self.0.lock().unwrap();
        Box::pin(async move { Ok(vec![address]) })
    }
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_is_followed() {
    let mut old = Backend::plain(100).await;
    let mut new = Backend::plain_at([127, 0, 0, 2].into(), 100).await;
    let told = Told(Arc::new(Mutex::new(old.address)));
    let mut caller = Caller::two(old.address);
    let member = &mut caller.group.members[0];
    Arc::get_mut(&mut member.endpoint).unwrap().place = Place::Name {
        host: "model.test".into(),
        port: 80,
        lookup: Lookup::with(Box::new(told.clone())),
    };
    Arc::get_mut(&mut caller.group.config).unwrap().lookup = Duration::from_millis(1);
    let (held, mut stream) = tokio::join!(caller.ask(), async { old.next().await.begin() });
    *told.0.lock().unwrap() = new.address;
    let moved = async {
        loop {
            let (asked, is_new) = tokio::join!(caller.ask(), async {
                let (mut arrived, is_new) = tokio::select! {
                    arrived = old.next() => (arrived, false),
                    arrived = new.next() => (arrived, true),
                };
                arrived.answer("done");
                is_new
            });
            assert_eq!(all(&mut asked.unwrap()).await, b"done");
            if is_new {
                return;
            }
        }
    };
    within("the new address to be used", moved).await;
    // What was begun at the old one ends there.
    stream.send_data("rest".into(), true).unwrap();
    assert_eq!(all(&mut held.unwrap()).await, b"rest");
    within("the old connection to end", old.ended.notified()).await;
}

#[tokio::test(start_paused = true)]
async fn no_connection_is_waited_for_without_limit() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut caller = Caller::two(silent.local_addr().unwrap());
    caller.clocks.connect = None;
    let ask = Ask {
        pool: &caller.pool,
        clocks: &caller.clocks,
        resend: false,
        request: &caller.request,
    };
    let mut upload = Some(Upload::Kept(Bytes::new()));
    let asking = caller.group.attempt(caller.endpoint(), &ask, &mut upload);
    let fault = timeout(Duration::from_secs(600), asking)
        .await
        .expect("an end");
    assert!(matches!(fault, Err(Reason::ConnectTimeout(_))), "{fault:?}");
}
