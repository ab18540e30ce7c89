//! One trunk, of a file or of the API: every field of the form, with what this version carries out.
//!
//! Fields that stand for a behaviour that is absent are read and refused unless they say "off", so
//! that the operator learns it here and not from a call.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sdp::Codec;
use sip::endpoint::Transport;

use super::error::Place;
use super::media::Media;
use super::section::{At, Section, alternatives};
use super::sections::Sip;
use super::{Environment, digits, group, identity, numbering, proof, upkeep};
use crate::group::Group;
use crate::secret::Secret;
use crate::trunk::{
    Cidr, Direction, Host, IncomingCallPolicy, LearnFrom, Nat, Number, Probing, Proxy, SecureRtp,
    TlsSettings, Trunk, TrunkId,
};

/// A trunk with the places of its fields, for rules that look at several fields or trunks.
pub(super) struct Parsed {
    pub(super) trunk: Arc<Trunk>,
    places: HashMap<&'static str, Place>,
}

impl Parsed {
    /// Place of a field, or of the trunk's header.
    pub(super) fn place(&self, key: &str) -> Place {
        self.places.get(key).or_else(|| self.places.get("")).cloned().unwrap_or_default()
    }
}

/// Reads a trunk. What is wrong is reported and read as the default. Without an environment, which
/// only a file has, nothing is expanded and no other file read.
pub(super) fn read(
    id: TrunkId,
    mut section: Section<'_, '_>,
    environment: Option<Environment<'_>>,
    (sip, media): (&Sip, &Media),
    groups: &[Group],
) -> Parsed {
    let name = name(id, &mut section);
    let security = Security::read(&mut section);
    let (allow, disallow, disallow_all) = codecs(&mut section);
    let (username, password) = credentials(&mut section, environment);
    let register = register(&mut section, &username, &password);
    let nat = nat(&mut section);
    let is_kept = register || nat != Nat::No;
    let (numbers, policy) = (numbers(&mut section), incoming_call_policy(&mut section));
    let audio_tones = upkeep::audio_tones(&mut section);
    let trunk = Trunk {
        id,
        name,
        enabled: section.boolean("enabled").is_none_or(|flag| flag.value),
        direction: direction(&mut section),
        host: host(&mut section),
        outbound_proxy: outbound_proxy(&mut section, security.transport),
        identity: identity::read(&mut section, &numbers),
        inbound_credentials: proof::inbound_credentials(&mut section, policy, environment),
        inbound_md5: proof::inbound_md5(&mut section, policy),
        auth_realm: proof::auth_realm(&mut section),
        numbers,
        username,
        password,
        register,
        registration_token: register.then(registration_token),
        send_keep_alive: keep_alive(&mut section),
        port: section.integer("port", 1..65_536).and_then(|port| u16::try_from(port.value).ok()),
        transport: security.transport,
        secure: security.secure,
        encryption: security.encryption,
        secure_rtp: security.secure_rtp(),
        allow_mixed: security.allow_mixed,
        incoming_call_policy: policy,
        max_concurrent_calls: cap(&mut section, "max_concurrent_calls", CALLS_MAX),
        max_inbound_calls: cap(&mut section, "max_inbound_calls", CALLS_MAX),
        max_outbound_calls: cap(&mut section, "max_outbound_calls", CALLS_MAX),
        max_cps: cap(&mut section, "max_cps", CPS_MAX),
        digits: digits::read(&mut section, &allow, &disallow),
        allow,
        disallow,
        disallow_all,
        rtcp_mux: section.boolean("rtcp_mux").is_some_and(|flag| flag.value),
        source_acl: source_acl(&mut section),
        tls: tls(&mut section, security.transport, sip),
        from_user: user(&mut section, "from_user"),
        from_domain: from_domain(&mut section),
        audio_tones,
        direct_media: upkeep::direct_media(&mut section, security.secure_rtp(), nat),
        greeting: upkeep::greeting(&mut section, audio_tones),
        timer: upkeep::timer(&mut section),
        reliability: upkeep::reliability(&mut section),
        manner: upkeep::manner(&mut section, security.transport, is_kept, (sip, media)),
        external_address: upkeep::external_address(&mut section, security.transport),
        nat,
        learn_from: learn_from(&mut section, nat),
        rtp_timeout: timeout(&mut section, "rtp_timeout", RTP_TIMEOUT_DEFAULT),
        hold_timeout: timeout(&mut section, "hold_timeout", HOLD_TIMEOUT_DEFAULT),
        failover_group: group::membership(&mut section, groups),
        hunting: group::own_hunting(&mut section),
        numbering: numbering::read(&mut section),
    };
    parsed(trunk, section)
}

