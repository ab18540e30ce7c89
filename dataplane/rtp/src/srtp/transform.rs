//! One pair of expanded keys behind the six suites.

use super::aes_cm::AesCm;
use super::aes_gcm::{Gcm, TAG};
use super::hmac_sha1::{HmacSha1, Midstates, Packaged};
use super::kdf::{Label, derive};
use super::key::{ESRTCP_WORD, MasterKey, Suite};
use super::narrow::Narrow;
use crate::packet::Ssrc;
use crate::rtcp::RTCP_PACKET_MIN;
use aes::{Aes128Enc, Aes256Enc};
use zeroize::Zeroizing;

/// The transform of RTP or of RTCP, keys expanded. `M` is how AES-CM computes its tags.
pub(super) enum Transform<M> {
    AesCm128(AesCm<Narrow<Aes128Enc>, M>),
    AesCm256(AesCm<Narrow<Aes256Enc>, M>),
    Gcm128(Gcm<Narrow<Aes128Enc>>),
    Gcm256(Gcm<Narrow<Aes256Enc>>),
}

/// What makes a packet's key stream unique under its key.
#[derive(Clone, Copy)]
pub(super) struct PacketId {
    pub(super) ssrc: Ssrc,
    /// 48 bits for RTP, 31 for RTCP.
    pub(super) index: u64,
}

/// The tag is not the one that the key gives, or the MKI names another key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Forged;

impl Transform<Midstates> {
    pub(super) fn rtp(master: &MasterKey) -> Self {
        let labels = [Label::RtpEncryption, Label::RtpAuthentication, Label::RtpSalt];
        Self::new(master, labels, master.suite().rtp_tag_len() as u8)
    }
}

impl Transform<Packaged> {
    pub(super) fn rtcp(master: &MasterKey) -> Self {
        let labels = [Label::RtcpEncryption, Label::RtcpAuthentication, Label::RtcpSalt];
        Self::new(master, labels, master.suite().rtcp_tag_len() as u8)
    }
}

impl<M: HmacSha1> Transform<M> {
    fn new(
        master: &MasterKey,
        [encryption, authentication, salt]: [Label; 3],
        tag_len: u8,
    ) -> Self {
        let salt_112 = || Zeroizing::new(derive(master, salt));
        let salt_96 = || Zeroizing::new(derive(master, salt));
        let mki = master.mki_or_none();
        match master.suite() {
            Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 => {
                let key = Zeroizing::new(derive::<16>(master, encryption));
                let auth = Zeroizing::new(derive(master, authentication));
                Self::AesCm128(AesCm::new((&*key).into(), &auth, &salt_112(), tag_len, mki))
            }
            Suite::AesCm256HmacSha1_80 | Suite::AesCm256HmacSha1_32 => {
                let key = Zeroizing::new(derive::<32>(master, encryption));
                let auth = Zeroizing::new(derive(master, authentication));
                Self::AesCm256(AesCm::new((&*key).into(), &auth, &salt_112(), tag_len, mki))
            }
            Suite::AeadAes128Gcm => {
                let key = Zeroizing::new(derive::<16>(master, encryption));
                Self::Gcm128(Gcm::new((&*key).into(), &salt_96(), mki))
            }
            Suite::AeadAes256Gcm => {
                let key = Zeroizing::new(derive::<32>(master, encryption));
                Self::Gcm256(Gcm::new((&*key).into(), &salt_96(), mki))
            }
        }
    }

    /// Octets behind the body that the tag and the MKI take, and those of them behind the ESRTCP
    /// word when there is one: the word stands before the tag in AES-CM and after it in GCM, the
    /// MKI always behind the word.
    fn tail_len(&self) -> (usize, usize) {
        match self {
            Self::AesCm128(keys) => (keys.tail_len(), keys.tail_len()),
            Self::AesCm256(keys) => (keys.tail_len(), keys.tail_len()),
            Self::Gcm128(keys) => (TAG + keys.mki_len(), keys.mki_len()),
            Self::Gcm256(keys) => (TAG + keys.mki_len(), keys.mki_len()),
        }
    }

