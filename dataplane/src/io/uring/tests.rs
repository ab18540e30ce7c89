use super::*;

fn id(index: u32, generation: u32, port: Port) -> SocketId {
    SocketId { flow: FlowId { index, generation }, port }
}

#[test]
fn a_tag_survives_the_round_trip() {
    let ids = [
        id(0, 1, Port::Rtp),
        id(1, 1, Port::Rtcp),
        id(crate::limits::FLOWS_MAX - 1, u32::MAX, Port::Rtcp),
        id(INDEX_MASK, u32::MAX, Port::Rtp),
    ];
    for id in ids {
        for tag in [Tag::Receive(id), Tag::Send(id), Tag::Cancel, Tag::Bell, Tag::Rung] {
            assert_eq!(Tag::decode(tag.encode()), Some(tag));
        }
    }
    assert_eq!(Tag::decode(0), None);
    assert_eq!(Tag::decode(u64::MAX), None);
}

#[test]
fn an_address_is_written_as_the_kernel_reads_it_and_read_as_it_writes_it() {
    for text in ["192.0.2.1:4000", "[2001:db8::7]:65535", "127.0.0.1:1"] {
        let address: std::net::SocketAddr = text.parse().unwrap();
        let mut whole = [0xEE; BUFFER_SIZE];
        let len = write_name(&mut whole, address.into());
        let expected = socket2::SockAddr::from(address);
        assert_eq!(len, expected.len());
        whole[..NAME_AT].fill(0);
        let (source, truncated) = read_head(&whole).unwrap();
        assert_eq!(source.socket_addr(), address);
        assert!(!truncated);
    }
}

#[test]
fn truncation_and_foreign_families_are_seen() {
    let mut whole = [0; BUFFER_SIZE];
    assert!(read_head(&whole).is_none(), "family 0 is no datagram of ours");
    write_name(&mut whole, "192.0.2.1:4000".parse::<std::net::SocketAddr>().unwrap().into());
    whole[12..16].copy_from_slice(&(libc::MSG_TRUNC as u32).to_ne_bytes());
    assert!(read_head(&whole).unwrap().1);
}

#[test]
fn the_two_ports_of_every_flow_have_their_own_place() {
    let mut seen = std::collections::BTreeSet::new();
    for index in 0..100 {
        assert!(seen.insert(file_index(id(index, 1, Port::Rtp))));
        assert!(seen.insert(file_index(id(index, 1, Port::Rtcp))));
    }
    assert_eq!(seen.last(), Some(&199));
}

/// The ring alone, without relay or region: what arrives, leaves, fails and closes.
mod on_the_ring {
    use std::net::SocketAddr;

    use super::*;
    use crate::io::{Wait, socket};

    const SECOND: Wait = Wait { timeout_ns: 1_000_000_000, gather_us: 0 };

    fn ring() -> Uring {
        let bell = || abi::doorbell::create().unwrap();
        Uring::new(4, bell(), bell()).unwrap()
    }

