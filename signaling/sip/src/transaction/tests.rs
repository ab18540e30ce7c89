//! The four figures as tables. A row is one arrow: (state, event) -> (actions, state). Every pair of
//! state and event that has no row must change nothing and ask for nothing, so a missing arrow and a
//! superfluous one both fail.

use std::fmt::Debug;
use std::time::Duration;

use super::*;

const T: Timers = Timers {
    t1: Duration::from_millis(500),
    t2: Duration::from_secs(4),
    t4: Duration::from_secs(5),
};
const SECONDS_32: Duration = Duration::from_secs(32);

const TIMERS: [Timer; 13] = [
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
];
const CLASSES: [Class; 3] = [Class::Provisional, Class::Success, Class::Failure];

/// One arrow of a figure: where it starts, what happens, what is done, where it ends.
type Arrow<S, E> = (S, E, Vec<Action>, S);

/// Walks every state with every event; `reach` gives a fresh machine in a state, `None` when the
/// transport cannot get there.
fn closed_world<M, S: Copy + Eq + Debug, E: Copy + Eq + Debug>(
    states: &[S],
    events: &[E],
    arrows: &[Arrow<S, E>],
    reach: impl Fn(S) -> Option<M>,
    step: impl Fn(&mut M, E, &mut Actions),
    state: impl Fn(&M) -> S,
) {
    let mut used = 0;
    for from in states {
        for event in events {
            let Some(mut machine) = reach(*from) else { continue };
            assert_eq!(state(&machine), *from, "the set-up must reach {from:?}");
            let mut out = Actions::new();
            step(&mut machine, *event, &mut out);
            let row = arrows.iter().find(|(s, e, _, _)| s == from && e == event);
            used += usize::from(row.is_some());
            let (actions, to) = row.map_or((vec![], *from), |(_, _, a, t)| (a.clone(), *t));
            assert_eq!(out, actions, "{from:?} on {event:?}");
            assert_eq!(state(&machine), to, "{from:?} on {event:?}");
        }
    }
    assert_eq!(used, arrows.len(), "each row of the table must have been walked");
}

mod figure_5 {
    use super::super::client_invite::{ClientInvite, Event, State};
    use super::*;
    use Action::*;
    use State::*;

    fn reach(reliable: bool, state: State) -> Option<ClientInvite> {
        let mut out = Actions::new();
        let mut machine = ClientInvite::start(T, reliable, &mut out);
        let path: &[Event] = match state {
            Calling => &[],
            Proceeding => &[Event::Response(Class::Provisional)],
            Completed if reliable => return None,
            Completed => &[Event::Response(Class::Failure)],
            Accepted => &[Event::Response(Class::Success)],
            Terminated => &[Event::Response(Class::Success), Event::Timer(Timer::M)],
        };
        path.iter().for_each(|event| machine.on(*event, &mut out));
        Some(machine)
    }

    fn walk(reliable: bool, arrows: &[Arrow<State, Event>]) {
        let events: Vec<Event> = TIMERS
            .map(Event::Timer)
            .into_iter()
            .chain(CLASSES.map(Event::Response))
            .chain([Event::TransportFailed])
            .collect();
        closed_world(
            &[Calling, Proceeding, Completed, Accepted, Terminated],
            &events,
            arrows,
            |state| reach(reliable, state),
            |m, e, out| m.on(e, out),
            ClientInvite::state,
        );
    }

    fn common() -> Vec<Arrow<State, Event>> {
        use Class::*;
        let absorb = Arm(Timer::M, SECONDS_32);
        let (a, b) = (Disarm(Timer::A), Disarm(Timer::B));
        vec![
            (Calling, Event::Timer(Timer::B), vec![Timeout, Terminate], Terminated),
            (Calling, Event::TransportFailed, vec![TransportFailed, Terminate], Terminated),
            (Calling, Event::Response(Provisional), vec![a, b, Deliver], Proceeding),
            (Calling, Event::Response(Success), vec![a, b, Deliver, absorb], Accepted),
            (Proceeding, Event::Response(Provisional), vec![Deliver], Proceeding),
            (Proceeding, Event::Response(Success), vec![Deliver, absorb], Accepted),
            (Accepted, Event::Response(Success), vec![Deliver], Accepted),
            (Accepted, Event::Timer(Timer::M), vec![Terminate], Terminated),
        ]
    }

