//! What a pod template may hold.

use serde_json::{Value, json};
use weir::api::template::check_pod_template;
use weir::api::workload::Completion;

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

/// A template with one good container, and `more` beside it.
fn pod(more: &str) -> Value {
    let mut spec = yaml("{containers: [{name: main, image: app}]}");
    if let (Value::Object(spec), Value::Object(more)) = (&mut spec, yaml(more)) {
        spec.extend(more);
    }
    spec
}

/// A template whose one container has `more`.
fn container(more: &str) -> Value {
    let mut container = yaml("{name: main, image: app}");
    if let (Value::Object(container), Value::Object(more)) = (&mut container, yaml(more)) {
        container.extend(more);
    }
    json!({"containers": [container]})
}

fn problems(spec: &Value, completion: Completion) -> Vec<String> {
    check_pod_template(spec, completion)
        .map_or_else(|p| p.iter().map(ToString::to_string).collect(), |_| Vec::new())
}

/// Each template must be refused with exactly one line that holds the words.
fn refused(cases: &[(Value, &str)]) {
    for (spec, expected) in cases {
        let lines = problems(spec, Completion::RunToCompletion);
        assert!(
            lines.len() == 1 && lines[0].contains(expected),
            "{spec}\nexpected: {expected}\ngot: {lines:#?}"
        );
    }
}

fn taken(specs: &[Value]) {
    for spec in specs {
        assert_eq!(problems(spec, Completion::RunToCompletion), [""; 0], "{spec}");
    }
}

#[test]
fn what_weir_sets_itself_is_refused() {
    refused(&[
        (pod("{nodeName: n1}"), "nodeName: leave it away: Weir chooses the node"),
        (pod("{schedulerName: default-scheduler}"), "schedulerName: leave it away"),
        (pod("{schedulingGates: [{name: a}]}"), "schedulingGates: leave it away"),
        (pod("{hostname: a}"), "hostname: leave it away"),
        (pod("{subdomain: a}"), "subdomain: leave it away"),
        (pod("{priority: 5}"), "priority: leave it away: write the priority in spec.priority"),
        (pod("{priorityClassName: high}"), "priorityClassName: leave it away"),
        (pod("{preemptionPolicy: Never}"), "preemptionPolicy: leave it away"),
        (pod("{ephemeralContainers: [{name: d, image: i}]}"), "ephemeralContainers: leave it away"),
        (
            container("{env: [{name: WEIR_INDEX, value: '1'}]}"),
            "containers[0].env[0].name: leave it away: Weir sets WEIR_INDEX",
        ),
    ]);
    taken(&[pod("{nodeName: null}"), pod("{schedulerName: ''}"), pod("{schedulingGates: []}")]);
}

#[test]
fn terms_about_pods_around_are_read_to_their_depth() {
    let required = |kind: &str, term: &str| {
        pod(&format!(
            "{{affinity: {{{kind}: {{requiredDuringSchedulingIgnoredDuringExecution: [{term}]}}}}}}"
        ))
    };
    let spread = |more: &str| {
        pod(&format!(
            "{{topologySpreadConstraints: [{{maxSkew: 1, topologyKey: z, whenUnsatisfiable: DoNotSchedule{more}}}]}}"
        ))
    };
    taken(&[
        required(
            "podAffinity",
            "{topologyKey: z, labelSelector: {matchLabels: {app: web}}, namespaces: [a]}",
        ),
        required(
            "podAntiAffinity",
            "{topologyKey: z, labelSelector: {}, matchLabelKeys: [version], namespaceSelector: {}}",
        ),
        required(
            "podAntiAffinity",
            "{topologyKey: z, labelSelector: {}, matchLabelKeys: [weir.dev/workload-uid]}",
        ),
        spread(
            ", labelSelector: {matchExpressions: [{key: app, operator: Exists}]}, minDomains: 2, nodeTaintsPolicy: Honor",
        ),
        pod(
            "{affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {}}]}}}",
        ),
    ]);
    refused(&[
        (required("podAffinity", "{topologyKey: ''}"), "topologyKey: write the key of a node label"),
        (
            required("podAffinity", "{topologyKey: z, matchLabelKeys: [version]}"),
            "matchLabelKeys: leave it away, or write a labelSelector",
        ),
        (
            required(
                "podAffinity",
                "{topologyKey: z, labelSelector: {}, matchLabelKeys: [v], mismatchLabelKeys: [v]}",
            ),
            "mismatchLabelKeys: \"v\" is in matchLabelKeys too",
        ),
        (
            required(
                "podAntiAffinity",
                "{topologyKey: z, labelSelector: {matchLabels: {weir.dev/index: '0'}}}",
            ),
            "leave weir.dev/index away: members of a workload are placed alike",
        ),
        (
            required(
                "podAntiAffinity",
                "{topologyKey: z, labelSelector: {matchExpressions: [{key: a, operator: Gt, values: ['1']}]}}",
            ),
            "operator: \"Gt\" is not known: write In, NotIn, Exists, DoesNotExist",
        ),
        (required("podAffinity", "{topologyKey: z, namespaces: [A_B]}"), "namespaces[0]: \"A_B\" is no name"),
        (
            pod(
                "{affinity: {podAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 0, podAffinityTerm: {topologyKey: z}}]}}}",
            ),
            "weight: write 1 to 100",
        ),
        (
            pod(
                "{affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 101, preference: {}}]}}}",
            ),
            "weight: write 1 to 100",
        ),
        (spread(", minDomains: 0"), "minDomains: write 1 or more"),
        (spread(", nodeAffinityPolicy: Always"), "nodeAffinityPolicy: \"Always\" is not known"),
        (
            pod(
                "{topologySpreadConstraints: [{maxSkew: 0, topologyKey: z, whenUnsatisfiable: ScheduleAnyway}]}",
            ),
            "maxSkew: write 1 or more",
        ),
        (
            pod(
                "{topologySpreadConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: ScheduleAnyway, minDomains: 2}]}",
            ),
            "minDomains: leave it away, or set whenUnsatisfiable to DoNotSchedule",
        ),
        (
            pod(
                "{topologySpreadConstraints: [{maxSkew: 1, topologyKey: z, whenUnsatisfiable: ScheduleAnyway}, {maxSkew: 2, topologyKey: z, whenUnsatisfiable: ScheduleAnyway}]}",
            ),
            "topologySpreadConstraints[1].topologyKey: \"z\" is there twice",
        ),
    ]);
}

