//! When a cycle starts by itself: by the clock, or when enough new failures came.
//!
//! [`due`] decides from figures alone, so that clock changes, restarts and quiet hours can be
//! tested without waiting. A cycle that runs or waits keeps every trigger back: there is never a
//! second one for the same reason.

use hone_api::UnixMillis;
use hone_api::cycle::{NextCycle, Trigger};
use hone_config::ScheduleSettings;

/// The longest sleep. A clock that jumps is noticed after it.
const LONGEST_WAIT_MS: i64 = 60_000;

/// What the decision depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// The clock.
    pub now: UnixMillis,
    /// Times of the cron expression up to this one have been dealt with: the start of the daemon,
    /// or of the last cycle.
    pub cron_from: UnixMillis,
    /// When the last cycle began, by whatever trigger.
    pub last_cycle: Option<UnixMillis>,
    /// New failures since then.
    pub failures: u64,
    /// Whether a cycle runs or waits.
    pub busy: bool,
}

/// The decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Start one.
    Now(Trigger),
    /// Look again after so many milliseconds at the latest.
    Wait(i64),
}

/// When a cycle starts by itself, by the settings alone.
pub fn next(schedule: &ScheduleSettings, now: UnixMillis) -> NextCycle {
    let enabled = schedule.enabled;
    NextCycle {
        enabled,
        at: next_run(schedule, now),
        failures: (enabled && schedule.failures > 0).then_some(schedule.failures),
        ..NextCycle::default()
    }
}

/// The next time that the cron expression names.
fn next_run(schedule: &ScheduleSettings, cron_from: UnixMillis) -> Option<UnixMillis> {
    if !schedule.enabled {
        return None;
    }
    schedule.cron.next_after(cron_from.0, &schedule.timezone).map(UnixMillis)
}