/// The trunk with the places of the fields that rules between fields speak of.
fn parsed(trunk: Trunk, section: Section<'_, '_>) -> Parsed {
    let mut places: HashMap<_, _> =
        RULED.into_iter().map(|key| (key, section.place_of(key))).collect();
    places.insert("", Place { line: section.line(), value: None });
    section.finish();
    Parsed { trunk: Arc::new(trunk), places }
}

fn direction(section: &mut Section<'_, '_>) -> Direction {
    match section.word("direction", &["both", "inbound", "outbound"]) {
        Some(At { value: 1, .. }) => Direction::Inbound,
        Some(At { value: 2, .. }) => Direction::Outbound,
        _ => Direction::Both,
    }
}

fn name(id: TrunkId, section: &mut Section<'_, '_>) -> String {
    section.name = format!("[[trunk]] number {id}");
    let remedy = "give it 1 to 64 letters, digits, spaces or any of . _ -";
    let Some(name) = section.string("name") else {
        section.error("name", "the trunk has no name", remedy);
        return format!("trunk-{id}");
    };
    let allowed = |c: char| c.is_alphanumeric() || " ._-".contains(c);
    let length = name.value.chars().count();
    let blank = name.value.trim() != name.value;
    if !(1..=64).contains(&length) || !name.value.chars().all(allowed) || blank {
        section.error("name", format!("\"{}\" is not a name", name.value), remedy);
    }
    section.name = format!("trunk \"{}\"", name.value);
    name.value
}

/// The fields that decide about encryption, made consistent. What is not written follows what is;
/// contradictions are reported (rule 3 of the trunk's save-time rules).
struct Security {
    transport: Transport,
    secure: bool,
    encryption: bool,
    /// Where it is not mandatory, media is encrypted if the peer can.
    preferred: bool,
    allow_mixed: bool,
}

impl Security {
    fn secure_rtp(&self) -> SecureRtp {
        match self.encryption {
            true => SecureRtp::Required,
            false if self.preferred => SecureRtp::Preferred,
            false => SecureRtp::Off,
        }
    }

    fn read(section: &mut Section<'_, '_>) -> Self {
        let secure = section.boolean("secure").map(|flag| flag.value);
        let transport =
            section.word("transport", &["UDP", "TLS", "TCP"]).map(|word| match word.value {
                1 => Transport::Tls,
                2 => Transport::Tcp,
                _ => Transport::Udp,
            });
        let encryption = section.boolean("encryption").map(|flag| flag.value);
        let srtp = section
            .supported("secure_rtp", &["off", "required", "preferred"], &["dtls"])
            .map(|word| word.value);
        let preferred = srtp == Some(2);
        let srtp = srtp.map(|value| value == 1);
        let allow_mixed = section.boolean("allow_mixed").is_some_and(|flag| flag.value);
        if let (Some(encryption), Some(srtp)) = (encryption, srtp)
            && encryption != srtp
        {
            let srtp = match srtp {
                true => "required",
                false if preferred => "preferred",
                false => "off",
            };
            let problem = format!("secure_rtp = \"{srtp}\" contradicts encryption = {encryption}");
            section.error("secure_rtp", problem, "remove one of the two; each sets the other");
        }
        let follows = secure.unwrap_or(false);
        let default = if follows { Transport::Tls } else { Transport::Udp };
        let chosen = transport.unwrap_or(default);
        let encrypted = encryption.or(srtp).unwrap_or(follows);
        let tls = chosen == Transport::Tls;
        let security = Self {
            transport: chosen,
            secure: secure.unwrap_or(tls && encrypted),
            encryption: encrypted,
            preferred: preferred && !encrypted,
            allow_mixed,
        };
        security.check(section);
        security
    }

