//! Who may ask what: the whole table of endpoints against every role.

use serde_json::Value;
use utoipa::openapi::HttpMethod;

use super::super::endpoints;
use super::rig::*;
use crate::store::Role;

pub fn verb(method: &HttpMethod) -> &'static str {
    match method {
        HttpMethod::Get => "GET",
        HttpMethod::Post => "POST",
        HttpMethod::Put => "PUT",
        HttpMethod::Patch => "PATCH",
        HttpMethod::Delete => "DELETE",
        _ => panic!("a method without a verb"),
    }
}

#[test]
fn each_endpoint_lets_in_the_roles_that_the_document_names_and_no_other() {
    let rig = Rig::new();
    let document: Value = serde_json::from_str(&rig.api.document).unwrap();
    let mut asked = 0;
    for endpoint in endpoints() {
        let verb = verb(&endpoint.method);
        let described = &document["paths"][endpoint.path][verb.to_lowercase()];
        let named = described["security"][0]["token"][0].as_str();
        assert_eq!(named, endpoint.role.map(Role::name), "{verb} {}", endpoint.path);
        let path = endpoint.path.replace("{id}", "4000000").replace("{", "").replace("}", "");
        for role in [None, Some(Role::ReadOnly), Some(Role::Operator), Some(Role::Admin)] {
            let reply = rig.request(role, verb, &path, &[], "{}");
            let status = reply.status.as_u16();
            let wanted = match (endpoint.role, role) {
                (None, _) => None,
                (Some(_), None) => Some(401),
                (Some(needed), Some(role)) if role < needed => Some(403),
                _ => None,
            };
            match wanted {
                Some(wanted) => {
                    assert_eq!(status, wanted, "{verb} {path} as {role:?}");
                    assert_eq!(reply.header("content-type"), "application/problem+json");
                    assert_eq!(reply.header("www-authenticate").is_empty(), status != 401);
                }
                None => assert!(
                    status != 401 && status != 403 && status < 500,
                    "{verb} {path} as {role:?}: {status}"
                ),
            }
            asked += 1;
        }
    }
    assert!(asked >= 4 * 30, "{asked} requests: the table is too short to be whole");
}

#[test]
fn only_a_whole_valid_token_counts() {
    let rig = Rig::new();
    let token = rig.token(Role::ReadOnly).to_owned();
    let with = |value: &str| {
        let headers = [("authorization", value)];
        rig.request(None, "GET", "/trunks", &headers, "").status.as_u16()
    };
    assert_eq!(with(&format!("Bearer {token}")), 200, "positive control");
    assert_eq!(with(&format!("bearer  {token} ")), 200, "the scheme in any case");
    for wrong in [
        token.clone(),
        format!("Basic {token}"),
        "Bearer".into(),
        "Bearer ".into(),
        format!("Bearer {}", &token[..token.len() - 1]),
        format!("Bearer {token}0"),
        format!("Bearer {}", token.to_uppercase()),
    ] {
        assert_eq!(with(&wrong), 401, "{wrong:?}");
    }
}

#[test]
fn a_revoked_token_is_refused_at_once() {
    let rig = Rig::new();
    let body = serde_json::json!({"name": "passing", "role": "read-only"});
    let made = rig.admin("POST", "/tokens", body).expect(201);
    let secret = format!("Bearer {}", made["token"].as_str().unwrap());
    let headers = [("authorization", secret.as_str())];
    assert_eq!(rig.request(None, "GET", "/trunks", &headers, "").status, 200);
    rig.admin("DELETE", &format!("/tokens/{}", made["id"]), Value::Null).expect(204);
    assert_eq!(rig.request(None, "GET", "/trunks", &headers, "").status, 401);
}

#[test]
fn refused_requests_are_counted() {
    let rig = Rig::new();
    rig.request(None, "GET", "/trunks", &[], "").expect(401);
    rig.request(None, "GET", "/health", &[], "").expect(200);
    assert_eq!(rig.api.refused.load(std::sync::atomic::Ordering::Relaxed), 1);
}
