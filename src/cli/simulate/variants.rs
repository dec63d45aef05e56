//! Policies and placement strategies side by side.

use anyhow::bail;

use crate::cli::load::Loaded;
use crate::model::delta::Delta;
use crate::model::spec::{Policy, PoolSpec, Queueing, Strategy};
use crate::model::time::Span;
use crate::model::world::World;

/// What a round-robin queue gets as its slice where its pool says nothing.
const SLICE: Span = Span::minutes(10);

/// One way to run all pools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variant {
    /// As it was written.
    pub name: String,
    policy: Option<Policy>,
    queueing: Option<Queueing>,
    strategy: Option<Strategy>,
}

/// The word for pools as their manifests have them.
pub const DECLARED: &str = "declared";

/// Words, in the order in which they are offered.
const WORDS: [(&str, Word); 13] = [
    (DECLARED, Word::Declared),
    ("fcfs", Word::Policy(Policy::FirstComeFirstServed)),
    ("priority", Word::Policy(Policy::Priority)),
    ("fairshare", Word::Policy(Policy::FairShare)),
    ("roundrobin", Word::Policy(Policy::RoundRobin)),
    ("strict", Word::Queueing(Queueing::Strict)),
    ("besteffort", Word::Queueing(Queueing::BestEffort)),
    ("backfill", Word::Queueing(Queueing::Backfill)),
    ("binpack", Word::Strategy(Strategy::BinPack)),
    ("spread", Word::Strategy(Strategy::Spread)),
    ("balanced", Word::Strategy(Strategy::Balanced)),
    ("leastfragmentation", Word::Strategy(Strategy::LeastFragmentation)),
    ("firstcomefirstserved", Word::Policy(Policy::FirstComeFirstServed)),
];

#[derive(Clone, Copy)]
enum Word {
    Declared,
    Policy(Policy),
    Queueing(Queueing),
    Strategy(Strategy),
}

impl std::str::FromStr for Variant {
    type Err = anyhow::Error;

    /// One word, or several of different kinds joined by `+`.
    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut variant = Self { name: text.to_owned(), ..Self::default() };
        for part in text.split('+') {
            let plain = part.trim().to_lowercase().replace('-', "");
            let Some((_, word)) = WORDS.iter().find(|(name, _)| *name == plain) else {
                // The last says the same as one before it.
                let all: Vec<&str> = WORDS.iter().take(WORDS.len() - 1).map(|(name, _)| *name).collect();
                bail!(
                    "{part:?} is no policy, queueing or placement strategy: write one of {}, or several joined by +",
                    all.join(", ")
                );
            };
            let twice = match *word {
                Word::Declared => false,
                Word::Policy(policy) => variant.policy.replace(policy).is_some(),
                Word::Queueing(queueing) => variant.queueing.replace(queueing).is_some(),
                Word::Strategy(strategy) => variant.strategy.replace(strategy).is_some(),
            };
            if twice {
                bail!(
                    "{text:?} says two things of one kind: join a policy, a queueing and a strategy at most"
                );
            }
        }
        Ok(variant)
    }
}

impl Variant {
    /// Pools as their manifests have them.
    pub fn declared() -> Self {
        Self { name: DECLARED.to_owned(), ..Self::default() }
    }

    /// The world with all pools run that way; what of it has to be said.
    pub fn applied(&self, loaded: &Loaded) -> (World, Vec<String>) {
        let mut world = loaded.world.clone();
        let mut notes = Vec::new();
        for (name, known) in loaded.catalog.pools() {
            let mut spec: PoolSpec = known.spec.clone();
            if let Some(policy) = self.policy {
                spec.policy = policy;
                if policy == Policy::RoundRobin && spec.time_slice.is_none() {
                    spec.time_slice = Some(SLICE);
                    notes.push(format!("{}: pool {name} has no timeSlice: taken to be 10m", self.name));
                }
                if policy != Policy::RoundRobin {
                    spec.time_slice = None;
                }
            }
            spec.queueing = self.queueing.unwrap_or(spec.queueing);
            spec.strategy = self.strategy.unwrap_or(spec.strategy);
            if spec != known.spec {
                world.apply(Delta::Pool(Box::new(spec)), loaded.now);
            }
        }
        (world, notes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_different_kinds_are_joined() {
        let variant: Variant = "FairShare+backfill+BinPack".parse().unwrap();
        assert_eq!(
            (variant.policy, variant.queueing, variant.strategy),
            (Some(Policy::FairShare), Some(Queueing::Backfill), Some(Strategy::BinPack))
        );
        assert_eq!("declared".parse::<Variant>().unwrap(), Variant::declared());
        for (text, says) in
            [("fifo", "write one of declared, fcfs"), ("fcfs+priority", "two things of one kind")]
        {
            let error = text.parse::<Variant>().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
