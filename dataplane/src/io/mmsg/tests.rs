use super::*;
use crate::io::{Dscp, socket};

#[test]
fn sockets_that_found_no_place_among_the_ready_are_looked_for_without_waiting() {
    let bell = || abi::doorbell::create().unwrap();
    let mut io = Mmsg::new(256, bell(), bell()).unwrap();
    let mut batch = Batch::new();
    let far = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sockets = READY_MAX as u32 + 44;
    for place in 0..sockets {
        let socket = socket::open("127.0.0.1:0".parse().unwrap(), Dscp::EF).unwrap();
        let address = socket.local_addr().unwrap();
        io.open(SocketId::at(place, 1), socket).unwrap();
        far.send_to(&[0x80; 20], address).unwrap();
    }
    let wait = Wait { gather_us: 1000, ..Wait::up_to(1_000_000_000) };
    let mut arrived = 0;
    for round in 0..2 {
        let received = io.receive(&mut batch, wait).unwrap();
        let slept = round > 0 && received.gather_ns + received.sleep_ns > 0;
        assert!(!slept, "round {round}: {received:?}");
        arrived += batch.arrivals.len();
        batch.discards.extend(batch.arrivals.drain(..).map(|arrival| arrival.buffer));
        io.transmit(&mut batch);
    }
    assert_eq!(arrived, sockets as usize);
}

#[test]
fn a_bell_is_passed_on_each_time_and_the_thread_ends_with_its_owner() {
    let bell = abi::doorbell::create().unwrap();
    let ringer = Ringer::start(bell.try_clone().unwrap()).unwrap();
    for _ in 0..100 {
        ringer.ring();
        let mut rung = [rustix::event::PollFd::new(&bell, rustix::event::PollFlags::IN)];
        assert_eq!(rustix::event::poll(&mut rung, None), Ok(1));
        assert!(abi::doorbell::silence(&bell).unwrap());
    }
    let held = std::sync::Arc::downgrade(&ringer.shared);
    drop(ringer);
    while held.strong_count() > 0 {
        std::thread::yield_now();
    }
}
