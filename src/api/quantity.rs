//! Quantities of Kubernetes, read exactly.
//!
//! No floating point anywhere: a quantity is read into nano-units as an `i128`, rounded away from zero to the
//! nano-unit where it is finer (as Kubernetes does), and refused where it does not fit. From there it is
//! rounded up to what Weir counts in: milli-units of cpu, whole units of everything else.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

/// The longest text that the schema allows for a quantity.
pub const MAX_LENGTH: usize = 32;

const NANO: i128 = 1_000_000_000;
const NANOS_A_MILLI: i128 = 1_000_000;

/// A quantity as somebody wrote it: a number, or a number with a suffix such as `500m`, `64Gi` or `1e3`.
///
/// Whole numbers may be written bare (`8`), as everywhere in Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Quantity(pub String);

impl Quantity {
    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The exact amount.
    pub fn parse(&self) -> Result<Amount, QuantityError> {
        Amount::parse(&self.0)
    }
}

impl From<&str> for Quantity {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum IntOrString {
            Int(i64),
            Text(String),
        }
        Ok(match IntOrString::deserialize(deserializer)? {
            IntOrString::Int(number) => Self(number.to_string()),
            IntOrString::Text(text) => Self(text),
        })
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": MAX_LENGTH,
            "description": "A Kubernetes quantity, such as 4, 500m or 64Gi.",
        })
    }
}

/// Why a quantity cannot be used, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QuantityError {
    /// Not of the form of a quantity.
    #[error("{0:?} is not a quantity: write a number with an optional suffix, such as 4, 500m, 64Gi or 1e3")]
    Malformed(String),
    /// More, or with more digits, than can be counted.
    #[error("{0:?} is larger or finer than can be counted: write a smaller or rounder quantity")]
    OutOfRange(String),
}

/// An exact amount in nano-units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(i128);

impl Amount {
    /// Reads a quantity: sign, digits with at most one point, and a suffix of one of the three forms that
    /// Kubernetes knows (`Ki`..`Ei`; `n`, `u`, `m`, `k`, `M`..`E`; `e3` or `E-3`).
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let malformed = || QuantityError::Malformed(shown(text));
        let out_of_range = || QuantityError::OutOfRange(shown(text));
        if text.len() > 256 {
            return Err(malformed());
        }
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let number_length = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (number, suffix) = rest.split_at(number_length);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') {
            return Err(malformed());
        }
        let scale = Scale::parse(suffix).ok_or_else(malformed)?;
        let fraction = fraction.trim_end_matches('0');
        let mut mantissa: i128 = 0;
        for digit in whole.bytes().chain(fraction.bytes()) {
            mantissa = mantissa
                .checked_mul(10)
                .and_then(|m| m.checked_add(i128::from(digit - b'0')))
                .ok_or_else(out_of_range)?;
        }
        let decimals = i32::try_from(fraction.len()).map_err(|_| malformed())?;
        let nanos = scale.apply(mantissa, decimals).ok_or_else(out_of_range)?;
        Ok(Self(if negative { -nanos } else { nanos }))
    }

    /// So many whole units.
    pub const fn from_units(units: i64) -> Self {
        Self(units as i128 * NANO)
    }

    /// The amount in nano-units.
    pub const fn nanos(self) -> i128 {
        self.0
    }

    /// Less than nothing.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// Nothing at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Whether nothing is lost in counting milli-units.
    pub const fn is_whole_milli(self) -> bool {
        self.0 % NANOS_A_MILLI == 0
    }

    /// Whether nothing is lost in counting whole units.
    pub const fn is_whole(self) -> bool {
        self.0 % NANO == 0
    }

    /// In milli-units, rounded up. `None` where an `i64` does not hold it.
    pub fn milli_ceil(self) -> Option<i64> {
        i64::try_from(div_ceil(self.0, NANOS_A_MILLI)).ok()
    }

    /// In whole units, rounded up. `None` where an `i64` does not hold it.
    pub fn units_ceil(self) -> Option<i64> {
        i64::try_from(div_ceil(self.0, NANO)).ok()
    }
}

/// Division that rounds towards positive infinity, as an amount that is charged must.
const fn div_ceil(value: i128, divisor: i128) -> i128 {
    value.div_euclid(divisor) + (value.rem_euclid(divisor) != 0) as i128
}

/// What the suffix multiplies by.
enum Scale {
    /// A power of ten.
    Ten(i32),
    /// A power of 1024.
    Kibi(u32),
}

