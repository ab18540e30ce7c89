//! Greetings by REST: what is taken, refused, shown, kept and removed.

use serde_json::{Value, json};

use super::rig::*;
use crate::store::{Actor, GREETINGS_MAX, Kind, Role};
use crate::trunk::tones::tests::wav;
use crate::trunk::tones::{GREETING_BYTES_MAX, Recording};

const TYPE: &[(&str, &str)] = &[("content-type", "audio/wav")];

fn put(rig: &Rig, id: u32, body: Vec<u8>) -> Reply {
    rig.request(Some(Role::Operator), "PUT", &format!("/trunks/{id}/greeting"), TYPE, body)
}

#[test]
fn a_greeting_is_taken_given_back_and_removed() {
    let rig = Rig::new();
    rig.add("/trunks", json!({"name": "a", "host": "192.0.2.1"}));
    rig.ask("GET", "/trunks/1/greeting", Value::Null).expect(404);
    rig.ask("DELETE", "/trunks/1/greeting", Value::Null).expect(404);
    let told = put(&rig, 1, wav(500)).expect(200);
    assert_eq!((&told["milliseconds"], &told["trunk"]), (&json!(500), &json!(1)));
    assert!(told["note"].as_str().unwrap().contains("audio_tones"), "nobody hears it: {told}");
    let reply = rig.ask("GET", "/trunks/1/greeting", Value::Null);
    assert_eq!((reply.header("content-type"), &reply.bytes), ("audio/wav", &wav(500)));
    rig.ask("PATCH", "/trunks/1", json!({"audio_tones": "ON EARLY MEDIA"})).expect(200);
    assert_eq!(
        rig.ask("GET", "/trunks/1/greeting", Value::Null).bytes,
        wav(500),
        "a save keeps it"
    );
    assert_eq!(put(&rig, 1, wav(250)).expect(200)["note"], "");
    let log = rig.admin("GET", "/audit?kind=trunk&id=1", Value::Null).expect(200);
    let entry = &log["items"][0];
    assert_eq!((&entry["action"], &entry["actor"]), (&json!("greeting"), &json!("operator")));
    let lengths = (&entry["before"]["milliseconds"], &entry["after"]["milliseconds"]);
    assert_eq!(lengths, (&json!(500), &json!(250)));
    rig.ask("DELETE", "/trunks/1/greeting", Value::Null).expect(204);
    rig.ask("GET", "/trunks/1/greeting", Value::Null).expect(404);
    put(&rig, 2, wav(500)).expect(404);
}

#[test]
fn what_is_no_greeting_is_refused_with_the_cause_and_the_remedy() {
    let rig = Rig::new();
    rig.add("/trunks", json!({"name": "a", "host": "192.0.2.1"}));
    let mut fast = wav(100);
    fast[24..28].copy_from_slice(&44_100_u32.to_le_bytes());
    fast[28..32].copy_from_slice(&88_200_u32.to_le_bytes());
    let cut = wav(100)[..400].to_vec();
    for (body, words) in [
        (b"hello".to_vec(), ["not a WAV file", "convert"]),
        (fast, ["44100 Hz", "sox"]),
        (cut, ["ends before", "copy or export"]),
        (wav(0), ["no audio", "record it again"]),
        (wav(15_001), ["longer than 15 s", "shorten"]),
        (vec![0; GREETING_BYTES_MAX], ["not a WAV file", "convert"]),
    ] {
        let problem = put(&rig, 1, body).expect(422);
        let finding = &problem["findings"][0];
        assert_eq!(finding["field"], "greeting");
        let text = finding.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{words:?}: {problem}");
    }
    put(&rig, 1, vec![0; GREETING_BYTES_MAX + 1]).expect(413);
    let json = [("content-type", "application/json")];
    rig.request(Some(Role::Operator), "PUT", "/trunks/1/greeting", &json, wav(100)).expect(415);
    rig.ask("GET", "/trunks/1/greeting", Value::Null).expect(404);
}

#[test]
fn so_many_trunks_have_a_greeting_at_most() {
    let rig = Rig::new();
    let recording = Recording::of_wav(&wav(10)).unwrap();
    let fill = move |keeper: &mut crate::store::Keeper| {
        for n in 1..=u32::try_from(GREETINGS_MAX).unwrap() + 1 {
            let document = json!({"name": format!("t{n}"), "host": "192.0.2.1"});
            let document = document.as_object().unwrap().clone();
            keeper.create(&Actor::gateway(), Kind::Trunk, document, None)?;
            if n > 1 {
                keeper.set_greeting(&Actor::gateway(), n, Some(recording.clone()))?;
            }
        }
        Ok(())
    };
    rig.api.store.ask_blocking(fill).unwrap();
    let problem = put(&rig, 1, wav(10)).expect(409);
    assert!(problem["detail"].as_str().unwrap().contains("256 trunks"), "{problem}");
    assert_eq!(put(&rig, 2, wav(20)).expect(200)["milliseconds"], 20, "one in place of another");
}
