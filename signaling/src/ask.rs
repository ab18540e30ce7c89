//! Questions and orders to the shards, each with its reply. The queues are bounded: who finds one full
//! is told so at once, and a shard answers between two messages. What several shards answer is made
//! one answer in `ask/spread.rs`.

mod spread;

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use abi::Duty;
use crossbeam::channel::{Receiver, Sender, unbounded};
use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::call::plan::explain_call;
use crate::drain::Drained;

use crate::feed::LiveCall;
use crate::media::{Ordered, WorkerReport};
use crate::report::{self, GatewayReport, TrunkReport};
use crate::route::{Explanation, Query};
use crate::shard::{Moment, Shard};
use crate::trunk::{TrunkId, UnknownCaller};

/// One question or order.
#[derive(Debug)]
pub enum Ask {
    /// Every live call.
    Calls(Reply<Vec<LiveCall>>),
    /// End the call with this id; `false` when there is none.
    HangUp { call: String, reply: Reply<bool> },
    /// How trunks stand: these, or all.
    Trunks { which: Option<Vec<TrunkId>>, reply: Reply<Vec<TrunkReport>> },
    /// How the gateway itself stands.
    Gateway(Reply<GatewayReport>),
    /// A trunk takes no new calls from now on. The answer comes when its last call is over; after
    /// `limit` the calls that are left are ended.
    Drain { trunk: TrunkId, limit: Option<Duration>, reply: Reply<Drained> },
    /// A trunk takes calls again.
    Resume { trunk: TrunkId, reply: Reply<()> },
    /// The whole gateway takes no new calls from now on and says so to peers that ask.
    Close(Reply<()>),
    /// How a call from this trunk to this number would be routed, step by step. The numbers are as
    /// the trunk writes them; `at` is now where it is absent.
    Explain {
        from: TrunkId,
        called: String,
        caller: String,
        at: Option<Timestamp>,
        reply: Reply<Explanation>,
    },
    /// Who knocked without belonging to a trunk, the latest first.
    UnknownCallers(Reply<Vec<UnknownCaller>>),
    /// Every worker of the data plane.
    Workers(Reply<Vec<WorkerReport>>),
    /// A worker, or the first that stands by, is to do this. The answer is the worker's.
    Order { worker: Option<u32>, duty: Duty, reply: Reply<Ordered> },
    /// Take this source out of that list; `false` when it is not in it.
    ForgetCaller { source: IpAddr, reply: Reply<bool> },
}

/// Where an answer goes. Who asked may have given up.
pub type Reply<T> = oneshot::Sender<T>;

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unanswered {
    #[error("{ASKS_WAITING_MAX} questions wait already; ask again in a moment")]
    Busy,
    #[error("the gateway is stopping")]
    Stopping,
}

/// Asks the shards. Clones ask the same ones.
#[derive(Clone, Debug)]
pub struct Asks(Arc<[Sender<Ask>]>);

/// A way to ask so many shards, and where each takes its questions from.
pub fn asks(shards: usize) -> (Asks, Vec<Receiver<Ask>>) {
    // Counted in `put`: a bounded queue of crossbeam keeps what waits in it when the shard ends, and
    // with it whoever waits for the answer. This kind drops it.
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..shards).map(|_| unbounded()).unzip();
    (Asks(senders.into()), receivers)
}

impl Asks {
    /// Asks and awaits the answer: `asks.ask(Ask::Calls).await`.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn ask<T>(&self, question: impl FnOnce(Reply<T>) -> Ask) -> Result<T, Unanswered> {
        let (reply, answer) = oneshot::channel();
        match &*self.0 {
            [only] => put(only, question(reply))?,
            shards => spread::spread(shards, question(reply)).await?,
        }
        answer.await.map_err(|_| Unanswered::Stopping)
    }

    /// The same for threads that may block.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub fn ask_blocking<T>(&self, question: impl FnOnce(Reply<T>) -> Ask) -> Result<T, Unanswered> {
        let mut answer = pin!(self.ask(question));
        let waker = Waker::from(Arc::new(Parked(std::thread::current())));
        loop {
            match answer.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(answer) => return answer,
                Poll::Pending => std::thread::park(),
            }
        }
    }
}