/// Whether a cycle is due.
pub fn due(schedule: &ScheduleSettings, situation: &Situation) -> Due {
    let Situation { now, last_cycle, failures, busy, .. } = *situation;
    if !schedule.enabled || busy {
        return Due::Wait(LONGEST_WAIT_MS);
    }
    if schedule.quiet_hours.contains(schedule.timezone.minute_of_day(now.0)) {
        // Hours end on a minute; what came due within them starts then.
        return Due::Wait(60_000 - now.0.rem_euclid(60_000));
    }
    // A clock that was set back must not keep cron waiting for the old time to come again.
    let cron_from = situation.cron_from.min(now);
    let next = next_run(schedule, cron_from);
    if next.is_some_and(|next| next <= now) {
        return Due::Now(Trigger::Schedule);
    }
    let rest = last_cycle.map_or(0, |last| {
        let interval = i64::try_from(schedule.min_interval.0.as_millis()).unwrap_or(i64::MAX);
        interval.saturating_sub((now.0 - last.0).max(0)).max(0)
    });
    let enough = schedule.failures > 0 && failures >= schedule.failures;
    if enough && rest == 0 {
        return Due::Now(Trigger::Failures);
    }
    let until_cron = next.map_or(LONGEST_WAIT_MS, |next| next.0 - now.0);
    let until_rested = if enough { rest } else { LONGEST_WAIT_MS };
    Due::Wait(until_cron.min(until_rested).clamp(1, LONGEST_WAIT_MS))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hone_config::{Config, Seconds};
    use proptest::prelude::*;

    use super::*;

    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;
    /// 2026-01-01 00:00 UTC.
    const MIDNIGHT: i64 = 1_767_225_600_000;

    fn schedule() -> ScheduleSettings {
        let mut schedule = Config::defaults(std::path::Path::new("d")).unwrap().schedule;
        schedule.timezone = "UTC".parse().unwrap();
        schedule.failures = 10;
        schedule.min_interval = Seconds(Duration::from_secs(600));
        schedule
    }

    fn at(now: i64) -> Situation {
        Situation {
            now: UnixMillis(now),
            cron_from: UnixMillis(MIDNIGHT),
            last_cycle: None,
            failures: 0,
            busy: false,
        }
    }

    #[test]
    fn the_clock_starts_one_at_three() {
        let schedule = schedule();
        assert_eq!(due(&schedule, &at(MIDNIGHT + 3 * HOUR - 1)), Due::Wait(1));
        assert_eq!(due(&schedule, &at(MIDNIGHT + 3 * HOUR)), Due::Now(Trigger::Schedule));
        // Late, because the machine slept: one, not one per missed night.
        let late = MIDNIGHT + 75 * HOUR;
        assert_eq!(due(&schedule, &at(late)), Due::Now(Trigger::Schedule));
        let after = Situation { cron_from: UnixMillis(late), ..at(late + MINUTE) };
        assert!(matches!(due(&schedule, &after), Due::Wait(_)));
    }

    #[test]
    fn enough_failures_start_one_after_the_interval() {
        let schedule = schedule();
        let now = MIDNIGHT + HOUR;
        let nine = Situation { failures: 9, ..at(now) };
        assert!(matches!(due(&schedule, &nine), Due::Wait(_)));
        let ten = Situation { failures: 10, ..at(now) };
        assert_eq!(due(&schedule, &ten), Due::Now(Trigger::Failures));
        let soon = Situation { last_cycle: Some(UnixMillis(now - 595_000)), ..ten };
        assert_eq!(due(&schedule, &soon), Due::Wait(5_000));
        let never = ScheduleSettings { failures: 0, ..schedule };
        assert!(matches!(due(&never, &ten), Due::Wait(_)));
    }

    #[test]
    fn nothing_starts_while_busy_disabled_or_quiet() {
        let due_now = Situation { failures: 99, ..at(MIDNIGHT + 3 * HOUR + 30_000) };
        let busy = Situation { busy: true, ..due_now };
        assert!(matches!(due(&schedule(), &busy), Due::Wait(_)));
        let off = ScheduleSettings { enabled: false, ..schedule() };
        assert!(matches!(due(&off, &due_now), Due::Wait(_)));
        let quiet = ScheduleSettings { quiet_hours: "02:00-04:00".parse().unwrap(), ..schedule() };
        assert_eq!(due(&quiet, &due_now), Due::Wait(30_000));
        // What came due within quiet hours starts when they end.
        let end = Situation { failures: 0, ..at(MIDNIGHT + 4 * HOUR) };
        assert_eq!(due(&quiet, &end), Due::Now(Trigger::Schedule));
    }

    #[test]
    fn what_comes_next_is_told() {
        let told = next(&schedule(), UnixMillis(MIDNIGHT));
        assert_eq!((told.enabled, told.failures), (true, Some(10)));
        assert_eq!(told.at, Some(UnixMillis(MIDNIGHT + 3 * HOUR)));
        let off = ScheduleSettings { enabled: false, ..schedule() };
        assert_eq!(next(&off, UnixMillis(MIDNIGHT)), NextCycle::default());
    }

    #[test]
    fn a_clock_set_back_skips_at_most_one() {
        let schedule = schedule();
        let next_year = MIDNIGHT + 365 * 24 * HOUR;
        let back = Situation { cron_from: UnixMillis(next_year), ..at(MIDNIGHT + 2 * HOUR) };
        assert!(matches!(due(&schedule, &back), Due::Wait(ms) if ms <= LONGEST_WAIT_MS));
        let fixed = Situation { cron_from: back.now, ..at(MIDNIGHT + 3 * HOUR) };
        assert_eq!(due(&schedule, &fixed), Due::Now(Trigger::Schedule));
    }

    proptest! {
        /// Whatever the clocks say: no panic, a wait that ends, and never two starts for one time.
        #[test]
        fn one_start_per_time(now in any::<i32>(), from in any::<i32>(), last in any::<i32>(), failures in 0_u64..20) {
            let ms = |x: i32| UnixMillis(MIDNIGHT + i64::from(x));
            let situation = Situation {
                now: ms(now), cron_from: ms(from), last_cycle: Some(ms(last)), failures, busy: false,
            };
            match due(&schedule(), &situation) {
                Due::Wait(wait) => prop_assert!((1..=LONGEST_WAIT_MS).contains(&wait)),
                Due::Now(_) => {
                    let started = Situation {
                        cron_from: ms(now), last_cycle: Some(ms(now)), failures: 0, ..situation
                    };
                    prop_assert!(matches!(due(&schedule(), &started), Due::Wait(_)));
                }
            }
        }
    }
}
