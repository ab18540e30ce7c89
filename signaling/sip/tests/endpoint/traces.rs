//! The transaction traces of `sipx-testkit` and random programs of the same vocabulary, run by our
//! four machines and by `sipx-sip`, an implementation that shares no code with ours. Each step must
//! do the same: messages sent, user told, timers set, state reached.

use std::collections::{HashMap, HashSet};

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
    Figure5(ClientInvite),
    Figure6(ClientNonInvite),
    Figure7(ServerInvite),
    Figure8(ServerNonInvite),
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
            Machine::Figure5(machine) => machine.on(
                match step {
                    Step::Class(class) => client_invite::Event::Response(class),
                    Step::Timer(timer) => client_invite::Event::Timer(timer),
                    _ => client_invite::Event::TransportFailed,
                },
                out,
            ),
            Machine::Figure6(machine) => machine.on(
                match step {
                    Step::Class(class) => client_non_invite::Event::Response(class),
                    Step::Timer(timer) => client_non_invite::Event::Timer(timer),
                    _ => client_non_invite::Event::TransportFailed,
                },
                out,
            ),
            Machine::Figure7(machine) => machine.on(
                match step {
                    Step::Message => server_invite::Event::Invite,
                    Step::Ack => server_invite::Event::Ack,
                    Step::Class(class) => server_invite::Event::Respond(class),
                    Step::Timer(timer) => server_invite::Event::Timer(timer),
                    Step::TransportFailed => server_invite::Event::TransportFailed,
                },
                out,
            ),
            Machine::Figure8(machine) => machine.on(
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
            Machine::Figure5(machine) => format!("{:?}", machine.state()),
            Machine::Figure6(machine) => format!("{:?}", machine.state()),
            Machine::Figure7(machine) => format!("{:?}", machine.state()),
            Machine::Figure8(machine) => format!("{:?}", machine.state()),
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
    /// Ended here at once over a reliable transport, where the reference sets a timer of zero and
    /// ends when it fires. Not compared until then.
    zero: HashSet<Key>,
}

