//! Deadlines of all transactions and dialogs, in order.
//!
//! A stopped timer is removed, not left to fire into nothing: a heap with lazy deletion would keep
//! 64*T1 worth of dead entries, which at some thousand calls a second is more memory than the calls.
//! Each owner keeps its own few deadlines in [`Armed`], so removal needs no second table.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::transaction::Timer;

/// Whose timer it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Owner {
    Client(u64),
    Server(u64),
    Dialog(u64),
}

/// What a timer is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Alarm {
    /// A timer of a transaction machine.
    Transaction(Timer),
    /// A cancelled INVITE without final response is given up (RFC 3261 §9.1).
    CancelUnanswered,
    /// A refused request can no longer be reissued.
    Forget,
    /// Our 2xx is repeated (RFC 3261 §13.3.1.4).
    Repeat,
    /// Our 2xx was not acknowledged in time.
    AckMissing,
    /// Our reliable provisional response is repeated (RFC 3262 §3).
    RepeatReliable,
    /// Our reliable provisional response was not acknowledged in time.
    PrackMissing,
}

/// Moment and order of setting: timers of one moment fire in the order in which they were set.
type Deadline = (Instant, u64);

/// The running timers of one owner. Four is more than any owner runs at a time: an INVITE client
/// may have a retransmission, a timeout and the guard of a CANCEL.
#[derive(Default, Debug)]
pub(super) struct Armed([Option<(Alarm, Deadline)>; 4]);

#[derive(Default, Debug)]
pub(super) struct Schedule {
    queue: BTreeMap<Deadline, (Owner, Alarm)>,
    order: u64,
}

impl Schedule {
    /// Sets `alarm`, replacing the same alarm of this owner.
    pub(super) fn arm(&mut self, armed: &mut Armed, owner: Owner, alarm: Alarm, at: Instant) {
        self.disarm(armed, alarm);
        if let Some(free) = armed.0.iter_mut().find(|slot| slot.is_none()) {
            self.order += 1;
            *free = Some((alarm, (at, self.order)));
            self.queue.insert((at, self.order), (owner, alarm));
        }
    }

    pub(super) fn disarm(&mut self, armed: &mut Armed, alarm: Alarm) {
        let slot = armed.0.iter_mut().find(|slot| slot.is_some_and(|(a, _)| a == alarm));
        if let Some((_, deadline)) = slot.and_then(Option::take) {
            self.queue.remove(&deadline);
        }
    }

    pub(super) fn disarm_all(&mut self, armed: &mut Armed) {
        for (_, deadline) in armed.0.iter_mut().filter_map(Option::take) {
            self.queue.remove(&deadline);
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// The earliest timer that is due. The owner must `fired` it.
    pub(super) fn due(&mut self, now: Instant) -> Option<(Owner, Alarm)> {
        let entry = self.queue.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove())
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}

impl Armed {
    /// Forgets an alarm that `Schedule::due` handed out.
    pub(super) fn fired(&mut self, alarm: Alarm) {
        for slot in &mut self.0 {
            if slot.is_some_and(|(a, _)| a == alarm) {
                *slot = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some origin of its virtual time")]
    fn fires_in_order_and_a_stopped_timer_leaves_nothing() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let (mut schedule, mut one, mut two) =
            (Schedule::default(), Armed::default(), Armed::default());
        schedule.arm(&mut one, Owner::Client(1), Alarm::Repeat, at(20));
        schedule.arm(&mut two, Owner::Client(2), Alarm::Repeat, at(10));
        schedule.arm(&mut one, Owner::Client(1), Alarm::Forget, at(10));
        schedule.arm(&mut one, Owner::Client(1), Alarm::Repeat, at(30));
        assert_eq!((schedule.len(), schedule.next()), (3, Some(at(10))));
        assert_eq!(schedule.due(at(9)), None);
        assert_eq!(schedule.due(at(10)), Some((Owner::Client(2), Alarm::Repeat)));
        two.fired(Alarm::Repeat);
        assert_eq!(schedule.due(at(10)), Some((Owner::Client(1), Alarm::Forget)));
        one.fired(Alarm::Forget);
        schedule.disarm_all(&mut one);
        assert_eq!((schedule.len(), schedule.next()), (0, None));
    }
}
