{{- define "dnscribe.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "dnscribe.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "dnscribe.name" .) .Release.Name -}}
{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name (include "dnscribe.name" .) | trunc 63 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- define "dnscribe.selectorLabels" -}}
app.kubernetes.io/name: {{ include "dnscribe.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "dnscribe.labels" -}}
{{ include "dnscribe.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end }}

{{- define "dnscribe.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "dnscribe.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{- define "dnscribe.priorityClass" -}}
{{- if .Values.priorityClass.create -}}
{{ default (include "dnscribe.fullname" .) .Values.priorityClass.name }}
{{- else -}}
{{ .Values.priorityClass.name }}
{{- end -}}
{{- end }}

{{- define "dnscribe.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end }}

{{- /* Address of /metrics with a port: (list $ port). An IPv6 address gets its brackets. */ -}}
{{- define "dnscribe.listen" -}}
{{- $address := (index . 0).Values.metrics.address | trimAll "[]" -}}
{{- if contains ":" $address -}}
{{- $address = printf "[%s]" $address -}}
{{- end -}}
{{ printf "%s:%v" $address (index . 1) }}
{{- end }}

{{- /* Configuration of the agent, with Kafka's credentials as files. */ -}}
{{- define "dnscribe.config" -}}
{{- $config := merge (dict "version" 1) (deepCopy .Values.config) -}}
{{- if and .Values.kafka.optionKeys (not .Values.kafka.existingSecret) -}}
{{- fail "kafka.optionKeys are keys of a Secret: name it in kafka.existingSecret" -}}
{{- end -}}
{{- if and .Values.kafka.existingSecret .Values.kafka.optionKeys -}}
{{- $files := dict -}}
{{- range $option, $key := .Values.kafka.optionKeys -}}
{{- $_ := set $files $option (printf "/run/secrets/dnscribe/kafka/%s" $key) -}}
{{- end -}}
{{- $config = mergeOverwrite $config (dict "kafka" (dict "option_files" $files)) -}}
{{- end -}}
{{ toYaml $config }}
{{- end }}

{{- /* Ports at which the agent receives dnstap from other hosts, as a list in JSON. */ -}}
{{- define "dnscribe.dnstapPorts" -}}
{{- $addresses := (default dict .Values.config.capture).dnstap -}}
{{- if kindIs "string" $addresses -}}
{{- $addresses = splitList "," $addresses -}}
{{- end -}}
{{- $ports := list -}}
{{- range $addresses -}}
{{- with regexFind "^(tcp|tls):.*:[0-9]+$" (toString . | trim) -}}
{{- $ports = append $ports (splitList ":" . | last | int) -}}
{{- end -}}
{{- end -}}
{{ uniq $ports | toJson }}
{{- end }}

{{- define "dnscribe.stream.image" -}}
{{- $image := .Values.stream.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default .Chart.AppVersion $image.tag }}
{{- end -}}
{{- end }}

{{- /* What every configuration of the jobs has: unless `config` lists the stores, they are those with a job. */ -}}
{{- define "dnscribe.stream.base" -}}
{{- $base := dict "version" 1 }}
{{- if not (hasKey (default dict .Values.stream.config.store) "stores") }}
{{- $stores := list }}
{{- range $job, $settings := .Values.stream.jobs }}
{{- if and $settings (hasPrefix "store-" $job) }}{{ $stores = append $stores (trimPrefix "store-" $job) }}{{ end }}
{{- end }}
{{- $_ := set $base "store" (dict "stores" $stores) }}
{{- end }}
{{- toYaml $base }}
{{- end }}

{{- /* A configuration without its empty sections, which would replace those that it is merged into. */ -}}
{{- define "dnscribe.stream.sections" -}}
{{- $sections := dict }}
{{- range $name, $section := . }}
{{- if not (kindIs "invalid" $section) }}{{ $_ := set $sections $name $section }}{{ end }}
{{- end }}
{{- toYaml $sections }}
{{- end }}

{{- define "dnscribe.stream.config" -}}
{{ toYaml (mergeOverwrite (include "dnscribe.stream.base" . | fromYaml) (include "dnscribe.stream.sections" .Values.stream.config | fromYaml)) }}
{{- end }}

{{- define "dnscribe.stream.migrateConfig" -}}
{{ toYaml (mergeOverwrite (include "dnscribe.stream.config" . | fromYaml) (include "dnscribe.stream.sections" .Values.stream.migrate.config | fromYaml)) }}
{{- end }}

{{- /* Refuses stores without a job, a job of the archive without a path, and names that Flink's operator refuses. */ -}}
{{- define "dnscribe.stream.check" -}}
{{- if not (regexMatch "^[a-z]" (include "dnscribe.fullname" .)) }}
{{- fail "stream: Flink's operator takes only names that begin with a letter: set fullnameOverride" }}
{{- end }}
{{- $jobs := .Values.stream.jobs }}
{{- $isListed := hasKey (default dict .Values.stream.config.store) "stores" }}
{{- $stores := (include "dnscribe.stream.config" . | fromYaml).store.stores }}
{{- $path := (default dict .Values.stream.config.archive).path }}
{{- range $stores }}
{{- if not (get $jobs (printf "store-%s" .)) }}
{{- fail (printf "stream.config.store.stores has %s, which no job writes: add stream.jobs.store-%s: { parallelism: 1 }, or take it out" . .) }}
{{- end }}
{{- end }}
{{- if and $path (not $isListed) (not (get $jobs "store-archive")) }}
{{- fail "stream.config.archive.path is set, and no job writes the archive: add stream.jobs.store-archive: { parallelism: 1 }" }}
{{- end }}
{{- if and (get $jobs "store-archive") (has "archive" $stores) (not $path) }}
{{- fail "stream.jobs.store-archive needs stream.config.archive.path, such as s3a://bucket/archive" }}
{{- end }}
{{- end }}

{{- /* A setting as text: a number of a values file is a float, and would be 1.073741824e+09. */ -}}
{{- define "dnscribe.text" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) -}}
{{ printf "%.0f" . }}
{{- else -}}
{{ toString . }}
{{- end -}}
{{- end }}

{{- /* Name of an object of the stream jobs: (list $ suffix limit). A full name that does not fit loses its end to a hash of it. */ -}}
{{- define "dnscribe.stream.objectName" -}}
{{- $fullname := include "dnscribe.fullname" (index . 0) -}}
{{- $rest := sub (index . 2) (add (len (index . 1)) 1) | int -}}
{{- if gt (len $fullname) $rest -}}
{{- $fullname = printf "%s-%s" (trunc (int (sub $rest 7)) $fullname | trimSuffix "-") (sha256sum $fullname | trunc 6) -}}
{{- end -}}
{{ printf "%s-%s" $fullname (index . 1) }}
{{- end }}

{{- /* Volumes and mounts of the jobs' pods: configuration and secrets as files. */ -}}
{{- define "dnscribe.stream.volumes" -}}
- name: config
  configMap: { name: "{{ include "dnscribe.fullname" . }}-stream" }
{{- with .Values.stream.existingSecret }}
- name: secrets
  secret: { secretName: {{ . | quote }}, defaultMode: 0440 }
{{- end }}
{{- end }}

{{- define "dnscribe.stream.mounts" -}}
- { name: config, mountPath: /etc/dnscribe, readOnly: true }
{{- if .Values.stream.existingSecret }}
- { name: secrets, mountPath: /run/secrets/dnscribe/stream, readOnly: true }
{{- end }}
{{- end }}

{{- /* What Flink's processes and the migrations may do. The image's user has the id 9999. */ -}}
{{- define "dnscribe.stream.securityContext" -}}
runAsNonRoot: true
runAsUser: 9999
runAsGroup: 9999
allowPrivilegeEscalation: false
capabilities: { drop: [ALL] }
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- /* Those of the migrations, which neither the agents' DaemonSet nor their NetworkPolicy selects. */ -}}
{{- define "dnscribe.migrate.labels" -}}
app.kubernetes.io/name: "{{ include "dnscribe.name" . | trunc 55 | trimSuffix "-" }}-migrate"
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end }}

{{- define "dnscribe.probe.selectorLabels" -}}
app.kubernetes.io/name: "{{ include "dnscribe.name" . | trunc 57 | trimSuffix "-" }}-probe"
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "dnscribe.probe.labels" -}}
{{ include "dnscribe.probe.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end }}

{{- define "dnscribe.probe.image" -}}
{{- $image := .Values.probe.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default .Chart.AppVersion $image.tag }}
{{- end -}}
{{- end }}

{{- /* Configuration of the probe, with Kafka's credentials as files. */ -}}
{{- define "dnscribe.probe.config" -}}
{{- $config := merge (dict "version" 1) (deepCopy .Values.probe.config) -}}
{{- if and .Values.kafka.existingSecret .Values.kafka.optionKeys -}}
{{- $files := dict -}}
{{- range $option, $key := .Values.kafka.optionKeys -}}
{{- $_ := set $files $option (printf "/run/secrets/dnscribe/kafka/%s" $key) -}}
{{- end -}}
{{- $config = mergeOverwrite $config (dict "kafka" (dict "option_files" $files)) -}}
{{- end -}}
{{ toYaml $config }}
{{- end }}
