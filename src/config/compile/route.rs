//! `[routes.NAME]`.

use std::sync::Arc;

use super::callers::Callers;
use super::headers::{self, Way};
use super::tokens::{self, Issuers};
use super::upstream::Upstreams;
use super::{checked, clocks, cors, each, failures, pattern, streams, template};
use crate::config::faults::{Gathered, Malformed};
use crate::config::keys::{self, DIALECTS, Key, root};
use crate::config::nearest::did_you_mean;
use crate::config::values::{Allow, Dialect, DialectChoice, Matches, Route, Target};
use crate::config::written::{Node, Section, Value};

/// What a route may refer to.
pub(super) struct Names<'n> {
    /// Callers' keys.
    pub(super) keys: &'n Callers,
    /// Issuers of callers' tokens.
    pub(super) issuers: &'n Issuers,
    /// Upstreams.
    pub(super) upstreams: &'n Upstreams,
}

/// Every route, with the section it came from.
pub(super) fn routes<'f>(
    file: &'f Section,
    names: &Names<'_>,
    gathered: &mut Gathered<'_>,
) -> Vec<(Route, &'f Section)> {
    if let Some(none) = file
        .section(&root::ROUTES)
        .filter(|all| all.entries.is_empty())
    {
        let help = "at least one: [routes.NAME] with `path` and `to`";
        gathered.absent(none.at, &none.path, Malformed::new("holds no route", help));
    }
    file.sections(&root::ROUTES)
        .map(|(name, section)| (route(name, section, names, gathered), section))
        .collect()
}

fn route(name: &str, section: &Section, names: &Names<'_>, gathered: &mut Gathered<'_>) -> Route {
    Route {
        name: name.into(),
        place: gathered.place(section.at),
        matches: matches(section, gathered),
        to: targets(section, names, gathered),
        share: streams::share(section, gathered),
        resume: streams::resume(section, names, gathered),
        publish: template::publish(section, gathered),
        subscribe: template::subscribe(section, gathered),
        patterns: section.flag(&keys::ROUTE_PATTERNS),
        greeting: streams::greeting(section, gathered),
        max_age: section.limit(&keys::ROUTE_MAX_AGE).duration(),
        credentials_in: streams::credentials_in(section, gathered),
        rewrite: section
            .node(&keys::ROUTE_REWRITE)
            .and_then(|node| checked(node, pattern::rewrite, gathered))
            .map(Arc::from),
        request_headers: headers::edits(
            section.section(&keys::ROUTE_REQUEST_HEADERS),
            Way::Request,
            gathered,
        ),
        response_headers: headers::edits(
            section.section(&keys::ROUTE_RESPONSE_HEADERS),
            Way::Response,
            gathered,
        ),
        allow: allow(section, names, gathered),
        cors: section
            .section(&keys::ROUTE_CORS)
            .map(|section| cors::cors(section, gathered)),
        max_body: section.size(&keys::ROUTE_MAX_BODY),
        model_within: usize::try_from(section.size(&keys::ROUTE_MODEL_WITHIN))
            .unwrap_or(usize::MAX),
        heartbeat: section.limit(&keys::ROUTE_HEARTBEAT).duration(),
        early_head: section.limit(&keys::ROUTE_EARLY_HEAD).duration(),
        clocks: clocks(section.section(&keys::ROUTE_CLOCKS)),
        dialect: dialect(section.text(&keys::ROUTE_DIALECT)),
        retry: failures::retry(section, gathered),
        failures: failures::remedies(section),
        hedge: failures::hedge(section),
        rescue: section.flag(&keys::ROUTE_RESCUE),
        usage: failures::usage(section),
    }
}

fn matches(section: &Section, gathered: &mut Gathered<'_>) -> Matches {
    let path = section.node(&keys::ROUTE_PATH);
    let query = headers::entries(section, &keys::ROUTE_QUERY)
        .iter()
        .filter_map(|entry| Some((entry.name.clone(), entry.node.text()?.value.clone())));
    Matches {
        hosts: each(section, &keys::ROUTE_HOST, str::parse, gathered),
        path: path
            .and_then(|node| checked(node, str::parse, gathered))
            .unwrap_or_default(),
        methods: each(section, &keys::ROUTE_METHOD, pattern::method, gathered),
        query: query.collect(),
        headers: headers::wanted(section, &keys::ROUTE_HEADER, gathered),
        models: each(section, &keys::ROUTE_MODEL, str::parse, gathered),
    }
}

