//! Workers that move between cores, come and go while calls run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod rig;

use abi::{Command, Counter, Duty, FlowId, Notice, Order, Reason, Suite, WorkerState};
use rig::packet::{Peer, rtp};
use rig::{Call, Rig, await_that, config, id, own_address, receive};

/// Packets that wait in sockets while the worker is told something.
const BURST: u16 = 40;

fn rig() -> Rig {
    let mut config = config(own_address(), 64, 20_000..=20_063);
    config.standby = 1;
    Rig::launch(config, dataplane::run)
}

fn order(rig: &mut Rig, worker: usize, duty: Duty) -> Result<(), Reason> {
    rig.turn_to(worker);
    let token = rig.token();
    match rig.ask(&Command::order(&Order { token, duty })) {
        Notice::Updated { flow: FlowId::NONE, .. } => Ok(()),
        Notice::Refused { flow: FlowId::NONE, reason, .. } => Err(reason),
        other => panic!("{other:?}"),
    }
}

fn cores() -> Vec<u32> {
    core_affinity::get_core_ids().unwrap().into_iter().map(|core| core.id as u32).collect()
}

/// A call whose packets are looked at one by one.
struct Talk {
    call: Call,
    peer: Peer,
    sent: u16,
    received: u16,
}

impl Talk {
    fn place(rig: &mut Rig, worker: usize, index: u32) -> Talk {
        rig.turn_to(worker);
        let call = Call::place(rig, index, 1);
        let suite = Suite::AesCm128HmacSha1_80;
        call.join_secure(rig, suite);
        Talk { call, peer: Peer::new(suite), sent: 0, received: 0 }
    }

    fn say(&mut self) {
        for _ in 0..BURST {
            self.call.far_a.rtp.send_to(&rtp(self.sent), self.call.at_a.0).unwrap();
            self.sent += 1;
        }
    }

    /// All that was sent has come, each once and in order.
    fn hear(&mut self) {
        while self.received < self.sent {
            let (protected, from) = receive(&self.call.far_b.rtp);
            assert_eq!(from, self.call.at_b.0);
            assert_eq!(self.peer.unprotect_rtp(&protected), rtp(self.received));
            self.received += 1;
        }
    }
}

#[test]
fn no_packet_is_lost_while_a_worker_moves_and_another_comes_and_goes() {
    let mut rig = rig();
    let cores = cores();
    let mut talk = Talk::place(&mut rig, 0, 0);
    for core in cores.iter().cycle().take(8) {
        talk.say();
        assert_eq!(order(&mut rig, 0, Duty::Pin { core: *core }), Ok(()));
        assert_eq!(rig.guest().core(), Some(*core));
        talk.say();
        talk.hear();
    }
    talk.say();
    assert_eq!(order(&mut rig, 1, Duty::Serve { core: cores.last().copied() }), Ok(()));
    talk.say();
    await_that("the other worker has its share", || rig.counter(Counter::PairsOwned) == 16);
    let mut other = Talk::place(&mut rig, 1, 0);
    other.say();
    talk.say();
    assert_eq!(order(&mut rig, 1, Duty::Drain), Ok(()));
    assert_eq!(rig.try_open(id(2, 1)), refused(id(2, 1), Reason::Draining, &rig));
    other.say();
    talk.say();
    talk.hear();
    other.hear();
    assert_eq!(rig.guest().state(), Some(WorkerState::Draining));
    for flow in [other.call.a, other.call.b] {
        rig.close(flow);
    }
    await_that("it stands by", || rig.guest().state() == Some(WorkerState::Standby));
    rig.turn_to(0);
    await_that("all ports are back", || rig.counter(Counter::PairsOwned) == 32);
    talk.say();
    talk.hear();
    rig.await_counter(Counter::RelayedRtp, u64::from(talk.sent));
    rig.check_books();
}

fn refused(flow: FlowId, reason: Reason, rig: &Rig) -> Notice {
    Notice::Refused { token: rig.last_token(), flow, reason }
}

#[test]
fn all_calls_of_a_drained_worker_end_where_they_began_and_ports_change_hands() {
    let mut rig = rig();
    let mut talk = Talk::place(&mut rig, 0, 0);
    assert_eq!(order(&mut rig, 0, Duty::Drain), Err(Reason::LastWorker));
    assert_eq!(order(&mut rig, 1, Duty::Serve { core: None }), Ok(()));
    assert_eq!(order(&mut rig, 0, Duty::Drain), Ok(()));
    assert_eq!(order(&mut rig, 1, Duty::Drain), Err(Reason::LastWorker));
    // All but the two pairs of the call that goes on.
    await_that("its ports moved", || rig.counter(Counter::PairsOwned) == 30);
    // A port that the first worker had is the second one's now.
    let mut others: Vec<Talk> = (0..8).map(|n| Talk::place(&mut rig, 1, 2 * n)).collect();
    for other in &mut others {
        other.say();
        other.hear();
    }
    talk.say();
    talk.hear();
    rig.abandon();
    talk.say();
    rig.reattach();
    talk.hear();
    rig.turn_to(0);
    assert_eq!(rig.guest().state(), Some(WorkerState::Draining), "a new guest finds it so");
    rig.close(talk.call.a);
    rig.close(talk.call.b);
    await_that("it stands by", || rig.guest().state() == Some(WorkerState::Standby));
    assert_eq!(order(&mut rig, 0, Duty::Serve { core: None }), Ok(()));
    // The second one has 16 leased: what is too much comes back.
    await_that("its share came back", || rig.counter(Counter::PairsOwned) == 16);
    let mut again = Talk::place(&mut rig, 0, 4);
    again.say();
    again.hear();
}