    fn check(&self, section: &mut Section<'_, '_>) {
        let tls = self.transport == Transport::Tls;
        if self.secure && !tls {
            section.error(
                "secure",
                "a secure trunk uses TLS, but transport is not TLS",
                "write transport = \"TLS\", or secure = false",
            );
        }
        if self.secure && !self.encryption {
            section.error(
                "secure",
                "a secure trunk encrypts media, but encryption is off",
                "write encryption = true, or secure = false",
            );
        }
        if self.secure || self.allow_mixed {
            return;
        }
        if self.preferred {
            let problem = match tls {
                true => "media may be plain although the trunk has TLS",
                false => "media keys may travel over an unprotected transport",
            };
            let remedy = "write allow_mixed = true to have it so all the same";
            return section.error("secure_rtp", problem, remedy);
        }
        if tls && self.encryption {
            section.error(
                "secure",
                "the trunk has TLS and encryption, but is declared insecure",
                "write secure = true, or remove the field",
            );
        } else if tls {
            section.error(
                "transport",
                "TLS without encrypted media is neither a secure nor an insecure trunk",
                "write secure = true; or allow_mixed = true to have it so all the same",
            );
        } else if self.encryption {
            section.error(
                "encryption",
                "media keys would travel over an unprotected transport",
                "write transport = \"TLS\" and secure = true; or allow_mixed = true to have it so \
                 all the same",
            );
        }
    }
}

fn codecs(section: &mut Section<'_, '_>) -> (Vec<Codec>, Vec<Codec>, bool) {
    let given = section.strings("allow");
    let allow = match given {
        Some(names) => codec_list(section, "allow", names),
        None => vec![Codec::Pcma, Codec::Pcmu],
    };
    let mut names = section.strings("disallow").unwrap_or_default();
    let listed = names.len();
    names.retain(|name| !name.value.eq_ignore_ascii_case("all"));
    let all = names.len() < listed;
    let disallow = codec_list(section, "disallow", names);
    if all && allow.is_empty() {
        let remedy = "list the codecs to keep in allow, or remove disallow";
        section.error("disallow", "\"all\" with an empty allow leaves no codec", remedy);
    } else if !allow.is_empty() && allow.iter().all(|codec| disallow.contains(codec)) {
        let remedy = "remove at least one codec of allow from disallow";
        section.error("disallow", "every allowed codec is disallowed", remedy);
    } else if !allow.is_empty() && allow.iter().all(|c| *c == Codec::T38 || disallow.contains(c)) {
        let remedy = "allow a codec of audio too, such as PCMA";
        section.error("allow", "T38 alone leaves no codec: calls begin as audio", remedy);
    }
    (allow, disallow, all)
}

/// Codecs by name, in order, duplicates collapsed. A single string may hold several, separated by
/// commas, as the form shows them.
fn codec_list(section: &mut Section<'_, '_>, key: &str, names: Vec<At<String>>) -> Vec<Codec> {
    let mut codecs = Vec::new();
    let texts: Vec<String> = names.into_iter().map(|name| name.value).collect();
    for name in texts.iter().flat_map(|text| text.split(',')).map(str::trim) {
        if name.is_empty() {
            continue;
        }
        match Codec::parse(name) {
            Some(codec) if codecs.contains(&codec) => {}
            Some(codec) => codecs.push(codec),
            None => {
                let problem = format!("\"{name}\" is not a codec");
                section.error(key, problem, format!("use {}", codec_names()));
            }
        }
    }
    codecs
}

fn codec_names() -> String {
    alternatives(&Codec::ALL.map(|codec| codec.name()))
}

