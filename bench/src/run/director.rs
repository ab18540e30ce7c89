//! Directs all calls of a run: places them at the ramp, recognises the leg that arrives at the other
//! peer, hangs up when both legs are done, and adds everything up.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::spawn_local;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::leg::{LegEnd, Side};
use super::{BenchError, Load, Peer, Progress};
use crate::media::{MediaEvent, MediaMark, Way, suite_name};
use crate::peer::{CallError, Offered, Received};
use crate::report::{Delay, Direction, Failure, Report};

/// Runs the load between two peers: the first sends [`Way::InsecureToSecure`]. Their gateways may be
/// each other.
pub async fn direct(
    load: Load,
    peers: [Peer; 2],
    media: UnboundedReceiver<MediaEvent>,
    progress: UnboundedSender<Progress>,
) -> Result<Report, BenchError> {
    let [first, second] = peers;
    let (legs, leg_events) = unbounded_channel();
    let shared = Rc::new(Shared {
        load,
        sides: [first.side, second.side],
        hang_ups: (0..load.calls).map(|_| Default::default()).collect(),
        legs,
    });
    let takers = [
        spawn_local(take_calls(shared.clone(), Way::InsecureToSecure, first.calls)),
        spawn_local(take_calls(shared.clone(), Way::SecureToInsecure, second.calls)),
    ];
    let mut director = Director {
        shared: shared.clone(),
        calls: (0..load.calls).map(|_| Call::default()).collect(),
        report: empty_report(load.calls),
        answered: 0,
        ended: 0,
    };
    let placed = spawn_local(place_all(shared));
    director.watch(media, leg_events, &progress).await;
    placed.abort();
    takers.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(director.finish().await)
}

struct Shared {
    load: Load,
    sides: [Side; 2],
    /// Per call, for the caller's leg and the callee's.
    hang_ups: Vec<[Notify; 2]>,
    legs: UnboundedSender<LegEvent>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Caller,
    Callee,
}

struct LegEvent {
    call: u32,
    role: Role,
    step: LegStep,
}

enum LegStep {
    Begun,
    Answered,
    Ended(Box<LegEnd>),
}

async fn place_all(shared: Rc<Shared>) {
    let start = Instant::now();
    for call in 0..shared.load.calls {
        sleep_until(start + Duration::from_secs_f64(f64::from(call) / shared.load.ramp)).await;
        spawn_local(run_caller(shared.clone(), call));
    }
}

async fn run_caller(shared: Rc<Shared>, call: u32) {
    let role = Role::Caller;
    shared.tell(call, role, LegStep::Begun);
    let (from, to) = (shared.side(call, role), shared.side(call, Role::Callee));
    let called = to.number + u64::from(call);
    let ended = match from.place(call, shared.load.frames, called).await {
        Ok(live) => {
            shared.tell(call, role, LegStep::Answered);
            from.hold(call, live, shared.hang_up(call, role)).await
        }
        Err(failure) => LegEnd::unanswered(failure),
    };
    shared.tell(call, role, LegStep::Ended(Box::new(ended)));
}

async fn take_calls(shared: Rc<Shared>, sends: Way, mut calls: UnboundedReceiver<Received>) {
    let mut taken = vec![false; shared.load.calls as usize];
    while let Some(received) = calls.recv().await {
        let Ok(offered) = Offered::take(&shared.side_of(sends).ua, received) else { continue };
        let number = shared.side_of(sends).number;
        let call = call_of_number(offered.called(), number, shared.load.calls)
            .filter(|call| caller_way(*call) != sends)
            .filter(|call| {
                taken.get_mut(*call as usize).is_some_and(|taken| !std::mem::replace(taken, true))
            });
        match call {
            Some(call) => drop(spawn_local(run_callee(shared.clone(), call, offered))),
            None => drop(spawn_local(offered.refuse(NOT_FOUND))),
        }
    }
}

