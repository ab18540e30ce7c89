//! The fields of trunks, groups and routes as data: what the OpenAPI document, the command line
//! and the form show. What a value means and whether it is allowed is decided by the reader of the
//! configuration alone; a test holds the two against each other.

/// What a value may be, as far as a schema can say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// A text of so many characters at most.
    Text(usize),
    /// A text that is never shown again.
    Secret(usize),
    /// true or false.
    Flag,
    /// A whole number from, to.
    Number(u64, u64),
    /// One of these words, in any case.
    Word(&'static [&'static str]),
    /// A text, or a list of texts.
    Texts,
    /// A list of whole numbers from, to.
    Numbers(u64, u64),
}

/// One field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Its name in file, API and database.
    pub name: &'static str,
    /// What it may be.
    pub shape: Shape,
    /// What it is when it is not set, in words.
    pub default: &'static str,
    /// What it means.
    pub summary: &'static str,
}

const fn field(
    name: &'static str,
    shape: Shape,
    default: &'static str,
    summary: &'static str,
) -> Field {
    Field { name, shape, default, summary }
}

/// The field with this name.
pub fn find(fields: &[Field], name: &str) -> Option<Field> {
    fields.iter().find(|field| field.name == name).copied()
}

use Shape::{Flag, Number, Numbers, Secret, Text, Texts, Word};

