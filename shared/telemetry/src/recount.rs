//! An hour's rollups made anew of what the archive holds, to be compared with those that were counted as messages came.

use rs1_domain::DeviceId;

use crate::Rollup;
use crate::pack::Pack;

/// The rollups of an hour, by device. A [`Pack`] has each message once, so in which order its lines came, and how often, makes no
/// difference.
pub fn rollups(pack: &Pack, hour: i64) -> Vec<(DeviceId, Rollup)> {
    let mut rollups: Vec<(DeviceId, Rollup)> = Vec::new();
    for message in &pack.messages {
        if message.event_time().hour() != hour {
            continue;
        }
        if rollups.last().is_none_or(|(device, _)| *device != message.device) {
            rollups.push((message.device.clone(), Rollup::default()));
        }
        if let Some((_, rollup)) = rollups.last_mut() {
            rollup.merge(message);
        }
    }
    rollups
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rs1_domain::time::HOUR;
    use serde_json::json;

    use super::*;
    use crate::pack::{Part, pack};
    use crate::queued::received_hours;
    use crate::queued::tests::{ID, NOW, message_at};
    use crate::{Message, batch};

    fn message(number: i64) -> Message {
        let at = NOW.plus(number * 1_000);
        message_at(&format!("m{number}"), at, at.plus(5), &json!({"a.b": number}))
    }

    fn recounted(lines: &[String]) -> Vec<(DeviceId, Rollup)> {
        let part = Part { digest: "", shard: 0, of: 1 };
        rollups(&pack(&lines.join("\n"), &part, &Pack::default()).unwrap(), NOW.hour())
    }

    #[test]
    fn other_hours_are_left_out_and_devices_are_apart() {
        let of_hour =
            |hours: i64| message_at(&format!("m{hours}"), NOW.plus(hours * HOUR), NOW, &json!({})).to_line();
        assert_eq!(recounted(&[of_hour(-1), of_hour(-2)]), []);
        let other = of_hour(0).replace(ID, &"0".repeat(32));
        let counts: Vec<_> = recounted(&[of_hour(-1), of_hour(0), other])
            .into_iter()
            .map(|(_, rollup)| rollup.messages)
            .collect();
        assert_eq!(counts, [1, 1]);
    }

    #[test]
    fn messages_of_one_id_that_differ_are_one_whatever_came_first() {
        let same = |value: i64| message_at("m", NOW, NOW, &json!({"a.b": value})).to_line();
        let one = recounted(&[same(1), same(2)]);
        assert_eq!(one, recounted(&[same(2), same(1)]));
        assert_eq!(one[0].1.messages, 1);
    }

    proptest! {
        /// Counting the archive gives what counting the messages gave, whatever stands there twice and in whatever order.
        #[test]
        fn it_is_what_was_counted(sent in proptest::collection::vec(0_i64..30, 1..40)) {
            let messages: Vec<_> = sent.iter().map(|number| message(*number)).collect();
            let slots = batch::keys(&messages).into_iter().map(|key| (key, batch::Slot::Empty)).collect();
            let plan = batch::plan(&messages, slots);
            let lines: Vec<_> = messages.iter().map(Message::to_line).collect();
            let columns = |rollup: &Rollup| {
                (rollup.messages, rollup.last_at, rollup.last_received_at, rollup.metrics_column())
            };
            let [write] = plan.writes.as_slice() else { panic!("{} hours", plan.writes.len()) };
            let recounted = recounted(&lines);
            let [(_, rollup)] = recounted.as_slice() else { panic!("{} devices", recounted.len()) };
            prop_assert_eq!(columns(rollup), columns(&write.rollup));
            prop_assert!(messages.iter().all(|message| rollup.knows(&message.id)));
        }

        #[test]
        fn a_message_was_received_in_one_of_its_hours_hours(behind in -200_000_000_i64..200_000_000) {
            let message = message_at("m", NOW.plus(-behind), NOW, &json!({}));
            prop_assert!(received_hours(message.event_time().hour()).contains(&NOW.hour()));
        }
    }
}
