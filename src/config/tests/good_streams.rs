//! Good files whose streams are kept, shared, published and subscribed to: what comes out of them.

use std::time::Duration;

use super::*;

/// What users write.
const WRITTEN: &str = r#"
[server]
listen = "127.0.0.1:8080"

[upstreams.feed]
url = "http://127.0.0.1:9000"

[routes.prices]
path="/events/*"
to="feed"
share=true

[routes.chat]
path="/v1/chat/completions"
to="feed"
resume=true
dedupe=true

[routes.topics]
path="/topics/{topic}"
publish="{topic}"
subscribe="{topic}"

[routes.notify]
path="/sse-connect"
subscribe=["user/{query.userId}","all"]
greeting="welcome"
max_age="30m"

[routes.send]
path="/send/{topic*}"
publish="{topic}"

[topics."user/*"]
history={events=200, age="1h"}
"#;

const MINUTE: Duration = Duration::from_secs(60);

fn good(source: &str) -> Config {
    parse(source, "good.toml", &Fixed::default()).unwrap_or_else(|faults| panic!("{faults}"))
}

/// The route `r` that `lines` make, beside an upstream `a` and a key `k`.
fn route(lines: &str) -> Route {
    let source =
        format!("[upstreams.a]\nurl = 'http://a'\n[keys.k]\nvalue = 'x'\n[routes.r]\n{lines}\n");
    Route::clone(&good(&source).routes[0])
}

fn template(route: &Route) -> &TopicTemplate {
    route.publish.as_ref().or(route.subscribe.first()).unwrap()
}

fn taken(source: TopicSource, rest: bool) -> TopicPiece {
    TopicPiece::Taken { source, rest }
}

fn topic(name: &str) -> Topic {
    Topic::new(name).unwrap()
}

#[test]
fn what_users_write_is_read() {
    let config = good(WRITTEN);
    let [prices, chat, topics, notify, send] = &config.routes[..] else {
        panic!("five routes: {:?}", config.routes);
    };
    assert!(prices.share.is_some() && prices.resume.is_none());
    assert!(chat.share.is_none() && chat.resume.as_ref().unwrap().dedupe);
    let path = |name: &str| TopicSource::Path(name.into());
    assert_eq!(template(topics).pieces, [taken(path("topic"), false)]);
    assert_eq!(topics.subscribe, [topics.publish.clone().unwrap()]);
    assert!(topics.to.is_empty());
    assert_eq!(
        notify.subscribe[0].pieces,
        [
            TopicPiece::Literal("user/".into()),
            taken(TopicSource::Query("userId".into()), false),
        ]
    );
    assert_eq!(notify.subscribe[1].to_string(), "all");
    let greeting = Greeting {
        event: None,
        data: "welcome".into(),
    };
    assert_eq!(notify.greeting, Some(greeting));
    assert_eq!(notify.max_age, Some(30 * MINUTE));
    assert_eq!(send.matches.path.rest_name.as_deref(), Some("topic"));
    assert!(send.matches.path.rest);
    assert_eq!(
        template(send).pieces,
        [taken(path("topic"), true)],
        "a rest is taken whole"
    );
    let rules = config.rules_for(&topic("user/7"));
    assert_eq!(rules.pattern.as_str(), "user/*");
    assert_eq!(
        rules.history,
        History {
            events: 200,
            bytes: 1 << 20,
            age: 60 * MINUTE
        }
    );
}

#[test]
fn the_hub_and_topics_have_the_written_defaults() {
    let config = good("[routes.r]\npath = '/'\nsubscribe = 'a'\n");
    let Hub {
        path,
        streams,
        bytes,
        event,
    } = &config.hub;
    assert_eq!((&**path, *streams), ("/streams", 10_000));
    assert_eq!((*bytes, *event), (256 << 20, 8 << 20));
    assert!(config.topics.is_empty());
    let rules = config.rules_for(&topic("any/thing"));
    assert!(Arc::ptr_eq(rules, TopicRules::fallback()));
    assert_eq!((rules.slow, rules.start), (Slow::Skip, Start::Live));
    assert_eq!(
        rules.history,
        History {
            events: 100,
            bytes: 1 << 20,
            age: 10 * MINUTE
        }
    );
    let config = good(
        "[routes.r]\npath = '/'\nsubscribe = 'a'\n[hub]\npath = '/a/b-c'\nstreams = 7\n\
         bytes = '2MiB'\nevent = '2MiB'\n",
    );
    assert_eq!((&*config.hub.path, config.hub.streams), ("/a/b-c", 7));
    assert_eq!((config.hub.bytes, config.hub.event), (2 << 20, 2 << 20));
}

