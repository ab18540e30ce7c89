//! PLAY, SAY, STOP and DIAL: what a flow says by itself.

use abi::{Dial, Event, FlowId, Play, Reason, Say, Stop};

use crate::dtmf::DigitCode;
use crate::flow::{Flow, Formats};
use crate::prompt::{Audio, Codec};
use crate::voice::{How, Ptime, Voice};
use crate::worker::Worker;

impl Worker {
    pub(crate) fn play(&mut self, play: &Play, now_ns: u64) -> Event {
        let (token, id) = (play.token, play.flow);
        let codec = match self.speakable(id) {
            Ok(codec) => codec,
            Err(reason) => return Event::refused(token, id, reason),
        };
        match self.prompts.audio(play.prompt.as_str(), codec).cloned() {
            Some(audio) => self.begin(audio, play.looped, token, id, now_ns),
            None => Event::refused(token, id, Reason::NoPrompt),
        }
    }

    pub(crate) fn say(&mut self, say: &Say, now_ns: u64) -> Event {
        let (token, id) = (say.token, say.flow);
        match self.speakable(id) {
            Ok(codec) => {
                let shelf = self.host.shelf.clone();
                let audio = Audio::on_shelf(shelf, codec, say.at, say.octets);
                self.begin(audio, false, token, id, now_ns)
            }
            Err(reason) => Event::refused(token, id, reason),
        }
    }

    /// The codec in which a flow can say something.
    fn speakable(&mut self, id: FlowId) -> Result<Codec, Reason> {
        match self.flows.get_mut(id) {
            Some(flow) => flow.formats.speakable().ok_or(Reason::NoFormat),
            None => Err(self.absence(id)),
        }
    }

    /// Says audio in the format of a flow.
    fn begin(&mut self, audio: Audio, looped: bool, token: u64, id: FlowId, now_ns: u64) -> Event {
        let Some(flow) = self.flows.get_mut(id) else {
            return Event::refused(token, id, self.absence(id));
        };
        let payload_type = flow.formats.sent.map_or(0, |sent| sent.payload_type);
        let voice = voice(flow, self.seed);
        let replaced = voice.play(audio.under(payload_type), looped, token, now_ns);
        let due_ns = voice.due_ns();
        self.pace(id, due_ns);
        if let Some(finished) = replaced {
            self.say_finished(id, finished);
        }
        Event::updated(token, id)
    }

    pub(crate) fn stop_talking(&mut self, stop: Stop) -> Event {
        let Some(flow) = self.flows.get_mut(stop.flow) else {
            return Event::refused(stop.token, stop.flow, self.absence(stop.flow));
        };
        let stopped = flow.voice.as_mut().and_then(|voice| voice.stop());
        if let Some(finished) = stopped {
            self.say_finished(stop.flow, finished);
        }
        Event::updated(stop.token, stop.flow)
    }

    /// The far side takes something else than `before`: a prompt in that format ends, digits change.
    pub(crate) fn follow_formats(&mut self, id: FlowId, before: Formats) {
        let Some(flow) = self.flows.get_mut(id).filter(|flow| flow.formats != before) else {
            return;
        };
        let Some(voice) = &mut flow.voice else { return };
        if let Some(how) = how(&flow.formats) {
            voice.dial_as(how);
        }
        let stopped = if flow.formats.sent == before.sent { None } else { voice.stop() };
        if let Some(finished) = stopped {
            self.say_finished(id, finished);
        }
    }

    pub(crate) fn dial(&mut self, dial: &Dial, now_ns: u64) -> Event {
        let Some(flow) = self.flows.get_mut(dial.flow) else {
            return Event::refused(dial.token, dial.flow, self.absence(dial.flow));
        };
        let (Some(how), Some(code)) = (how(&flow.formats), DigitCode::new(dial.digit)) else {
            return Event::refused(dial.token, dial.flow, Reason::NoFormat);
        };
        let voice = voice(flow, self.seed);
        if voice.dial(code, dial.duration_ms.into(), how, dial.token, now_ns).is_err() {
            return Event::refused(dial.token, dial.flow, Reason::Capacity);
        }
        let due_ns = voice.due_ns();
        self.pace(dial.flow, due_ns);
        Event::updated(dial.token, dial.flow)
    }
}

/// The flow's voice, made when it is first asked for.
fn voice(flow: &mut Flow, seed: u64) -> &mut Voice {
    let ptime = flow.formats.sent.and_then(|format| Ptime::new(format.ptime_ms.into()));
    // RFC 3550 §5.1 wants both unpredictable; the seed is, and slots differ.
    let [a, b, c, d, e, f, ..] = seed.wrapping_mul(u64::from(flow.id.index) * 2 + 1).to_le_bytes();
    let ptime = ptime.unwrap_or(Ptime::DEFAULT);
    let voice = flow.voice.get_or_insert_with(|| {
        let (seq, timestamp) = (u16::from_le_bytes([a, b]), u32::from_le_bytes([c, d, e, f]));
        Box::new(Voice::new(ptime, seq, timestamp))
    });
    voice.set_ptime(ptime);
    voice
}

/// How the far side takes digits: as events where it named a type for them, else as tones.
fn how(formats: &Formats) -> Option<How> {
    if let Some(events) = formats.events_sent {
        let (payload_type, clock_hz) = (events.payload_type, events.rate_hz);
        return Some(How::Events { payload_type, clock_hz });
    }
    let sent = formats.sent?;
    let law = formats.speakable()?.law()?;
    Some(How::Tones { payload_type: sent.payload_type, law })
}
