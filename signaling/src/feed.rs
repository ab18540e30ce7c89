//! What happens, for who wants to know: bounded and lossy. A listener that is too slow loses the
//! oldest news and is told how many (`RecvError::Lagged`); the shard never waits. Each shard tells
//! into a queue of its own, and who listens hears all of them.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use abi::FlowSnapshot;
use serde::Serialize;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::admission::Alert;
use crate::cdr::Record;
use crate::trunk::{Status, StatusNews, Trunk, TrunkId, TrunkTable, UnknownCaller};

/// One thing that happened.
#[derive(Clone, Serialize, Debug)]
#[serde(tag = "news", rename_all = "snake_case")]
pub enum News {
    /// A call came a step further.
    Call(CallNews),
    /// Somebody who belongs to no trunk knocked for the first time, or again after a while.
    UnknownCaller(UnknownCaller),
    /// A trunk's status became another one.
    Status(StatusNews),
    /// A device on the path to a trunk rewrites SIP.
    Rewritten { trunk: TrunkId, name: String, text: String },
    /// A trunk has nearly as many calls as it may have.
    NearlyFull { trunk: TrunkId, name: String, used: u32, max: u32 },
}

/// A call's step.
#[derive(Clone, Serialize, Debug)]
pub struct CallNews {
    pub step: Step,
    #[serde(flatten)]
    pub call: LiveCall,
}

/// A call as it stands.
#[derive(Clone, Serialize, Debug)]
pub struct LiveCall {
    /// Where it is: `leasing`, `inviting`, `connecting`, `answering`, `talking`, `cancelling`,
    /// `ending`, `over`.
    pub state: &'static str,
    pub from_trunk_id: Option<TrunkId>,
    pub to_trunk_id: Option<TrunkId>,
    /// How its media is, where a list was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media: Option<LiveMedia>,
    /// Its record so far. Numbers are in it in full.
    #[serde(flatten)]
    pub record: Record,
}

/// A call's media now.
#[derive(Clone, Copy, PartialEq, Serialize, Debug)]
pub struct LiveMedia {
    /// The worker that carries it.
    pub worker: u32,
    pub from_caller: Option<LiveWay>,
    pub from_callee: Option<LiveWay>,
}

/// What arrives from one side.
#[derive(Clone, Copy, PartialEq, Serialize, Debug)]
pub struct LiveWay {
    pub packets: u64,
    pub lost: u64,
    /// Interarrival jitter (RFC 3550 §6.4.1); absent while the clock rate is unknown.
    pub jitter_ms: Option<f64>,
    /// By its RTCP; absent without.
    pub rtt_ms: Option<f64>,
    /// Estimated listening quality (ITU-T G.107); absent in the first seconds.
    pub mos: Option<f64>,
}

impl From<FlowSnapshot> for LiveWay {
    fn from(flow: FlowSnapshot) -> Self {
        let known = |value: u64| (value > 0).then_some(value as f64);
        Self {
            packets: flow.packets_in,
            lost: flow.lost,
            jitter_ms: known(flow.rate_hz).map(|hz| flow.jitter as f64 * 1_000.0 / hz),
            rtt_ms: known(flow.rtt_us).map(|us| us / 1_000.0),
            mos: known(flow.mos).map(|hundredths| hundredths / 100.0),
        }
    }
}

impl LiveMedia {
    /// The worse quality of both ways, as far as it is known.
    pub fn mos(&self) -> Option<f64> {
        let both = [self.from_caller, self.from_callee].into_iter().flatten();
        both.filter_map(|way| way.mos).min_by(f64::total_cmp)
    }
}

/// How far a call is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Began,
    Rang,
    Answered,
    Ended,
}

/// Where a shard tells its news, and where those of all shards are heard. Clones share it.
#[derive(Clone, Debug)]
pub struct Feed {
    own: broadcast::Sender<Arc<News>>,
    all: Arc<[broadcast::Sender<Arc<News>>]>,
}

/// Hears the news of all shards: those of one in order.
#[derive(Debug)]
pub struct Ear(Vec<broadcast::Receiver<Arc<News>>>);

impl Ear {
    /// Awaits the next news. May be dropped before it is done, and loses nothing by it.
    ///
    /// # Errors
    /// [`RecvError`]: that some were lost, or that a shard has ended.
    pub async fn recv(&mut self) -> Result<Arc<News>, RecvError> {
        // Who was heard last comes last: a shard that never stops talking drowns out nobody.
        let one = usize::from(self.0.len() > 1);
        self.0.rotate_left(one);
        let mut all: Vec<_> = self.0.iter_mut().map(|one| Box::pin(one.recv())).collect();
        poll_fn(|context| {
            let mut heard = all.iter_mut().map(|one| one.as_mut().poll(context));
            heard.find(Poll::is_ready).unwrap_or(Poll::Pending)
        })
        .await
    }

