//! The source tree, tested: the import table of the rooms, what each file opens with, names, lengths.
//!
//! Nobody keeps a large crate free of rings by goodwill. The table is exact in both directions: an
//! edge that is not in it fails, and so does a permission that nobody uses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The rooms by level. A room imports only from lower levels.
const LEVELS: &[&[&str]] = &[
    &["sse", "metrics", "config"],
    &["dialect", "router", "store", "delivery"],
    &["edge", "upstream", "hub"],
    &["relay"],
    &["server", "admin", "demo"],
    &["app"],
];

/// Who imports whom.
const IMPORTS: &[(&str, &[&str])] = &[
    ("admin", &["metrics", "upstream"]),
    (
        "app",
        &[
            "admin", "config", "demo", "metrics", "relay", "router", "server", "upstream",
        ],
    ),
    ("config", &[]),
    ("delivery", &["sse"]),
    ("demo", &[]),
    ("dialect", &["config", "sse"]),
    ("edge", &["config"]),
    (
        "hub",
        &["config", "delivery", "dialect", "metrics", "sse", "store"],
    ),
    ("metrics", &[]),
    (
        "relay",
        &[
            "config", "delivery", "dialect", "edge", "hub", "metrics", "router", "sse", "upstream",
        ],
    ),
    ("router", &["config"]),
    (
        "server",
        &[
            "config", "delivery", "dialect", "edge", "metrics", "relay", "router", "upstream",
        ],
    ),
    ("sse", &[]),
    ("store", &["sse"]),
    ("upstream", &["config", "metrics"]),
];

/// These take bytes and the time, and are tested with neither a runtime nor a server.
const PURE: &[&str] = &["sse", "dialect", "router", "config", "store"];

/// Names that say nothing about a job.
const NAMELESS: &[&str] = &[
    "utils", "util", "common", "helpers", "helper", "types", "misc", "manager",
];

const LONGEST_FILE: usize = 600;

struct Source {
    /// Relative to the project.
    name: String,
    text: String,
}

impl Source {
    /// The room of a file below `src`; none for `lib.rs` and `main.rs`.
    fn room(&self) -> Option<&str> {
        let inside = self.name.strip_prefix("src/")?;
        let first = inside.split('/').next()?;
        let room = first.strip_suffix(".rs").unwrap_or(first);
        (!["lib", "main"].contains(&room)).then_some(room)
    }

    /// The text without comments that fill their line.
    fn code(&self) -> String {
        let is_code = |line: &&str| !line.trim_start().starts_with("//");
        let lines: Vec<_> = self.text.lines().filter(is_code).collect();
        lines.join("\n")
    }
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut open: Vec<_> = folders.iter().map(|folder| root.join(folder)).collect();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                let skipped = ["node_modules", "recordings", "target"];
                if !skipped.iter().any(|name| path.ends_with(name)) {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(Source {
                    name: path
                        .strip_prefix(root)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned(),
                    text: fs::read_to_string(&path).unwrap(),
                });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!found.is_empty());
    found
}

/// The first names after each `crate::` in `code`, groups in braces too.
fn roots(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(first_names(group)),
            None => found.extend(first_name(rest)),
        }
    }
    found
}

fn first_name(path: &str) -> Option<String> {
    let name: String = path
        .trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    (!name.is_empty()).then_some(name)
}

/// The first name of each path in a group, whose opening brace is already gone.
fn first_names(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut start = 0;
    let mut names = Vec::new();
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.extend(first_name(&group[start..at]));
                return names;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.extend(first_name(&group[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    panic!("a group that does not end: {group}");
}

fn level(room: &str) -> usize {
    let found = LEVELS.iter().position(|rooms| rooms.contains(&room));
    found.unwrap_or_else(|| panic!("the room {room} has no level"))
}

#[test]
fn the_import_table_is_exact() {
    let sources = sources(&["src"]);
    let mut seen: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for source in &sources {
        let Some(room) = source.room() else { continue };
        let imports = seen.entry(room).or_default();
        imports.extend(roots(&source.code()));
        imports.remove(room);
    }
    let table: BTreeMap<_, BTreeSet<String>> = IMPORTS
        .iter()
        .map(|(room, imports)| {
            (
                *room,
                imports.iter().map(|name| (*name).to_owned()).collect(),
            )
        })
        .collect();
    assert_eq!(seen, table, "left: the source; right: the table");
}

#[test]
fn imports_go_strictly_downwards() {
    for (room, imports) in IMPORTS {
        for import in *imports {
            assert!(level(import) < level(room), "{room} imports {import}");
        }
    }
}

#[test]
fn no_room_is_reached_by_climbing() {
    for source in sources(&["src"]) {
        if source.room().is_none() {
            continue;
        }
        let code = source.code();
        let parts = source.name.trim_start_matches("src/").split('/').count();
        let depth = parts - usize::from(source.name.ends_with("/mod.rs"));
        let inline = code.find("mod tests {").unwrap_or(code.len());
        for (at, _) in code.match_indices("super::") {
            if code[..at].ends_with("super::") {
                continue;
            }
            let climbs = code[at..]
                .split("::")
                .take_while(|part| *part == "super")
                .count();
            let limit = if at < inline { depth } else { depth + 1 };
            assert!(climbs < limit, "{} leaves its room by super::", source.name);
        }
    }
}

#[test]
fn the_pure_rooms_name_neither_tokio_nor_hyper() {
    for source in sources(&["src"]) {
        if source.room().is_some_and(|room| PURE.contains(&room)) {
            for word in ["tokio::", "hyper::", "hyper_util::", "tokio_rustls::"] {
                assert!(
                    !source.code().contains(word),
                    "{} names {word}",
                    source.name
                );
            }
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for source in sources(&["src", "tests", "benches"]) {
        let opening = source.text.lines().next().unwrap_or_default();
        assert!(
            opening.starts_with("//! "),
            "{} opens with {opening:?}",
            source.name
        );
    }
}

#[test]
fn no_file_is_too_long() {
    for source in sources(&["src", "tests", "benches"]) {
        let lines = source.text.lines().count();
        assert!(lines <= LONGEST_FILE, "{} has {lines} lines", source.name);
    }
}

#[test]
fn every_name_says_a_job() {
    for source in sources(&["src", "tests", "benches"]) {
        for part in source.name.split(['/', '.']) {
            assert!(!NAMELESS.contains(&part), "{}", source.name);
        }
    }
}

#[test]
fn no_test_sleeps_or_is_ignored() {
    // Put together here, so that this file does not find itself.
    let banned = [
        ["#[ign", "ore"],
        ["::sle", "ep("],
        ["TO", "DO"],
        ["FIX", "ME"],
    ];
    for source in sources(&["src", "tests"]) {
        for word in banned.map(|parts| parts.concat()) {
            let is_waiting = word.starts_with("::") && !source.name.starts_with("tests/");
            assert!(
                is_waiting || !source.text.contains(&word),
                "{}: {word}",
                source.name
            );
        }
    }
}

#[test]
fn the_table_reader_reads() {
    let code = "use crate::config::{Route, Limit};\nuse crate::{sse, dialect::{Api, self}};\n\
                fn f() { crate::relay::go(); $crate::app::x(); notcrate::demo::y() }";
    let names: Vec<_> = roots(code).into_iter().collect();
    assert_eq!(names, ["config", "dialect", "relay", "sse"]);
}
