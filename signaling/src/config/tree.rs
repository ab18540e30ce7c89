//! What is read, whichever way it came: the tables of a TOML file, with the lines they stand on, or
//! an object of the API, without. One reader behind it, so that both obey the same rules.

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

/// One table.
#[derive(Clone, Default, Debug)]
pub(super) struct Table {
    /// Line of its header, from 1; 0 where there are none.
    pub(super) line: usize,
    pub(super) entries: Vec<Entry>,
}

/// One field.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) node: Node,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

/// A value. Texts may be passwords and are wiped.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(Zeroizing<String>),
    /// In decimal, of any size.
    Integer(String),
    Fraction(String),
    Boolean(bool),
    Date(String),
    List(Vec<Node>),
    Table(Table),
}

impl Table {
    /// An object of the API. A field that is `null` is absent; `None` when it is no object.
    pub(super) fn from_json(object: &Json) -> Option<Self> {
        let fields = object.as_object()?.iter().filter_map(|(key, value)| {
            Some(Entry { key: key.clone(), line: 0, node: Node::from_json(value)? })
        });
        Some(Self { line: 0, entries: fields.collect() })
    }

    /// A file's table.
    pub(super) fn from_toml(table: &DeTable<'_>, line: usize, lines: &Lines) -> Self {
        let entries = table.iter().map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            line: lines.of(key.span().start),
            node: Node::from_toml(value, lines),
        });
        Self { line, entries: entries.collect() }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

impl Node {
    fn from_json(value: &Json) -> Option<Self> {
        let value = match value {
            Json::Null => return None,
            Json::Bool(flag) => Value::Boolean(*flag),
            Json::Number(number) if number.is_f64() => Value::Fraction(number.to_string()),
            Json::Number(number) => Value::Integer(number.to_string()),
            Json::String(text) => Value::Text(Zeroizing::new(text.clone())),
            Json::Array(items) => Value::List(items.iter().filter_map(Self::from_json).collect()),
            Json::Object(_) => Value::Table(Table::from_json(value)?),
        };
        Some(Self { line: 0, value })
    }

    fn from_toml(spanned: &Spanned<DeValue<'_>>, lines: &Lines) -> Self {
        let line = lines.of(spanned.span().start);
        let value = match spanned.get_ref() {
            DeValue::String(text) => Value::Text(Zeroizing::new(text.to_string())),
            DeValue::Integer(integer) => {
                let digits = integer.as_str().replace('_', "");
                let number = i128::from_str_radix(&digits, integer.radix());
                Value::Integer(number.map_or(digits, |number| number.to_string()))
            }
            DeValue::Float(fraction) => Value::Fraction(fraction.as_str().to_owned()),
            DeValue::Boolean(flag) => Value::Boolean(*flag),
            DeValue::Datetime(date) => Value::Date(date.to_string()),
            DeValue::Array(items) => {
                Value::List(items.iter().map(|item| Self::from_toml(item, lines)).collect())
            }
            DeValue::Table(table) => Value::Table(Table::from_toml(table, line, lines)),
        };
        Self { line, value }
    }
}

impl Value {
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn as_list(&self) -> Option<&[Node]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn as_table(&self) -> Option<&Table> {
        match self {
            Self::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The value as a person would write it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text(text) => String::clone(text),
            Self::Integer(digits) | Self::Fraction(digits) | Self::Date(digits) => digits.clone(),
            Self::Boolean(flag) => flag.to_string(),
            Self::List(items) => {
                items.iter().map(|item| item.value.shown()).collect::<Vec<_>>().join(", ")
            }
            Self::Table(_) => String::from("{...}"),
        }
    }

    /// What it is, for who wrote another kind of value.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "a whole number",
            Self::Fraction(_) => "a number with a fraction",
            Self::Boolean(_) => "true or false",
            Self::Date(_) => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// The lines of a text.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn new(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(std::iter::once(0).chain(ends.map(|(i, _)| i + 1)).collect())
    }

    /// The line, from 1, that holds the byte at `offset`.
    pub(super) fn of(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }
}
