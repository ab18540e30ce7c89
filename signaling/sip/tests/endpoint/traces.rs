//! The transaction traces of `sipx-testkit` and random programs of the same vocabulary, run by our
//! four machines and by `sipx-sip`, an implementation that shares no code with ours. Each step must
//! do the same: messages sent, user told, timers set, state reached.

use std::collections::HashMap;

use sip::transaction::{
    Action, Actions, Class, ClientInvite, ClientNonInvite, ServerInvite, ServerNonInvite, Timer,
    Timers, client_invite, client_non_invite, server_invite, server_non_invite,
};
use sip::wire::StatusCode;
use sipx_testkit::transaction_sequence::{
    Event, FIRST_LEGACY_SLOT, Program, STATUSES, TIMERS, run, seeds,
};

const INVITE: u8 = 0;
const ACK: u8 = 1;

/// What one step did, in the words of the reference's trace.
#[derive(PartialEq, Eq, Debug, Default, Clone)]
struct Done {
    sent: usize,
    told: Vec<&'static str>,
    set: Vec<String>,
    terminated: bool,
    state: Option<String>,
}

enum Machine {
    ClientInvite(ClientInvite),
    ClientNonInvite(ClientNonInvite),
    ServerInvite(ServerInvite),
    ServerNonInvite(ServerNonInvite),
}

#[derive(Clone, Copy)]
enum Step {
    Message,
    Ack,
    Class(Class),
    Timer(Timer),
    TransportFailed,
}

impl Machine {
    fn on(&mut self, step: Step, out: &mut Actions) {
        match self {
            Machine::ClientInvite(machine) => machine.on(
                match step {
                    Step::Class(class) => client_invite::Event::Response(class),
                    Step::Timer(timer) => client_invite::Event::Timer(timer),
                    _ => client_invite::Event::TransportFailed,
                },
                out,
            ),
            Machine::ClientNonInvite(machine) => machine.on(
                match step {
                    Step::Class(class) => client_non_invite::Event::Response(class),
                    Step::Timer(timer) => client_non_invite::Event::Timer(timer),
                    _ => client_non_invite::Event::TransportFailed,
                },
                out,
            ),
            Machine::ServerInvite(machine) => machine.on(
                match step {
                    Step::Message => server_invite::Event::Invite,
                    Step::Ack => server_invite::Event::Ack,
                    Step::Class(class) => server_invite::Event::Respond(class),
                    Step::Timer(timer) => server_invite::Event::Timer(timer),
                    Step::TransportFailed => server_invite::Event::TransportFailed,
                },
                out,
            ),
            Machine::ServerNonInvite(machine) => machine.on(
                match step {
                    Step::Message | Step::Ack => server_non_invite::Event::Request,
                    Step::Class(class) => server_non_invite::Event::Respond(class),
                    Step::Timer(timer) => server_non_invite::Event::Timer(timer),
                    Step::TransportFailed => server_non_invite::Event::TransportFailed,
                },
                out,
            ),
        }
    }

    fn state(&self) -> String {
        match self {
            Machine::ClientInvite(machine) => format!("{:?}", machine.state()),
            Machine::ClientNonInvite(machine) => format!("{:?}", machine.state()),
            Machine::ServerInvite(machine) => format!("{:?}", machine.state()),
            Machine::ServerNonInvite(machine) => format!("{:?}", machine.state()),
        }
    }
}

/// Client or server, slot, method with ACK folded onto INVITE for servers.
type Key = (bool, u8, u8);

/// A transaction layer just large enough to run a program.
#[derive(Default)]
struct Layer {
    live: HashMap<Key, (Machine, Vec<Timer>)>,
    /// Keys in the order in which they were first made: what timers and failures point at.
    made: Vec<Key>,
}

impl Layer {
    fn run(&mut self, event: Event) -> Option<Done> {
        match event {
            Event::SendRequest { slot, method, reliable } => {
                let mut out = Actions::new();
                let timers = Timers::default();
                let machine = match method {
                    INVITE => {
                        Machine::ClientInvite(ClientInvite::start(timers, reliable, &mut out))
                    }
                    _ => {
                        Machine::ClientNonInvite(ClientNonInvite::start(timers, reliable, &mut out))
                    }
                };
                Some(self.start((true, slot, method), machine, out))
            }
            Event::ReceiveRequest { slot, method, reliable, .. } => {
                let key = (false, slot, if method == ACK { INVITE } else { method });
                if self.live.contains_key(&key) {
                    return Some(
                        self.step(key, if method == ACK { Step::Ack } else { Step::Message }),
                    );
                }
                if method == ACK {
                    return None;
                }
                let (mut out, timers) = (Actions::new(), Timers::default());
                let machine = match method {
                    INVITE => {
                        Machine::ServerInvite(ServerInvite::start(timers, reliable, &mut out))
                    }
                    _ => {
                        Machine::ServerNonInvite(ServerNonInvite::start(timers, reliable, &mut out))
                    }
                };
                Some(self.start(key, machine, out))
            }
            Event::ReceiveResponse { slot, method, status, .. } => {
                let key = (true, slot, method);
                self.live.contains_key(&key).then(|| self.step(key, class(status)))
            }
            Event::SendResponse { slot, method, status, .. } => {
                let key = (false, slot, if method == ACK { INVITE } else { method });
                self.live.contains_key(&key).then(|| self.step(key, class(status)))
            }
            Event::FireTimer { key, timer, any } => {
                let key = *self.made.get(usize::from(key) % self.made.len().max(1))?;
                let (_, armed) = self.live.get_mut(&key)?;
                let timer = if any || armed.is_empty() {
                    named(TIMERS[usize::from(timer) % TIMERS.len()])
                } else {
                    armed[usize::from(timer) % armed.len()]
                };
                armed.retain(|t| *t != timer);
                Some(self.step(key, Step::Timer(timer)))
            }
            Event::TransportError { key } => {
                let key = *self.made.get(usize::from(key) % self.made.len().max(1))?;
                self.live.contains_key(&key).then(|| self.step(key, Step::TransportFailed))
            }
            Event::Abandon { key } => {
                let key = *self.made.get(usize::from(key) % self.made.len().max(1))?;
                if !key.0 {
                    self.live.remove(&key);
                }
                None
            }
        }
    }

