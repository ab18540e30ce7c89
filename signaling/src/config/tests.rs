use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use sdp::{Codec, Security};
use sip::endpoint::Transport;

use super::*;

mod paths;

use crate::route::Destination;
use crate::trunk::digits::DtmfMode;
use crate::trunk::identity::{CallerIdPolicy, DiversionStyle, SendRpid};
use crate::trunk::tones::Spoken;
use crate::trunk::{
    Cidr, DirectMedia, Direction, Host, IncomingCallPolicy, LearnFrom, Nat, SecureRtp, TrunkId,
};

const SIP: &str = "[sip]\nudp = [\"192.0.2.1:5060\"]\ntcp = [\"192.0.2.1:5060\"]\n\
                   tls = [\"192.0.2.1:5061\"]\ntls_certificate = \"gw.pem\"\n\
                   tls_key = \"gw.key\"\ntls_ca = \"ca.pem\"\n";

fn environment(name: &str) -> Option<String> {
    (name == "CARRIER_PASSWORD").then(|| String::from("swordfish"))
}

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    read(text, Path::new("gateway.toml"), Path::new("/etc/trunkline"), &environment)
}

/// A trunk with these fields after a `[sip]` that has everything.
fn trunk(fields: &str) -> Result<Config, ConfigErrors> {
    parse(&format!("{SIP}[[trunk]]\nname = \"t\"\nhost = \"198.51.100.7\"\n{fields}"))
}

fn first(config: Result<Config, ConfigErrors>) -> Trunk {
    config.unwrap_or_else(|errors| panic!("{errors}")).trunks[0].as_ref().clone()
}

/// The one error of a configuration as `(line, what, problem)`.
fn only(config: Result<Config, ConfigErrors>) -> (usize, String, String) {
    let errors = config.map(|config| format!("{config:?}")).unwrap_err().errors;
    assert_eq!(errors.len(), 1, "{errors:#?}");
    let error = errors.into_iter().next().unwrap();
    assert!(!error.remedy.is_empty());
    (error.line, error.what, error.problem)
}

/// Asserts that one field of a trunk is refused, at the trunk's own place, for this reason.
fn refused(fields: &str, key: &str, reason: &str) {
    let (line, what, problem) = only(trunk(fields));
    assert_eq!(what, format!("trunk \"t\" field {key}"), "{fields}");
    assert!(problem.contains(reason), "{fields}: {problem}");
    let at = fields.lines().position(|l| l.starts_with(&format!("{key} ="))).map_or(8, |i| 11 + i);
    assert_eq!(line, at, "{fields}");
}

#[test]
fn a_whole_configuration() {
    let text = format!(
        "{SIP}advertise = \"gw.example.com\"\n\
         [media]\naddress = \"192.0.2.1\"\nadvertise = \"203.0.113.5\"\nports = \"20000-20999\"\n\
         workers = 2\nstandby_workers = 3\ncores = [2, 3]\ngather_us = 100\nspin_us = 50\nflows = 1_000\n\
         backend = \"mmsg\"\ndscp = \"cs3\"\nprompts = \"prompts\"\nuser = \"media\"\n\
         [run]\ndirectory = \"run\"\norphan_grace = 60\n[cdr]\nfile = \"/var/log/cdr.jsonl\"\n\
         mask = true\n[log]\nlevel = \"debug\"\nformat = \"json\"\n\
         [[trunk]]\nname = \"carrier\"\nhost = \"SIP.Carrier.example\"\nport = 5080\n\
         username = \"u\"\npassword = \"${{CARRIER_PASSWORD}}\"\n\
         virtual_phone_number = [\"+493012345\", \"100-199\"]\nmax_concurrent_calls = 30\n\
         incoming_call_policy = \"known_numbers\"\ndirection = \"inbound\"\n\
         allow = [\"g722\", \"PCMA\"]\ndisallow = \"all\"\nsource_acl = [\"198.51.100.0/24\"]\n\
         from_user = \"trunk\"\nfrom_domain = \"us.example\"\nrtp_timeout = 0\n\
         outbound_proxy = \"sip:Proxy.example:5090;lr\"\n\
         [[trunk]]\nname = \"pbx\"\nhost = \"10.0.0.2\"\nsecure = true\n\
         tls_peer_names = [\"PBX.example\"]\nenabled = false\n\
         [[route]]\nname = \"out\"\nfrom_trunk = \"carrier\"\ncalled = \"_0X.\"\nstrip = 1\n\
         prepend = \"+49\"\ndestination = \"pbx\"\nring_limit = 20\n"
    );
    let config = parse(&text).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.sip.host(), "gw.example.com");
    assert_eq!(config.sip.tls_key.as_deref(), Some(Path::new("/etc/trunkline/gw.key")));
    assert_eq!(config.media.ports, 20_000..=20_999);
    assert_eq!((config.media.workers, config.media.cores.as_slice()), (2, [2, 3].as_slice()));
    assert_eq!(config.media.standby_workers, 3);
    let media = &config.media;
    assert_eq!((media.gather_us, media.spin_us, media.flows), (100, 50, 1_000));
    assert_eq!(media.addresses, [IpAddr::from([192, 0, 2, 1])]);
    assert_eq!(media.advertise, [IpAddr::from([203, 0, 113, 5])]);
    assert_eq!((media.backend, media.dscp), (MediaBackend::Mmsg, 24));
    assert_eq!(media.prompts.as_deref(), Some(Path::new("/etc/trunkline/prompts")));
    assert_eq!(media.user.as_deref(), Some("media"));
    assert_eq!(config.run.handover_socket(), Path::new("/etc/trunkline/run/dataplane.sock"));
    assert_eq!(config.run.orphan_grace, Duration::from_secs(60));
    assert_eq!(config.cdr.file, Path::new("/var/log/cdr.jsonl"));
    assert!(config.cdr.mask);
    assert_eq!((config.log.level.as_str(), config.log.format), ("debug", LogFormat::Json));
    let carrier = &config.trunks[0];
    assert_eq!(carrier.id, TrunkId(1));
    assert_eq!(carrier.host, Host::Name("sip.carrier.example".into()));
    assert_eq!(carrier.next_hop(), (&Host::Name("proxy.example".into()), 5090));
    assert_eq!(carrier.password.as_ref().unwrap().expose(), "swordfish");
    assert!(carrier.owns_number("+493012345") && carrier.owns_number("150"));
    assert_eq!(carrier.max_concurrent_calls, Some(30));
    assert_eq!(carrier.incoming_call_policy, IncomingCallPolicy::KnownNumbers);
    assert_eq!(carrier.direction, Direction::Inbound);
    assert_eq!(carrier.policy().allow, [Codec::G722, Codec::Pcma]);
    assert!(carrier.disallow_all && carrier.rtp_timeout.is_none());
    assert_eq!(carrier.policy().security, Security::Plain);
    let pbx = &config.trunks[1];
    assert_eq!((pbx.transport, pbx.secure_rtp), (Transport::Tls, SecureRtp::Required));
    assert!(matches!(pbx.policy().security, Security::Secure { suites, .. } if suites.len() == 5));
    assert_eq!(pbx.server_names(), ["pbx.example"]);
    let route = config.routes.iter().next().unwrap();
    assert_eq!(route.from_trunk, Some(TrunkId(1)));
    assert_eq!(route.destination, Destination::Trunk(TrunkId(2)));
    assert_eq!(route.ring_limit, Duration::from_secs(20));
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    assert!(config.warnings[0].contains("disabled"));
}

