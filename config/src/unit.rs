//! Values that are checked once, where they are read.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A string or a number, as configuration layers give them.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a text")
            }

            fn visit_str<E>(self, value: &str) -> Result<Text, E> {
                Ok(Text(value.to_owned()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

macro_rules! by_text {
    ($name:ty) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Text::deserialize(deserializer)?.0.parse().map_err(serde::de::Error::custom)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

/// `12 MiB` → (`12`, `MiB`).
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    Some((number, text[end..].trim()))
}

/// A size in bytes: `2 MiB`, `1048576`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl Bytes {
    /// The size as a length in memory; the largest there is, when it does not fit.
    #[must_use]
    pub fn len(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Whether it is zero.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a size; write e.g. \"64 MiB\" or 67108864");
        let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "kib" => 1024.0,
            "mib" => 1024.0 * 1024.0,
            "gib" => 1024.0 * 1024.0 * 1024.0,
            "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
            "kb" => 1e3,
            "mb" => 1e6,
            "gb" => 1e9,
            "tb" => 1e12,
            _ => return Err(wrong()),
        };
        let bytes = number * factor;
        // 2^53: beyond it a float no longer counts single bytes.
        if !(0.0..=9_007_199_254_740_992.0).contains(&bytes) {
            return Err(wrong());
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // range checked above
        Ok(Self(bytes as u64))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{} {unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

by_text!(Bytes);

/// A span of time, in whole milliseconds: `30s`, `10m`, `6h`, `90d`, `30` (seconds).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub Duration);

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not a span of time; write e.g. \"30s\", \"10m\" or \"6h\"");
        let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" | "s" => 1.0,
            "ms" => 1e-3,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return Err(wrong()),
        };
        let millis = (number * factor * 1e3).round();
        if !(0.0..=100.0 * 366.0 * 86_400e3).contains(&millis) {
            return Err(wrong());
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // range checked above
        Ok(Self(Duration::from_millis(millis as u64)))
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        if self.0.subsec_millis() != 0 {
            return write!(f, "{}ms", self.0.as_millis());
        }
        for (factor, unit) in [(86_400, "d"), (3600, "h"), (60, "m")] {
            if seconds != 0 && seconds.is_multiple_of(factor) {
                return write!(f, "{}{unit}", seconds / factor);
            }
        }
        write!(f, "{seconds}s")
    }
}

by_text!(Seconds);

/// An address with a port. `localhost` is the loopback: nothing else is looked up, so that reading
/// the settings opens no connection.
pub(crate) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = Text::deserialize(deserializer)?.0;
    socket_address(&text, 8080).map_err(serde::de::Error::custom)
}

/// `port` is the one in the example that an error gives.
fn socket_address(text: &str, port: u16) -> Result<SocketAddr, String> {
    let literal = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    literal.as_deref().unwrap_or(text).parse().map_err(|_| {
        format!("`{text}` is no address; write e.g. \"127.0.0.1:{port}\" or \"localhost:{port}\"")
    })
}

/// An address with a port, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Listen(pub Option<SocketAddr>);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self(None));
        }
        socket_address(text, 9464).map(|address| Self(Some(address)))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |address| address.fmt(f))
    }
}

by_text!(Listen);

/// An address, or all that begin alike: `10.0.0.2`, `192.168.0.0/16`, `fd00::/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(pub IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let one = text.parse::<IpAddr>().map(IpNet::from).ok();
        one.or_else(|| text.parse().ok()).map(Self).ok_or_else(|| {
            format!("`{text}` is no address or network; write \"10.0.0.2\" or \"192.168.0.0/16\"")
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

by_text!(Network);

/// A share in percent, 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Percent(f64);

impl Percent {
    /// The percentage as it was written, 0 to 100.
    #[must_use]
    pub const fn percent(self) -> f64 {
        self.0
    }

    /// The same as a part of one, 0 to 1.
    #[must_use]
    pub const fn ratio(self) -> f64 {
        self.0 / 100.0
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        if (0.0..=100.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err(serde::de::Error::custom(format!("{value} is not a percentage from 0 to 100")))
        }
    }
}

/// A learning rate, or `auto`: the one that was measured to be right for the model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LearningRate {
    /// By the model.
    Auto,
    /// As it was set, for every model.
    Set(f64),
}

impl FromStr for LearningRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        let set = text.parse().ok().filter(|rate| (1e-8..=1.0).contains(rate)).map(Self::Set);
        set.ok_or_else(|| {
            format!("`{text}` is not a learning rate; write \"auto\" or a number from 1e-8 to 1")
        })
    }
}

