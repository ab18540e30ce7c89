//! What crosses from one shard to the other: a dialog that a transfer joins with one of the other
//! shard, and the CANCEL of an INVITE whose place is not where its Call-ID is at home.

use serde_json::Value;
use sip::endpoint::DialogId;
use sip::wire::{HeaderName, Message, Method, Request, StatusCode};

use super::world::{CARRIER, PBX, World};
use crate::call::tests::peer::message;

/// An INVITE of a peer whose Call-ID is at home on that shard.
fn invite(world: &mut World, who: usize, home: usize, offer: &str) -> Request {
    loop {
        let invite = world.peers[who].invite("+4930222", Some(offer.to_owned()));
        let call_id = invite.headers.call_id().unwrap();
        if world.home(std::str::from_utf8(&call_id).unwrap()) == home {
            return invite;
        }
    }
}

/// A call on each shard; the PBX's dialog of each, and the carrier's.
fn one_on_each(world: &mut World, caller: usize) -> [[DialogId; 2]; 2] {
    [0, 1].map(|home| {
        let before = world.shards[home].calls.len();
        let offer = world.peers[caller].offer();
        let (invite, now) = (invite(world, caller, home, &offer), world.now);
        world.peers[caller].call(now, invite);
        world.pass(1);
        assert_eq!(world.shards[home].calls.len(), before + 1, "a call is up");
        [PBX, CARRIER].map(|who| world.peers[who].dialog.unwrap())
    })
}

/// What the gateway said to a peer, in short.
fn told(world: &World, who: usize, wanted: &str) -> Vec<String> {
    let mine = world.sent.iter().filter(|(to, _)| *to == world.peers[who].address);
    let short = mine.map(|(_, bytes)| match message(bytes) {
        Message::Request(request) => {
            let body = String::from_utf8_lossy(&request.body).trim_end().to_owned();
            format!("{} {body}", request.method)
        }
        Message::Response(response) => {
            let cseq = response.headers.cseq().unwrap();
            format!("{} {}", response.status.code(), cseq.method)
        }
    });
    short.filter(|line| line.starts_with(wanted) || line.ends_with(wanted)).collect()
}

fn transfer(world: &mut World, who: usize, asks: DialogId, named: DialogId) {
    let now = world.now;
    let peer = &mut world.peers[who];
    let replaces = peer.endpoint.replaces_of(named).unwrap().to_string();
    let replaces = replaces.replace(';', "%3B").replace('=', "%3D").replace('@', "%40");
    let to = format!("<sip:192.0.2.1?Replaces={replaces}>");
    let extra = vec![(HeaderName::ReferTo, bytes::Bytes::from(to))];
    peer.endpoint.request_in_dialog(now, asks, Method::Refer, extra, None).unwrap();
    world.pass(2);
}

fn joined(records: &[Value]) -> &Value {
    let made: Vec<_> = records.iter().filter(|r| r.get("transferred_from").is_some()).collect();
    let [made] = made.as_slice() else { panic!("one call comes of it: {records:#?}") };
    let given = records.iter().filter(|record| record["transferred_to"] == made["id"]);
    assert_eq!(given.count(), 2, "{records:#?}");
    made
}

#[test]
fn a_transfer_joins_calls_of_two_shards() {
    for (asks, names) in [(0, 1), (1, 0)] {
        let mut world = World::scripted();
        let dialogs = one_on_each(&mut world, PBX);
        transfer(&mut world, PBX, dialogs[asks][0], dialogs[names][0]);
        let notified = told(&world, PBX, "NOTIFY");
        assert_eq!(notified.last().unwrap(), "NOTIFY SIP/2.0 200 OK", "{notified:?}");
        assert_eq!(world.peers[PBX].byes, 2, "who transferred has left both calls");
        assert_eq!(world.peers[CARRIER].live.len(), 2);
        assert_eq!(told(&world, CARRIER, "INVITE").len(), 4, "both were called and moved");
        let live: Vec<_> = world.shards.iter().map(|shard| shard.calls.len()).collect();
        assert_eq!(live[asks], 1, "the call is where it was asked for");
        let last = &world.planes[asks].updates[world.planes[asks].updates.len() - 2..];
        assert!(last.iter().all(|way| way.relay), "media flows between both");
        world.pass(60);

        // The dialog that went over is a dialog as any other: asked by both ends.
        let moved = dialogs[names][1];
        for _ in 0..2 {
            let now = world.now;
            let peer = &mut world.peers[CARRIER];
            let body = Some(("application/sdp", bytes::Bytes::from(peer.offer())));
            let sent = peer.endpoint.request_in_dialog(now, moved, Method::Invite, vec![], body);
            let client = sent.unwrap();
            world.pass(5);
            let mut answers = world.peers[CARRIER].responses.iter().rev();
            let answer = answers.find(|(of, _)| *of == client).unwrap();
            assert_eq!(answer.1.status, StatusCode::OK);
        }
        let now = world.now;
        world.peers[CARRIER].hang_up(now, moved);
        world.pass(5);
        assert_eq!(world.peers[CARRIER].byes, 1, "the other one is told");
        assert!(world.peers[CARRIER].live.is_empty() && world.peers[PBX].live.is_empty());
        let records = world.end();
        assert_eq!(records.len(), 3, "{records:#?}");
        let made = joined(&records);
        assert_eq!((&made["code"], &made["ended_by"]), (&200.into(), &"callee".into()));
    }
}

