use std::os::fd::OwnedFd;

use proptest::prelude::*;

use super::*;
use crate::command::Command;
use crate::counter::COUNTERS;
use crate::event::Notice;
use crate::flow::{FlowId, FlowSnapshot, FlowTally};
use crate::layout::HEADER_WORDS;
use crate::memory::sync::AtomicU64;
use crate::request::{Close, Open, Request};

const SMALL: Shape = Shape { flows: 8, commands: 4, events: 4 };
const FLOW: FlowId = FlowId { index: 3, generation: 1 };

fn host() -> Host {
    Host::create(5, SMALL).unwrap()
}

fn attach(host: &Host) -> Result<Guest, AttachError> {
    Guest::attach(host.fd().try_clone_to_owned().unwrap())
}

/// A second mapping of the whole region, as a hostile guest has it.
fn raw(host: &Host) -> Words {
    let size = rustix::fs::fstat(host.fd()).unwrap().st_size;
    Words::map(host.fd(), usize::try_from(size).unwrap()).unwrap()
}

fn open(token: u64) -> Command {
    Command::open(&Open {
        token,
        flow: FLOW,
        call: [1; 16],
        network: 0,
        family: crate::request::Family::Any,
        rtcp_mux_in: false,
        dscp: None,
    })
}

#[test]
fn both_sides_see_the_same_region() {
    let mut host = host();
    let mut guest = attach(&host).unwrap();
    assert_eq!((guest.worker(), guest.host_pid()), (5, std::process::id()));
    assert_eq!((guest.state(), guest.heartbeat_ns()), (Some(WorkerState::Starting), 0));
    for core in [Some(0), Some(1023), None] {
        host.set_core(core);
        assert_eq!(guest.core(), core);
    }
    for state in
        [WorkerState::Running, WorkerState::Draining, WorkerState::Stopped, WorkerState::Standby]
    {
        host.set_state(state);
        assert_eq!(guest.state(), Some(state));
    }
    let beats = host.beats();
    host.heartbeat(77);
    assert_eq!(beats.load(Ordering::Relaxed), 1);
    assert_eq!(guest.heartbeat_ns(), 77);

    guest.commands.push(&open(1)).unwrap();
    assert_eq!(host.commands.pop().unwrap().decode().unwrap().token(), 1);
    host.events.push(&Event::updated(1, FLOW)).unwrap();
    let notice = guest.events.pop().unwrap().decode();
    assert_eq!(notice, Ok(Notice::Updated { token: 1, flow: FLOW }));

    host.flows.publish(3, &FlowSnapshot::opened(FLOW, [1; 16], 9));
    host.flows.bump(3, FlowTally::PacketsIn, 4);
    assert_eq!(guest.flows.capacity(), SMALL.flows);
    let flows: Vec<_> = guest.flows.iter().map(|flow| (flow.id, flow.packets_in)).collect();
    assert_eq!(flows, [(FLOW, 4)]);
    host.counters.add(Counter::RelayedRtp, 4);
    assert_eq!(guest.counters.get(Counter::RelayedRtp), 4);
    assert_eq!(guest.counters.iter().count(), COUNTERS.len());
}

#[test]
fn ends_may_move_between_threads() {
    fn send<T: Send>() {}
    fn share<T: Send + Sync + Clone>() {}
    send::<Host>();
    send::<Guest>();
    share::<FlowReader>();
    share::<CounterReader>();
}

#[test]
fn a_guest_that_comes_back_finds_flows_and_commands_but_no_stale_events() {
    let mut host = host();
    let mut first = attach(&host).unwrap();
    first.commands.push(&open(1)).unwrap();
    host.flows.publish(3, &FlowSnapshot::opened(FLOW, [1; 16], 9));
    host.events.push(&Event::updated(1, FLOW)).unwrap();
    drop(first);
    let mut second = attach(&host).unwrap();
    assert_eq!(second.events.pop(), None);
    assert_eq!(second.flows.snapshot(3).map(|flow| flow.call), Some([1; 16]));
    second.commands.push(&open(2)).unwrap();
    let tokens: Vec<_> = std::iter::from_fn(|| host.commands.pop()).map(|c| c.token).collect();
    assert_eq!(tokens, [1, 2]);
    host.events.push(&Event::updated(2, FLOW)).unwrap();
    assert_eq!(second.events.pop().map(|event| event.token), Some(2));
}

