//! The named workloads: what arrives, what leaves, in which directions.
//!
//! A call has two legs, A and B. The device joins them; the bench is both far ends.
//!
//! | name | A | B | traffic |
//! |---|---|---|---|
//! | relay | RTP | RTP | both ways |
//! | cm80-out | RTP | AES_CM_128_HMAC_SHA1_80 | A to B: the device encrypts |
//! | cm80-in | RTP | AES_CM_128_HMAC_SHA1_80 | B to A: the device decrypts |
//! | gcm-in | RTP | AEAD_AES_128_GCM | B to A: the device decrypts |
//! | both-secure | AES_CM_128_HMAC_SHA1_80 | the same, another key | both ways |
//! | dtmf | RTP | RTP | both ways, one packet in ten a telephone-event (RFC 4733) |
//! | churn | RTP | RTP | both ways, calls close and open all the time |

use clap::ValueEnum;
use rtp::srtp::Suite;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    Relay,
    #[value(name = "cm80-out")]
    #[serde(rename = "cm80-out")]
    Cm80Out,
    #[value(name = "cm80-in")]
    #[serde(rename = "cm80-in")]
    Cm80In,
    GcmIn,
    BothSecure,
    Dtmf,
    Churn,
}

/// Which way a packet goes through the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    AToB,
    BToA,
}

impl Workload {
    pub const ALL: [Workload; 7] = [
        Workload::Relay,
        Workload::Cm80Out,
        Workload::Cm80In,
        Workload::GcmIn,
        Workload::BothSecure,
        Workload::Dtmf,
        Workload::Churn,
    ];

    /// The name on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Relay => "relay",
            Workload::Cm80Out => "cm80-out",
            Workload::Cm80In => "cm80-in",
            Workload::GcmIn => "gcm-in",
            Workload::BothSecure => "both-secure",
            Workload::Dtmf => "dtmf",
            Workload::Churn => "churn",
        }
    }

    /// Suites of leg A and leg B; `None` is plain RTP.
    pub fn suites(self) -> (Option<Suite>, Option<Suite>) {
        let cm80 = Some(Suite::AesCm128HmacSha1_80);
        match self {
            Workload::Relay | Workload::Dtmf | Workload::Churn => (None, None),
            Workload::Cm80Out | Workload::Cm80In => (None, cm80),
            Workload::GcmIn => (None, Some(Suite::AeadAes128Gcm)),
            Workload::BothSecure => (cm80, cm80),
        }
    }

    /// The directions that carry packets.
    pub fn ways(self) -> &'static [Way] {
        match self {
            Workload::Cm80Out => &[Way::AToB],
            Workload::Cm80In | Workload::GcmIn => &[Way::BToA],
            Workload::Relay | Workload::BothSecure | Workload::Dtmf | Workload::Churn => {
                &[Way::AToB, Way::BToA]
            }
        }
    }

    /// Calls when none are asked for: always [`FLOWS_DEFAULT`] directions with packets.
    pub fn calls_default(self) -> u32 {
        FLOWS_DEFAULT / self.ways().len() as u32
    }
}

/// Directions with packets unless `--calls` says otherwise: 1,500 two-way calls.
pub const FLOWS_DEFAULT: u32 = 3_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_command_line_and_in_results_are_one() {
        for workload in Workload::ALL {
            let value = workload.to_possible_value().unwrap();
            assert_eq!(value.get_name(), workload.name());
            let json = serde_json::to_string(&workload).unwrap();
            assert_eq!(json, format!("\"{}\"", workload.name()));
            assert_eq!(workload.calls_default() as usize * workload.ways().len(), 3_000);
        }
    }

    #[test]
    fn one_way_workloads_encrypt_or_decrypt_but_not_both() {
        for workload in [Workload::Cm80Out, Workload::Cm80In, Workload::GcmIn] {
            let (a, b) = workload.suites();
            assert!(a.is_none() && b.is_some() && workload.ways().len() == 1);
        }
        assert_eq!(Workload::Cm80Out.ways(), [Way::AToB]);
        assert_eq!(Workload::GcmIn.ways(), [Way::BToA]);
    }
}
