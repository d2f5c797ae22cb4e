//! `publish` and `subscribe` of a route: where the names of topics come from.

use super::checked;
use crate::config::faults::{Gathered, Malformed};
use crate::config::keys::{ROUTE_ALLOW, ROUTE_PATH, ROUTE_PUBLISH, ROUTE_SUBSCRIBE};
use crate::config::nearest::did_you_mean;
use crate::config::topic::{Topic, TopicPattern};
use crate::config::values::{PathPattern, Segment, TopicPiece, TopicSource, TopicTemplate};
use crate::config::written::{Node, Section, Text};

/// What the templates of one route may refer to.
struct Route {
    /// Its path; none where that is wrong, which was said.
    path: Option<PathPattern>,
    /// Whether it asks for a key or a token.
    asks: bool,
}

impl Route {
    fn of(section: &Section) -> Self {
        let path = section.node(&ROUTE_PATH).and_then(Node::text);
        Self {
            path: path.and_then(|text| text.value.parse().ok()),
            asks: section.has(&ROUTE_ALLOW),
        }
    }
}

/// `publish`: one topic, so nothing in it stands for others.
pub(super) fn publish(section: &Section, gathered: &mut Gathered<'_>) -> Option<TopicTemplate> {
    let node = section.node(&ROUTE_PUBLISH)?;
    let name = |text: &str| Topic::new(text).map(|_| ());
    let route = Route::of(section);
    let template = template(node, &route, gathered)?;
    checked_name(node, &template, name, gathered)
}

/// `subscribe`: topics, or patterns.
pub(super) fn subscribe(section: &Section, gathered: &mut Gathered<'_>) -> Vec<TopicTemplate> {
    let pattern = |text: &str| TopicPattern::new(text).map(|_| ());
    let route = Route::of(section);
    let mut templates = Vec::new();
    for node in section.list(&ROUTE_SUBSCRIBE) {
        let template = template(node, &route, gathered);
        let Some(template) =
            template.and_then(|template| checked_name(node, &template, pattern, gathered))
        else {
            continue;
        };
        if templates.contains(&template) {
            let error = Malformed::new("is there twice", "keep one");
            gathered.wrong(node.at, &node.path, error);
        }
        templates.push(template);
    }
    templates
}

/// The template, if its braces are good and what they name exists.
fn template(node: &Node, route: &Route, gathered: &mut Gathered<'_>) -> Option<TopicTemplate> {
    let mut pieces = checked(node, pieces, gathered)?;
    let text = node.text()?;
    for piece in &mut pieces {
        let TopicPiece::Taken { source, rest } = piece else {
            continue;
        };
        let known = match source {
            TopicSource::Path(name) => parameter(name, rest, route, text),
            TopicSource::Claim(_) if !route.asks => Err(Malformed::new(
                "takes a claim of the caller's token, and the route asks for none",
                "name the issuers of tokens that are let in (`allow`)",
            )),
            TopicSource::Query(_) | TopicSource::Claim(_) => Ok(()),
        };
        if let Err(error) = known {
            gathered.wrong(node.at, &node.path, error);
        }
    }
    Some(TopicTemplate { pieces })
}

/// Whether the route's path has the parameter `name`. One that is a rest is taken whole.
fn parameter(name: &str, rest: &mut bool, route: &Route, text: &Text) -> Result<(), Malformed> {
    let Some(path) = &route.path else {
        return Ok(());
    };
    if path.rest_name.as_deref() == Some(name) {
        *rest = true;
        return Ok(());
    }
    let single = path.segments.iter().filter_map(|segment| match segment {
        Segment::Parameter(name) => Some(name.as_str()),
        Segment::Literal(_) => None,
    });
    let known: Vec<&str> = single.clone().chain(path.rest_name.as_deref()).collect();
    // What came out of a variable is not shown.
    let shown = match text.raw.contains(name) {
        true => format!("`{name}`"),
        false => "a parameter".to_owned(),
    };
    if !known.contains(&name) {
        let message = format!("takes {shown} from the path, which has none of that name");
        let help = match known.is_empty() {
            true => {
                "`path` names it, as in \"/topics/{topic}\"; a query parameter is `{query.NAME}`"
                    .to_owned()
            }
            false => did_you_mean(name, &known),
        };
        return Err(Malformed::new(message, help));
    }
    if *rest {
        let message = format!("takes {shown} over several segments, and in `path` it is one");
        let help = "without the `*`, or with one in `path` too, at its end";
        return Err(Malformed::new(message, help));
    }
    Ok(())
}

/// The template, if a name made with it can be a good one.
fn checked_name(
    node: &Node,
    template: &TopicTemplate,
    check: fn(&str) -> Result<(), crate::config::BadTopic>,
    gathered: &mut Gathered<'_>,
) -> Option<TopicTemplate> {
    let piece = |piece: &TopicPiece| match piece {
        TopicPiece::Literal(text) => text.clone(),
        TopicPiece::Taken { .. } => "x".to_owned(),
    };
    let name: String = template.pieces.iter().map(piece).collect();
    if let Err(error) = check(&name) {
        let help = r#"such as "orders/new", "orders/{id}" or "user/{query.user}""#;
        gathered.wrong(node.at, &node.path, Malformed::new(error.to_string(), help));
        return None;
    }
    Some(template.clone())
}

/// Splits a template at its braces.
fn pieces(text: &str) -> Result<Vec<TopicPiece>, Malformed> {
    let help = r#"a part that is taken from a request is such as `{id}` or `{query.user}`"#;
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(brace) = rest.find(['{', '}']) {
        if brace > 0 {
            pieces.push(TopicPiece::Literal(rest[..brace].to_owned()));
        }
        let Some(open) = rest[brace..].strip_prefix('{') else {
            return Err(Malformed::new("has a `}` without its `{`", help));
        };
        let (inside, after) = open
            .split_once('}')
            .filter(|(inside, _)| !inside.contains('{'))
            .ok_or_else(|| Malformed::new("has a `{` without its `}`", help))?;
        pieces.push(taken(inside)?);
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(TopicPiece::Literal(rest.to_owned()));
    }
    Ok(pieces)
}

/// What stands between braces.
fn taken(inside: &str) -> Result<TopicPiece, Malformed> {
    let (name, rest) = match inside.strip_suffix('*') {
        Some(name) => (name, true),
        None => (inside, false),
    };
    let (kind, own): (fn(String) -> TopicSource, &str) =
        match (name.strip_prefix("query."), name.strip_prefix("jwt.")) {
            (Some(query), _) => (TopicSource::Query, query),
            (None, Some(claim)) => (TopicSource::Claim, claim),
            (None, None) => (TopicSource::Path, name),
        };
    if own.is_empty() || own.contains('*') {
        return Err(Malformed::new(
            "has braces that hold no name",
            "`{name}`, `{query.name}` or `{jwt.name}`, perhaps with a `*` before the `}`",
        ));
    }
    Ok(TopicPiece::Taken {
        source: kind(own.to_owned()),
        rest,
    })
}