#[test]
fn defaults_are_those_of_the_specification() {
    let trunk = first(trunk(""));
    assert_eq!((trunk.transport, trunk.port_or_default()), (Transport::Udp, 5060));
    assert!(trunk.enabled && !trunk.register && !trunk.secure && !trunk.encryption);
    assert_eq!(trunk.policy().allow, [Codec::Pcma, Codec::Pcmu]);
    assert_eq!(trunk.incoming_call_policy, IncomingCallPolicy::Allow);
    assert_eq!(trunk.direction, Direction::Both);
    assert_eq!(trunk.rtp_timeout, Some(Duration::from_secs(60)));
    assert_eq!(trunk.hold_timeout, Some(Duration::from_secs(300)));
    assert_eq!((trunk.nat, trunk.learn_from), (Nat::No, LearnFrom::Any));
    assert_eq!(trunk.max_concurrent_calls, None);
    let config = parse("[sip]\nudp = [\"192.0.2.1:5060\"]\n").unwrap();
    let media = &config.media;
    assert_eq!(media.addresses, [IpAddr::from([192, 0, 2, 1])]);
    assert!(media.advertise.is_empty() && media.prompts.is_none() && media.user.is_none());
    assert_eq!((media.gather_us, media.spin_us, media.dscp), (200, 0, 46));
    assert_eq!((media.backend, media.flows), (MediaBackend::Auto, 5_000));
    assert_eq!((media.workers, media.standby_workers), (1, 1));
    assert_eq!(config.run.directory, Path::new(RUN_DIRECTORY_DEFAULT));
    assert_eq!(config.cdr.file, Path::new("/run/trunkline/cdr.jsonl"));
    assert_eq!((config.log.level.as_str(), config.log.format), ("info", LogFormat::Text));
}

/// A configuration with these fields in `[media]`.
fn media(fields: &str) -> Result<Media, ConfigErrors> {
    parse(&format!("[sip]\nudp = [\"192.0.2.1:5060\"]\n[media]\n{fields}")).map(|c| c.media)
}

#[test]
fn each_shard_has_a_worker() {
    let shards = |sip: &str, media: &str| {
        parse(&format!("[sip]\nudp = [\"192.0.2.1:5060\"]\n{sip}[media]\n{media}"))
    };
    let counts = |config: Config| (config.sip.shards, config.media.workers);
    assert_eq!(counts(shards("", "").unwrap()), (1, 1));
    assert_eq!(counts(shards("shards = 3\n", "").unwrap()), (3, 3), "by default as many");
    assert_eq!(counts(shards("shards = 2\n", "workers = 4\n").unwrap()), (2, 4));
    assert_eq!(counts(shards("shards = 16\n", "").unwrap()).0, SHARDS_MAX);
    let (_, what, problem) = only(shards("shards = 17\n", ""));
    assert_eq!((&*what, &*problem), ("[sip] field shards", "17 is out of range"));
    for fields in ["workers = 1\n", "cores = [3]\n"] {
        let (_, what, problem) = only(shards("shards = 2\n", fields));
        assert_eq!((&*what, &*problem), ("[media] field workers", "1 is fewer than the 2 shards"));
    }
}

#[test]
fn media_takes_several_addresses_of_both_families() {
    let fields = "address = [\"192.0.2.1\", \"2001:db8::1\", \"192.0.2.2\"]\n\
                  advertise = \"2001:db8::5\"\nports = \"20000-20099\"\n";
    let found = media(fields).unwrap();
    let texts: Vec<String> = found.addresses.iter().map(IpAddr::to_string).collect();
    assert_eq!(texts, ["192.0.2.1", "2001:db8::1", "192.0.2.2"]);
    assert_eq!(found.flows, 100, "50 pairs on each of two addresses of the larger family");
    let listeners = "[sip]\nudp = [\"0.0.0.0:5060\", \"192.0.2.1:5060\", \"[2001:db8::1]:5060\"]\n\
                     tcp = [\"192.0.2.9:5060\"]\n";
    let texts: Vec<String> =
        parse(listeners).unwrap().media.addresses.iter().map(IpAddr::to_string).collect();
    assert_eq!(texts, ["192.0.2.1", "2001:db8::1"], "the first listener of each family");
}