fn credentials(
    section: &mut Section<'_, '_>,
    environment: Option<Environment<'_>>,
) -> (Option<String>, Option<Secret<String>>) {
    let username = user(section, "username");
    let password = secret(section, ["password", "password_file"], environment);
    if password.is_some() && username.is_none() {
        let remedy = "set username too: a digest needs both";
        section.error("password", "there is a password but no username", remedy);
    }
    (username, password)
}

/// A secret that stands in the first field, or in the file that the second one names.
pub(super) fn secret(
    section: &mut Section<'_, '_>,
    [key, file_key]: [&'static str; 2],
    environment: Option<Environment<'_>>,
) -> Option<Secret<String>> {
    let inline = section.string(key).map(|text| match environment {
        Some(environment) => expand(section, key, text.value, environment),
        None => Some(Secret::new(text.value)).filter(|secret| !secret.expose().is_empty()),
    });
    let file = environment.and_then(|_| section.path(file_key));
    let from_file = file.as_deref().and_then(|path| password_file(section, file_key, path));
    if inline.is_some() && file.is_some() {
        let remedy = format!("keep {file_key} and remove {key}");
        section.error(key, format!("{key} and {file_key} are both set"), remedy);
    }
    let password = from_file.or(inline.flatten());
    if password.as_ref().is_some_and(|password| password.expose().len() > PASSWORD_BYTES_MAX) {
        let problem = format!("the password is longer than {PASSWORD_BYTES_MAX} bytes");
        section.error(key, problem, "use a shorter one");
    }
    password
}

/// Replaces each `${NAME}` by the environment's value.
fn expand(
    section: &mut Section<'_, '_>,
    key: &'static str,
    text: String,
    environment: Environment<'_>,
) -> Option<Secret<String>> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, after)) = after.split_once('}') else { break };
        expanded.push_str(before);
        match environment(name) {
            Some(value) => expanded.push_str(&value),
            None => {
                let problem = format!("the environment variable {name} is not set");
                section.error(key, problem, format!("set it, or use {key}_file"));
                return None;
            }
        }
        rest = after;
    }
    expanded.push_str(rest);
    Some(Secret::new(expanded))
}

fn password_file(
    section: &mut Section<'_, '_>,
    key: &'static str,
    path: &Path,
) -> Option<Secret<String>> {
    let mut text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(cause) => {
            let problem = format!("{} cannot be read: {cause}", path.display());
            section.error(key, problem, "create it, readable by this process's user");
            return None;
        }
    };
    while text.ends_with(['\n', '\r']) {
        text.pop();
    }
    Some(Secret::new(text))
}

/// Whether the trunk registers (rule 1: then it needs an account).
fn register(
    section: &mut Section<'_, '_>,
    username: &Option<String>,
    password: &Option<Secret<String>>,
) -> bool {
    let register = section.boolean("register").is_some_and(|flag| flag.value);
    if !register {
        return false;
    }
    if username.is_none() {
        section.error("register", "registering needs a username", "set username");
    }
    if password.is_none() {
        let remedy = "set password_file or password";
        section.error("register", "registering needs a password", remedy);
    }
    true
}

/// 128 bits from the kernel, in hexadecimal.
fn registration_token() -> Secret<String> {
    let mut random = [0u8; 16];
    // Without entropy nothing else of this program could run either; an empty token matches no
    // request, so failing here is safe.
    let token = match getrandom::fill(&mut random) {
        Ok(()) => random.iter().map(|byte| format!("{byte:02x}")).collect(),
        Err(_) => String::new(),
    };
    Secret::new(token)
}

pub(super) fn user(section: &mut Section<'_, '_>, key: &'static str) -> Option<String> {
    let text = section.string(key)?.value;
    if text.is_empty() {
        return None;
    }
    let bad = |c: char| c.is_control() || c.is_whitespace() || "<>\"@;".contains(c);
    if text.chars().count() > 128 || text.chars().any(bad) {
        let remedy = "use at most 128 characters, without spaces and < > \" @ ;";
        section.error(key, "this cannot be the user part of a SIP URI", remedy);
        return None;
    }
    Some(text)
}

