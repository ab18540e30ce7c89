//! What the gateway is told to do: trunks and routes, as one immutable snapshot.
//!
//! ```text
//!   file, store ──► Plan ──► LivePlan::publish ──► View {plan, table} ──► shards, edge, registrations
//!                                 ▲
//!   resolver: names ──────────────┘
//! ```
//! A shard has a [`Reader`], to which each view is handed: it reads without a lock. What all shards
//! count together ([`Counts`]) is carried from one plan to the next.
//!
//! Who reads takes a [`View`] and keeps it for as long as it needs: a publish changes nothing under
//! its hands and drops no call. What a trunk's names stand for is added to the view beside the plan,
//! so that neither side's news can undo the other's.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded, unbounded};
use tokio::sync::watch;

use crate::admission::Loads;
use crate::group::{Group, GroupId, Groups};
use crate::route::Routes;
use crate::trunk::table::Names;
use crate::trunk::{Trunk, TrunkId, TrunkTable};

/// Trunks and routes. A part that did not change may be shared with the plan before.
#[derive(Clone, Default, Debug)]
pub struct Plan {
    /// In the order of lists. Ids are unique and never used for another trunk again.
    pub trunks: Vec<Arc<Trunk>>,
    /// Failover groups with their members.
    pub groups: Groups,
    /// In the order of evaluation.
    pub routes: Routes,
}

/// What differs between two plans, by trunk.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Difference {
    pub added: Vec<TrunkId>,
    pub changed: Vec<TrunkId>,
    pub removed: Vec<TrunkId>,
}

impl Plan {
    pub fn new(trunks: Vec<Arc<Trunk>>, groups: Vec<Group>, routes: Routes) -> Self {
        let groups = Groups::new(groups, trunks.iter().map(|trunk| &**trunk));
        Self { trunks, groups, routes }
    }

    /// The trunk with this id.
    pub fn trunk(&self, id: TrunkId) -> Option<&Arc<Trunk>> {
        self.trunks.iter().find(|trunk| trunk.id == id)
    }

    /// What became of the trunks of `self` in `next`.
    pub fn difference(&self, next: &Self) -> Difference {
        let mut before: HashMap<TrunkId, &Arc<Trunk>> =
            self.trunks.iter().map(|trunk| (trunk.id, trunk)).collect();
        let mut difference = Difference::default();
        for trunk in &next.trunks {
            match before.remove(&trunk.id) {
                None => difference.added.push(trunk.id),
                Some(old) if Arc::ptr_eq(old, trunk) || old == trunk => {}
                Some(_) => difference.changed.push(trunk.id),
            }
        }
        difference.removed = before.into_keys().collect();
        difference.removed.sort();
        difference
    }

    /// A registered Contact outlives an edit: what the registrar knows goes on being ours.
    fn keep_tokens(&mut self, before: &Self) {
        let tokens: HashMap<TrunkId, _> = before
            .trunks
            .iter()
            .filter_map(|trunk| Some((trunk.id, trunk.registration_token.as_ref()?)))
            .collect();
        for trunk in self.trunks.iter_mut().filter(|trunk| trunk.register) {
            if let Some(token) = tokens.get(&trunk.id).copied()
                && trunk.registration_token.as_ref() != Some(token)
            {
                Arc::make_mut(trunk).registration_token = Some(token.clone());
            }
        }
    }
}

/// A plan and the addresses of its trunks, consistent with each other.
#[derive(Clone, Debug)]
pub struct View {
    pub plan: Arc<Plan>,
    pub table: Arc<TrunkTable>,
    /// Grows with each publish, not with new addresses.
    pub generation: u64,
    /// What all shards count together.
    pub counts: Arc<Counts>,
}

/// What all shards count together, each count for itself and without a lock.
#[derive(Clone, Default, Debug)]
pub struct Counts {
    /// Calls of each trunk.
    pub loads: Loads,
    /// Calls that each failover group has had.
    pub turns: HashMap<GroupId, Arc<AtomicU64>>,
}

impl Counts {
    /// Those of the next plan: what was counted goes on, ids are never used again.
    fn next(&self, plan: &Plan) -> Self {
        let load = |id: TrunkId| (id, self.loads.get(&id).cloned().unwrap_or_default());
        let turn = |id: GroupId| (id, self.turns.get(&id).cloned().unwrap_or_default());
        Self {
            loads: plan.trunks.iter().map(|trunk| load(trunk.id)).collect(),
            turns: plan.groups.iter().map(|group| turn(group.id)).collect(),
        }
    }
}

