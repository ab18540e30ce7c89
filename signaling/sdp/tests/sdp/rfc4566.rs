//! What is read as a session description (RFC 4566) and what is not, and each limit.

use std::net::SocketAddr;

use crate::common::*;
use sdp::limits::{BYTES_MAX, CRYPTO_LINES_MAX, FMTP_BYTES_MAX, FORMATS_MAX, MEDIA_LINES_MAX};
use sdp::{Description, Reject, SdpError, Suite, read_offer};

#[test]
fn deviations_that_peers_really_send_are_accepted() {
    let table = [
        (
            "LF alone",
            "v=0\no=- 1 1 IN IP4 x\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=audio 5000 RTP/AVP 8\n",
        ),
        ("no line end at the end", "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 5000 RTP/AVP 8"),
        ("no o=, s=, t=", "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 5000 RTP/AVP 8\r\n"),
        (
            "version above 64 bits",
            "v=0\r\no=- 1 99999999999999999999999 IN IP4 h\r\nc=IN IP4 192.0.2.1\r\n\
             m=audio 5000 RTP/AVP 8\r\n",
        ),
        ("o= is nonsense", "v=0\r\no=nonsense\r\nc=IN IP4 192.0.2.1\r\nm=audio 5000 RTP/AVP 8\r\n"),
        (
            "o= twice",
            "v=0\r\no=- 1 1 IN IP4 x\r\no=- 1 1 IN IP4 x\r\nc=IN IP4 192.0.2.1\r\n\
             m=audio 5000 RTP/AVP 8\r\n",
        ),
        (
            "odd order",
            "v=0\r\nt=0 0\r\na=sendrecv\r\nc=IN IP4 192.0.2.1\r\ns=-\r\no=- 1 1 IN IP4 x\r\n\
             m=audio 5000 RTP/AVP 8\r\n",
        ),
        (
            "attribute before c=",
            "v=0\r\nm=audio 5000 RTP/AVP 8\r\na=ptime:20\r\nc=IN IP4 192.0.2.1\r\n",
        ),
        (
            "blanks at line ends",
            "v=0 \r\nc=IN IP4 192.0.2.1\t\r\nm=audio 5000 RTP/AVP 8  \r\na=sendrecv \r\n",
        ),
        ("blanks doubled", "v=0\r\nc=IN  IP4  192.0.2.1\r\nm=audio  5000\tRTP/AVP  8\r\n"),
        ("empty lines", "\r\nv=0\r\n\r\nc=IN IP4 192.0.2.1\r\n\r\nm=audio 5000 RTP/AVP 8\r\n\r\n"),
        ("two CRs", "v=0\r\r\nc=IN IP4 192.0.2.1\r\r\nm=audio 5000 RTP/AVP 8\r\r\n"),
        (
            "nonsense nobody reads",
            "v=0\r\ns=a\r\ns=b\r\nb=x\r\nt=now\r\nr=?\r\nz=?\r\nk=?\r\nc=IN IP4 192.0.2.1\r\n\
             m=audio 5000 RTP/AVP 8\r\ni=x\r\ni=y\r\nb=AS:many\r\n",
        ),
        (
            "unknown line letter",
            "v=0\r\nx=future\r\nc=IN IP4 192.0.2.1\r\nm=audio 5000 RTP/AVP 8\r\n",
        ),
        ("number of ports", "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 5000/1 RTP/AVP 8\r\n"),
        (
            "refused line without formats",
            "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 5000 RTP/AVP 8\r\nm=video 0 RTP/AVP\r\n",
        ),
        (
            "addresses on both levels",
            "v=0\r\nc=IN IP4 198.51.100.1\r\nm=audio 5000 RTP/AVP 8\r\nc=IN IP4 192.0.2.1\r\n",
        ),
        (
            "address only in the media line",
            "v=0\r\nm=audio 5000 RTP/AVP 8\r\nc=IN IP4 192.0.2.1\r\n",
        ),
        ("suffix for multicast", "v=0\r\nc=IN IP4 192.0.2.1/127\r\nm=audio 5000 RTP/AVP 8\r\n"),
        ("IPv4 in IPv6", "v=0\r\nc=IN IP6 ::ffff:192.0.2.1\r\nm=audio 5000 RTP/AVP 8\r\n"),
    ];
    let wanted: SocketAddr = "192.0.2.1:5000".parse().unwrap();
    for (name, body) in table {
        let audio = read_offer(&parse(body), &plain()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((audio.rtp, formats(&audio)), (wanted, vec!["8 PCMA/8000".into()]), "{name}");
    }
}

#[test]
fn latin_1_in_text_that_nobody_reads_does_not_matter() {
    let mut body = b"v=0\r\ns=M\xfcller\r\nc=IN IP4 192.0.2.1\r\n".to_vec();
    body.extend_from_slice(b"m=audio 5000 RTP/AVP 8\r\na=label:B\xfcro\r\na=ptime:20\r\n");
    let audio = read_offer(&Description::parse(&body).unwrap(), &plain()).unwrap();
    assert_eq!(audio.ptime, Some(20));
}

#[test]
fn what_is_no_description_is_refused_with_a_reason() {
    // Body, part of the reason.
    let table = [
        ("", "version"),
        ("\r\n\r\n", "version"),
        ("o=- 1 1 IN IP4 192.0.2.1\r\n", "version"),
        ("v=1\r\n", "version"),
        ("v=\r\n", "version"),
        ("<xml/>", "not in key=value"),
        ("v=0\r\nhello\r\n", "line 2"),
        ("v=0\r\nmm=audio 5000 RTP/AVP 8\r\n", "line 2"),
        ("v=0\r\nM=audio 5000 RTP/AVP 8\r\n", "line 2"),
        ("v=0\r\nm=audio\r\n", "line 2"),
        ("v=0\r\ns=-\r\nm=audio 5000\r\n", "line 3"),
        ("v=0\r\nm=audio 5000 RTP/AVP\r\n", "line 2"),
        ("v=0\r\nm=audio 65536 RTP/AVP 8\r\n", "line 2"),
        ("v=0\r\nm=audio -1 RTP/AVP 8\r\n", "line 2"),
        ("v=0\r\nm=audio port RTP/AVP 8\r\n", "line 2"),
        ("v=0\r\nm=audio 5000/x RTP/AVP 8\r\n", "line 2"),
        ("v=0\r\nc=IN\r\n", "line 2"),
        ("v=0\r\nc=IN IP4 192.0.2.1 extra\r\n", "line 2"),
        ("v=0\r\nc=IN IP4 192.0.2.1\r\nc=IN IP4 192.0.2.2\r\n", "connections"),
        ("v=0\r\nm=audio 5000 RTP/AVP 8\0\r\n", "NUL or CR"),
        ("v=0\r\nm=audio 5000\rRTP/AVP 8\r\n", "NUL or CR"),
    ];
    for (body, part) in table {
        let error = Description::parse(body.as_bytes()).expect_err(body);
        let reason = error.to_string();
        assert!(reason.to_lowercase().contains(&part.to_lowercase()), "{body:?}: {reason}");
        assert!(matches!(error, SdpError::Syntax { .. }), "{body:?}: {reason}");
        assert_eq!(error.status(), 400);
        assert!(reason.bytes().all(|b| matches!(b, b' '..=b'~')), "printable: {reason:?}");
    }
}

#[test]
fn each_limit_is_reached_and_not_passed() {
    let lines = |count: usize| with(&vec!["m=audio 5000 RTP/AVP 8"; count]);
    assert!(Description::parse(lines(MEDIA_LINES_MAX).as_bytes()).is_ok());
    let error = Description::parse(lines(MEDIA_LINES_MAX + 1).as_bytes()).unwrap_err();
    assert_eq!(error, SdpError::TooMany { what: "m= lines", limit: MEDIA_LINES_MAX });
    assert_eq!(error.status(), 488);

    let numbers = |count: usize| {
        let numbers: Vec<_> = (0..count).map(|n| n.to_string()).collect();
        with(&[&format!("m=audio 5000 RTP/AVP {}", numbers.join(" "))])
    };
    assert!(Description::parse(numbers(FORMATS_MAX).as_bytes()).is_ok());
    let error = Description::parse(numbers(FORMATS_MAX + 1).as_bytes()).unwrap_err();
    assert_eq!(error, SdpError::TooMany { what: "formats in an m= line", limit: FORMATS_MAX });

    let suite = Suite::AesCm128HmacSha1_80;
    let cryptos = |count: usize| {
        let mut body = with(&["m=audio 5000 RTP/SAVP 8"]);
        for tag in 1..=count {
            body.push_str(&format!("a=crypto:{tag} {suite} inline:{}\r\n", inline(suite, THEIRS)));
        }
        body
    };
    let full = parse(&cryptos(CRYPTO_LINES_MAX));
    assert_eq!(read_offer(&full, &secure()).unwrap().cryptos.len(), CRYPTO_LINES_MAX);
    let error = Description::parse(cryptos(CRYPTO_LINES_MAX + 1).as_bytes()).unwrap_err();
    assert_eq!(error, SdpError::TooMany { what: "a=crypto lines", limit: CRYPTO_LINES_MAX });

    let body = |bytes: usize| {
        let start = lines(1) + "s=";
        format!("{start}{}", "x".repeat(bytes - start.len()))
    };
    assert!(Description::parse(body(BYTES_MAX).as_bytes()).is_ok());
    let error = Description::parse(body(BYTES_MAX + 1).as_bytes()).unwrap_err();
    assert_eq!((error.status(), error), (413, SdpError::TooLong { bytes: BYTES_MAX + 1 }));

    let fmtp = |bytes: usize| {
        let fmtp = format!("a=fmtp:8 {}", "x".repeat(bytes));
        let offer = parse(&with(&["m=audio 5000 RTP/AVP 8", &fmtp]));
        read_offer(&offer, &plain()).unwrap().formats[0].fmtp.clone()
    };
    assert!(fmtp(FMTP_BYTES_MAX).is_some() && fmtp(FMTP_BYTES_MAX + 1).is_none());
}

#[test]
fn addresses_that_cannot_take_media_are_refused() {
    // c= line, Warning code, part of the reason.
    let table = [
        ("c=IN IP4 224.2.17.12/127", 330, "multicast"),
        ("c=IN IP4 239.255.255.255", 330, "multicast"),
        ("c=IN IP4 255.255.255.255", 330, "multicast"),
        ("c=IN IP6 ff15::101", 330, "multicast"),
        ("c=IN IP6 ::ffff:224.0.0.1", 330, "multicast"),
        ("c=IN IP4 media.example.com", 301, "'media.example.com' is not an IP address"),
        ("c=IN IP6 fe80::1%eth0", 301, "is not an IP address"),
        ("c=IN IP4 192.0.2", 301, "is not an IP address"),
        ("c=IN IP4 192.0.2.256", 301, "is not an IP address"),
        ("c=IN IP4 3232235777", 301, "is not an IP address"),
        ("", 301, "no connection address"),
    ];
    for (connection, code, part) in table {
        let body = format!("v=0\r\nm=audio 5000 RTP/AVP 8\r\n{connection}\r\n");
        let reject = read_offer(&parse(&body), &plain()).unwrap_err();
        assert_eq!((reject.status(), reject.warning().unwrap().0), (488, code), "{connection}");
        assert!(reject.to_string().contains(part), "{connection}: {reject}");
    }
}

#[test]
fn payload_types_are_explained_or_left_out() {
    // RFC 4566 §6, RFC 3551 §6: formats and attributes; formats as read.
    let table: [(&[&str], &[&str]); 14] = [
        (
            &["0 3 8 9 13 18"],
            &[
                "0 PCMU/8000",
                "3 GSM/8000",
                "8 PCMA/8000",
                "9 G722/8000",
                "18 G729/8000",
                "13 CN/8000",
            ],
        ),
        (&["4 15 10"], &["4 G723/8000", "15 G728/8000", "10 L16/44100/2"]),
        (&["8 96"], &["8 PCMA/8000"]),
        (&["8 1 2 20 35"], &["8 PCMA/8000"]),
        (&["8 128 255 256 -1 +8 x *"], &["8 PCMA/8000"]),
        (&["8 8 8"], &["8 PCMA/8000"]),
        (&["96", "a=rtpmap:96 opus/48000/2"], &["96 opus/48000/2"]),
        (&["96", "a=rtpmap:96  OPUS/48000/2 "], &["96 opus/48000/2"]),
        (&["96", "a=rtpmap:96 pcma/8000"], &["96 PCMA/8000"]),
        (&["0", "a=rtpmap:0 iLBC/8000"], &["0 iLBC/8000"]),
        (&["96", "a=rtpmap:96 opus/48000/2", "a=rtpmap:96 PCMA/8000"], &["96 opus/48000/2"]),
        (&["96 97", "a=rtpmap:97 speex/16000", "a=rtpmap:98 speex/8000"], &["97 speex/16000"]),
        (&["8 96", "a=rtpmap:96 opus"], &["8 PCMA/8000"]),
        (
            &["8 96 97 98", "a=rtpmap:96 opus/0", "a=rtpmap:97 a b/8000", "a=rtpmap:98 x/8000/0"],
            &["8 PCMA/8000"],
        ),
    ];
    for (lines, wanted) in table {
        let media = format!("m=audio 5000 RTP/AVP {}", lines[0]);
        let body = with(&[&[media.as_str()], &lines[1..]].concat());
        let audio = read_offer(&parse(&body), &plain()).unwrap();
        assert_eq!(formats(&audio), wanted, "{lines:?}");
    }
}

#[test]
fn only_dynamic_formats_without_meaning_is_no_codec() {
    for numbers in ["96", "101 13", "x", "200"] {
        let body = with(&[&format!("m=audio 5000 RTP/AVP {numbers}")]);
        let reject = read_offer(&parse(&body), &plain()).unwrap_err();
        assert!(matches!(reject, Reject::NoCommonFormat { .. }), "{numbers}: {reject:?}");
    }
}

#[test]
fn parameters_that_could_break_a_line_are_not_passed_on() {
    // RFC 4566 §6: a=fmtp, parameters as read.
    let table = [
        ("a=fmtp:8 mode=1", Some("mode=1")),
        ("a=fmtp:8   mode=1; x=2  ", Some("mode=1; x=2")),
        ("a=fmtp:8", None),
        ("a=fmtp:8 ", None),
        ("a=fmtp:9 mode=1", None),
        ("a=fmtp:8 caf\u{e9}", None),
        ("a=fmtp:8 bell\u{7}", None),
        ("a=fmtp:264 mode=1", None),
    ];
    for (attribute, wanted) in table {
        let offer = parse(&with(&["m=audio 5000 RTP/AVP 8", attribute]));
        let audio = read_offer(&offer, &plain()).unwrap();
        assert_eq!(audio.formats[0].fmtp.as_deref(), wanted, "{attribute:?}");
    }
}
