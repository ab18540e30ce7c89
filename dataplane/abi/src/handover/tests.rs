use std::path::PathBuf;

use rustix::io::IoSlice;
use rustix::net::{SendAncillaryBuffer, SendFlags, accept_with, bind, listen, sendmsg};

use super::connect::connect_within;
use super::*;
use crate::doorbell;
use crate::flow::FlowId;
use crate::region::{AttachError, Host, Shape};
use crate::{Close, Command, Event};

const SHAPE: Shape = Shape { flows: 4, commands: 8, events: 8 };
const FLOW: FlowId = FlowId { index: 1, generation: 1 };

/// A directory of one test's own, removed with it.
struct Dir(PathBuf);

impl Dir {
    fn new(test: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("trunkline-abi-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("dataplane.sock")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A dataplane of `count` workers without media.
struct Workers(Vec<(Host, OwnedFd, OwnedFd)>);

impl Workers {
    fn new(count: u32) -> Self {
        let worker = |index| {
            let host = Host::create(index, SHAPE).unwrap();
            (host, doorbell::create().unwrap(), doorbell::create().unwrap())
        };
        Self((0..count).map(worker).collect())
    }

    fn offers(&self) -> Vec<Offer<'_>> {
        self.0
            .iter()
            .map(|(host, command_bell, event_bell)| Offer {
                region: host.fd(),
                command_bell: command_bell.as_fd(),
                event_bell: event_bell.as_fd(),
            })
            .collect()
    }
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Accepts once in another thread while `guest` connects in this one.
fn meet<T>(
    listener: &Listener,
    workers: &Workers,
    guest: impl FnOnce() -> T,
) -> (Result<Link, HandoverError>, T) {
    std::thread::scope(|scope| {
        let offers = workers.offers();
        let accepting = scope.spawn(move || listener.accept(&offers));
        let got = guest();
        (accepting.join().unwrap(), got)
    })
}

#[test]
fn every_worker_arrives_with_its_doorbells() {
    let dir = Dir::new("all");
    let listener = Listener::bind(&dir.socket(), own_uid()).unwrap();
    let mut workers = Workers::new(9);
    let (link, guests) = meet(&listener, &workers, || connect(&dir.socket()));
    let (link, mut guests) = (link.unwrap(), guests.unwrap());
    assert_eq!((link.pid(), link.uid()), (std::process::id(), own_uid()));
    assert_eq!(guests.len(), 9);
    for (index, worker) in (0..).zip(&mut guests) {
        let (host, command_bell, event_bell) = &mut workers.0[index as usize];
        assert_eq!(worker.guest.worker(), index);
        let close = Command::close(&Close { token: u64::from(index), flow: FLOW });
        worker.guest.commands.push(&close).unwrap();
        doorbell::ring(&worker.command_bell).unwrap();
        assert!(doorbell::silence(&*command_bell).unwrap());
        assert_eq!(host.commands.pop().unwrap(), close);
        host.events.push(&Event::updated(1, FLOW)).unwrap();
        doorbell::ring(&*event_bell).unwrap();
        assert!(doorbell::silence(&worker.event_bell).unwrap());
        assert!(worker.guest.events.pop().is_some());
    }
}

#[test]
fn either_side_is_told_that_the_other_has_gone() {
    let dir = Dir::new("gone");
    let listener = Listener::bind(&dir.socket(), own_uid()).unwrap();
    let workers = Workers::new(2);
    let (link, guests) = meet(&listener, &workers, || connect(&dir.socket()).unwrap());
    let link = link.unwrap();
    assert!(!link.has_ended() && !guests[0].has_ended());
    let mut guests = guests.into_iter();
    drop(guests.next());
    assert!(!link.has_ended(), "one worker is still attached");
    drop(guests);
    link.wait();
    assert!(link.has_ended());

    let (link, guests) = meet(&listener, &workers, || connect(&dir.socket()).unwrap());
    drop(link);
    assert!(guests[0].has_ended());
    let mut fds = [PollFd::from_borrowed_fd(guests[1].link(), PollFlags::IN)];
    assert_eq!(poll(&mut fds, Some(&Timespec::default())), Ok(1));
}

#[test]
fn a_second_guest_is_refused_and_told_who_is_first() {
    let dir = Dir::new("second");
    let listener = Listener::bind(&dir.socket(), own_uid()).unwrap();
    let workers = Workers::new(1);
    let (link, first) = meet(&listener, &workers, || connect(&dir.socket()).unwrap());
    let own = std::process::id();
    let (refused, second) = meet(&listener, &workers, || connect(&dir.socket()));
    let busy =
        matches!(refused, Err(HandoverError::Busy { pid, first }) if (pid, first) == (own, own));
    assert!(busy);
    let text = second.err().unwrap().to_string();
    assert!(text.contains(&format!("pid {own}")) && text.contains("stop that one first"), "{text}");
    assert!(!link.as_ref().unwrap().has_ended(), "the first one stays attached");
    drop(first);
    // The host need not have noticed yet that the first one is gone.
    let (third, guests) = meet(&listener, &workers, || connect(&dir.socket()));
    assert!(third.is_ok() && guests.unwrap().len() == 1);
}

#[test]
fn another_user_is_refused() {
    let dir = Dir::new("user");
    let other = own_uid() + 4_242;
    let listener = Listener::bind(&dir.socket(), other).unwrap();
    // Open the file to this user, so that the check of the peer is what refuses.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(dir.socket(), mode).unwrap();
    let (refused, guest) = meet(&listener, &Workers::new(1), || connect(&dir.socket()));
    let denied = matches!(refused, Err(HandoverError::Denied { uid, allowed, .. })
        if uid == own_uid() && allowed == other);
    assert!(denied);
    let text = guest.err().unwrap().to_string();
    assert!(text.contains(&format!("only user {other} may attach")), "{text}");
}

#[test]
fn the_socket_file_is_private_to_its_user() {
    let dir = Dir::new("mode");
    let listener = Listener::bind(&dir.socket(), own_uid()).unwrap();
    let meta = std::fs::metadata(listener.path()).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&meta) & 0o777, 0o600);
}

#[test]
fn an_absent_dataplane_is_named_with_a_remedy() {
    let dir = Dir::new("absent");
    let text = |path: &Path| connect(path).err().unwrap().to_string();
    let missing = text(&dir.socket());
    assert!(missing.contains("no such socket; is the dataplane running?"), "{missing}");
    // A listener that was killed leaves its file.
    let (socket, addr) = unix_socket(&dir.socket()).unwrap();
    bind(&socket, &addr).unwrap();
    drop(socket);
    let dead = text(&dir.socket());
    assert!(dead.contains("nobody listens"), "{dead}");
    // The next dataplane takes the path over.
    let listener = Listener::bind(&dir.socket(), own_uid()).unwrap();
    let in_use = Listener::bind(&dir.socket(), own_uid()).err().unwrap().to_string();
    assert!(in_use.contains("another dataplane"), "{in_use}");
    drop(listener);
    assert!(!dir.socket().exists());
    let other = std::os::unix::net::UnixListener::bind(dir.socket()).unwrap();
    assert!(text(&dir.socket()).contains("not a dataplane"));
    let in_use = Listener::bind(&dir.socket(), own_uid()).err().unwrap();
    assert!(matches!(in_use, HandoverError::InUse { .. }));
    drop(other);
}

#[test]
fn a_path_that_cannot_be_used_is_named() {
    let dir = Dir::new("path");
    let error = |path: &Path| Listener::bind(path, own_uid()).err().unwrap().to_string();
    std::fs::write(dir.0.join("file"), "kept").unwrap();
    assert!(error(&dir.0.join("file")).contains("is not a socket"));
    assert_eq!(std::fs::read(dir.0.join("file")).unwrap(), b"kept");
    assert!(error(&dir.0.join("no/such/dir")).contains("directory exists"));
    assert!(error(&dir.0.join("x".repeat(200))).contains("shorter than 108"));
}

/// A listener that says `greetings` to the first guest and then nothing.
fn impostor(path: &Path, greetings: Vec<Vec<u8>>) -> std::thread::JoinHandle<OwnedFd> {
    let (socket, addr) = unix_socket(path).unwrap();
    bind(&socket, &addr).unwrap();
    listen(&socket, 1).unwrap();
    std::thread::spawn(move || {
        let guest = accept_with(&socket, SocketFlags::CLOEXEC).unwrap();
        for greeting in greetings {
            let mut none = SendAncillaryBuffer::default();
            sendmsg(&guest, &[IoSlice::new(&greeting)], &mut none, SendFlags::NOSIGNAL).unwrap();
        }
        guest
    })
}

fn judged_by_guest(test: &str, greetings: &[Greeting]) -> AttachError {
    let bytes = |greeting| bytemuck::bytes_of(greeting).to_vec();
    judged_by_guest_raw(test, greetings.iter().map(bytes).collect())
}

fn judged_by_guest_raw(test: &str, greetings: Vec<Vec<u8>>) -> AttachError {
    let dir = Dir::new(test);
    let impostor = impostor(&dir.socket(), greetings);
    let error = connect_within(&dir.socket(), Duration::from_millis(200)).err().unwrap();
    drop(impostor.join().unwrap());
    error
}

#[test]
fn a_dataplane_of_another_build_is_refused_with_both_values() {
    let hello = Greeting::new(kind::HELLO, 1, 1);
    let cases = [
        (Greeting { magic: 0xBAD, ..hello }, "0x0000000000000bad", format!("{MAGIC:#018x}")),
        (Greeting { version: 77, ..hello }, "version 77", format!("speaks {VERSION}")),
        (Greeting { layout_hash: 0xFEED, ..hello }, "feed", format!("{LAYOUT_HASH:#018x}")),
    ];
    for (greeting, found, expected) in cases {
        let error = judged_by_guest("build", &[greeting]).to_string();
        assert!(error.contains(found) && error.contains(&expected), "{error}");
    }
}

#[test]
fn a_listener_that_does_not_keep_to_the_protocol_is_refused() {
    let hello = Greeting::new(kind::HELLO, 2, 1);
    let protocol = |error| matches!(error, AttachError::Handover(ConnectError::Protocol { .. }));
    let too_many = Greeting { worker: WORKERS_MAX + 1, ..hello };
    assert!(protocol(judged_by_guest("many", &[too_many])));
    assert!(protocol(judged_by_guest("kind", &[Greeting { kind: 99, ..hello }])));
    let worker = Greeting::new(kind::WORKER, 0, 1);
    assert!(protocol(judged_by_guest("fds", &[hello, worker])), "a worker without descriptors");
    for len in 1..size_of::<Greeting>() {
        let short = bytemuck::bytes_of(&hello)[..len].to_vec();
        assert!(protocol(judged_by_guest_raw("short", vec![short])));
    }
}

#[test]
fn a_listener_that_says_nothing_does_not_hold_the_guest() {
    let silent = judged_by_guest("silent", &[]).to_string();
    assert!(silent.contains("does not answer"), "{silent}");
}