fn targets(section: &Section, names: &Names<'_>, gathered: &mut Gathered<'_>) -> Vec<Target> {
    section
        .list(&keys::ROUTE_TO)
        .iter()
        .filter_map(|node| target(node, names, gathered))
        .collect()
}

fn target(node: &Node, names: &Names<'_>, gathered: &mut Gathered<'_>) -> Option<Target> {
    let (upstream, model, larger) = match &node.value {
        Value::Table(section) => (
            section.node(&keys::TARGET_UPSTREAM)?,
            section.node(&keys::TARGET_MODEL),
            section.flag(&keys::TARGET_LARGER),
        ),
        _ => (node, None, false),
    };
    let model = model.and_then(|node| checked(node, model_name, gathered));
    let upstream = referred(upstream, names.upstreams, "upstream", gathered)?;
    Some(Target {
        upstream,
        model,
        larger,
    })
}

fn model_name(text: &str) -> Result<Arc<str>, Malformed> {
    if text.is_empty() {
        return Err(Malformed::new(
            "is empty",
            "a name, or leave it out to keep the caller's",
        ));
    }
    Ok(text.into())
}

fn allow(section: &Section, names: &Names<'_>, gathered: &mut Gathered<'_>) -> Allow {
    if section.has(&keys::ROUTE_ALLOW) && section.flag(&keys::ROUTE_OPEN) {
        let at = section
            .node(&keys::ROUTE_OPEN)
            .map_or(section.at, |node| node.at);
        let error = Malformed::new(
            "contradicts `allow`",
            "keep `allow` to ask for a key, or `open = true` to let everybody in",
        );
        gathered.wrong(at, &section.path_of(&keys::ROUTE_OPEN), error);
    }
    if !section.has(&keys::ROUTE_ALLOW) {
        return Allow::Everybody;
    }
    callers(section, &keys::ROUTE_ALLOW, names, gathered)
}

/// The callers named in the list at `key`.
pub(super) fn callers(
    section: &Section,
    key: &Key,
    names: &Names<'_>,
    gathered: &mut Gathered<'_>,
) -> Allow {
    tokens::callers(section.list(key), names, gathered)
}

/// What `node` names among `known`; none, without a further fault, if that is itself wrong.
fn referred<T>(
    node: &Node,
    known: &std::collections::BTreeMap<String, Option<Arc<T>>>,
    kind: &str,
    gathered: &mut Gathered<'_>,
) -> Option<Arc<T>> {
    let text = node.text()?;
    match known.get(&text.value) {
        Some(found) => found.clone(),
        None => {
            let names: Vec<_> = known.keys().map(String::as_str).collect();
            let message = format!("there is no {kind} `{}`", text.raw);
            let help = match names.is_empty() {
                true => format!("declare it: [{kind}s.{}]", text.raw),
                false => did_you_mean(&text.raw, &names),
            };
            let error = Malformed::new(message, help);
            gathered.absent(node.at, &node.path, error);
            None
        }
    }
}

fn dialect(word: &str) -> DialectChoice {
    const IN_ORDER: [Dialect; 8] = [
        Dialect::Plain,
        Dialect::OpenaiChat,
        Dialect::OpenaiText,
        Dialect::OpenaiResponses,
        Dialect::AnthropicMessages,
        Dialect::Gemini,
        Dialect::Ollama,
        Dialect::Bedrock,
    ];
    let index = DIALECTS
        .iter()
        .position(|known| *known == word)
        .unwrap_or_default();
    match index.checked_sub(1).and_then(|index| IN_ORDER.get(index)) {
        Some(dialect) => DialectChoice::Fixed(*dialect),
        None => DialectChoice::Auto,
    }
}
