use super::*;

fn table(flows: usize) -> (Words, FlowWriter, FlowReader) {
    let words = Words::heap(flows * ENTRY_WORDS);
    (words.clone(), FlowWriter::new(words.clone()), FlowReader::new(words))
}

/// A flow in which every field says `mark`.
fn marked(index: u32, mark: u64) -> FlowSnapshot {
    let port = u16::try_from(mark % 60_000).unwrap() + 1;
    let address = |last: u8| Address::from(std::net::SocketAddr::from(([192, 0, 2, last], port)));
    FlowSnapshot {
        id: FlowId { index, generation: mark as u32 },
        state: FlowState::Relaying,
        call: u128::from(mark).to_ne_bytes(),
        peer: FlowId { index: 1, generation: mark as u32 },
        local_rtp: address(1),
        local_rtcp: address(2),
        destination: address(3),
        source: address(4),
        opened_ns: mark,
        last_packet_ns: mark,
        packets_in: mark,
        bytes_in: mark,
        packets_out: mark,
        bytes_out: mark,
        lost: mark,
        duplicates: mark,
        reordered: mark,
        jitter: mark,
        auth_failures: mark,
        replays: mark,
        off_path: mark,
        rate_hz: mark,
        rtt_us: mark,
        far_lost: mark,
        far_jitter: mark,
        mos: mark,
    }
}

#[test]
fn a_published_flow_reads_back_until_it_is_cleared() {
    let (_, mut writer, reader) = table(4);
    assert_eq!((writer.capacity(), reader.capacity()), (4, 4));
    assert_eq!(reader.iter().count(), 0);
    writer.publish(0, &marked(0, 7));
    writer.publish(3, &FlowSnapshot::opened(FlowId { index: 3, generation: 1 }, [9; 16], 5));
    assert_eq!(reader.snapshot(0), Some(marked(0, 7)));
    let indices: Vec<_> = reader.iter().map(|flow| (flow.id.index, flow.state)).collect();
    assert_eq!(indices, [(0, FlowState::Relaying), (3, FlowState::Open)]);
    writer.clear(0);
    assert_eq!(reader.snapshot(0), None);
    assert_eq!(reader.iter().count(), 1);
}

#[test]
fn every_tally_has_its_own_word() {
    let (_, mut writer, reader) = table(2);
    writer.publish(1, &FlowSnapshot::opened(FlowId { index: 1, generation: 1 }, [0; 16], 0));
    let all = [
        FlowTally::LastPacketNs,
        FlowTally::PacketsIn,
        FlowTally::BytesIn,
        FlowTally::PacketsOut,
        FlowTally::BytesOut,
        FlowTally::Lost,
        FlowTally::Duplicates,
        FlowTally::Reordered,
        FlowTally::Jitter,
        FlowTally::AuthFailures,
        FlowTally::Replays,
        FlowTally::OffPath,
    ];
    for (value, tally) in (100..).zip(all) {
        writer.set(1, tally, value);
        writer.bump(1, tally, 1_000);
    }
    let flow = reader.snapshot(1).unwrap();
    let read = [
        flow.last_packet_ns,
        flow.packets_in,
        flow.bytes_in,
        flow.packets_out,
        flow.bytes_out,
        flow.lost,
        flow.duplicates,
        flow.reordered,
        flow.jitter,
        flow.auth_failures,
        flow.replays,
        flow.off_path,
    ];
    assert_eq!(read, std::array::from_fn(|place| 1_100 + place as u64));
    assert_eq!(reader.snapshot(0), None);
}

#[test]
fn an_index_beyond_the_table_is_nothing() {
    let (words, mut writer, reader) = table(1);
    for index in [1, 2, u32::MAX] {
        writer.publish(index, &marked(index, 1));
        writer.bump(index, FlowTally::OffPath, 1);
        writer.clear(index);
        assert_eq!(reader.snapshot(index), None);
    }
    assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 0));
}

#[test]
fn a_snapshot_is_never_a_mix_of_two_flows() {
    let (_, mut writer, reader) = table(2);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for mark in 1..200_000 {
                writer.publish(1, &marked(1, mark));
                if mark % 16 == 0 {
                    std::thread::yield_now();
                }
            }
            done.store(true, Ordering::Release);
        });
        let mut seen = 0;
        while !done.load(Ordering::Acquire) {
            if let Some(flow) = reader.snapshot(1) {
                assert_eq!(flow, marked(1, flow.opened_ns));
                seen += 1;
            }
        }
        assert!(seen > 0);
    });
}

#[test]
fn a_reader_behind_a_dead_writer_gives_up() {
    let (words, mut writer, reader) = table(1);
    writer.publish(0, &marked(0, 1));
    words[0].fetch_add(1, Ordering::Relaxed);
    assert_eq!(reader.snapshot(0), None);
}

#[test]
fn a_scribbled_table_is_restored_from_the_private_copy() {
    let (words, mut writer, reader) = table(3);
    writer.publish(0, &marked(0, 1));
    writer.publish(2, &marked(2, 2));
    words.iter().for_each(|word| word.store(0xFFFF_FFFF_FFFF_FFFF, Ordering::Relaxed));
    assert_eq!(reader.iter().count(), 0);
    writer.bump(2, FlowTally::PacketsIn, 1);
    writer.restore();
    assert_eq!(reader.snapshot(0), Some(marked(0, 1)));
    assert_eq!(reader.snapshot(1), None);
    assert_eq!(reader.snapshot(2), Some(FlowSnapshot { packets_in: 3, ..marked(2, 2) }));
    writer.publish(2, &marked(2, 9));
    assert_eq!(reader.snapshot(2), Some(marked(2, 9)));
}