#[test]
fn shapes_are_limited_and_the_error_names_the_limit() {
    let cases = [
        (Shape { flows: 0, ..SMALL }, "0 flows"),
        (Shape { flows: Shape::FLOWS_MAX + 1, ..SMALL }, "262144"),
        (Shape { commands: 1, ..SMALL }, "command ring of 1"),
        (Shape { commands: 12, ..SMALL }, "command ring of 12"),
        (Shape { events: 0, ..SMALL }, "event ring of 0"),
        (Shape { events: Shape::SLOTS_MAX * 2, ..SMALL }, "65536"),
    ];
    for (shape, text) in cases {
        let error = Host::create(0, shape).err().unwrap().to_string();
        assert!(error.contains(text), "{error}");
    }
    assert!(Host::create(0, Shape::default()).is_ok());
    let largest =
        Shape { flows: Shape::FLOWS_MAX, commands: Shape::SLOTS_MAX, events: Shape::SLOTS_MAX };
    let host = Host::create(0, largest).unwrap();
    assert_eq!(attach(&host).unwrap().flows.capacity(), Shape::FLOWS_MAX);
}

#[test]
fn a_mismatch_is_refused_and_both_values_are_printed() {
    fn bend(change: impl Fn(&mut Header)) -> String {
        let host = host();
        let mut header = host.private;
        change(&mut header);
        let words: &[u64] = bytemuck::cast_slice(std::slice::from_ref(&header));
        for (shared, word) in raw(&host).iter().zip(words) {
            shared.store(*word, Ordering::Relaxed);
        }
        attach(&host).err().unwrap().to_string()
    }
    let size = Sections::new(SMALL.flows, SMALL.commands, SMALL.events).bytes;
    let cases = [
        (bend(|h| h.magic = 0xBAD), "0x0000000000000bad".into(), format!("{MAGIC:#018x}")),
        (bend(|h| h.version = 77), "version 77".into(), format!("speaks {VERSION}")),
        (bend(|h| h.layout_hash = 0xFEED), "feed".into(), format!("{LAYOUT_HASH:#018x}")),
        (bend(|h| h.size = 4097), "4097 bytes".into(), size.to_string()),
        (bend(|h| h.flows = 4_000), size.to_string(), "expected".into()),
        (bend(|h| h.flows = u32::MAX), u32::MAX.to_string(), "262144".into()),
        (bend(|h| h.events = 3), "event ring of 3".into(), "65536".into()),
    ];
    for (error, found, expected) in cases {
        assert!(error.contains(&found) && error.contains(&expected), "{error}");
        assert!(error.contains("restart") || error.contains("not Trunkline's"), "{error}");
    }
    let error = bend(|h| h.version = 2);
    assert!(error.contains("both processes must be the same build"), "{error}");
}

#[test]
fn what_is_not_a_sealed_region_is_refused() {
    let memfd = |bytes: u64, seals| {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create("other", flags).unwrap();
        rustix::fs::ftruncate(&fd, bytes).unwrap();
        rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
        fd
    };
    let refused = |fd: OwnedFd| Guest::attach(fd).err().unwrap();
    for seals in [SealFlags::empty(), SealFlags::GROW, SealFlags::GROW | SealFlags::SHRINK] {
        assert!(matches!(refused(memfd(1 << 20, seals)), AttachError::Unsealed));
    }
    assert!(matches!(refused(memfd(0, SEALS)), AttachError::Size { found: 0, .. }));
    assert!(matches!(refused(memfd(255, SEALS)), AttachError::Size { found: 255, .. }));
    assert!(matches!(refused(memfd(1 << 20, SEALS)), AttachError::Magic { found: 0 }));
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    assert!(matches!(refused(file.into()), AttachError::Unsealed));
}