async fn run_callee(shared: Rc<Shared>, call: u32, offered: Offered) {
    let role = Role::Callee;
    shared.tell(call, role, LegStep::Begun);
    let side = shared.side(call, role);
    let ended = match side.answer(call, shared.load.frames, offered).await {
        Ok(live) => {
            shared.tell(call, role, LegStep::Answered);
            side.hold(call, live, shared.hang_up(call, role)).await
        }
        Err(failure) => LegEnd::unanswered(failure),
    };
    shared.tell(call, role, LegStep::Ended(Box::new(ended)));
}

impl Shared {
    fn tell(&self, call: u32, role: Role, step: LegStep) {
        let _ = self.legs.send(LegEvent { call, role, step });
    }

    fn side_of(&self, sends: Way) -> &Side {
        let [first, second] = &self.sides;
        if sends == Way::InsecureToSecure { first } else { second }
    }

    fn side(&self, call: u32, role: Role) -> &Side {
        self.side_of(leg_way(call, role))
    }

    #[expect(clippy::indexing_slicing, reason = "one entry per call, and calls are counted here")]
    fn hang_up(&self, call: u32, role: Role) -> &Notify {
        &self.hang_ups[call as usize][role as usize]
    }
}

/// Which of the two legs, by the way of its packets.
fn leg_way(call: u32, role: Role) -> Way {
    match role {
        Role::Caller => caller_way(call),
        Role::Callee => caller_way(call).opposite(),
    }
}

/// Even calls go from the insecure peer to the secure one.
fn caller_way(call: u32) -> Way {
    if call.is_multiple_of(2) { Way::InsecureToSecure } else { Way::SecureToInsecure }
}

/// The call that a called number belongs to: by its last six digits, because a gateway may add or
/// strip what stands before them.
fn call_of_number(called: &str, first: u64, calls: u32) -> Option<u32> {
    let digits: String = called.chars().filter(char::is_ascii_digit).collect();
    let tail = digits.get(digits.len().checked_sub(6)?..)?.parse::<u64>().ok()?;
    let offset = (tail + TAIL - first % TAIL) % TAIL;
    u32::try_from(offset).ok().filter(|call| *call < calls)
}

/// The state of one call; index 0 is the caller's leg, 1 the callee's.
#[derive(Default)]
struct Call {
    begun: [bool; 2],
    answered: [bool; 2],
    sent: [bool; 2],
    complete: [bool; 2],
    ended: [Option<Box<LegEnd>>; 2],
    /// When the call must move on, whatever is still missing.
    deadline: Option<Instant>,
    hanging_up: bool,
    /// First thing that went wrong, when it is not an error of a leg.
    cause: Option<&'static str>,
    closed: bool,
}

struct Director {
    shared: Rc<Shared>,
    calls: Vec<Call>,
    report: Report,
    answered: u32,
    ended: u32,
}

