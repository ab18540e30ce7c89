use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use abi::handover::{Link, Listener, Offer};
use abi::{Counter, Event, Host, Request, Shape, WorkerState, doorbell};
use tokio::sync::oneshot;

use super::*;
use crate::media::Side;
const SHAPE: Shape = Shape { flows: 8, commands: 8, events: 8 };

/// A data plane of two workers, of which the second one stands by.
struct Plane {
    hosts: Vec<Host>,
    media: Media,
    _link: Link,
}

impl Plane {
    fn new(test: &str) -> Plane {
        let mut hosts: Vec<Host> = (0..2).map(|id| Host::create(id, SHAPE).unwrap()).collect();
        hosts[0].set_state(WorkerState::Running);
        hosts[0].set_core(Some(5));
        hosts[1].set_state(WorkerState::Standby);
        let bell = doorbell::create().unwrap();
        let name = format!("trunkline-{test}-{}", std::process::id());
        let scratch = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&scratch).unwrap();
        let socket = scratch.join("plane.sock");
        let listener = Listener::bind(&socket, rustix::process::geteuid().as_raw()).unwrap();
        let offers: Vec<Offer<'_>> = hosts
            .iter()
            .map(|host| Offer {
                region: host.fd(),
                command_bell: bell.as_fd(),
                event_bell: bell.as_fd(),
            })
            .collect();
        let (link, attached) = std::thread::scope(|scope| {
            let accepted = scope.spawn(|| listener.accept(&offers).unwrap());
            let attached =
                Media::attach(&socket, Instant::now(), Duration::ZERO, 1).unwrap().remove(0);
            (accepted.join().unwrap(), attached)
        });
        std::fs::remove_dir_all(&scratch).unwrap();
        Plane { hosts, media: attached.0, _link: link }
    }

    fn order(&mut self, which: Option<u32>, duty: Duty) -> oneshot::Receiver<Ordered> {
        let (reply, answer) = oneshot::channel();
        self.media.order(which, duty, reply);
        answer
    }

    /// The next command of a worker.
    fn next(&mut self, worker: usize) -> Option<Request> {
        self.hosts[worker].commands.pop().map(|command| command.decode().unwrap())
    }

    /// A worker carries out its next order, or refuses it.
    fn obey(&mut self, worker: usize, refusal: Option<Reason>) -> Duty {
        let Some(Request::Order(Order { token, duty })) = self.next(worker) else {
            panic!("no order for worker {worker}")
        };
        let answer = match refusal {
            None => Event::updated(token, abi::FlowId::NONE),
            Some(reason) => Event::refused(token, abi::FlowId::NONE, reason),
        };
        self.hosts[worker].events.push(&answer).unwrap();
        assert!(self.media.poll().is_none(), "an order concerns no call");
        duty
    }

    fn leased_on(&mut self) -> Option<u32> {
        let pair = self.media.lease(1, [0; 16], [Side::default(); 2]).ok()?;
        self.media.worker(&pair)
    }
}

#[test]
fn calls_go_to_workers_that_take_them_the_emptiest_first() {
    let mut plane = Plane::new("workers-spread");
    assert_eq!(plane.leased_on(), Some(0), "the other one stands by");
    let mut answer = plane.order(None, Duty::Serve { core: Some(2) });
    assert_eq!(plane.obey(1, None), Duty::Serve { core: Some(2) });
    plane.hosts[1].set_state(WorkerState::Running);
    assert_eq!(answer.try_recv().unwrap(), Ok(1));
    assert_eq!([plane.leased_on(), plane.leased_on()], [Some(1), Some(1)]);
    // From the order on, not from its answer: no OPEN may stand behind it.
    let mut answer = plane.order(Some(1), Duty::Drain);
    assert_eq!(plane.leased_on(), Some(0));
    while let Some(request) = plane.next(1) {
        if let Request::Order(Order { token, duty: Duty::Drain }) = request {
            plane.hosts[1].set_state(WorkerState::Draining);
            plane.hosts[1].events.push(&Event::updated(token, abi::FlowId::NONE)).unwrap();
        }
    }
    assert!(plane.media.poll().is_none());
    assert_eq!(answer.try_recv().unwrap(), Ok(1));
    assert_eq!(plane.leased_on(), Some(0), "and afterwards");
}

#[test]
fn a_worker_that_may_not_drain_goes_on_taking_calls() {
    let mut plane = Plane::new("workers-last");
    let mut answer = plane.order(Some(0), Duty::Drain);
    assert_eq!(plane.leased_on(), None);
    assert_eq!(plane.obey(0, Some(Reason::LastWorker)), Duty::Drain);
    assert_eq!(answer.try_recv().unwrap(), Err(OrderError::Refused(Reason::LastWorker)));
    assert_eq!(plane.leased_on(), Some(0));
}

#[test]
fn orders_that_nobody_can_carry_out_are_refused_at_once() {
    let mut plane = Plane::new("workers-nobody");
    let pin = Duty::Pin { core: 1 };
    let mut unknown = plane.order(Some(7), pin);
    assert_eq!(unknown.try_recv().unwrap(), Err(OrderError::NoSuchWorker(7)));
    let serve = Duty::Serve { core: None };
    let mut first = plane.order(None, serve);
    let mut second = plane.order(None, serve);
    assert_eq!(second.try_recv().unwrap(), Err(OrderError::NoneStandsBy), "it was called");
    assert!(first.try_recv().is_err(), "not yet");
    for _ in 0..SHAPE.commands {
        drop(plane.order(Some(0), pin));
    }
    let mut full = plane.order(Some(0), pin);
    assert_eq!(full.try_recv().unwrap(), Err(OrderError::RingFull));
    plane.media.abandon_orders();
    assert_eq!(first.try_recv().unwrap(), Err(OrderError::Detached));
    let (reply, mut answer) = oneshot::channel();
    Media::detached().order(Some(0), pin, reply);
    assert_eq!(answer.try_recv().unwrap(), Err(OrderError::Detached));
}

#[test]
fn a_report_shows_state_core_counters_and_delays() {
    let mut plane = Plane::new("workers-report");
    let host = &mut plane.hosts[0];
    host.counters.set(Counter::FlowsOpen, 4);
    host.counters.set(Counter::DropReplay, 3);
    (1..=100).for_each(|us| host.histograms.note(Histogram::AddedDelayUs, us));
    host.heartbeat(77);
    let reports = plane.media.reports();
    let (first, second) = (&reports[0], &reports[1]);
    assert_eq!((first.id, first.state, first.core), (0, "running", Some(5)));
    assert_eq!((first.flows, first.flows_max, first.at_ns), (4, 8, 77));
    assert_eq!((first.counters["drop_replay"], first.counters.len()), (3, abi::COUNTERS.len()));
    let delay = &first.histograms["added_delay_microseconds"];
    assert_eq!((delay.count, delay.p50, delay.p99), (100, Some(55), Some(111)));
    assert_eq!(delay.buckets.iter().map(|(_, n)| n).sum::<u64>(), 100);
    assert_eq!((second.id, second.state, second.core), (1, "standby", None));
    assert!(Media::detached().reports().is_empty());
}
