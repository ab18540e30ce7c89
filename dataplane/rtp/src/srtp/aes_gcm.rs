//! `AEAD_AES_128_GCM` and `AEAD_AES_256_GCM` (RFC 7714).
//!
//! ```text
//! SRTP    header | encrypted payload | tag | MKI
//! SRTCP   first 8 octets | encrypted rest | tag | E + index | MKI
//! ```
//!
//! Associated data is the header, or the first 8 octets and the word of E flag and index. The tag
//! belongs to the ciphertext, so the MKI follows it (RFC 7714 §8.2, §9.2), where AES-CM puts the
//! MKI before the tag.

use super::key::{ESRTCP_WORD, Mki};
use super::transform::{Forged, PacketId};
use crate::rtcp::RTCP_PACKET_MIN;
use aes::cipher::{BlockCipherEncrypt, BlockSizeUser, consts::U12, consts::U16};
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{AesGcm, Key, Tag};
use zeroize::Zeroize;

/// The expanded keys of one direction of one protocol. `C` is the encrypting half of AES-128 or
/// AES-256: GCM never decrypts a block.
pub(super) struct Gcm<C> {
    cipher: AesGcm<C, U12>,
    /// Session salt, 96 bits.
    salt: u128,
    mki: Mki,
}

impl<C> Gcm<C>
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + KeyInit,
{
    pub(super) fn new(key: &Key<AesGcm<C, U12>>, salt: &[u8; 12], mki: Mki) -> Self {
        let salt = salt.iter().fold(0, |salt, byte| (salt << 8) | u128::from(*byte));
        Self { cipher: AesGcm::new(key), salt, mki }
    }

    pub(super) fn mki_len(&self) -> usize {
        self.mki.len()
    }

    /// Protects `buf[..len]` whose header is `header_len` long. `None`: no room for tag and MKI,
    /// and nothing changed.
    pub(super) fn seal_rtp(
        &self,
        buf: &mut [u8],
        header_len: usize,
        len: usize,
        id: PacketId,
    ) -> Option<usize> {
        let end = len + TAG + self.mki.len();
        let (packet, tail) = buf.get_mut(..end)?.split_at_mut_checked(len)?;
        let (place, mki) = tail.split_first_chunk_mut::<TAG>()?;
        let (header, body) = packet.split_at_mut_checked(header_len)?;
        *place = self.seal(id, header, body)?;
        mki.copy_from_slice(self.mki.octets());
        Some(end)
    }

    /// Verifies, then decrypts. The length without tag and MKI; on [`Forged`] nothing changed.
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        id: PacketId,
    ) -> Result<usize, Forged> {
        let (packet, tag) = self.without_mki(packet)?.split_last_chunk_mut().ok_or(Forged)?;
        let (header, body) = packet.split_at_mut_checked(header_len).ok_or(Forged)?;
        self.open(id, header, body, tag)?;
        Ok(packet.len())
    }

    /// Protects the compound `buf[..len]`. `None`: no room, nothing changed.
    pub(super) fn seal_rtcp(&self, buf: &mut [u8], len: usize, id: PacketId) -> Option<usize> {
        let end = len + TAG + ESRTCP_WORD + self.mki.len();
        let (packet, tail) = buf.get_mut(..end)?.split_at_mut_checked(len)?;
        let (place, tail) = tail.split_first_chunk_mut::<TAG>()?;
        let (word, mki) = tail.split_first_chunk_mut()?;
        let (head, body) = packet.split_first_chunk_mut()?;
        let tag = self.seal(id, &associated(head, id.esrtcp_word()), body)?;
        *place = tag;
        *word = id.esrtcp_word();
        mki.copy_from_slice(self.mki.octets());
        Some(end)
    }

    /// Verifies, then decrypts. The length of the compound; on [`Forged`] nothing changed.
    pub(super) fn open_rtcp(&self, packet: &mut [u8], id: PacketId) -> Result<usize, Forged> {
        let (packet, word) = self.without_mki(packet)?.split_last_chunk_mut().ok_or(Forged)?;
        let (packet, tag) = packet.split_last_chunk_mut().ok_or(Forged)?;
        let (head, body) = packet.split_first_chunk_mut().ok_or(Forged)?;
        self.open(id, &associated(head, *word), body, tag)?;
        Ok(packet.len())
    }

    /// The packet before its MKI, which must be ours.
    fn without_mki<'a>(&self, packet: &'a mut [u8]) -> Result<&'a mut [u8], Forged> {
        let len = packet.len().checked_sub(self.mki.len()).ok_or(Forged)?;
        let (packet, mki) = packet.split_at_mut_checked(len).ok_or(Forged)?;
        if mki == self.mki.octets() { Ok(packet) } else { Err(Forged) }
    }

    fn seal(&self, id: PacketId, associated: &[u8], body: &mut [u8]) -> Option<[u8; TAG]> {
        let sealed =
            self.cipher.encrypt_inout_detached(&self.nonce(id).into(), associated, body.into());
        sealed.ok().map(Into::into)
    }

    fn open(
        &self,
        id: PacketId,
        associated: &[u8],
        body: &mut [u8],
        tag: &[u8; TAG],
    ) -> Result<(), Forged> {
        let (nonce, tag) = (self.nonce(id).into(), Tag::from(*tag));
        let opened = self.cipher.decrypt_inout_detached(&nonce, associated, body.into(), &tag);
        opened.map_err(|_| Forged)
    }

    /// `0 | SSRC | 48-bit index` XOR salt. An SRTCP index has 31 bits, which puts it where
    /// RFC 7714 §9.1 wants it.
    fn nonce(&self, id: PacketId) -> [u8; 12] {
        let value = self.salt ^ (u128::from(id.ssrc.0) << 48) ^ u128::from(id.index);
        let [_, _, _, _, nonce @ ..] = value.to_be_bytes();
        nonce
    }
}

impl<C> Drop for Gcm<C> {
    fn drop(&mut self) {
        self.salt.zeroize();
    }
}

/// Associated data of SRTCP: the clear head and the ESRTCP word (RFC 7714 §9.2).
fn associated(head: &[u8; RTCP_PACKET_MIN], word: [u8; ESRTCP_WORD]) -> [u8; 12] {
    let mut octets = [0; RTCP_PACKET_MIN + ESRTCP_WORD];
    for (byte, value) in octets.iter_mut().zip(head.iter().chain(&word)) {
        *byte = *value;
    }
    octets
}

/// Octets of the tag (RFC 7714 §12).
pub(super) const TAG: usize = 16;

#[cfg(test)]
mod tests;
