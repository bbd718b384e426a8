//! What happens to the Stream connections: they die without a word, are told to leave, say nonsense,
//! deliver twice and lose acknowledgements.

use dingtalk_trigger::sim::dingtalk::control::StreamFault;
use dingtalk_trigger::sim::dingtalk::fault::Fault as Scripted;

use super::pause;
use crate::load::ROBOTS;
use crate::support::outside::Outside;
use crate::support::rng::Rng;

/// Longer than a client waits for a sign of life.
const ZOMBIE_S: u64 = 65;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    Zombie,
    Disconnect,
    Kick,
    Close,
    /// Kicked, and the gateway refuses to open another for a while.
    Refused,
    Garbage,
    Twice,
    LostAcks,
}

pub(crate) const ALL: [(&str, Fault); 8] = [
    ("Stream: zombie", Fault::Zombie),
    ("Stream: disconnect frame", Fault::Disconnect),
    ("Stream: kicked", Fault::Kick),
    ("Stream: closed", Fault::Close),
    ("Stream: kicked, gateway 500", Fault::Refused),
    ("Stream: garbage", Fault::Garbage),
    ("Stream: delivered twice", Fault::Twice),
    ("Stream: acks lost", Fault::LostAcks),
];

pub(crate) async fn strike(outside: &Outside, fault: Fault, rng: &mut Rng) {
    match fault {
        Fault::Zombie => {
            every_robot(outside, &StreamFault::Zombie { seconds: ZOMBIE_S });
            pause(rng, ZOMBIE_S * 1000, ZOMBIE_S * 1000 + 1).await;
        }
        Fault::Disconnect => every_robot(outside, &StreamFault::Disconnect),
        Fault::Kick => every_robot(outside, &StreamFault::Kick),
        Fault::Close => every_robot(outside, &StreamFault::Close { code: 1001 }),
        Fault::Refused => {
            outside.cloud.fault(Scripted::preset("open", "internal").times(10));
            every_robot(outside, &StreamFault::Kick);
        }
        Fault::Garbage => every_robot(outside, &StreamFault::Garbage),
        Fault::Twice => every_robot(outside, &StreamFault::Duplicate { count: 60 }),
        Fault::LostAcks => every_robot(outside, &StreamFault::LoseAcks { count: 60 }),
    }
    pause(rng, 3000, 6000).await;
}

fn every_robot(outside: &Outside, fault: &StreamFault) {
    for robot in ROBOTS.iter().filter(|robot| robot.is_stream) {
        outside.cloud.stream_fault(robot.name, fault);
    }
}
