//! Header field names: one enum for the names that this crate or its users treat specially, compact
//! forms folded in (RFC 3261 §7.3.3), every other token kept as it was written.

use std::fmt;
use std::hash::{Hash, Hasher};

use bytes::Bytes;

use super::chars;

/// One list makes the enum, the spelling and the lookup, so that they cannot disagree. The most
/// frequent names stand first: the lookup is a scan.
macro_rules! header_names {
    ($($variant:ident $text:literal $compact:literal,)*) => {
        /// A header field name. Compared without regard to case; `Other` equals a known variant when
        /// it spells the same name.
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
        KNOWN
            .iter()
            .find(|(full, compact, _)| {
                name.eq_ignore_ascii_case(full.as_bytes())
                    || (name.len() == 1 && name.eq_ignore_ascii_case(compact.as_bytes()))
            })
            .map_or_else(|| Self::Other(name.clone()), |(_, _, known)| known.clone())
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