#[test]
fn nobody_can_resize_a_region() {
    let host = host();
    for bytes in [0, 1 << 30] {
        assert_eq!(rustix::fs::ftruncate(host.fd(), bytes), Err(Errno::PERM));
    }
    assert!(rustix::fs::fcntl_add_seals(host.fd(), SealFlags::WRITE).is_err());
}

#[test]
fn the_mapping_is_kept_out_of_core_dumps() {
    let host = Host::create(4_711, SMALL).unwrap();
    let guest = attach(&host).unwrap();
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut mappings = 0;
    let mut lines = smaps.lines();
    while lines.by_ref().any(|line| line.contains("trunkline-worker-4711")) {
        let flags = lines.by_ref().find(|line| line.starts_with("VmFlags:")).unwrap();
        assert!(flags.split(' ').any(|flag| flag == "dd"), "{flags}");
        assert_eq!(flags.split(' ').any(|flag| flag == "lo"), host.locked(), "{flags}");
        mappings += 1;
    }
    assert_eq!(mappings, 2);
    drop((host, guest));
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    assert!(!smaps.contains("trunkline-worker-4711"));
}

/// What a worker does all day, and what it must be able to do whatever the guest writes.
fn work(host: &mut Host, now_ns: u64) -> usize {
    let mut taken = 0;
    while let Some(command) = host.commands.pop() {
        taken += 1;
        let fault = command.decode().is_err();
        host.counters.add(Counter::CommandFaults, u64::from(fault));
        // A ring full of nonsense ends; a guest that refills it must not hold the worker.
        if taken > SMALL.commands as usize {
            break;
        }
    }
    if host.events.push(&Event::updated(now_ns, FLOW)).is_err() {
        host.counters.add(Counter::EventsLost, 1);
    }
    host.flows.publish(3, &FlowSnapshot::opened(FLOW, [1; 16], now_ns));
    host.flows.bump(3, FlowTally::PacketsIn, 2);
    host.counters.add(Counter::RelayedRtp, 2);
    host.heartbeat(now_ns);
    taken
}

/// After the hostile guest: the next one finds everything true and traffic flows.
fn expect_healthy(host: &mut Host, packets: u64) {
    host.restore();
    while host.commands.pop().is_some() {}
    let mut guest = attach(host).unwrap();
    assert_eq!(guest.counters.get(Counter::RelayedRtp), packets);
    let flows: Vec<_> = guest.flows.iter().collect();
    assert_eq!(flows.len(), 1);
    assert_eq!(flows[0].packets_in, 2);
    for token in 0..20 {
        guest.commands.push(&open(token)).unwrap();
        let request = host.commands.pop().unwrap().decode().unwrap();
        assert!(matches!(request, Request::Open(Open { token: t, .. }) if t == token));
        host.events.push(&Event::updated(token, FLOW)).unwrap();
        assert_eq!(guest.events.pop().map(|event| event.token), Some(token));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn the_host_survives_any_word_anywhere(
        writes in prop::collection::vec((any::<u32>(), any::<u64>()), 1..400),
    ) {
        let mut host = host();
        host.set_state(WorkerState::Running);
        let memory = raw(&host);
        let cursors = ring_cursors(&memory);
        for (step, (at, value)) in (1..).zip(&writes) {
            let place = (at >> 4) as usize;
            let word = match at % 4 {
                0 => &memory[cursors[place % cursors.len()]],
                1 => &memory[place % HEADER_WORDS],
                _ => &memory[place % memory.len()],
            };
            let value = if at & 4 == 0 { value % 64 } else { *value };
            word.store(value, Ordering::Relaxed);
            let taken = work(&mut host, step);
            prop_assert!(taken <= SMALL.commands as usize);
        }
        expect_healthy(&mut host, 2 * writes.len() as u64);
    }
}

fn ring_cursors(memory: &Words) -> [usize; 4] {
    let sections = Sections::new(SMALL.flows, SMALL.commands, SMALL.events);
    assert_eq!(sections.bytes, memory.len() * 8);
    let (commands, events) = (sections.commands.start, sections.events.start);
    [commands, commands + 16, events, events + 16]
}

#[test]
fn the_host_survives_a_guest_that_writes_all_the_time() {
    let mut host = host();
    let memory = raw(&host);
    let done = std::sync::atomic::AtomicBool::new(false);
    let mut steps = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = 0x9E37_79B9_7F4A_7C15_u64;
            while !done.load(Ordering::Relaxed) {
                for word in memory.iter() {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    word.store(random >> (random % 64), Ordering::Relaxed);
                }
            }
        });
        // Until both kinds of damage were met and noticed.
        let noticed = |host: &Host| {
            [Counter::HeaderFaults, Counter::CursorFaults].iter().all(|c| host.counters.get(*c) > 9)
        };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while steps < 20_000 || !noticed(&host) && std::time::Instant::now() < deadline {
            steps += 1;
            work(&mut host, steps);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(host.counters.get(Counter::HeaderFaults) > 0);
    assert!(host.counters.get(Counter::CursorFaults) > 0);
    expect_healthy(&mut host, 2 * steps);
}

