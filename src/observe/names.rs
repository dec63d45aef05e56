//! Names of members: a function of the workload, so that a create that is repeated is recognised.
//!
//! The model counts attempts from 0; people, labels and names count them from 1.

/// The name of a member's pod: `<workload>-<index>`, from the second attempt on `<workload>-<index>-r<attempt>`.
pub fn member(workload: &str, index: u32, attempt: u32) -> String {
    match attempt {
        0 => format!("{workload}-{index}"),
        _ => format!("{workload}-{index}-r{}", shown_attempt(attempt)),
    }
}

/// The host name of a member, the same in every attempt.
pub fn host(workload: &str, index: u32) -> String {
    format!("{workload}-{index}")
}

/// The name of a migration of a member's machine, the attempts of which count for themselves.
pub fn migration(workload: &str, index: u32, attempt: u32) -> String {
    format!("{workload}-{index}-m{}", shown_attempt(attempt))
}

/// An attempt as people see it: from 1.
pub fn shown_attempt(attempt: u32) -> u32 {
    attempt.saturating_add(1)
}

/// An attempt as the model counts it, from what people see.
pub fn model_attempt(shown: u32) -> u32 {
    shown.saturating_sub(1)
}

/// Index and attempt, from the name of a pod of `workload`.
pub fn parse_member(workload: &str, pod: &str) -> Option<(u32, u32)> {
    let rest = pod.strip_prefix(workload)?.strip_prefix('-')?;
    let (index, attempt) = match rest.split_once("-r") {
        Some((index, attempt)) => (index, model_attempt(attempt.parse().ok()?)),
        None => (rest, 0),
    };
    let index = index.parse().ok()?;
    (member(workload, index, attempt) == pod).then_some((index, attempt))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for (index, attempt, name) in [(0, 0, "train-0"), (17, 1, "train-17-r2"), (3, 9, "train-3-r10")] {
            assert_eq!(member("train", index, attempt), name);
            assert_eq!(parse_member("train", name), Some((index, attempt)));
        }
        for name in [
            "train",
            "train-",
            "train-x",
            "train-01",
            "train-0-r1",
            "train-0-r",
            "training-0",
            "train-0-r2-1",
        ] {
            assert_eq!(parse_member("train", name), None, "{name}");
        }
    }
}