#[test]
fn media_addresses_that_cannot_work_are_refused() {
    let many: Vec<String> = (1..=17).map(|n| format!("\"192.0.2.{n}\"")).collect();
    let many = format!("address = [{}]\n", many.join(","));
    for (fields, reason) in [
        ("address = \"0.0.0.0\"\n", "cannot stand in a session description"),
        ("address = \"ff02::1\"\n", "cannot stand in a session description"),
        ("address = \"fe80::1\"\n", "valid on one link only"),
        ("address = \"::ffff:192.0.2.1\"\n", "is an IPv4 address"),
        ("address = [\"192.0.2.1\", \"192.0.2.1\"]\n", "listed twice"),
        ("address = []\n", "the list is empty"),
        ("address = \"gw.example\"\n", "is no IP address"),
        (&many, "17 addresses"),
        ("advertise = \"2001:db8::5\"\n", "IPv6 address here, but none in address"),
        ("advertise = [\"192.0.2.7\", \"192.0.2.8\"]\n", "2 IPv4 addresses"),
        (
            "address = [\"192.0.2.1\", \"192.0.2.2\"]\nadvertise = \"203.0.113.1\"\n",
            "one IPv4 address cannot stand for 2",
        ),
    ] {
        let errors = media(fields).unwrap_err().errors;
        assert_eq!(errors.len(), 1, "{fields}: {errors:#?}");
        assert!(errors[0].problem.contains(reason), "{fields}: {}", errors[0].problem);
        assert!(!errors[0].remedy.is_empty());
    }
}

#[test]
fn media_numbers_and_names() {
    for (text, code) in
        [("\"EF\"", 46), ("\"cs5\"", 40), ("\"AF41\"", 34), ("\"DF\"", 0), ("63", 63), ("0", 0)]
    {
        assert_eq!(media(&format!("dscp = {text}\n")).unwrap().dscp, code, "{text}");
    }
    for (text, backend) in [
        ("auto", MediaBackend::Auto),
        ("packet", MediaBackend::Packet),
        ("uring", MediaBackend::Uring),
        ("mmsg", MediaBackend::Mmsg),
        ("xdp", MediaBackend::Xdp),
    ] {
        assert_eq!(media(&format!("backend = \"{text}\"\n")).unwrap().backend, backend);
    }
    for (fields, reason) in [
        ("dscp = 64\n", "64 is out of range"),
        ("dscp = \"XX\"\n", "is no code point"),
        ("dscp = true\n", "not a whole number"),
        ("spin_us = 20001\n", "20001 is out of range"),
        ("gather_us = 1001\n", "1001 is out of range"),
        ("flows = 65537\n", "65537 is out of range"),
        ("workers = 65\n", "65 is out of range"),
        ("workers = 60\nstandby_workers = 5\n", "60 workers and 5 that stand by"),
        ("backend = \"dpdk\"\n", "is not a value of this field"),
        ("user = \"root\"\n", "other than root"),
        ("prompts = \"\"\n", "the path is empty"),
    ] {
        let errors = media(fields).unwrap_err().errors;
        assert_eq!(errors.len(), 1, "{fields}: {errors:#?}");
        assert!(errors[0].problem.contains(reason), "{fields}: {}", errors[0].problem);
    }
}

#[test]
fn unknown_keys_are_errors_with_a_suggestion() {
    for (text, line, what, remedy) in [
        ("[spi]\n", 1, "spi", "did you mean \"sip\"?"),
        (
            "[sip]\nudp=[\"1.1.1.1:1\"]\ntls_cert=\"x\"\n",
            3,
            "[sip] field tls_cert",
            "tls_certificate",
        ),
        ("[sip]\nudp=[\"1.1.1.1:1\"]\n[media]\nport=\"1\"\n", 4, "[media] field port", "ports"),
        ("[sip]\nudp=[\"1.1.1.1:1\"]\n[log]\nzzz=\"1\"\n", 4, "[log] field zzz", "level, format"),
    ] {
        let errors = parse(text).unwrap_err().errors;
        let error = errors.iter().find(|error| error.what == what).unwrap_or_else(|| {
            panic!("{text}: {errors:#?}");
        });
        assert_eq!(error.line, line, "{text}");
        assert!(error.remedy.contains(remedy), "{text}: {}", error.remedy);
    }
    let (line, what, _) = only(trunk("max_conc_calls = 3\n"));
    assert_eq!((line, what.as_str()), (11, "trunk \"t\" field max_conc_calls"));
}

#[test]
fn every_mistake_is_reported_at_once_with_its_line() {
    let text = "[sip]\nudp = \"nonsense\"\ntcp = 5060\n[media]\nports = \"9-1\"\nflows = 1\n\
                [log]\nlevel = \"loud\"\n[[route]]\ncalled = 7\n";
    let errors = parse(text).unwrap_err();
    let lines: Vec<usize> = errors.errors.iter().map(|error| error.line).collect();
    assert_eq!(lines, [2, 2, 3, 4, 5, 6, 8, 9, 9, 10], "{errors}");
    let shown = errors.to_string();
    assert!(shown.starts_with("gateway.toml:2: [sip] field udp: "), "{shown}");
    assert!(shown.contains("\n  remedy: "), "{shown}");
}

#[test]
fn broken_toml_names_the_line() {
    let errors = parse("[sip]\nudp = [\n\n[media\n").unwrap_err();
    assert!(errors.errors.iter().all(|error| error.line >= 2 && error.what == "TOML"), "{errors}");
}