    #[test]
    fn over_an_unreliable_transport() {
        use Class::Failure;
        let absorb = Arm(Timer::D, SECONDS_32);
        let (a, b) = (Disarm(Timer::A), Disarm(Timer::B));
        let mut arrows = common();
        let again = vec![Transmit, Arm(Timer::A, Duration::from_secs(1))];
        let refused = vec![a, b, Acknowledge, Deliver, absorb];
        arrows.extend([
            (Calling, Event::Timer(Timer::A), again, Calling),
            (Calling, Event::Response(Failure), refused, Completed),
            (Proceeding, Event::Response(Failure), vec![Acknowledge, Deliver, absorb], Completed),
            (Completed, Event::Response(Failure), vec![Acknowledge], Completed),
            (Completed, Event::TransportFailed, vec![TransportFailed, Terminate], Terminated),
            (Completed, Event::Timer(Timer::D), vec![Terminate], Terminated),
        ]);
        walk(false, &arrows);
    }

    #[test]
    fn over_a_reliable_transport() {
        use Class::Failure;
        let (a, b) = (Disarm(Timer::A), Disarm(Timer::B));
        let mut arrows = common();
        let refused = vec![a, b, Acknowledge, Deliver, Terminate];
        arrows.extend([
            // Never armed there; a stray A would repeat the request, which is harmless.
            (
                Calling,
                Event::Timer(Timer::A),
                vec![Transmit, Arm(Timer::A, Duration::from_secs(1))],
                Calling,
            ),
            (Calling, Event::Response(Failure), refused, Terminated),
            (
                Proceeding,
                Event::Response(Failure),
                vec![Acknowledge, Deliver, Terminate],
                Terminated,
            ),
        ]);
        walk(true, &arrows);
    }

    #[test]
    fn start_sends_once_and_a_doubles_without_a_cap() {
        let mut out = Actions::new();
        ClientInvite::start(T, true, &mut out);
        assert_eq!(out, [Transmit, Arm(Timer::B, SECONDS_32)]);
        out.clear();
        let mut machine = ClientInvite::start(T, false, &mut out);
        assert_eq!(out, [Transmit, Arm(Timer::A, T.t1), Arm(Timer::B, SECONDS_32)]);
        for seconds in [1, 2, 4, 8, 16] {
            out.clear();
            machine.on(Event::Timer(Timer::A), &mut out);
            assert_eq!(out, [Transmit, Arm(Timer::A, Duration::from_secs(seconds))]);
        }
    }

    #[test]
    fn timer_d_is_never_shorter_than_32_seconds() {
        let quick = Timers { t1: Duration::from_millis(10), ..T };
        let mut out = Actions::new();
        let mut machine = ClientInvite::start(quick, false, &mut out);
        machine.on(Event::Response(Class::Failure), &mut out);
        assert_eq!(out.last(), Some(&Arm(Timer::D, SECONDS_32)));
    }
}

mod figure_6 {
    use super::super::client_non_invite::{ClientNonInvite, Event, State};
    use super::*;
    use Action::*;
    use Class::*;
    // Before the two globs, which both have one.
    use State::Trying;
    use State::*;

    fn reach(reliable: bool, state: State) -> Option<ClientNonInvite> {
        let mut out = Actions::new();
        let mut machine = ClientNonInvite::start(T, reliable, &mut out);
        let path: &[Event] = match state {
            Trying => &[],
            Proceeding => &[Event::Response(Provisional)],
            Completed if reliable => return None,
            Completed => &[Event::Response(Success)],
            Terminated => &[Event::Timer(Timer::F)],
        };
        path.iter().for_each(|event| machine.on(*event, &mut out));
        Some(machine)
    }

    fn walk(reliable: bool, arrows: &[Arrow<State, Event>]) {
        let events: Vec<Event> = TIMERS
            .map(Event::Timer)
            .into_iter()
            .chain(CLASSES.map(Event::Response))
            .chain([Event::TransportFailed])
            .collect();
        closed_world(
            &[Trying, Proceeding, Completed, Terminated],
            &events,
            arrows,
            |state| reach(reliable, state),
            |m, e, out| m.on(e, out),
            ClientNonInvite::state,
        );
    }

    fn arrows(after_final: (Action, State)) -> Vec<Arrow<State, Event>> {
        let first = vec![Transmit, Arm(Timer::E, Duration::from_secs(1))];
        let slow = vec![Transmit, Arm(Timer::E, T.t2)];
        let mut arrows = vec![
            (Trying, Event::Timer(Timer::E), first, Trying),
            (Proceeding, Event::Timer(Timer::E), slow, Proceeding),
        ];
        for state in [Trying, Proceeding] {
            let done = vec![Disarm(Timer::E), Disarm(Timer::F), Deliver, after_final.0];
            arrows.extend([
                (state, Event::Timer(Timer::F), vec![Timeout, Terminate], Terminated),
                (state, Event::TransportFailed, vec![TransportFailed, Terminate], Terminated),
                (state, Event::Response(Provisional), vec![Deliver], Proceeding),
                (state, Event::Response(Success), done.clone(), after_final.1),
                (state, Event::Response(Failure), done, after_final.1),
            ]);
        }
        arrows
    }