impl Layer {
    fn run(&mut self, event: Event) -> Option<Done> {
        match event {
            Event::SendRequest { method, reliable, .. } => {
                let key = self.key_of(event)?;
                let mut out = Actions::new();
                let timers = Timers::default();
                let machine = match method {
                    INVITE => Machine::Figure5(ClientInvite::start(timers, reliable, &mut out)),
                    _ => Machine::Figure6(ClientNonInvite::start(timers, reliable, &mut out)),
                };
                Some(self.start(key, machine, out))
            }
            Event::ReceiveRequest { method, reliable, .. } => {
                let key = self.key_of(event)?;
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
                    INVITE => Machine::Figure7(ServerInvite::start(timers, reliable, &mut out)),
                    _ => Machine::Figure8(ServerNonInvite::start(timers, reliable, &mut out)),
                };
                Some(self.start(key, machine, out))
            }
            Event::ReceiveResponse { status, .. } | Event::SendResponse { status, .. } => {
                let key = self.key_of(event)?;
                self.live.contains_key(&key).then(|| self.step(key, class(status)))
            }
            Event::FireTimer { timer, any, .. } => {
                let key = self.key_of(event)?;
                let (_, armed) = self.live.get_mut(&key)?;
                let timer = if any || armed.is_empty() {
                    named(TIMERS[usize::from(timer) % TIMERS.len()])
                } else {
                    armed[usize::from(timer) % armed.len()]
                };
                armed.retain(|t| *t != timer);
                Some(self.step(key, Step::Timer(timer)))
            }
            Event::TransportError { .. } => {
                let key = self.key_of(event)?;
                self.live.contains_key(&key).then(|| self.step(key, Step::TransportFailed))
            }
            Event::Abandon { .. } => {
                let key = self.key_of(event)?;
                if !key.0 {
                    self.live.remove(&key);
                }
                None
            }
        }
    }

    fn key_of(&self, event: Event) -> Option<Key> {
        match event {
            Event::SendRequest { slot, method, .. }
            | Event::ReceiveResponse { slot, method, .. } => Some((true, slot, method)),
            Event::ReceiveRequest { slot, method, .. }
            | Event::SendResponse { slot, method, .. } => {
                Some((false, slot, if method == ACK { INVITE } else { method }))
            }
            Event::FireTimer { key, .. }
            | Event::TransportError { key }
            | Event::Abandon { key } => {
                self.made.get(usize::from(key) % self.made.len().max(1)).copied()
            }
        }
    }

    fn start(&mut self, key: Key, machine: Machine, out: Actions) -> Done {
        if !self.made.contains(&key) {
            self.made.push(key);
        }
        self.zero.remove(&key);
        self.live.insert(key, (machine, Vec::new()));
        self.done(key, out, false)
    }

    fn step(&mut self, key: Key, step: Step) -> Done {
        let mut out = Actions::new();
        if let Some((machine, _)) = self.live.get_mut(&key) {
            machine.on(step, &mut out);
        }
        self.done(key, out, matches!(step, Step::Timer(_)))
    }

    /// A timer that does not run. The seeds have their share of them.
    fn is_stray_timer(&self, event: Event) -> bool {
        let armed = self.key_of(event).and_then(|key| self.live.get(&key));
        matches!(event, Event::FireTimer { .. }) && armed.is_none_or(|(_, armed)| armed.is_empty())
    }

    /// A failure where the figures draw no arrow, because nothing is being sent: the reference ends
    /// the transaction from every state. And in Completed the reference acknowledges a 2xx like the
    /// failure that it follows; the table of figure 5 covers that state.
    fn is_outside_of_the_figures(&self, event: Event) -> bool {
        let key = self.key_of(event);
        let Some((machine, _)) = key.and_then(|key| self.live.get(&key)) else { return false };
        if let (Event::ReceiveResponse { .. }, Machine::Figure5(m)) = (event, machine) {
            return m.state() == client_invite::State::Completed;
        }
        if !matches!(event, Event::TransportError { .. }) {
            return false;
        }
        match machine {
            Machine::Figure5(m) => matches!(
                m.state(),
                client_invite::State::Proceeding | client_invite::State::Accepted
            ),
            Machine::Figure6(m) => m.state() == client_non_invite::State::Completed,
            // RFC 6026 §8.7: told, but not ended.
            Machine::Figure7(m) => m.state() != server_invite::State::Completed,
            Machine::Figure8(m) => m.state() == server_non_invite::State::Trying,
        }
    }

    fn done(&mut self, key: Key, out: Actions, fired: bool) -> Done {
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
            if done.told.iter().all(|told| *told == "message") && !fired {
                self.zero.insert(key);
            }
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

/// Runs a program on both sides; gives the number of steps that reached a transaction.
fn compare(name: &str, program: &Program) -> usize {
    let (mut layer, mut compared) = (Layer::default(), 0);
    for (event, line) in program.events.iter().zip(&run(program).trace) {
        let key = layer.key_of(*event);
        let ours = layer.run(*event);
        if key.is_some_and(|key| layer.zero.contains(&key)) {
            compared += usize::from(ours.is_some());
            continue;
        }
        // A timer of a transaction that is gone reaches nothing here, and is told as absorbed there.
        let theirs = parse(line).filter(|done| ours.is_some() || *done != Done::default());
        assert_eq!(ours, theirs, "{name}: {line}");
        compared += usize::from(ours.is_some());
    }
    compared
}

/// An ACK is no transaction of its own and has no response.
fn no_ack(method: &mut u8) {
    if *method == ACK {
        *method = INVITE;
    }
}

/// Over an unreliable transport, with keys of RFC 3261 only (those of RFC 2543 are made by the
/// endpoint, not by the machines), and without the one known difference.
fn comparable(program: Program) -> Program {
    let (mut layer, mut kept) = (Layer::default(), Program::default());
    for mut event in program.events {
        match &mut event {
            Event::ReceiveRequest { slot, reliable, .. } => {
                *slot %= FIRST_LEGACY_SLOT;
                *reliable = false;
            }
            Event::SendRequest { slot, method, reliable } => {
                *slot %= FIRST_LEGACY_SLOT;
                *reliable = false;
                no_ack(method);
            }
            Event::ReceiveResponse { slot, method, .. }
            | Event::SendResponse { slot, method, .. } => {
                *slot %= FIRST_LEGACY_SLOT;
                no_ack(method);
            }
            _ => {}
        }
        if let Event::FireTimer { any, .. } = &mut event {
            *any = false;
        }
        if !layer.is_outside_of_the_figures(event) && !layer.is_stray_timer(event) {
            layer.run(event);
            kept.events.push(event);
        }
    }
    kept
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
        let program = comparable(Program::decode(&bytes));
        compared += compare(&format!("random {n}"), &program);
    }
    assert!(compared > 10_000, "only {compared} steps reached a transaction");
}
