//! `/routes`, in the order of their evaluation.

use super::Endpoint;
use super::objects::{self, Resource};
use crate::store::Kind;

pub(super) fn endpoints() -> Vec<Endpoint> {
    objects::endpoints(Resource {
        kind: Kind::Route,
        list: "/routes",
        item: "/routes/{id}",
        undelete: "/routes/{id}/undelete",
        schemas: ["Route", "RouteInput", "RoutePatch", "RoutePage"],
        garnish: |_, _, _| (),
    })
}
