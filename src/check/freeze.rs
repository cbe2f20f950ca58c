//! Whether an environment is frozen, and until when.

use std::sync::LazyLock;

use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp};

use crate::api::{Freeze, VisiobookEnvironmentSpec, Weekly};
use crate::facts::EnvironmentFact;

/// The zones as this program was built with them: the same on every machine, and in an image without files.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const DAY: i64 = 24 * 60;
/// Windows that follow each other without a gap are told as one, up to so many.
const JOINED: usize = 16;

/// A freeze that holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// When nothing holds any more, in Unix seconds.
    pub until: i64,
    /// Why, as the environment says.
    pub reason: String,
}

impl std::fmt::Display for Frozen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match Timestamp::from_second(self.until) {
            Ok(until) => write!(f, "the freeze ends at {until} ({})", self.reason),
            Err(_) => write!(f, "the freeze ends ({})", self.reason),
        }
    }
}

/// The freeze of an environment at a time, in Unix seconds.
pub fn frozen(environment: &EnvironmentFact, now: i64) -> Option<Frozen> {
    let EnvironmentFact::Governed { spec, .. } = environment else { return None };
    let freezes = freezes(spec);
    let last = |at: i64| {
        let holding = freezes.iter().filter_map(|freeze| Some((end(freeze, at)?, &freeze.reason)));
        holding.max_by_key(|(until, _)| *until)
    };
    let (mut until, reason) = last(now)?;
    for _ in 0..JOINED {
        let Some((later, _)) = last(until) else { break };
        until = later;
    }
    Some(Frozen { until, reason: reason.clone() })
}

/// Time zones that are named and that nobody knows: their times count as UTC.
pub fn unknown_zones(spec: &VisiobookEnvironmentSpec) -> Vec<&str> {
    let weekly = freezes(spec).iter().filter_map(|freeze| freeze.weekly.as_ref()?.time_zone.as_deref());
    weekly.filter(|zone| ZONES.get(zone).is_err()).collect()
}

fn freezes(spec: &VisiobookEnvironmentSpec) -> &[Freeze] {
    spec.rollout.as_ref().map_or(&[], |rollout| &rollout.freezes)
}

/// When a freeze ends that holds at a time.
fn end(freeze: &Freeze, at: i64) -> Option<i64> {
    if let Some(weekly) = &freeze.weekly {
        return weekly_end(weekly, at);
    }
    let (from, to) = (freeze.from.as_ref()?.0.as_second(), freeze.to.as_ref()?.0.as_second());
    (from <= at && at < to).then_some(to)
}

fn weekly_end(weekly: &Weekly, at: i64) -> Option<i64> {
    let (from, to) = (minutes(&weekly.from)?, minutes(&weekly.to)?);
    let length = (to - from).rem_euclid(7 * DAY);
    let zone = weekly.time_zone.as_deref().and_then(|zone| ZONES.get(zone).ok()).unwrap_or(TimeZone::UTC);
    let today = Timestamp::from_second(at).ok()?.to_zoned(zone.clone()).date();
    let monday = i64::from(today.weekday().to_monday_zero_offset());
    // One that began last week may still hold.
    [0, 7].into_iter().find_map(|back| {
        let start = from - (monday + back) * DAY;
        let (start, end) = (instant(today, start, &zone)?, instant(today, start + length, &zone)?);
        (start <= at && at < end).then_some(end)
    })
}

/// The moment so many minutes of the calendar after the start of a day. An hour that is skipped counts as the one after
/// it, and of one that comes twice the first counts.
fn instant(day: Date, minutes: i64, zone: &TimeZone) -> Option<i64> {
    let span = Span::new().try_minutes(minutes).ok()?;
    let civil = day.at(0, 0, 0, 0).checked_add(span).ok()?;
    Some(civil.to_zoned(zone.clone()).ok()?.timestamp().as_second())
}