#[test]
fn wrong_types_say_what_is_there_and_what_belongs_there() {
    for (fields, key, reason) in [
        ("port = \"5060\"\n", "port", "a string, not a whole number"),
        ("enabled = 1\n", "enabled", "a whole number, not true or false"),
        ("username = true\n", "username", "true or false, not a string"),
        ("allow = [1]\n", "allow", "a whole number, not a list of strings"),
        ("port = 70000\n", "port", "70000 is out of range"),
        ("max_concurrent_calls = 0\n", "max_concurrent_calls", "0 is out of range"),
    ] {
        refused(fields, key, reason);
    }
    let errors = parse(&format!("{SIP}[trunk]\nname = \"t\"\n")).unwrap_err().errors;
    assert!(errors[0].remedy.contains("[[trunk]]"), "{errors:?}");
    let errors = parse("sip = 1\n").unwrap_err().errors;
    assert!(errors[0].remedy.contains("[sip]"), "{errors:?}");
}

#[test]
fn values_that_are_not_carried_out_are_refused_by_name() {
    let (key, value, supported) = ("secure_rtp", "\"dtls\"", "required");
    let errors = trunk(&format!("{key} = {value}\n")).unwrap_err().errors;
    assert_eq!(errors.len(), 1, "{errors:#?}");
    let shown = errors[0].to_owned();
    assert!(shown.problem.contains("not carried out by this version"), "{shown:?}");
    assert!(shown.problem.contains(value.trim_matches('"')), "{shown:?}");
    assert!(shown.remedy.contains(supported), "{shown:?}");
    assert_eq!(shown.what, format!("trunk \"t\" field {key}"));
}

#[test]
fn subscriptions_are_allowed_by_the_trunk_or_by_the_system() {
    let allowed = |system: &str, own: &str| {
        let text = format!("{SIP}[[trunk]]\nname = \"t\"\nhost = \"192.0.2.1\"\n{own}\n");
        let text = text.replacen("[sip]\n", &format!("[sip]\n{system}\n"), 1);
        first(parse(&text)).manner.subscriptions
    };
    for (system, default) in
        [("", false), ("subscriptions = \"DENY\"", false), ("subscriptions = \"ALLOW\"", true)]
    {
        assert_eq!(allowed(system, ""), default, "{system}");
        assert_eq!(allowed(system, "create_subscriptions = \"DEFAULT\""), default, "{system}");
        assert!(allowed(system, "create_subscriptions = \"ALLOW\""), "{system}");
        assert!(!allowed(system, "create_subscriptions = \"DENY\""), "{system}");
    }
    refused("create_subscriptions = \"SOME\"\n", "create_subscriptions", "SOME");
}

#[test]
fn encryption_that_is_only_preferred() {
    let preferred = "secure_rtp = \"preferred\"\n";
    for transport in ["UDP", "TLS"] {
        let transport = format!("transport = \"{transport}\"\n");
        let read = first(trunk(&format!("{transport}{preferred}allow_mixed = true\n")));
        assert_eq!(read.secure_rtp, SecureRtp::Preferred);
        assert!(!read.secure && !read.encryption);
        let offered: Vec<_> = read.policies().iter().map(|p| p.security.encrypts()).collect();
        assert_eq!(offered, [true, true, false], "the best first");
        refused(&format!("{transport}{preferred}"), "secure_rtp", "may");
    }
    let both = format!("{preferred}allow_mixed = true\nencryption = true\n");
    refused(&both, "secure_rtp", "\"preferred\" contradicts encryption = true");
    refused("secure_rtp = \"dtls\"\n", "secure_rtp", "not carried out by this version");
}

#[test]
fn how_digits_come_and_go() {
    let digits = |fields: &str| first(trunk(fields)).digits;
    assert!(digits("").are_events());
    let info = digits("dtmf_mode = \"info\"\nsend_media = \"SAME\"\n");
    assert_eq!((info.mode, info.sends()), (DtmfMode::Info, DtmfMode::Info));
    let short = digits("dtmf_mode = \"auto\"\nsend_media = \"ShortInfo\"\n");
    assert_eq!((short.mode, short.sends()), (DtmfMode::Auto, DtmfMode::ShortInfo));
    // Rule 7: tones need G.711.
    let g729 = "allow = [\"G729\"]\n";
    refused(&format!("{g729}dtmf_mode = \"inband\"\n"), "dtmf_mode", "G.711");
    refused(&format!("{g729}send_media = \"INBAND\"\n"), "send_media", "G.711");
    let removed = "disallow = [\"PCMA\", \"PCMU\", \"G722\"]\nallow = []\n";
    refused(&format!("{removed}dtmf_mode = \"inband\"\n"), "dtmf_mode", "G.711");
    digits("dtmf_mode = \"inband\"\nsend_media = \"INBAND\"\n");
}

#[test]
fn media_keeps_its_way_open_with_the_trunks_and_is_marked_as_it_says() {
    let silent =
        |fields: &str| first(trunk(fields)).manner.rtp_keepalive.map(|pause| pause.as_secs());
    assert_eq!(silent(""), None);
    assert_eq!(silent("keepalive = true\n"), Some(15));
    assert_eq!(silent("nat = \"AUTO\"\nrtp_keepalive_interval = 20\n"), Some(20));
    refused("rtp_keepalive_interval = 20\n", "rtp_keepalive_interval", "keepalive is off");
    refused("keepalive = true\nrtp_keepalive_interval = 0\n", "rtp_keepalive_interval", "");
    let marks = |fields: &str| {
        let read = first(trunk(fields)).manner;
        (read.signalling_dscp, read.media_place.dscp)
    };
    assert_eq!(marks(""), (None, None));
    assert_eq!(marks("signalling_dscp = \"CS0\"\nmedia_dscp = 34\n"), (Some(0), Some(34)));
    assert_eq!(marks("media_dscp = \"34\"\n"), (None, Some(34)));
    refused("media_dscp = 64\n", "media_dscp", "");
    refused("signalling_dscp = \"64\"\n", "signalling_dscp", "no code point");
}

