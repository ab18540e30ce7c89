//! One leg of one call at one peer, from the INVITE to the last packet.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use rtp::srtp::Suite;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::media::g711::Law;
use crate::media::{LegCounts, LegKeys, LegSetup, MediaSockets, Pump};
use crate::peer::sdp::Description;
use crate::peer::{CallError, Dialog, Numbers, Offered, Placed, Ua, pbx, place, provider};

/// One peer, as all its legs share it.
pub struct Side {
    /// Its calls are SRTP, and nothing else.
    pub secure: bool,
    pub ua: Rc<Ua>,
    /// Where its calls go.
    pub gateway: SocketAddr,
    /// The number under which it is called in call 0.
    pub number: u64,
    pub pump: Pump,
}

/// How a leg ended.
pub struct LegEnd {
    pub failure: Option<CallError>,
    pub counts: LegCounts,
    pub suite: Option<Suite>,
}

/// A leg whose call is set up and whose media runs.
pub struct Live {
    dialog: Dialog,
    suite: Option<Suite>,
}

impl Side {
    /// Calls `called` and starts the media when it answers.
    pub async fn place(&self, call: u32, frames: u32, called: u64) -> Result<Live, CallError> {
        let sockets = MediaSockets::bind(self.ua.link.local().ip()).map_err(CallError::Ports)?;
        let rtp = sockets.local().map_err(CallError::Ports)?;
        let laws = if call % 4 < 2 { vec![Law::A, Law::Mu] } else { vec![Law::Mu, Law::A] };
        let offer = match self.secure {
            true => pbx::offer(call, laws, rtp)?,
            false => provider::offer(laws, rtp),
        };
        let (caller, called) = (format!("{}", self.number + u64::from(call)), called.to_string());
        let numbers = Numbers { caller: &caller, called: &called };
        let text = offer.write(u64::from(call) + 1);
        let Placed { dialog, body: answer, .. } =
            place(&self.ua, self.gateway, numbers, &text).await?;
        let media = self.answered(&answer, offer);
        let (remote, law, keys) = match media {
            Ok(media) => media,
            Err(error) => {
                dialog.bye().await?;
                return Err(error);
            }
        };
        let suite = keys.as_ref().map(|keys| keys.ours.suite());
        self.pump.open(LegSetup { call, sockets, remote, law, frames, keys })?;
        Ok(Live { dialog, suite })
    }

    fn answered(
        &self,
        answer: &[u8],
        offer: Description,
    ) -> Result<(SocketAddr, Law, Option<LegKeys>), CallError> {
        let answer = Description::read(answer, self.secure)?;
        let (remote, law) = (answer.rtp, first_law(&answer)?);
        let keys = self.secure.then(|| pbx::keys_of_answer(offer, answer)).transpose()?;
        Ok((remote, law, keys))
    }

    /// Answers a call and starts the media when the ACK comes. The media ports are open before the
    /// 200 leaves, so that nothing that comes early is lost.
    pub async fn answer(
        &self,
        call: u32,
        frames: u32,
        mut offered: Offered,
    ) -> Result<Live, CallError> {
        offered.ring(RINGING).await?;
        let offer = match Description::read(offered.body(), self.secure) {
            Ok(offer) => offer,
            Err(error) => {
                offered.refuse(NOT_ACCEPTABLE_HERE).await?;
                return Err(error.into());
            }
        };
        let sockets = MediaSockets::bind(self.ua.link.local().ip()).map_err(CallError::Ports)?;
        let rtp = sockets.local().map_err(CallError::Ports)?;
        let (remote, law) = (offer.rtp, first_law(&offer)?);
        let (answer, keys) = match self.secure {
            true => {
                let (answer, keys) = pbx::answer(call, offer, law, rtp)?;
                (answer, Some(keys))
            }
            false => (provider::offer(vec![law], rtp), None),
        };
        let suite = keys.as_ref().map(|keys| keys.ours.suite());
        let dialog = offered.answer(self.gateway, &answer.write(u64::from(call) + 1)).await?;
        self.pump.open(LegSetup { call, sockets, remote, law, frames, keys })?;
        Ok(Live { dialog, suite })
    }

    /// Holds the call until one side hangs up: we do when `hang_up` says so. Then waits for late
    /// packets and collects the counts.
    pub async fn hold(&self, call: u32, mut live: Live, hang_up: &Notify) -> LegEnd {
        let by_them = tokio::select! {
            ended = live.dialog.until_bye() => Some(ended),
            () = hang_up.notified() => None,
        };
        let ended = match by_them {
            Some(ended) => ended,
            None => live.dialog.bye().await,
        };
        sleep(LINGER).await;
        let counts = self.pump.close(call).await;
        LegEnd { failure: ended.err(), counts, suite: live.suite }
    }
}

fn first_law(description: &Description) -> Result<Law, CallError> {
    let law = description.laws.first().copied();
    law.ok_or_else(|| crate::peer::sdp::Unusable::Codec.into())
}

/// Long enough to be seen, short enough not to hold up a run.
const RINGING: Duration = Duration::from_millis(100);
/// After the BYE: a packet that comes now was under way, or should not have been sent.
const LINGER: Duration = Duration::from_millis(200);
const NOT_ACCEPTABLE_HERE: u16 = 488;
