//! From what is stored to what runs: the store's documents become the plan, by the reader and the
//! rules of the configuration file.
//!
//! What was read once is kept by id and version, so that a save reads the objects that it changes
//! and no other.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::mpsc;

use crate::config::{
    self, Config, Media, Sip, Surroundings, group_from_json, route_from_json, trunk_from_json,
};
use crate::group::{Group, GroupId};
use crate::plan::{LivePlan, Plan};
use crate::route::{Route, RouteId, Routes};
use crate::store::{Catalog, Consumer, Departure, Finding, Kind, Object};
use crate::trunk::tones::{AudioTones, Greeting, Spoken};
use crate::trunk::{Trunk, TrunkId};

/// Follows the catalog and publishes the plan.
pub struct Planner {
    sip: Sip,
    media: Media,
    base: PathBuf,
    live: LivePlan,
    groups: HashMap<u32, Read<Group>>,
    trunks: HashMap<u32, Read<Arc<Trunk>>>,
    routes: HashMap<u32, Read<Route>>,
    /// Deleted trunks that still have calls or a registration.
    departing: BTreeMap<u32, Arc<Trunk>>,
    moves: mpsc::UnboundedSender<Move>,
}

/// Who has to be seen off, or welcomed back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Move {
    /// This trunk was deleted.
    Left(TrunkId),
    /// This trunk was brought back before it was gone.
    Back(TrunkId),
}

/// Where moves are heard of.
pub type Moves = mpsc::UnboundedReceiver<Move>;

/// What a version of a document reads as; `None` when it breaks a rule of this gateway's version.
struct Read<T> {
    version: u64,
    value: Option<T>,
}

impl Planner {
    /// A planner that publishes to `live`. Relative paths in documents count from the file's directory.
    /// Deleted trunks run on until [`Consumer::depart`] says otherwise, if somebody hears of them.
    pub fn new(config: &Config, live: LivePlan, moves: mpsc::UnboundedSender<Move>) -> Self {
        let (groups, trunks, routes, departing) = Default::default();
        let (sip, media) = (config.sip.clone(), config.media.clone());
        Self {
            sip,
            media,
            base: config.base.clone(),
            live,
            groups,
            trunks,
            routes,
            departing,
            moves,
        }
    }

    /// Keeps trunks that left the catalog for as long as they need.
    fn see_off(&mut self, catalog: &Catalog) {
        let is_there = |id: u32| catalog.get(Kind::Trunk, id).is_some();
        let moves = &self.moves;
        self.departing.retain(|id, _| {
            let back = is_there(*id);
            if back {
                let _nobody_hears = moves.send(Move::Back(TrunkId(*id)));
            }
            !back
        });
        let left: Vec<u32> = self.trunks.keys().copied().filter(|id| !is_there(*id)).collect();
        for id in left {
            let trunk = self.trunks.remove(&id).and_then(|read| read.value);
            if let Some(trunk) = trunk
                && self.moves.send(Move::Left(TrunkId(id))).is_ok()
            {
                self.departing.insert(id, trunk);
            }
        }
    }