#[test]
fn the_most_particular_pattern_counts_alone() {
    let config = good(
        "[routes.r]\npath = '/'\nsubscribe = 'a'\n\
         [topics.'*']\nstart = 'oldest'\n[topics.'a/*']\nslow = 'latest'\n[topics.'*/*/c']\n\
         [topics.'a/b']\nslow = 'disconnect'\nstart = 'latest'\n[topics.'a/*/c']\n",
    );
    let order: Vec<_> = config.topics.iter().map(|of| of.pattern.as_str()).collect();
    assert_eq!(order, ["a/b", "a/*/c", "a/*", "*/*/c", "*"]);
    let of = |name: &str| config.rules_for(&topic(name));
    let both = |name: &str| (of(name).slow, of(name).start);
    assert_eq!(both("a/b"), (Slow::Disconnect, Start::Latest));
    assert_eq!(both("a/x"), (Slow::Latest, Start::Live));
    assert_eq!(both("b"), (Slow::Skip, Start::Oldest));
    assert_eq!(of("a/x/c").pattern.as_str(), "a/*/c");
    assert_eq!(of("x/x/c").pattern.as_str(), "*/*/c");
}

#[test]
fn a_shared_route_has_the_written_defaults() {
    for line in ["share = true", "share = {}", "share = { history = {} }"] {
        let share = route(&format!("path = '/'\nto = 'a'\n{line}"))
            .share
            .unwrap();
        assert_eq!((share.start, share.slow), (Start::Live, Slow::Skip));
        assert_eq!(
            share.history,
            History {
                events: 1000,
                bytes: 4 << 20,
                age: 10 * MINUTE
            }
        );
        assert_eq!(share.on_last_leave, Some(Duration::from_secs(10)));
        assert!(!share.public && share.key_headers.is_empty());
        assert_eq!((share.ids, share.poll), (Ids::Gateway, None));
    }
    let none = route("path = '/'\nto = 'a'\nshare = false\nresume = false\ndedupe = false");
    assert!(none.share.is_none() && none.resume.is_none());
}

#[test]
fn a_shared_route_with_everything() {
    let route = route(
        "path = '/'\nmethod = ['GET', 'POST']\nto = 'a'\npoll = '100ms'\nresume = true\nmax_age = '1h'\n\
         [routes.r.share]\nstart = 'oldest'\nslow = 'disconnect'\non_last_leave = 'off'\npublic = true\n\
         key_headers = ['Accept-Language']\nids = 'backend'\n\
         history = { events = 5, bytes = '1KiB', age = '1d' }",
    );
    let share = route.share.unwrap();
    assert_eq!((share.start, share.slow), (Start::Oldest, Slow::Disconnect));
    assert_eq!((share.on_last_leave, share.public), (None, true));
    assert_eq!(share.key_headers, ["accept-language"]);
    assert_eq!(share.ids, Ids::Backend);
    assert_eq!(share.poll, Some(Duration::from_millis(100)));
    assert_eq!(
        share.history,
        History {
            events: 5,
            bytes: 1024,
            age: 24 * 60 * MINUTE
        }
    );
    assert_eq!(route.max_age, Some(60 * MINUTE));
    assert!(route.resume.is_some(), "of what is no GET");
}

#[test]
fn polling_implies_sharing() {
    let share = route("path = '/'\nto = 'a'\npoll = '5s'").share.unwrap();
    assert_eq!(share.poll, Some(Duration::from_secs(5)));
    assert_eq!(share.history.events, 1000);
}

#[test]
fn kept_answers_have_the_written_defaults() {
    let resume = route("path = '/'\nto = 'a'\nresume = true").resume.unwrap();
    assert_eq!(resume.keep, 10 * MINUTE);
    assert_eq!(resume.on_leave, OnLeave::Linger(2 * MINUTE));
    assert_eq!(
        resume.history,
        History {
            events: 100_000,
            bytes: 16 << 20,
            age: 24 * 60 * MINUTE
        }
    );
    assert!(matches!(&resume.watch, Allow::Callers(keys, _) if keys.is_empty()));
    assert!(!resume.dedupe);

    let on_leave = |text: &str| {
        let lines = format!("path = '/'\nto = 'a'\nresume = {{ on_leave = '{text}' }}");
        route(&lines).resume.unwrap().on_leave
    };
    assert_eq!(on_leave("cancel"), OnLeave::Cancel);
    assert_eq!(on_leave("finish"), OnLeave::Finish);
    assert_eq!(
        on_leave("linger 1500ms"),
        OnLeave::Linger(Duration::from_millis(1500))
    );
    let resume = route("path = '/'\nto = 'a'\nresume = { keep = '1s', watch = ['k'] }").resume;
    let resume = resume.unwrap();
    assert_eq!(resume.keep, Duration::from_secs(1));
    assert!(matches!(&resume.watch, Allow::Callers(keys, _) if &*keys[0].name == "k"));
}