    /// The next news, if there are any.
    ///
    /// # Errors
    /// [`TryRecvError`]: that there are none, that some were lost, or that a shard has ended.
    pub fn try_recv(&mut self) -> Result<Arc<News>, TryRecvError> {
        let mut heard = self.0.iter_mut().map(broadcast::Receiver::try_recv);
        let something = heard.find(|one| !matches!(one, Err(TryRecvError::Empty)));
        something.unwrap_or(Err(TryRecvError::Empty))
    }
}

impl Default for Feed {
    fn default() -> Self {
        let own = broadcast::Sender::new(NEWS_KEPT_MAX);
        Self { all: Arc::new([own.clone()]), own }
    }
}

impl Feed {
    /// One for each of `count` shards.
    pub fn for_shards(count: usize) -> Vec<Self> {
        let all: Arc<[_]> = (0..count).map(|_| broadcast::Sender::new(NEWS_KEPT_MAX)).collect();
        all.iter().map(|own| Self { own: own.clone(), all: Arc::clone(&all) }).collect()
    }

    /// Tells everybody who listens. `news` is made only when somebody does.
    pub fn tell(&self, news: impl FnOnce() -> News) {
        if self.own.receiver_count() > 0 {
            let _nobody_any_more = self.own.send(Arc::new(news()));
        }
    }

    /// Tells and logs that a trunk's status changed.
    pub fn status(&self, news: StatusNews) {
        let verdict = &news.standing.verdict;
        let (trunk, status) = (news.name.as_str(), verdict.status.as_str());
        let was = news.was.map_or("new", Status::as_str);
        let (reason, code) = (&*verdict.reason, verdict.code);
        match verdict.status {
            Status::Ok | Status::Unmonitored | Status::Disabled | Status::Registering => {
                tracing::info!(trunk, status, was, reason, code, "trunk status");
            }
            _ => tracing::warn!(trunk, status, was, reason, code, "trunk status"),
        }
        self.tell(|| News::Status(news));
    }

    /// Tells and logs that a device on the path to a trunk rewrites SIP.
    pub fn rewritten(&self, trunk: &Trunk, text: &str) {
        let remedy = "switch off SIP ALG in that device, or use TLS";
        tracing::warn!(trunk = trunk.name, remedy, "{text}");
        let (id, name) = (trunk.id, trunk.name.clone());
        self.tell(|| News::Rewritten { trunk: id, name, text: text.to_owned() });
    }

    /// Tells and logs that a trunk is nearly full.
    pub fn nearly_full(&self, trunks: &TrunkTable, alert: Alert) {
        let Alert { trunk, used, max } = alert;
        let name = trunks.get(trunk).map(|trunk| trunk.name.clone()).unwrap_or_default();
        tracing::warn!(trunk = name, used, max, "trunk is nearly full");
        self.tell(|| News::NearlyFull { trunk, name, used, max });
    }

    /// Listens to all shards from now on.
    pub fn listen(&self) -> Ear {
        Ear(self.all.iter().map(broadcast::Sender::subscribe).collect())
    }
}

/// News kept for a slow listener.
pub const NEWS_KEPT_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn nearly(used: u32) -> News {
        News::NearlyFull { trunk: TrunkId(1), name: String::from("t"), used, max: 10 }
    }

    #[test]
    fn a_slow_listener_loses_the_oldest_and_is_told_how_many() {
        let feed = Feed::default();
        feed.tell(|| panic!("nobody listens, so no news is made"));
        let mut slow = feed.listen();
        let more = 5;
        for used in 0..NEWS_KEPT_MAX as u32 + more {
            feed.tell(|| nearly(used));
        }
        assert_eq!(slow.try_recv().unwrap_err(), TryRecvError::Lagged(more.into()));
        let next = slow.try_recv().unwrap();
        assert!(matches!(*next, News::NearlyFull { used: 5, .. }), "{next:?}");
    }

    #[test]
    fn who_listens_hears_every_shard() {
        let feeds = Feed::for_shards(3);
        let mut ear = feeds[1].listen();
        assert_eq!(ear.try_recv().unwrap_err(), TryRecvError::Empty);
        for (used, feed) in (0..).zip(&feeds) {
            feed.tell(|| nearly(used));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut heard: Vec<u32> = (0..3)
            .map(|_| match *runtime.block_on(ear.recv()).unwrap() {
                News::NearlyFull { used, .. } => used,
                ref other => panic!("{other:?}"),
            })
            .collect();
        heard.sort_unstable();
        assert_eq!(heard, [0, 1, 2]);
        assert_eq!(ear.try_recv().unwrap_err(), TryRecvError::Empty);
        drop(feeds);
        assert_eq!(runtime.block_on(ear.recv()).unwrap_err(), RecvError::Closed);
    }

    #[test]
    fn news_say_what_they_are() {
        let json = serde_json::to_value(nearly(9)).unwrap();
        assert_eq!(json["news"], "nearly_full");
        assert_eq!((&json["trunk"], &json["used"]), (&1.into(), &9.into()));
    }
}