    /// What an object is checked against.
    fn around<'a>(
        &'a self,
        trunks: &'a [Arc<Trunk>],
        groups: &'a [Group],
        routes: &'a Routes,
    ) -> Surroundings<'a> {
        Surroundings {
            sip: &self.sip,
            media: &self.media,
            base: &self.base,
            trunks,
            groups,
            routes,
        }
    }

    /// The failover groups of a catalog, read; those that do not read are left out and logged once.
    fn groups(&mut self, catalog: &Catalog) -> Vec<Group> {
        let nothing = Routes::default();
        let mut all = Vec::with_capacity(catalog.count(Kind::Group));
        for object in catalog.all(Kind::Group) {
            let known = self.groups.get(&object.id).filter(|read| read.version == object.version);
            let value = match known {
                Some(read) => read.value.clone(),
                None => {
                    let around = self.around(&[], &[], &nothing);
                    let read = group_from_json(&whole(object), GroupId(object.id), around);
                    let value = taken(object, read.map(|checked| checked.value));
                    let version = object.version;
                    self.groups.insert(object.id, Read { version, value: value.clone() });
                    value
                }
            };
            all.extend(value);
        }
        self.groups.retain(|id, _| catalog.get(Kind::Group, *id).is_some());
        all
    }

    /// The same of trunks.
    fn trunks(&mut self, catalog: &Catalog, groups: &[Group]) -> Vec<Arc<Trunk>> {
        let routes = Routes::default();
        let mut all = Vec::with_capacity(catalog.count(Kind::Trunk));
        for object in catalog.all(Kind::Trunk) {
            let known = self.trunks.get(&object.id).filter(|read| read.version == object.version);
            let value = match known {
                Some(read) => read.value.clone(),
                None => {
                    // The rules among trunks were kept when it was saved.
                    let around = self.around(&[], groups, &routes);
                    let read = trunk_from_json(&whole(object), TrunkId(object.id), around);
                    let value = taken(object, read.map(|checked| greeted(checked.value, object)));
                    let version = object.version;
                    self.trunks.insert(object.id, Read { version, value: value.clone() });
                    value
                }
            };
            all.extend(value);
        }
        all
    }

    fn routes(&mut self, catalog: &Catalog, trunks: &[Arc<Trunk>], groups: &[Group]) -> Routes {
        let nothing = Routes::default();
        let mut all = Vec::with_capacity(catalog.count(Kind::Route));
        for object in catalog.all(Kind::Route) {
            let known = self.routes.get(&object.id).filter(|read| read.version == object.version);
            let value = match known {
                Some(read) => read.value.clone(),
                None => {
                    let around = self.around(trunks, groups, &nothing);
                    let read = route_from_json(&whole(object), RouteId(object.id), around);
                    let value = taken(object, read.map(|checked| checked.value));
                    let version = object.version;
                    self.routes.insert(object.id, Read { version, value: value.clone() });
                    value
                }
            };
            all.extend(value);
        }
        self.routes.retain(|id, _| catalog.get(Kind::Route, *id).is_some());
        Routes::new(all)
    }

    /// The failover groups of a candidate, as [`Planner::candidate_trunks`] has the trunks.
    fn candidate_groups(
        &self,
        candidate: &Catalog,
        changed: &[Arc<Object>],
        findings: &mut Vec<Finding>,
    ) -> Vec<Group> {
        let is_changed = |id: u32| changed.iter().any(|o| o.kind == Kind::Group && o.id == id);
        let mut all: Vec<Group> = candidate
            .all(Kind::Group)
            .filter(|object| !is_changed(object.id))
            .filter_map(|object| self.groups.get(&object.id)?.value.clone())
            .collect();
        let nothing = Routes::default();
        for object in changed.iter().filter(|object| object.kind == Kind::Group) {
            // Names of trunks are told apart from it when they are read.
            let around = self.around(&[], &all, &nothing);
            match group_from_json(&whole(object), GroupId(object.id), around) {
                Ok(checked) => all.push(checked.value),
                Err(errors) => findings.extend(errors.into_iter().map(found)),
            }
        }
        all
    }

    /// The trunks of a candidate: those that were read before, and the changed ones as they would
    /// be. What is wrong with a changed one is found here.
    fn candidate_trunks(
        &self,
        candidate: &Catalog,
        changed: &[Arc<Object>],
        groups: &[Group],
        findings: &mut Vec<Finding>,
    ) -> Vec<Arc<Trunk>> {
        let is_changed = |id: u32| changed.iter().any(|o| o.kind == Kind::Trunk && o.id == id);
        let mut all: Vec<Arc<Trunk>> = candidate
            .all(Kind::Trunk)
            .filter(|object| !is_changed(object.id))
            .filter_map(|object| self.trunks.get(&object.id)?.value.clone())
            .collect();
        let routes = Routes::default();
        for object in changed.iter().filter(|object| object.kind == Kind::Trunk) {
            let around = self.around(&all, groups, &routes);
            match trunk_from_json(&whole(object), TrunkId(object.id), around) {
                Ok(checked) => all.push(checked.value),
                Err(errors) => findings.extend(errors.into_iter().map(found)),
            }
        }
        all
    }
}

