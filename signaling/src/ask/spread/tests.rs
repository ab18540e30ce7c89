use std::sync::Arc;
use std::thread::JoinHandle;

use abi::Duty;
use crossbeam::channel::Receiver;
use jiff::Timestamp;
use sip::endpoint::Transport;

use super::*;
use crate::ask::{Asks, asks};
use crate::trunk::{TrunkId, Unattributed};

/// Two shards that answer each question by `answer`, which is told the shard's number.
fn two(answer: impl Fn(usize, Ask) + Send + Sync + 'static) -> (Asks, Vec<JoinHandle<()>>) {
    let (asks, questions) = asks(2);
    let answer = Arc::new(answer);
    let serve = |(number, questions): (usize, Receiver<Ask>)| {
        let answer = Arc::clone(&answer);
        std::thread::spawn(move || questions.iter().for_each(|ask| answer(number, ask)))
    };
    (asks, questions.into_iter().enumerate().map(serve).collect())
}

fn caller(source: &str, count: u64, [first, last]: [i64; 2]) -> UnknownCaller {
    UnknownCaller {
        source: source.parse().unwrap(),
        transport: Transport::Udp,
        count,
        first: Timestamp::from_second(first).unwrap(),
        last: Timestamp::from_second(last).unwrap(),
        reason: Unattributed::UnknownSource,
    }
}

#[test]
fn one_answer_is_made_of_all() {
    let (asks, shards) = two(|number, ask| match ask {
        Ask::HangUp { call, reply } => give(reply, number == 1 && call == "on the second"),
        Ask::ForgetCaller { reply, .. } => give(reply, number == 0),
        Ask::Close(reply) => give(reply, ()),
        Ask::UnknownCallers(reply) => give(
            reply,
            match number {
                0 => vec![caller("192.0.2.1", 2, [10, 20]), caller("192.0.2.2", 1, [5, 5])],
                _ => vec![caller("192.0.2.1", 3, [4, 30])],
            },
        ),
        Ask::Drain { reply, .. } => {
            give(reply, if number == 0 { Drained::Empty } else { Drained::Resumed });
        }
        other => panic!("{other:?}"),
    });
    let hang_up = |call: &str| {
        let call = call.to_owned();
        asks.ask_blocking(|reply| Ask::HangUp { call, reply })
    };
    assert_eq!(hang_up("on the second"), Ok(true));
    assert_eq!(hang_up("nowhere"), Ok(false));
    let source = "192.0.2.1".parse().unwrap();
    assert_eq!(asks.ask_blocking(|reply| Ask::ForgetCaller { source, reply }), Ok(true));
    assert_eq!(asks.ask_blocking(Ask::Close), Ok(()));
    let callers = asks.ask_blocking(Ask::UnknownCallers).unwrap();
    assert_eq!(callers, [caller("192.0.2.1", 5, [4, 30]), caller("192.0.2.2", 1, [5, 5])]);
    let drain = |reply| Ask::Drain { trunk: TrunkId(1), limit: None, reply };
    assert_eq!(asks.ask_blocking(drain), Ok(Drained::Resumed), "one gave up, so it is not empty");
    drop(asks);
    shards.into_iter().for_each(|shard| shard.join().unwrap());
}

/// Two that stand by would both obey, so an order for whoever does is asked of one after the other.
#[test]
fn an_order_is_carried_out_once() {
    let (asks, shards) = two(|number, ask| match ask {
        Ask::Order { worker: Some(worker), reply, .. } => {
            let is_own = usize::try_from(worker).unwrap() % 2 == number && worker < 4;
            give(reply, if is_own { Ok(worker) } else { Err(OrderError::NoSuchWorker(worker)) });
        }
        Ask::Order { worker: None, reply, duty } => {
            assert_eq!((number, duty), (0, Duty::Drain), "the second is asked in vain");
            give(reply, Ok(2));
        }
        other => panic!("{other:?}"),
    });
    let order = |worker| {
        asks.ask_blocking(|reply| Ask::Order { worker, duty: Duty::Drain, reply }).unwrap()
    };
    assert_eq!(order(Some(0)), Ok(0));
    assert_eq!(order(Some(3)), Ok(3));
    assert_eq!(order(Some(9)), Err(OrderError::NoSuchWorker(9)));
    assert_eq!(order(None), Ok(2));
    drop(asks);
    shards.into_iter().for_each(|shard| shard.join().unwrap());
}

#[test]
fn a_shard_that_has_ended_is_told() {
    let (asks, mut questions) = asks(2);
    drop(questions.pop());
    assert_eq!(asks.ask_blocking(Ask::Close), Err(Unanswered::Stopping));
}
