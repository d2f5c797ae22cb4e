//! The values that hold no others: texts, units, secrets, files.

use std::time::Duration;

use toml::de::DeValue;

use super::{Here, Walk};
use crate::config::faults::Malformed;
use crate::config::interpolate::{Expanded, expand};
use crate::config::keys::{Kind, SECRET_FILE, SECRET_FILE_PATH};
use crate::config::nearest::did_you_mean;
use crate::config::secret::Secret;
use crate::config::units::{parse_duration, parse_size, show_duration, show_size};
use crate::config::values::Limit;
use crate::config::written::{File, Text, Value};

impl Walk<'_, '_> {
    fn expand(&mut self, raw: &str, here: Here<'_>) -> Option<Expanded> {
        match expand(raw, self.env) {
            Ok(expanded) => Some(expanded),
            Err(errors) => {
                for error in errors {
                    self.gathered.wrong(here.at, here.path, error);
                }
                None
            }
        }
    }

    pub(super) fn text(&mut self, raw: &str, here: Here<'_>) -> Option<Text> {
        let value = self.expand(raw, here)?.text;
        Some(Text {
            value,
            raw: raw.to_owned(),
        })
    }

    pub(super) fn choice(&mut self, words: &[&str], raw: &str, here: Here<'_>) -> Option<Value> {
        let text = self.text(raw, here)?;
        if words.contains(&text.value.as_str()) {
            return Some(Value::Text(text));
        }
        self.wrong(
            here,
            format!("`{raw}` is not known here"),
            did_you_mean(raw, words),
        );
        None
    }

    /// Reads `raw` with `parse`, after variables were put in.
    fn unit<T>(
        &mut self,
        raw: &str,
        here: Here<'_>,
        parse: fn(&str) -> Result<T, Malformed>,
    ) -> Option<T> {
        let text = self.text(raw, here)?;
        match parse(&text.value) {
            Ok(value) => Some(value),
            Err(Malformed { message, help }) => {
                self.wrong(here, format!("`{raw}` is {message}"), help);
                None
            }
        }
    }

    pub(super) fn duration(
        &mut self,
        raw: &str,
        least: Duration,
        here: Here<'_>,
    ) -> Option<Duration> {
        let duration = self.unit(raw, here, parse_duration)?;
        if duration < least {
            let least = show_duration(least);
            self.wrong(
                here,
                format!("`{raw}` is too short"),
                format!("at least \"{least}\""),
            );
            return None;
        }
        Some(duration)
    }

    pub(super) fn limit(&mut self, raw: &str, here: Here<'_>) -> Option<Value> {
        let parse = |text: &str| match text {
            "off" => Ok(Limit::Off),
            text => parse_duration(text).map(Limit::After),
        };
        let limit = self.unit(raw, here, parse)?;
        if limit == Limit::After(Duration::ZERO) {
            let help = "at least \"1ms\"; \"off\" is without";
            self.wrong(here, format!("`{raw}` is no time at all"), help);
            return None;
        }
        Some(Value::Limit(limit))
    }

    pub(super) fn size(&mut self, raw: &str, bounds: (u64, u64), here: Here<'_>) -> Option<Value> {
        let size = self.unit(raw, here, parse_size)?;
        let (least, most) = bounds;
        if size < least {
            let least = show_size(least);
            self.wrong(
                here,
                format!("`{raw}` is too small"),
                format!("at least \"{least}\""),
            );
            return None;
        }
        if size > most {
            let most = show_size(most);
            self.wrong(
                here,
                format!("`{raw}` is too large"),
                format!("at most \"{most}\""),
            );
            return None;
        }
        Some(Value::Size(size))
    }

    pub(super) fn secret(&mut self, here: Here<'_>) -> Option<Value> {
        let (value, source) = match here.value {
            DeValue::String(raw) => {
                let expanded = self.expand(raw, here)?;
                if let Some(empty) = expanded.empty {
                    return Some(Value::Secret(Secret::new("", empty)));
                }
                let source = expanded.variables.into_iter().next();
                (
                    expanded.text,
                    source.unwrap_or_else(|| here.path.to_owned()),
                )
            }
            DeValue::Table(table) => {
                let section = self.section(&SECRET_FILE, table, here.path, here.at);
                let file = section.file(&SECRET_FILE_PATH)?;
                let value = file.text.trim_end_matches(['\r', '\n']).to_owned();
                (value, file.path.display().to_string())
            }
            found => {
                self.unfit(Kind::Secret, found, here);
                return None;
            }
        };
        if value.is_empty() {
            let help = "give it a value, or say that it may be empty: \"${NAME:-}\"";
            self.wrong(here, "is empty", help);
            return None;
        }
        Some(Value::Secret(Secret::new(value, source)))
    }

    pub(super) fn file(&mut self, raw: &str, here: Here<'_>) -> Option<File> {
        let text = self.text(raw, here)?;
        let path = self.folder.join(&text.value);
        match self.env.read(&path) {
            Ok(text) => Some(File { path, text }),
            Err(error) => {
                let message = format!("the file `{raw}` cannot be read: {error}");
                self.wrong(
                    here,
                    message,
                    "paths are relative to the folder of the configuration",
                );
                None
            }
        }
    }
}