    /// Octets that protection adds to an RTP packet.
    pub(super) fn rtp_overhead(&self) -> usize {
        self.tail_len().0
    }

    /// The 31-bit index of an SRTCP packet. `None` when the packet is too short or its E flag is
    /// clear.
    pub(super) fn rtcp_index(&self, packet: &[u8]) -> Option<u64> {
        let (tail, after_word) = self.tail_len();
        let body_len = packet.len().checked_sub(tail + ESRTCP_WORD)?;
        let (rest, _) = packet.split_at_checked(packet.len() - after_word)?;
        let word = u32::from_be_bytes(*rest.last_chunk()?);
        let encrypted = word & E_FLAG != 0 && body_len >= RTCP_PACKET_MIN;
        encrypted.then_some(u64::from(word & !E_FLAG))
    }

    /// Protects `buf[..len]` in place. `None`: no room for tag and MKI, nothing changed.
    pub(super) fn seal_rtp(
        &self,
        buf: &mut [u8],
        header_len: usize,
        len: usize,
        id: PacketId,
    ) -> Option<usize> {
        match self {
            Self::AesCm128(keys) => keys.seal_rtp(buf, header_len, len, id),
            Self::AesCm256(keys) => keys.seal_rtp(buf, header_len, len, id),
            Self::Gcm128(keys) => keys.seal_rtp(buf, header_len, len, id),
            Self::Gcm256(keys) => keys.seal_rtp(buf, header_len, len, id),
        }
    }

    /// Verifies, then decrypts in place. The plain length; on [`Forged`] nothing changed.
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        id: PacketId,
    ) -> Result<usize, Forged> {
        match self {
            Self::AesCm128(keys) => keys.open_rtp(packet, header_len, id),
            Self::AesCm256(keys) => keys.open_rtp(packet, header_len, id),
            Self::Gcm128(keys) => keys.open_rtp(packet, header_len, id),
            Self::Gcm256(keys) => keys.open_rtp(packet, header_len, id),
        }
    }

    /// Protects the compound `buf[..len]` in place. `None`: no room, nothing changed.
    pub(super) fn seal_rtcp(&self, buf: &mut [u8], len: usize, id: PacketId) -> Option<usize> {
        match self {
            Self::AesCm128(keys) => keys.seal_rtcp(buf, len, id),
            Self::AesCm256(keys) => keys.seal_rtcp(buf, len, id),
            Self::Gcm128(keys) => keys.seal_rtcp(buf, len, id),
            Self::Gcm256(keys) => keys.seal_rtcp(buf, len, id),
        }
    }

    /// Verifies, then decrypts in place. The plain length; on [`Forged`] nothing changed.
    pub(super) fn open_rtcp(&self, packet: &mut [u8], id: PacketId) -> Result<usize, Forged> {
        match self {
            Self::AesCm128(keys) => keys.open_rtcp(packet, id),
            Self::AesCm256(keys) => keys.open_rtcp(packet, id),
            Self::Gcm128(keys) => keys.open_rtcp(packet, id),
            Self::Gcm256(keys) => keys.open_rtcp(packet, id),
        }
    }
}

impl PacketId {
    /// The rollover counter as the tag of an SRTP packet covers it (RFC 3711 §4.2).
    pub(super) fn roc(self) -> [u8; 4] {
        ((self.index >> 16) as u32).to_be_bytes()
    }

    /// The E flag, set, and the 31-bit index (RFC 3711 §3.4).
    pub(super) fn esrtcp_word(self) -> [u8; ESRTCP_WORD] {
        (E_FLAG | self.index as u32).to_be_bytes()
    }
}

/// The last SRTCP index of a master key (RFC 3711 §9.2).
pub(super) const RTCP_INDEX_MAX: u32 = E_FLAG - 1;
/// "This SRTCP packet is encrypted".
const E_FLAG: u32 = 1 << 31;
