//! Who called without belonging to a trunk: a bounded record for the operator.

use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};
use sip::endpoint::Transport;

use super::{Origin, Unattributed};

/// Sources of refused requests. Memory is taken once: when full, the source that has been silent
/// longest makes room, so a flood of spoofed addresses costs nothing but older entries.
#[derive(Debug)]
pub struct UnknownCallers {
    callers: Vec<UnknownCaller>,
    /// When news of so many sources would have been told at [`NEWS_PER_SECOND`].
    told_until: Timestamp,
    by_reason: [u64; Unattributed::NAMES.len()],
}

/// One refused source.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Debug)]
pub struct UnknownCaller {
    /// Its address.
    pub source: IpAddr,
    /// Transport of its last request.
    #[serde(serialize_with = "transport")]
    pub transport: Transport,
    /// Requests refused since it appeared.
    pub count: u64,
    /// Time of the first one.
    pub first: Timestamp,
    /// Time of the last one.
    pub last: Timestamp,
    /// Why the last one was refused.
    #[serde(serialize_with = "reason")]
    pub reason: Unattributed,
}

fn transport<S: Serializer>(transport: &Transport, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(transport.as_str())
}

fn reason<S: Serializer>(reason: &Unattributed, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(reason.name())
}

impl UnknownCallers {
    /// An empty record with room for [`UNKNOWN_CALLERS_MAX`] sources.
    pub fn new() -> Self {
        Self {
            callers: Vec::with_capacity(UNKNOWN_CALLERS_MAX),
            told_until: Timestamp::MIN,
            by_reason: [0; Unattributed::NAMES.len()],
        }
    }

    /// Counts one refused request. Returns the source as it stands now, so that the first can be
    /// told and the rest be passed over in silence.
    pub fn record(
        &mut self,
        origin: &Origin,
        reason: Unattributed,
        now: Timestamp,
    ) -> UnknownCaller {
        if let Some(count) = self.by_reason.get_mut(reason.index()) {
            *count += 1;
        }
        let source = origin.source.ip().to_canonical();
        if let Some(known) = self.callers.iter_mut().find(|caller| caller.source == source) {
            known.count += 1;
            (known.last, known.reason, known.transport) = (now, reason, origin.transport);
            return *known;
        }
        let transport = origin.transport;
        let caller = UnknownCaller { source, transport, count: 1, first: now, last: now, reason };
        if self.callers.len() < UNKNOWN_CALLERS_MAX {
            self.callers.push(caller);
        } else if let Some(oldest) = self.callers.iter_mut().min_by_key(|caller| caller.last) {
            *oldest = caller;
        }
        caller
    }

    /// Takes a source out, because it was added to a trunk or does not matter; `false` when it is
    /// not there.
    pub fn forget(&mut self, source: IpAddr) -> bool {
        let before = self.callers.len();
        self.callers.retain(|caller| caller.source != source.to_canonical());
        self.callers.len() < before
    }

    /// Whether a source that was just recorded is worth a log line and news: the first time and then
    /// ever more rarely, and never more than [`NEWS_PER_SECOND`] for long, because a flood can come
    /// from as many addresses as it likes.
    pub fn is_news(&mut self, caller: &UnknownCaller) -> bool {
        let now = caller.last;
        let full = self.told_until.max(now);
        let ahead = full.duration_since(now);
        let each = SignedDuration::from_secs(1) / NEWS_PER_SECOND;
        if !caller.count.is_power_of_two() || ahead > each * (NEWS_BURST - 1) {
            return false;
        }
        self.told_until = full + each;
        true
    }

    /// The recorded sources, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &UnknownCaller> {
        self.callers.iter()
    }

    /// Requests refused since the start, by reason, with the reason's stable name.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Unattributed::NAMES.into_iter().zip(self.by_reason)
    }
}

impl Default for UnknownCallers {
    fn default() -> Self {
        Self::new()
    }
}

/// Sources a second that are told of.
pub const NEWS_PER_SECOND: i32 = 2;
/// Sources that are told of at once after a silence.
pub const NEWS_BURST: i32 = 20;
/// Sources kept at most.
pub const UNKNOWN_CALLERS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(address: [u8; 4]) -> Origin {
        Origin {
            transport: Transport::Udp,
            local: "192.0.2.1:5060".parse().unwrap(),
            source: (address, 5060).into(),
            peer: None,
            opened_for: None,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_source_is_counted_once_per_request() {
        let mut callers = UnknownCallers::new();
        let caller = origin([198, 51, 100, 7]);
        assert_eq!(callers.record(&caller, Unattributed::UnknownSource, at(1)).count, 1);
        assert_eq!(callers.record(&caller, Unattributed::UnknownSource, at(2)).count, 2);
        let only: Vec<_> = callers.iter().collect();
        assert_eq!((only.len(), only[0].count, only[0].last), (1, 2, at(2)));
        assert_eq!(only[0].first, at(1));
        let json = serde_json::to_value(only[0]).unwrap();
        assert_eq!(
            (&json["transport"], &json["reason"]),
            (&"UDP".into(), &"unknown_source".into())
        );
        assert!(callers.forget("198.51.100.7".parse().unwrap()));
        assert!(!callers.forget("198.51.100.7".parse().unwrap()) && callers.iter().count() == 0);
        assert_eq!(callers.counts().next(), Some(("unknown_source", 2)));
    }

    #[test]
    fn a_flood_is_told_at_a_pace_however_many_addresses_it_has() {
        let mut callers = UnknownCallers::new();
        let mut told = 0;
        for i in 0..10_000u32 {
            let [_, a, b, c] = i.to_be_bytes();
            let at = at(0) + SignedDuration::from_millis(i.into());
            let reason = Unattributed::UnknownSource;
            let caller = callers.record(&origin([10, a, b, c]), reason, at);
            told += u32::from(callers.is_news(&caller));
        }
        assert_eq!(told, 20 + 10 * 2 - 1);
        let mut told = 0;
        for i in 0..10_000 {
            let caller =
                callers.record(&origin([192, 0, 2, 9]), Unattributed::UnknownSource, at(1_000 + i));
            told += u32::from(callers.is_news(&caller));
        }
        assert_eq!(told, 14, "one address: the 1st, 2nd, 4th, … 8192nd time");
    }

    #[test]
    fn a_flood_of_addresses_takes_no_more_memory() {
        let mut callers = UnknownCallers::new();
        let room = callers.callers.capacity();
        for i in 0..3 * UNKNOWN_CALLERS_MAX as u32 {
            let [_, a, b, c] = i.to_be_bytes();
            callers.record(&origin([10, a, b, c]), Unattributed::UnknownSource, at(i64::from(i)));
        }
        assert_eq!(callers.iter().count(), UNKNOWN_CALLERS_MAX);
        assert_eq!(callers.callers.capacity(), room);
        let oldest = callers.iter().map(|caller| caller.last).min();
        assert_eq!(oldest, Some(at(2 * UNKNOWN_CALLERS_MAX as i64)));
        assert_eq!(callers.counts().next(), Some(("unknown_source", 3 * 256)));
    }
}