#[test]
fn keeping_the_way_open_and_repairing_addresses() {
    let keepalive =
        |fields: &str| first(trunk(fields)).manner.keepalive.map(|pause| pause.as_secs());
    assert_eq!(keepalive(""), None);
    assert_eq!(keepalive("keepalive = true\n"), Some(25));
    assert_eq!(keepalive("keepalive = true\ntransport = \"TCP\"\n"), Some(100));
    assert_eq!(keepalive("keepalive = true\nkeepalive_interval = 40\n"), Some(40));
    assert_eq!(keepalive("nat = \"COMEDIA\"\n"), Some(25), "behind a translator");
    assert_eq!(keepalive("nat = \"COMEDIA\"\nkeepalive = false\n"), None);
    let account = "register = true\nusername = \"u\"\npassword = \"p\"\n";
    assert_eq!(keepalive(account), Some(25));
    let outer = "external_address = \"203.0.113.7\"\n";
    let read = first(trunk(&format!("sip_alg = true\n{outer}")));
    assert_eq!(read.external_address.unwrap().to_string(), "203.0.113.7");
    refused("sip_alg = true\n", "sip_alg", "which address");
    refused(outer, "external_address", "nothing writes");
    let wrong = "sip_alg = true\nexternal_address = \"203.0.113.7:5060\"\n";
    refused(wrong, "external_address", "neither an address");
}

#[test]
fn who_calls_and_what_a_challenge_asks_for() {
    let identity = |fields: &str| first(trunk(fields)).identity;
    assert_eq!(identity("").send_rpid, SendRpid::Pai);
    assert_eq!(identity("send_rpid = \"Both\"\n").send_rpid, SendRpid::Both);
    assert_eq!(identity("diversion = \"history-info\"\n").diversion, DiversionStyle::HistoryInfo);
    let number = "virtual_phone_number = \"+4930100\"\n";
    let policy = "caller_id_policy = \"deny_foreign\"\n";
    let read = identity(&format!("{number}{policy}trust_identity = true\nuser_phone = true\n"));
    assert_eq!(read.caller_id_policy, CallerIdPolicy::DenyForeign);
    assert!(read.trust_identity && read.user_phone && !read.trust_inbound_identity);
    refused(policy, "caller_id_policy", "no number");
    let challenge = "incoming_call_policy = \"challenge\"\n";
    let credential = "inbound_username = \"u\"\ninbound_password = \"p\"\n";
    let read = first(trunk(&format!("{challenge}{credential}")));
    assert_eq!(read.inbound_credentials.unwrap().username, "u");
    assert_eq!(read.incoming_call_policy, IncomingCallPolicy::Challenge);
    refused(challenge, "incoming_call_policy", "needs the credential");
    refused(credential, "inbound_username", "nothing asks");
    let both = format!("{challenge}{credential}inbound_password_file = \"/etc/hostname\"\n");
    refused(&both, "inbound_password", "both set");
}

#[test]
fn values_that_mean_off_are_accepted() {
    first(trunk(
        "register = false\nsend_keep_alive = false\nsip_alg = false\nkeepalive = false\n\
         failover_group = \"NONE\"\ncreate_subscriptions = \"DEFAULT\"\nnat = \"no\"\n\
         audio_tones = \"No audio tones\"\nsend_media = \"RFC2833\"\ndtmf_mode = \"rfc2833\"\n\
         direct_media = \"no\"\nsend_rpid = \"no\"\nsecure_rtp = \"off\"\nencryption = false\n\
         secure = false\ndisallow = \"\"\nvirtual_phone_number = \"\"\nusername = \"\"\n\
         outbound_proxy = \"\"\n",
    ));
}

#[test]
fn nat_and_where_media_is_learned_from() {
    for (text, nat) in [
        ("NO", Nat::No),
        ("force_rport", Nat::ForceRport),
        ("COMEDIA", Nat::Comedia),
        ("Yes", Nat::Yes),
        ("AUTO", Nat::Auto),
    ] {
        assert_eq!(first(trunk(&format!("nat = \"{text}\"\n"))).nat, nat);
    }
    refused("nat = \"route\"\n", "nat", "not a value of this field");
    let network = |text| LearnFrom::Network(Cidr::parse(text).unwrap());
    for (text, learn_from) in [
        ("any", LearnFrom::Any),
        ("Signalling", LearnFrom::Signalling),
        ("198.51.100.0/24", network("198.51.100.0/24")),
        ("2001:db8::/32", network("2001:db8::/32")),
    ] {
        let fields = format!("nat = \"COMEDIA\"\nlearn_from = \"{text}\"\n");
        assert_eq!(first(trunk(&fields)).learn_from, learn_from);
    }
    refused("nat = \"AUTO\"\nlearn_from = \"near\"\n", "learn_from", "no IP address");
    refused("nat = \"AUTO\"\nlearn_from = \"10.1.2.3/8\"\n", "learn_from", "host bits");
    for nat in ["NO", "FORCE_RPORT"] {
        let fields = format!("nat = \"{nat}\"\nlearn_from = \"any\"\n");
        refused(&fields, "learn_from", "does not learn");
    }
}

#[test]
fn timeouts_of_media_in_seconds() {
    let fields = "rtp_timeout = 20\nhold_timeout = 0\n";
    let both = |fields| (first(trunk(fields)).rtp_timeout, first(trunk(fields)).hold_timeout);
    assert_eq!(both(fields), (Some(Duration::from_secs(20)), None));
    refused("hold_timeout = 86401\n", "hold_timeout", "out of range");
}

#[test]
fn secure_means_tls_and_encryption() {
    let tls = first(trunk("transport = \"TLS\"\nencryption = true\n"));
    assert!(tls.secure && tls.tls.is_some());
    assert_eq!(first(trunk("secure = true\n")).transport, Transport::Tls);
    assert_eq!(first(trunk("secure = true\n")).secure_rtp, SecureRtp::Required);
    refused("secure = true\ntransport = \"UDP\"\n", "secure", "transport is not TLS");
    refused("secure = true\nencryption = false\n", "secure", "encryption is off");
    refused("transport = \"TLS\"\n", "transport", "TLS without encrypted media");
    refused("encryption = true\n", "encryption", "unprotected transport");
    refused("secure_rtp = \"required\"\n", "encryption", "unprotected transport");
    refused("secure = false\ntransport = \"TLS\"\nencryption = true\n", "secure", "insecure");
    let mixed = "secure_rtp = \"off\"\nencryption = true\nallow_mixed = true\n";
    refused(mixed, "secure_rtp", "contradicts encryption");
    assert!(first(trunk("transport = \"TLS\"\nallow_mixed = true\n")).tls.is_some());
    assert!(first(trunk("encryption = true\nallow_mixed = true\n")).encryption);
}