#[test]
fn what_no_filter_honours_yet_is_refused() {
    refused(&[
        (pod("{runtimeClassName: gvisor}"), "runtimeClassName: runtime classes are not supported yet"),
        (pod("{overhead: {cpu: 1}}"), "overhead: leave it away"),
        (
            pod("{resources: {requests: {cpu: 1}}}"),
            "resources: resources of the whole pod are not supported yet",
        ),
        (
            pod("{securityContext: {sysctls: [{name: kernel.msgmax, value: '1'}]}}"),
            "securityContext.sysctls[0].name",
        ),
        (
            pod(
                "{hostNetwork: true, securityContext: {sysctls: [{name: net.ipv4.tcp_syncookies, value: '1'}]}}",
            ),
            "cannot be set with hostNetwork",
        ),
    ]);
    taken(&[
        pod("{securityContext: {sysctls: [{name: net.ipv4.tcp_syncookies, value: '1'}]}}"),
        pod("{os: {name: windows}}"),
        pod(
            "{affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: zone, operator: In, values: [a]}]}]}}}}",
        ),
        pod("{resourceClaims: [{name: gpu, resourceClaimName: g}]}"),
        pod(
            "{volumes: [{name: data, persistentVolumeClaim: {claimName: d}}, {name: e, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}}]}",
        ),
        pod("{imagePullSecrets: [{name: s}], hostNetwork: true, terminationGracePeriodSeconds: 0}"),
    ]);
}

#[test]
fn types_and_unknown_fields_are_refused() {
    refused(&[
        (json!("text"), "write a core/v1 PodSpec"),
        (json!([]), "write a core/v1 PodSpec"),
        (json!({}), "containers: write at least one container"),
        (json!({"containers": null}), "containers: write at least one container"),
        (json!({"containers": "app"}), "containers: "),
        (json!({"containers": [{"name": "a", "image": 5}]}), "containers[0].image: "),
        (pod("{terminationGracePeriodSeconds: soon}"), "terminationGracePeriodSeconds: "),
        (pod("{container: []}"), "container: unknown field"),
        (container("{imagePolicy: Always}"), "containers[0].imagePolicy: unknown field"),
        (container("{resources: {request: {cpu: 1}}}"), "containers[0].resources.request: unknown field"),
        (pod("{metadata: {labels: {a: b}}}"), "metadata: unknown field"),
    ]);
}

#[test]
fn a_restart_policy_must_suit_the_completion() {
    use Completion::{KeepRunning, RunToCompletion};
    let policy = |spec: &Value, completion| check_pod_template(spec, completion).unwrap().restart_policy;
    assert_eq!(policy(&pod("{}"), RunToCompletion).as_deref(), Some("Never"));
    assert_eq!(policy(&pod("{}"), KeepRunning), None, "the API server's default is Always");
    assert_eq!(policy(&pod("{restartPolicy: OnFailure}"), RunToCompletion).as_deref(), Some("OnFailure"));
    assert_eq!(policy(&pod("{restartPolicy: Always}"), KeepRunning).as_deref(), Some("Always"));
    assert_eq!(policy(&pod("{restartPolicy: Never}"), KeepRunning).as_deref(), Some("Never"));
    refused(&[
        (pod("{restartPolicy: Always}"), "restartPolicy: Always never ends: write Never or OnFailure"),
        (
            pod("{restartPolicy: never}"),
            "restartPolicy: \"never\" is not known: write Always, OnFailure, Never",
        ),
    ]);
}