    fn open(ring: &mut Uring, id: SocketId) -> SocketAddr {
        let socket = socket::open("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        ring.open(id, socket).unwrap();
        address
    }

    fn until_arrival(ring: &mut Uring, batch: &mut Batch) {
        for _ in 0..100 {
            ring.receive(batch, SECOND).unwrap();
            if !batch.arrivals.is_empty() {
                return;
            }
        }
        panic!("nothing arrived");
    }

    #[test]
    fn more_packets_than_buffers_all_arrive_in_the_end() {
        let mut ring = ring();
        let mut batch = Batch::new();
        let address = open(&mut ring, id(0, 1, Port::Rtp));
        let far = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (rounds, burst) = (3 * u32::from(BUFFERS) / 64, 64);
        for round in 0..rounds {
            for n in 0..burst {
                far.send_to(&(round * burst + n).to_be_bytes(), address).unwrap();
            }
            let mut arrived = 0;
            while arrived < burst {
                until_arrival(&mut ring, &mut batch);
                for arrival in std::mem::take(&mut batch.arrivals) {
                    let expected = (round * burst + arrived).to_be_bytes();
                    assert_eq!(ring.buffers().body(arrival.buffer).unwrap()[..4], expected);
                    assert_eq!(arrival.source.socket_addr(), far.local_addr().unwrap());
                    batch.discards.push(arrival.buffer);
                    arrived += 1;
                }
                ring.transmit(&mut batch).unwrap();
            }
        }
    }

    #[test]
    fn receiving_goes_on_after_every_buffer_was_taken() {
        let mut ring = ring();
        let mut batch = Batch::new();
        let address = open(&mut ring, id(0, 1, Port::Rtp));
        let far = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (mut held, mut exhausted, mut sent) = (Vec::new(), 0, 0);
        while exhausted == 0 {
            far.send_to(&[0x80; 20], address).unwrap();
            sent += 1;
            assert!(sent < 2 * u32::from(BUFFERS), "the buffers never ran out");
            let received = ring.receive(&mut batch, SECOND).unwrap();
            exhausted += received.buffers_exhausted;
            held.extend(batch.arrivals.drain(..).map(|arrival| arrival.buffer));
        }
        assert_eq!(held.len(), usize::from(BUFFERS));
        // While there is none, asking again finds none and fails nothing; the packet waits.
        far.send_to(&[0x80; 20], address).unwrap();
        let nothing = Wait { timeout_ns: 0, gather_us: 0 };
        for _ in 0..3 {
            ring.receive(&mut batch, nothing).unwrap();
            assert!(batch.arrivals.is_empty());
        }
        for chunk in held.chunks(crate::limits::BATCH_MAX) {
            batch.discards.extend(chunk);
            ring.transmit(&mut batch).unwrap();
        }
        until_arrival(&mut ring, &mut batch);
    }

    #[test]
    fn a_closed_socket_frees_its_port_and_its_place() {
        let mut ring = ring();
        let mut batch = Batch::new();
        for generation in 1..20 {
            let id = id(0, generation, Port::Rtcp);
            let address = open(&mut ring, id);
            let far = UdpSocket::bind("127.0.0.1:0").unwrap();
            far.send_to(&[0x80; 20], address).unwrap();
            until_arrival(&mut ring, &mut batch);
            let arrival = batch.arrivals.pop().unwrap();
            assert_eq!(arrival.socket, id);
            batch.discards.push(arrival.buffer);
            ring.transmit(&mut batch).unwrap();
            ring.close(id).unwrap();
            ring.receive(&mut batch, Wait { timeout_ns: 0, gather_us: 0 }).unwrap();
            socket::open(address).expect("the port is free again");
        }
    }

    #[test]
    fn closing_an_older_life_leaves_the_newer_alone() {
        let mut ring = ring();
        let mut batch = Batch::new();
        let address = open(&mut ring, id(0, 2, Port::Rtp));
        ring.close(id(0, 1, Port::Rtp)).unwrap();
        let far = UdpSocket::bind("127.0.0.1:0").unwrap();
        far.send_to(&[0x80; 20], address).unwrap();
        until_arrival(&mut ring, &mut batch);
    }

    #[test]
    fn the_bell_wakes_and_the_other_bell_rings() {
        let (command, event) = (abi::doorbell::create().unwrap(), abi::doorbell::create().unwrap());
        let mut ring =
            Uring::new(1, command.try_clone().unwrap(), event.try_clone().unwrap()).unwrap();
        let mut batch = Batch::new();
        for _ in 0..3 {
            abi::doorbell::ring(&command).unwrap();
            let mut rang = false;
            while !rang {
                rang = ring.receive(&mut batch, SECOND).unwrap().bell;
            }
            ring.silence_bell();
            ring.ring_bell().unwrap();
            ring.receive(&mut batch, Wait { timeout_ns: 0, gather_us: 0 }).unwrap();
            assert!(abi::doorbell::silence(&event).unwrap());
        }
    }
}
