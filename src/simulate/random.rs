//! A small generator of random numbers, and how long runs take. The same seed gives the same numbers everywhere.

use crate::model::time::Span;

/// `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Numbers of that seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Numbers of that seed for one name: whatever else is drawn, these stay the same.
    pub fn of(seed: u64, name: &str) -> Self {
        // FNV-1a, 64 bits.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut random = Self(seed ^ hash);
        random.next();
        random
    }

    /// The next number.
    #[allow(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Evenly in (0, 1].
    pub fn unit(&mut self) -> f64 {
        // 53 bits are what a float holds.
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// With that mean, and without memory: gaps between arrivals that know nothing of each other.
    pub fn exponential(&mut self, mean: Span) -> Span {
        scaled(mean, -self.unit().ln())
    }

    /// Normally, with mean 0 and deviation 1 (Box and Muller, 1958).
    fn normal(&mut self) -> f64 {
        let (radius, angle) = (self.unit(), self.unit());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }
}

/// A span times a factor, at least a millisecond.
#[allow(clippy::cast_possible_truncation, reason = "a float that is too large becomes the largest span")]
fn scaled(span: Span, factor: f64) -> Span {
    Span(((span.0 as f64 * factor) as i64).max(1))
}

/// How long runs take, as factors of what is expected.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Runs {
    /// As long as expected.
    #[default]
    Exactly,
    /// Each as long as expected times this factor.
    Times(f64),
    /// Evenly between two factors.
    Uniform(f64, f64),
    /// Without memory, as long as expected on average.
    Exponential,
    /// The logarithm varies by that deviation about what is expected, which is the median.
    LogNormal(f64),
}

impl Runs {
    /// How long the runs of one workload take. All members of one, and all its attempts, take as long.
    pub fn draw(self, seed: u64, name: &str, expected: Span) -> Span {
        let factor = match self {
            Self::Exactly => return expected,
            Self::Times(factor) => factor,
            Self::Uniform(least, most) => least + (most - least) * Random::of(seed, name).unit(),
            Self::Exponential => -Random::of(seed, name).unit().ln(),
            Self::LogNormal(sigma) => (sigma * Random::of(seed, name).normal()).exp(),
        };
        scaled(expected, factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(runs: Runs) -> i64 {
        let all = (0..10_000).map(|at| runs.draw(7, &format!("w{at}"), Span::seconds(100)).0);
        all.sum::<i64>() / 10_000
    }

    #[test]
    fn runs_are_as_long_as_expected_on_average_and_the_same_for_each_seed() {
        assert_eq!(mean(Runs::Exactly), 100_000);
        assert_eq!(mean(Runs::Times(0.5)), 50_000);
        assert!(
            (98_000..102_000).contains(&mean(Runs::Uniform(0.5, 1.5))),
            "{}",
            mean(Runs::Uniform(0.5, 1.5))
        );
        assert!((97_000..103_000).contains(&mean(Runs::Exponential)), "{}", mean(Runs::Exponential));
        // The mean of a lognormal is exp(sigma^2 / 2) times its median.
        assert!((110_000..116_500).contains(&mean(Runs::LogNormal(0.5))), "{}", mean(Runs::LogNormal(0.5)));
        let one = Runs::Exponential.draw(1, "team/a", Span::seconds(100));
        assert_eq!(one, Runs::Exponential.draw(1, "team/a", Span::seconds(100)));
        assert_ne!(one, Runs::Exponential.draw(2, "team/a", Span::seconds(100)));
    }

    #[test]
    fn the_generator_is_that_of_its_authors() {
        // The first three numbers of seed 1234567, from the reference implementation.
        let mut random = Random::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }
}