fn from_domain(section: &mut Section<'_, '_>) -> Option<String> {
    let text = section.string("from_domain")?.value;
    let host = Host::parse(&text);
    if host.is_none() {
        let problem = format!("\"{text}\" is neither an address nor a host name");
        section.error("from_domain", problem, "write the host without a port");
    }
    host.map(|host| host.to_string())
}

fn host(section: &mut Section<'_, '_>) -> Host {
    let fallback = Host::Name(String::from("invalid"));
    let Some(text) = section.string("host") else {
        section.error("host", "the trunk has no host", "write host = \"...\": address or name");
        return fallback;
    };
    Host::parse(&text.value).unwrap_or_else(|| {
        let problem = format!("\"{}\" is neither an address nor a host name", text.value);
        section.error("host", problem, "write the host alone; the port has its own field");
        fallback
    })
}

/// Up to four, separated by commas, each `host`, `host:port` or a sip/sips URI.
fn outbound_proxy(section: &mut Section<'_, '_>, transport: Transport) -> Vec<Proxy> {
    let Some(text) = section.string("outbound_proxy") else { return Vec::new() };
    let parts = text.value.split(',').map(str::trim).filter(|part| !part.is_empty());
    let mut proxies: Vec<Proxy> = Vec::new();
    for part in parts {
        match one_proxy(section, part, transport) {
            Some(proxy) if proxies.contains(&proxy) => {
                section.error("outbound_proxy", format!("{part} is listed twice"), "remove one");
            }
            Some(proxy) => proxies.push(proxy),
            None => {}
        }
    }
    if proxies.len() > PROXIES_MAX {
        let problem = format!("{} proxies", proxies.len());
        section.error("outbound_proxy", problem, format!("keep at most {PROXIES_MAX}"));
    }
    proxies
}

fn one_proxy(section: &mut Section<'_, '_>, text: &str, transport: Transport) -> Option<Proxy> {
    let lower = text.to_ascii_lowercase();
    let (sips, rest) = match (lower.strip_prefix("sips:"), lower.strip_prefix("sip:")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => (false, lower.as_str()),
    };
    if sips && transport != Transport::Tls {
        let remedy = "write transport = \"TLS\", or a sip: URI";
        section.error("outbound_proxy", "a sips: proxy needs transport TLS", remedy);
    }
    let (address, parameters) = rest.split_once(';').unwrap_or((rest, ""));
    if parameters.split(';').any(|parameter| !parameter.is_empty() && parameter != "lr") {
        let problem = format!("\"{parameters}\": only the parameter lr is understood");
        section.error("outbound_proxy", problem, "remove the others; transport has its own field");
    }
    let proxy = proxy_address(address);
    if proxy.is_none() {
        let problem = format!("\"{text}\" is not a proxy");
        let remedy = "write host, host:port or a sip URI, as in \"sip:proxy.example.com:5060;lr\"";
        section.error("outbound_proxy", problem, remedy);
    }
    proxy
}

fn proxy_address(text: &str) -> Option<Proxy> {
    if let Ok(socket) = text.parse::<SocketAddr>() {
        let host = Host::Address(socket.ip().to_canonical());
        return (socket.port() != 0).then_some(Proxy { host, port: Some(socket.port()) });
    }
    if let Some(host) = Host::parse(text) {
        return Some(Proxy { host, port: None });
    }
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port: &u16| *port != 0)?;
    Some(Proxy { host: Host::parse(host)?, port: Some(port) })
}

fn numbers(section: &mut Section<'_, '_>) -> Vec<Number> {
    let mut numbers: Vec<Number> = Vec::new();
    for text in section.strings("virtual_phone_number").unwrap_or_default() {
        if text.value.is_empty() {
            continue;
        }
        match Number::parse(&text.value) {
            Ok(number) if numbers.iter().any(|other| other.overlaps(&number)) => {
                let problem = format!("{number} is listed twice");
                section.error("virtual_phone_number", problem, "list each number once");
            }
            Ok(number) => numbers.push(number),
            Err(reason) => section.error(
                "virtual_phone_number",
                format!("\"{}\": {reason}", text.value),
                "write \"+493012345\", \"200\", a range \"+4930100-+4930199\", or a list of them",
            ),
        }
    }
    numbers
}