    fn start(&mut self, key: Key, machine: Machine, out: Actions) -> Done {
        if !self.made.contains(&key) {
            self.made.push(key);
        }
        self.live.insert(key, (machine, Vec::new()));
        self.done(key, out)
    }

    fn step(&mut self, key: Key, step: Step) -> Done {
        let mut out = Actions::new();
        if let Some((machine, _)) = self.live.get_mut(&key) {
            machine.on(step, &mut out);
        }
        self.done(key, out)
    }

    fn done(&mut self, key: Key, out: Actions) -> Done {
        let (machine, armed) = self.live.get_mut(&key).expect("a live transaction");
        let mut done = Done { state: Some(machine.state()), ..Done::default() };
        for action in out {
            match action {
                Action::Transmit | Action::Acknowledge | Action::Trying => done.sent += 1,
                Action::Deliver => done.told.push("message"),
                Action::Timeout => done.told.push("timeout"),
                Action::TransportFailed => done.told.push("transport-error"),
                Action::Arm(timer, _) => {
                    armed.retain(|t| *t != timer);
                    armed.push(timer);
                    done.set.push(letter(timer));
                }
                Action::Disarm(timer) => armed.retain(|t| *t != timer),
                Action::Terminate => done.terminated = true,
            }
        }
        if done.terminated {
            self.live.remove(&key);
            done.state = None;
        }
        done.set.sort();
        done
    }
}

fn class(status: u8) -> Step {
    let code = STATUSES[usize::from(status) % STATUSES.len()];
    Step::Class(StatusCode::new(code).unwrap().into())
}

fn letter(timer: Timer) -> String {
    match timer {
        Timer::Trying => "Trying100".into(),
        letter => format!("{letter:?}"),
    }
}

fn named(timer: sipx_sip::transaction::Timer) -> Timer {
    let name = format!("{timer:?}");
    [
        Timer::A,
        Timer::B,
        Timer::D,
        Timer::E,
        Timer::F,
        Timer::G,
        Timer::H,
        Timer::I,
        Timer::J,
        Timer::K,
        Timer::L,
        Timer::M,
        Timer::Trying,
    ]
    .into_iter()
    .find(|ours| letter(*ours) == name)
    .expect("every timer of the reference is known here")
}

/// Reads one line of the reference's trace; none when the step reached no transaction.
fn parse(line: &str) -> Option<Done> {
    let (_, outcome) = line.split_once(" | ")?;
    if ["unmatched", "no transaction", "dropped", "absent"].iter().any(|w| outcome.contains(w)) {
        return None;
    }
    let mut done = Done::default();
    for word in outcome.split(' ') {
        match word.split_once('=') {
            Some(("send", count)) => done.sent = count.parse().unwrap(),
            Some(("tu", told)) => {
                done.told = told
                    .trim_matches(['[', ']'])
                    .split(',')
                    .map(|word| match word {
                        "timeout" => "timeout",
                        "transport-error" => "transport-error",
                        "request" | "response" | "ack" => "message",
                        other => panic!("unknown word {other} in {line}"),
                    })
                    .collect();
            }
            Some(("set", set)) => {
                done.set = set.trim_matches(['[', ']']).split(',').map(str::to_owned).collect();
                done.set.sort();
            }
            Some(("terminated", _)) => done.terminated = true,
            Some(("state", state)) => done.state = Some(state.to_owned()),
            _ => {}
        }
    }
    Some(done)
}

fn compare(name: &str, program: &Program) -> usize {
    let reference = run(program);
    let mut layer = Layer::default();
    let mut compared = 0;
    for (event, line) in program.events.iter().zip(&reference.trace) {
        let (ours, theirs) = (layer.run(*event), parse(line));
        // A stale timer reaches nothing here and is reported as absorbed there.
        let theirs = theirs.filter(|done| ours.is_some() || *done != Done::default());
        assert_eq!(ours, theirs, "{name}: {line}");
        compared += usize::from(ours.is_some());
    }
    compared
}

#[test]
fn the_seed_programs() {
    let seeds = seeds();
    assert_eq!(seeds.len(), 17);
    for seed in seeds {
        let compared = compare(seed.name, &seed.program);
        assert!(compared > 0, "{} compared nothing", seed.name);
    }
}

#[test]
fn random_programs() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    let mut compared = 0;
    for n in 0..3000 {
        let bytes: Vec<u8> = (0..200).map(|_| byte()).collect();
        let mut program = Program::decode(&bytes);
        // Keys of RFC 2543 peers are the endpoint's, not the machines'.
        program.events.retain(|event| match event {
            Event::SendRequest { slot, .. }
            | Event::ReceiveRequest { slot, .. }
            | Event::ReceiveResponse { slot, .. }
            | Event::SendResponse { slot, .. } => *slot < FIRST_LEGACY_SLOT,
            _ => true,
        });
        compared += compare(&format!("random {n}"), &program);
    }
    assert!(compared > 10_000, "only {compared} steps reached a transaction");
}
