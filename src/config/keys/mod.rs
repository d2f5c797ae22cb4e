//! Every key of the configuration, declared once.
//!
//! From these declarations come the walk over a document, the JSON Schema and the reference, so
//! that the three cannot disagree. A default stands here and nowhere else: what is compiled, what
//! an editor shows and what is printed in the reference are one constant.

mod callers;
mod failures;
mod forms;
mod routes;
mod server;
mod streams;
mod tokens;
mod upstreams;

use std::time::Duration;

pub(super) use callers::*;
pub(super) use failures::*;
pub(super) use forms::*;
pub(super) use routes::*;
pub(super) use server::*;
pub(super) use streams::*;
pub(super) use tokens::*;
pub(super) use upstreams::*;

use super::units::{show_duration, show_size};
use super::values::Limit;

/// One key: its name in its table and everything there is to say about it.
pub(in crate::config) struct Key {
    /// As written.
    pub(in crate::config) name: &'static str,
    /// What its value must be.
    pub(in crate::config) kind: Kind,
    /// What holds where it is not written.
    pub(in crate::config) fallback: Fallback,
    /// What it does, in Markdown.
    pub(in crate::config) meaning: &'static str,
}

/// A table of keys.
pub(in crate::config) struct Table {
    /// What it is for, in Markdown.
    pub(in crate::config) about: &'static str,
    /// A piece of configuration that shows it; the examples of all tables make one whole file.
    pub(in crate::config) example: &'static str,
    /// Groups of keys of which exactly one has to be written; empty if there is no such rule.
    pub(in crate::config) forms: &'static [&'static [&'static str]],
    /// Its keys, in the order of the reference.
    pub(in crate::config) keys: &'static [Key],
}

/// What the value of a key must be.
#[derive(Clone, Copy)]
pub(in crate::config) enum Kind {
    /// Text of some form, checked where it is compiled.
    Text(&'static Form),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// A whole number within these bounds.
    Count(u64, u64),
    /// A duration, at least this long.
    Duration(Duration),
    /// A duration, or `"off"`.
    Limit,
    /// A size within these bounds, in bytes.
    Size(u64, u64),
    /// Text that must not be shown, or `{ file = "…" }`.
    Secret,
    /// The path of a file that is read; relative to the folder of the configuration.
    File,
    /// A list of at least so many.
    List(usize, &'static Kind),
    /// One, or a list.
    OneOrMore(&'static Kind),
    /// A table whose keys are free.
    Map(&'static Kind),
    /// A table of named tables.
    Named(&'static Table),
    /// A table of tables, each named by what it holds for.
    Each(&'static Form, &'static Table),
    /// A table.
    Table(&'static Table),
    /// Text, or a table that says more.
    TextOrTable(&'static Form, &'static Table),
    /// `true` for a table of nothing but defaults, `false` for none, or the table.
    FlagOrTable(&'static Table),
}

/// What holds where a key is not written.
#[derive(Clone, Copy)]
pub(in crate::config) enum Fallback {
    /// It has to be written.
    Required,
    /// Nothing; the words say what that means.
    Absent(&'static str),
    /// This text.
    Text(&'static str),
    /// This.
    Flag(bool),
    /// This many.
    Count(u64),
    /// This long.
    Duration(Duration),
    /// This size.
    Size(u64),
    /// This limit, or none.
    Limit(Limit),
    /// Decided later, from constants that the words are made of.
    Later(fn() -> String),
}

impl Table {
    /// The key called `name`.
    pub(in crate::config) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The names of its keys.
    pub(in crate::config) fn names(&self) -> Vec<&'static str> {
        self.keys.iter().map(|key| key.name).collect()
    }
}

impl Kind {
    /// The kind in words, for faults and the reference: "a duration such as …".
    pub(in crate::config) fn words(&self) -> String {
        match self {
            Self::Text(form) => form.words.to_owned(),
            Self::Choice(words) => {
                let quoted: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
                format!("one of {}", quoted.join(", "))
            }
            Self::Flag => "`true` or `false`".to_owned(),
            Self::Count(least, most) => format!("a whole number from {least} to {most}"),
            Self::Duration(_) => "a duration such as `\"15s\"`".to_owned(),
            Self::Limit => "a duration such as `\"15s\"`, or `\"off\"`".to_owned(),
            Self::Size(least, most) if *most < i64::MAX as u64 => {
                let (least, most) = (show_size(*least), show_size(*most));
                format!("a size from `\"{least}\"` to `\"{most}\"`")
            }
            Self::Size(..) => "a size such as `\"64KiB\"`".to_owned(),
            Self::Secret => {
                "a secret: text such as `\"${NAME}\"`, or `{ file = \"path\" }`".to_owned()
            }
            Self::File => "the path of a file".to_owned(),
            Self::List(_, kind) => format!("a list, each {}", kind.words()),
            Self::OneOrMore(kind) => format!("{}, or a list of them", kind.words()),
            Self::Map(kind) => format!("a table, each value {}", kind.words()),
            Self::Named(_) => "a table of named tables".to_owned(),
            Self::Each(form, _) => format!("a table of tables, each named by {}", form.words),
            Self::Table(_) => "a table".to_owned(),
            Self::TextOrTable(form, table) => {
                format!("{} or `{{ {} }}`", form.words, table.names().join(", "))
            }
            Self::FlagOrTable(table) => {
                let keys = table.names().join(", ");
                format!("`true`, `false` or `{{ {keys} }}`")
            }
        }
    }
}

impl Fallback {
    /// The default in words, for the reference.
    pub(in crate::config) fn words(&self) -> String {
        match self {
            Self::Required => "required".to_owned(),
            Self::Absent(words) => (*words).to_owned(),
            Self::Text(text) => format!("`\"{text}\"`"),
            Self::Flag(flag) => format!("`{flag}`"),
            Self::Count(count) => format!("`{count}`"),
            Self::Duration(duration) => format!("`\"{}\"`", show_duration(*duration)),
            Self::Size(size) => format!("`\"{}\"`", show_size(*size)),
            Self::Limit(limit) => show_limit(*limit),
            Self::Later(words) => words(),
        }
    }
}

/// A limit as it is written.
fn show_limit(limit: Limit) -> String {
    match limit {
        Limit::After(duration) => format!("`\"{}\"`", show_duration(duration)),
        Limit::Off | Limit::Unset => "`\"off\"`".to_owned(),
    }
}

/// Declares a table and a constant for each of its keys, in one breath: a key that the compile
/// reads but no document may hold cannot be written down.
macro_rules! table {
    (
        $(#[doc = $words:literal])*
        $table:ident { about: $about:expr, example: $example:expr, forms: $forms:expr }
        $($key:ident = ($name:literal, $kind:expr, $fallback:expr, $meaning:expr);)*
    ) => {
        $(
            #[doc = concat!("`", $name, "`")]
            pub(in crate::config) const $key: Key = Key {
                name: $name,
                kind: $kind,
                fallback: $fallback,
                meaning: $meaning,
            };
        )*
        $(#[doc = $words])*
        pub(in crate::config) static $table: Table = Table {
            about: $about,
            example: $example,
            forms: $forms,
            keys: &[$($key),*],
        };
    };
}
use table;

/// Keys at the top of the file.
pub(in crate::config) mod root {
    use super::*;

    table! {
        /// The whole file.
        ROOT {
            about: "",
            example: "",
            forms: &[]
        }
        SERVER = ("server", Kind::Table(&super::SERVER), Fallback::Absent("all defaults"),
            "The listener for clients.");
        ADMIN = ("admin", Kind::Table(&super::ADMIN), Fallback::Absent("no such listener"),
            "The listener for operators.");
        LOG = ("log", Kind::Table(&super::LOG), Fallback::Absent("all defaults"),
            "What is logged, and how.");
        KEYS = ("keys", Kind::Named(&super::CALLER), Fallback::Absent("none"),
            "The callers' API keys, by name.");
        JWT = ("jwt", Kind::Named(&super::TOKENS), Fallback::Absent("none"),
            "Who signs callers' tokens, by name.");
        HUB = ("hub", Kind::Table(&super::HUB), Fallback::Absent("all defaults"),
            "Bounds of all streams that are kept or shared.");
        TOPICS = ("topics", Kind::Each(&super::TOPIC_PATTERN, &super::TOPIC), Fallback::Absent("none"),
            "What holds for topics, by their names.");
        UPSTREAMS = ("upstreams", Kind::Named(&super::UPSTREAM), Fallback::Absent("none"),
            "The backends, by name.");
        ROUTES = ("routes", Kind::Named(&super::ROUTE), Fallback::Required,
            "What goes where, by name; at least one.");
    }
}
