//! What a test of a connection says: steps with verdicts, and the messages that went to and fro.

use std::net::SocketAddr;

use jiff::Timestamp;
use serde::Serialize;
use sip::endpoint::Transport;

/// The stages, in their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Stage {
    /// Where the peer is: NAPTR, SRV, A, AAAA.
    Dns,
    /// A connection; for UDP the way to the peer.
    Tcp,
    /// Version, suite, chain, names, dates, client certificate.
    Tls,
    /// An answer to OPTIONS.
    Options,
    /// The registrar accepts the account.
    Register,
    /// A test call is answered.
    Call,
    /// Five seconds of echoed audio.
    Media,
}

/// How a step ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// It does not apply to this trunk.
    Skip,
    /// As it should be.
    Pass,
    /// It works, and something deserves attention.
    Warn,
    /// Calls will not work.
    Fail,
}

/// Why a step did not pass: stable names for machines.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The name stands for no address.
    NoDns,
    /// The peer's host refuses the port.
    Refused,
    /// Nothing came back.
    Timeout,
    /// There is no route, or a firewall of this host forbids it.
    Unreachable,
    /// No common TLS version or cipher suite.
    TlsVersion,
    /// The peer's certificate is from an authority that the trunk does not trust.
    UnknownCa,
    /// The peer's certificate carries none of the names that the trunk expects.
    NameMismatch,
    /// The peer's certificate has expired.
    Expired,
    /// The peer's certificate is not valid yet.
    NotYetValid,
    /// The peer wants a certificate of ours and gets none that it accepts.
    ClientCertificateDemanded,
    /// Another fault of the handshake.
    TlsBroken,
    /// 401 or 407 in spite of the account, or without one.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// The registrar refuses for another reason.
    RegistrationRefused,
    /// Another final answer that is no success.
    Declined,
    /// The peer's session description does not fit the trunk.
    OfferRefused,
    /// Not one packet of audio came back.
    OneWayAudio,
    /// SRTP packets came that the negotiated key does not open.
    SrtpAuthentication,
    /// More than a few packets were lost.
    MediaLoss,
    /// A device on the path changes what SIP messages say.
    SipRewritten,
    /// The peer closed the connection.
    Closed,
    /// Something on this host: a certificate file, a port.
    Local,
}

/// One step, as it is told while the test runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Step {
    /// Which.
    pub stage: Stage,
    /// How it ended.
    pub verdict: Verdict,
    /// Milliseconds from the start of the test to the start of the step.
    pub at_ms: u64,
    /// Milliseconds that it took.
    pub took_ms: u64,
    /// One sentence.
    pub text: String,
    /// What to do, unless it passed.
    pub remedy: Option<String>,
    /// Why, for machines.
    pub failure: Option<Failure>,
    /// What was learned: name and value.
    pub facts: Vec<(String, String)>,
}

/// One message of the ladder. Credentials, tokens and keys are masked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Rung {
    /// Milliseconds from the start of the test.
    pub at_ms: u64,
    /// We sent it; else it came.
    pub sent: bool,
    /// `UDP`, `TCP` or `TLS`.
    pub transport: String,
    /// Our end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
    /// The message.
    pub text: String,
}

/// The whole test.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// The trunk's number.
    pub trunk: u32,
    /// Its name.
    pub name: String,
    /// When it began.
    pub started: Timestamp,
    /// How long it took.
    pub took_ms: u64,
    /// The worst of all steps.
    pub verdict: Verdict,
    /// In their order.
    pub steps: Vec<Step>,
    /// What was said, oldest first; at most [`RUNGS_MAX`].
    pub ladder: Vec<Rung>,
}

/// What comes out of a running test.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Update {
    /// A step has ended.
    Step(Step),
    /// The test has ended; nothing follows.
    Done(Report),
}

/// A step's end before its times are known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Outcome {
    pub(super) verdict: Verdict,
    pub(super) text: String,
    pub(super) remedy: Option<String>,
    pub(super) failure: Option<Failure>,
    pub(super) facts: Vec<(String, String)>,
}

impl Outcome {
    pub(super) fn pass(text: impl Into<String>) -> Self {
        Self::new(Verdict::Pass, text, None)
    }

    pub(super) fn skip(text: impl Into<String>) -> Self {
        Self::new(Verdict::Skip, text, None)
    }

    pub(super) fn warn(failure: Failure, text: impl Into<String>, remedy: &str) -> Self {
        Self { remedy: Some(remedy.to_owned()), ..Self::new(Verdict::Warn, text, Some(failure)) }
    }

    pub(super) fn fail(failure: Failure, text: impl Into<String>, remedy: &str) -> Self {
        Self { remedy: Some(remedy.to_owned()), ..Self::new(Verdict::Fail, text, Some(failure)) }
    }

    /// The same with one more fact.
    pub(super) fn fact(mut self, name: &str, value: impl ToString) -> Self {
        self.facts.push((name.to_owned(), value.to_string()));
        self
    }

    /// The same with more facts.
    pub(super) fn facts(mut self, facts: Vec<(String, String)>) -> Self {
        self.facts.extend(facts);
        self
    }

    /// Makes a pass a warning; a worse verdict stays.
    pub(super) fn but(mut self, failure: Failure, text: &str, remedy: &str) -> Self {
        self.text = format!("{}; {text}", self.text);
        if self.verdict < Verdict::Warn {
            self.verdict = Verdict::Warn;
            self.failure = Some(failure);
            self.remedy = Some(remedy.to_owned());
        }
        self
    }

    fn new(verdict: Verdict, text: impl Into<String>, failure: Option<Failure>) -> Self {
        Self { verdict, text: text.into(), remedy: None, failure, facts: Vec::new() }
    }
}

/// As a Via writes it.
pub(super) fn transport_name(transport: Transport) -> String {
    transport.as_str().to_owned()
}

/// Messages that a ladder holds.
pub const RUNGS_MAX: usize = 64;
