//! Header field names: one enum for the names that this crate or its users treat specially, compact
//! forms folded in (RFC 3261 §7.3.3), every other token kept as it was written.

use std::fmt;
use std::hash::{Hash, Hasher};

use bytes::Bytes;

use super::chars;

/// One list makes the enum, the spelling and the lookup, so that they cannot disagree.
macro_rules! header_names {
    ($($variant:ident $text:literal $compact:literal,)*) => {
        /// A header field name. Compared without regard to case; `Other` equals a known variant
        /// when it spells the same name.
        #[derive(Clone, Debug)]
        pub enum HeaderName {
            $($variant,)*
            /// A name without a variant. Must be a token: see `Headers::push`.
            Other(Bytes),
        }

        impl HeaderName {
            /// The full name as it is written.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(name) => chars::token_text(name),
                }
            }
        }

        const KNOWN: &[(&str, &str, HeaderName)] = &[$(($text, $compact, HeaderName::$variant),)*];
    };
}

header_names! {
    Via "Via" "v",
    From "From" "f",
    To "To" "t",
    CallId "Call-ID" "i",
    CSeq "CSeq" "",
    Contact "Contact" "m",
    MaxForwards "Max-Forwards" "",
    ContentLength "Content-Length" "l",
    ContentType "Content-Type" "c",
    Route "Route" "",
    RecordRoute "Record-Route" "",
    Allow "Allow" "",
    Supported "Supported" "k",
    UserAgent "User-Agent" "",
    Server "Server" "",
    Require "Require" "",
    Expires "Expires" "",
    SessionExpires "Session-Expires" "x",
    MinSe "Min-SE" "",
    Authorization "Authorization" "",
    ProxyAuthorization "Proxy-Authorization" "",
    WwwAuthenticate "WWW-Authenticate" "",
    ProxyAuthenticate "Proxy-Authenticate" "",
    PAssertedIdentity "P-Asserted-Identity" "",
    PPreferredIdentity "P-Preferred-Identity" "",
    RemotePartyId "Remote-Party-ID" "",
    Privacy "Privacy" "",
    Diversion "Diversion" "",
    HistoryInfo "History-Info" "",
    Reason "Reason" "",
    Accept "Accept" "",
    AcceptContact "Accept-Contact" "a",
    AcceptEncoding "Accept-Encoding" "",
    AcceptLanguage "Accept-Language" "",
    AlertInfo "Alert-Info" "",
    AllowEvents "Allow-Events" "u",
    AuthenticationInfo "Authentication-Info" "",
    CallInfo "Call-Info" "",
    ContentDisposition "Content-Disposition" "",
    ContentEncoding "Content-Encoding" "e",
    ContentLanguage "Content-Language" "",
    Date "Date" "",
    ErrorInfo "Error-Info" "",
    Event "Event" "o",
    Geolocation "Geolocation" "",
    Identity "Identity" "y",
    IdentityInfo "Identity-Info" "n",
    InReplyTo "In-Reply-To" "",
    InfoPackage "Info-Package" "",
    Join "Join" "",
    MimeVersion "MIME-Version" "",
    MinExpires "Min-Expires" "",
    Organization "Organization" "",
    PChargingVector "P-Charging-Vector" "",
    PEarlyMedia "P-Early-Media" "",
    Path "Path" "",
    Priority "Priority" "",
    ProxyRequire "Proxy-Require" "",
    RAck "RAck" "",
    RSeq "RSeq" "",
    RecvInfo "Recv-Info" "",
    ReferTo "Refer-To" "r",
    ReferredBy "Referred-By" "b",
    RejectContact "Reject-Contact" "j",
    Replaces "Replaces" "",
    ReplyTo "Reply-To" "",
    RequestDisposition "Request-Disposition" "d",
    ResourcePriority "Resource-Priority" "",
    RetryAfter "Retry-After" "",
    ServiceRoute "Service-Route" "",
    SipEtag "SIP-ETag" "",
    SipIfMatch "SIP-If-Match" "",
    Subject "Subject" "s",
    SubscriptionState "Subscription-State" "",
    TargetDialog "Target-Dialog" "",
    Timestamp "Timestamp" "",
    Unsupported "Unsupported" "",
    UserToUser "User-to-User" "",
    Warning "Warning" "",
}

impl HeaderName {
    /// The name that `name` spells in full or compact form, case ignored.
    pub fn from_bytes(name: Bytes) -> Self {
        Self::known(&name).unwrap_or(Self::Other(name))
    }

    /// The variant that `name` spells, if there is one.
    pub(super) fn known(name: &[u8]) -> Option<Self> {
        let mut at = slot(name);
        loop {
            let entry = usize::from(*SLOTS.get(at)?).checked_sub(1)?;
            let (full, compact, known) = KNOWN.get(entry)?;
            let spelled = if name.len() == 1 { compact } else { full };
            if name.eq_ignore_ascii_case(spelled.as_bytes()) {
                return Some(known.clone());
            }
            at = (at + 1) % SLOTS.len();
        }
    }

    /// The full name for errors, which outlive the message: `header` for a name without a variant.
    pub(super) fn as_static(&self) -> &'static str {
        let known = KNOWN.iter().find(|(_, _, known)| known == self);
        known.map_or("header", |(full, _, _)| full)
    }

    /// True for headers that may hold credentials; their values never appear in `Debug` output.
    pub fn is_secret(&self) -> bool {
        matches!(self, Self::Authorization | Self::ProxyAuthorization)
    }
}

impl From<&str> for HeaderName {
    fn from(name: &str) -> Self {
        Self::from_bytes(Bytes::copy_from_slice(name.as_bytes()))
    }
}

impl PartialEq for HeaderName {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Other(_), _) | (_, Self::Other(_)) => {
                self.as_str().eq_ignore_ascii_case(other.as_str())
            }
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl Eq for HeaderName {}

impl Hash for HeaderName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().bytes().for_each(|b| b.to_ascii_lowercase().hash(state));
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where the search for a name begins: its length, first and last letter.
const fn slot(name: &[u8]) -> usize {
    let (Some(first), Some(last)) = (name.first(), name.last()) else { return 0 };
    let letters = (*first | 0x20) as usize * 7 + (*last | 0x20) as usize * 31;
    (letters + name.len() * 13) % SLOT_COUNT
}

/// Number of entry in `KNOWN` plus one for each spelling, in the first free place from its `slot`
/// on; 0 is free.
static SLOTS: [u8; SLOT_COUNT] = fill();

const SLOT_COUNT: usize = 256;

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler: a fault fails the build")]
const fn fill() -> [u8; SLOT_COUNT] {
    let mut slots = [0; SLOT_COUNT];
    let mut entry = 0;
    while entry < KNOWN.len() {
        let spellings = [KNOWN[entry].0.as_bytes(), KNOWN[entry].1.as_bytes()];
        let mut which = 0;
        while which < spellings.len() {
            let mut at = slot(spellings[which]);
            while !spellings[which].is_empty() && slots[at] != 0 {
                at = (at + 1) % SLOT_COUNT;
            }
            if !spellings[which].is_empty() {
                slots[at] = entry as u8 + 1;
            }
            which += 1;
        }
        entry += 1;
    }
    slots
}

const _: () = assert!(KNOWN.len() < 128, "entries fit a byte and leave half of the slots free");
