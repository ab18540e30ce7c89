use io_uring::opcode;

use super::*;

fn ring() -> Uring {
    let bell = || abi::doorbell::create().unwrap();
    Uring::new(4, bell(), bell()).unwrap()
}

fn outcome(ring: &mut Uring, entry: squeue::Entry) -> i32 {
    ring.push(&entry.user_data(0)).unwrap();
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

#[test]
fn the_probe_makes_a_ring_as_workers_do() {
    assert!(probe().is_ok());
}