#[test]
fn quantities_must_be_such_as_can_be_counted() {
    let requests = |text: &str| container(&format!("{{resources: {{requests: {text}}}}}"));
    let both = |requests: &str, limits: &str| {
        container(&format!("{{resources: {{requests: {requests}, limits: {limits}}}}}"))
    };
    refused(&[
        (
            requests("{cpu: '-1'}"),
            "containers[0].resources.requests.cpu: \"-1\" is negative: write 0 or more",
        ),
        (requests("{cpu: -1}"), "is negative"),
        (requests("{cpu: 1n}"), "is finer than 1m"),
        (requests("{cpu: 0.0005}"), "is finer than 1m"),
        (requests("{cpu: 9E}"), "is more than can be counted"),
        (requests("{memory: 10E}"), "is more than can be counted"),
        (requests("{memory: 1e60}"), "larger or finer than can be counted"),
        (requests("{memory: 100m}"), "\"100m\" is not a whole number: write whole units, such as 128Mi"),
        (requests("{memory: 1GB}"), "is not a quantity"),
        (requests("{memory: true}"), "containers[0].resources.requests"),
        (requests("{gpu: 1}"), "\"gpu\" is no resource of a container"),
        (requests("{nvidia.com/gpu: 1}"), "requests[nvidia.com/gpu]: write the same amount in limits"),
        (both("{nvidia.com/gpu: 1}", "{nvidia.com/gpu: 2}"), "write the same amount as in limits"),
        (
            both("{nvidia.com/gpu: 500m}", "{nvidia.com/gpu: 1}"),
            "not a whole number: write whole units, such as 1 or 2",
        ),
        (both("{cpu: 2}", "{cpu: 1}"), "requests.cpu: write at most the limit"),
        (both("{hugepages-2Mi: 2Mi}", "{hugepages-2Mi: 2Mi}"), "huge pages cannot be had without"),
        (
            pod("{volumes: [{name: a, emptyDir: {sizeLimit: -1}}]}"),
            "volumes[0].emptyDir.sizeLimit: write 0 or more",
        ),
    ]);
    taken(&[
        requests("{cpu: 2, memory: 1Gi}"),
        requests("{cpu: 0.5, memory: 1e3}"),
        requests("{memory: 1.1Gi, ephemeral-storage: 5000000Gi}"),
        both("{cpu: 1000m}", "{cpu: 1}"),
        both("{nvidia.com/gpu: 1}", "{nvidia.com/gpu: 1000m}"),
        container("{resources: {limits: {nvidia.com/gpu: 1}}}"),
    ]);
}

#[test]
fn containers_must_be_sound() {
    let two = |a: &str, b: &str| yaml(&format!("{{containers: [{a}, {b}]}}"));
    refused(&[
        (json!({"containers": [{"image": "i"}]}), "containers[0].name"),
        (json!({"containers": [{"name": "a"}]}), "containers[0].image: write an image"),
        (json!({"containers": [{"name": "A", "image": "i"}]}), "containers[0].name"),
        (two("{name: a, image: i}", "{name: a, image: i}"), "containers[1].name: \"a\" is there twice"),
        (
            pod("{initContainers: [{name: main, image: i}]}"),
            "initContainers[0].name: \"main\" is there twice",
        ),
        (
            pod("{initContainers: [{name: a, image: i, restartPolicy: Never}]}"),
            "initContainers[0].restartPolicy",
        ),
        (
            pod("{initContainers: [{name: a, image: i, readinessProbe: {tcpSocket: {port: 1}}}]}"),
            "initContainers[0].readinessProbe",
        ),
        (container("{restartPolicy: Always}"), "containers[0].restartPolicy: leave it away"),
        (container("{imagePullPolicy: Sometimes}"), "containers[0].imagePullPolicy"),
        (
            container("{volumeMounts: [{name: a, mountPath: /a}]}"),
            "containers[0].volumeMounts[0].name: no volume \"a\"",
        ),
        (container("{ports: [{containerPort: 0}]}"), "containers[0].ports[0].containerPort"),
        (container("{ports: [{containerPort: 80, hostPort: 99999}]}"), "containers[0].ports[0].hostPort"),
        (
            container("{ports: [{containerPort: 80, hostPort: 1}, {containerPort: 81, hostPort: 1}]}"),
            "ports[1].hostPort: 1 is there twice",
        ),
        (container("{ports: [{containerPort: 80, protocol: tcp}]}"), "ports[0].protocol"),
        (container("{livenessProbe: {periodSeconds: 5}}"), "livenessProbe: write one of exec"),
        (
            pod("{volumes: [{name: a, emptyDir: {}}, {name: a, emptyDir: {}}]}"),
            "volumes[1].name: \"a\" is there twice",
        ),
        (
            pod("{volumes: [{name: a, emptyDir: {}, hostPath: {path: /a}}]}"),
            "volumes[0]: write one kind of volume only",
        ),
        (pod("{dnsPolicy: None}"), "dnsConfig.nameservers: write at least one"),
        (pod("{os: {name: plan9}}"), "os.name"),
    ]);
    taken(&[
        pod(
            "{initContainers: [{name: side, image: i, restartPolicy: Always, readinessProbe: {tcpSocket: {port: 1}}}]}",
        ),
        container(
            "{ports: [{containerPort: 53, hostPort: 53}, {containerPort: 53, hostPort: 53, protocol: UDP}]}",
        ),
    ]);
}

