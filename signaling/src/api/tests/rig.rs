//! An API over a store of its own, with a token of each role.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use abi::{Duty, Reason};
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;

use super::super::{Api, Begin, Gateway};
use crate::ask::{Ask, asks};
use crate::drain::Drained;
use crate::feed::Feed;
use crate::media::{OrderError, WorkerReport};
use crate::plan::{LivePlan, Plan};
use crate::probe::{Refused, Update};
use crate::route::{Explanation, Outcome, Step};
use crate::store::tests::{Book, Scratch};
use crate::store::{Actor, Role, Store};
use crate::trunk::{TrunkId, UnknownCaller};

pub struct Rig {
    pub api: Api,
    pub store: Store,
    tokens: HashMap<Option<Role>, String>,
    runtime: tokio::runtime::Runtime,
    pub scratch: Arc<Scratch>,
    pub shard: Shard,
    pub probes: Probes,
}

/// Where tests of connections go.
#[derive(Clone, Default)]
pub struct Probes {
    /// What the next ones come to.
    pub ends: Arc<Mutex<VecDeque<End>>>,
    /// Trunks and numbers that were tested.
    pub begun: Arc<Mutex<Vec<Begun>>>,
}

/// What a test tells, or why it does not begin.
pub type End = Result<Vec<Update>, Refused>;
/// The trunk and the number to call.
pub type Begun = (TrunkId, Option<String>);

impl Probes {
    fn begin(&self) -> Begin {
        let probes = self.clone();
        Arc::new(move |trunk, call| {
            probes.begun.lock().unwrap().push((trunk.id, call));
            let updates = probes.ends.lock().unwrap().pop_front().unwrap()?;
            let (sender, receiver) = tokio::sync::mpsc::channel(updates.len());
            updates.into_iter().for_each(|update| sender.try_send(update).unwrap());
            Ok(receiver)
        })
    }
}

/// Answers questions as a shard would.
pub struct Shard {
    /// Calls that were hung up.
    pub hung_up: Arc<Mutex<Vec<String>>>,
    /// Who knocked.
    pub unknown: Arc<Mutex<Vec<UnknownCaller>>>,
    /// Routing decisions that were asked for.
    pub explained: Arc<Mutex<Vec<Explained>>>,
    /// What workers were told.
    pub ordered: Arc<Mutex<Vec<Told>>>,
}

/// A worker, or any that stands by, and what it is to do.
pub type Told = (Option<u32>, Duty);

/// Trunk, called and caller number, time.
pub type Explained = (TrunkId, String, String, Option<jiff::Timestamp>);

impl Shard {
    fn start(questions: crossbeam::channel::Receiver<Ask>) -> Self {
        let shard = Self {
            hung_up: Arc::default(),
            unknown: Arc::default(),
            explained: Arc::default(),
            ordered: Arc::default(),
        };
        let ordered = Arc::clone(&shard.ordered);
        let (hung_up, unknown) = (Arc::clone(&shard.hung_up), Arc::clone(&shard.unknown));
        let explained = Arc::clone(&shard.explained);
        std::thread::spawn(move || {
            for question in questions {
                match question {
                    Ask::Calls(reply) => drop(reply.send(Vec::new())),
                    Ask::HangUp { call, reply } => {
                        let is_live = call.starts_with("live");
                        hung_up.lock().unwrap().push(call);
                        let _gave_up = reply.send(is_live);
                    }
                    Ask::Trunks { reply, .. } => drop(reply.send(Vec::new())),
                    Ask::Gateway(reply) => drop(reply),
                    Ask::Drain { reply, .. } => drop(reply.send(Drained::Empty)),
                    Ask::Resume { reply, .. } => drop(reply.send(())),
                    Ask::Close(reply) => drop(reply.send(())),
                    Ask::Explain { from, called, caller, at, reply } => {
                        let step = Step::Route {
                            route: "r".into(),
                            takes: false,
                            why: format!("called {called} does not fit _0."),
                        };
                        let outcome = Outcome::Refused { code: 404, reason: "no route".into() };
                        explained.lock().unwrap().push((from, called, caller, at));
                        drop(reply.send(Explanation { steps: vec![step], outcome }));
                    }
                    Ask::Workers(reply) => drop(reply.send(vec![worker()])),
                    Ask::Order { worker, duty, reply } => {
                        ordered.lock().unwrap().push((worker, duty));
                        let end = match worker {
                            Some(id @ 1..) => Err(OrderError::NoSuchWorker(id)),
                            None if duty == (Duty::Serve { core: None }) => {
                                Err(OrderError::NoneStandsBy)
                            }
                            _ if duty == Duty::Drain => {
                                Err(OrderError::Refused(Reason::LastWorker))
                            }
                            _ => Ok(worker.unwrap_or(1)),
                        };
                        let _gave_up = reply.send(end);
                    }
                    Ask::UnknownCallers(reply) => {
                        drop(reply.send(unknown.lock().unwrap().clone()));
                    }
                    Ask::ForgetCaller { source, reply } => {
                        let mut all = unknown.lock().unwrap();
                        let before = all.len();
                        all.retain(|caller| caller.source != source);
                        let _gave_up = reply.send(all.len() < before);
                    }
                }
            }
        });
        shard
    }
}

