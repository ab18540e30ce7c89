//! RFC 4475 §3.2 to §3.4, and what of §3.1 is a message: what a user agent answers to each. What is
//! refused before it is a message has its verdicts in the crate `sip`.

use sipx_testkit::rfc4475;

use super::rig::{Carrier, Pbx, Rig};

/// What the gateway answers at once; `None`: nothing.
type Verdict = Option<&'static str>;

/// Message, section, first line of the answer, a line in it.
const TABLE: [(&str, &str, Verdict, &str); 14] = [
    ("regbadct", "3.1.2.13", Some("SIP/2.0 400"), "Warning: 399 sip \"Contact"),
    ("badbranch", "3.2.1", Some("SIP/2.0 200"), "Allow:"),
    ("unkscm", "3.3.2", Some("SIP/2.0 416"), ""),
    ("novelsc", "3.3.3", Some("SIP/2.0 416"), ""),
    // A registrar would look at the addresses; there is none here.
    ("unksm2", "3.3.4", Some("SIP/2.0 405"), "Allow:"),
    ("bext01", "3.3.5", Some("SIP/2.0 420"), "Unsupported: nothingSupportsThis"),
    ("invut", "3.3.6", Some("SIP/2.0 415"), "Accept: application/sdp"),
    ("regaut01", "3.3.7", Some("SIP/2.0 405"), ""),
    ("bcast", "3.3.10", None, ""),
    // Nobody is asked on its behalf, so the hop limit does not matter.
    ("zeromf", "3.3.11", Some("SIP/2.0 200"), ""),
    ("cparam01", "3.3.12", Some("SIP/2.0 405"), ""),
    ("cparam02", "3.3.13", Some("SIP/2.0 405"), ""),
    ("regescrt", "3.3.14", Some("SIP/2.0 405"), ""),
    ("sdp01", "3.3.15", Some("SIP/2.0 406"), ""),
];

#[test]
fn each_message_gets_the_answer_of_its_section() {
    for (name, section, verdict, line) in TABLE {
        let case = rfc4475::case(name).unwrap();
        assert_eq!(case.section, section, "{name}");
        let mut rig = Rig::new(&format!("torture-{name}"));
        rig.receive(Carrier, case.bytes);
        let mut answers = rig.told.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes));
        let answer = answers.next();
        match (&answer, verdict) {
            (Some(answer), Some(first)) => {
                assert!(answer.starts_with(first), "{name}: {answer}");
                assert!(answer.contains(line), "{name}: {line}: {answer}");
            }
            (None, None) => {}
            (answer, _) => panic!("{name}: {answer:?}"),
        }
        assert!(rig.pbx.invites.is_empty(), "{name}: nobody is asked");
        drop(answers);
        rig.finish();
    }
}

/// RFC 4475 §3.4.1: a caller of RFC 2543, without Contact, branch and tag, is a caller. It has its
/// answer as often as it asks.
#[test]
fn a_call_of_rfc_2543_is_taken() {
    let case = rfc4475::case("inv2543").unwrap();
    let mut rig = Rig::new("torture-inv2543");
    for _ in 0..2 {
        rig.receive(Carrier, case.bytes);
        rig.settle();
    }
    let (id, _) = rig.invited(Pbx);
    assert!(rig.pbx.invites.is_empty(), "a repetition is no second call");
    rig.answer(Pbx, id, 486, None);
    rig.settle();
    let told = |start: &str| {
        let of_caller = rig.told.iter().filter(|(who, _)| *who == Carrier);
        of_caller.filter(|(_, bytes)| bytes.starts_with(start.as_bytes())).count()
    };
    assert!(told("SIP/2.0 486") >= 1, "{:?}", rig.told);
    let records = rig.finish();
    assert_eq!((records.len(), records[0]["code"].as_u64()), (1, Some(486)));
}
