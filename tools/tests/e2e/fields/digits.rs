//! `dtmf_mode`, `send_media`.

use super::config_with;
use crate::gateway::{Gateway, Place};
use crate::pbx::Pbx;
use crate::sipp::{Run, Sipp};

fn info_callee(place: &Place) -> Sipp {
    let arguments = vec!["-m".into(), "1".into()];
    Sipp::run(place, Run { scenario: "callee_info.xml", transport: "u1", arguments })
}

/// SIPp takes digits by INFO alone and sends one; PJSIP has telephone events.
#[test]
fn digits_pass_between_pjsip_with_events_and_sipp_with_info() {
    digits_pass_between_events_and_info(&Place::new());
}

pub fn digits_pass_between_events_and_info(place: &Place) {
    let fields = "dtmf_mode = \"info\"\nsend_media = \"SAME\"";
    let mut gateway = Gateway::start(place, &config_with(place, "provider", fields));
    let mut callee = info_callee(place);
    let mut phones = Pbx::start(place, &[]);
    phones.call(place, "0612345");
    phones.events.wait("\"media\"");
    phones.dial("5#");
    let heard = phones.events.wait("\"digit\"");
    assert!(heard.contains("\"7\""), "what SIPp said: {heard}");
    phones.events.wait("\"disconnected\"");
    callee.succeed();
    let cdrs = gateway.cdrs_when(1);
    assert!(gateway.stop());
    assert_eq!(cdrs[0]["ended_by"], "callee", "{cdrs:#?}");
    assert!(cdrs[0]["notes"].is_null(), "{cdrs:#?}");
}

/// SIPp has neither events nor INFO: what PJSIP dials reaches it as tones, once.
#[test]
fn digits_reach_a_trunk_without_events_as_tones() {
    digits_are_said_as_tones(&Place::new());
}

pub fn digits_are_said_as_tones(place: &Place) {
    use bench::media::g711::Law;
    use bench::media::tone;
    let fields = "dtmf_mode = \"inband\"\nsend_media = \"SAME\"";
    let mut gateway = Gateway::start(place, &config_with(place, "provider", fields));
    let mut callee = Sipp::answer(place, "u1", 1);
    let mut phones = Pbx::start(place, &[]);
    let capture = crate::capture::Capture::start(place);
    phones.call(place, "0612345");
    phones.events.wait("\"media\"");
    phones.dial("5");
    std::thread::sleep(std::time::Duration::from_secs(2));
    phones.hang_up();
    callee.succeed();
    assert!(gateway.stop());
    let wire = capture.finish();
    let heard = wire.iter().filter(|d| d.destination.0 == place.provider && d.payload.len() == 172);
    let decode = |octets: &[u8]| octets.iter().map(|o| Law::A.decode(*o)).collect::<Vec<_>>();
    let is_five = |samples: &[i16]| {
        [770, 1336].iter().all(|hz| tone::share_at(*hz, samples.iter().copied()) > 0.2)
    };
    let said = heard.filter(|d| is_five(&decode(&d.payload[12..]))).count();
    assert!((3..20).contains(&said), "{said} packets of the digit");
}
