//! Header values with a grammar of their own, one file each, and their readers in [`Headers`].
//!
//! Headers that are addresses with parameters (Refer-To, P-Asserted-Identity, Path, ...) are read as
//! [`NameAddr`]; lists of option tags (Supported, Require, Unsupported, Allow) by `Headers::list`.

mod event;
mod history;
mod identity;
mod privacy;
mod reason;
mod replaces;
mod retry_after;
mod subscription;
mod warning;

use bytes::Bytes;

pub use event::EventPackage;
pub use history::HistoryEntry;
pub use identity::Identity;
pub use privacy::Privacy;
pub use reason::Reason;
pub use replaces::Replaces;
pub use retry_after::RetryAfter;
pub use subscription::SubscriptionState;
pub use warning::Warning;

use super::error::{Fault, ParseError};
use super::{HeaderName, Headers, NameAddr};

impl Headers {
    /// Whom to call, and how (RFC 3515 §2.1).
    pub fn refer_to(&self) -> Result<Option<NameAddr>, ParseError> {
        self.address(&HeaderName::ReferTo)
    }

    /// Who asked for it (RFC 3892 §2.1).
    pub fn referred_by(&self) -> Result<Option<NameAddr>, ParseError> {
        self.address(&HeaderName::ReferredBy)
    }

    /// Which dialog the new one takes the place of (RFC 3891 §6.1).
    pub fn replaces(&self) -> Result<Option<Replaces>, ParseError> {
        self.once(&HeaderName::Replaces, Replaces::parse)
    }

    /// Why a request was sent, or what a response stands for: one for each protocol (RFC 3326 §2).
    pub fn reasons(&self) -> Result<Vec<Reason>, ParseError> {
        self.elements(&HeaderName::Reason)?.iter().map(Reason::parse).collect()
    }

    /// Identities that the network vouches for: at most two, one of each scheme (RFC 3325 §9.1).
    pub fn asserted_identities(&self) -> Result<Vec<NameAddr>, ParseError> {
        self.identities(&HeaderName::PAssertedIdentity)
    }

    /// Which of its identities the user wants asserted, likewise (RFC 3325 §9.2).
    pub fn preferred_identities(&self) -> Result<Vec<NameAddr>, ParseError> {
        self.identities(&HeaderName::PPreferredIdentity)
    }

    /// Remote-Party-ID: `party`, `screen` and `privacy` are parameters
    /// (draft-ietf-sip-privacy-04 §5).
    pub fn remote_parties(&self) -> Result<Vec<NameAddr>, ParseError> {
        self.name_addrs(&HeaderName::RemotePartyId)
    }

    /// What is to stay unknown, of all lines together (RFC 3323 §4.2).
    pub fn privacy(&self) -> Result<Privacy, ParseError> {
        let mut all = Privacy::default();
        for line in self.all(&HeaderName::Privacy) {
            all.add(line)?;
        }
        Ok(all)
    }

    /// Who diverted the call, latest first; `reason`, `counter`, `privacy` are parameters
    /// (RFC 5806 §4).
    pub fn diversions(&self) -> Result<Vec<NameAddr>, ParseError> {
        self.name_addrs(&HeaderName::Diversion)
    }

    /// Whom the request was sent to, in order (RFC 7044 §5).
    pub fn history(&self) -> Result<Vec<HistoryEntry>, ParseError> {
        let all = self.name_addrs(&HeaderName::HistoryInfo)?;
        all.into_iter().map(HistoryEntry::of).collect()
    }

    /// Signed proofs of who calls (RFC 8224 §4).
    pub fn identity(&self) -> Result<Vec<Identity>, ParseError> {
        self.all(&HeaderName::Identity).map(Identity::parse).collect()
    }

    /// The proxies between a user and its registrar, first one first (RFC 3327 §4).
    pub fn path(&self) -> Result<Vec<NameAddr>, ParseError> {
        self.name_addrs(&HeaderName::Path)
    }

    /// Where requests of a registered user go first (RFC 3608 §5).
    pub fn service_route(&self) -> Result<Vec<NameAddr>, ParseError> {
        self.name_addrs(&HeaderName::ServiceRoute)
    }

    /// How long to wait, with its comment and parameters (RFC 3261 §20.33).
    pub fn retry_after_value(&self) -> Result<Option<RetryAfter>, ParseError> {
        self.once(&HeaderName::RetryAfter, RetryAfter::parse)
    }

    /// What else there is to say about a response (RFC 3261 §20.43).
    pub fn warnings(&self) -> Result<Vec<Warning>, ParseError> {
        self.elements(&HeaderName::Warning)?.iter().map(Warning::parse).collect()
    }

    /// Where a subscription stands (RFC 6665 §8.2.3).
    pub fn subscription_state(&self) -> Result<Option<SubscriptionState>, ParseError> {
        self.once(&HeaderName::SubscriptionState, SubscriptionState::parse)
    }

    /// What is subscribed to (RFC 6665 §8.2.1).
    pub fn event(&self) -> Result<Option<EventPackage>, ParseError> {
        self.once(&HeaderName::Event, EventPackage::parse)
    }

    fn once<T>(
        &self,
        name: &HeaderName,
        parse: impl FnOnce(&Bytes) -> Result<T, ParseError>,
    ) -> Result<Option<T>, ParseError> {
        self.one(name, name.as_static())?.map(parse).transpose()
    }

    fn address(&self, name: &HeaderName) -> Result<Option<NameAddr>, ParseError> {
        self.once(name, |value| NameAddr::parse_as(name.as_static(), value))
    }

    fn identities(&self, name: &HeaderName) -> Result<Vec<NameAddr>, ParseError> {
        let all = self.name_addrs(name)?;
        let phones = all.iter().filter(|one| matches!(one.uri, super::Uri::Tel(_))).count();
        if all.len() > 2 || all.len() == 2 && phones != 1 {
            let fault = Fault::Syntax("one SIP and one tel identity at most");
            return Err(ParseError::new(name.as_static(), fault));
        }
        Ok(all)
    }
}
