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

/// The running timers of one owner: three at most (an INVITE client may have a retransmission, a
/// timeout and the guard of a CANCEL), and for nearly all of its life one or none.
#[derive(Default, Debug)]
pub(super) struct Armed(Vec<(Alarm, Deadline)>);

#[derive(Default, Debug)]
pub(super) struct Schedule {
    queue: BTreeMap<Deadline, (Owner, Alarm)>,
    order: u64,
}

impl Schedule {
    /// Sets `alarm`, replacing the same alarm of this owner.
    pub(super) fn arm(&mut self, armed: &mut Armed, owner: Owner, alarm: Alarm, at: Instant) {
        self.disarm(armed, alarm);
        self.order += 1;
        armed.0.reserve_exact(1);
        armed.0.push((alarm, (at, self.order)));
        self.queue.insert((at, self.order), (owner, alarm));
    }

    pub(super) fn disarm(&mut self, armed: &mut Armed, alarm: Alarm) {
        if let Some(deadline) = armed.fired(alarm) {
            self.queue.remove(&deadline);
        }
    }

    pub(super) fn disarm_all(&mut self, armed: &mut Armed) {
        for (_, deadline) in std::mem::take(&mut armed.0) {
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
    /// Forgets an alarm that `Schedule::due` handed out, or one that is stopped.
    pub(super) fn fired(&mut self, alarm: Alarm) -> Option<Deadline> {
        let at = self.0.iter().position(|(one, _)| *one == alarm)?;
        let (_, deadline) = self.0.swap_remove(at);
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
        Some(deadline)
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