impl Consumer for Planner {
    fn check(&mut self, candidate: &Catalog, changed: &[Arc<Object>]) -> Vec<Finding> {
        let mut findings = Vec::new();
        let groups = self.candidate_groups(candidate, changed, &mut findings);
        let trunks = self.candidate_trunks(candidate, changed, &groups, &mut findings);
        if !findings.is_empty() {
            return findings;
        }
        let known = candidate
            .all(Kind::Route)
            .filter_map(|object| self.routes.get(&object.id).and_then(|read| read.value.clone()));
        let routes = Routes::new(known.collect());
        let around = self.around(&trunks, &groups, &routes);
        for object in affected(candidate, changed) {
            if let Err(errors) = route_from_json(&whole(&object), RouteId(object.id), around) {
                let is_own =
                    changed.iter().any(|other| other.id == object.id && other.kind == Kind::Route);
                findings.extend(errors.into_iter().map(|error| {
                    let what = error.what.clone();
                    let mut finding = found(error);
                    if !is_own {
                        finding.rule = format!("{what}: {}", finding.rule);
                    }
                    finding
                }));
            }
        }
        findings
    }

    fn follow(&mut self, catalog: &Arc<Catalog>) {
        self.see_off(catalog);
        let groups = self.groups(catalog);
        let mut trunks = self.trunks(catalog, &groups);
        let routes = self.routes(catalog, &trunks, &groups);
        trunks.extend(self.departing.values().map(Arc::clone));
        let difference = self.live.publish(Plan::new(trunks, groups, routes));
        tracing::info!(
            added = difference.added.len(),
            changed = difference.changed.len(),
            removed = difference.removed.len(),
            "the plan follows the store"
        );
    }

    fn depart(&mut self, id: u32, step: Departure) {
        match step {
            Departure::Leave => {
                if let Some(trunk) = self.departing.get_mut(&id) {
                    Arc::make_mut(trunk).enabled = false;
                }
            }
            Departure::Gone => drop(self.departing.remove(&id)),
        }
    }
}

/// The routes that a change touches: the changed ones, and those that name a changed trunk.
fn affected(candidate: &Catalog, changed: &[Arc<Object>]) -> Vec<Arc<Object>> {
    let is_named = |route: &Object| {
        changed.iter().any(|object| match object.kind {
            Kind::Route => object.id == route.id,
            Kind::Trunk | Kind::Group => [route.text("destination"), route.text("from_trunk")]
                .contains(&object.name.as_str()),
        })
    };
    candidate.all(Kind::Route).filter(|route| is_named(route)).map(Arc::clone).collect()
}

/// The trunk with the greeting that was uploaded for it, where its callers are to hear one.
fn greeted(mut trunk: Arc<Trunk>, object: &Object) -> Arc<Trunk> {
    let tones = trunk.audio_tones;
    if let Some(recording) = object.greeting.clone().filter(|_| tones != AudioTones::None) {
        let greeting = Greeting { what: Spoken::Recording(recording), tones };
        Arc::make_mut(&mut trunk).greeting = Some(greeting);
    }
    trunk
}

fn whole(object: &Object) -> Value {
    Value::Object(object.whole())
}

/// What was stored but does not read any more runs no longer; the log says why.
fn taken<T>(object: &Object, read: Result<T, Vec<config::Finding>>) -> Option<T> {
    read.inspect_err(|errors| {
        for error in errors {
            let (problem, remedy) = (&error.problem, &error.remedy);
            tracing::error!(
                what = error.what,
                problem,
                remedy,
                id = object.id,
                "a stored object is left out: this version of the gateway refuses it"
            );
        }
    })
    .ok()
}

fn found(error: config::Finding) -> Finding {
    Finding {
        field: error.field.unwrap_or_default(),
        value: error.value.map(Value::String).unwrap_or_default(),
        rule: error.problem,
        remedy: error.remedy,
    }
}

#[cfg(test)]
mod tests;
