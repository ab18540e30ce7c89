//! Trunks that take no new calls and wait for their last one to end.

use std::time::Instant;

use crate::ask::Reply;
use crate::trunk::TrunkId;

/// Who waits for which trunk.
#[derive(Default, Debug)]
pub struct Drains(Vec<Waiting>);

#[derive(Debug)]
struct Waiting {
    trunk: TrunkId,
    /// When calls that are left are ended.
    limit: Option<Instant>,
    reply: Reply<Drained>,
}

/// How a drain went.
#[derive(Clone, Copy, PartialEq, Eq, serde::Serialize, Debug)]
pub enum Drained {
    /// No call is left.
    Empty,
    /// The trunk takes calls again: the drain was given up.
    Resumed,
}

impl Drains {
    /// Tells `reply` when no call of the trunk is left.
    pub fn wait(&mut self, trunk: TrunkId, limit: Option<Instant>, reply: Reply<Drained>) {
        self.0.push(Waiting { trunk, limit, reply });
    }

    /// The trunk takes calls again.
    pub fn resume(&mut self, trunk: TrunkId) {
        for waiting in self.0.extract_if(.., |waiting| waiting.trunk == trunk) {
            let _gave_up = waiting.reply.send(Drained::Resumed);
        }
    }

    /// Tells whose trunk is empty; the trunks whose calls have had their time.
    pub fn tend(&mut self, now: Instant, calls: impl Fn(TrunkId) -> usize) -> Vec<TrunkId> {
        for waiting in self.0.extract_if(.., |waiting| calls(waiting.trunk) == 0) {
            let _gave_up = waiting.reply.send(Drained::Empty);
        }
        let late = self.0.iter_mut().filter(|waiting| waiting.limit.is_some_and(|at| at <= now));
        late.map(|waiting| {
            waiting.limit = None;
            waiting.trunk
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::sync::oneshot;

    #[test]
    fn a_drain_ends_when_the_last_call_does_or_its_time_is_up() {
        let (start, mut drains) = (Instant::now(), Drains::default());
        let (reply, mut answer) = oneshot::channel();
        let limit = start + Duration::from_secs(60);
        drains.wait(TrunkId(1), Some(limit), reply);
        assert!(drains.tend(start, |_| 2).is_empty() && answer.try_recv().is_err());
        assert_eq!(drains.tend(limit, |_| 1), [TrunkId(1)], "its calls are to be ended");
        assert!(drains.tend(limit, |_| 1).is_empty(), "once");
        assert!(drains.tend(limit, |_| 0).is_empty());
        assert_eq!(answer.try_recv(), Ok(Drained::Empty));
    }

    #[test]
    fn who_waits_for_a_trunk_that_is_resumed_is_told() {
        let mut drains = Drains::default();
        let (reply, mut answer) = oneshot::channel();
        drains.wait(TrunkId(1), None, reply);
        drains.resume(TrunkId(2));
        assert!(answer.try_recv().is_err());
        drains.resume(TrunkId(1));
        assert_eq!(answer.try_recv(), Ok(Drained::Resumed));
        assert!(drains.0.is_empty());
    }
}
