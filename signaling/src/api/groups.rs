//! `/failover-groups`. A group's members are the trunks that name it.

use serde_json::{Value, json};

use super::Endpoint;
use super::objects::{self, Resource};
use crate::store::{Catalog, Document, Kind, Object};

pub(super) fn endpoints() -> Vec<Endpoint> {
    objects::endpoints(Resource {
        kind: Kind::Group,
        list: "/failover-groups",
        item: "/failover-groups/{id}",
        undelete: "/failover-groups/{id}/undelete",
        schemas: ["Group", "GroupInput", "GroupPatch", "GroupPage"],
        garnish: members,
    })
}

/// Members in the order of their priority.
fn members(catalog: &Catalog, group: &Object, document: &mut Document) {
    let number = |trunk: &Object, field: &str| {
        trunk.document.get(field).and_then(Value::as_u64).unwrap_or_default()
    };
    let mut members: Vec<_> = catalog
        .all(Kind::Trunk)
        .filter(|trunk| trunk.text("failover_group") == group.name)
        .collect();
    members.sort_by_key(|trunk| (number(trunk, "priority"), trunk.id));
    let members = members.into_iter().map(|trunk| {
        json!({
            "id": trunk.id,
            "name": trunk.name,
            "priority": number(trunk, "priority"),
            "weight": number(trunk, "weight"),
        })
    });
    document.insert(String::from("members"), members.collect());
}
