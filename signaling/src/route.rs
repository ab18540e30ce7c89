//! Where a call goes: an ordered table, first match wins. Pure.
//!
//! A number pattern is written as people who know Asterisk write it: `4930123` is that number,
//! `4930*` everything that starts so, `_0[1-9]X.` an Asterisk pattern.

use std::fmt;
use std::time::Duration;

use crate::trunk::TrunkId;

/// A route's number, for ever: given out by the store, or its place in a file, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RouteId(pub u32);

/// One row of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Its number.
    pub id: RouteId,
    /// Label, unique.
    pub name: String,
    /// The page that lists it. A label: every call comes from a trunk and goes to one, so matching
    /// needs no direction.
    pub direction: RouteDirection,
    /// Order of evaluation, low first; equal positions keep the file's order.
    pub position: u32,
    /// Only calls from this trunk; `None` for any.
    pub from_trunk: Option<TrunkId>,
    /// Only these called numbers.
    pub called: Pattern,
    /// Only these callers.
    pub caller: Pattern,
    /// Characters taken from the front of the called number. A shorter number does not match.
    pub strip: usize,
    /// Put in front after stripping.
    pub prepend: String,
    /// The trunk that the call goes to.
    pub destination: TrunkId,
    /// How long the destination may ring.
    pub ring_limit: Duration,
    /// A disabled route matches nothing.
    pub enabled: bool,
}

/// The menu page of a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RouteDirection {
    /// PBX integration, inbound.
    Inbound,
    /// PBX integration, outbound.
    Outbound,
}

/// The table in the order of evaluation.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Routes(Vec<Route>);

/// The answer for one call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// The route that matched, by name, for the CDR.
    pub route: String,
    /// The same by id.
    pub route_id: RouteId,
    /// Where the call goes.
    pub trunk: TrunkId,
    /// The called number after strip and prepend.
    pub called: String,
    /// How long to let it ring.
    pub ring_limit: Duration,
}

/// No route matches: 404, and the CDR says this.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoRoute;

impl fmt::Display for NoRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no enabled route matches this trunk, called number and caller")
    }
}

impl Routes {
    /// Orders the rows.
    pub fn new(mut rows: Vec<Route>) -> Self {
        rows.sort_by_key(|route| (route.position, route.id));
        Self(rows)
    }

    /// The rows in the order of evaluation.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }

    /// See [`decide`].
    pub fn decide(&self, from: TrunkId, called: &str, caller: &str) -> Result<Decision, NoRoute> {
        decide(self, from, called, caller)
    }

    /// The row with this id.
    pub fn get(&self, id: RouteId) -> Option<&Route> {
        self.0.iter().find(|route| route.id == id)
    }
}

/// The first enabled route that fits a call from trunk `from`. `called` and `caller` are user
/// parts, without parameters.
pub fn decide(
    routes: &Routes,
    from: TrunkId,
    called: &str,
    caller: &str,
) -> Result<Decision, NoRoute> {
    let fits = |route: &&Route| {
        route.enabled
            && route.from_trunk.is_none_or(|trunk| trunk == from)
            && route.called.matches(called)
            && route.caller.matches(caller)
            && route.rewrite(called).is_some()
    };
    let route = routes.0.iter().find(fits).ok_or(NoRoute)?;
    Ok(Decision {
        route: route.name.clone(),
        route_id: route.id,
        trunk: route.destination,
        called: route.rewrite(called).ok_or(NoRoute)?,
        ring_limit: route.ring_limit,
    })
}

impl Route {
    /// The called number after strip and prepend; `None` when nothing would be left to call.
    fn rewrite(&self, called: &str) -> Option<String> {
        let mut rest = called.chars();
        for _ in 0..self.strip {
            rest.next()?;
        }
        let rewritten = format!("{}{}", self.prepend, rest.as_str());
        (!rewritten.is_empty()).then_some(rewritten)
    }
}

