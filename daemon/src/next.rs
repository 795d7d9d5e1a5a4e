//! What comes next, for those who have just said something and for those who ask: when a cycle
//! starts, and what is missing for it.

use hone_api::adapter::Provenance;
use hone_api::cycle::{CycleStatus, NextCycle};
use hone_api::{AdapterRef, UnixMillis};
use hone_config::{Config, Zone};
use hone_store::Order;

use crate::schedule;
use crate::services::Services;

/// How far failures are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// All of them.
    All,
    /// As far as anything depends on it: this costs the same however long the log is.
    Enough,
}

/// What the sentence depends on, besides the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Situation {
    now: UnixMillis,
    cycle: Cycle,
    /// Failures since the last cycle began.
    came: u64,
    /// Answers corrected since what serves was taught, counted up to what a cycle needs.
    corrected: u64,
}

/// The cycle that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cycle {
    None,
    Waits,
    Runs,
}

/// When a cycle starts by itself, and what is missing for it.
///
/// # Errors
/// The store's.
pub async fn look(services: &Services, count: Count) -> hone_store::Result<NextCycle> {
    let (config, store) = (services.settings.now(), &services.store);
    let last = store.cycles(None, 1, Order::Descending).await?.items.into_iter().next();
    let cycle = match store.unfinished_cycles().await?.as_slice() {
        [] => Cycle::None,
        all if all.iter().any(|one| one.status == CycleStatus::Running) => Cycle::Runs,
        _ => Cycle::Waits,
    };
    let since = last.map_or(UnixMillis(0), |cycle| cycle.created_at);
    let most = match count {
        Count::All => u64::MAX,
        Count::Enough => config.schedule.failures,
    };
    let came = store.failures_since_up_to(since, most).await?;
    let taught = taught_at(services).await?;
    let corrected = store.corrected_since_up_to(taught, least(&config)).await?;
    let situation = Situation { now: UnixMillis::now(), cycle, came, corrected };
    match services.trainable() {
        Ok(_) => Ok(tell(&config, &situation)),
        Err(why) => Ok(NextCycle { came, message: why.to_string(), ..NextCycle::default() }),
    }
}

/// When the corrections were looked through that the serving adapter was taught; the beginning of time for the
/// base and for an import, to whom all are new.
async fn taught_at(services: &Services) -> hone_store::Result<UnixMillis> {
    let live = services.registry.live().live;
    let view = live.and_then(|id| services.registry.get(&AdapterRef::Id(id)).ok());
    let Some(Provenance::Cycle { cycle_id, .. }) = view.map(|view| view.provenance) else {
        return Ok(UnixMillis(0));
    };
    let cycle = services.store.cycle(cycle_id).await?;
    Ok(cycle.map_or(UnixMillis(0), |cycle| cycle.created_at))
}

/// Corrections that a cycle needs to learn anything.
fn least(config: &Config) -> u64 {
    u64::try_from(config.curation.min_examples).unwrap_or(u64::MAX)
}

fn tell(config: &Config, situation: &Situation) -> NextCycle {
    let next = schedule::next(&config.schedule, situation.now);
    let to_learn = least(config).saturating_sub(situation.corrected);
    let to_start = next.failures.map_or(0, |failures| failures.saturating_sub(situation.came));
    let missing = if to_learn > 0 { to_learn } else { to_start };
    let message = match situation.cycle {
        Cycle::Runs => "a cycle runs now, and what comes meanwhile is for the next".to_owned(),
        Cycle::Waits => "a cycle is about to start".to_owned(),
        Cycle::None if !next.enabled => by_hand(to_learn),
        Cycle::None if to_learn > 0 => format!("{} (curation.min_examples)", needed(to_learn)),
        Cycle::None => {
            let at = next.at.map(|at| when(&config.schedule.timezone, at, situation.now));
            starts(next.failures.map(|_| to_start), at)
        }
    };
    NextCycle { came: situation.came, missing: (missing > 0).then_some(missing), message, ..next }
}

fn by_hand(to_learn: u64) -> String {
    let nothing = "nothing starts by itself (schedule.enabled is false): `hone cycle run`";
    match to_learn {
        0 => nothing.to_owned(),
        _ => format!("{nothing}; {} (curation.min_examples)", needed(to_learn)),
    }
}

fn needed(count: u64) -> String {
    let (what, are) = if count == 1 { ("correction", "is") } else { ("corrections", "are") };
    format!("{count} more {what} {are} needed before a cycle can learn")
}

/// `missing`: how many failures are missing, if their number starts a cycle; `at`: when the clock does.
fn starts(missing: Option<u64>, at: Option<String>) -> String {
    let by_number = match missing {
        Some(0) => {
            return "enough corrections have come: a cycle starts as soon as the schedule allows"
                .to_owned();
        }
        Some(1) => Some("1 more correction starts a cycle".to_owned()),
        Some(count) => Some(format!("{count} more corrections start a cycle")),
        None => None,
    };
    match (by_number, at) {
        (Some(number), Some(at)) => format!("{number}, or {at}"),
        (Some(number), None) => number,
        (None, Some(at)) => format!("the next cycle starts {at}"),
        (None, None) => "nothing is scheduled: `hone cycle run`".to_owned(),
    }
}

