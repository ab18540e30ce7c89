//! The operator's side of the API: HTTP/1.1 to a gateway, usually the one on this host.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

use crate::failure::{Failure, HOST, NOT_FOUND, NOT_PERMITTED, REFUSED};

/// Which gateway, and who asks.
#[derive(Clone, clap::Args)]
pub struct Gateway {
    /// Where the API is (TRUNKLINE_URL)
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// PEM file of authorities for an https URL (TRUNKLINE_CA; else the system's)
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// File that holds the token (else TRUNKLINE_TOKEN or TRUNKLINE_ADMIN_TOKEN)
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// A gateway that can be asked.
pub struct Client {
    runtime: Runtime,
    authority: String,
    /// For https.
    tls: Option<Tls>,
    token: String,
}

/// Whom an https gateway has to convince, and who it has to be.
struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

/// An answer that is no problem.
pub struct Reply {
    pub bytes: Bytes,
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Result<Value, Failure> {
        if self.bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.bytes)
            .map_err(|error| Failure::host(format!("the gateway's answer is no JSON: {error}")))
    }
}

impl Gateway {
    /// Gets ready to ask; nothing is sent yet.
    pub fn client(&self) -> Result<Client, Failure> {
        let url = self.url.clone().or_else(|| env::var("TRUNKLINE_URL").ok());
        let url = url.unwrap_or_else(|| String::from(URL_DEFAULT));
        let refused = || {
            let text = format!("--url {url}: write http://HOST:PORT or https://HOST[:PORT]");
            Failure { code: REFUSED, text }
        };
        let (is_secure, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(refused()),
        };
        let authority = rest.trim_end_matches('/');
        if authority.is_empty() || authority.contains('/') {
            return Err(refused());
        }
        let (host, port) = host_and_port(authority);
        let authority = match (port, is_secure) {
            (None, true) => format!("{authority}:443"),
            _ => authority.to_owned(),
        };
        let tls = is_secure.then(|| self.tls(host)).transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failure::host)?;
        Ok(Client { runtime, authority, tls, token: self.token()? })
    }

    fn tls(&self, host: &str) -> Result<Tls, Failure> {
        let named = self.ca.clone().or_else(|| env::var_os("TRUNKLINE_CA").map(PathBuf::from));
        let file = named.unwrap_or_else(|| PathBuf::from(CA_DEFAULT));
        let mut roots = RootCertStore::empty();
        if let Ok(found) = CertificateDer::pem_file_iter(&file) {
            roots.add_parsable_certificates(found.flatten());
        }
        if roots.is_empty() {
            let text = format!(
                "{}: no certificate in it; name a PEM file of authorities by --ca",
                file.display()
            );
            return Err(Failure { code: REFUSED, text });
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Failure {
            code: REFUSED,
            text: format!("--url: {host} is neither a host name nor an address"),
        })?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Failure::host)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Tls { connector: TlsConnector::from(Arc::new(config)), name })
    }

    fn token(&self) -> Result<String, Failure> {
        if let Some(file) = &self.token_file {
            let text = std::fs::read_to_string(file).map_err(|error| Failure {
                code: NOT_PERMITTED,
                text: format!("--token-file {}: {error}", file.display()),
            })?;
            return Ok(text.trim().to_owned());
        }
        let found = ["TRUNKLINE_TOKEN", "TRUNKLINE_ADMIN_TOKEN"];
        found.into_iter().find_map(|name| env::var(name).ok()).ok_or_else(|| Failure {
            code: NOT_PERMITTED,
            text: String::from(
                "no token: set TRUNKLINE_TOKEN, or name a file by --token-file; \
                 the gateway printed the first one when it started first",
            ),
        })
    }
}