/// Which numbers a route takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// Any, also none.
    Any,
    /// Exactly this.
    Exact(String),
    /// Everything that starts so.
    Prefix(String),
    /// An Asterisk pattern.
    Dial(Vec<Place>),
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
            return dial(pattern).map(Self::Dial);
        }
        let regex = text.starts_with('^')
            || text.ends_with('$')
            || (text.len() > 1 && text.starts_with('/') && text.ends_with('/'))
            || text.contains(['\\', '|', '(', '{', '?']);
        if regex {
            return Err(String::from(
                "regular expressions are not carried out by this version; use a number, a prefix \
                 such as 4930*, or an Asterisk pattern such as _0[1-9]X.",
            ));
        }
        match text.strip_suffix('*') {
            Some(prefix) => Ok(Self::Prefix(prefix.to_owned())),
            None => Ok(Self::Exact(text.to_owned())),
        }
    }

    /// Whether a number fits.
    pub fn matches(&self, number: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(text) => text == number,
            Self::Prefix(prefix) => number.starts_with(prefix.as_str()),
            Self::Dial(places) => dial_matches(places, number),
        }
    }
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
                if high == ']' || low > high {
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

/// Longest pattern.
pub const PATTERN_BYTES_MAX: usize = 128;
/// How long a destination may ring unless the route says otherwise.
pub const RING_LIMIT_DEFAULT: Duration = Duration::from_secs(180);

#[cfg(test)]
mod tests {
    use super::*;

    fn route(id: u32, called: &str) -> Route {
        Route {
            id: RouteId(id),
            name: format!("r{id}"),
            direction: RouteDirection::Outbound,
            position: 0,
            from_trunk: None,
            called: Pattern::parse(called).unwrap(),
            caller: Pattern::Any,
            strip: 0,
            prepend: String::new(),
            destination: TrunkId(9),
            ring_limit: RING_LIMIT_DEFAULT,
            enabled: true,
        }
    }

    fn chosen(routes: Vec<Route>, called: &str) -> Option<(u32, String)> {
        let decision = decide(&Routes::new(routes), TrunkId(1), called, "100");
        decision.ok().map(|decision| (decision.route_id.0, decision.called))
    }

    #[test]
    fn patterns() {
        for (pattern, number, want) in [
            ("", "", true),
            ("*", "anything", true),
            ("4930", "4930", true),
            ("4930", "49301", false),
            ("4930*", "49301", true),
            ("4930*", "4930", true),
            ("+49*", "+4930", true),
            ("+49*", "4930", false),
            ("_X.", "12", true),
            ("_X.", "1", false),
            ("_X!", "1", true),
            ("_NXX", "199", false),
            ("_NXX", "299", true),
            ("_ZX", "01", false),
            ("_0[1-36]", "02", true),
            ("_0[1-36]", "06", true),
            ("_0[1-36]", "04", false),
            ("_555-XXXX", "5551234", true),
            ("_+49X.", "+4930", true),
            ("_*97", "*97", true),
        ] {
            assert_eq!(
                Pattern::parse(pattern).unwrap().matches(number),
                want,
                "{pattern} {number}"
            );
        }
    }

    #[test]
    fn nonsense_and_regular_expressions_are_refused() {
        for pattern in ["_", "_.X", "_!1", "_[", "_[]", "_[1-]", "_[5-1]"] {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
        for pattern in ["^49", "49$", "/49.*/", "49\\d", "(a|b)", "4{2}"] {
            let error = Pattern::parse(pattern).unwrap_err();
            assert!(error.contains("not carried out"), "{pattern}: {error}");
        }
    }

    #[test]
    fn the_first_match_by_position_wins() {
        let mut late = route(0, "4930");
        late.position = 2;
        let mut early = route(1, "49*");
        early.position = 1;
        assert_eq!(chosen(vec![late, early], "4930"), Some((1, "4930".into())));
        assert_eq!(chosen(vec![route(0, "*"), route(1, "*")], "1"), Some((0, "1".into())));
    }

    #[test]
    fn a_route_tests_trunk_caller_and_switch() {
        let mut other = route(0, "*");
        other.from_trunk = Some(TrunkId(2));
        let mut off = route(1, "*");
        off.enabled = false;
        let mut caller = route(2, "*");
        caller.caller = Pattern::parse("200").unwrap();
        assert_eq!(chosen(vec![other.clone(), off.clone(), caller.clone()], "1"), None);
        other.from_trunk = Some(TrunkId(1));
        assert_eq!(chosen(vec![off, caller, other], "1"), Some((0, "1".into())));
    }

    #[test]
    fn numbers_are_rewritten_and_never_vanish() {
        let mut strip = route(0, "0*");
        (strip.strip, strip.prepend) = (1, "+49".into());
        assert_eq!(chosen(vec![strip.clone()], "030123"), Some((0, "+4930123".into())));
        strip.strip = 9;
        assert_eq!(chosen(vec![strip.clone(), route(1, "*")], "030"), Some((1, "030".into())));
        (strip.strip, strip.prepend) = (3, String::new());
        assert_eq!(chosen(vec![strip], "030"), None);
    }

    #[test]
    fn no_route_says_why() {
        let error = decide(&Routes::default(), TrunkId(0), "1", "2").unwrap_err();
        assert!(error.to_string().contains("no enabled route"));
    }
}