#[test]
fn what_is_said_of_nodes_must_be_sound() {
    let affinity = |terms: &str| {
        pod(&format!(
            "{{affinity: {{nodeAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {{nodeSelectorTerms: {terms}}}}}}}}}"
        ))
    };
    refused(&[
        (pod("{nodeSelector: {'a b': c}}"), "nodeSelector[a b]: write the key of a label"),
        (pod("{nodeSelector: {a: 'b c'}}"), "nodeSelector.a: write the value of a label"),
        (affinity("[]"), "nodeSelectorTerms: write at least one term"),
        (
            affinity("[{matchExpressions: [{key: a, operator: In}]}]"),
            "matchExpressions[0].values: In and NotIn need",
        ),
        (affinity("[{matchExpressions: [{key: a, operator: Exists, values: [b]}]}]"), "take no values"),
        (affinity("[{matchExpressions: [{key: a, operator: Gt, values: [b]}]}]"), "Gt and Lt need one value"),
        (
            affinity("[{matchExpressions: [{key: a, operator: Like, values: [b]}]}]"),
            "operator: \"Like\" is not known",
        ),
        (
            affinity("[{matchFields: [{key: spec.x, operator: In, values: [b]}]}]"),
            "matchFields[0].key: write metadata.name",
        ),
        (pod("{tolerations: [{operator: Equal}]}"), "tolerations[0].operator: write Exists"),
        (pod("{tolerations: [{key: a, operator: Exists, value: b}]}"), "tolerations[0].value: leave it away"),
        (pod("{tolerations: [{key: a, effect: Never}]}"), "tolerations[0].effect"),
        (pod("{tolerations: [{key: a, tolerationSeconds: 5}]}"), "tolerations[0].tolerationSeconds"),
    ]);
    taken(&[
        pod("{nodeSelector: {kubernetes.io/os: linux, empty: ''}}"),
        affinity("[{matchFields: [{key: metadata.name, operator: In, values: [n1]}]}]"),
        affinity("[{matchExpressions: [{key: a, operator: Gt, values: ['5']}]}]"),
        pod(
            "{tolerations: [{operator: Exists}, {key: a, value: b, effect: NoExecute, tolerationSeconds: 5}]}",
        ),
    ]);
}

#[test]
fn several_problems_are_told_at_once_and_in_order() {
    let spec = yaml("{nodeName: n1, containers: [{name: A, image: ''}], restartPolicy: Always}");
    let lines = problems(&spec, Completion::RunToCompletion);
    let fields: Vec<_> = lines.iter().map(|l| l.split(": ").next().unwrap()).collect();
    assert_eq!(fields, ["containers[0].image", "containers[0].name", "nodeName", "restartPolicy"]);
}

mod garbage {
    use super::*;
    use proptest::prelude::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let key = prop_oneof![
            proptest::sample::select(vec![
                "containers",
                "initContainers",
                "name",
                "image",
                "resources",
                "requests",
                "limits",
                "cpu",
                "memory",
                "volumes",
                "affinity",
                "nodeAffinity",
                "tolerations",
                "ports",
                "hostPort",
                "env",
                "securityContext",
            ])
            .prop_map(str::to_owned),
            "[a-z]{1,4}",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(key.clone(), inner, 0..5)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn no_template_makes_it_panic(spec in any_json()) {
            if let Err(problems) = check_pod_template(&spec, Completion::KeepRunning) {
                prop_assert!(!problems.is_empty());
            }
        }
    }
}
