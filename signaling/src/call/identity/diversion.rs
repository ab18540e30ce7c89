//! Who sent the call on before it came to us: Diversion (RFC 5806) and History-Info (RFC 7044),
//! and how one says what the other does (RFC 7544).

use bytes::Bytes;
use sip::wire::{HeaderName, Headers, NameAddr, Uri};

use super::{Place, user_of};
use crate::trunk::identity::DiversionStyle;

/// One diversion.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diversion {
    /// Who diverted.
    user: Bytes,
    reason: Reason,
    /// How often, 1 to [`COUNTER_MAX`].
    counter: u16,
    pub is_private: bool,
}

/// Why, as both headers can say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reason {
    Unknown,
    Busy,
    NoAnswer,
    Unavailable,
    Unconditional,
    Deflection,
}

impl Reason {
    /// Word of Diversion and cause of History-Info (RFC 7544 §7.3.1).
    const fn spelled(self) -> (&'static str, &'static str) {
        match self {
            Self::Unknown => ("unknown", "404"),
            Self::Busy => ("user-busy", "486"),
            Self::NoAnswer => ("no-answer", "408"),
            Self::Unavailable => ("unavailable", "503"),
            Self::Unconditional => ("unconditional", "302"),
            Self::Deflection => ("deflection", "480"),
        }
    }

    fn of(says: impl Fn((&str, &str)) -> bool) -> Self {
        REASONS.into_iter().find(|reason| says(reason.spelled())).unwrap_or(Self::Unknown)
    }
}

/// The diversions of a request, latest first, at most [`DIVERSIONS_MAX`]. Diversion counts where
/// both headers are there: who writes both says the same in both.
pub fn read(headers: &Headers) -> Vec<Diversion> {
    let mut found: Vec<_> = headers
        .name_addrs(&HeaderName::Diversion)
        .unwrap_or_default()
        .iter()
        .filter_map(of_diversion)
        .collect();
    if found.is_empty() {
        found = of_history(&headers.name_addrs(&HeaderName::HistoryInfo).unwrap_or_default());
    }
    found.truncate(DIVERSIONS_MAX);
    found
}

fn of_diversion(value: &NameAddr) -> Option<Diversion> {
    let text = |name| value.params.get(name).map(|text| String::from_utf8_lossy(text));
    let reason = text("reason").unwrap_or_default();
    let counter = text("counter").and_then(|count| count.parse().ok()).unwrap_or(1);
    let privacy = text("privacy").unwrap_or_default();
    Some(Diversion {
        user: user_of(&value.uri)?,
        reason: Reason::of(|(word, _)| word.eq_ignore_ascii_case(&reason)),
        counter: u16::clamp(counter, 1, COUNTER_MAX),
        is_private: !privacy.is_empty() && !privacy.eq_ignore_ascii_case("off"),
    })
}

/// Each entry that came of a diversion tells why the one before it diverted: by the `cause` of its
/// URI (RFC 4458 §2), or that one by its Reason (RFC 4244 §4.1).
fn of_history(entries: &[NameAddr]) -> Vec<Diversion> {
    let steps = entries.iter().zip(entries.iter().skip(1));
    let diverted = steps.filter_map(|(from, to)| {
        let headers = from.uri.as_sip().and_then(|uri| uri.headers.as_deref());
        let headers = String::from_utf8_lossy(headers.unwrap_or_default()).to_ascii_lowercase();
        let said = to.uri.as_sip()?.params.get("cause");
        let said = said.map(|cause| String::from_utf8_lossy(cause).into_owned());
        let cause = said.or_else(|| {
            let (_, cause) = headers.split_once("cause%3d")?;
            cause.get(..3).map(str::to_owned)
        })?;
        Some(Diversion {
            user: user_of(&from.uri)?,
            reason: Reason::of(|(_, known)| known == cause),
            counter: 1,
            is_private: headers.split('&').any(|header| header.starts_with("privacy=")),
        })
    });
    let mut found: Vec<_> = diverted.collect();
    found.reverse();
    found
}

/// Tells of the diversions, latest first, in the given style. `called` is where the call goes now.
pub(super) fn write(
    diversions: &[&Diversion],
    style: DiversionStyle,
    at: &Place<'_>,
    called: &Uri,
    headers: &mut Vec<(HeaderName, String)>,
) {
    match style {
        DiversionStyle::None => {}
        DiversionStyle::Diversion => {
            let values = diversions.iter().map(|diversion| diversion.spelled(at));
            headers.extend(values.map(|value| (HeaderName::Diversion, value)));
        }
        DiversionStyle::HistoryInfo if diversions.is_empty() => {}
        DiversionStyle::HistoryInfo => {
            headers.push((HeaderName::HistoryInfo, history(diversions, at, called)));
        }
    }
}

impl Diversion {
    fn spelled(&self, at: &Place<'_>) -> String {
        let mut value = at.address(self.user.clone(), None);
        let (reason, _) = self.reason.spelled();
        value.params.set("reason", Bytes::from_static(reason.as_bytes()));
        value.params.set("counter", Bytes::from(self.counter.to_string()));
        if self.is_private {
            value.params.set("privacy", Bytes::from_static(b"full"));
        }
        value.to_string()
    }
}

/// Oldest first, each below the one before it (RFC 7044 §5.1), the number called now last.
fn history(diversions: &[&Diversion], at: &Place<'_>, called: &Uri) -> String {
    let mut index = String::from("1");
    let mut cause = None;
    let mut entries = Vec::new();
    let mut entry = |mut uri: Uri, cause: Option<&'static str>, is_private: bool| {
        if let Uri::Sip(uri) = &mut uri {
            if let Some(cause) = cause {
                uri.params.set("cause", Bytes::from_static(cause.as_bytes()));
            }
            uri.headers = is_private.then_some(Bytes::from_static(b"Privacy=history"));
        }
        let mut value = NameAddr::new(uri);
        value.params.set("index", Bytes::from(index.clone()));
        index.push_str(".1");
        entries.push(value.to_string());
    };
    for diversion in diversions.iter().rev() {
        entry(Uri::Sip(at.uri(diversion.user.clone())), cause, diversion.is_private);
        cause = Some(diversion.reason.spelled().1);
    }
    entry(called.clone(), cause, false);
    entries.join(", ")
}

const REASONS: [Reason; 6] = [
    Reason::Unknown,
    Reason::Busy,
    Reason::NoAnswer,
    Reason::Unavailable,
    Reason::Unconditional,
    Reason::Deflection,
];

/// Diversions that are passed on: the networks of Q.732.2 end a call at the fifth.
pub const DIVERSIONS_MAX: usize = 5;
/// RFC 5806 §4 has two digits.
const COUNTER_MAX: u16 = 99;