impl<'de> Deserialize<'de> for LearningRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Text::deserialize(deserializer)?.0.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for LearningRate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Set(rate) => serializer.serialize_f64(*rate),
        }
    }
}

/// Hours of the day, `08:00-18:00`; past midnight if the end comes first; empty is never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hours(Option<(u16, u16)>);

impl Hours {
    /// Whether a minute of the day (0 to 1439) lies in these hours. The end does not.
    #[must_use]
    pub const fn contains(self, minute: u16) -> bool {
        match self.0 {
            None => false,
            Some((from, to)) if from <= to => from <= minute && minute < to,
            Some((from, to)) => minute >= from || minute < to,
        }
    }
}

impl FromStr for Hours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let minute = |part: &str| {
            let (hour, minute) = part.trim().split_once(':')?;
            let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
            (hour < 24 && minute < 60).then_some(hour * 60 + minute)
        };
        if text.trim().is_empty() {
            return Ok(Self(None));
        }
        text.split_once('-')
            .and_then(|(from, to)| Some((minute(from)?, minute(to)?)))
            .filter(|(from, to)| from != to)
            .map(|hours| Self(Some(hours)))
            .ok_or_else(|| format!("`{text}` are not hours of the day; write e.g. \"08:00-18:00\""))
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((from, to)) = self.0 else { return Ok(()) };
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

by_text!(Hours);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        assert_eq!("2 MiB".parse(), Ok(Bytes(2 << 20)));
        assert_eq!("1.5KiB".parse(), Ok(Bytes(1536)));
        assert_eq!("1000".parse(), Ok(Bytes(1000)));
        assert_eq!("3 GB".parse(), Ok(Bytes(3_000_000_000)));
        for wrong in ["", "MiB", "-1", "1 PiB", "1e99 TiB", "two"] {
            assert!(wrong.parse::<Bytes>().unwrap_err().contains("64 MiB"), "{wrong}");
        }
    }

    #[test]
    fn a_learning_rate_is_a_number_or_left_to_the_model() {
        assert_eq!("auto".parse(), Ok(LearningRate::Auto));
        assert_eq!("5e-4".parse(), Ok(LearningRate::Set(0.0005)));
        for wrong in ["", "0", "-1", "2", "NaN", "inf", "fast"] {
            assert!(wrong.parse::<LearningRate>().unwrap_err().contains("auto"), "{wrong}");
        }
        for rate in [LearningRate::Auto, LearningRate::Set(0.0005)] {
            let written = serde_json::to_string(&rate).unwrap();
            assert_eq!(serde_json::from_str::<LearningRate>(&written).unwrap(), rate, "{written}");
        }
    }

    #[test]
    fn times_are_read_with_and_without_a_unit() {
        assert_eq!("30".parse(), Ok(Seconds(Duration::from_secs(30))));
        assert_eq!("6h".parse(), Ok(Seconds(Duration::from_secs(21_600))));
        assert_eq!("250ms".parse(), Ok(Seconds(Duration::from_millis(250))));
        for wrong in ["", "s", "-1", "1 year", "99999999999999d"] {
            assert!(wrong.parse::<Seconds>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn hours_may_go_past_midnight() {
        let night: Hours = "22:30-06:00".parse().unwrap();
        assert!(night.contains(23 * 60) && night.contains(0) && night.contains(5 * 60 + 59));
        assert!(!night.contains(6 * 60) && !night.contains(12 * 60));
        assert!(!Hours::default().contains(0));
        for wrong in ["8-18", "08:00", "24:00-01:00", "08:00-08:00"] {
            assert!(wrong.parse::<Hours>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn networks_and_addresses_without_a_port() {
        for (text, written) in [
            ("10.0.0.2", "10.0.0.2/32"),
            ("192.168.0.0/16", "192.168.0.0/16"),
            ("fd00::/8", "fd00::/8"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), written);
        }
        for wrong in ["", "10.0.0.2:80", "proxy.lan", "10.0.0.0/33"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
        assert_eq!("".parse(), Ok(Listen(None)));
        assert_eq!("localhost:9".parse::<Listen>().unwrap().to_string(), "127.0.0.1:9");
    }

    proptest! {
        #[test]
        fn sizes_and_times_survive_being_written(bytes in 0_u64..1 << 50, ms in 0_u64..1 << 40) {
            prop_assert_eq!(Bytes(bytes).to_string().parse(), Ok(Bytes(bytes)));
            let span = Seconds(Duration::from_millis(ms));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }

        #[test]
        fn reading_never_panics(text in ".*") {
            let _ = (text.parse::<Bytes>(), text.parse::<Seconds>(), text.parse::<Hours>());
        }
    }
}
