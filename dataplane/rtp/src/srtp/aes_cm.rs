//! `AES_CM_128_HMAC_SHA1_80` and `_32` (RFC 3711 §4.1.1, §4.2.1; RFC 4568 §6.2).
//!
//! ```text
//! SRTP    header | encrypted payload | tag            tag over header, payload and ROC
//! SRTCP   first 8 octets | encrypted rest | E + index | tag       tag over all before it
//! ```

use super::hmac_sha1::HmacSha1;
use super::key::ESRTCP_WORD;
use super::transform::{Forged, PacketId};
use crate::rtcp::RTCP_PACKET_MIN;
use aes::Aes128Enc;
use aes::cipher::{InnerIvInit, KeyInit, StreamCipherCore};
use ctr::{CtrCore, flavors::Ctr128BE};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// The expanded keys of one direction of one protocol.
pub(super) struct AesCm {
    cipher: Aes128Enc,
    mac: HmacSha1,
    /// Session salt times 2^16.
    salt: u128,
    tag_len: usize,
}

impl AesCm {
    pub(super) fn new(key: &[u8; 16], auth: &[u8; 20], salt: &[u8; 14], tag_len: usize) -> Self {
        let mut block = [0; 16];
        for (byte, salt) in block.iter_mut().zip(salt) {
            *byte = *salt;
        }
        let cipher = Aes128Enc::new(key.into());
        let expanded =
            Self { cipher, mac: HmacSha1::new(auth), salt: u128::from_be_bytes(block), tag_len };
        block.zeroize();
        expanded
    }

    /// Octets of the tag that the suite keeps.
    pub(super) fn tag_len(&self) -> usize {
        self.tag_len
    }

    /// Protects `buf[..len]` whose header is `header_len` long. `None`: no room for the tag, and
    /// nothing changed.
    pub(super) fn seal_rtp(
        &self,
        buf: &mut [u8],
        header_len: usize,
        len: usize,
        id: PacketId,
    ) -> Option<usize> {
        let end = len + self.tag_len;
        let (packet, place) = buf.get_mut(..end)?.split_at_mut_checked(len)?;
        self.apply(packet.get_mut(header_len..)?, id);
        write_tag(place, &self.mac.tag(packet, id.roc()));
        Some(end)
    }

    /// Verifies, then decrypts. The length without the tag; on [`Forged`] nothing changed.
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        id: PacketId,
    ) -> Result<usize, Forged> {
        let len = packet.len().checked_sub(self.tag_len).ok_or(Forged)?;
        let (packet, tag) = packet.split_at_mut_checked(len).ok_or(Forged)?;
        verify_tag(tag, &self.mac.tag(packet, id.roc()))?;
        self.apply(packet.get_mut(header_len..).ok_or(Forged)?, id);
        Ok(len)
    }

    /// Protects the compound `buf[..len]`. `None`: no room, nothing changed.
    pub(super) fn seal_rtcp(&self, buf: &mut [u8], len: usize, id: PacketId) -> Option<usize> {
        let end = len + ESRTCP_WORD + self.tag_len;
        let (packet, tail) = buf.get_mut(..end)?.split_at_mut_checked(len)?;
        let (word, place) = tail.split_first_chunk_mut()?;
        self.apply(packet.get_mut(RTCP_PACKET_MIN..)?, id);
        *word = id.esrtcp_word();
        write_tag(place, &self.mac.tag(packet, *word));
        Some(end)
    }

    /// Verifies, then decrypts. The length of the compound; on [`Forged`] nothing changed.
    pub(super) fn open_rtcp(&self, packet: &mut [u8], id: PacketId) -> Result<usize, Forged> {
        let len = packet.len().checked_sub(ESRTCP_WORD + self.tag_len).ok_or(Forged)?;
        let (packet, tail) = packet.split_at_mut_checked(len).ok_or(Forged)?;
        let (word, tag) = tail.split_first_chunk().ok_or(Forged)?;
        verify_tag(tag, &self.mac.tag(packet, *word))?;
        self.apply(packet.get_mut(RTCP_PACKET_MIN..).ok_or(Forged)?, id);
        Ok(len)
    }

    /// XORs the packet's key stream into `body`. The counter starts at
    /// `salt * 2^16 XOR ssrc * 2^64 XOR index * 2^16`, its low 16 bits count blocks.
    fn apply(&self, body: &mut [u8], id: PacketId) {
        let start = self.salt ^ (u128::from(id.ssrc.0) << 64) ^ (u128::from(id.index) << 16);
        let core = CtrCore::<_, Ctr128BE>::inner_iv_init(&self.cipher, &start.to_be_bytes().into());
        core.apply_keystream_partial(body.into());
    }
}

impl Drop for AesCm {
    fn drop(&mut self) {
        self.salt.zeroize();
    }
}

/// As much of the tag as the suite keeps: its leftmost octets.
fn write_tag(place: &mut [u8], tag: &[u8; 20]) {
    for (byte, tag) in place.iter_mut().zip(tag) {
        *byte = *tag;
    }
}

fn verify_tag(found: &[u8], tag: &[u8; 20]) -> Result<(), Forged> {
    let expected = tag.get(..found.len()).ok_or(Forged)?;
    if found.ct_eq(expected).into() { Ok(()) } else { Err(Forged) }
}

#[cfg(test)]
mod tests;
