//! Requests and responses.

use std::fmt;

use bytes::Bytes;

use super::{Headers, Method, StatusCode, Uri, chars};

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    Request(Request),
    Response(Response),
}

/// `Debug` shows no credentials and only the length of the body.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    pub method: Method,
    pub uri: Uri,
    pub headers: Headers,
    pub body: Bytes,
}

/// `Debug` shows no credentials and only the length of the body.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    pub status: StatusCode,
    /// The reason phrase as the peer wrote it.
    pub reason: Bytes,
    pub headers: Headers,
    pub body: Bytes,
}

impl Message {
    pub fn headers(&self) -> &Headers {
        match self {
            Self::Request(request) => &request.headers,
            Self::Response(response) => &response.headers,
        }
    }

    pub fn headers_mut(&mut self) -> &mut Headers {
        match self {
            Self::Request(request) => &mut request.headers,
            Self::Response(response) => &mut response.headers,
        }
    }

    pub fn body(&self) -> &Bytes {
        match self {
            Self::Request(request) => &request.body,
            Self::Response(response) => &response.body,
        }
    }

    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Request(request) => request.to_bytes(),
            Self::Response(response) => response.to_bytes(),
        }
    }
}

impl From<Request> for Message {
    fn from(request: Request) -> Self {
        Self::Request(request)
    }
}

impl From<Response> for Message {
    fn from(response: Response) -> Self {
        Self::Response(response)
    }
}

impl Request {
    /// A request without headers and body.
    pub fn new(method: Method, uri: Uri) -> Self {
        Self { method, uri, headers: Headers::new(), body: Bytes::new() }
    }

    /// The bytes to send: full header names, the Content-Length of the body.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = room(&self.headers, &self.body);
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.push(b' ');
        self.uri.write(&mut out);
        out.extend_from_slice(b" SIP/2.0\r\n");
        finish(out, &self.headers, &self.body)
    }
}

impl Response {
    /// A response with the default reason phrase, without headers and body.
    pub fn new(status: StatusCode) -> Self {
        let reason = Bytes::from_static(status.reason().as_bytes());
        Self { status, reason, headers: Headers::new(), body: Bytes::new() }
    }

    /// The bytes to send: full header names, the Content-Length of the body.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = room(&self.headers, &self.body);
        out.extend_from_slice(format!("SIP/2.0 {} ", self.status).as_bytes());
        out.extend_from_slice(&chars::one_line(self.reason.clone()));
        out.extend_from_slice(b"\r\n");
        finish(out, &self.headers, &self.body)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("uri", &self.uri)
            .field("headers", &self.headers)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("reason", &self.reason)
            .field("headers", &self.headers)
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// Room for a message, so that writing it allocates once.
fn room(headers: &Headers, body: &Bytes) -> Vec<u8> {
    Vec::with_capacity(START_LINE_BYTES_USUAL + headers.written_len() + body.len())
}

/// Appends the fields, the Content-Length and the body. What is kept for repetitions is kept for long:
/// no octet more than the message.
fn finish(mut out: Vec<u8>, headers: &Headers, body: &Bytes) -> Bytes {
    headers.write(&mut out);
    out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    out.extend_from_slice(body);
    out.into_boxed_slice().into()
}

/// Room for start line and Content-Length of a usual message.
const START_LINE_BYTES_USUAL: usize = 128;
