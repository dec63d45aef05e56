// The definitions of ServiceMonitor and PrometheusRule: nothing of this module is built, its YAML is read.
module weir.dev/tests/controlplane/monitoring

go 1.26.0

require github.com/prometheus-operator/prometheus-operator v0.85.0
