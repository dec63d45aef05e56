//! Quantities are read exactly: tables of what Kubernetes takes, and a comparison with big integers.

use proptest::prelude::*;
use weir::api::Quantity;
use weir::api::quantity::{Amount, QuantityError, counted, shown_amount};

/// A natural number of any size, in decimal digits, least first: slow, and plain enough to be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Big(Vec<u8>);

impl Big {
    fn digits(text: &str) -> Self {
        Self(text.bytes().rev().map(|b| b - b'0').collect()).trimmed()
    }

    fn trimmed(mut self) -> Self {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
        self
    }

    fn times(&self, factor: u32) -> Self {
        let (mut digits, mut carry) = (Vec::new(), 0_u32);
        for digit in &self.0 {
            carry += u32::from(*digit) * factor;
            digits.push(u8::try_from(carry % 10).unwrap());
            carry /= 10;
        }
        while carry > 0 {
            digits.push(u8::try_from(carry % 10).unwrap());
            carry /= 10;
        }
        Self(digits).trimmed()
    }

    fn times_ten_to(&self, power: usize) -> Self {
        Self(vec![0; power].into_iter().chain(self.0.iter().copied()).collect()).trimmed()
    }

    /// Divided by a power of ten, rounded up.
    fn over_ten_to(&self, power: usize) -> Self {
        let lost = self.0.iter().take(power).any(|digit| *digit != 0);
        let mut digits: Vec<u8> = self.0.iter().skip(power).copied().collect();
        if lost {
            let mut position = 0;
            loop {
                match digits.get_mut(position) {
                    Some(9) => digits[position] = 0,
                    Some(digit) => {
                        *digit += 1;
                        break;
                    }
                    None => {
                        digits.push(1);
                        break;
                    }
                }
                position += 1;
            }
        }
        Self(digits).trimmed()
    }

    fn text(&self) -> String {
        if self.0.is_empty() {
            "0".into()
        } else {
            self.0.iter().rev().map(|d| char::from(d + b'0')).collect()
        }
    }
}

/// (text, powers of 1024, power of ten).
fn suffixes() -> impl Strategy<Value = (String, u32, i32)> {
    let fixed = [
        ("n", 0, -9),
        ("u", 0, -6),
        ("m", 0, -3),
        ("", 0, 0),
        ("k", 0, 3),
        ("M", 0, 6),
        ("G", 0, 9),
        ("T", 0, 12),
        ("P", 0, 15),
        ("E", 0, 18),
        ("Ki", 1, 0),
        ("Mi", 2, 0),
        ("Gi", 3, 0),
        ("Ti", 4, 0),
        ("Pi", 5, 0),
        ("Ei", 6, 0),
    ];
    prop_oneof![
        proptest::sample::select(fixed.to_vec()).prop_map(|(text, kibi, ten)| (text.to_owned(), kibi, ten)),
        (-40..40_i32).prop_map(|e| (format!("e{e}"), 0, e)),
        (0..40_i32).prop_map(|e| (format!("E+{e}"), 0, e)),
    ]
}

