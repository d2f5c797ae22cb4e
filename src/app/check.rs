//! Everything that can be said of a configuration without serving it.

use std::path::Path;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::config::{self, Config, Fault, Faults, Overrides, System};
use crate::router::{Explanation, Head, Router, clashes};

/// Reads and checks the configuration at `path`, or the embedded one.
///
/// # Errors
///
/// Everything that is wrong with it, that two routes of equal rank could both match included.
pub fn check(path: Option<&Path>, overrides: Overrides) -> Result<Config, Faults> {
    let config = match path {
        Some(path) => config::load_with(path, &System, overrides)?,
        None => config::parse_with(config::EMBEDDED, config::EMBEDDED_NAME, &System, overrides)?,
    };
    unambiguous(config)
}

/// [`check`] of a configuration that is at hand as text; `file` names it in faults.
///
/// # Errors
///
/// As [`check`].
pub fn check_source(
    source: &str,
    file: &str,
    env: &dyn config::Environment,
) -> Result<Config, Faults> {
    unambiguous(config::parse(source, file, env)?)
}

fn unambiguous(config: Config) -> Result<Config, Faults> {
    let faults: Vec<Fault> = clashes(&config.routes)
        .into_iter()
        .map(|clash| {
            let message = format!(
                "ranks equal with `routes.{}` (line {}), and both match {}",
                clash.first.name, clash.first.place.line, clash.example
            );
            let help = "make one of them more specific: host, path, method, header, query or model";
            let key = format!("routes.{}", clash.second.name);
            Fault::new(clash.second.place.clone(), key, message, help)
        })
        .collect();
    if faults.is_empty() {
        Ok(config)
    } else {
        Err(faults.into())
    }
}

/// Which route and upstream a request would take, and why.
///
/// # Errors
///
/// What is wrong with the request as it was described.
pub fn explain(
    config: &Config,
    method: &str,
    url: &str,
    model: Option<&str>,
    fields: &[String],
) -> Result<Explanation, String> {
    let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes())
        .map_err(|_| format!("`{method}` is not a method"))?;
    let uri: Uri = url
        .parse()
        .map_err(|error| format!("`{url}` is no path or URL: {error}"))?;
    let mut headers = HeaderMap::new();
    for field in fields {
        let (name, value) = field
            .split_once(':')
            .ok_or_else(|| format!("`{field}` is no header: write `Name: value`"))?;
        headers.append(
            HeaderName::from_bytes(name.trim().as_bytes()).map_err(|error| error.to_string())?,
            HeaderValue::from_str(value.trim()).map_err(|error| error.to_string())?,
        );
    }
    let host = uri
        .authority()
        .map(http::uri::Authority::as_str)
        .or_else(|| {
            headers
                .get(http::header::HOST)
                .and_then(|host| host.to_str().ok())
        });
    let head = Head {
        host,
        method: &method,
        path: uri.path(),
        query: uri.query(),
        headers: &headers,
    };
    let routes: &[Arc<config::Route>] = &config.routes;
    Ok(Router::new(routes).explain(&head, model))
}