/// Reads the newest [`View`] without a lock: each one is put into a queue of the reader's own.
#[derive(Debug)]
pub struct Reader {
    /// Of the reader's own: that others count their references to a view costs it nothing.
    view: Arc<View>,
    news: Receiver<View>,
}

impl Reader {
    /// The newest plan with the newest addresses.
    pub fn view(&mut self) -> Arc<View> {
        if let Some(view) = self.news.try_iter().last() {
            self.view = Arc::new(view);
        }
        Arc::clone(&self.view)
    }
}

/// Where the newest [`View`] is found. Clones share it.
#[derive(Clone)]
pub struct LivePlan(Arc<Shared>);

struct Shared {
    newest: RwLock<Newest>,
    generation: watch::Sender<u64>,
    bells: Mutex<Vec<Sender<()>>>,
    preparations: Mutex<Vec<Preparation>>,
}

/// What has to be ready for a plan before anybody sees it; `false` when nobody needs it any more.
type Preparation = Box<dyn Fn(&Plan) -> bool + Send>;

struct Newest {
    view: View,
    names: Names,
    readers: Vec<Sender<View>>,
}

impl Newest {
    /// Hands the view to all readers that there still are.
    fn hand_out(&mut self) {
        let view = &self.view;
        self.readers.retain(|reader| reader.send(view.clone()).is_ok());
    }
}

impl LivePlan {
    /// Publishes a first plan; no name stands for an address yet.
    pub fn new(plan: Plan) -> Self {
        let table = Arc::new(TrunkTable::new(plan.trunks.iter().cloned()));
        let counts = Arc::new(Counts::default().next(&plan));
        let view = View { plan: Arc::new(plan), table, generation: 1, counts };
        let newest = RwLock::new(Newest { view, names: Names::default(), readers: Vec::new() });
        let generation = watch::Sender::new(1);
        let (bells, preparations) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Shared { newest, generation, bells, preparations }))
    }

    /// The newest plan with the newest addresses.
    pub fn view(&self) -> View {
        self.0.newest.read().unwrap_or_else(PoisonError::into_inner).view.clone()
    }

    /// A reader that needs no lock from now on.
    pub fn reader(&self) -> Reader {
        let (sender, news) = unbounded();
        let mut newest = self.0.newest.write().unwrap_or_else(PoisonError::into_inner);
        newest.readers.push(sender);
        Reader { view: Arc::new(newest.view.clone()), news }
    }

    /// The newest plan.
    pub fn plan(&self) -> Arc<Plan> {
        self.view().plan
    }

    /// The newest trunks with their addresses.
    pub fn table(&self) -> Arc<TrunkTable> {
        self.view().table
    }

    /// Replaces the plan; the next thing that happens anywhere is handled by the new one. Calls keep
    /// what they were set up with. Names keep the addresses that they stood for.
    /// May read files, so not for the shard.
    pub fn publish(&self, mut plan: Plan) -> Difference {
        // Held throughout: two publishes follow each other.
        let mut preparations = self.0.preparations.lock().unwrap_or_else(PoisonError::into_inner);
        preparations.retain(|prepare| prepare(&plan));
        let mut newest = self.0.newest.write().unwrap_or_else(PoisonError::into_inner);
        plan.keep_tokens(&newest.view.plan);
        let difference = newest.view.plan.difference(&plan);
        let table = TrunkTable::new(plan.trunks.iter().cloned()).resolved(&newest.names);
        let generation = newest.view.generation + 1;
        let counts = Arc::new(newest.view.counts.next(&plan));
        newest.view = View { plan: Arc::new(plan), table: Arc::new(table), generation, counts };
        newest.hand_out();
        drop(newest);
        self.0.generation.send_replace(generation);
        let mut bells = self.0.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.retain(|bell| !matches!(bell.try_send(()), Err(TrySendError::Disconnected(()))));
        difference
    }

    /// Has `prepare` see each plan before it is published, until it returns `false`.
    pub fn prepare(&self, prepare: impl Fn(&Plan) -> bool + Send + 'static) {
        let mut preparations = self.0.preparations.lock().unwrap_or_else(PoisonError::into_inner);
        preparations.push(Box::new(prepare));
    }

    /// Tells what places stand for. A place that is absent has no address.
    pub fn resolve(&self, names: Names) {
        let mut newest = self.0.newest.write().unwrap_or_else(PoisonError::into_inner);
        newest.view.table = Arc::new(newest.view.table.resolved(&names));
        newest.names = names;
        newest.hand_out();
    }

    /// Tells of each publish, for who awaits.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.0.generation.subscribe()
    }

    /// Rings after each publish, for who selects. Several publishes may be one ring.
    pub fn bell(&self) -> Receiver<()> {
        let (sender, receiver) = bounded(1);
        self.0.bells.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        receiver
    }
}