#[test]
fn tls_needs_something_to_trust_and_whole_pairs() {
    let without_ca = SIP.replace("tls_ca = \"ca.pem\"\n", "");
    let text =
        format!("{without_ca}[[trunk]]\nname = \"t\"\nhost = \"a.example\"\nsecure = true\n");
    let (_, what, problem) = only(parse(&text));
    assert_eq!(what, "trunk \"t\" field tls_ca");
    assert!(problem.contains("trust"));
    let pin = "ab:".repeat(31) + "ab";
    let pinned = first(parse(&format!("{text}tls_pin = \"{pin}\"\n")));
    assert_eq!(pinned.tls.unwrap().pin, Some([0xab; 32]));
    refused("secure = true\ntls_pin = \"abcd\"\n", "tls_pin", "no SHA-256");
    refused("secure = true\ntls_client_cert = \"c\"\n", "tls_client_key", "missing");
    refused("secure = true\ntls_client_key = \"k\"\n", "tls_client_cert", "missing");
    refused("tls_pin = \"\"\n", "tls_pin", "needs transport TLS");
    let half = SIP.replace("tls_key = \"gw.key\"\n", "");
    assert_eq!(only(parse(&half)).1, "[sip] field tls_key");
    let none =
        SIP.replace("tls_key = \"gw.key\"\n", "").replace("tls_certificate = \"gw.pem\"\n", "");
    assert_eq!(only(parse(&none)).1, "[sip] field tls");
}

#[test]
fn wide_networks_need_names() {
    let names = "secure = true\ntls_peer_names = [\"p.example\"]\n";
    for (network, alone, named) in [
        ("198.0.0.0/8", false, true),
        ("198.0.0.0/7", false, false),
        ("198.51.0.0/16", true, true),
        ("0.0.0.0/0", false, true),
        ("::/0", false, true),
        ("2001:d00::/24", false, true),
        ("2001:db8::/32", true, true),
        ("2000::/16", false, false),
    ] {
        let acl = format!("source_acl = [\"{network}\"]\n");
        assert_eq!(trunk(&acl).is_ok(), alone, "{network}");
        assert_eq!(trunk(&format!("{names}{acl}")).is_ok(), named, "{network}");
    }
    refused("source_acl = [\"198.51.0.0/15\"]\n", "source_acl", "host bits");
    refused("source_acl = [\"198.50.0.0/15\"]\n", "source_acl", "wider than /16");
    refused("source_acl = [\"0.0.0.0/0\"]\n", "source_acl", "wider than /8");
}

#[test]
fn two_trunks_may_not_match_one_caller() {
    let second = |a: &str, b: &str| {
        parse(&format!("{SIP}[[trunk]]\nname = \"a\"\n{a}[[trunk]]\nname = \"b\"\n{b}"))
    };
    let same = "host = \"198.51.100.7\"\n";
    let secure = "host = \"198.51.100.7\"\nsecure = true\n";
    for (a, b, apart) in [
        (same.to_owned(), same.to_owned(), false),
        (same.to_owned(), format!("{same}port = 5070\n"), true),
        (same.to_owned(), format!("{same}enabled = false\n"), true),
        (same.to_owned(), format!("{same}transport = \"TCP\"\n"), true),
        (same.to_owned(), secure.to_owned(), true),
        (secure.to_owned(), secure.to_owned(), false),
        (
            format!("{secure}tls_peer_names = [\"a.example\"]\n"),
            format!("{secure}tls_peer_names = [\"b.example\"]\n"),
            true,
        ),
        (
            format!("{secure}tls_peer_names = [\"a.example\"]\n"),
            format!("{secure}tls_peer_names = [\"A.example\", \"b.example\"]\n"),
            false,
        ),
        (format!("{same}virtual_phone_number = \"100\"\n"), same.to_owned(), false),
        (
            format!("{same}virtual_phone_number = \"100\"\n"),
            format!("{same}virtual_phone_number = \"101\"\n"),
            true,
        ),
        ("host = \"x.example\"\n".into(), "host = \"X.example.\"\n".into(), false),
        ("host = \"x.example\"\n".into(), "host = \"y.example\"\n".into(), true),
        (
            "host = \"x.example\"\nsource_acl = [\"198.51.100.0/24\"]\n".into(),
            "host = \"y.example\"\nsource_acl = [\"198.51.100.0/24\"]\n".into(),
            false,
        ),
        (
            "host = \"x.example\"\nsource_acl = [\"198.51.100.0/24\"]\n".into(),
            "host = \"y.example\"\nsource_acl = [\"198.51.100.0/25\"]\n".into(),
            true,
        ),
    ] {
        let read = second(&a, &b);
        assert_eq!(read.is_ok(), apart, "{a}{b}{read:?}");
        if !apart {
            assert!(only(read).2.contains("also takes calls"));
        }
    }
}

#[test]
fn names_and_numbers_are_unique() {
    let text = format!(
        "{SIP}[[trunk]]\nname = \"a\"\nhost = \"x.example\"\nvirtual_phone_number = \"100-199\"\n\
         [[trunk]]\nname = \"b\"\nhost = \"y.example\"\nvirtual_phone_number = \"150\"\n"
    );
    let (line, what, problem) = only(parse(&text));
    assert_eq!((line, what.as_str()), (15, "trunk \"b\" field virtual_phone_number"));
    assert_eq!(problem, "150 overlaps 100-199 of trunk \"a\"");
    let twins = text.replace("name = \"b\"", "name = \"a\"").replace("150", "200");
    assert!(only(parse(&twins)).2.contains("has this name"));
}

