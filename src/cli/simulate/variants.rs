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
const WORDS: [(&str, Word); 14] = [
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
    ("optimal", Word::Strategy(Strategy::Optimal)),
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
        let parts =
            (variant.policy.is_none_or(leaves_choice), variant.queueing.unwrap_or(Queueing::BestEffort));
        if variant.strategy == Some(Strategy::Optimal) && parts != (true, Queueing::BestEffort) {
            bail!(
                "{text:?} cannot be: Optimal chooses who goes first among equals, and the other part says that itself: \
                 join optimal with fcfs, priority or besteffort"
            );
        }
        Ok(variant)
    }
}

/// Whether a queue in that order leaves a solver a choice.
fn leaves_choice(policy: Policy) -> bool {
    match policy {
        Policy::Priority | Policy::FirstComeFirstServed => true,
        Policy::FairShare | Policy::RoundRobin => false,
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
            notes.extend(self.reconcile(&mut spec));
            if spec != known.spec {
                world.apply(Delta::Pool(Box::new(spec)), loaded.now);
            }
        }
        (world, notes)
    }

    /// A pool whose strategy is `Optimal` is none that the API server would take if the rest of it does not suit: the rest
    /// gives way where the way says `Optimal`, and `Optimal` where the pool does.
    fn reconcile(&self, spec: &mut PoolSpec) -> Option<String> {
        let suits = leaves_choice(spec.policy)
            && spec.queueing == Queueing::BestEffort
            && spec.topology_key.is_none();
        if spec.strategy != Strategy::Optimal || suits {
            return None;
        }
        let (way, pool) = (&self.name, &spec.name);
        if self.strategy.is_none() {
            let note = format!("{way}: pool {pool} cannot have strategy Optimal then: taken to be Balanced");
            spec.strategy = Strategy::Balanced;
            return Some(note);
        }
        let mut given_up = Vec::new();
        if !leaves_choice(spec.policy) {
            spec.policy = Policy::Priority;
            spec.time_slice = None;
            given_up.push("policy is taken to be Priority");
        }
        if spec.queueing != Queueing::BestEffort {
            spec.queueing = Queueing::BestEffort;
            given_up.push("queueing is taken to be BestEffort");
        }
        if spec.topology_key.take().is_some() {
            given_up.push("topologyKey is left out");
        }
        Some(format!("{}: pool {}: {}", self.name, spec.name, given_up.join(", ")))
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
        assert_eq!("optimal+priority".parse::<Variant>().unwrap().strategy, Some(Strategy::Optimal));
        for (text, says) in [
            ("fifo", "write one of declared, fcfs"),
            ("fcfs+priority", "two things of one kind"),
            ("optimal+strict", "join optimal with fcfs, priority or besteffort"),
            ("fairshare+optimal", "join optimal with fcfs, priority or besteffort"),
        ] {
            let error = text.parse::<Variant>().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn what_does_not_suit_the_solver_gives_way_or_makes_it_give_way() {
        let fair = || PoolSpec {
            name: "a".into(),
            policy: Policy::FairShare,
            queueing: Queueing::Strict,
            topology_key: Some("rack".into()),
            strategy: Strategy::Optimal,
            ..PoolSpec::default()
        };
        let mut spec = fair();
        let note = "optimal".parse::<Variant>().unwrap().reconcile(&mut spec);
        let expected = "optimal: pool a: policy is taken to be Priority, queueing is taken to be BestEffort, topologyKey is left out";
        assert_eq!(note.as_deref(), Some(expected));
        let suits = (spec.policy, spec.queueing, spec.topology_key.is_none(), spec.strategy);
        assert_eq!(suits, (Policy::Priority, Queueing::BestEffort, true, Strategy::Optimal));
        assert_eq!(Variant::declared().reconcile(&mut spec), None);
        let mut spec = fair();
        let note = "strict".parse::<Variant>().unwrap().reconcile(&mut spec);
        let expected = "strict: pool a cannot have strategy Optimal then: taken to be Balanced";
        assert_eq!((note.as_deref(), spec.strategy), (Some(expected), Strategy::Balanced));
    }
}
