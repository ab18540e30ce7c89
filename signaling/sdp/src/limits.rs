//! Every limit of this crate: its name, its value and where the value comes from.
//!
//! Beyond a limit a description is refused as a whole; nothing is cut off silently, because a
//! shortened description would mean something that the peer did not say.

/// Bytes of one description. A UDP datagram cannot carry more, and no real offer comes near it.
pub const BYTES_MAX: usize = 64 * 1024;

/// `m=` lines of one description. Video rooms with presentation and floor control use five.
pub const MEDIA_LINES_MAX: usize = 16;

/// Formats of one `m=` line: the payload types that seven bits can name (RFC 3550 §5.1).
pub const FORMATS_MAX: usize = 128;

/// `a=crypto` lines of one description. The longest lists seen are eight per media line.
pub const CRYPTO_LINES_MAX: usize = 64;

/// Capabilities of one kind in one description (RFC 5939): transports, attributes, configurations. Peers
/// that use them name two or three.
pub const CAPABILITIES_MAX: usize = 64;

/// Bytes of the parameters of one `a=fmtp`. Longer ones are not audio.
pub const FMTP_BYTES_MAX: usize = 512;

/// Bytes of the value of a fax parameter. The longest that T.38 defines is `t38UDPRedundancy`.
pub const FAX_VALUE_BYTES_MAX: usize = 32;

/// Highest lifetime of an SRTP master key in packets (RFC 3711 §9.2).
pub const LIFETIME_MAX: u64 = 1 << 48;

/// Highest length of an MKI in bytes that an `a=crypto` line may name (RFC 4568 §6.1).
pub const MKI_BYTES_NAMED_MAX: u8 = 128;

/// Highest length of an MKI in bytes that the data plane reads. Trunks send one, rarely four.
pub const MKI_BYTES_MAX: u8 = 4;

/// Characters of one base64 key before it is decoded: the longest suites need 64.
pub const KEY_TEXT_MAX: usize = 64;

/// Highest packetization time accepted, in milliseconds.
pub const PTIME_MS_MAX: u32 = 1_000;

const _: () = assert!(FORMATS_MAX == 1 << 7);
const _: () = assert!(KEY_TEXT_MAX >= (32 + 14_usize).div_ceil(3) * 4);