/// Minutes from the start of a week until a day and a time, such as `Fri 16:00`.
fn minutes(text: &str) -> Option<i64> {
    let (day, time) = text.split_once(' ')?;
    let day = DAYS.iter().position(|known| *known == day)?;
    let (hour, minute) = time.split_once(':')?;
    Some(i64::try_from(day).ok()? * DAY + hour.parse::<i64>().ok()? * 60 + minute.parse::<i64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn environment(freezes: Value) -> EnvironmentFact {
        let spec = json!({ "type": "production", "rollout": { "freezes": freezes } });
        EnvironmentFact::Governed {
            name: "production".into(),
            spec: serde_json::from_value(spec).expect("an environment"),
        }
    }

    fn until(freezes: &Value, at: &str) -> Option<String> {
        let at: Timestamp = at.parse().expect("a time");
        let frozen = frozen(&environment(freezes.clone()), at.as_second())?;
        Some(Timestamp::from_second(frozen.until).expect("a time").to_string())
    }

    #[test]
    fn a_freeze_holds_from_its_beginning_and_no_longer_at_its_end() {
        let once = json!([{ "reason": "sales", "from": "2026-12-21T18:00:00+01:00", "to": "2026-12-27T08:00:00+01:00" }]);
        let end = Some("2026-12-27T07:00:00Z".to_string());
        assert_eq!(until(&once, "2026-12-21T16:59:59Z"), None);
        assert_eq!(until(&once, "2026-12-21T17:00:00Z"), end);
        assert_eq!(until(&once, "2026-12-27T06:59:59Z"), end);
        assert_eq!(until(&once, "2026-12-27T07:00:00Z"), None);
        assert_eq!(frozen(&EnvironmentFact::Unlabelled, 0), None);
    }

    #[test]
    fn a_weekend_begins_in_one_week_and_ends_in_the_next_in_its_own_time_zone() {
        let weekend = json!([{ "reason": "weekend",
            "weekly": { "from": "Fri 16:00", "to": "Mon 08:00", "timeZone": "Europe/Paris" } }]);
        // 2026-11-20 is a Friday; Paris is an hour ahead of UTC in winter, two in summer.
        let monday = Some("2026-11-23T07:00:00Z".to_string());
        assert_eq!(until(&weekend, "2026-11-20T14:59:59Z"), None);
        for at in ["2026-11-20T15:00:00Z", "2026-11-22T12:00:00Z", "2026-11-23T06:59:59Z"] {
            assert_eq!(until(&weekend, at), monday, "{at}");
        }
        assert_eq!(until(&weekend, "2026-11-23T07:00:00Z"), None);
        assert_eq!(until(&weekend, "2026-07-03T14:00:00Z"), Some("2026-07-06T06:00:00Z".into()));
        // Across the end of summer time, on 2026-10-25: an hour longer.
        assert_eq!(until(&weekend, "2026-10-23T14:00:00Z"), Some("2026-10-26T07:00:00Z".into()));
        let night = json!([{ "reason": "night", "weekly": { "from": "Tue 20:00", "to": "Wed 06:00" } }]);
        assert_eq!(until(&night, "2026-11-25T05:59:00Z"), Some("2026-11-25T06:00:00Z".into()));
        assert_eq!(until(&night, "2026-11-25T06:00:00Z"), None);
    }

    #[test]
    fn freezes_that_follow_each_other_are_one_wait_and_one_without_end_is_told_all_the_same() {
        let two = json!([
            { "reason": "weekend", "weekly": { "from": "Fri 16:00", "to": "Mon 08:00" } },
            { "reason": "audit", "from": "2026-11-23T00:00:00Z", "to": "2026-11-25T00:00:00Z" },
        ]);
        assert_eq!(until(&two, "2026-11-21T00:00:00Z"), Some("2026-11-25T00:00:00Z".into()));
        let always = json!([
            { "reason": "one", "weekly": { "from": "Mon 00:00", "to": "Thu 00:00" } },
            { "reason": "other", "weekly": { "from": "Thu 00:00", "to": "Mon 00:00" } },
        ]);
        assert!(until(&always, "2026-11-21T00:00:00Z").is_some());
    }

    #[test]
    fn a_zone_that_nobody_knows_is_named_and_counts_as_utc() {
        let mars = json!([{ "reason": "a", "weekly": { "from": "Mon 10:00", "to": "Mon 11:00", "timeZone": "Mars/Base" } }]);
        assert_eq!(until(&mars, "2026-11-23T10:30:00Z"), Some("2026-11-23T11:00:00Z".into()));
        let EnvironmentFact::Governed { spec, .. } = environment(mars) else { panic!("governed") };
        assert_eq!(unknown_zones(&spec), ["Mars/Base"]);
    }
}
