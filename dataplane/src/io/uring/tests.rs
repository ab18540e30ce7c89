use io_uring::opcode;

use super::*;
use crate::io::{Dscp, Origin, Port, Sent, socket};
use abi::FlowId;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

fn ring() -> Uring {
    let bell = || abi::doorbell::create().unwrap();
    Uring::new(4, bell(), bell()).unwrap()
}

fn outcome(ring: &mut Uring, entry: squeue::Entry) -> i32 {
    assert!(ring.push(&entry.user_data(0)).unwrap());
    ring.poll().unwrap();
    let completion = ring.ring.completion().next().unwrap();
    assert_eq!(completion.user_data(), 0);
    completion.result()
}

#[test]
fn a_ring_does_what_workers_do_and_nothing_else() {
    let mut ring = ring();
    let path = c"/";
    let null = std::ptr::null_mut();
    let bell = Fd(ring.event_bell.as_raw_fd());
    let forbidden = [
        opcode::Nop::new().build(),
        opcode::OpenAt::new(Fd(libc::AT_FDCWD), path.as_ptr()).build(),
        opcode::Socket::new(libc::AF_INET, libc::SOCK_DGRAM, 0).build(),
        opcode::Read::new(bell, null, 0).build(),
        opcode::Close::new(bell).build(),
        opcode::Timeout::new(&Timespec::new()).build(),
        // A permitted operation with a flag that nobody uses.
        opcode::Write::new(bell, (&raw const ONE).cast(), 8).build().flags(squeue::Flags::ASYNC),
    ];
    for entry in forbidden {
        let what = format!("{entry:?}");
        assert_eq!(outcome(&mut ring, entry), -libc::EACCES, "{what}");
    }
    let register = ring.ring.submitter().register_eventfd(ring.event_bell.as_raw_fd());
    assert_eq!(register.unwrap_err().raw_os_error(), Some(libc::EACCES));
    // Positive control.
    let write = opcode::Write::new(bell, (&raw const ONE).cast(), 8).build();
    assert_eq!(outcome(&mut ring, write), 8);
    ring.ring.submitter().register_files_update(0, &[-1]).unwrap();
}

/// From now on the kernel takes nothing from a ring of this thread, as when it is short of memory.
fn starve() {
    let enter = [(libc::SYS_io_uring_enter, Vec::new())].into();
    let refused = SeccompAction::Errno(libc::EAGAIN as u32);
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(enter, SeccompAction::Allow, refused, arch).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

#[test]
fn a_full_queue_fails_sends_and_ends_nothing() {
    let starved = std::thread::spawn(|| {
        let mut ring = ring();
        starve();
        let id = |index| SocketId { flow: FlowId { index, generation: 1 }, port: Port::Rtp };
        let own = Origin { flow: id(0).flow, sent: Sent::Own };
        let open = || socket::open("127.0.0.1:0".parse().unwrap(), Dscp::EF).unwrap();
        let near = open();
        let destination = near.local_addr().unwrap().into();
        ring.open(id(0), near).unwrap();
        let mut batch = Batch::new();
        while let Some(buffer) = ring.take_buffer() {
            let (socket, origin) = (id(0), own);
            batch.departures.push(Departure { socket, destination, buffer, len: 20, origin });
        }
        assert_eq!(batch.departures.len(), SUBMISSIONS as usize, "as many as the queue has");
        ring.transmit(&mut batch).unwrap();
        assert_eq!(batch.failed, [own], "the receive has one place of the queue");
        assert!(ring.take_buffer().is_some() && ring.take_buffer().is_none());
        ring.ring_bell().unwrap();
        ring.open(id(1), open()).unwrap();
        ring.close(id(0)).unwrap();
        ring.receive(&mut batch, Wait::NONE).unwrap();
        ring.retry_faulted().unwrap();
        let waiting = (ring.faulted.as_slice(), ring.uncancelled.as_slice());
        assert_eq!(waiting, ([id(1).place()].as_slice(), [id(0)].as_slice()));
        assert!(ring.rings_later && !ring.ringing && !ring.listening);
    });
    assert!(starved.join().is_ok());
}

#[test]
fn a_burst_that_ends_a_wait_comes_whole() {
    const BURST: usize = 2 * WORK_SHARE + 10;
    let bell = || abi::doorbell::create().unwrap();
    let mut ring = Uring::new(BURST as u32, bell(), bell()).unwrap();
    let open = || socket::open("127.0.0.1:0".parse().unwrap(), Dscp::EF).unwrap();
    let mut ports = Vec::new();
    for index in 0..BURST as u32 {
        let near = open();
        ports.push(near.local_addr().unwrap());
        let flow = FlowId { index, generation: 1 };
        ring.open(SocketId { flow, port: Port::Rtp }, near).unwrap();
    }
    let mut batch = Batch::new();
    ring.receive(&mut batch, Wait::NONE).unwrap();
    assert!(batch.arrivals.is_empty());
    let far = open();
    for port in ports {
        far.send_to(&[0; 20], port).unwrap();
    }
    // Not by a look that goes on until nothing is there: by a wait for whatever comes first.
    ring.receive(&mut batch, Wait::up_to(10_000_000_000)).unwrap();
    assert_eq!(batch.arrivals.len(), BURST);
}

#[test]
fn the_probe_makes_a_ring_as_workers_do() {
    assert!(probe().is_ok());
}