#[test]
fn a_trunk_needs_a_name_a_host_and_a_listener() {
    let (_, what, _) = only(parse(&format!("{SIP}[[trunk]]\nhost = \"x.example\"\n")));
    assert_eq!(what, "[[trunk]] number 1 field name");
    let (_, what, _) = only(parse(&format!("{SIP}[[trunk]]\nname = \"t\"\n")));
    assert_eq!(what, "trunk \"t\" field host");
    for name in ["", " t", "a/b", &"x".repeat(65)] {
        let text = format!("{SIP}[[trunk]]\nname = \"{name}\"\nhost = \"x.example\"\n");
        assert!(only(parse(&text)).1.ends_with("field name"), "{name}");
    }
    let text = "[sip]\nudp = [\"192.0.2.1:5060\"]\n[[trunk]]\nname = \"t\"\nhost = \"x.example\"\n\
                transport = \"TCP\"\n";
    assert_eq!(only(parse(text)).2, "there is no tcp listener");
    assert!(parse("").unwrap_err().to_string().contains("no SIP listener"));
}

#[test]
fn accounts_are_whole() {
    refused("password = \"p\"\n", "password", "no username");
    refused("username = \"u\"\npassword = \"${NOPE}\"\n", "password", "NOPE is not set");
    refused(
        "username = \"u\"\npassword_file = \"/nonexistent\"\n",
        "password_file",
        "cannot be read",
    );
    refused("username = \"a b\"\n", "username", "user part");
    let fields = "username = \"u\"\npassword = \"a${CARRIER_PASSWORD}z${\"\n";
    let trunk = first(trunk(fields));
    assert_eq!(trunk.password.as_ref().unwrap().expose(), "aswordfishz${");
    assert!(trunk.credentials().is_some());
    assert!(!format!("{trunk:?}").contains("swordfish"));
}

