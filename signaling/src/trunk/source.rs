//! Networks that a trunk's peer may send from.

use std::fmt;
use std::net::IpAddr;

/// An address with a prefix length, host bits zero. IPv4-mapped IPv6 counts as IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// A single address.
    pub fn host(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, prefix: bits(address) }
    }

    /// The network of `prefix` bits (as many as the address has, at most) that `address` is in.
    pub fn around(address: IpAddr, prefix: u8) -> Self {
        let address = address.to_canonical();
        let prefix = prefix.min(bits(address));
        Self { address: masked(address, prefix), prefix }
    }

    /// Reads `192.0.2.0/24`, `2001:db8::/32` or a bare address; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| format!("{address} is no IP address"))?;
        let Some(prefix) = prefix else { return Ok(Self::host(address)) };
        let max = bits(address);
        let prefix = match prefix.parse::<u8>() {
            Ok(n) if n <= max => n,
            _ => return Err(format!("a prefix length is 0 to {max}, not {prefix}")),
        };
        let network = masked(address, prefix);
        if network != address {
            return Err(format!("host bits are set; the network is {network}/{prefix}"));
        }
        Ok(Self { address, prefix })
    }

    /// Prefix length in bits.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The network's first address.
    pub fn first(&self) -> IpAddr {
        self.address
    }

    /// Whether this is an IPv6 network.
    pub fn is_ipv6(&self) -> bool {
        self.address.is_ipv6()
    }

    /// Whether `address` (canonical or IPv4-mapped) lies in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv6() == self.is_ipv6() && masked(address, self.prefix) == self.address
    }

    /// Whether the two share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix == bits(self.address) {
            true => write!(f, "{}", self.address),
            false => write!(f, "{}/{}", self.address, self.prefix),
        }
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses() {
        for (net, address, want) in [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "::ffff:192.0.2.7", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "::1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("::/0", "192.0.2.1", false),
        ] {
            let got = Cidr::parse(net).unwrap().contains(address.parse().unwrap());
            assert_eq!(got, want, "{net} {address}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for (text, reason) in [
            ("192.0.2.1/24", "host bits are set; the network is 192.0.2.0/24"),
            ("192.0.2.0/33", "a prefix length is 0 to 32, not 33"),
            ("192.0.2/24", "192.0.2 is no IP address"),
            ("::/129", "a prefix length is 0 to 128, not 129"),
            ("192.0.2.0/", "a prefix length is 0 to 32, not "),
        ] {
            assert_eq!(Cidr::parse(text).unwrap_err(), reason);
        }
    }
}
