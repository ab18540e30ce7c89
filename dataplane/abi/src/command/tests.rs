use proptest::prelude::*;

use super::*;
use crate::format::{Codec, Format, PayloadMap, TelephoneEvent};
use crate::keepalive::Keepalive;
use crate::key::{Key, Suite};
use crate::learning::Learning;

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
        protect: Key::new(Suite::AeadAes256Gcm, &[3; 32], &[4; 12])
            .and_then(|key| key.with_mki(7, 2)),
        await_destination: false,
        udptl: false,
        report_digits: true,
        detect_tones: true,
        received: Some(Format { codec: Codec::Pcma, payload_type: 8, rate_hz: 8000, ptime_ms: 20 }),
        sent: Some(Format { codec: Codec::G722, payload_type: 9, rate_hz: 8000, ptime_ms: 30 }),
        events_received: Some(TelephoneEvent { payload_type: 101, rate_hz: 8000 }),
        events_sent: Some(TelephoneEvent { payload_type: 96, rate_hz: 8000 }),
        payloads: PayloadMap::new([(101, 96), (0, 9)]).unwrap(),
        learning: Some(Learning { window_ms: 5000, within: Some(([192, 0, 2, 0].into(), 24)) }),
        keepalive: Some(Keepalive { interval_ms: 15_000, payload_type: 127 }),
    }
}

fn prompt(name: &str) -> PromptName {
    PromptName::new(name).unwrap()
}

fn samples() -> [Request; 13] {
    [
        Request::Open(Open {
            token: 1,
            flow: FLOW,
            call: [7; 16],
            network: 2,
            family: Family::V6,
            rtcp_mux_in: true,
            dscp: Some(0),
        }),
        Request::Update(full_update()),
        Request::Update(Update::new(1, FLOW)),
        Request::Close(Close { token: 2, flow: FLOW }),
        Request::Update(Update { relay: true, await_destination: true, ..Update::new(1, FLOW) }),
        Request::Play(Play { token: 3, flow: FLOW, prompt: prompt("busy-1.de"), looped: true }),
        Request::Stop(Stop { token: 4, flow: FLOW }),
        Request::Dial(Dial { token: 5, flow: FLOW, digit: 11, duration_ms: 100 }),
        Request::Order(Order { token: 6, duty: Duty::Pin { core: 3 } }),
        Request::Order(Order { token: 7, duty: Duty::Drain }),
        Request::Order(Order { token: 8, duty: Duty::Serve { core: None } }),
        Request::Order(Order { token: 9, duty: Duty::Serve { core: Some(0) } }),
        Request::Say(Say { token: 10, flow: FLOW, at: 8, octets: SHELF_RECORDING_MAX }),
    ]
}

#[test]
fn every_kind_survives_the_round_trip() {
    for request in samples() {
        let command = Command::from(&request);
        assert_eq!(command.decode(), Ok(request.clone()));
        assert_eq!((request.token(), request.flow()), (command.token, command.flow));
    }
}

#[test]
fn each_fault_is_named() {
    let update = Command::update(&full_update());
    let open = Command::from(&samples()[0]);
    let close = Command::from(&samples()[3]);
    let play = Command::from(&samples()[5]);
    let dial = Command::from(&samples()[7]);
    let [pin, drain, _, serve] = [8, 9, 10, 11].map(|at| Command::from(&samples()[at]));
    let say = Command::from(&samples()[12]);
    let bad_key = KeySlot { suite: 9, ..KeySlot::NONE };
    let bad_address = Address { family: 4, ..Address::NONE };
    let cases = [
        (Command::zeroed(), Fault::Flow),
        (Command { kind: 0, ..update }, Fault::Kind),
        (Command { kind: 11, ..update }, Fault::Kind),
        (Command { flags: 256, ..update }, Fault::Flags),
        (Command { flags: update.flags | flag::LOOP, ..update }, Fault::Flags),
        (Command { flags: flag::RELAY, ..open }, Fault::Flags),
        (Command { flags: flag::RTCP_MUX_IN, ..close }, Fault::Unused),
        (Command { flow: FlowId { index: 3, generation: 0 }, ..update }, Fault::Flow),
        (Command { peer: FlowId { index: 3, generation: 0 }, ..update }, Fault::Unused),
        (Command { source_rtp: bad_address, ..update }, Fault::Address),
        (Command { destination_rtcp: bad_address, ..update }, Fault::Address),
        (Command { unprotect: bad_key, ..update }, Fault::Key),
        (Command { protect: bad_key, ..update }, Fault::Key),
        (Command { destination_rtp: Address::NONE, ..update }, Fault::Incomplete),
        (Command { pad: [1; 16], ..update }, Fault::Unused),
        (Command { core: 1, ..close }, Fault::Unused),
        (Command { core: CORES_MAX, ..pin }, Fault::Core),
        (Command { flags: 0, ..pin }, Fault::Core),
        (Command { flags: 0, core: 1, ..serve }, Fault::Unused),
        (Command { core: 1, ..drain }, Fault::Unused),
        (Command { flags: flag::ON_CORE | flag::LOOP, ..serve }, Fault::Flags),
        (Command { flow: FLOW, ..drain }, Fault::Unused),
        (Command { flags: update.flags | flag::AWAIT_DESTINATION, ..update }, Fault::Contradiction),
        (Command { flags: update.flags | flag::UDPTL, ..update }, Fault::Contradiction),
        (Command { events_received: FormatSlot::NONE, ..update }, Fault::Contradiction),
        (Command { received: update.sent, ..update }, Fault::Contradiction),
        (Command { payloads: [[0x81, 0]; 8], ..update }, Fault::Format),
        (
            Command { learning: LearningSlot { prefix: 33, ..update.learning }, ..update },
            Fault::Learning,
        ),
        (
            Command { keepalive: KeepaliveSlot { pad: [1; 3], ..update.keepalive }, ..update },
            Fault::Keepalive,
        ),
        (Command { keepalive: update.keepalive, ..close }, Fault::Unused),
        (Command { dscp: 46, ..open }, Fault::Dscp),
        (Command { dscp: DSCP_SET | 64, ..open }, Fault::Dscp),
        (Command { dscp_pad: [1; 7], ..open }, Fault::Unused),
        (Command { dscp: open.dscp, ..close }, Fault::Unused),
        (Command { family: 5, ..open }, Fault::Address),
        (Command { prompt: [b'A'; 32], ..play }, Fault::Prompt),
        (Command { prompt: [0; 32], ..play }, Fault::Prompt),
        (Command { shelf_octets: 0, ..say }, Fault::Shelf),
        (Command { shelf_octets: SHELF_RECORDING_MAX + 1, ..say }, Fault::Shelf),
        (Command { shelf_at: SHELF_OCTETS as u32, ..say }, Fault::Shelf),
        (Command { shelf_at: u32::MAX, ..say }, Fault::Shelf),
        (Command { flags: flag::LOOP, ..say }, Fault::Flags),
        (Command { shelf_at: 8, ..play }, Fault::Unused),
        (Command { digit: 16, ..dial }, Fault::Digit),
        (Command { duration_ms: 39, ..dial }, Fault::Digit),
        (Command { duration_ms: 8001, ..dial }, Fault::Digit),
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
    fn random_bytes_never_panic(words in prop::collection::vec(any::<u64>(), 64), kind in 0..12_u32) {
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