#[test]
fn a_password_file_is_read_without_its_line_end() {
    let directory = std::env::temp_dir().join(format!("trunkline-config-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("secret"), "swordfish\n").unwrap();
    let file = directory.join("gateway.toml");
    let text = format!(
        "{SIP}[[trunk]]\nname = \"t\"\nhost = \"x.example\"\nusername = \"u\"\n\
         password_file = \"secret\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let trunk = load(&file).unwrap().trunks[0].as_ref().clone();
    assert_eq!(trunk.password.unwrap().expose(), "swordfish");
    std::fs::write(&file, [0xff, 0xfe]).unwrap();
    assert!(load(&file).unwrap_err().to_string().contains("UTF-8"));
    std::fs::remove_dir_all(&directory).unwrap();
    let missing = load(&file).unwrap_err();
    assert_eq!(missing.errors[0].line, 0);
    assert!(missing.to_string().contains("remedy: create it"), "{missing}");
}

#[test]
fn proxies() {
    for (text, want) in [
        ("proxy.example", Some(("proxy.example", 5060))),
        ("proxy.example:5090", Some(("proxy.example", 5090))),
        ("sip:192.0.2.9:5090;lr", Some(("192.0.2.9", 5090))),
        ("[2001:db8::1]:5090", Some(("[2001:db8::1]", 5090))),
        ("2001:db8::1", Some(("[2001:db8::1]", 5060))),
        ("sips:proxy.example", None),
        ("proxy.example;transport=tcp", None),
        ("proxy.example:0", None),
        ("a b", None),
    ] {
        let read = trunk(&format!("outbound_proxy = \"{text}\"\n"));
        let got = read.ok().map(|config| {
            let (host, port) = config.trunks[0].next_hop();
            (host.to_string(), port)
        });
        assert_eq!(got, want.map(|(host, port)| (host.to_owned(), port)), "{text}");
    }
    let several =
        first(trunk("outbound_proxy = \"a.example:5070, sip:b.example;lr ,192.0.2.9\"\n"));
    let hops: Vec<String> = several
        .next_hops()
        .iter()
        .map(|place| format!("{}:{}", place.host, place.port_or_default()))
        .collect();
    assert_eq!(hops, ["a.example:5070", "b.example:5060", "192.0.2.9:5060"]);
    assert_eq!(several.places().len(), 4, "the host is a source as well");
    assert_eq!(several.proxy_route().as_deref(), Some("<sip:a.example:5070;lr>"));
    refused("outbound_proxy = \"a.example,a.example\"\n", "outbound_proxy", "twice");
    let five = "outbound_proxy = \"a.test,b.test,c.test,d.test,e.test\"\n";
    refused(five, "outbound_proxy", "5 proxies");
}

#[test]
fn dns_servers_are_addresses_with_ports() {
    let read = |dns: &str| {
        super::parse(&format!("[sip]\nudp = [\"192.0.2.1:5060\"]\n[dns]\n{dns}"), Path::new("."))
    };
    assert!(read("").unwrap().dns.servers.is_empty(), "the system's");
    let two = read("servers = [\"192.0.2.53:53\", \"[2001:db8::53]:5353\"]\n").unwrap();
    assert_eq!(
        two.dns.servers,
        ["192.0.2.53:53", "[2001:db8::53]:5353"].map(|s| s.parse().unwrap())
    );
    for (text, problem) in [
        ("servers = [\"192.0.2.53\"]\n", "no address with a port"),
        ("server = [\"192.0.2.53:53\"]\n", "no field of this name"),
    ] {
        let errors = read(text).unwrap_err().errors;
        assert!(errors[0].problem.contains(problem), "{errors:?}");
    }
    let many: Vec<String> = (0..9).map(|n| format!("\"192.0.2.{n}:53\"")).collect();
    let errors = read(&format!("servers = [{}]\n", many.join(", "))).unwrap_err().errors;
    assert!(errors[0].problem.contains("9 servers"), "{errors:?}");
}

#[test]
fn codecs_are_known_and_something_is_left() {
    assert_eq!(first(trunk("allow = \"pcma, pcma, G729\"\n")).allow, [Codec::Pcma, Codec::G729]);
    assert!(first(trunk("allow = []\n")).allow.is_empty());
    refused("allow = [\"mp3\"]\n", "allow", "not a codec");
    refused("allow = []\ndisallow = [\"all\"]\n", "disallow", "leaves no codec");
    refused("disallow = [\"PCMA\", \"PCMU\"]\n", "disallow", "every allowed codec");
    assert_eq!(first(trunk("allow = \"PCMA, T38\"\n")).allow, [Codec::Pcma, Codec::T38]);
    refused("allow = [\"T38\"]\n", "allow", "calls begin as audio");
    refused("allow = \"PCMA, T38\"\ndisallow = \"PCMA\"\n", "allow", "calls begin as audio");
}

#[test]
fn routes_lead_to_trunks_that_take_calls() {
    let route = |fields: &str| trunk(&format!("[[route]]\nname = \"r\"\n{fields}"));
    assert!(route("destination = \"t\"\nfrom_trunk = \"any\"\n").is_ok());
    assert!(only(route("")).2.contains("leads nowhere"));
    assert!(only(route("destination = \"u\"\n")).2.contains("no trunk or failover group \"u\""));
    assert!(only(route("destination = \"t\"\nfrom_trunk = \"u\"\n")).2.contains("no trunk"));
    assert!(only(route("destination = \"t\"\nprepend = \"a b\"\n")).2.contains("number"));
    let twice = "destination = \"t\"\n[[route]]\nname = \"r\"\ndestination = \"t\"\n";
    assert!(only(route(twice)).2.contains("another route"));
    let inbound = "direction = \"inbound\"\n[[route]]\nname = \"r\"\ndestination = \"t\"\n";
    assert!(only(trunk(inbound)).2.contains("inbound only"));
    let nameless = trunk("[[route]]\ndestination = \"t\"\n");
    assert_eq!(only(nameless).1, "[[route]] number 1 field name");
}

#[test]
fn media_needs_an_address_that_peers_can_reach() {
    let wildcard = "[sip]\nudp = [\"0.0.0.0:5060\"]\n";
    assert_eq!(only(parse(wildcard)).1, "[media] field address");
    assert!(parse(&format!("{wildcard}[media]\naddress = \"192.0.2.1\"\n")).is_ok());
    for address in ["0.0.0.0", "224.0.0.1", "x"] {
        let text = format!("{SIP}[media]\naddress = \"{address}\"\n");
        assert_eq!(only(parse(&text)).1, "[media] field address", "{address}");
    }
    let cores = format!("{SIP}[media]\nworkers = 2\ncores = [1]\n");
    assert!(only(parse(&cores)).2.contains("2 workers, but 1 cores"));
    assert_eq!(parse(&format!("{SIP}[media]\ncores = [1, 2, 3]\n")).unwrap().media.workers, 3);
}

#[test]
fn direct_media_is_never_encrypted() {
    let direct = |fields: &str| first(trunk(fields)).direct_media;
    assert_eq!(direct(""), DirectMedia::No);
    assert_eq!(direct("direct_media = \"yes\"\n"), DirectMedia::Yes);
    assert_eq!(direct("direct_media = \"nonat\"\n"), DirectMedia::NoNat);
    // Rule 6.
    for more in ["secure = true\n", "secure_rtp = \"preferred\"\nallow_mixed = true\n"] {
        refused(&format!("{more}direct_media = \"yes\"\n"), "direct_media", "encrypted");
    }
    let config = trunk("direct_media = \"yes\"\nnat = \"COMEDIA\"\n").unwrap();
    assert!(config.warnings[0].contains("direct_media"), "{:?}", config.warnings);
}

#[test]
fn greetings_name_a_prompt_and_need_a_voice() {
    let tones = "audio_tones = \"ON EARLY MEDIA\"\n";
    let greeting = first(trunk(&format!("{tones}greeting = \"welcome\"\n"))).greeting.unwrap();
    let Spoken::Prompt(prompt) = greeting.what else { panic!("{greeting:?}") };
    assert_eq!(prompt.as_str(), "welcome");
    refused("greeting = \"welcome\"\n", "greeting", "nothing is said");
    refused(&format!("{tones}greeting = \"../etc\"\n"), "greeting", "name of a prompt");
}

#[test]
fn the_plain_port_with_tls_is_a_warning() {
    let config = trunk("secure = true\nport = 5060\n").unwrap();
    assert!(config.warnings[0].starts_with("gateway.toml:12: trunk \"t\" field port: 5060"));
}

#[test]
fn fax_on_a_trunk_that_must_encrypt_is_a_warning() {
    let allow = "allow = \"PCMA, T38\"\n";
    let config = trunk(&format!("secure = true\n{allow}")).unwrap();
    assert!(config.warnings[0].contains("field allow: T38 does not pass"), "{:?}", config.warnings);
    assert!(trunk(allow).unwrap().warnings.is_empty());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2_000))]

    /// Any text is answered with a configuration or with errors that have places and remedies.
    #[test]
    fn no_text_panics(noise in "[\\PC\\n]{0,200}", key in "[a-z_]{1,12}", value in "[\\PC]{0,20}") {
        for text in [noise.clone(), format!("{SIP}[[trunk]]\n{key} = {value}\n"),
                     format!("{SIP}[[trunk]]\n{key} = \"{value}\"\n{noise}")] {
            if let Err(errors) = parse(&text) {
                assert!(!errors.errors.is_empty());
                assert!(errors.errors.iter().all(|error| !error.remedy.is_empty()));
            }
        }
    }
}