    #[test]
    fn over_an_unreliable_transport() {
        let mut arrows = arrows((Arm(Timer::K, T.t4), Completed));
        arrows.push((Completed, Event::Timer(Timer::K), vec![Terminate], Terminated));
        walk(false, &arrows);
    }

    #[test]
    fn over_a_reliable_transport() {
        walk(true, &arrows((Terminate, Terminated)));
    }

    #[test]
    fn start_sends_once_and_e_doubles_up_to_t2() {
        let mut out = Actions::new();
        ClientNonInvite::start(T, true, &mut out);
        assert_eq!(out, [Transmit, Arm(Timer::F, SECONDS_32)]);
        out.clear();
        let mut machine = ClientNonInvite::start(T, false, &mut out);
        assert_eq!(out, [Transmit, Arm(Timer::E, T.t1), Arm(Timer::F, SECONDS_32)]);
        for seconds in [1, 2, 4, 4, 4] {
            out.clear();
            machine.on(Event::Timer(Timer::E), &mut out);
            assert_eq!(out, [Transmit, Arm(Timer::E, Duration::from_secs(seconds))]);
        }
    }
}

mod figure_7 {
    use super::super::server_invite::{Event, ServerInvite, State};
    use super::*;
    use Action::*;
    use Class::*;
    use State::*;

    fn reach(reliable: bool, state: State, provisional: bool) -> Option<ServerInvite> {
        let mut out = Actions::new();
        let mut machine = ServerInvite::start(T, reliable, &mut out);
        if provisional {
            machine.on(Event::Respond(Provisional), &mut out);
        }
        let path: &[Event] = match state {
            Proceeding => &[],
            Completed => &[Event::Respond(Failure)],
            Confirmed if reliable => return None,
            Confirmed => &[Event::Respond(Failure), Event::Ack],
            Accepted => &[Event::Respond(Success)],
            Terminated => &[Event::Respond(Success), Event::Timer(Timer::L)],
        };
        path.iter().for_each(|event| machine.on(*event, &mut out));
        Some(machine)
    }

    fn arrows(reliable: bool, provisional: bool) -> Vec<Arrow<State, Event>> {
        let quiet = Disarm(Timer::Trying);
        let absorb = Arm(Timer::L, SECONDS_32);
        let give_up = Arm(Timer::H, SECONDS_32);
        let refused = if reliable {
            vec![quiet, Transmit, give_up]
        } else {
            vec![quiet, Transmit, Arm(Timer::G, T.t1), give_up]
        };
        let acknowledged = [Disarm(Timer::G), Disarm(Timer::H)];
        let again = vec![Transmit, Arm(Timer::G, Duration::from_secs(1))];
        let mut arrows = vec![
            (Proceeding, Event::Respond(Provisional), vec![quiet, Transmit], Proceeding),
            (Proceeding, Event::Respond(Success), vec![quiet, Transmit, absorb], Accepted),
            (Proceeding, Event::Respond(Failure), refused, Completed),
            (Proceeding, Event::TransportFailed, vec![TransportFailed], Proceeding),
            (Completed, Event::Invite, vec![Transmit], Completed),
            (Completed, Event::Timer(Timer::G), again, Completed),
            (Completed, Event::Timer(Timer::H), vec![Timeout, Terminate], Terminated),
            (Completed, Event::TransportFailed, vec![TransportFailed, Terminate], Terminated),
            (Accepted, Event::Ack, vec![Deliver], Accepted),
            (Accepted, Event::Respond(Success), vec![Transmit], Accepted),
            (Accepted, Event::TransportFailed, vec![TransportFailed], Accepted),
            (Accepted, Event::Timer(Timer::L), vec![Terminate], Terminated),
        ];
        if provisional {
            arrows.push((Proceeding, Event::Invite, vec![Transmit], Proceeding));
        } else {
            arrows.push((Proceeding, Event::Timer(Timer::Trying), vec![Trying], Proceeding));
        }
        if reliable {
            let done = [acknowledged.as_slice(), &[Terminate]].concat();
            arrows.push((Completed, Event::Ack, done, Terminated));
        } else {
            let done = [acknowledged.as_slice(), &[Arm(Timer::I, T.t4)]].concat();
            arrows.push((Completed, Event::Ack, done, Confirmed));
            arrows.push((Confirmed, Event::Timer(Timer::I), vec![Terminate], Terminated));
        }
        arrows
    }