impl Director {
    /// Until every call is closed, or nobody looks at the progress any more.
    async fn watch(
        &mut self,
        mut media: UnboundedReceiver<MediaEvent>,
        mut legs: UnboundedReceiver<LegEvent>,
        progress: &UnboundedSender<Progress>,
    ) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.ended < self.shared.load.calls {
            tokio::select! {
                Some(event) = media.recv() => self.media(event),
                Some(event) = legs.recv() => self.leg(event),
                _ = tick.tick() => {
                    self.look_at_deadlines();
                    if progress.send(self.progress()).is_err() {
                        return;
                    }
                }
            }
        }
        let _ = progress.send(self.progress());
    }

    fn media(&mut self, event: MediaEvent) {
        let role = if caller_way(event.call) == event.sends { 0 } else { 1 };
        let Some(call) = self.calls.get_mut(event.call as usize) else { return };
        let marks = match event.mark {
            MediaMark::Sent => &mut call.sent,
            MediaMark::Complete => &mut call.complete,
        };
        if let Some(mark) = marks.get_mut(role) {
            *mark = true;
        }
        if call.sent == [true; 2] && event.mark == MediaMark::Sent {
            call.deadline = Some(Instant::now() + LATE_PACKETS);
        }
        if call.sent == [true; 2] && call.complete == [true; 2] {
            self.hang_up(event.call);
        }
    }

    fn leg(&mut self, event: LegEvent) {
        let LegEvent { call: number, role, step } = event;
        let frames = self.shared.load.frames;
        let Some(call) = self.calls.get_mut(number as usize) else { return };
        let index = role as usize;
        match step {
            LegStep::Begun => set(&mut call.begun, index),
            LegStep::Answered => {
                set(&mut call.answered, index);
                self.answered += u32::from(call.answered == [true; 2]);
                let limit = match call.answered {
                    [true, true] => Duration::from_millis(20) * frames * 4 + MEDIA_SLACK,
                    _ => SET_UP_SPREAD,
                };
                call.deadline = Some(Instant::now() + limit);
            }
            LegStep::Ended(end) => {
                if let Some(slot) = call.ended.get_mut(index) {
                    *slot = Some(end);
                }
                call.deadline = Some(Instant::now() + BYE_MAX);
                self.close_if_over(number);
            }
        }
    }

    /// Tells one side to hang up: the caller in half of the calls of each direction.
    fn hang_up(&mut self, number: u32) {
        let Some(call) = self.calls.get_mut(number as usize) else { return };
        if std::mem::replace(&mut call.hanging_up, true) {
            return;
        }
        call.deadline = Some(Instant::now() + BYE_MAX);
        let role = if (number / 2).is_multiple_of(2) { Role::Caller } else { Role::Callee };
        self.shared.hang_up(number, role).notify_one();
    }

    fn look_at_deadlines(&mut self) {
        let now = Instant::now();
        for number in 0..self.shared.load.calls {
            let Some(call) = self.calls.get_mut(number as usize) else { return };
            if call.closed || call.deadline.is_none_or(|deadline| now < deadline) {
                continue;
            }
            if call.sent == [true; 2] && !call.hanging_up {
                self.hang_up(number); // packets were lost; the counts will say how many
                continue;
            }
            let cause = match (&call.ended, call.answered) {
                ([Some(_), None], _) => "the caller's leg ended, the callee's did not follow",
                ([None, Some(_)], _) => "the callee's leg ended, the caller's did not follow",
                (_, [true, false]) => "the caller was answered, the callee never",
                (_, [false, true]) => "the callee answered, the caller never heard of it",
                _ => "the call did not end",
            };
            call.cause.get_or_insert(cause);
            call.deadline = Some(now + BYE_MAX);
            for role in [Role::Caller, Role::Callee] {
                self.shared.hang_up(number, role).notify_one();
            }
        }
    }

    fn close_if_over(&mut self, number: u32) {
        let Some(call) = self.calls.get_mut(number as usize) else { return };
        let [caller, callee] = &call.ended;
        let [_, callee_begun] = call.begun;
        if call.closed || caller.is_none() || (callee_begun && callee.is_none()) {
            return;
        }
        call.closed = true;
        self.ended += 1;
        let mut cause = call.cause.map(str::to_owned);
        for (role, who) in [(Role::Caller, "caller"), (Role::Callee, "callee")] {
            let Some(end) = call.ended.get(role as usize).and_then(Option::as_ref) else {
                continue;
            };
            self.report.add_leg(leg_way(number, role), &end.counts);
            if let Some(suite) = end.suite {
                *self.report.suites.entry(suite_name(suite).to_owned()).or_default() += 1;
            }
            if let Some(failure) = &end.failure {
                cause.get_or_insert_with(|| format!("{who}: {failure}"));
            }
        }
        let cause = cause.or_else(|| call.media_fault(self.shared.load.frames));
        match cause {
            Some(cause) => self.report.failed.push(Failure { call: number, cause }),
            None => self.report.ended_cleanly += 1,
        }
    }

    fn progress(&self) -> Progress {
        let [first, second] = &self.shared.sides;
        let [first, second] = [first.pump.totals(), second.pump.totals()];
        let count = |test: fn(&&Call) -> bool| self.calls.iter().filter(test).count() as u32;
        Progress {
            placed: count(|call| call.begun[0]),
            answered: self.answered,
            live: count(|call| call.answered == [true; 2] && !call.closed),
            ended: self.ended,
            sent: first.0 + second.0,
            received: first.1 + second.1,
        }
    }

    async fn finish(mut self) -> Report {
        self.report.answered = self.answered;
        let mut all: Option<Histogram<u64>> = None;
        for way in [Way::InsecureToSecure, Way::SecureToInsecure] {
            let side = self.shared.side_of(way);
            self.report.signalling_faults.extend(side.ua.faults());
            let delays = side.pump.delays().await;
            // This side hears what the other one sends.
            let direction = self.report.direction_mut(way.opposite());
            direction.added_delay = Delay::of(&delays);
            direction.lost = direction.rtp_sent.saturating_sub(direction.rtp_received);
            match &mut all {
                // Both grow as needed: adding cannot fail.
                Some(all) => drop(all.add(delays)),
                None => all = Some(delays),
            }
        }
        self.report.added_delay = all.as_ref().map(Delay::of).unwrap_or_default();
        self.report
    }
}

