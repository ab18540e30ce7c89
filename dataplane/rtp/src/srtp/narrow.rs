//! AES for packets of voice, which are ten blocks or so.
//!
//! Where the processor has AVX-512 the package `aes` works on 64 blocks at a time, and spreads the
//! round keys over wide registers before it looks at the first one. A packet of voice never fills
//! 64 blocks: they are done one by one behind that work, which takes a tenth of the time of its
//! protection (AES-256: a sixth). [`Narrow`] offers the same cipher without the wide way.

use aes::cipher::consts::{U1, U16};
use aes::cipher::inout::InOut;
use aes::cipher::typenum::Unsigned;
use aes::cipher::{
    Block, BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, Key,
    KeyInit, KeySizeUser, ParBlocksSizeUser,
};

/// The cipher `C`, block by block where it would take more than [`BLOCKS`] at a time.
pub(super) struct Narrow<C>(C);

impl<C: KeySizeUser> KeySizeUser for Narrow<C> {
    type KeySize = C::KeySize;
}

impl<C: KeyInit> KeyInit for Narrow<C> {
    fn new(key: &Key<Self>) -> Self {
        Self(C::new(key))
    }
}

impl<C> BlockSizeUser for Narrow<C> {
    type BlockSize = U16;
}

impl<C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>> BlockCipherEncrypt for Narrow<C> {
    #[inline(always)]
    fn encrypt_with_backend(&self, work: impl BlockCipherEncClosure<BlockSize = U16>) {
        self.0.encrypt_with_backend(Chosen(work));
    }
}

/// Work that is given the backend which suits it.
struct Chosen<W>(W);

impl<W> BlockSizeUser for Chosen<W> {
    type BlockSize = U16;
}

impl<W: BlockCipherEncClosure<BlockSize = U16>> BlockCipherEncClosure for Chosen<W> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        if B::ParBlocksSize::USIZE > BLOCKS {
            self.0.call(&OneByOne(backend));
        } else {
            self.0.call(backend);
        }
    }
}

/// A backend without its wide way.
struct OneByOne<'a, B>(&'a B);

impl<B> BlockSizeUser for OneByOne<'_, B> {
    type BlockSize = U16;
}

impl<B> ParBlocksSizeUser for OneByOne<'_, B> {
    type ParBlocksSize = U1;
}

impl<B: BlockCipherEncBackend<BlockSize = U16>> BlockCipherEncBackend for OneByOne<'_, B> {
    #[inline(always)]
    fn encrypt_block(&self, block: InOut<'_, '_, Block<Self>>) {
        self.0.encrypt_block(block);
    }
}

/// Blocks of 10 ms of G.711: what a packet surely fills.
const BLOCKS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use aes::Aes128Enc;
    use aes::cipher::{InnerIvInit, StreamCipherCore};
    use ctr::{CtrCore, flavors::Ctr128BE};

    fn key_stream<C>(key: &Key<C>, len: usize) -> Vec<u8>
    where
        C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + KeyInit,
    {
        let cipher = C::new(key);
        let mut octets = vec![0; len];
        let core = CtrCore::<_, Ctr128BE>::inner_iv_init(&cipher, &[0xff; 16].into());
        core.apply_keystream_partial(octets.as_mut_slice().into());
        octets
    }

    #[test]
    fn it_is_the_same_cipher_at_every_length() {
        let key = [7; 16].into();
        // Beyond the widest batch, the counter turning over on the way.
        let whole = key_stream::<Aes128Enc>(&key, 16 * 200);
        for len in 0..whole.len() {
            assert_eq!(key_stream::<Narrow<Aes128Enc>>(&key, len), whole[..len], "{len} octets");
        }
    }
}