/// Of a trunk: the 27 of the form, then the advanced ones.
pub const TRUNK: &[Field] = &[
    field("name", Text(64), "required", "Label, unique among trunks and failover groups"),
    field("failover_group", Text(64), "NONE", "The failover group that it belongs to"),
    field("host", Text(253), "required", "Address or name of the peer; its SIP domain"),
    field("outbound_proxy", Text(1024), "none", "Where requests go instead, up to four in order"),
    field("virtual_phone_number", Texts, "none", "Numbers or ranges that belong to it"),
    field("username", Text(128), "none", "Account and digest user"),
    field("password", Secret(256), "none", "Digest secret toward the peer"),
    field("register", Flag, "false", "SIP Account (true) or IP Authenticated (false)"),
    field("send_keep_alive", Flag, "true", "Probe the peer by OPTIONS"),
    field("port", Number(1, 65_535), "5060; 5061 with TLS", "Port of host"),
    field("transport", Word(&["UDP", "TLS", "TCP"]), "UDP", "Of all requests, both ways"),
    field("secure", Flag, "false", "Secure trunk: TLS and SRTP, nothing else"),
    field("incoming_call_policy", Word(POLICIES), "allow", "What happens to its calls"),
    field("sip_alg", Flag, "false", "Repair addresses in SIP for this trunk"),
    field("secure_rtp", Word(SRTP), "follows encryption", "SRTP by SDES"),
    field("create_subscriptions", Word(SUBSCRIPTIONS), "DEFAULT", "SUBSCRIBEs are relayed"),
    field("max_concurrent_calls", Number(1, 1_000_000), "no limit", "Both directions together"),
    field("nat", Word(NATS), "NO", "Whether addresses are learned"),
    field("encryption", Flag, "false", "Media must be encrypted, both ways"),
    field("keepalive", Flag, "with register or nat", "Keep the flow open"),
    field("audio_tones", Word(TONES), "NO AUDIO TONES", "Announcements and greeting"),
    field("greeting", Text(32), "none", "Prompt that its callers hear before anybody is asked"),
    field("send_media", Word(SENDMEDIA), "RFC2833", "How digits are sent"),
    field("dtmf_mode", Word(DTMF), "rfc2833", "How digits are negotiated and received"),
    field("direct_media", Word(&["no", "yes", "nonat"]), "no", "Media from peer to peer"),
    field("send_rpid", Word(&["no", "rpid", "pai", "both"]), "pai", "Identity headers sent"),
    field("allow", Texts, "PCMA, PCMU", "Codecs in the order of the offer; T38 is fax"),
    field("disallow", Texts, "none", "Codecs removed after allow, or all"),
    field("enabled", Flag, "true", "A disabled trunk takes part in nothing"),
    field("direction", Word(&["both", "inbound", "outbound"]), "both", "Which way calls may go"),
    field("allow_mixed", Flag, "false", "TLS with RTP, or UDP with SRTP, on your own word"),
    field("source_acl", Texts, "none", "Networks that it may send from besides its hosts"),
    field("tls_peer_names", Texts, "none", "Names of which its certificate carries one"),
    field("tls_ca", Text(4096), "[sip] tls_ca", "File of authorities, PEM"),
    field("tls_client_cert", Text(4096), "[sip] tls_certificate", "Our certificate, PEM"),
    field("tls_client_key", Text(4096), "[sip] tls_key", "Its key, PEM"),
    field("tls_pin", Text(128), "none", "SHA-256 of the one certificate that is accepted"),
    field("from_user", Text(128), "none", "User of From toward the trunk"),
    field("from_domain", Text(253), "none", "Host of From toward the trunk"),
    field("learn_from", Text(64), "any", "Whose first packet counts: any, signalling, a network"),
    field("keepalive_interval", Number(5, 3_600), "25 UDP, 100 else", "Seconds between them"),
    field("rtp_keepalive_interval", Number(1, 3_600), "15", "Seconds of silent media before one"),
    field("signalling_dscp", Text(4), "CS3", "Code point of SIP to it: a name or a number"),
    field("media_dscp", Text(4), "[media] dscp", "Code point of its media: a name or a number"),
    field("media_network", Text(64), "[media]", "The [[network]] that its media is on"),
    field(
        "rtcp_mux",
        Flag,
        "false",
        "RTCP on the port of RTP, where the peer has it too (RFC 5761)",
    ),
    field("external_address", Text(253), "none", "What sip_alg calls us"),
    field("rtp_timeout", Number(0, 86_400), "60", "Seconds without media that end a call"),
    field("hold_timeout", Number(0, 86_400), "300", "The same while on hold"),
    field("keep_alive_interval", Number(5, 600), "60", "Seconds between probes"),
    field("keep_alive_2xx_only", Flag, "false", "Only 2xx to a probe is good"),
    field("keep_alive_failing_codes", Numbers(300, 699), "none", "Codes to a probe that are bad"),
    field("max_inbound_calls", Number(1, 1_000_000), "no limit", "Calls from it at once"),
    field("max_outbound_calls", Number(1, 1_000_000), "no limit", "Calls to it at once"),
    field("max_cps", Number(1, 10_000), "no limit", "New calls a second in each direction"),
    field("trust_inbound_identity", Flag, "false", "Its identity headers are believed"),
    field("trust_identity", Flag, "false", "It is told who hides"),
    field("caller_id_policy", Word(CALLER_IDS), "pass", "Which caller it is told"),
    field("user_phone", Flag, "false", "user=phone in URIs with a number"),
    field("diversion", Word(DIVERSIONS), "none", "How diversions are told"),
    field("inbound_username", Text(128), "none", "Whom its digest answers name"),
    field("inbound_password", Secret(256), "none", "Secret of its digest answers"),
    field("inbound_md5", Flag, "false", "Its digest answers may use MD5"),
    field("auth_realm", Text(253), "any", "The one realm whose challenges are answered"),
    field("100rel", Word(RELIABILITIES), "supported", "PRACK of provisional responses (RFC 3262)"),
    field(
        "offer_mode",
        Word(OFFERS),
        "as_is",
        "Whether it is offered media though the caller was late",
    ),
    field("hold_style", Word(HOLDS), "as_is", "How it is told that the other side holds"),
    field("update", Flag, "true", "UPDATE is sent to it and taken from it (RFC 3311)"),
    field("refer", Word(REFERS), "reject", "Transfers that it asks for (REFER, RFC 3515)"),
    field("session_timer", Word(TIMERS), "accept", "RFC 4028"),
    field("session_expires", Number(90, 86_400), "1800", "Seconds asked for and granted at most"),
    field("session_min_se", Number(90, 86_400), "90", "Seconds granted at least"),
    field("priority", Number(0, 65_535), "0", "In its failover group: lower ones are asked first"),
    field("weight", Number(0, 65_535), "100", "Its share inside one priority"),
    field("reach_timer", Number(1, 30), "its group's", "Seconds without any answer"),
    field("progress_timer", Number(1, 120), "its group's", "Seconds between 100 and ringing"),
    field("failover_codes", Numbers(400, 699), "its group's", "Ask the next member on these"),
    field("number_format_in", Word(FORMATS), "as_is", "How it writes numbers"),
    field("number_format_out", Word(FORMATS), "as_is", "How it wants them"),
    field("country_code", Text(3), "none", "Digits after the + of its national numbers"),
    field("trunk_prefix", Text(8), "0", "In front of national numbers"),
    field("international_prefix", Text(8), "00", "In front of international numbers"),
    field("tech_prefix", Text(64), "none", "In front of each called number to it"),
    field("strip_in", Number(0, 64), "0", "Characters taken off called numbers from it"),
    field("prepend_in", Text(64), "none", "Put in front of them"),
    field("strip_out", Number(0, 64), "0", "Characters taken off called numbers to it"),
    field("prepend_out", Text(64), "none", "Put in front of them"),
];

