//! `AES_CM_128_HMAC_SHA1_80` and `_32` (RFC 3711 §4.1.1, §4.2.1; RFC 4568 §6.2) and the same with
//! AES-256 (RFC 6188).
//!
//! ```text
//! SRTP    header | encrypted payload | MKI | tag          tag over header, payload and ROC
//! SRTCP   first 8 octets | encrypted rest | E + index | MKI | tag   tag over all before the MKI
//! ```

use super::hmac_sha1::HmacSha1;
use super::key::{ESRTCP_WORD, Mki};
use super::transform::{Forged, PacketId};
use crate::rtcp::RTCP_PACKET_MIN;
use aes::cipher::{BlockCipherEncrypt, BlockSizeUser, Key, consts::U16};
use aes::cipher::{InnerIvInit, KeyInit, StreamCipherCore};
use ctr::{CtrCore, flavors::Ctr128BE};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// The expanded keys of one direction of one protocol. `C` is the encrypting half of AES-128 or
/// AES-256: counter mode never decrypts a block.
pub(super) struct AesCm<C, M> {
    cipher: C,
    mac: M,
    /// Session salt times 2^16.
    salt: u128,
    tag_len: u8,
    mki: Mki,
}

impl<C, M> AesCm<C, M>
where
    M: HmacSha1,
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + KeyInit,
{
    pub(super) fn new(
        key: &Key<C>,
        auth: &[u8; 20],
        salt: &[u8; 14],
        tag_len: u8,
        mki: Mki,
    ) -> Self {
        let salt = salt.iter().fold(0, |salt, byte| (salt << 8) | u128::from(*byte)) << 16;
        Self { cipher: C::new(key), mac: M::new(auth), salt, tag_len, mki }
    }

    /// Octets of MKI and tag.
    pub(super) fn tail_len(&self) -> usize {
        self.mki.len() + usize::from(self.tag_len)
    }

    /// Protects `buf[..len]` whose header is `header_len` long. `None`: no room for MKI and tag,
    /// and nothing changed.
    pub(super) fn seal_rtp(
        &self,
        buf: &mut [u8],
        header_len: usize,
        len: usize,
        id: PacketId,
    ) -> Option<usize> {
        let end = len + self.tail_len();
        let (packet, tail) = buf.get_mut(..end)?.split_at_mut_checked(len)?;
        self.apply(packet.get_mut(header_len..)?, id);
        self.write_tail(tail, &self.mac.tag(packet, id.roc()))?;
        Some(end)
    }

    /// Verifies, then decrypts. The length without MKI and tag; on [`Forged`] nothing changed.
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        id: PacketId,
    ) -> Result<usize, Forged> {
        let len = packet.len().checked_sub(self.tail_len()).ok_or(Forged)?;
        let (packet, tail) = packet.split_at_mut_checked(len).ok_or(Forged)?;
        let tag = tail.strip_prefix(self.mki.octets()).ok_or(Forged)?;
        verify_tag(tag, &self.mac.tag(packet, id.roc()))?;
        self.apply(packet.get_mut(header_len..).ok_or(Forged)?, id);
        Ok(len)
    }

    /// Protects the compound `buf[..len]`. `None`: no room, nothing changed.
    pub(super) fn seal_rtcp(&self, buf: &mut [u8], len: usize, id: PacketId) -> Option<usize> {
        let end = len + ESRTCP_WORD + self.tail_len();
        let (packet, tail) = buf.get_mut(..end)?.split_at_mut_checked(len)?;
        let (word, tail) = tail.split_first_chunk_mut()?;
        self.apply(packet.get_mut(RTCP_PACKET_MIN..)?, id);
        *word = id.esrtcp_word();
        self.write_tail(tail, &self.mac.tag(packet, *word))?;
        Some(end)
    }

    /// Verifies, then decrypts. The length of the compound; on [`Forged`] nothing changed.
    pub(super) fn open_rtcp(&self, packet: &mut [u8], id: PacketId) -> Result<usize, Forged> {
        let len = packet.len().checked_sub(ESRTCP_WORD + self.tail_len()).ok_or(Forged)?;
        let (packet, tail) = packet.split_at_mut_checked(len).ok_or(Forged)?;
        let (word, tail) = tail.split_first_chunk().ok_or(Forged)?;
        let tag = tail.strip_prefix(self.mki.octets()).ok_or(Forged)?;
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

    /// The MKI, then as much of the tag as there is room for: its leftmost octets.
    fn write_tail(&self, tail: &mut [u8], tag: &[u8; 20]) -> Option<()> {
        let (mki, place) = tail.split_at_mut_checked(self.mki.len())?;
        mki.copy_from_slice(self.mki.octets());
        for (byte, tag) in place.iter_mut().zip(tag) {
            *byte = *tag;
        }
        Some(())
    }
}

impl<C, M> Drop for AesCm<C, M> {
    fn drop(&mut self) {
        self.salt.zeroize();
    }
}

fn verify_tag(found: &[u8], tag: &[u8; 20]) -> Result<(), Forged> {
    let expected = tag.get(..found.len()).ok_or(Forged)?;
    if found.ct_eq(expected).into() { Ok(()) } else { Err(Forged) }
}

#[cfg(test)]
mod tests;
