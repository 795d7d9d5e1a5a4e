//! When the clock starts a cycle: a cron expression in a time zone.
//!
//! croner searches, jiff knows the time zones; [`Instant`] joins them. A wall-clock time that a
//! change to summer time leaves out is not run late, and one that occurs twice runs once.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use croner::errors::CronError;
use croner::{CivilDateTime, CronDateTime, Resolution, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ZonedDateTime};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A cron expression; empty is never.
#[derive(Debug, Clone, Default)]
pub struct Cron(Option<croner::Cron>);

impl Cron {
    /// The first time after `after_ms` (Unix milliseconds, exclusive) that the expression names in
    /// `zone`; `None` for the empty expression and for one that never comes again.
    #[must_use]
    pub fn next_after(&self, after_ms: i64, zone: &Zone) -> Option<i64> {
        let cron = self.0.as_ref()?;
        let after = Timestamp::from_millisecond(after_ms).ok()?.to_zoned_datetime(zone.0.clone());
        let next = cron.find_next_occurrence(&Instant::new(after)?, false).ok()?;
        Some(next.at.timestamp().as_millisecond())
    }

    /// Whether this is the empty expression.
    #[must_use]
    pub const fn is_never(&self) -> bool {
        self.0.is_none()
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl FromStr for Cron {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self(None));
        }
        croner::Cron::from_str(text).map(|cron| Self(Some(cron))).map_err(|error| {
            format!(
                "`{text}` is not a cron expression ({error}); write minute hour day month weekday, \
                 e.g. \"0 3 * * *\" for every night at three"
            )
        })
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_ref().map_or("", croner::Cron::as_str))
    }
}

impl<'de> Deserialize<'de> for Cron {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Cron {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A time zone of the IANA data base; empty is the system's.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone(TimeZone, String);

impl Zone {
    /// The minute of the day (0 to 1439) that clocks of this zone show.
    #[must_use]
    pub fn minute_of_day(&self, at_ms: i64) -> u16 {
        let Ok(at) = Timestamp::from_millisecond(at_ms) else { return 0 };
        let at = at.to_zoned_datetime(self.0.clone());
        u16::from(at.hour().unsigned_abs()) * 60 + u16::from(at.minute().unsigned_abs())
    }

    /// What calendars and clocks of this zone show; `None`: no calendar goes that far.
    #[must_use]
    pub fn wall_clock(&self, at_ms: i64) -> Option<jiff::civil::DateTime> {
        let at = Timestamp::from_millisecond(at_ms).ok()?;
        Some(at.to_zoned_datetime(self.0.clone()).datetime())
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC, "UTC".to_owned())
    }
}

impl FromStr for Zone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.trim();
        let zone = if name.is_empty() {
            TimeZone::system()
        } else {
            TimeZone::get(name).map_err(|_| {
                format!("`{name}` is no time zone that this system knows; write e.g. \"Europe/Vienna\" or \"UTC\"")
            })?
        };
        Ok(Self(zone, name.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.1)
    }
}

/// jiff's instant in a zone, with its wall-clock time as croner wants to see it.
#[derive(Clone)]
struct Instant {
    at: ZonedDateTime,
    civil: CivilDateTime,
}

impl Instant {
    fn new(at: ZonedDateTime) -> Option<Self> {
        let wall = at.datetime();
        let part = |value: i8| u32::from(value.unsigned_abs());
        let civil = CivilDateTime::from_ymd_hms_opt(
            i32::from(wall.year()),
            part(wall.month()),
            part(wall.day()),
            part(wall.hour()),
            part(wall.minute()),
            part(wall.second()),
        )?;
        Some(Self { at, civil })
    }
}

impl CronDateTime for Instant {
    fn to_civil(&self) -> CivilDateTime {
        self.civil
    }

    fn civil_weekday(&self) -> Weekday {
        let from_sunday = self.at.weekday().to_sunday_zero_offset();
        Weekday::from_days_from_sunday(u32::from(from_sunday.unsigned_abs()))
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let part = |value: u32| i8::try_from(value).map_err(|_| CronError::InvalidTime);
        let datetime = jiff::civil::DateTime::new(
            i16::try_from(civil.year()).map_err(|_| CronError::InvalidDate)?,
            part(civil.month())?,
            part(civil.day())?,
            part(civil.hour())?,
            part(civil.minute())?,
            part(civil.second())?,
            0,
        )
        .map_err(|_| CronError::InvalidDate)?;
        let here = |at: Result<ZonedDateTime, jiff::Error>| {
            at.map(|at| Self { at, civil }).map_err(|_| CronError::InvalidTime)
        };
        let ambiguous = self.at.time_zone().to_ambiguous_zoned_datetime(datetime);
        Ok(match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } => {
                Resolution::Single(here(ambiguous.unambiguous())?)
            }
            AmbiguousOffset::Fold { .. } => {
                Resolution::Ambiguous(here(ambiguous.clone().earlier())?, here(ambiguous.later())?)
            }
            AmbiguousOffset::Gap { .. } => Resolution::Gap,
        })
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        Self::new(self.at.checked_add(SignedDuration::from_secs(seconds)).ok()?)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.at.timestamp().cmp(&other.at.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn the_next_time_is_in_the_zone_and_after_now() {
        let cron: Cron = "0 3 * * *".parse().unwrap();
        let vienna: Zone = "Europe/Vienna".parse().unwrap();
        // Summer: 03:00 is 01:00 UTC. The very minute itself does not count again.
        let first = cron.next_after(ms("2026-07-01T00:10:00Z"), &vienna).unwrap();
        assert_eq!(first, ms("2026-07-01T01:00:00Z"));
        assert_eq!(cron.next_after(first, &vienna), Some(ms("2026-07-02T01:00:00Z")));
        assert_eq!(vienna.minute_of_day(first), 180);
    }

    #[test]
    fn an_hour_that_comes_twice_runs_once() {
        let cron: Cron = "30 2 * * *".parse().unwrap();
        let vienna: Zone = "Europe/Vienna".parse().unwrap();
        // 2026-10-25: clocks go from 03:00 back to 02:00.
        let first = cron.next_after(ms("2026-10-24T22:00:00Z"), &vienna).unwrap();
        let second = cron.next_after(first, &vienna).unwrap();
        assert_eq!(first, ms("2026-10-25T00:30:00Z"));
        assert_eq!(second, ms("2026-10-26T01:30:00Z"));
    }

    #[test]
    fn never_and_nonsense() {
        let never: Cron = "".parse().unwrap();
        assert!(never.is_never());
        assert_eq!(never.next_after(0, &Zone::default()), None);
        for wrong in ["61 * * * *", "x", "* * *", "0 3 * * 9"] {
            assert!(wrong.parse::<Cron>().unwrap_err().contains("0 3 * * *"), "{wrong}");
        }
        assert!("Mars/Olympus".parse::<Zone>().unwrap_err().contains("Europe/Vienna"));
        // The 30th of February never comes: no endless search.
        let cron: Cron = "0 0 30 2 *".parse().unwrap();
        assert_eq!(cron.next_after(0, &Zone::default()), None);
    }
}
