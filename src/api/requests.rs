//! What a pod asks for: the sum that the scheduler and the kubelet make of its containers.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::quantity::{QuantityError, counted};

/// Amounts by resource, each in the unit that Weir counts it in (milli-cores, whole units).
pub type Amounts = BTreeMap<String, i64>;

/// The effective request of a pod: the larger of what its containers and sidecars ask for together, and of
/// what each step of its initialisation asks for (KEP-753). Where only a limit is given, it is the request.
///
/// # Errors
/// Where a quantity cannot be counted. Sums that overflow stay at the largest `i64`.
pub fn effective(pod: &PodSpec) -> Result<Amounts, QuantityError> {
    let mut running = Amounts::new();
    for container in &pod.containers {
        add(&mut running, &of_container(container)?);
    }
    let mut sidecars = Amounts::new();
    let mut peak = Amounts::new();
    for container in pod.init_containers.iter().flatten() {
        let own = of_container(container)?;
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut sidecars, &own);
            raise(&mut peak, &sidecars);
        } else {
            let mut step = sidecars.clone();
            add(&mut step, &own);
            raise(&mut peak, &step);
        }
    }
    add(&mut running, &sidecars);
    raise(&mut running, &peak);
    for (name, overhead) in pod.overhead.iter().flatten() {
        let amount = running.entry(name.clone()).or_default();
        *amount = amount.saturating_add(counted(name, &overhead.0)?);
    }
    Ok(running)
}

fn of_container(container: &Container) -> Result<Amounts, QuantityError> {
    let Some(resources) = &container.resources else { return Ok(Amounts::new()) };
    let limits = resources.limits.iter().flatten();
    let requests = resources.requests.iter().flatten();
    // Requests come last: they replace what the limit stands for.
    limits.chain(requests).map(|(name, quantity)| Ok((name.clone(), counted(name, &quantity.0)?))).collect()
}

fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let total = sum.entry(name.clone()).or_default();
        *total = total.saturating_add(*amount);
    }
}

fn raise(most: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let largest = most.entry(name.clone()).or_default();
        *largest = (*largest).max(*amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(yaml: &str) -> Vec<(String, i64)> {
        effective(&serde_yaml::from_str(yaml).unwrap()).unwrap().into_iter().collect()
    }

    #[test]
    fn containers_add_up_and_limits_stand_in_for_requests() {
        let pod = "{containers: [
            {name: a, resources: {requests: {cpu: 500m, memory: 1Gi}, limits: {cpu: '2'}}},
            {name: b, resources: {limits: {cpu: '1', nvidia.com/gpu: '2'}}}, {name: c}]}";
        let expected = [("cpu", 1500), ("memory", 1 << 30), ("nvidia.com/gpu", 2)];
        assert_eq!(of(pod), expected.map(|(name, amount)| (name.to_owned(), amount)));
    }

    #[test]
    fn initialisation_counts_where_it_asks_for_more() {
        let cpu = |init: &str| {
            of(&format!("{{containers: [{{name: a, resources: {{requests: {{cpu: '2'}}}}}}], initContainers: [{init}]}}"))
                [0].1
        };
        let step = |cpu: &str| format!("{{name: i, resources: {{requests: {{cpu: '{cpu}'}}}}}}");
        let sidecar = |cpu: &str| {
            format!("{{name: s, restartPolicy: Always, resources: {{requests: {{cpu: '{cpu}'}}}}}}")
        };
        assert_eq!(cpu(&step("1")), 2000);
        assert_eq!(cpu(&step("3")), 3000);
        assert_eq!(cpu(&sidecar("1")), 3000);
        assert_eq!(
            cpu(&format!("{}, {}", sidecar("1"), step("5"))),
            6000,
            "the sidecar runs beside the step"
        );
        assert_eq!(
            cpu(&format!("{}, {}", step("5"), sidecar("1"))),
            5000,
            "the sidecar starts after the step"
        );
    }

    #[test]
    fn a_sum_that_overflows_stays_at_the_largest() {
        let pod = "{containers: [{name: a, resources: {requests: {memory: 9E}}}, {name: b, resources: {requests: {memory: 9E}}}]}";
        assert_eq!(of(pod), [("memory".to_owned(), i64::MAX)]);
    }
}