#[test]
fn a_side_that_went_over_is_sent_away_from_there() {
    let mut world = World::scripted();
    let dialogs = one_on_each(&mut world, PBX);
    transfer(&mut world, PBX, dialogs[0][0], dialogs[1][0]);
    world.pass(60);
    // The side that did not move hangs up: the other one hears it, and its answer is heard.
    let now = world.now;
    world.peers[CARRIER].hang_up(now, dialogs[0][1]);
    world.pass(20);
    assert_eq!(told(&world, CARRIER, "BYE ").len(), 1, "its answer came where it is awaited");
    assert_eq!(world.end().len(), 3);
}

#[test]
fn a_dialog_that_went_over_is_found_by_the_next_transfer() {
    let mut world = World::scripted();
    let first = one_on_each(&mut world, PBX);
    transfer(&mut world, PBX, first[0][0], first[1][0]);
    world.pass(40);
    // Now the carrier, whose dialogs are both on shard 0, transfers: to a call on shard 1.
    let second = one_on_each(&mut world, CARRIER);
    transfer(&mut world, CARRIER, second[1][1], first[1][1]);
    let notified = told(&world, CARRIER, "NOTIFY");
    assert_eq!(notified.last().unwrap(), "NOTIFY SIP/2.0 200 OK", "{notified:?}");
    world.pass(40);
    for shard in 0..2 {
        assert_eq!(world.shards[shard].calls.len(), 1, "shard {shard}");
    }
    for who in [CARRIER, PBX] {
        for dialog in world.peers[who].live.clone() {
            let now = world.now;
            world.peers[who].hang_up(now, dialog);
        }
    }
    world.pass(5);
    assert_eq!(world.end().len(), 6);
}

#[test]
fn a_dialog_of_another_trunk_or_of_nobody_is_found_on_no_shard() {
    let mut world = World::scripted();
    let dialogs = one_on_each(&mut world, PBX);
    // The carrier's dialog, named by the PBX.
    let theirs = world.peers[CARRIER].endpoint.replaces_of(dialogs[1][1]).unwrap().to_string();
    let nobody = |shard: usize| {
        let mut names = (0..).map(|number| format!("nobody{number}"));
        names.find(|name| world.home(name) == shard).unwrap()
    };
    let unknown = [0, 1].map(|shard| format!("x;to-tag={};from-tag=y", nobody(shard)));
    for (named, replaces) in [&[theirs][..], &unknown].concat().into_iter().enumerate() {
        let replaces = replaces.replace(';', "%3B").replace('=', "%3D").replace('@', "%40");
        let to = format!("<sip:192.0.2.1?Replaces={replaces}>");
        let extra = vec![(HeaderName::ReferTo, bytes::Bytes::from(to))];
        let (now, asks) = (world.now, dialogs[0][0]);
        let peer = &mut world.peers[PBX];
        peer.endpoint.request_in_dialog(now, asks, Method::Refer, extra, None).unwrap();
        world.pass(2);
        let notified = told(&world, PBX, "NOTIFY SIP/2.0 481");
        assert_eq!(notified.len(), named + 1, "{replaces}");
    }
    assert_eq!((world.peers[PBX].byes, world.peers[CARRIER].byes), (0, 0));
}

/// The INVITE names a place on one shard and has its Call-ID on the other; the side that stays is
/// asked before it is answered, and meanwhile it is cancelled.
#[test]
fn a_cancel_finds_its_invite_on_the_other_shard() {
    for who in [CARRIER, PBX] {
        for there in [0, 1] {
            let mut world = World::scripted();
            let dialogs = one_on_each(&mut world, PBX);
            let index = usize::from(who == CARRIER);
            let peer = &world.peers[who];
            let replaces = peer.endpoint.replaces_of(dialogs[there][index]).unwrap();
            world.peers[CARRIER + PBX - who].hesitates = true;
            world.sent.clear();
            let offer = world.peers[who].offer().replace("sendrecv", "sendonly");
            let mut invite = invite(&mut world, who, 1 - there, &offer);
            invite.headers.push(HeaderName::Replaces, replaces.to_string());
            let now = world.now;
            let client = world.peers[who].call(now, invite);
            world.pass(2);
            let now = world.now;
            world.peers[who].endpoint.cancel(now, client).unwrap();
            world.pass(20);
            assert_eq!(told(&world, who, "200 CANCEL").len(), 1);
            // Once: the ACK found it too.
            assert_eq!(told(&world, who, "487 INVITE").len(), 1);
            assert!(told(&world, who, "481 CANCEL").is_empty());
            assert_eq!(world.peers[who].byes, 0, "who was there stays");
        }
    }
}

#[test]
fn a_cancel_of_nothing_is_answered_once() {
    let mut world = World::scripted();
    for number in 0..8 {
        world.sent.clear();
        world.hear_text(&format!(
            "CANCEL sip:+4930222@192.0.2.1 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKnothing{number}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:a@192.0.2.10>;tag=1\r\nTo: <sip:b@192.0.2.1>\r\n\
             Call-ID: nothing-{number}\r\nCSeq: 1 CANCEL\r\nContent-Length: 0\r\n\r\n"
        ));
        world.pass(1);
        assert_eq!(told(&world, CARRIER, "481 CANCEL").len(), 1, "{number}");
    }
    assert_eq!(world.tally.passed, 8, "the other shard was asked each time");
}
