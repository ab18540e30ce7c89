//! A guest that is killed at any instruction, as seen by the host: what it had pushed is whole, the
//! rest never was, and the next guest carries on.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command as Process, Stdio};

use abi::handover::{Link, Listener, Offer, connect};
use abi::{Command, FlowId, Host, Key, Request, Shape, Suite, Update, doorbell};

const GUEST: &str = "TRUNKLINE_TEST_GUEST_SOCKET";
const SHAPE: Shape = Shape { flows: 4, commands: 16, events: 4 };
const FLOW: FlowId = FlowId { index: 0, generation: 1 };

#[test]
fn a_killed_guest_leaves_nothing_half_done() {
    if let Some(path) = std::env::var_os(GUEST) {
        push_for_ever(path.as_ref());
    }
    let path = std::env::temp_dir().join(format!("trunkline-killed-{}.sock", std::process::id()));
    let uid = rustix::process::geteuid().as_raw();
    let listener = Listener::bind(&path, uid).unwrap();
    let mut host = Host::create(0, SHAPE).unwrap();
    let bells = [doorbell::create().unwrap(), doorbell::create().unwrap()];
    for life in 1..=25 {
        let mut guest = spawn(&path);
        let link = listener.accept(&[offer(&host, &bells)]).unwrap();
        assert_eq!(link.pid(), guest.id());
        // A different number each time, so that the kill falls on different instructions.
        let mut tokens = take(&mut host, &link, 20_000 + life * 997);
        guest.kill().unwrap();
        guest.wait().unwrap();
        link.wait();
        assert!(link.has_ended());
        tokens.extend(drain(&mut host));
        let start = tokens[0];
        assert!(tokens.iter().copied().eq(start..start + tokens.len() as u64), "life {life}");
        assert_eq!(start, 0, "a new guest begins anew, and nothing of the old one is left");
        assert_eq!((host.commands.faults(), host.events.faults()), (0, 0));
        host.restore();
    }
}

fn spawn(path: &std::path::Path) -> Child {
    Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_guest_leaves_nothing_half_done", "--nocapture"])
        .env(GUEST, path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn offer<'fd>(host: &'fd Host, bells: &'fd [OwnedFd; 2]) -> Offer<'fd> {
    let [command_bell, event_bell] = bells.each_ref().map(AsFd::as_fd);
    Offer { region: host.fd(), command_bell, event_bell }
}

/// Takes `count` commands, each of which must be whole.
fn take(host: &mut Host, link: &Link, count: usize) -> Vec<u64> {
    let mut tokens = Vec::with_capacity(count);
    while tokens.len() < count {
        match host.commands.pop() {
            Some(command) => tokens.push(judge(&command)),
            None if link.has_ended() => panic!("the guest ended after {} commands", tokens.len()),
            None => std::thread::yield_now(),
        }
    }
    tokens
}

fn drain(host: &mut Host) -> Vec<u64> {
    std::iter::from_fn(|| host.commands.pop()).map(|command| judge(&command)).collect()
}

fn judge(command: &Command) -> u64 {
    let Ok(Request::Update(update)) = command.decode() else {
        panic!("not a whole command: {command:?}");
    };
    let mark = update.token as u8;
    assert_eq!(update.protect, Key::new(Suite::AeadAes256Gcm, &[mark; 32], &[mark; 12]));
    assert_eq!(update.timeout_ms, update.token as u32);
    update.token
}

/// The guest: pushes commands that say one thing in every field, until it is killed.
fn push_for_ever(path: &std::path::Path) -> ! {
    let mut workers = connect(path).unwrap();
    let guest = &mut workers[0].guest;
    for token in 0.. {
        let mark = token as u8;
        let mut update = Update::new(token, FLOW);
        update.timeout_ms = token as u32;
        update.protect = Key::new(Suite::AeadAes256Gcm, &[mark; 32], &[mark; 12]);
        while guest.commands.push(&Command::update(&update)).is_err() {
            std::thread::yield_now();
        }
    }
    unreachable!("the parent kills this process");
}
