//! The walk over a document: every value is held against the kind its key declares.
//!
//! It goes on after a fault, so that all of them are found; what was wrong becomes [`Value::Wrong`].

mod leaf;

use std::borrow::Cow;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::environment::Environment;
use super::faults::{Gathered, Malformed};
use super::keys::{Fallback, Kind, NAME, Table};
use super::nearest::{did_you_mean, nearest};
use super::written::{Entry, Node, Section, Value, child};

/// What the walk takes along.
pub(super) struct Walk<'w, 's> {
    /// Where variables and files come from.
    pub(super) env: &'w dyn Environment,
    /// The folder that paths of files are relative to.
    pub(super) folder: PathBuf,
    /// What was found wrong.
    pub(super) gathered: &'w mut Gathered<'s>,
}

/// A value of the document and what is known of it before it is looked at.
#[derive(Clone, Copy)]
struct Here<'h> {
    path: &'h str,
    at: usize,
    value: &'h DeValue<'h>,
}

impl Walk<'_, '_> {
    /// Walks `document`, which is `table` with the path `path`, named at `at`.
    pub(super) fn section(
        &mut self,
        table: &Table,
        document: &DeTable<'_>,
        path: &str,
        at: usize,
    ) -> Section {
        let mut entries = Vec::with_capacity(document.len());
        let mut slips = Vec::new();
        for (name, value) in in_file_order(document) {
            let key_path = child(path, name.get_ref());
            let Some(key) = table.key(name.get_ref()) else {
                slips.extend(self.unknown(table, name, &key_path));
                continue;
            };
            let here = Here {
                path: &key_path,
                at: place_of(name, value),
                value: value.get_ref(),
            };
            let node = self.node(key.kind, here);
            entries.push(Entry {
                name: key.name.to_owned(),
                node,
            });
        }
        let section = Section {
            path: path.to_owned(),
            at,
            entries,
        };
        self.required(table, &section, &slips);
        if !table
            .forms
            .iter()
            .flat_map(|form| *form)
            .any(|name| slips.contains(name))
        {
            self.forms(table, &section);
        }
        section
    }

