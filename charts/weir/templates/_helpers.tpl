{{/* Labels that select the operator's pods: they never change. */}}
{{- define "weir.selector" -}}
app.kubernetes.io/name: weir
app.kubernetes.io/component: operator
{{- end }}

{{/* Labels of every object. */}}
{{- define "weir.labels" -}}
app.kubernetes.io/name: weir
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "weir.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* The operator's name to the API server. */}}
{{- define "weir.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:weir
{{- end }}

{{/* What the namespace standard "restricted" asks of a pod, and of its container. */}}
{{- define "weir.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "weir.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* A list of texts in CEL, which takes JSON as it is. */}}
{{- define "weir.celList" -}}
{{ toJson . }}
{{- end }}

{{/* A release that is upgraded with --reuse-values knows the values of the older chart only: what it lacks is as in
values.yaml, of which files/values.yaml is the copy. Every template begins with it. */}}
{{- define "weir.values" -}}
{{- include "weir.fill" (list .Values (.Files.Get "files/values.yaml" | fromYaml)) }}
{{- end }}

{{/* Not inside of maps whose keys are the user's: there null takes a default away. */}}
{{- define "weir.fill" -}}
{{- $into := index . 0 }}
{{- range $key, $value := index . 1 }}
{{- if not (hasKey $into $key) }}
{{- $_ := set $into $key $value }}
{{- else if and (kindIs "map" $value) (not (has $key (list "resources" "labels"))) }}
{{- include "weir.fill" (list (get $into $key) $value) }}
{{- end }}
{{- end }}
{{- end }}

{{/* A duration such as 2m30s in seconds. */}}
{{- define "weir.seconds" -}}
{{- $seconds := 0.0 }}
{{- range regexFindAll "[0-9.]+(ms|h|m|s)" . -1 }}
{{- $unit := get (dict "h" 3600.0 "m" 60.0 "s" 1.0 "ms" 0.001) (regexFind "[a-z]+$" .) }}
{{- $seconds = addf $seconds (mulf (regexFind "^[0-9.]+" . | float64) $unit) }}
{{- end }}
{{- $seconds }}
{{- end }}