/// Of a failover group.
pub const GROUP: &[Field] = &[
    field("name", Text(64), "required", "Label, unique among trunks and failover groups"),
    field("strategy", Word(STRATEGIES), "priority", "Which member is tried first"),
    field("reach_timer", Number(1, 30), "3", "Seconds without any answer"),
    field("progress_timer", Number(1, 120), "12", "Seconds between 100 and ringing"),
    field("failover_codes", Numbers(400, 699), "408, 429, 500, 502, 503, 504", "Try the next on"),
    field("hunt_after_ringing", Flag, "false", "Go on after early media was passed"),
];

/// Of a route.
pub const ROUTE: &[Field] = &[
    field("name", Text(64), "required", "Label, unique among routes"),
    field("direction", Word(&["outbound", "inbound"]), "outbound", "Which menu shows it"),
    field("position", Number(0, 1_000_000), "its id", "Lower ones are looked at first"),
    field("from_trunk", Text(64), "any", "Only calls from this trunk"),
    field("called", Text(128), "any", "Number, prefix, _X. pattern or regular expression"),
    field("caller", Text(128), "any", "The same for the calling number"),
    field("strip", Number(0, 64), "0", "Digits taken from the front of the called number"),
    field("prepend", Text(64), "none", "Digits put in front of it"),
    field("destination", Text(64), "required", "A trunk or a failover group"),
    field("emergency", Flag, "false", "Its calls are never refused by a cap"),
    field("schedule", Text(1024), "always", "When it counts: zone; days and hours; !exceptions"),
    field("ring_limit", Number(1, 3_600), "180", "Seconds a callee may ring"),
    field("enabled", Flag, "true", "A disabled route is passed over"),
];

const POLICIES: &[&str] = &["allow", "known_numbers", "challenge", "reject"];
const SRTP: &[&str] = &["off", "preferred", "required", "dtls"];
const SUBSCRIPTIONS: &[&str] = &["DEFAULT", "ALLOW", "DENY"];
const NATS: &[&str] = &["NO", "FORCE_RPORT", "COMEDIA", "YES", "AUTO"];
const TONES: &[&str] = &["NO AUDIO TONES", "ON EARLY MEDIA", "ON ANSWERED CALLS"];
const SENDMEDIA: &[&str] = &["RFC2833", "INFO", "SHORTINFO", "INBAND", "SAME"];
const DTMF: &[&str] = &["rfc2833", "info", "shortinfo", "inband", "auto"];
const CALLER_IDS: &[&str] = &["pass", "trunk", "deny_foreign"];
const DIVERSIONS: &[&str] = &["none", "diversion", "history-info"];
const RELIABILITIES: &[&str] = &["supported", "required", "off"];
const OFFERS: &[&str] = &["as_is", "force_early"];
const HOLDS: &[&str] = &["as_is", "sendonly", "inactive"];
const REFERS: &[&str] = &["reject", "pass", "local"];
const TIMERS: &[&str] = &["accept", "require", "refuse"];
const FORMATS: &[&str] = &["as_is", "e164_plus", "e164_bare", "national"];
const STRATEGIES: &[&str] = &["priority", "weighted", "round_robin", "least_loaded"];
