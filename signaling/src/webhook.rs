//! `[webhook]`: what happens is told to a server of the operator's, one POST for each event.
//!
//! Its own thread and runtime, a listener of the feed like any other: nothing of a call waits for it.
//! An event that cannot be delivered is tried again a few times, then counted, logged and left; who
//! is too slow loses the oldest and is told how many (`lost`).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::broadcast::error::RecvError;
use tokio_rustls::TlsConnector;

use crate::config::Webhook;
use crate::feed::{Ear, Feed};

/// What became of events.
#[derive(Default, Debug)]
pub struct Tally {
    /// The server said 2xx.
    pub delivered: AtomicU64,
    /// Given up.
    pub failed: AtomicU64,
}

/// Starts telling; ends with the process.
///
/// # Errors
/// The system's error when there is no thread.
pub fn start(hook: Webhook, feed: &Feed) -> io::Result<Arc<Tally>> {
    let (news, tally) = (feed.listen(), Arc::new(Tally::default()));
    let counted = Arc::clone(&tally);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let told = async move { run(&hook, news, &counted, PAUSES).await };
    std::thread::Builder::new()
        .name(String::from("webhook"))
        .spawn(move || runtime.block_on(told))?;
    Ok(tally)
}

async fn run(hook: &Webhook, mut news: Ear, tally: &Tally, pauses: [Duration; TRIES]) {
    loop {
        let event = match news.recv().await {
            Ok(news) => serde_json::to_value(&*news).unwrap_or_default(),
            Err(RecvError::Lagged(count)) => json!({ "news": "lost", "count": count }),
            Err(RecvError::Closed) => return,
        };
        let kind = event.get("news").and_then(Value::as_str).unwrap_or_default();
        if kind != "lost" && !hook.kinds.iter().any(|wanted| wanted == kind) {
            continue;
        }
        let body = Bytes::from(json!({ "at": Timestamp::now(), "event": event }).to_string());
        let counter = match deliver(hook, &body, pauses).await {
            Ok(()) => &tally.delivered,
            Err(cause) => {
                let url = hook.url.as_str();
                tracing::error!(url, kind, cause, "an event was not delivered; see [webhook]");
                &tally.failed
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Sends one event until the server takes it, or will not.
async fn deliver(hook: &Webhook, body: &Bytes, pauses: [Duration; TRIES]) -> Result<(), String> {
    let mut cause = String::new();
    for pause in pauses {
        tokio::time::sleep(pause).await;
        cause = match tokio::time::timeout(PATIENCE, post(hook, body.clone())).await {
            Ok(Ok(status)) if status.is_success() => return Ok(()),
            Ok(Ok(status)) => {
                let cause = format!("the server answered {status}");
                let passes = matches!(status.as_u16(), 408 | 429) || status.is_server_error();
                if !passes {
                    return Err(cause);
                }
                cause
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {PATIENCE:?}"),
        };
    }
    Err(cause)
}

async fn post(hook: &Webhook, body: Bytes) -> io::Result<StatusCode> {
    let socket = TcpStream::connect((hook.url.host.as_str(), hook.url.port)).await?;
    match &hook.tls {
        None => exchange(hook, socket, body).await,
        Some(config) => {
            let name = ServerName::try_from(hook.url.host.clone()).map_err(io::Error::other)?;
            let connector = TlsConnector::from(Arc::clone(config));
            exchange(hook, connector.connect(name, socket).await?, body).await
        }
    }
}

async fn exchange(
    hook: &Webhook,
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    body: Bytes,
) -> io::Result<StatusCode> {
    let (mut sender, connection) =
        handshake(TokioIo::new(socket)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let mut request = Request::post(hook.url.path.as_str())
        .header(header::HOST, format!("{}:{}", hook.url.host, hook.url.port))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("Trunkline/", env!("CARGO_PKG_VERSION")));
    if let Some(secret) = &hook.secret {
        request = request.header(SIGNATURE, signature(secret.expose().as_bytes(), &body));
    }
    let request = request.body(Full::new(body)).map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    Ok(response.status())
}

/// `sha256=` and the HMAC-SHA-256 of the body in hexadecimal: who knows the secret sees that the event
/// is ours.
fn signature(secret: &[u8], body: &[u8]) -> String {
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    let digest = mac.chain_update(body).finalize().into_bytes();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

/// Header of the signature.
pub const SIGNATURE: &str = "x-trunkline-signature";
/// How often an event is sent at most.
pub const TRIES: usize = 4;
/// Before each try.
pub const PAUSES: [Duration; TRIES] =
    [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];
/// How long one try may take.
pub const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::config;
    use crate::feed::News;
    use crate::net::Https;
    use crate::net::fixture::{Authority, Place};
    use crate::trunk::TrunkId;

    const QUICK: [Duration; TRIES] = [Duration::ZERO; TRIES];

    fn hook(port: u16, more: &str) -> Webhook {
        let text = format!(
            "[sip]\nudp = [\"192.0.2.1:5060\"]\n[webhook]\nurl = \"http://127.0.0.1:{port}/in?a=1\"\n\
             secret = \"canary-secret\"\n{more}"
        );
        config::parse(&text, std::path::Path::new(".")).unwrap().webhook.unwrap()
    }

    fn news(used: u32) -> News {
        News::NearlyFull { trunk: TrunkId(1), name: String::from("t"), used, max: 10 }
    }

    /// A server that answers with these statuses, one a connection; gives what it was sent.
    fn server(answers: &'static [u16]) -> (u16, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = std::thread::spawn(move || {
            let mut requests = Vec::new();
            for status in answers {
                let (mut socket, _) = listener.accept().unwrap();
                let (mut text, mut part) = (Vec::new(), [0; 4_096]);
                while !text.ends_with(b"}}") {
                    let length = socket.read(&mut part).unwrap();
                    assert!(length > 0, "the request is whole");
                    text.extend(&part[..length]);
                }
                requests.push(String::from_utf8(text).unwrap());
                write!(socket, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").unwrap();
            }
            requests
        });
        (port, served)
    }

    /// Tells the news and waits for the end; delivered and failed.
    fn tell(hook: &Webhook, all: &[News]) -> (u64, u64) {
        let (feed, tally) = (Feed::default(), Tally::default());
        let listener = feed.listen();
        all.iter().for_each(|one| feed.tell(|| one.clone()));
        drop(feed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(hook, listener, &tally, QUICK));
        (tally.delivered.load(Ordering::Relaxed), tally.failed.load(Ordering::Relaxed))
    }

    #[test]
    fn an_event_is_posted_and_signed() {
        let (port, served) = server(&[200, 204]);
        assert_eq!(tell(&hook(port, ""), &[news(9), news(10)]), (2, 0));
        let requests = served.join().unwrap();
        let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /in?a=1 HTTP/1.1\r\n"), "{head}");
        let signed = signature(b"canary-secret", body.as_bytes());
        assert!(head.contains(&format!("{SIGNATURE}: {signed}")), "{head}");
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            (&body["event"]["news"], &body["event"]["used"]),
            (&"nearly_full".into(), &9.into())
        );
        assert!(body["at"].is_string());
        assert!(!format!("{requests:?}").contains("canary-secret"));
    }

    /// One server that shows a certificate of `authority`, to a gateway that trusts `trusted`.
    fn tell_by_tls(authority: &Authority, trusted: &Authority) -> ((u64, u64), Option<String>) {
        let place = Place::new();
        place.certificate("hook", &authority.issue(&["localhost"]));
        place.write("ca.pem", &trusted.pem());
        let [certificate, key] = ["hook.pem", "hook.key"].map(|name| place.path().join(name));
        let https = Https::load(&certificate, &key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                listener.set_nonblocking(true).unwrap();
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                for _ in 0..TRIES {
                    let (socket, _) = listener.accept().await.unwrap();
                    let Ok(mut socket) = https.accept(socket).await else { continue };
                    let (mut text, mut part) = (Vec::new(), [0; 4_096]);
                    while !text.ends_with(b"}}") {
                        let length = socket.read(&mut part).await.unwrap();
                        text.extend(&part[..length]);
                    }
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                    socket.write_all(answer).await.unwrap();
                    return Some(String::from_utf8(text).unwrap());
                }
                None
            })
        });
        let text = format!(
            "[sip]\nudp = [\"192.0.2.1:5060\"]\n[webhook]\nurl = \"https://localhost:{port}/\"\n\
             tls_ca = \"ca.pem\""
        );
        let hook = config::parse(&text, place.path()).unwrap().webhook.unwrap();
        (tell(&hook, &[news(9)]), served.join().unwrap())
    }

    #[test]
    fn an_event_goes_by_tls_to_a_server_that_is_trusted_and_to_no_other() {
        let (ours, other) = (Authority::new("ours"), Authority::new("other"));
        let (told, request) = tell_by_tls(&ours, &ours);
        assert_eq!(told, (1, 0));
        assert!(request.unwrap().contains("nearly_full"));
        assert_eq!(tell_by_tls(&other, &ours), ((0, 1), None), "nothing was said to it");
    }

    #[test]
    fn the_signature_is_that_of_rfc_4231() {
        let want = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature(b"Jefe", b"what do ya want for nothing?"), want);
    }

    #[test]
    fn what_may_pass_is_tried_again_and_what_will_not_is_left() {
        let (port, served) = server(&[503, 429, 200, 400, 200]);
        // The first event needs three tries; the second is refused for good; the third goes on.
        assert_eq!(tell(&hook(port, ""), &[news(1), news(2), news(3)]), (2, 1));
        assert_eq!(served.join().unwrap().len(), 5);
        let (port, served) = server(&[500; TRIES]);
        assert_eq!(tell(&hook(port, ""), &[news(1)]), (0, 1));
        assert_eq!(served.join().unwrap().len(), TRIES);
        // Nobody listens there any more.
        assert_eq!(tell(&hook(port, ""), &[news(1)]), (0, 1));
    }

    #[test]
    fn only_the_wanted_kinds_are_told() {
        let (port, served) = server(&[]);
        assert_eq!(tell(&hook(port, "kinds = [\"status\"]\n"), &[news(1)]), (0, 0));
        assert!(served.join().unwrap().is_empty());
    }
}