impl Scale {
    fn parse(suffix: &str) -> Option<Self> {
        Some(match suffix {
            "n" => Self::Ten(-9),
            "u" => Self::Ten(-6),
            "m" => Self::Ten(-3),
            "" => Self::Ten(0),
            "k" => Self::Ten(3),
            "M" => Self::Ten(6),
            "G" => Self::Ten(9),
            "T" => Self::Ten(12),
            "P" => Self::Ten(15),
            "E" => Self::Ten(18),
            "Ki" => Self::Kibi(1),
            "Mi" => Self::Kibi(2),
            "Gi" => Self::Kibi(3),
            "Ti" => Self::Kibi(4),
            "Pi" => Self::Kibi(5),
            "Ei" => Self::Kibi(6),
            _ => {
                let exponent = suffix.strip_prefix(['e', 'E'])?;
                let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
                if digits.is_empty() || digits.len() > 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return None;
                }
                Self::Ten(exponent.parse().ok()?)
            }
        })
    }

    /// `mantissa / 10^decimals * scale`, in nano-units, rounded up to one.
    fn apply(&self, mantissa: i128, decimals: i32) -> Option<i128> {
        if mantissa == 0 {
            return Some(0);
        }
        let (mantissa, power) = match *self {
            Self::Ten(power) => (mantissa, power + 9 - decimals),
            Self::Kibi(power) => (mantissa.checked_mul(1024_i128.checked_pow(power)?)?, 9 - decimals),
        };
        match u32::try_from(power) {
            Ok(power) => mantissa.checked_mul(10_i128.checked_pow(power)?),
            // A divisor beyond i128 leaves less than one nano-unit, which rounds up to one.
            Err(_) => Some(
                10_i128.checked_pow(power.unsigned_abs()).map_or(1, |divisor| div_ceil(mantissa, divisor)),
            ),
        }
    }
}

/// What Weir counts a resource in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Milli-units: cpu.
    Milli,
    /// Whole units: bytes, devices, pods.
    One,
}

impl Unit {
    /// The unit of a resource.
    pub fn of(resource: &str) -> Self {
        if resource == "cpu" { Self::Milli } else { Self::One }
    }
}

/// The amount of a resource in the unit that Weir counts it in, rounded up.
///
/// # Errors
/// Where the text is no quantity, or is more than an `i64` of that unit holds.
pub fn counted(resource: &str, text: &str) -> Result<i64, QuantityError> {
    let amount = Amount::parse(text)?;
    let counted = match Unit::of(resource) {
        Unit::Milli => amount.milli_ceil(),
        Unit::One => amount.units_ceil(),
    };
    counted.ok_or_else(|| QuantityError::OutOfRange(shown(text)))
}

/// A counted amount as a quantity that people like to read: cpu as `2` or `1500m`, what is counted in bytes
/// as `64Gi` or `500M` where that is exact, everything else as a plain number. Reading it back gives the same amount.
pub fn shown_amount(resource: &str, counted: i64) -> Quantity {
    Quantity(match Unit::of(resource) {
        Unit::Milli if counted % 1000 == 0 => (counted / 1000).to_string(),
        Unit::Milli => format!("{counted}m"),
        Unit::One if is_bytes(resource) => bytes(counted),
        Unit::One => counted.to_string(),
    })
}

/// Whether a resource is counted in bytes.
pub fn is_bytes(resource: &str) -> bool {
    matches!(resource, "memory" | "ephemeral-storage" | "requests.storage")
        || resource.starts_with("hugepages-")
}

/// The shortest exact form; of two of a length, the binary one.
fn bytes(counted: i64) -> String {
    let binary = divided(counted, 1024, &["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]);
    let decimal = divided(counted, 1000, &["k", "M", "G", "T", "P", "E"]);
    if decimal.len() < binary.len() { decimal } else { binary }
}

fn divided(mut value: i64, by: i64, suffixes: &[&str]) -> String {
    let mut suffix = "";
    for next in suffixes {
        if value == 0 || value % by != 0 {
            break;
        }
        value /= by;
        suffix = next;
    }
    format!("{value}{suffix}")
}

/// Text of a stranger, cut so that a message stays readable.
fn shown(text: &str) -> String {
    if text.chars().count() <= 40 {
        text.to_owned()
    } else {
        text.chars().take(37).chain("...".chars()).collect()
    }
}
