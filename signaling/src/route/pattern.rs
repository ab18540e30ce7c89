//! Which numbers a route takes.
//!
//! Written as people who know Asterisk write it: `4930123` is that number, `4930*` everything that
//! starts so, `_0[1-9]X.` an Asterisk pattern, `/^\+49(30|40)/` a regular expression. Each kind is
//! tried in time linear in the number, whatever the pattern.

use std::fmt;

use regex_lite::{Regex, RegexBuilder};

/// Which numbers a route takes.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// Any, also none.
    Any,
    /// Exactly this.
    Exact(String),
    /// Everything that starts so.
    Prefix(String),
    /// An Asterisk pattern.
    Dial {
        /// As it was written.
        text: String,
        /// What it means.
        places: Vec<Place>,
    },
    /// A regular expression; it fits where it is found, unless `^` and `$` hold it.
    Regex(Regex),
}

/// One element of an Asterisk pattern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// One of these characters: `X` is 0-9, `Z` 1-9, `N` 2-9, `[15-7]` 1, 5, 6, 7, else itself.
    OneOf(Vec<char>),
    /// `.`: one or more of anything, at the end.
    OneOrMore,
    /// `!`: anything or nothing, at the end.
    Rest,
}

/// Patterns are the same when they are written the same.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for Pattern {}

/// As [`Pattern::parse`] reads it.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(text) => f.write_str(text),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Dial { text, .. } => write!(f, "_{text}"),
            Self::Regex(regex) => write!(f, "/{}/", regex.as_str()),
        }
    }
}

impl Pattern {
    /// Reads a pattern; the error says what is wrong and what is supported.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(format!("the pattern is longer than {PATTERN_BYTES_MAX} bytes"));
        }
        if text.is_empty() || text == "*" {
            return Ok(Self::Any);
        }
        if let Some(pattern) = text.strip_prefix('_') {
            let places = dial(pattern)?;
            return Ok(Self::Dial { text: pattern.to_owned(), places });
        }
        let slashes = text.strip_prefix('/').and_then(|text| text.strip_suffix('/'));
        if let Some(inner) = slashes {
            return regex(inner);
        }
        if text.starts_with('^') {
            return regex(text);
        }
        if text.starts_with('/') || text.ends_with('$') || text.contains(NOT_IN_NUMBERS) {
            return Err(String::from(
                "this reads like a regular expression; write it between slashes, as in \
                 /^\\+49(30|40)/",
            ));
        }
        let (number, prefix) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        match prefix {
            true => Ok(Self::Prefix(number.to_owned())),
            false => Ok(Self::Exact(number.to_owned())),
        }
    }

    /// Whether a number fits.
    pub fn matches(&self, number: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(text) => text == number,
            Self::Prefix(prefix) => number.starts_with(prefix.as_str()),
            Self::Dial { places, .. } => dial_matches(places, number),
            Self::Regex(regex) => number.len() <= NUMBER_BYTES_MAX && regex.is_match(number),
        }
    }
}

fn regex(text: &str) -> Result<Pattern, String> {
    if text.is_empty() {
        return Err(String::from("the regular expression is empty; write * for any number"));
    }
    let built = RegexBuilder::new(text)
        .size_limit(REGEX_BYTES_MAX)
        .nest_limit(REGEX_NESTING_MAX)
        .build()
        .map_err(|error| format!("the regular expression is not usable: {error}"))?;
    Ok(Pattern::Regex(built))
}

fn dial(pattern: &str) -> Result<Vec<Place>, String> {
    let mut places = Vec::new();
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        if matches!(places.last(), Some(Place::OneOrMore | Place::Rest)) {
            return Err(String::from("nothing may follow . or ! in an Asterisk pattern"));
        }
        places.push(match c {
            'X' | 'x' => Place::OneOf(('0'..='9').collect()),
            'Z' | 'z' => Place::OneOf(('1'..='9').collect()),
            'N' | 'n' => Place::OneOf(('2'..='9').collect()),
            '.' => Place::OneOrMore,
            '!' => Place::Rest,
            '[' => Place::OneOf(set(&mut rest)?),
            // Asterisk ignores it: written for the eye, as in _555-XXXX.
            '-' => continue,
            other => Place::OneOf(vec![other]),
        });
    }
    match places.is_empty() {
        true => Err(String::from("an Asterisk pattern needs something after the _")),
        false => Ok(places),
    }
}

/// The characters up to the closing bracket.
fn set(rest: &mut std::str::Chars<'_>) -> Result<Vec<char>, String> {
    let broken = || String::from("a [ needs characters and a closing ], as in [15-7]");
    let mut members: Vec<char> = Vec::new();
    loop {
        match rest.next() {
            Some(']') if !members.is_empty() => return Ok(members),
            Some('-') => {
                let (Some(low), Some(high)) = (members.last().copied(), rest.next()) else {
                    return Err(broken());
                };
                // Numbers are ASCII; a wider range would only take memory.
                if high == ']' || low > high || !low.is_ascii() || !high.is_ascii() {
                    return Err(broken());
                }
                members.extend((low..=high).skip(1));
            }
            Some(']') | None => return Err(broken()),
            Some(member) => members.push(member),
        }
    }
}

