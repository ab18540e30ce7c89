use proptest::prelude::*;

use super::*;
use crate::key::Suite;

const FLOW: FlowId = FlowId { index: 3, generation: 9 };

fn full_update() -> Update {
    let at = |text: &str| text.parse().ok();
    Update {
        token: 5,
        flow: FLOW,
        peer: Some(FlowId { index: 4, generation: 1 }),
        timeout_ms: 30_000,
        rtcp_mux_in: true,
        rtcp_mux_out: true,
        relay: true,
        source_rtp: at("192.0.2.1:4000"),
        source_rtcp: at("192.0.2.1:4001"),
        destination_rtp: at("[2001:db8::2]:5000"),
        destination_rtcp: at("[2001:db8::2]:5001"),
        unprotect: Key::new(Suite::AesCm128HmacSha1_80, &[1; 16], &[2; 14]),
        protect: Key::new(Suite::AeadAes256Gcm, &[3; 32], &[4; 12]),
    }
}

fn samples() -> [Request; 4] {
    [
        Request::Open(Open { token: 1, flow: FLOW, call: [7; 16], network: 2, rtcp_mux_in: true }),
        Request::Update(full_update()),
        Request::Update(Update::new(1, FLOW)),
        Request::Close(Close { token: 2, flow: FLOW }),
    ]
}

#[test]
fn every_kind_survives_the_round_trip() {
    for request in samples() {
        let command = Command::from(&request);
        assert_eq!(command.decode(), Ok(request.clone()));
        assert_eq!((request.token(), request.flow()), (command.token, FLOW));
    }
}

#[test]
fn each_fault_is_named() {
    let update = Command::update(&full_update());
    let open = Command::from(&samples()[0]);
    let close = Command::from(&samples()[3]);
    let bad_key = KeySlot { suite: 9, ..KeySlot::NONE };
    let bad_address = Address { family: 4, ..Address::NONE };
    let cases = [
        (Command::zeroed(), Fault::Flow),
        (Command { kind: 0, ..update }, Fault::Kind),
        (Command { kind: 4, ..update }, Fault::Kind),
        (Command { flags: 8, ..update }, Fault::Flags),
        (Command { flags: flag::RELAY, ..open }, Fault::Flags),
        (Command { flags: flag::RTCP_MUX_IN, ..close }, Fault::Unused),
        (Command { flow: FlowId { index: 3, generation: 0 }, ..update }, Fault::Flow),
        (Command { peer: FlowId { index: 3, generation: 0 }, ..update }, Fault::Unused),
        (Command { source_rtp: bad_address, ..update }, Fault::Address),
        (Command { destination_rtcp: bad_address, ..update }, Fault::Address),
        (Command { unprotect: bad_key, ..update }, Fault::Key),
        (Command { protect: bad_key, ..update }, Fault::Key),
        (Command { destination_rtp: Address::NONE, ..update }, Fault::Incomplete),
        (Command { pad: [0, 1], ..update }, Fault::Unused),
        (Command { pad: [1, 0], ..close }, Fault::Unused),
        (Command { network: 1, ..update }, Fault::Unused),
        (Command { call: [1; 16], ..close }, Fault::Unused),
        (Command { protect: update.protect, ..open }, Fault::Unused),
        (Command { destination_rtp: update.destination_rtp, ..open }, Fault::Unused),
    ];
    for (command, fault) in cases {
        assert_eq!(command.decode(), Err(fault), "{command:?}");
    }
}

/// What decodes means exactly its bytes; whatever does not is refused, not misread.
fn judge(command: &Command) {
    if let Ok(request) = command.decode() {
        assert_eq!(Command::from(&request), *command);
    }
}

#[test]
fn every_changed_byte_is_either_understood_exactly_or_refused() {
    for request in samples() {
        for place in 0..size_of::<Command>() {
            for value in 0..=255 {
                let mut command = Command::from(&request);
                bytemuck::bytes_of_mut(&mut command)[place] = value;
                judge(&command);
            }
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(words in prop::collection::vec(any::<u64>(), 32), kind in 0..5_u32) {
        let mut command: Command = *bytemuck::from_bytes(bytemuck::cast_slice(&words));
        judge(&command);
        command.kind = kind;
        judge(&command);
    }
}

#[test]
fn a_wiped_command_is_all_zero_and_debug_prints_no_key() {
    let mut command = Command::update(&full_update());
    let text = format!("{command:?} {:?}", full_update());
    assert!(!text.contains("1, 1, 1") && !text.contains("3, 3, 3"), "{text}");
    command.zeroize();
    assert_eq!(command, Command::zeroed());
}
