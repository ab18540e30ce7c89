//! Failover groups: trunks that stand in for each other. Pure.
//!
//! ```text
//!   members: priority, weight ─┐
//!   strategy, turn, chance ────┼─► order ─► who is asked first, second, … and who is not asked
//!   usable? full? penalised? ──┘
//! ```
//! A trunk names its group; a group has no list of its own. Hunting itself (timers, codes, the
//! point of no return) is in `call/hunting.rs`.

mod codes;
mod memory;
mod order;

use std::fmt;
use std::time::Duration;

use crate::trunk::{Trunk, TrunkId};

pub use codes::Codes;
pub use memory::Memory;
pub use order::{Candidate, Order, Skipped, order};

/// A group's number inside one run; it never moves while the group exists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GroupId(pub u32);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One group as configured, validated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// Its number.
    pub id: GroupId,
    /// Label, unique among groups and trunks: routes name either.
    pub name: String,
    /// Who is asked first.
    pub strategy: Strategy,
    /// How members are hunted through; a trunk may say otherwise for itself.
    pub hunting: Hunting,
    /// The hunt goes on even after early media of a member was passed to the caller.
    pub hunt_after_ringing: bool,
}

/// When a hunt gives a member up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hunting {
    /// Nothing came back from the member, not even 100.
    pub reach_timer: Duration,
    /// 100 came, and neither ringing nor an answer.
    pub progress_timer: Duration,
    /// Final responses that move the hunt on.
    pub failover_codes: Codes,
}

impl Default for Hunting {
    fn default() -> Self {
        Self {
            reach_timer: REACH_TIMER_DEFAULT,
            progress_timer: PROGRESS_TIMER_DEFAULT,
            failover_codes: Codes::default(),
        }
    }
}

/// What a trunk says about being hunted; `None` follows its group.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct OwnHunting {
    /// See [`Hunting::reach_timer`].
    pub reach_timer: Option<Duration>,
    /// See [`Hunting::progress_timer`].
    pub progress_timer: Option<Duration>,
    /// See [`Hunting::failover_codes`].
    pub failover_codes: Option<Codes>,
}

impl OwnHunting {
    /// What holds for the trunk: its own word, else `group`'s.
    pub fn over(&self, group: &Hunting) -> Hunting {
        Hunting {
            reach_timer: self.reach_timer.unwrap_or(group.reach_timer),
            progress_timer: self.progress_timer.unwrap_or(group.progress_timer),
            failover_codes: self
                .failover_codes
                .clone()
                .unwrap_or_else(|| group.failover_codes.clone()),
        }
    }
}

/// A trunk's place in its group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Membership {
    /// Which group.
    pub group: GroupId,
    /// Lower ones are asked first.
    pub priority: u16,
    /// Share of calls among members of one priority (RFC 2782).
    pub weight: u16,
}

/// In which order members of one priority are asked. Lower priorities always come first.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Strategy {
    /// The heavier first, always the same.
    #[default]
    Priority,
    /// By chance, in proportion to their weights (RFC 2782).
    Weighted,
    /// Each call begins with the next one.
    RoundRobin,
    /// The one with most free places first.
    LeastLoaded,
}

impl Strategy {
    /// Names in configuration and API.
    pub const NAMES: [&'static str; 4] = ["priority", "weighted", "round_robin", "least_loaded"];
    /// All, in the order of the names.
    pub const ALL: [Self; 4] =
        [Self::Priority, Self::Weighted, Self::RoundRobin, Self::LeastLoaded];
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::ALL.into_iter().zip(Self::NAMES);
        names.filter(|(strategy, _)| strategy == self).try_for_each(|(_, name)| f.write_str(name))
    }
}

/// Whether a trunk can take one more call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Usable {
    /// It can.
    Free {
        /// Calls that it has room for; `u32::MAX` without a cap.
        free: u32,
        /// Calls that it has.
        used: u32,
    },
    /// A cap is reached; only an emergency call passes.
    Full,
    /// It does not seem to work, and why; an emergency call tries it when nothing else is left.
    Down(&'static str),
    /// It takes no calls at all, and why.
    Closed(&'static str),
}

/// A member of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Which trunk.
    pub trunk: TrunkId,
    /// Its priority and weight.
    pub membership: Membership,
}

/// All groups with their members.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Groups(Vec<(Group, Vec<Member>)>);

impl Groups {
    /// Groups, and the trunks that name one of them.
    pub fn new<'t>(groups: Vec<Group>, trunks: impl Iterator<Item = &'t Trunk>) -> Self {
        let mut members: Vec<Member> = trunks
            .filter_map(|trunk| {
                let membership = trunk.failover_group?;
                Some(Member { trunk: trunk.id, membership })
            })
            .collect();
        members.sort_by_key(|member| (member.membership.priority, member.trunk));
        let with_members = groups.into_iter().map(|group| {
            let of = |member: &&Member| member.membership.group == group.id;
            let members = members.iter().filter(of).copied().collect();
            (group, members)
        });
        Self(with_members.collect())
    }

    /// The group with this id.
    pub fn get(&self, id: GroupId) -> Option<&Group> {
        self.0.iter().map(|(group, _)| group).find(|group| group.id == id)
    }

    /// Its members by priority and id; none for an unknown group.
    pub fn members(&self, id: GroupId) -> &[Member] {
        let found = self.0.iter().find(|(group, _)| group.id == id);
        found.map_or(&[], |(_, members)| members)
    }

    /// All groups.
    pub fn iter(&self) -> impl Iterator<Item = &Group> {
        self.0.iter().map(|(group, _)| group)
    }
}

/// Nothing at all came back for so long: the member is dead or the way to it.
pub const REACH_TIMER_DEFAULT: Duration = Duration::from_secs(3);
/// 100 came and nothing more for so long: the member lives, what is behind it does not.
pub const PROGRESS_TIMER_DEFAULT: Duration = Duration::from_secs(12);
/// INVITEs that one hunt sends at most.
pub const ATTEMPTS_MAX: usize = 6;
/// How long a hunt may take before anybody rings.
pub const HUNT_LIMIT: Duration = Duration::from_secs(30);
/// How long a member is asked last after a 503 that names no time.
pub const PENALTY: Duration = Duration::from_secs(30);
/// The longest Retry-After that is believed.
pub const PENALTY_MAX: Duration = Duration::from_secs(600);
/// Weight of a trunk that names none. RFC 2782 draws from 0 to the sum of weights, both included:
/// with small weights the first of equals would be drawn more often.
pub const WEIGHT_DEFAULT: u16 = 100;
