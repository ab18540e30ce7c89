//! Source descriptions (RFC 3550 §6.5).
//!
//! A chunk is an SSRC, items of (type, length, text), one null octet, and more null octets up to
//! the next 32-bit boundary.

use super::split_ssrc;
use crate::packet::{Malformed, Ssrc};

/// SDES: chunks that describe sources.
#[derive(Clone, Copy)]
pub struct Sdes<'a> {
    count: u8,
    body: &'a [u8],
}

/// The items of one source.
#[derive(Clone, Copy)]
pub struct SdesChunk<'a> {
    /// The source described.
    pub ssrc: Ssrc,
    items: &'a [u8],
}

/// One item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SdesItem<'a> {
    /// 1 is CNAME; RFC 3550 §6.5.1 to §6.5.8 define the others.
    pub kind: u8,
    /// Text meant to be UTF-8, unchecked.
    pub text: &'a [u8],
}

impl<'a> Sdes<'a> {
    /// The chunks, at most 31.
    pub fn chunks(&self) -> impl Iterator<Item = SdesChunk<'a>> + use<'a> {
        let mut rest = self.body;
        (0..self.count).map_while(move |_| {
            let (chunk, after) = split_chunk(rest).ok()?;
            rest = after;
            Some(chunk)
        })
    }

    pub(super) fn read(count: u8, body: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = body;
        for _ in 0..count {
            rest = split_chunk(rest)?.1;
        }
        Ok(Self { count, body })
    }
}

impl<'a> SdesChunk<'a> {
    /// The items in order.
    pub fn items(&self) -> impl Iterator<Item = SdesItem<'a>> + use<'a> {
        let mut rest = self.items;
        core::iter::from_fn(move || {
            let (item, after) = split_item(rest).ok()??;
            rest = after;
            Some(item)
        })
    }
}

/// Octets of the first chunk of `bytes`.
pub(super) fn chunk_len(bytes: &[u8]) -> Result<usize, Malformed> {
    Ok(bytes.len() - split_chunk(bytes)?.1.len())
}

fn split_chunk(bytes: &[u8]) -> Result<(SdesChunk<'_>, &[u8]), Malformed> {
    if bytes.is_empty() {
        return Err(Malformed::Count);
    }
    let (ssrc, items) = split_ssrc(bytes)?;
    let mut rest = items;
    while let Some((_, after)) = split_item(rest)? {
        rest = after;
    }
    // The SSRC is a whole word, so alignment can be counted from the first item.
    let octets = (items.len() - rest.len() + 1).next_multiple_of(4);
    let (items, rest) = items.split_at_checked(octets).ok_or(Malformed::Length)?;
    Ok((SdesChunk { ssrc, items }, rest))
}

/// `None` at the null octet that ends a chunk.
fn split_item(bytes: &[u8]) -> Result<Option<(SdesItem<'_>, &[u8])>, Malformed> {
    let (&kind, rest) = bytes.split_first().ok_or(Malformed::Length)?;
    if kind == 0 {
        return Ok(None);
    }
    let (&len, rest) = rest.split_first().ok_or(Malformed::Length)?;
    let (text, rest) = rest.split_at_checked(usize::from(len)).ok_or(Malformed::Length)?;
    Ok(Some((SdesItem { kind, text }, rest)))
}
