use super::*;

const EVENT: TelephoneEvent = TelephoneEvent { payload_type: 101, rate_hz: 8000 };

fn headers(kind: &str) -> Headers {
    let mut headers = Headers::new();
    headers.push(HeaderName::ContentType, kind.to_owned());
    headers
}

fn heard(kind: &str, body: &str) -> Option<(u8, u16)> {
    read(&headers(kind), body.as_bytes()).map(|press| (press.digit, press.ms))
}

#[test]
fn digits_of_info_are_read_as_peers_write_them() {
    for (kind, body, wanted) in [
        (RELAY, "Signal=5\r\nDuration=200\r\n", Some((5, 200))),
        (RELAY, "Signal= *\nDuration= 90", Some((10, 90))),
        (RELAY, "signal=#", Some((11, DIGIT_MS))),
        (RELAY, "Signal=10\r\nDuration=100", Some((10, 100))),
        (RELAY, "Signal=d\r\nDuration=60000", Some((15, 6_000))),
        (RELAY, "Duration=1\r\nSignal=0", Some((0, 40))),
        ("Application/DTMF-Relay; charset=utf-8", "Signal=1\r\n", Some((1, DIGIT_MS))),
        (SHORT, "7\r\n", Some((7, DIGIT_MS))),
        (SHORT, " B ", Some((13, DIGIT_MS))),
        (RELAY, "Signal=16\r\nDuration=100", None),
        (RELAY, "Signal=hf", None),
        (RELAY, "", None),
        (SHORT, "12", Some((12, DIGIT_MS))),
        (SHORT, "99", None),
        ("text/plain", "5", None),
    ] {
        assert_eq!(heard(kind, body), wanted, "{kind} {body:?}");
    }
    assert_eq!(heard(RELAY, &format!("Signal=1\r\nX={}", "0".repeat(BODY_MAX))), None);
    assert!(read(&Headers::new(), b"5").is_none());
}

#[test]
fn what_is_written_is_read_again() {
    for digit in 0..=15 {
        for short in [true, false] {
            let (kind, body) = write(Press { digit, ms: 160 }, short);
            assert_eq!(heard(kind, std::str::from_utf8(&body).unwrap()), Some((digit, 160)));
        }
    }
}

/// Every length of every seed with every octet in it changed: nothing panics, and what is read is a
/// digit.
#[test]
fn nonsense_in_an_info_is_no_digit_or_one() {
    let seeds = [(RELAY, &b"Signal=5\r\nDuration=160\r\n"[..]), (SHORT, b"5"), (RELAY, b"=\n=")];
    let mut digits = 0;
    for (kind, seed) in seeds {
        let headers = headers(kind);
        for length in 0..=seed.len() {
            for at in 0..length {
                for octet in 0..=255 {
                    let mut body = seed[..length].to_vec();
                    body[at] = octet;
                    if let Some(press) = read(&headers, &body) {
                        assert!(press.digit <= 15 && press.ms >= abi::DIGIT_MS_MIN);
                        digits += 1;
                    }
                }
            }
        }
    }
    assert!(digits > 100, "the sweep reaches what it is for");
}

#[test]
fn digits_are_converted_where_the_legs_differ() {
    use DtmfMode::{Auto, Inband, Info, Rfc2833, ShortInfo};
    let pcma = Format { codec: Codec::Pcma, payload_type: 8, rate_hz: 8000, ptime_ms: 20 };
    let both = Some((EVENT, EVENT));
    // How they come, whether that leg has events; how they go, whether that leg has them; then:
    // events reported, tones detected, what is dialled is said as events.
    for (come, received, go, taken, wanted) in [
        (Rfc2833, both, Rfc2833, both, [false, false, true]),
        (Rfc2833, both, Info, None, [true, false, false]),
        (Rfc2833, both, ShortInfo, None, [true, false, false]),
        (Rfc2833, both, Inband, both, [true, false, false]),
        (Rfc2833, both, Auto, None, [true, false, false]),
        (Rfc2833, None, Rfc2833, None, [false, false, false]),
        (Info, None, Rfc2833, both, [false, false, true]),
        (Info, None, Inband, None, [false, false, false]),
        (Inband, None, Inband, None, [false, false, false]),
        (Inband, None, Rfc2833, both, [false, true, true]),
        (Inband, None, Info, None, [false, true, false]),
        (Auto, None, Rfc2833, both, [false, true, true]),
        (Auto, both, Info, None, [true, false, false]),
        (Auto, both, Auto, both, [false, false, true]),
    ] {
        let come = DigitRules { mode: come, send: None };
        let go = DigitRules { mode: Rfc2833, send: Some(go) };
        let done = conversion(&come, received, Some(pcma), &go, taken);
        let done = [done.reports_events, done.detects_tones, done.says_events];
        assert_eq!(done, wanted, "{come:?} {go:?}");
    }
    let tones = DigitRules { mode: Inband, send: None };
    let g729 = Format { codec: Codec::G729, ..pcma };
    let events = DigitRules { mode: Rfc2833, send: None };
    assert!(!conversion(&tones, None, Some(g729), &events, both).detects_tones, "only in G.711");
}