/// A number of calls from 1; absent is no limit.
fn cap(section: &mut Section<'_, '_>, key: &'static str, most: u32) -> Option<u32> {
    let number = section.integer(key, 1..u64::from(most) + 1)?.value;
    u32::try_from(number).ok()
}

/// `send_keep_alive` and how.
fn keep_alive(section: &mut Section<'_, '_>) -> Option<Probing> {
    let on = section.boolean("send_keep_alive").is_none_or(|flag| flag.value);
    let interval = section.integer("keep_alive_interval", KEEP_ALIVE_SECONDS);
    let only_2xx = section.boolean("keep_alive_2xx_only").is_some_and(|flag| flag.value);
    let failing = section.integers("keep_alive_failing_codes", 300..700).unwrap_or_default();
    let failing = failing.into_iter().filter_map(|code| u16::try_from(code).ok()).collect();
    let interval = interval.map_or(KEEP_ALIVE_DEFAULT, |n| Duration::from_secs(n.value));
    on.then_some(Probing { interval, only_2xx, failing })
}

fn incoming_call_policy(section: &mut Section<'_, '_>) -> IncomingCallPolicy {
    let values = ["allow", "known_numbers", "challenge", "reject"];
    match section.word("incoming_call_policy", &values).map(|word| word.value) {
        Some(1) => IncomingCallPolicy::KnownNumbers,
        Some(2) => IncomingCallPolicy::Challenge,
        Some(3) => IncomingCallPolicy::Reject,
        _ => IncomingCallPolicy::Allow,
    }
}

fn nat(section: &mut Section<'_, '_>) -> Nat {
    let words = ["NO", "FORCE_RPORT", "COMEDIA", "YES", "AUTO"];
    match section.word("nat", &words).map(|word| word.value) {
        Some(1) => Nat::ForceRport,
        Some(2) => Nat::Comedia,
        Some(3) => Nat::Yes,
        Some(4) => Nat::Auto,
        _ => Nat::No,
    }
}

/// `"any"`, `"signalling"` or a network.
fn learn_from(section: &mut Section<'_, '_>, nat: Nat) -> LearnFrom {
    let Some(text) = section.string("learn_from") else { return LearnFrom::default() };
    if matches!(nat, Nat::No | Nat::ForceRport) {
        let remedy = "write nat = \"COMEDIA\", \"YES\" or \"AUTO\", or remove this field";
        section.error("learn_from", "this trunk does not learn where media comes from", remedy);
    }
    let value = text.value.trim();
    if value.eq_ignore_ascii_case("any") {
        return LearnFrom::Any;
    }
    if value.eq_ignore_ascii_case("signalling") {
        return LearnFrom::Signalling;
    }
    match Cidr::parse(value) {
        Ok(network) => LearnFrom::Network(network),
        Err(reason) => {
            let problem = format!("\"{value}\": {reason}");
            let remedy = "write \"any\", \"signalling\" or a network as \"192.0.2.0/24\"";
            section.error("learn_from", problem, remedy);
            LearnFrom::default()
        }
    }
}

/// Seconds; 0 is never.
fn timeout(
    section: &mut Section<'_, '_>,
    key: &'static str,
    default: Duration,
) -> Option<Duration> {
    match section.integer(key, 0..86_401).map(|n| n.value) {
        Some(0) => None,
        Some(seconds) => Some(Duration::from_secs(seconds)),
        None => Some(default),
    }
}

fn source_acl(section: &mut Section<'_, '_>) -> Vec<Cidr> {
    let mut networks = Vec::new();
    for text in section.strings("source_acl").unwrap_or_default() {
        match Cidr::parse(&text.value) {
            Ok(network) if networks.contains(&network) => {
                section.error("source_acl", format!("{network} is listed twice"), "remove one");
            }
            Ok(network) => networks.push(network),
            Err(reason) => section.error(
                "source_acl",
                format!("\"{}\": {reason}", text.value),
                "write networks as \"192.0.2.0/24\" or \"2001:db8::/48\", or single addresses",
            ),
        }
    }
    networks
}

