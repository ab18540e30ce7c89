//! Capability negotiation (RFC 5939): an RTP/AVP line that says that it could be RTP/SAVP as well.
//!
//! ```text
//! m=audio 4000 RTP/AVP 8                      the actual configuration, for peers that know no other
//! a=tcap:1 RTP/SAVP                           a transport, by number
//! a=acap:1 crypto:1 AES_CM_... inline:...     an attribute, by number
//! a=pcfg:1 t=1 a=1                            both together, preferred to the actual one
//!
//! m=audio 5000 RTP/SAVP 8                     the answer that takes it
//! a=crypto:1 AES_CM_... inline:...
//! a=acfg:1 t=1 a=1
//! ```
//! Only this use is understood: a secure transport with its keys. A configuration that demands anything
//! else (other attributes, deletions, extensions) is passed over, as RFC 5939 §3.6.2 has it.

use crate::limits::CAPABILITIES_MAX;
use crate::profile::Profile;
use crate::text::decimal;
use crate::{Crypto, CryptoError};

/// What capability attributes say, by their media line; 0 is the session, `n + 1` the line `n`.
#[derive(Default)]
pub(crate) struct Capabilities {
    transports: Vec<(usize, u32, String)>,
    attributes: Vec<(usize, u32, Attribute)>,
    configurations: Vec<(usize, String)>,
    /// Levels that demand an extension which we do not know (RFC 5939 §3.3.2).
    barred: Vec<usize>,
}

enum Attribute {
    Crypto(Result<Crypto, CryptoError>),
    Other,
}

/// A configuration that a line may have instead of its own.
#[derive(Clone, Debug)]
pub(crate) struct Potential {
    /// `RTP/SAVP` or `RTP/SAVPF`.
    pub proto: String,
    pub cryptos: Vec<Result<Crypto, CryptoError>>,
    /// Value of `a=acfg` in an answer that takes it.
    pub chosen: String,
}

/// More capabilities than a description may have.
pub(crate) struct TooMany;

impl Capabilities {
    /// Takes an attribute's name and value, if it is about capabilities.
    pub fn take(&mut self, level: usize, name: &[u8], value: &[u8]) -> Result<(), TooMany> {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        let text = || std::str::from_utf8(value).ok();
        if is("tcap") {
            self.transports(level, text().unwrap_or_default());
        } else if is("acap") {
            let numbered = text().and_then(|text| text.trim_start().split_once([' ', '\t']));
            if let Some((number, attribute)) = numbered
                && let Some(number) = decimal(number)
            {
                self.attributes.push((level, number, Attribute::of(attribute)));
            }
        } else if is("pcfg") {
            self.configurations.push((level, text().unwrap_or_default().to_owned()));
        } else if is("creq") {
            let mut words = text().unwrap_or("?").split([',', ' ', '\t']);
            if words.any(|word| !word.is_empty() && !word.eq_ignore_ascii_case("cap-v0")) {
                self.barred.push(level);
            }
        }
        let most = self.transports.len().max(self.attributes.len());
        match most.max(self.configurations.len()).max(self.barred.len()) <= CAPABILITIES_MAX {
            true => Ok(()),
            false => Err(TooMany),
        }
    }

    /// `1 RTP/SAVP RTP/SAVPF`: the first has the number, each other one more.
    fn transports(&mut self, level: usize, text: &str) {
        let mut words = text.split([' ', '\t']).filter(|word| !word.is_empty());
        let Some(first) = words.next().and_then(decimal::<u32>) else { return };
        let room = (CAPABILITIES_MAX + 1).saturating_sub(self.transports.len());
        for (number, proto) in (first..=u32::MAX).zip(words).take(room) {
            self.transports.push((level, number, proto.to_owned()));
        }
    }

    /// The preferred secure configuration of the media line `line`, the lowest number first
    /// (RFC 5939 §3.5.1).
    pub fn potential(&self, line: usize) -> Option<Potential> {
        let level = line + 1;
        if self.barred.iter().any(|barred| *barred == 0 || *barred == level) {
            return None;
        }
        let own = self.configurations.iter().filter(|(at, _)| *at == level);
        let mut usable: Vec<(u32, Potential)> =
            own.filter_map(|(_, text)| self.configuration(level, text)).collect();
        usable.sort_by_key(|(number, _)| *number);
        usable.into_iter().next().map(|(_, potential)| potential)
    }

    /// `1 t=1|2 a=1,[2]`.
    fn configuration(&self, level: usize, text: &str) -> Option<(u32, Potential)> {
        let mut words = text.split([' ', '\t']).filter(|word| !word.is_empty());
        let number: u32 = decimal(words.next()?)?;
        let (mut transport, mut keys) = (None, None);
        for word in words {
            match word.split_once('=')? {
                ("t", list) => transport = Some(self.transport(level, list)?),
                ("a", list) => keys = Some(self.keys(level, list)?),
                // An extension without a plus may be passed over (RFC 5939 §3.5.1).
                (name, _) if !name.starts_with('+') => {}
                _ => return None,
            }
        }
        let ((t, proto), (a, cryptos)) = (transport?, keys?);
        let chosen = format!("{number} t={t} a={a}");
        Some((number, Potential { proto, cryptos, chosen }))
    }

    /// The first secure one of `1|2`.
    fn transport(&self, level: usize, list: &str) -> Option<(u32, String)> {
        let known = |number: u32| {
            let mut all = self.transports.iter();
            let found = all.find(|(at, n, _)| *n == number && (*at == 0 || *at == level));
            found.map(|(_, _, proto)| proto).filter(|proto| Profile::of(proto) == Profile::Secure)
        };
        let mut numbers = list.split('|').filter_map(decimal);
        numbers.find_map(|number| Some((number, known(number)?.clone())))
    }

    /// The keys of the first alternative of `1,[2]|3` that has nothing but keys where it must; with the
    /// numbers that were taken.
    fn keys(&self, level: usize, list: &str) -> Option<(String, Vec<Result<Crypto, CryptoError>>)> {
        list.split('|').find_map(|alternative| {
            let (mut taken, mut cryptos) = (Vec::new(), Vec::new());
            let mut is_optional = false;
            for part in alternative.split(',') {
                is_optional |= part.starts_with('[');
                let number: u32 = decimal(part.trim_start_matches('[').trim_end_matches(']'))?;
                let mut all = self.attributes.iter();
                let found = all.find(|(at, n, _)| *n == number && *at == level);
                match found {
                    Some((_, _, Attribute::Crypto(crypto))) => {
                        taken.push(number.to_string());
                        cryptos.push(crypto.clone());
                    }
                    _ if is_optional => {}
                    _ => return None,
                }
                is_optional &= !part.ends_with(']');
            }
            (!cryptos.is_empty()).then(|| (taken.join(","), cryptos))
        })
    }
}

impl Attribute {
    fn of(text: &str) -> Self {
        match text.trim_start().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("crypto") => {
                Self::Crypto(Crypto::parse(value))
            }
            _ => Self::Other,
        }
    }
}