fn dial_matches(places: &[Place], number: &str) -> bool {
    let mut rest = number.chars();
    for place in places {
        let fits = match place {
            Place::Rest => return true,
            Place::OneOrMore => return rest.next().is_some(),
            Place::OneOf(set) => rest.next().is_some_and(|c| set.contains(&c)),
        };
        if !fits {
            return false;
        }
    }
    rest.next().is_none()
}

/// Characters that stand in regular expressions and in no number.
const NOT_IN_NUMBERS: [char; 7] = ['\\', '|', '(', ')', '{', '}', '?'];
/// Longest pattern.
pub const PATTERN_BYTES_MAX: usize = 128;
/// Memory that one compiled regular expression may take; `[0-9]{1,15}` takes some 2 kB.
pub const REGEX_BYTES_MAX: usize = 64 * 1024;
/// How deep groups may be nested.
pub const REGEX_NESTING_MAX: u32 = 16;
/// A longer number fits no regular expression.
pub const NUMBER_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_fits_what_it_says() {
        for (pattern, number, want) in [
            ("", "", true),
            ("*", "anything", true),
            ("4930", "4930", true),
            ("4930", "49301", false),
            ("4930", "493", false),
            ("4930*", "49301", true),
            ("4930*", "4930", true),
            ("4930*", "493", false),
            ("+49*", "+4930", true),
            ("+49*", "4930", false),
            ("*97", "*97", true),
            ("#31#*", "#31#4930", true),
            ("_X.", "12", true),
            ("_X.", "1", false),
            ("_X!", "1", true),
            ("_X!", "123", true),
            ("_NXX", "199", false),
            ("_NXX", "299", true),
            ("_nxx", "299", true),
            ("_ZX", "01", false),
            ("_0[1-36]", "02", true),
            ("_0[1-36]", "06", true),
            ("_0[1-36]", "04", false),
            ("_555-XXXX", "5551234", true),
            ("_555-XXXX", "555-1234", false),
            ("_+49X.", "+4930", true),
            ("_*97", "*97", true),
            ("_!", "", true),
            ("_.", "", false),
            ("/^49/", "4930", true),
            ("/^49/", "1490", false),
            ("^49(30|40)", "494012", true),
            ("^49(30|40)$", "494012", false),
            ("/49.*/", "1490", true),
            (r"/^\+49\d{3,5}$/", "+49123", true),
            (r"/^\+49\d{3,5}$/", "+4912", false),
            (r"/^\+49\d{3,5}$/", "+49123456", false),
            (r"/^(?i)sales$/", "Sales", true),
        ] {
            let pattern = Pattern::parse(pattern).unwrap();
            assert_eq!(pattern.matches(number), want, "{pattern} {number}");
            let again = Pattern::parse(&pattern.to_string()).unwrap();
            assert_eq!(again, pattern, "what is shown can be written");
            assert_eq!(again.matches(number), want);
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_reason() {
        for (pattern, said) in [
            ("_", "after the _"),
            ("_.X", "nothing may follow"),
            ("_!1", "nothing may follow"),
            ("_[", "closing ]"),
            ("_[]", "closing ]"),
            ("_[1-]", "closing ]"),
            ("_[5-1]", "closing ]"),
            ("_[-5]", "closing ]"),
            ("_[a-\u{10ffff}]", "closing ]"),
            ("49$", "between slashes"),
            ("49\\d", "between slashes"),
            ("(a|b)", "between slashes"),
            ("4{2}", "between slashes"),
            ("/49", "between slashes"),
            ("//", "empty"),
            ("/(/", "not usable"),
            ("/[9-0]/", "not usable"),
            ("/(?=4)9/", "not usable"),
        ] {
            let error = Pattern::parse(pattern).unwrap_err();
            assert!(error.contains(said), "{pattern}: {error}");
        }
    }

    #[test]
    fn patterns_are_bounded_in_length_memory_and_depth() {
        let fits = "4".repeat(PATTERN_BYTES_MAX);
        assert!(Pattern::parse(&fits).is_ok() && Pattern::parse(&format!("{fits}4")).is_err());
        assert!(Pattern::parse("/[0-9]{100}/").is_ok(), "positive control");
        let memory = Pattern::parse("/(([0-9]{100}){100}){100}/").unwrap_err();
        assert!(memory.contains("not usable"), "{memory}");
        let depth = format!("/{}4{}/", "(".repeat(40), ")".repeat(40));
        assert!(Pattern::parse(&depth).unwrap_err().contains("not usable"));
        let any = Pattern::parse("/^.*$/").unwrap();
        assert!(any.matches(&"4".repeat(NUMBER_BYTES_MAX)));
        assert!(!any.matches(&"4".repeat(NUMBER_BYTES_MAX + 1)));
    }

    #[test]
    fn any_text_is_read_or_refused() {
        // Each sequence of up to four of these, as a pattern and as a number.
        const PARTS: [&str; 12] =
            ["", "_", "[", "]", "-", ".", "!", "/", "^", "4", "X", "\u{1f4de}"];
        for n in 0..PARTS.len().pow(4) {
            let text: String =
                (0..4).map(|i| PARTS[n / PARTS.len().pow(i) % PARTS.len()]).collect();
            if let Ok(pattern) = Pattern::parse(&text) {
                let _either = pattern.matches(&text);
                assert_eq!(Pattern::parse(&pattern.to_string()).unwrap(), pattern, "{text}");
            }
        }
    }
}
