//! Durations in the style of Go: `90s`, `2h30m`, `500ms`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// The longest text that the schema allows for a duration.
pub const MAX_LENGTH: usize = 32;

/// What a duration looks like, as CEL and this parser both hold it. Six digits a unit keep every sum small.
pub const PATTERN: &str = r"^(0|([0-9]{1,6}([.][0-9]{1,3})?h)?([0-9]{1,6}([.][0-9]{1,3})?m)?([0-9]{1,6}([.][0-9]{1,3})?s)?([0-9]{1,6}ms)?)$";

/// A length of time, to the millisecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration {
    millis: i64,
}

/// Why a text is no duration, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not a duration: write hours, minutes and seconds in this order, such as 90s, 15m or 2h30m")]
pub struct DurationError(String);

impl Duration {
    /// So many milliseconds.
    pub const fn from_millis(millis: i64) -> Self {
        Self { millis }
    }

    /// So many seconds.
    pub const fn from_secs(seconds: i64) -> Self {
        Self { millis: seconds.saturating_mul(1000) }
    }

    /// In milliseconds; never negative when it was parsed.
    pub const fn as_millis(self) -> i64 {
        self.millis
    }

    /// In seconds, rounded up.
    pub const fn as_secs_ceil(self) -> i64 {
        self.millis.div_euclid(1000) + (self.millis.rem_euclid(1000) != 0) as i64
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        Self::from_millis(duration.millis.max(0).unsigned_abs())
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let error = || DurationError(text.chars().take(MAX_LENGTH).collect());
        if text == "0" {
            return Ok(Self::default());
        }
        let mut rest = text;
        let mut millis = 0_i64;
        let mut last_rank = 0;
        while !rest.is_empty() {
            let split = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(error)?;
            let (number, tail) = rest.split_at(split);
            let (rank, unit, millis_a_unit) =
                [(4, "ms", 1), (1, "h", 3_600_000), (2, "m", 60_000), (3, "s", 1000)]
                    .into_iter()
                    .find(|(_, unit, _)| tail.starts_with(unit))
                    .ok_or_else(error)?;
            let (whole, fraction) = number.split_once('.').map_or((number, None), |(w, f)| (w, Some(f)));
            let fraction_is_fine = fraction.is_none_or(|f| rank != 4 && (1..=3).contains(&f.len()));
            if rank <= last_rank || !(1..=6).contains(&whole.len()) || !fraction_is_fine {
                return Err(error());
            }
            // Thousandths: at most nine digits, so no product or sum below comes near the end of an i64.
            let thousandths: i64 =
                format!("{whole}{:0<3}", fraction.unwrap_or("")).parse().map_err(|_| error())?;
            millis += thousandths * millis_a_unit / 1000;
            last_rank = rank;
            rest = &tail[unit.len()..];
        }
        if last_rank == 0 { Err(error()) } else { Ok(Self { millis }) }
    }
}

impl fmt::Display for Duration {
    /// The shortest form: `2h30m`, `90s` as `1m30s`, `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.millis.max(0);
        if millis == 0 {
            return f.write_str("0s");
        }
        let parts = [
            (millis / 3_600_000, "h"),
            (millis / 60_000 % 60, "m"),
            (millis / 1000 % 60, "s"),
            (millis % 1000, "ms"),
        ];
        parts
            .into_iter()
            .filter(|(amount, _)| *amount > 0)
            .try_for_each(|(amount, unit)| write!(f, "{amount}{unit}"))
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'_, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_LENGTH,
            "description": "A duration, such as 90s, 15m or 2h30m.",
            "x-kubernetes-validations": [{
                "rule": format!("self.matches('{PATTERN}')"),
                "message": "write a duration: hours, minutes and seconds in this order, such as 90s, 15m or 2h30m",
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_shown() {
        for (text, millis, shown) in [
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
            ("90s", 90_000, "1m30s"),
            ("2h30m", 9_000_000, "2h30m"),
            ("1.5h", 5_400_000, "1h30m"),
            ("0.25s", 250, "250ms"),
            ("1h1m1s1ms", 3_661_001, "1h1m1s1ms"),
            ("999999h", 3_599_996_400_000, "999999h"),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration.as_millis(), millis, "{text}");
            assert_eq!(duration.to_string(), shown, "{text}");
            assert_eq!(shown.parse::<Duration>().unwrap(), duration, "{text}");
        }
        assert_eq!("250ms".parse::<Duration>().unwrap().as_secs_ceil(), 1);
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "", "5", "1d", "-1s", "1s1h", "1h1h", "1.s", ".5s", "1.2345s", "1.5ms", "1234567s", "1 s", "s",
            "1hm", "٣s",
        ] {
            assert!(text.parse::<Duration>().is_err(), "{text:?} was taken");
        }
    }
}