#[test]
fn templates_are_taken_apart_and_written_back() {
    let lines = "path = '/{a}/x/{rest*}'\nallow = ['k']\npatterns = true\n";
    for (text, pieces, back) in [
        (
            "all/*/b/*",
            vec![TopicPiece::Literal("all/*/b/*".into())],
            None,
        ),
        (
            "{a}-{query.b c}/{query.d*}",
            vec![
                taken(TopicSource::Path("a".into()), false),
                TopicPiece::Literal("-".into()),
                taken(TopicSource::Query("b c".into()), false),
                TopicPiece::Literal("/".into()),
                taken(TopicSource::Query("d".into()), true),
            ],
            None,
        ),
        (
            "u/{jwt.https://a.example/team}/{jwt.groups*}",
            vec![
                TopicPiece::Literal("u/".into()),
                taken(TopicSource::Claim("https://a.example/team".into()), false),
                TopicPiece::Literal("/".into()),
                taken(TopicSource::Claim("groups".into()), true),
            ],
            None,
        ),
        (
            "{rest}",
            vec![taken(TopicSource::Path("rest".into()), true)],
            Some("{rest*}"),
        ),
        (
            "{rest*}",
            vec![taken(TopicSource::Path("rest".into()), true)],
            None,
        ),
    ] {
        let patterns = text.contains('{');
        let lines = if patterns {
            lines
        } else {
            &lines[..lines.len() - 16]
        };
        let route = route(&format!("{lines}subscribe = '{text}'"));
        assert_eq!(route.patterns, patterns);
        assert_eq!(template(&route).pieces, pieces, "{text}");
        assert_eq!(template(&route).to_string(), back.unwrap_or(text));
    }
}

#[test]
fn a_greeting_may_have_a_name_and_keys_may_be_shown_elsewhere() {
    let route = route(
        "path = '/'\nsubscribe = 'a'\ngreeting = { event = 'hello', data = \"a\\nb\" }\n\
         allow = ['k']\nkey_in = { cookie = '__Host-key', query = 'key' }\n\
         clocks = { stall = '1m' }\nshare = false",
    );
    let greeting = route.greeting.unwrap();
    assert_eq!(greeting.event.as_deref(), Some("hello"));
    assert_eq!(&*greeting.data, "a\nb");
    assert_eq!(route.credentials_in.cookie.as_deref(), Some("__Host-key"));
    assert_eq!(route.credentials_in.query.as_deref(), Some("key"));
}

#[test]
fn rights_that_are_not_written_are_no_limit_and_an_empty_list_is_none_at_all() {
    let config = good(
        "[routes.r]\npath = '/'\nsubscribe = 'a'\n\
         [keys.free]\nvalue = 'x'\n[keys.some]\nvalue = 'y'\npublish = ['a', 'b/*']\nsubscribe = []\n",
    );
    assert_eq!(config.keys["free"].topics, TopicRights::default());
    let some = &config.keys["some"].topics;
    let patterns: Vec<_> = some
        .publish
        .iter()
        .flatten()
        .map(ToString::to_string)
        .collect();
    assert_eq!(patterns, ["a", "b/*"]);
    assert_eq!(some.subscribe, Some(Vec::new()));
}

#[test]
fn a_route_may_lie_beside_kept_answers() {
    let source = "[upstreams.a]\nurl = 'http://a'\n[routes.r]\npath = '/v1'\nto = 'a'\nresume = true\n\
                  [routes.s]\npath = '/streamsx'\nto = 'a'\n[routes.t]\npath = '/*'\nto = 'a'\n\
                  [routes.u]\npath = '/{x}/streams'\nto = 'a'\n";
    assert_eq!(good(source).routes.len(), 4);
    let none = "[upstreams.a]\nurl = 'http://a'\n[routes.r]\npath = '/streams/*'\nto = 'a'\n";
    assert_eq!(
        good(none).routes.len(),
        1,
        "nothing is kept, so nothing is taken"
    );
}