/// A worker of a data plane.
pub fn worker() -> WorkerReport {
    WorkerReport {
        id: 0,
        state: "running",
        core: Some(3),
        flows: 2,
        flows_max: 64,
        at_ns: 7,
        counters: [("rx_packets", 5)].into(),
        histograms: std::collections::BTreeMap::new(),
    }
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.bytes)))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body, after a look at the status.
    pub fn expect(self, status: u16) -> Value {
        let text = String::from_utf8_lossy(&self.bytes).into_owned();
        assert_eq!(self.status.as_u16(), status, "{text}");
        if self.bytes.is_empty() { Value::Null } else { self.json() }
    }
}

impl Rig {
    pub fn new() -> Self {
        let scratch = Arc::new(Scratch::new("api"));
        let store = scratch.open_with(Book::default()).unwrap();
        let mut tokens = HashMap::new();
        for role in Role::ALL {
            let minted = store
                .ask_blocking(move |keeper| {
                    keeper.mint(&Actor::gateway(), role.name(), role, None, None)
                })
                .unwrap();
            tokens.insert(Some(role), minted.secret.unwrap().expose().clone());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (asks, mut questions) = asks(1);
        let probes = Probes::default();
        let gateway = Gateway {
            asks,
            feed: Feed::default(),
            plan: LivePlan::new(Plan::default()),
            test: probes.begin(),
            cdrs: scratch.path("cdr.jsonl"),
        };
        let shard = Shard::start(questions.remove(0));
        let api = Api::new(store.clone(), gateway);
        Self { api, store, tokens, runtime, scratch, shard, probes }
    }

    pub fn token(&self, role: Role) -> &str {
        &self.tokens[&Some(role)]
    }

    /// Sends a request exactly as it is.
    pub fn send(&self, request: Request<Body>) -> Reply {
        let service = TowerToHyperService::new(self.api.router());
        // Events have no end: their beginning tells enough.
        let is_endless = request.uri().path() == "/api/v1/events";
        self.runtime.block_on(async {
            let response = service.call(request).await.unwrap();
            let (parts, body) = response.into_parts();
            let bytes = match is_endless && parts.status == 200 {
                true => std::pin::pin!(body).frame().await.unwrap().unwrap().into_data().unwrap(),
                false => body.collect().await.unwrap().to_bytes(),
            };
            let bytes = bytes.to_vec();
            Reply { status: parts.status, headers: parts.headers, bytes }
        })
    }

    /// A request with a token, `If-Match: *`, and a JSON body.
    pub fn request(
        &self,
        role: Option<Role>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Reply {
        let path = if path.starts_with("/api") || path == "/metrics" {
            path.into()
        } else {
            format!("/api/v1{path}")
        };
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = self.tokens.get(&role) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let given = |name: &str| headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        for (name, value) in [("content-type", "application/json"), ("if-match", "*")] {
            if !given(name) {
                request = request.header(name, value);
            }
        }
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap())
    }

    /// As an operator.
    pub fn ask(&self, method: &str, path: &str, body: Value) -> Reply {
        self.request(Some(Role::Operator), method, path, &[], body.to_string())
    }

    /// As an administrator.
    pub fn admin(&self, method: &str, path: &str, body: Value) -> Reply {
        self.request(Some(Role::Admin), method, path, &[], body.to_string())
    }

    pub fn add(&self, path: &str, body: Value) -> u64 {
        self.ask("POST", path, body).expect(201)["id"].as_u64().unwrap()
    }
}

/// Tells of no trunk that leaves.
pub fn nobody_moves() -> crate::planner::Moves {
    tokio::sync::mpsc::unbounded_channel().1
}

pub fn trunk(name: &str) -> Value {
    serde_json::json!({"name": name, "host": "192.0.2.1"})
}

/// A listener without a certificate.
pub fn plainly(address: std::net::SocketAddr) -> crate::config::Http {
    crate::config::Http { listen: vec![address], tls: None }
}