/// In nano-units, rounded up.
fn reference(whole: &str, fraction: &str, kibi: u32, ten: i32) -> Big {
    let mut value = Big::digits(&format!("{whole}{fraction}"));
    for _ in 0..kibi {
        value = value.times(1024);
    }
    let power = ten + 9 - i32::try_from(fraction.len()).unwrap();
    match usize::try_from(power) {
        Ok(power) => value.times_ten_to(power),
        Err(_) => value.over_ten_to(usize::try_from(-power).unwrap()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_quantity_is_what_big_integers_say(
        whole in "[0-9]{1,24}",
        fraction in "[0-9]{0,9}",
        negative: bool,
        (suffix, kibi, ten) in suffixes(),
    ) {
        let point = if fraction.is_empty() { "" } else { "." };
        let text = format!("{}{whole}{point}{fraction}{suffix}", if negative { "-" } else { "" });
        let expected = reference(&whole, &fraction, kibi, ten).text();
        match Amount::parse(&text) {
            Ok(amount) => {
                prop_assert_eq!(amount.nanos().unsigned_abs().to_string(), &expected[..], "{}", text);
                prop_assert_eq!(amount.is_negative(), negative && expected != "0");
            }
            Err(QuantityError::OutOfRange(_)) => {
                let most = i128::MAX.to_string();
                prop_assert!(expected.len() > most.len() || (expected.len() == most.len() && expected > most), "{} is {}", text, expected);
            }
            Err(error) => prop_assert!(false, "{error}"),
        }
    }

    #[test]
    fn milli_and_whole_units_are_rounded_up(nanos_digits in "[0-9]{1,30}", negative: bool) {
        let text = format!("{}{nanos_digits}n", if negative { "-" } else { "" });
        let amount = Amount::parse(&text).unwrap();
        for (power, got) in [(6, amount.milli_ceil()), (9, amount.units_ceil())] {
            let digits = Big::digits(&nanos_digits);
            // Rounding up means towards zero where it is negative.
            let expected = if negative { Big(digits.0.into_iter().skip(power).collect()).trimmed() } else { digits.over_ten_to(power) };
            let expected = expected.text().parse::<i128>().unwrap() * if negative { -1 } else { 1 };
            prop_assert_eq!(got, i64::try_from(expected).ok(), "{}", text);
        }
    }

    #[test]
    fn what_is_shown_reads_back(amount in 0..=i64::MAX, resource in proptest::sample::select(vec!["cpu", "memory", "nvidia.com/gpu", "hugepages-2Mi"])) {
        let shown = shown_amount(resource, amount);
        prop_assert_eq!(counted(resource, shown.as_str()), Ok(amount), "{}", shown);
        prop_assert!(shown.as_str().len() <= 32);
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,40}", tail in "[-+0-9.eEkKmMinu]{0,40}") {
        let _ = Amount::parse(&text);
        let _ = Amount::parse(&tail);
    }
}

#[test]
fn quantities_are_counted_in_the_unit_of_their_resource() {
    for (resource, text, expected) in [
        ("cpu", "2", 2000),
        ("cpu", "1.5", 1500),
        ("cpu", ".5", 500),
        ("cpu", "1.", 1000),
        ("cpu", "+1", 1000),
        ("cpu", "1n", 1),
        ("cpu", "1001u", 2),
        ("cpu", "1e3", 1_000_000),
        ("cpu", "1E3", 1_000_000),
        ("cpu", "0.1m", 1),
        ("memory", "64Gi", 68_719_476_736),
        ("memory", "1.5Gi", 1_610_612_736),
        ("memory", "100m", 1),
        ("memory", "-100m", 0),
        ("memory", "-1", -1),
        ("memory", "9E", 9_000_000_000_000_000_000),
        ("memory", "0e99", 0),
        ("memory", "1e-99", 1),
        ("nvidia.com/gpu", "8", 8),
    ] {
        assert_eq!(counted(resource, text), Ok(expected), "{resource} {text}");
    }
}

#[test]
fn what_cannot_be_counted_is_refused_with_a_hint() {
    for (resource, text) in [
        ("cpu", "9E"),
        ("cpu", "9223372036854775807"),
        ("memory", "10E"),
        ("memory", "8Ei"),
        ("memory", "1e40"),
    ] {
        let error = counted(resource, text).unwrap_err();
        assert!(matches!(error, QuantityError::OutOfRange(_)), "{resource} {text}: {error:?}");
        assert!(error.to_string().contains("write a smaller"), "{error}");
    }
    for text in [
        "", ".", "-", "1 ", " 1", "1Kb", "1ki", "1K", "1.2.3", "1e", "1e+", "1e1.5", "0x1", "1_000", "NaN",
        "inf", "1,5", "--1", "1mm", "٣",
    ] {
        let error = counted("memory", text).unwrap_err();
        assert!(matches!(error, QuantityError::Malformed(_)), "{text:?}: {error:?}");
        assert!(error.to_string().contains("64Gi"), "{error}");
    }
    let long = "9".repeat(100_000);
    assert!(counted("memory", &long).unwrap_err().to_string().len() < 200, "a message stays short");
}

#[test]
fn amounts_are_shown_as_people_write_them() {
    for (resource, amount, expected) in [
        ("cpu", 2000, "2"),
        ("cpu", 1500, "1500m"),
        ("cpu", 0, "0"),
        ("cpu", -500, "-500m"),
        ("memory", 68_719_476_736, "64Gi"),
        ("memory", 1_610_612_736, "1536Mi"),
        ("memory", 1000, "1k"),
        ("memory", 1001, "1001"),
        ("memory", 1_024_000, "1024k"),
        ("memory", 9_000_000_000_000_000_000, "9E"),
        ("memory", 0, "0"),
        ("nvidia.com/gpu", 1024, "1024"),
    ] {
        assert_eq!(shown_amount(resource, amount), Quantity::from(expected), "{resource} {amount}");
    }
}

#[test]
fn a_quantity_may_be_written_as_a_bare_number() {
    let read: Vec<Quantity> = serde_json::from_str(r#"[8, "500m", -1]"#).unwrap();
    assert_eq!(read, ["8", "500m", "-1"].map(Quantity::from));
    assert!(serde_json::from_str::<Quantity>("1.5").is_err(), "as the schema has it");
}
