//! Bad upstreams and routes: every kind of fault in what a request is matched by and sent to.

use super::bad::check;

#[test]
fn urls() {
    let example =
        "such as \"http://127.0.0.1:9000\", \"https://api.example.com/base\", or \"builtin:demo\"";
    for (url, wanted) in [
        ("ftp://b", format!("does not begin with `http://` or `https://` | {example}")),
        ("http://u:pw@b", "has a user name in its URL | take it out; secrets go into `credentials`".into()),
        ("http://b#c", "has a fragment | take out the `#` and what follows".into()),
        ("http://b:0", "has port 0 | give the server's port".into()),
        ("http://b:99999", "has no good port | a port is 1 to 65535".into()),
        ("http://b/../c", "has a `.` or `..` segment | write the path out".into()),
        (
            "http://",
            "is not a URL | such as \"http://127.0.0.1:9000\" or \"https://api.example.com/base\"".into(),
        ),
        (
            "http://a!b",
            "has no good host | a name of letters, digits, `-`, `_` and `.`, an IPv4 address, or an \
             IPv6 address in brackets"
                .into(),
        ),
        (
            "http://b?k=pw",
            "has a query | take it out; a secret parameter goes into \
             `credentials = { query = …, value = … }`"
                .into(),
        ),
    ] {
        let more = format!("[upstreams.b]\nurl = '{url}'");
        check(&more, &[&format!("7:7: upstreams.b.url: {wanted}")]);
    }
    check(
        "[upstreams.b]\nendpoints = ['builtin:demo', 'http://b', 'http://B:80/']",
        &[
            "7:14: upstreams.b.endpoints[0]: stands beside other endpoints | \
             give `builtin:demo` an upstream of its own",
            "7:42: upstreams.b.endpoints[2]: is there twice | \
             keep one: `{ url = …, weight = 2 }` gives it twice the share",
        ],
    );
}

#[test]
fn addresses_and_filters() {
    check(
        "[server]\nlisten = 'localhost:80'\ntrusted_proxies = ['x', '10.0.0.1/8']\n[log]\nlevel = 'a=b=c'",
        &[
            "7:10: server.listen: is not an IP address with a port | \
             such as \"127.0.0.1:8080\", \"0.0.0.0:8080\" or \"[::]:8080\"; names are not looked up",
            "8:20: server.trusted_proxies[0]: is not an IP address or network | \
             such as \"10.0.0.7\", \"10.0.0.0/8\" or \"fd00::/8\"",
            "8:25: server.trusted_proxies[1]: has bits beyond its prefix | \
             the network is \"10.0.0.0/8\"; the one address is \"10.0.0.1\"",
            "10:9: log.level: is not a log filter | \
             a level (error, warn, info, debug, trace, off), or such as \"info,deltaway=debug\"",
        ],
    );
}

#[test]
fn paths() {
    for (path, wanted) in [
        (
            "v1",
            "does not begin with `/` | such as \"/v1/*\" or \"/users/{id}/events\"",
        ),
        ("/a//b", "has an empty segment | take out the doubled `/`"),
        ("/a/../b", "has a `.` or `..` segment | write the path out"),
        (
            "/a/%2e%2E",
            "has a `.` or `..` segment | write the path out",
        ),
        (
            "/a/%zz",
            "has a `%` without two hexadecimal digits | the sign itself is `%25`",
        ),
        (
            "/a b",
            "has a character that no path has | percent-encode it",
        ),
        (
            "/a/%ff",
            "does not decode to UTF-8 | mend the percent-encoding",
        ),
        (
            "/{a}/{a}",
            "names a parameter twice | give each its own name",
        ),
        (
            "/a?b=c",
            "has a query | parameters are matched by `query = { name = \"value\" }`",
        ),
        (
            "/a#b",
            "has a fragment | fragments never reach a server: take it out",
        ),
        (
            "/a/*/b",
            "has a `*` that is not its whole last segment | \
             `*` stands for any rest, as in \"/v1/*\", with a name as in \"/v1/{rest*}\"; one segment is `{name}`",
        ),
        (
            "/a{b}",
            "has braces that do not fill a segment with a name | \
             a parameter is a whole segment, such as \"/users/{id}/events\"",
        ),
    ] {
        let more = format!("[routes.s]\npath = '{path}'\nto = 'a'");
        check(&more, &[&format!("7:8: routes.s.path: {wanted}")]);
    }
    check(
        "rewrite = '/a/*'",
        &["6:11: routes.r.rewrite: has a pattern in it | \
           it replaces what `path` names literally; the rest is appended by itself"],
    );
}