impl Client {
    /// Asks; a problem is a failure that says what the gateway said.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Reply, Failure> {
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        self.send(method, path, &[("content-type", "application/json")], bytes)
    }

    /// Asks for JSON.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask("GET", path, None)?.json()
    }

    /// Sends a request as it is.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Reply, Failure> {
        let request = self.request(method, path, headers, body)?;
        self.runtime.block_on(async {
            let asking = async {
                let response = self.exchange(request).await?;
                let status = response.status().as_u16();
                let body = response.into_body().collect().await;
                let bytes = body.map_err(|error| self.unreachable(&error))?.to_bytes();
                Ok::<_, Failure>((status, bytes))
            };
            let limited = tokio::time::timeout(PATIENCE, asking).await;
            let (status, bytes) = limited.map_err(|error| self.unreachable(&error))??;
            if status < 400 { Ok(Reply { bytes }) } else { Err(problem(status, &bytes)) }
        })
    }

    /// Follows server-sent events until `each` says that it has seen enough.
    pub fn follow(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        mut each: impl FnMut(&str, &Value) -> bool,
    ) -> Result<(), Failure> {
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let headers = [("content-type", "application/json"), ("accept", "text/event-stream")];
        let request = self.request(method, path, &headers, bytes)?;
        self.runtime.block_on(async {
            let response = self.exchange(request).await?;
            let status = response.status().as_u16();
            let mut body = response.into_body();
            if status >= 400 {
                let bytes = body.collect().await.map_err(|error| self.unreachable(&error))?;
                return Err(problem(status, &bytes.to_bytes()));
            }
            let mut text = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| self.unreachable(&error))?;
                text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                for (event, data) in events(&mut text) {
                    if !each(&event, &data) {
                        return Ok(());
                    }
                }
            }
            Ok(())
        })
    }

    fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header("host", &self.authority)
            .header("authorization", format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::new(body)).map_err(|error| Failure {
            code: REFUSED,
            text: format!("this cannot be asked: {error}"),
        })
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
        let socket = TcpStream::connect(&self.authority).await;
        let socket = socket.map_err(|error| self.unreachable(&error))?;
        match &self.tls {
            None => self.exchange_over(socket, request).await,
            Some(Tls { connector, name }) => {
                let secure = connector.connect(name.clone(), socket).await;
                let secure = secure.map_err(|error| self.unreachable(&error))?;
                self.exchange_over(secure, request).await
            }
        }
    }

    async fn exchange_over(
        &self,
        socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Failure> {
        let (mut sender, connection): (SendRequest<Full<Bytes>>, _) =
            handshake(TokioIo::new(socket)).await.map_err(|error| self.unreachable(&error))?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> Failure {
        let at = &self.authority;
        Failure {
            code: HOST,
            text: format!(
                "no answer from the gateway at {at}: {error}; check that it runs with [store] and \
                 [http], or name it by --url"
            ),
        }
    }
}

/// Parts of an authority; brackets of IPv6 are taken off.
fn host_and_port(authority: &str) -> (&str, Option<&str>) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

/// Takes whole events out of what was received.
fn events(text: &mut Vec<u8>) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    while let Some(end) = text.windows(2).position(|pair| pair == b"\n\n") {
        let block: Vec<u8> = text.drain(..end + 2).collect();
        let block = String::from_utf8_lossy(&block);
        let line = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        let (Some(event), Some(data)) = (line("event: "), line("data: ")) else { continue };
        if let Ok(data) = serde_json::from_str(data) {
            found.push((event.to_owned(), data));
        }
    }
    found
}

/// A problem as a failure: what is wrong, the remedy, the code for scripts.
fn problem(status: u16, bytes: &[u8]) -> Failure {
    let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |field: &str| body.get(field).and_then(Value::as_str).unwrap_or_default();
    let code = match status {
        401 | 403 => NOT_PERMITTED,
        404 => NOT_FOUND,
        500.. => HOST,
        _ => REFUSED,
    };
    let mut lines = vec![format!("{}: {}", text("title"), text("detail"))];
    let findings = body.get("findings").and_then(Value::as_array);
    if findings.is_none() && !text("remedy").is_empty() {
        lines.push(format!("  remedy: {}", text("remedy")));
    }
    Failure { code, text: lines.join("\n") }
}

/// The text as a value of a query (RFC 3986 §2.1).
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

const URL_DEFAULT: &str = "http://127.0.0.1:8080";
/// Debian's bundle of authorities.
const CA_DEFAULT: &str = "/etc/ssl/certs/ca-certificates.crt";
/// How long one answer may take; a backup of a large store is the slowest.
const PATIENCE: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_whole_however_they_are_cut() {
        let wire =
            b"retry: 3000\n\nevent: call\ndata: {\"a\":1}\n\n: alive\n\nevent: x\ndata: 2\n\n";
        for cut in 0..wire.len() {
            let mut text = wire[..cut].to_vec();
            let mut found = events(&mut text);
            text.extend_from_slice(&wire[cut..]);
            found.extend(events(&mut text));
            let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!((names, text.len()), (vec!["call", "x"], 0), "cut at {cut}");
        }
    }

    #[test]
    fn a_problem_keeps_its_remedy_and_gets_a_code() {
        let body = br#"{"title":"In use","detail":"by route r","remedy":"change it first"}"#;
        let failure = problem(409, body);
        assert_eq!(failure.code, REFUSED);
        assert!(failure.text.contains("by route r") && failure.text.contains("change it first"));
        assert_eq!(problem(401, b"").code, NOT_PERMITTED);
        assert_eq!(problem(404, b"no json").code, NOT_FOUND);
    }

    #[test]
    fn hosts_and_ports_are_told_apart() {
        for (authority, parts) in [
            ("gw:8443", ("gw", Some("8443"))),
            ("gw", ("gw", None)),
            ("[2001:db8::1]:8443", ("2001:db8::1", Some("8443"))),
            ("[2001:db8::1]", ("2001:db8::1", None)),
        ] {
            assert_eq!(host_and_port(authority), parts, "{authority}");
        }
    }

    #[test]
    fn names_are_quoted_for_a_query() {
        assert_eq!(quoted("a b&c=+é"), "a%20b%26c%3D%2B%C3%A9");
    }
}