    /// An unknown key; gives the known one it was probably meant to be, which is then not missing.
    fn unknown(
        &mut self,
        table: &Table,
        name: &Spanned<Cow<'_, str>>,
        path: &str,
    ) -> Option<&'static str> {
        let known: Vec<_> = table.keys.iter().map(|key| key.name).collect();
        let help = did_you_mean(name.get_ref(), &known);
        let error = Malformed::new("there is no such key", help);
        self.gathered.wrong(name.span().start, path, error);
        nearest(name.get_ref(), known.into_iter())
    }

    fn required(&mut self, table: &Table, section: &Section, slips: &[&str]) {
        for key in table.keys {
            let missing = !section.has(key) && !slips.contains(&key.name);
            if missing && matches!(key.fallback, Fallback::Required) {
                self.gathered.absent(
                    section.at,
                    &section.path_of(key),
                    Malformed::new("is missing", format!("it is {}", key.kind.words())),
                );
            }
        }
    }

    /// Exactly one of the table's groups of keys has to be there, whole and alone.
    fn forms(&mut self, table: &Table, section: &Section) {
        let of_forms = |name: &str| table.forms.iter().any(|form| form.contains(&name));
        let found: Vec<&str> = section
            .entries
            .iter()
            .map(|entry| entry.name.as_str())
            .filter(|name| of_forms(name))
            .collect();
        let whole = |form: &&[&str]| {
            form.len() == found.len() && form.iter().all(|name| found.contains(name))
        };
        if table.forms.is_empty() || table.forms.iter().any(whole) {
            return;
        }
        let forms: Vec<_> = table
            .forms
            .iter()
            .map(|form| format!("`{}`", form.join("` with `")))
            .collect();
        let help = format!("exactly one of: {}", forms.join(", "));
        if found.is_empty() {
            let mut names: Vec<&str> = Vec::new();
            for name in table.forms.iter().copied().flatten() {
                if !names.contains(name) {
                    names.push(name);
                }
            }
            let message = format!("has neither `{}`", names.join("` nor `"));
            let error = Malformed::new(message, help);
            self.gathered.absent(section.at, &section.path, error);
        } else {
            let message = format!("has `{}`", found.join("` and `"));
            self.gathered
                .wrong(section.at, &section.path, Malformed::new(message, help));
        }
    }

    fn node(&mut self, kind: Kind, here: Here<'_>) -> Node {
        let value = self.value(kind, here);
        Node {
            path: here.path.to_owned(),
            at: here.at,
            value: value.unwrap_or(Value::Wrong),
        }
    }

    /// The value of `kind`; none if it is not one, which was then said.
    fn value(&mut self, kind: Kind, here: Here<'_>) -> Option<Value> {
        match (kind, here.value) {
            (Kind::Text(_), DeValue::String(raw)) => self.text(raw, here).map(Value::Text),
            (Kind::Choice(words), DeValue::String(raw)) => self.choice(words, raw, here),
            (Kind::Flag, DeValue::Boolean(flag)) => Some(Value::Flag(*flag)),
            (Kind::Count(least, most), DeValue::Integer(number)) => {
                let number = i128::from_str_radix(number.as_str(), number.radix()).ok();
                let count = number.and_then(|number| u64::try_from(number).ok());
                let count = count.filter(|count| (least..=most).contains(count));
                if count.is_none() {
                    self.wrong(
                        here,
                        "is out of bounds",
                        format!("it has to be {}", kind.words()),
                    );
                }
                count.map(Value::Count)
            }
            (Kind::Duration(least), DeValue::String(raw)) => {
                self.duration(raw, least, here).map(Value::Duration)
            }
            (Kind::Limit, DeValue::String(raw)) => self.limit(raw, here),
            (Kind::Size(least, most), DeValue::String(raw)) => self.size(raw, (least, most), here),
            (Kind::Secret, _) => self.secret(here),
            (Kind::File, DeValue::String(raw)) => self.file(raw, here).map(Value::File),
            (Kind::List(least, kind), DeValue::Array(list)) => self.list(*kind, least, list, here),
            (Kind::OneOrMore(kind), DeValue::Array(list)) => self.list(*kind, 1, list, here),
            (Kind::OneOrMore(kind), _) => Some(Value::List(vec![self.node(*kind, here)])),
            (Kind::Map(kind), DeValue::Table(table)) => Some(self.map(*kind, table, here)),
            (Kind::Named(kind), DeValue::Table(table)) => Some(self.named(kind, table, here)),
            (Kind::Each(_, kind), DeValue::Table(table)) => {
                Some(self.map(Kind::Table(kind), table, here))
            }
            (
                Kind::Table(kind) | Kind::TextOrTable(_, kind) | Kind::FlagOrTable(kind),
                DeValue::Table(table),
            ) => Some(self.table(kind, table, here)),
            (Kind::FlagOrTable(kind), DeValue::Boolean(true)) => {
                Some(self.table(kind, &DeTable::new(), here))
            }
            (Kind::FlagOrTable(_), DeValue::Boolean(false)) => Some(Value::Flag(false)),
            (Kind::TextOrTable(..), DeValue::String(raw)) => self.text(raw, here).map(Value::Text),
            (_, found) => {
                self.unfit(kind, found, here);
                None
            }
        }
    }

    fn table(&mut self, kind: &Table, table: &DeTable<'_>, here: Here<'_>) -> Value {
        Value::Table(self.section(kind, table, here.path, here.at))
    }

    /// A value of a wrong type. Says which, never the value: it may be a secret gone astray.
    fn unfit(&mut self, kind: Kind, found: &DeValue<'_>, here: Here<'_>) {
        let (a, found) = match found {
            DeValue::Integer(_) => ("an", "integer"),
            DeValue::Array(_) => ("an", "array"),
            other => ("a", other.type_str()),
        };
        let message = match kind {
            Kind::Duration(_) | Kind::Limit | Kind::Size(..)
                if matches!(found, "integer" | "float") =>
            {
                "is a number without a unit".to_owned()
            }
            _ => format!("is {a} {found}"),
        };
        self.wrong(here, message, format!("it has to be {}", kind.words()));
    }

    fn wrong(&mut self, here: Here<'_>, message: impl Into<String>, help: impl Into<String>) {
        self.gathered
            .wrong(here.at, here.path, Malformed::new(message, help));
    }

    fn list(
        &mut self,
        kind: Kind,
        least: usize,
        list: &[Spanned<DeValue<'_>>],
        here: Here<'_>,
    ) -> Option<Value> {
        if list.len() < least {
            let help = format!(
                "it takes at least one, {}, or the key is left out",
                kind.words()
            );
            self.wrong(here, "is an empty list", help);
            return None;
        }
        let nodes = list.iter().enumerate().map(|(index, value)| {
            let path = format!("{}[{index}]", here.path);
            let at = value.span().start;
            self.node(
                kind,
                Here {
                    path: &path,
                    at,
                    value: value.get_ref(),
                },
            )
        });
        Some(Value::List(nodes.collect()))
    }

    fn map(&mut self, kind: Kind, table: &DeTable<'_>, here: Here<'_>) -> Value {
        let entries = in_file_order(table).into_iter().map(|(name, value)| {
            let path = child(here.path, name.get_ref());
            let at = place_of(name, value);
            let node = self.node(
                kind,
                Here {
                    path: &path,
                    at,
                    value: value.get_ref(),
                },
            );
            Entry {
                name: name.get_ref().to_string(),
                node,
            }
        });
        let entries = entries.collect();
        Value::Table(Section {
            path: here.path.to_owned(),
            at: here.at,
            entries,
        })
    }

    fn named(&mut self, table: &'static Table, document: &DeTable<'_>, here: Here<'_>) -> Value {
        for (name, _) in in_file_order(document) {
            if let Err(error) = check_name(name.get_ref()) {
                let path = child(here.path, name.get_ref());
                self.gathered.wrong(name.span().start, &path, error);
            }
        }
        self.map(Kind::Table(table), document, here)
    }
}

/// Whether `name` may name a key, an upstream or a route.
fn check_name(name: &str) -> Result<(), Malformed> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.is_empty() && name.chars().all(fits) {
        return Ok(());
    }
    Err(Malformed::new(
        "is not a name",
        format!("it has to be {}", NAME.words),
    ))
}

/// A table is found by its name, every other value by itself.
fn place_of(name: &Spanned<Cow<'_, str>>, value: &Spanned<DeValue<'_>>) -> usize {
    match value.get_ref() {
        DeValue::Table(_) => name.span().start,
        _ => value.span().start,
    }
}

/// The entries of a table in the order of the file; the parser keeps them by name.
fn in_file_order<'t, 'i>(
    table: &'t DeTable<'i>,
) -> Vec<(&'t Spanned<Cow<'i, str>>, &'t Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}