impl Call {
    /// What is wrong with the packets of a call whose signalling was good.
    fn media_fault(&self, frames: u32) -> Option<String> {
        let frames = u64::from(frames);
        let [caller, callee] = self.ended.each_ref().map(|end| end.as_ref().map(|end| end.counts));
        let (Some(caller), Some(callee)) = (caller, callee) else {
            return Some("the call never reached the callee".into());
        };
        for (from, to, way) in
            [(caller, callee, "caller to callee"), (callee, caller, "callee to caller")]
        {
            if from.sent != frames {
                let sent = from.sent;
                return Some(format!("{way}: only {sent} of {frames} packets could be sent"));
            }
            if to.received != frames {
                let received = to.received;
                return Some(format!(
                    "{way}: {received} of {frames} packets arrived intact, number {} is missing",
                    to.first_missing.unwrap_or_default()
                ));
            }
            let faults = to.duplicates + to.reordered + to.corrupted + to.misdelivered;
            if faults + to.plain + to.auth_failures != 0 {
                return Some(format!(
                    "{way}: {} duplicate, {} reordered, {} corrupted, {} of another call, \
                     {} plain on the secure side, {} not authentic",
                    to.duplicates,
                    to.reordered,
                    to.corrupted,
                    to.misdelivered,
                    to.plain,
                    to.auth_failures
                ));
            }
            if !to.tone_heard {
                return Some(format!("{way}: the tone was not heard"));
            }
        }
        None
    }
}

impl LegEnd {
    fn unanswered(failure: CallError) -> LegEnd {
        LegEnd { failure: Some(failure), counts: Default::default(), suite: None }
    }
}

fn set(marks: &mut [bool; 2], index: usize) {
    if let Some(mark) = marks.get_mut(index) {
        *mark = true;
    }
}

fn empty_report(calls: u32) -> Report {
    Report {
        calls,
        answered: 0,
        ended_cleanly: 0,
        failed: Vec::new(),
        insecure_to_secure: Direction::default(),
        secure_to_insecure: Direction::default(),
        added_delay: Delay::default(),
        plain_rtp_on_secure: 0,
        srtp_auth_failures: 0,
        suites: BTreeMap::new(),
        signalling_faults: Vec::new(),
    }
}

const TICK: Duration = Duration::from_millis(100);
const NOT_FOUND: u16 = 404;
/// The last six digits of a number.
const TAIL: u64 = 1_000_000;
/// After both legs have sent everything: longer than any delay that is not a loss.
const LATE_PACKETS: Duration = Duration::from_secs(1);
/// Between the answers of the two legs of one call: a few repetitions of a lost ACK must fit.
const SET_UP_SPREAD: Duration = Duration::from_secs(10);
/// Media is sent to its end however late a busy host lets it be sent; this ends only a hang.
const MEDIA_SLACK: Duration = Duration::from_secs(60);
/// From one leg's end to the other's.
const BYE_MAX: Duration = Duration::from_secs(5);