    #[test]
    fn every_arrow() {
        let events: Vec<Event> = TIMERS
            .map(Event::Timer)
            .into_iter()
            .chain(CLASSES.map(Event::Respond))
            .chain([Event::Invite, Event::Ack, Event::TransportFailed])
            .collect();
        for (reliable, provisional) in [(false, false), (false, true), (true, false), (true, true)]
        {
            closed_world(
                &[Proceeding, Completed, Confirmed, Accepted, Terminated],
                &events,
                &arrows(reliable, provisional),
                |state| reach(reliable, state, provisional),
                |m, e, out| m.on(e, out),
                ServerInvite::state,
            );
        }
    }

    #[test]
    fn hundred_is_sent_after_200_ms_and_g_doubles_up_to_t2() {
        let mut out = Actions::new();
        let mut machine = ServerInvite::start(T, false, &mut out);
        assert_eq!(out, [Deliver, Arm(Timer::Trying, Duration::from_millis(200))]);
        machine.on(Event::Timer(Timer::Trying), &mut out);
        out.clear();
        machine.on(Event::Invite, &mut out);
        assert_eq!(out, [Transmit], "the 100 answers a repeated INVITE");
        machine.on(Event::Respond(Failure), &mut out);
        for seconds in [1, 2, 4, 4, 4] {
            out.clear();
            machine.on(Event::Timer(Timer::G), &mut out);
            assert_eq!(out, [Transmit, Arm(Timer::G, Duration::from_secs(seconds))]);
        }
    }
}

mod figure_8 {
    use super::super::server_non_invite::{Event, ServerNonInvite, State};
    use super::*;
    use Action::*;
    use Class::*;
    // Before the two globs, which both have one.
    use State::Trying;
    use State::*;

    fn reach(reliable: bool, state: State) -> Option<ServerNonInvite> {
        let mut out = Actions::new();
        let mut machine = ServerNonInvite::start(T, reliable, &mut out);
        assert_eq!(out, [Deliver]);
        let path: &[Event] = match state {
            Trying => &[],
            Proceeding => &[Event::Respond(Provisional)],
            Completed if reliable => return None,
            Completed => &[Event::Respond(Success)],
            Terminated => &[Event::Respond(Provisional), Event::TransportFailed],
        };
        path.iter().for_each(|event| machine.on(*event, &mut out));
        Some(machine)
    }

    #[test]
    fn every_arrow() {
        let events: Vec<Event> = TIMERS
            .map(Event::Timer)
            .into_iter()
            .chain(CLASSES.map(Event::Respond))
            .chain([Event::Request, Event::TransportFailed])
            .collect();
        for reliable in [false, true] {
            let (then, state) = match reliable {
                true => (Terminate, Terminated),
                false => (Arm(Timer::J, SECONDS_32), Completed),
            };
            let failed = vec![TransportFailed, Terminate];
            let mut arrows = vec![
                (Trying, Event::Respond(Provisional), vec![Transmit], Proceeding),
                (Trying, Event::Respond(Success), vec![Transmit, then], state),
                (Trying, Event::Respond(Failure), vec![Transmit, then], state),
                (Proceeding, Event::Respond(Provisional), vec![Transmit], Proceeding),
                (Proceeding, Event::Respond(Success), vec![Transmit, then], state),
                (Proceeding, Event::Respond(Failure), vec![Transmit, then], state),
                (Proceeding, Event::Request, vec![Transmit], Proceeding),
                (Proceeding, Event::TransportFailed, failed.clone(), Terminated),
            ];
            if !reliable {
                arrows.extend([
                    (Completed, Event::Request, vec![Transmit], Completed),
                    (Completed, Event::TransportFailed, failed, Terminated),
                    (Completed, Event::Timer(Timer::J), vec![Terminate], Terminated),
                ]);
            }
            closed_world(
                &[Trying, Proceeding, Completed, Terminated],
                &events,
                &arrows,
                |state| reach(reliable, state),
                |m, e, out| m.on(e, out),
                ServerNonInvite::state,
            );
        }
    }
}

#[test]
fn classes_follow_the_first_digit() {
    for (code, class) in [
        (100, Class::Provisional),
        (199, Class::Provisional),
        (200, Class::Success),
        (299, Class::Success),
        (300, Class::Failure),
        (699, Class::Failure),
    ] {
        assert_eq!(Class::from(StatusCode::new(code).unwrap()), class, "{code}");
    }
}
