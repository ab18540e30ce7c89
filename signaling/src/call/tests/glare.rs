//! Requests of ours that collide with those of a peer: 491, and the two pauses of RFC 3261 §14.1.

use std::time::Duration;

use sip::wire::{HeaderName, Method};

use super::rig::{Carrier, Pbx, Rig, Who};
use crate::call::Party;
use crate::call::changing::pause;

#[test]
fn who_made_the_call_id_waits_longer() {
    for (party, least, most) in [(Party::Callee, 2_100, 4_000), (Party::Caller, 0, 2_000)] {
        let mut next = 0_u16;
        let mut entropy = |bytes: &mut [u8]| {
            bytes.copy_from_slice(&next.to_be_bytes());
            next += 1;
        };
        let drawn: Vec<_> = (0..1_000).map(|_| pause(party, &mut entropy).as_millis()).collect();
        assert_eq!(drawn.iter().min(), Some(&least), "{party:?}");
        assert_eq!(drawn.iter().max(), Some(&most), "{party:?}");
        assert!(drawn.iter().all(|pause| pause.is_multiple_of(10)), "units of 10 ms");
    }
}

/// The first moment, in milliseconds, at which the peer is asked again.
fn asked_again(rig: &mut Rig, who: Who) -> Option<u64> {
    (1..=450)
        .find(|_| {
            rig.run(Duration::from_millis(10));
            !rig.peer(who).asked.is_empty()
        })
        .map(|step| step * 10)
}

#[test]
fn a_refresh_that_collides_is_tried_again_after_the_sides_pause() {
    for (who, from, to) in [(Pbx, 2_000, 4_050), (Carrier, 0, 2_050)] {
        let fields = "session_timer = \"require\"\nsession_expires = 300\n";
        let mut rig = match who {
            Pbx => Rig::with("glare-callee", "", fields, ""),
            _ => Rig::with("glare-caller", fields, "", ""),
        };
        rig.talk(Carrier);
        rig.peer(who).hesitates = true;
        rig.seconds(151);
        let (id, refresh) = rig.asked_inside(who);
        assert_eq!(refresh.method, Method::Invite);
        rig.answer(who, id, 491, None);
        let waited = asked_again(&mut rig, who).expect("it is tried again");
        assert!((from..=to).contains(&waited), "{who:?}: {waited} ms");
        let (id, again) = rig.asked_inside(who);
        rig.accept(who, id, &again);
        rig.hang_up(Carrier);
        rig.finish_one(200);
    }
}

#[test]
fn a_side_that_was_busy_is_told_of_the_other_ones_hold_later() {
    let mut rig = Rig::new("glare-telling");
    rig.talk(Carrier);
    rig.pbx.hesitates = true;
    let held = rig.carrier.offer().replace("sendrecv", "sendonly");
    rig.carrier.ack_body = Some(held);
    rig.ask(Carrier, Method::Invite, None);
    let (id, told) = rig.asked_inside(Pbx);
    assert!(String::from_utf8_lossy(&told.body).contains("a=sendonly"));
    rig.answer(Pbx, id, 491, None);
    // Its own change comes first: it is not refused meanwhile.
    let offer = rig.pbx.offer();
    rig.ask_with(Pbx, Method::Invite, vec![(HeaderName::Subject, "first".into())], Some(offer));
    assert_eq!(rig.last_status(Pbx), 200);
    let waited = asked_again(&mut rig, Pbx).expect("it is told again");
    assert!(waited <= 4_050, "{waited} ms");
    let (id, again) = rig.asked_inside(Pbx);
    assert!(String::from_utf8_lossy(&again.body).contains("a=sendonly"));
    rig.accept(Pbx, id, &again);
    rig.hang_up(Carrier);
    rig.finish_one(200);
}
