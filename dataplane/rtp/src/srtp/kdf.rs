//! Session keys from a master key: the AES-CM pseudo-random function (RFC 3711 §4.3, RFC 6188 §3
//! for 256-bit keys, RFC 7714 §11 for GCM) with a key derivation rate of 0.

use super::key::{MasterKey, Suite};
use aes::cipher::{Array, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16};
use aes::{Aes128Enc, Aes256Enc};
use zeroize::Zeroize;

/// What a derived key is for.
#[derive(Clone, Copy)]
pub(super) enum Label {
    RtpEncryption = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpEncryption = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

/// Derives `N` octets from `master` under `label`. The caller wipes them.
pub(super) fn derive<const N: usize>(master: &MasterKey, label: Label) -> [u8; N] {
    match master.suite() {
        Suite::AesCm256HmacSha1_80 | Suite::AesCm256HmacSha1_32 | Suite::AeadAes256Gcm => {
            expand(&Aes256Enc::new(master.key_256().into()), master.salt_112(), label)
        }
        Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 | Suite::AeadAes128Gcm => {
            expand(&Aes128Enc::new(master.key_128().into()), master.salt_112(), label)
        }
    }
}

/// Key stream from the block `(salt XOR label * 2^48) * 2^16`: with a rate of 0 the index part of
/// the key id is 0.
fn expand<const N: usize, C>(cipher: &C, salt: &[u8; 14], label: Label) -> [u8; N]
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    let mut start = [0; 16];
    for (byte, salt) in start.iter_mut().zip(salt) {
        *byte = *salt;
    }
    start[7] ^= label as u8;
    let mut out = [0; N];
    for (counter, chunk) in (u128::from_be_bytes(start)..).zip(out.chunks_mut(16)) {
        let mut block: Array<u8, U16> = counter.to_be_bytes().into();
        cipher.encrypt_block(&mut block);
        for (byte, key) in chunk.iter_mut().zip(&block) {
            *byte = *key;
        }
        block.as_mut_slice().zeroize();
    }
    out
}

#[cfg(test)]
mod tests;