/// Wakes a thread that waits for an answer.
struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Puts a question to one shard.
fn put(shard: &Sender<Ask>, ask: Ask) -> Result<(), Unanswered> {
    if shard.len() >= ASKS_WAITING_MAX {
        return Err(Unanswered::Busy);
    }
    shard.send(ask).map_err(|_| Unanswered::Stopping)
}

/// Answers one question.
pub fn answer(shard: &mut Shard, at: Moment, ask: Ask) {
    match ask {
        Ask::Calls(reply) => give(reply, shard.calls.list(&shard.world.media)),
        Ask::HangUp { call, reply } => {
            let view = shard.plan.view();
            let mut desk = shard.world.desk(at, &view);
            give(reply, shard.calls.hang_up(&mut desk, &call));
        }
        Ask::Trunks { which, reply } => {
            let view = shard.plan.view();
            give(reply, report::trunks(shard, &view, at, which.as_deref()));
        }
        Ask::Gateway(reply) => give(reply, report::gateway(shard)),
        Ask::Drain { trunk, limit, reply } => {
            shard.world.health.drain(trunk, true);
            let limit = limit.and_then(|limit| at.now.checked_add(limit));
            shard.drains.wait(trunk, limit, reply);
        }
        Ask::Resume { trunk, reply } => {
            shard.world.health.drain(trunk, false);
            shard.drains.resume(trunk);
            give(reply, ());
        }
        Ask::Close(reply) => {
            shard.world.health.close();
            give(reply, ());
        }
        Ask::Explain { from, called, caller, at: when, reply } => {
            let view = shard.plan.view();
            let desk = shard.world.desk(at, &view);
            let at = when.unwrap_or(desk.wall);
            let query = Query { from, called: &called, caller: &caller, at };
            give(reply, explain_call(&desk, &query));
        }
        Ask::UnknownCallers(reply) => {
            let mut callers: Vec<UnknownCaller> = shard.gate.unknown().iter().copied().collect();
            callers.sort_by_key(|caller| std::cmp::Reverse(caller.last));
            give(reply, callers);
        }
        Ask::Workers(reply) => give(reply, shard.world.media.reports()),
        Ask::Order { worker, duty, reply } => shard.world.media.order(worker, duty, reply),
        Ask::ForgetCaller { source, reply } => {
            give(reply, shard.gate.unknown_mut().forget(source));
        }
    }
}

/// Answers; who asked may not wait any more.
fn give<T>(reply: Reply<T>, answer: T) {
    let _gave_up = reply.send(answer);
}

/// Questions that may wait for one shard. Askers that come at the same instant may be a few more.
pub const ASKS_WAITING_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_and_a_gone_shard_are_told_at_once() {
        let (asks, mut questions) = asks(1);
        let put_one = |_| {
            let (reply, answer) = oneshot::channel();
            put(&asks.0[0], Ask::Calls(reply)).unwrap();
            answer
        };
        let mut waiting: Vec<_> = (0..ASKS_WAITING_MAX).map(put_one).collect();
        assert_eq!(asks.ask_blocking(Ask::Calls).unwrap_err(), Unanswered::Busy);
        questions.clear();
        let last = waiting.pop().unwrap();
        assert!(last.blocking_recv().is_err(), "whoever waits is told that there is no answer");
        assert_eq!(asks.ask_blocking(Ask::Calls).unwrap_err(), Unanswered::Stopping);
    }

    #[test]
    fn the_answer_comes_back() {
        let (asks, mut questions) = asks(1);
        let questions = questions.remove(0);
        let shard = std::thread::spawn(move || match questions.recv().unwrap() {
            Ask::HangUp { call, reply } => reply.send(call == "abc").unwrap(),
            other => panic!("{other:?}"),
        });
        let call = String::from("abc");
        assert_eq!(asks.ask_blocking(|reply| Ask::HangUp { call, reply }), Ok(true));
        shard.join().unwrap();
    }
}