#[test]
fn hosts_methods_models() {
    let host = "such as \"api.example.com\" or \"*.example.com\", without scheme and port; leave `host` out for any";
    check(
        "host = ['*', 'a:80']",
        &[
            &format!("6:9: routes.r.host[0]: is not a host | {host}"),
            &format!("6:14: routes.r.host[1]: is not a host | {host}"),
        ],
    );
    check(
        "method = ['get', 'A B']",
        &[
            "6:11: routes.r.method[0]: is not in capitals | such as \"GET\" or \"POST\", in capitals; leave it out for any",
            "6:18: routes.r.method[1]: is not a method | such as \"GET\" or \"POST\", in capitals; leave it out for any",
        ],
    );
    check(
        "model = ['a*b', '']",
        &[
            "6:10: routes.r.model[0]: has a `*` that is not at its end | \
             a name such as \"gpt-4o\", or one `*` at the end: \"gpt-*\"",
            "6:17: routes.r.model[1]: is empty | such as \"gpt-4o\" or \"gpt-*\"",
        ],
    );
}

#[test]
fn headers() {
    check(
        "header = { 'a b' = 'x', 'X-A' = '1', x-a = \"a\\nb\" }",
        &[
            "6:20: routes.r.header.\"a b\": is not the name of a header | \
             letters, digits and `-`, such as `x-tenant`",
            "6:44: routes.r.header.x-a: is there twice | names of headers do not differ by case: keep one",
            "6:44: routes.r.header.x-a: has a character that no header may have | \
             visible ASCII and spaces; no line breaks",
        ],
    );
    let framing = "belongs to one connection and is not passed on | \
                   take it out: framing and connections are handled for you";
    check(
        "request_headers = { set = { upgrade = 'x', host = 'x' }, remove = ['Host', 'TE'] }",
        &[
            &format!("6:39: routes.r.request_headers.set.upgrade: {framing}"),
            "6:68: routes.r.request_headers.remove[0]: cannot be removed: every request has one | \
             `set = { host = \"…\" }` replaces it",
            &format!("6:76: routes.r.request_headers.remove[1]: {framing}"),
        ],
    );
    check(
        "response_headers = { set = { host = 'x' } }",
        &[
            "6:37: routes.r.response_headers.set.host: is no header of an answer | it belongs to `request_headers`",
        ],
    );
}

#[test]
fn cross_origin() {
    let form = "as browsers send it: \"https://app.example.com\", \"http://localhost:3000\"";
    check(
        "cors = { origins = ['*'], credentials = true }",
        &[
            "6:41: routes.r.cors.credentials: cannot be true for every origin: any page could act for whoever \
           visits it | list the origins, or leave `credentials` out",
        ],
    );
    check(
        "cors = { origins = ['*', 'https://a/', 'https://A', 'https://a:443', 'a'] }",
        &[
            "6:21: routes.r.cors.origins[0]: stands beside other origins | `*` is every origin: keep it alone",
            &format!("6:26: routes.r.cors.origins[1]: has a path, and no origin has one | {form}"),
            &format!("6:40: routes.r.cors.origins[2]: is not in lower case | {form}"),
            &format!(
                "6:53: routes.r.cors.origins[3]: has the port that its scheme implies, which browsers leave out | {form}"
            ),
            &format!(
                "6:70: routes.r.cors.origins[4]: is not an origin: there is no scheme | {form}"
            ),
        ],
    );
}
