use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;

use abi::{Close, Command, Counter, Duty, Family, Guest, Host, Notice, Open, Order, Reason, Shape};

use super::*;
use crate::commons::Commons;
use crate::flow::tests::id;
use crate::io::{Backend, Dscp, Part};
use crate::limits::HOUSEKEEPING_NS;
use crate::ports::Ports;
use crate::prompt::Prompts;
use crate::topology::PortPairs;
use crate::worker::{Parts, Signal};

const FLOWS: u32 = 8;

struct Rig {
    worker: Worker,
    guest: Guest,
    now_ns: u64,
}

/// Two workers of one data plane on an address of its own; the second one stands by.
fn pair(last_octet: u8) -> [Rig; 2] {
    let commons = Arc::new(Commons::new(1, 8, 1));
    [false, true].map(|standby| {
        let bell = || abi::doorbell::create().unwrap();
        let shape = Shape { flows: FLOWS, commands: 8, events: 64 };
        let host = Host::create(u32::from(standby), shape).unwrap();
        let guest = Guest::attach(host.fd().try_clone_to_owned().unwrap()).unwrap();
        let signal = Signal {
            stop: AtomicBool::new(false),
            restore: AtomicBool::new(false),
            restored: sync_channel(1).0,
            bell: bell(),
        };
        let network = vec![[127, 0, 79, last_octet].into()];
        let pairs = PortPairs { first_even: 20_000, count: if standby { 0 } else { 8 } };
        let parts = Parts {
            host,
            ports: Ports::new(&[network], pairs, commons.pairs()),
            commons: Arc::clone(&commons),
            standby,
            signal: Arc::new(signal),
            flows: FLOWS,
            gather_us: 0,
            spin_us: 0,
            dscp: Dscp::EF,
            prompts: Arc::new(Prompts::default()),
        };
        let io = Backend::new(Part::Mmsg, FLOWS, bell(), bell()).unwrap();
        Rig { worker: Worker::new(parts, io), guest, now_ns: 1 }
    })
}

impl Rig {
    fn ask(&mut self, command: &Command) -> Notice {
        self.worker.execute(command, self.now_ns).unwrap();
        let event = self.guest.events.pop().expect("an answer");
        assert!(self.guest.events.pop().is_none(), "one answer");
        event.decode().unwrap()
    }

    fn order(&mut self, duty: Duty) -> Result<(), Reason> {
        match self.ask(&Command::order(&Order { token: 9, duty })) {
            Notice::Updated { token: 9, flow: FlowId::NONE } => Ok(()),
            Notice::Refused { token: 9, flow: FlowId::NONE, reason } => Err(reason),
            other => panic!("{other:?}"),
        }
    }

    fn open(&mut self, index: u32) -> Result<(), Reason> {
        let open = Open {
            token: 1,
            flow: id(index, 1),
            call: [0; 16],
            network: 0,
            family: Family::Any,
            rtcp_mux_in: false,
            dscp: None,
        };
        match self.ask(&Command::open(&open)) {
            Notice::Opened { .. } => Ok(()),
            Notice::Refused { reason, .. } => Err(reason),
            other => panic!("{other:?}"),
        }
    }

    fn close(&mut self, index: u32) {
        let closed = self.ask(&Command::close(&Close { token: 2, flow: id(index, 1) }));
        assert!(matches!(closed, Notice::Closed { .. }), "{closed:?}");
    }

    fn step(&mut self) {
        self.now_ns += HOUSEKEEPING_NS;
        self.worker.keep_house(self.now_ns).unwrap();
    }

    fn state(&self) -> WorkerState {
        self.guest.state().unwrap()
    }

    fn pairs(&self) -> u64 {
        self.guest.counters.get(Counter::PairsOwned)
    }
}

