//! The reference of every key, `docs/configuration.md`, from the table of keys.

use std::fmt::Write as _;
use std::ptr;

use super::keys::root::ROOT;
use super::keys::{Kind, Table};

/// What stands before the tables.
const OPENING: &str = r#"# Configuration

One TOML file: `deltaway --config FILE`. `deltaway check --config FILE` reports everything that is
wrong with it at once, each fault with file, line, column and key, and what would be right.
`deltaway schema` prints its JSON Schema, for editors that complete while one types; with
[taplo](https://taplo.tamasfe.dev), put `#:schema deltaway.schema.json` on the first line.

This page is generated from the same table of keys that reads the file.

## Values

**Variables.** In any text, `${NAME}` is the environment variable `NAME`; if it is not set, that is a
fault. `${NAME:-default}` is `default` where the variable is not set or empty, and the default may be
nothing. `$$` is the sign itself.

**Secrets** are written as text, which is best a variable, or as `{ file = "path" }`; line breaks at the
end of the file are no part of it, and the path is relative to the folder of the configuration. A secret
is never shown: not in the log, not in a fault, not in a debug print. A secret written `"${NAME:-}"` may
be empty, and the start succeeds. As an upstream's credential it makes requests that need it be answered
503, naming the variable; as a caller's key it lets nobody in.

**Durations** are a whole number and a unit: `"250ms"`, `"15s"`, `"2m"`, `"1h"`, `"1d"`. `"off"` takes a
limit away where that is possible. **Sizes** likewise: `"512B"`, `"64KiB"`, `"20MiB"`, and decimal `"1KB"`,
`"1MB"`, `"1GB"`. A number without a unit is a fault.

**Names** of keys, upstreams and routes are letters, digits, `-`, `_` and `.`.
"#;

/// The reference as Markdown: each table with its keys, their kinds, defaults and meanings.
pub fn reference() -> String {
    let mut out = OPENING.to_owned();
    for (paths, table) in tables() {
        let headings: Vec<_> = paths.iter().map(|path| format!("`{path}`")).collect();
        // Writing to a string cannot fail.
        let _ = write!(out, "\n## {}\n\n{}\n", headings.join(", "), table.about);
        if !table.forms.is_empty() {
            let forms: Vec<_> = table
                .forms
                .iter()
                .map(|form| format!("`{}`", form.join("` with `")))
                .collect();
            let _ = write!(out, "\nExactly one of {}.\n", forms.join(", "));
        }
        out.push_str("\n| key | kind | default | meaning |\n| --- | --- | --- | --- |\n");
        for key in table.keys {
            let cells = [
                key.kind.words(),
                key.fallback.words(),
                key.meaning.to_owned(),
            ];
            let [kind, default, meaning] = cells.map(|cell| cell.replace('|', "\\|"));
            let _ = writeln!(out, "| `{}` | {kind} | {default} | {meaning} |", key.name);
        }
        let _ = write!(out, "\n```toml\n{}```\n", table.example);
    }
    out
}

/// Every table with the headers it is written under, in the order of the reference.
pub(super) fn tables() -> Vec<(Vec<String>, &'static Table)> {
    let mut tables = Vec::new();
    for key in ROOT.keys {
        collect(&key.kind, key.name, &mut tables);
    }
    tables
}

fn collect(kind: &Kind, path: &str, tables: &mut Vec<(Vec<String>, &'static Table)>) {
    let (header, table) = match kind {
        Kind::Table(table) => (format!("[{path}]"), *table),
        Kind::Named(table) => {
            return collect(&Kind::Table(table), &format!("{path}.NAME"), tables);
        }
        Kind::Each(_, table) => {
            return collect(&Kind::Table(table), &format!("{path}.\"PATTERN\""), tables);
        }
        Kind::TextOrTable(_, table) | Kind::FlagOrTable(table) => (format!("[{path}]"), *table),
        Kind::List(_, Kind::TextOrTable(_, table))
        | Kind::OneOrMore(Kind::TextOrTable(_, table)) => (format!("[[{path}]]"), *table),
        Kind::List(_, kind) | Kind::OneOrMore(kind) => return collect(kind, path, tables),
        _ => return,
    };
    if let Some((headers, _)) = tables.iter_mut().find(|(_, known)| ptr::eq(*known, table)) {
        headers.push(header);
        return;
    }
    tables.push((vec![header], table));
    for key in table.keys {
        collect(&key.kind, &format!("{path}.{}", key.name), tables);
    }
}
