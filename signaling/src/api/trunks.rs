//! `/trunks`.

use super::Endpoint;
use super::objects::{self, Resource};
use crate::store::Kind;

pub(super) fn endpoints() -> Vec<Endpoint> {
    objects::endpoints(Resource {
        kind: Kind::Trunk,
        list: "/trunks",
        item: "/trunks/{id}",
        undelete: "/trunks/{id}/undelete",
        schemas: ["Trunk", "TrunkInput", "TrunkPatch", "TrunkPage"],
        garnish: |_, _, _| (),
    })
}