fn tls(section: &mut Section<'_, '_>, transport: Transport, sip: &Sip) -> Option<TlsSettings> {
    let names = section.strings("tls_peer_names");
    let ca = section.path("tls_ca");
    let client_cert = section.path("tls_client_cert");
    let client_key = section.path("tls_client_key");
    let pin_text = section.string("tls_pin");
    if transport != Transport::Tls {
        let given = [
            ("tls_peer_names", names.is_some()),
            ("tls_ca", ca.is_some()),
            ("tls_client_cert", client_cert.is_some()),
            ("tls_client_key", client_key.is_some()),
            ("tls_pin", pin_text.is_some()),
        ];
        for (key, _) in given.into_iter().filter(|(_, given)| *given) {
            let remedy = "remove it, or write transport = \"TLS\"";
            section.error(key, "this field needs transport TLS", remedy);
        }
        return None;
    }
    let peer_names = peer_names(section, names.unwrap_or_default());
    let pin = pin_text.and_then(|text| {
        let pin = fingerprint(&text.value);
        if pin.is_none() {
            let remedy = "write the 64 hexadecimal digits of the certificate's SHA-256; \
                          openssl x509 -noout -fingerprint -sha256 prints them";
            section.error("tls_pin", "this is no SHA-256 fingerprint", remedy);
        }
        pin
    });
    match (&client_cert, &client_key) {
        (Some(_), None) => section.error(
            "tls_client_key",
            "missing although tls_client_cert is set",
            "set tls_client_key to the certificate's key",
        ),
        (None, Some(_)) => section.error(
            "tls_client_cert",
            "missing although tls_client_key is set",
            "set tls_client_cert to the key's certificate",
        ),
        _ => {}
    }
    if ca.is_none() && pin.is_none() && sip.tls_ca.is_none() {
        section.error(
            "tls_ca",
            "nothing says which certificates of the peer to trust",
            "set tls_ca, or [sip] tls_ca, to the authority's PEM file, or tls_pin to the \
             fingerprint of the peer's certificate",
        );
    }
    Some(TlsSettings { peer_names, ca, client_cert, client_key, pin })
}

fn peer_names(section: &mut Section<'_, '_>, texts: Vec<At<String>>) -> Vec<String> {
    let mut names = Vec::new();
    for text in texts {
        let name = text.value.trim().to_ascii_lowercase();
        if name.is_empty() || name.len() > 253 || name.contains(char::is_control) {
            let remedy = "write the DNS name, address or common name of the peer's certificate";
            section.error("tls_peer_names", format!("\"{name}\" is not a name"), remedy);
        } else {
            names.push(name);
        }
    }
    names
}

/// 32 bytes from hexadecimal, with or without colons.
fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text
        .trim()
        .chars()
        .filter(|c| *c != ':')
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let (pairs, odd) = digits.as_chunks::<2>();
    if !odd.is_empty() {
        return None;
    }
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high * 16 + low).collect();
    bytes.try_into().ok()
}

/// Fields whose places the rules name.
const RULED: [&str; 9] = [
    "name",
    "host",
    "port",
    "transport",
    "source_acl",
    "virtual_phone_number",
    "tls_ca",
    "register",
    "allow",
];

/// A call without media for this long is ended unless the trunk says otherwise.
pub const RTP_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// The same while it is on hold.
pub const HOLD_TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);
/// Seconds between two probes.
pub const KEEP_ALIVE_SECONDS: std::ops::Range<u64> = 5..601;
/// Time between probes unless the trunk says otherwise.
pub const KEEP_ALIVE_DEFAULT: Duration = Duration::from_secs(60);
/// Largest cap on calls.
pub const CALLS_MAX: u32 = 1_000_000;
/// Largest cap on calls a second.
pub const CPS_MAX: u32 = 10_000;
/// Longest password.
pub const PASSWORD_BYTES_MAX: usize = 256;
/// Outbound proxies of one trunk.
pub const PROXIES_MAX: usize = 4;