impl std::fmt::Debug for LivePlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LivePlan").field(&self.view().generation).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::locate::Located;
    use std::net::SocketAddr;
    use std::path::Path;

    const TEXT: &str = "[sip]\nudp = [\"192.0.2.1:5060\"]\n[[trunk]]\nname = \"a\"\n\
        host = \"a.example\"\nregister = true\nusername = \"u\"\npassword = \"p\"\n\
        [[trunk]]\nname = \"b\"\nhost = \"198.51.100.2\"\n";

    fn plan(text: &str) -> Plan {
        config::parse(text, Path::new(".")).unwrap_or_else(|errors| panic!("{errors}")).plan()
    }

    fn addresses(address: &str) -> Names {
        let found = Located::literal(SocketAddr::new(address.parse().unwrap(), 5060));
        let place = plan(TEXT).trunks[0].places().remove(0);
        Arc::new(HashMap::from([(place, found)]))
    }

    #[test]
    fn a_publish_keeps_addresses_tokens_and_ids() {
        let live = LivePlan::new(plan(TEXT));
        live.resolve(addresses("198.51.100.1"));
        let before = live.view();
        let next = plan(&TEXT.replace("\"b\"", "\"c\""));
        let token = |trunk: &Trunk| trunk.registration_token.clone();
        assert_ne!(token(&next.trunks[0]), token(&before.plan.trunks[0]), "drawn anew");
        let (bell, waiting, mut reader) = (live.bell(), live.generations(), live.reader());
        let load = Arc::clone(&before.counts.loads[&TrunkId(2)]);
        let difference = live.publish(next);
        let view = live.view();
        assert_eq!(difference.changed, [TrunkId(2)], "an edit of one is no edit of the other");
        assert!(difference.added.is_empty() && difference.removed.is_empty());
        assert_eq!(token(&view.plan.trunks[0]), token(&before.plan.trunks[0]));
        assert_eq!(view.table.targets(TrunkId(1)), ["198.51.100.1:5060".parse().unwrap()]);
        assert_eq!((before.generation, view.generation), (1, 2));
        assert!(Arc::ptr_eq(&view.counts.loads[&TrunkId(2)], &load), "calls go on being counted");
        assert_eq!(reader.view().generation, 2);
        assert!(Arc::ptr_eq(&reader.view().table, &view.table), "the newest of all that came");
        live.resolve(addresses("198.51.100.3"));
        assert!(Arc::ptr_eq(&reader.view().table, &live.table()));
        assert!(bell.try_recv().is_ok() && waiting.has_changed().unwrap());
        // Who took the view before works with what it saw.
        assert_eq!(before.table.get(TrunkId(2)).unwrap().name, "b");
        assert_eq!(view.table.get(TrunkId(2)).unwrap().name, "c");
    }

    #[test]
    fn a_resolver_that_is_late_does_not_undo_a_publish() {
        let live = LivePlan::new(plan(TEXT));
        let mut next = Plan::clone(&live.plan());
        next.trunks.remove(1);
        assert_eq!(live.publish(next).removed, [TrunkId(2)]);
        live.resolve(addresses("198.51.100.9"));
        let view = live.view();
        assert_eq!((view.table.len(), view.generation), (1, 2));
        assert_eq!(view.table.targets(TrunkId(1)), ["198.51.100.9:5060".parse().unwrap()]);
        assert!(view.table.get(TrunkId(2)).is_none(), "an id is not a place");
    }

    #[test]
    fn ids_need_not_be_places() {
        let mut shifted = plan(TEXT);
        for trunk in &mut shifted.trunks {
            Arc::make_mut(trunk).id.0 += 70;
        }
        let live = LivePlan::new(shifted);
        let table = live.table();
        assert_eq!(table.get(TrunkId(72)).unwrap().name, "b");
        assert_eq!(table.hop(TrunkId(72)).unwrap().remote, "198.51.100.2:5060".parse().unwrap());
        assert!(table.get(TrunkId(2)).is_none() && table.targets(TrunkId(2)).is_empty());
    }
}