/// An instant as people speak of it on the same day.
fn when(zone: &Zone, at: UnixMillis, now: UnixMillis) -> String {
    let (Some(there), Some(here)) = (zone.wall_clock(at.0), zone.wall_clock(now.0)) else {
        return format!("at {}", at.0);
    };
    let soon = at.0 - now.0 <= 24 * 60 * 60 * 1000;
    let day = if soon && !(6..18).contains(&there.hour()) {
        "tonight".to_owned()
    } else if there.date() == here.date() {
        "today".to_owned()
    } else if here.date().tomorrow().is_ok_and(|tomorrow| tomorrow == there.date()) {
        "tomorrow".to_owned()
    } else {
        format!("on {}", there.date())
    };
    format!("{day} at {:02}:{:02}", there.hour(), there.minute())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    /// Noon of 2026-01-01 in UTC.
    const NOON: i64 = 1_767_268_800_000;

    fn config(change: impl Fn(&mut Config)) -> Config {
        let mut config = Config::defaults(std::path::Path::new("d")).unwrap();
        config.schedule.timezone = "UTC".parse().unwrap();
        config.schedule.failures = 10;
        config.curation.min_examples = 5;
        change(&mut config);
        config
    }

    fn at_noon(came: u64, corrected: u64) -> Situation {
        Situation { now: UnixMillis(NOON), cycle: Cycle::None, came, corrected }
    }

    fn message(change: impl Fn(&mut Config), situation: Situation) -> String {
        tell(&config(change), &situation).message
    }

    #[test]
    fn what_is_missing_is_said_with_the_time() {
        let next = tell(&config(|_| ()), &at_noon(7, 5));
        assert_eq!(next.message, "3 more corrections start a cycle, or tonight at 03:00");
        assert_eq!((next.came, next.missing, next.failures), (7, Some(3), Some(10)));
        assert_eq!(next.at, Some(UnixMillis(NOON + 15 * HOUR)));
        let one = message(|_| (), at_noon(9, 5));
        assert_eq!(one, "1 more correction starts a cycle, or tonight at 03:00");
        let enough = tell(&config(|_| ()), &at_noon(10, 5));
        assert_eq!(
            enough.message,
            "enough corrections have come: a cycle starts as soon as the schedule allows"
        );
        assert_eq!(enough.missing, None);
    }

    #[test]
    fn what_would_be_skipped_is_not_promised() {
        let next = tell(&config(|_| ()), &at_noon(10, 2));
        let text = "3 more corrections are needed before a cycle can learn (curation.min_examples)";
        assert_eq!((next.message.as_str(), next.missing), (text, Some(3)));
        let last = message(|_| (), at_noon(10, 4));
        assert!(last.starts_with("1 more correction is needed"), "{last}");
    }

    #[test]
    fn what_is_switched_off_is_not_spoken_of() {
        let clock_only = message(|it| it.schedule.failures = 0, at_noon(7, 5));
        assert_eq!(clock_only, "the next cycle starts tonight at 03:00");
        let number_only = message(|it| it.schedule.cron = "".parse().unwrap(), at_noon(7, 5));
        assert_eq!(number_only, "3 more corrections start a cycle");
        let neither = |it: &mut Config| {
            it.schedule.failures = 0;
            it.schedule.cron = "".parse().unwrap();
        };
        assert!(message(neither, at_noon(7, 5)).contains("nothing is scheduled"));
        let off = |it: &mut Config| it.schedule.enabled = false;
        let by_hand = "nothing starts by itself (schedule.enabled is false): `hone cycle run`";
        assert_eq!(message(off, at_noon(7, 5)), by_hand);
        let few = message(off, at_noon(7, 3));
        assert!(few.starts_with(by_hand) && few.contains("; 2 more corrections are"), "{few}");
    }

    #[test]
    fn a_cycle_under_way_comes_first() {
        let during = |cycle| message(|_| (), Situation { cycle, ..at_noon(99, 99) });
        assert!(during(Cycle::Runs).contains("a cycle runs now"));
        assert_eq!(during(Cycle::Waits), "a cycle is about to start");
    }

    #[test]
    fn times_are_those_of_the_zone_as_people_say_them() {
        let said = |zone: &str, after: i64| {
            when(&zone.parse().unwrap(), UnixMillis(NOON + after * HOUR), UnixMillis(NOON))
        };
        assert_eq!(said("UTC", 3), "today at 15:00");
        assert_eq!(said("UTC", 9), "tonight at 21:00");
        assert_eq!(said("UTC", 22), "tomorrow at 10:00");
        assert_eq!(said("UTC", 39), "on 2026-01-03 at 03:00");
        assert_eq!(said("Europe/Vienna", 15), "tonight at 04:00");
        assert_eq!(said("Pacific/Auckland", 1), "tonight at 02:00");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_store_is_asked_for_as_little_as_possible() {
        let rig = crate::testing::Rig::new().await;
        let next = look(&rig.services, Count::Enough).await.unwrap();
        assert_eq!((next.came, next.enabled), (0, true));
        assert_eq!(next, look(&rig.services, Count::All).await.unwrap());
    }
}
