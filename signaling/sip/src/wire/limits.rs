//! Every limit of the wire layer, with its reason. Beyond one, parsing fails with an error that
//! names it; nothing is cut silently.

/// Bytes of one message, head and body: the largest UDP payload that a length field can name.
pub const MESSAGE_BYTES_MAX: usize = 65_535;

/// Header lines of one message (a folded line counts once).
pub const HEADERS_MAX: usize = 256;

/// Bytes of the start line, and of one header line with its folds. RFC 4475 §3.1.1.7 has lines of
/// up to about 1,000.
pub const HEADER_BYTES_MAX: usize = 8_192;

/// Bytes of one URI.
pub const URI_BYTES_MAX: usize = 4_096;

/// Bytes of a method name.
pub const METHOD_BYTES_MAX: usize = 64;

/// Via values of one message: Max-Forwards starts at 70 (RFC 3261 §8.1.1.6), so an honest path is
/// no longer.
pub const VIA_MAX: usize = 70;

/// Elements of one comma-separated list, counted over all its lines.
pub const LIST_MAX: usize = 256;

/// Parameters of one URI or header value.
pub const PARAMS_MAX: usize = 64;

/// Bytes of a Call-ID: it is a key of tables.
pub const CALL_ID_BYTES_MAX: usize = 512;

/// Bytes of a body. The message limit binds first; the name exists so that a Content-Length can be
/// refused before a byte of the body came.
pub const CONTENT_BYTES_MAX: usize = MESSAGE_BYTES_MAX;

/// Bytes that a `Framer` holds back when its frames are not taken.
pub const FRAMER_BYTES_MAX: usize = 1 << 20;

/// The largest CSeq number (RFC 3261 §8.1.1.5).
pub const CSEQ_MAX: u32 = (1 << 31) - 1;

const _: () = assert!(HEADER_BYTES_MAX < MESSAGE_BYTES_MAX);
const _: () = assert!(URI_BYTES_MAX < HEADER_BYTES_MAX);
const _: () = assert!(FRAMER_BYTES_MAX > 2 * MESSAGE_BYTES_MAX);
