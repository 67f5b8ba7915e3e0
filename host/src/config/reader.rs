//! Reads tables of a TOML document setting by setting, and remembers what is wrong with each.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problems, nearest};
use super::settings::{self, Setting};

/// A value and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found<T> {
    pub(super) value: T,
    /// Byte in the file; none for a default.
    pub(super) at: Option<usize>,
}

/// A table of the document.
#[derive(Clone)]
pub(super) struct Section<'d> {
    /// As the file writes it: `bots.watch`.
    pub(super) path: String,
    /// As [`SETTINGS`](super::settings::SETTINGS) calls it: `bots.NAME`.
    kind: &'static str,
    table: Option<&'d DeTable<'d>>,
    pub(super) at: Option<usize>,
}

impl<'d> Section<'d> {
    /// A table that is one of the document's own.
    pub(super) fn top(document: &'d DeTable<'d>, name: &'static str, problems: &mut Problems<'_>) -> Self {
        let none = Self {
            path: name.to_owned(),
            kind: name,
            table: None,
            at: None,
        };
        let Some((key, value)) = document.get_key_value(name) else {
            return none;
        };
        Self::of(name.to_owned(), name, &key.span(), value, problems).unwrap_or(none)
    }

    /// A value that has to be a table.
    pub(super) fn of(
        path: String,
        kind: &'static str,
        at: &Range<usize>,
        value: &'d Spanned<DeValue<'d>>,
        problems: &mut Problems<'_>,
    ) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(table) => Some(Self {
                path,
                kind,
                table: Some(table),
                at: Some(at.start),
            }),
            other => {
                let message = format!("this is {}, not a table", called(other));
                let remedy = format!("write [{path}] and its settings below it");
                problems.error(Some(value.span().start), &path, message, remedy);
                None
            }
        }
    }

    /// The table below a key.
    pub(super) fn below(&self, key: &'static str, kind: &'static str, problems: &mut Problems<'_>) -> Self {
        let path = format!("{}.{key}", self.path);
        let none = Self {
            path: path.clone(),
            kind,
            table: None,
            at: self.at,
        };
        let Some((key, value)) = self.table.and_then(|table| table.get_key_value(key)) else {
            return none;
        };
        Self::of(path, kind, &key.span(), value, problems).unwrap_or(none)
    }

    /// All entries, sorted by key.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'d str, Range<usize>, &'d Spanned<DeValue<'d>>)> {
        let table = self.table.into_iter().flat_map(|table| table.iter());
        table.map(|(key, value)| (key.get_ref().as_ref(), key.span(), value))
    }

    /// The setting's name in messages.
    pub(super) fn key(&self, setting: &Setting) -> String {
        format!("{}.{}", self.path, setting.key)
    }

    /// Whether the file has the setting.
    pub(super) fn has(&self, setting: &Setting) -> Option<usize> {
        let (key, _) = self.table?.get_key_value(setting.key)?;
        Some(key.span().start)
    }

    fn value(&self, setting: &Setting) -> Option<&'d Spanned<DeValue<'d>>> {
        self.table?.get(setting.key)
    }

    /// A text, from the file or the default.
    pub(super) fn text(&self, setting: &Setting, problems: &mut Problems<'_>) -> Option<Found<String>> {
        let Some(value) = self.value(setting) else {
            return setting.default.map(|default| Found {
                value: default.to_owned(),
                at: None,
            });
        };
        let at = value.span().start;
        match value.get_ref() {
            DeValue::String(text) => Some(Found {
                value: text.to_string(),
                at: Some(at),
            }),
            // 90 for a length of time and 1000000 for a size need no quotes.
            DeValue::Integer(number) => Some(Found {
                value: number.as_str().replace('_', ""),
                at: Some(at),
            }),
            other => {
                self.wrong_type(setting, at, other, problems);
                None
            }
        }
    }

    /// A text in some form, from the file or the default.
    pub(super) fn parsed<T>(
        &self,
        setting: &Setting,
        problems: &mut Problems<'_>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Found<T>> {
        let Found { value, at } = self.text(setting, problems)?;
        match parse(&value) {
            Ok(value) => Some(Found { value, at }),
            Err(remedy) => {
                let message = format!("{value:?} is not {}", with_article(setting.form));
                problems.error(at, &self.key(setting), message, remedy);
                None
            }
        }
    }

    /// True or false, from the file or the default.
    pub(super) fn flag(&self, setting: &Setting, problems: &mut Problems<'_>) -> bool {
        match self.value(setting).map(|value| (value.span().start, value.get_ref())) {
            None => setting.default == Some("true"),
            Some((_, DeValue::Boolean(flag))) => *flag,
            Some((at, other)) => {
                self.wrong_type(setting, at, other, problems);
                false
            }
        }
    }

    /// A list of texts; one text is a list of one.
    pub(super) fn texts(&self, setting: &Setting, problems: &mut Problems<'_>) -> Vec<Found<String>> {
        let Some(value) = self.value(setting) else {
            return Vec::new();
        };
        let values = match value.get_ref() {
            DeValue::Array(values) => values.iter().collect(),
            _ => vec![value],
        };
        let mut texts = Vec::new();
        for value in values {
            match value.get_ref() {
                DeValue::String(text) => {
                    texts.push(Found {
                        value: text.to_string(),
                        at: Some(value.span().start),
                    });
                }
                other => self.wrong_type(setting, value.span().start, other, problems),
            }
        }
        texts
    }

    fn wrong_type(&self, setting: &Setting, at: usize, value: &DeValue<'_>, problems: &mut Problems<'_>) {
        let message = format!("this is {}, not {}", called(value), with_article(setting.form));
        let remedy = match (setting.form, setting.default) {
            ("true or false", _) => "write true or false, without quotes".to_owned(),
            (_, Some(default)) => format!("the default is {default:?}"),
            (form, None) if form.starts_with("list") => format!("write {} = [\"…\"]", setting.key),
            _ => format!("write {} = \"…\"", setting.key),
        };
        problems.error(Some(at), &self.key(setting), message, remedy);
    }

    /// Complain about keys that are no settings.
    pub(super) fn refuse_unknown(&self, problems: &mut Problems<'_>) {
        for (key, span, _) in self.entries() {
            if !settings::keys_of(self.kind).any(|known| known == key) {
                let path = format!("{}.{key}", self.path);
                unknown(&path, key, span.start, settings::keys_of(self.kind).collect(), problems);
            }
        }
    }
}

/// Complain about a name, and say which was probably meant.
pub(super) fn unknown(path: &str, name: &str, at: usize, known: Vec<&str>, problems: &mut Problems<'_>) {
    let remedy = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "remove it".to_owned(),
        None => format!("the settings here are {}", known.join(", ")),
    };
    problems.error(Some(at), path, "there is no such setting", remedy);
}

/// What a user calls a value's type.
fn called(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn with_article(form: &str) -> String {
    match form {
        "true or false" => form.to_owned(),
        "time" => "a length of time".to_owned(),
        _ if form.starts_with(['a', 'e', 'i', 'o']) => format!("an {form}"),
        _ => format!("a {form}"),
    }
}