#[test]
fn a_worker_goes_through_its_states_with_its_calls_and_ports() {
    let [mut one, mut two] = pair(1);
    assert_eq!((one.state(), two.state()), (WorkerState::Running, WorkerState::Standby));
    assert_eq!(two.open(0), Err(Reason::Draining), "it has not been told to serve");
    assert_eq!(one.order(Duty::Drain), Err(Reason::LastWorker));
    assert_eq!(one.open(0), Ok(()));
    assert_eq!(two.order(Duty::Serve { core: None }), Ok(()));
    assert_eq!(two.order(Duty::Serve { core: None }), Ok(()), "again, which changes nothing");
    for rig in [&mut one, &mut two] {
        rig.step();
    }
    one.step();
    assert_eq!((one.pairs(), two.pairs()), (4, 4), "ports are shared");
    assert_eq!(two.open(0), Ok(()));

    assert_eq!(one.order(Duty::Drain), Ok(()));
    assert_eq!(one.order(Duty::Drain), Ok(()), "again");
    assert_eq!(one.state(), WorkerState::Draining);
    assert_eq!(one.open(2), Err(Reason::Draining));
    assert_eq!(one.open(0), Ok(()), "the old flow's answer is repeated: it goes on");
    assert_eq!(two.order(Duty::Drain), Err(Reason::LastWorker));
    one.step();
    two.step();
    assert_eq!((one.state(), one.pairs(), two.pairs()), (WorkerState::Draining, 1, 7));
    one.close(0);
    one.step();
    assert_eq!(one.state(), WorkerState::Standby, "its last flow is closed");
    two.step();
    one.step();
    assert_eq!((one.pairs(), two.pairs()), (0, 8), "no port was lost");

    assert_eq!(one.order(Duty::Serve { core: None }), Ok(()));
    assert_eq!(one.state(), WorkerState::Running);
    two.step();
    one.step();
    assert_eq!(one.open(0), Err(Reason::Stale), "generations go on");
    assert_eq!(one.open(3), Ok(()));
}

#[test]
fn a_drained_worker_that_serves_again_keeps_its_flows() {
    let [mut one, mut two] = pair(2);
    assert_eq!(two.order(Duty::Serve { core: None }), Ok(()));
    assert_eq!(one.open(0), Ok(()));
    assert_eq!(one.order(Duty::Drain), Ok(()));
    assert_eq!(one.order(Duty::Serve { core: None }), Ok(()));
    assert_eq!(one.state(), WorkerState::Running);
    assert_eq!((one.open(0), one.open(1)), (Ok(()), Ok(())));
    assert_eq!(two.order(Duty::Drain), Ok(()), "the other one is not the last");
}

#[test]
fn a_worker_that_stands_by_has_no_memory_for_flows_until_it_serves() {
    let [one, mut two] = pair(3);
    assert_eq!((one.worker.flows.capacity(), two.worker.flows.capacity()), (FLOWS, 0));
    assert_eq!(two.order(Duty::Serve { core: None }), Ok(()));
    assert_eq!(two.worker.flows.capacity(), FLOWS);
}

#[test]
fn a_worker_runs_where_it_is_told_to_and_nowhere_else() {
    let [mut one, mut two] = pair(4);
    let cores = || -> Vec<usize> {
        core_affinity::get_core_ids().unwrap().into_iter().map(|core| core.id).collect()
    };
    let all = cores();
    for core in &all {
        assert_eq!(one.order(Duty::Pin { core: *core as u32 }), Ok(()));
        assert_eq!((cores(), one.guest.core()), (vec![*core], Some(*core as u32)));
    }
    let absent = (0..abi::CORES_MAX).rev().find(|core| !all.contains(&(*core as usize))).unwrap();
    let before = (cores(), one.guest.core());
    assert_eq!(one.order(Duty::Pin { core: absent }), Err(Reason::NoCore));
    assert_eq!((cores(), one.guest.core()), before);
    let served = two.order(Duty::Serve { core: Some(absent) });
    assert_eq!((served, two.state()), (Err(Reason::NoCore), WorkerState::Standby));
}