#[test]
fn the_host_survives_pages_that_are_taken_away() {
    let mut host = host();
    for step in 1..=50 {
        let bytes = rustix::fs::fstat(host.fd()).unwrap().st_size.unsigned_abs();
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(host.fd(), punch, 0, bytes).unwrap();
        assert_eq!(work(&mut host, step), 0);
    }
    assert_eq!(host.counters.get(Counter::HeaderFaults), 50);
    expect_healthy(&mut host, 100);
}

#[test]
fn each_kind_of_damage_is_counted_as_its_fault() {
    let mut host = host();
    let memory = raw(&host);
    let [_, command_tail, event_head, _] = ring_cursors(&memory);
    let store = |word: usize, value| AtomicU64::store(&memory[word], value, Ordering::Relaxed);
    host.heartbeat(1);
    let faults = |host: &Host| {
        [Counter::HeaderFaults, Counter::CursorFaults].map(|counter| host.counters.get(counter))
    };
    assert_eq!(faults(&host), [0, 0]);
    store(0, 0);
    host.heartbeat(2);
    assert_eq!(faults(&host), [1, 0]);
    store(command_tail, 1 << 50);
    assert!(host.commands.pop().is_none());
    host.heartbeat(3);
    assert_eq!(faults(&host), [1, 1]);
    store(event_head, 1 << 50);
    for _ in 0..SMALL.events {
        host.events.push(&Event::updated(0, FLOW)).unwrap();
    }
    assert!(host.events.push(&Event::updated(0, FLOW)).is_err());
    host.heartbeat(4);
    assert_eq!(faults(&host), [1, 2]);
    // The host's own cursor, overwritten: repaired and counted.
    store(event_head + 16, 0);
    host.heartbeat(5);
    assert_eq!(faults(&host), [1, 3]);
    host.heartbeat(6);
    assert_eq!(faults(&host), [1, 3]);
}

#[test]
fn nonsense_of_the_host_does_not_hurt_the_guest() {
    let host = host();
    let mut guest = attach(&host).unwrap();
    let memory = raw(&host);
    memory.iter().for_each(|word| word.store(u64::MAX, Ordering::Relaxed));
    assert_eq!((guest.state(), guest.events.pop()), (None, None));
    assert_eq!(guest.flows.iter().count(), 0);
    let close = Command::close(&Close { token: 0, flow: FLOW });
    let _ = guest.commands.push(&close);
}
