{{/* What all charts of Crossfade have in common. Linked into each chart, with `_tests.tpl`; `helm package` puts copies inside. */}}

{{/* The release is cut, never the service: parts of one umbrella must not come to the same name. */}}
{{- define "crossfade.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if and .Chart.IsRoot (contains $name .Release.Name) -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" (include "crossfade.release" .) $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "crossfade.release" -}}
{{- .Release.Name | trunc 36 | trimSuffix "-" -}}
{{- end -}}

{{/* The values under `shared`, with what the umbrella says of them, as YAML. */}}
{{- define "crossfade.shared" -}}
{{- $global := (.Values.global | default dict).crossfade | default dict -}}
{{- mergeOverwrite (deepCopy .Values.shared) (deepCopy $global) | toYaml -}}
{{- end -}}

{{- define "crossfade.selector" -}}
app.kubernetes.io/name: {{ .service }}
app.kubernetes.io/instance: {{ include "crossfade.fullname" .root }}
{{- end -}}

{{- define "crossfade.labels" -}}
{{ include "crossfade.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: crossfade
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .service .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "crossfade.serviceAccountName" -}}
{{- default (include "crossfade.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "crossfade.image" -}}
{{- $shared := include "crossfade.shared" .root | fromYaml -}}
{{- $image := .root.Values.image -}}
{{- $name := $image.repository -}}
{{- with $shared.image.registry }}{{ $name = printf "%s/%s" . $name }}{{ end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name ($image.tag | default $shared.image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* Settings by name, as the services' variables. Numbers never in Go's 1e+06, lists as JSON. */}}
{{- define "crossfade.settings" -}}
{{- range $name, $value := . }}
{{- if not (kindIs "invalid" $value) }}
- name: CROSSFADE_{{ upper $name }}
  value: {{ if kindIs "string" $value }}{{ $value | quote }}{{ else }}{{ toJson $value | quote }}{{ end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Variables of every container. Call with root, shared, listens. */}}
{{- define "crossfade.env" -}}
{{- $own := .root.Values.settings | default dict -}}
{{- include "crossfade.settings" (mergeOverwrite (deepCopy (.shared.settings | default dict)) (deepCopy $own)) }}
{{- if .listens }}
- name: CROSSFADE_HOST
  value: {{ .root.Values.listenAddress | quote }}
{{- if .shared.tls.secretName }}
- name: CROSSFADE_TLS_CERT_FILE
  value: /etc/crossfade/tls/tls.crt
- name: CROSSFADE_TLS_KEY_FILE
  value: /etc/crossfade/tls/tls.key
- name: CROSSFADE_TLS_CLIENT_CA_FILE
  value: /etc/crossfade/tls/ca.crt
{{- else if .shared.insecure }}
- name: CROSSFADE_INSECURE
  value: "true"
{{- else }}
{{- fail (printf "%s would listen beyond loopback without TLS: name a Secret in shared.tls.secretName (global.crossfade.tls.secretName in the umbrella), or say insecure: true beside it where nothing else reaches the pods" .root.Chart.Name) }}
{{- end }}
{{- end }}
- name: CROSSFADE_HEALTH_HOST
  value: {{ .root.Values.listenAddress | quote }}
- name: CROSSFADE_HEALTH_PORT
  value: "8081"
{{- if .redis }}
{{- with .shared.redis }}
{{- if .urlSecret.name }}
- name: CROSSFADE_REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ .urlSecret.name }}
      key: {{ .urlSecret.key }}
{{- else if .url }}
- name: CROSSFADE_REDIS_URL
  value: {{ .url | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- include "crossfade.telemetry" . }}
{{- end -}}

{{- define "crossfade.telemetry" -}}
{{- $telemetry := .shared.telemetry }}
{{- $metrics := list }}
{{- if $telemetry.prometheus }}{{ $metrics = append $metrics "prometheus" }}{{ end }}
{{- if $telemetry.otlpEndpoint }}{{ $metrics = append $metrics "otlp" }}{{ end }}
{{- if $telemetry.emf }}{{ $metrics = append $metrics "emf" }}{{ end }}
- name: OTEL_METRICS_EXPORTER
  value: {{ join "," ($metrics | default (list "none")) | quote }}
{{- if $telemetry.prometheus }}
- name: OTEL_EXPORTER_PROMETHEUS_HOST
  value: {{ .root.Values.listenAddress | quote }}
- name: OTEL_EXPORTER_PROMETHEUS_PORT
  value: "9464"
{{- end }}
- name: OTEL_TRACES_EXPORTER
  value: {{ ternary "otlp" "none" (ne $telemetry.otlpEndpoint "") }}
{{- if $telemetry.otlpEndpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ $telemetry.otlpEndpoint | quote }}
- name: OTEL_TRACES_SAMPLER
  value: parentbased_traceidratio
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ $telemetry.sampleRatio | quote }}
{{- end }}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: OTEL_RESOURCE_ATTRIBUTES
  value: k8s.namespace.name={{ .root.Release.Namespace }},k8s.pod.name=$(POD_NAME)
{{- end -}}

{{/* Starting has its own probe, so that ready and stuck can be judged soon without killing what is still coming up. */}}
{{- define "crossfade.probes" -}}
startupProbe:
  httpGet:
    path: /readyz
    port: health
  periodSeconds: 2
  failureThreshold: {{ div (add .Values.probes.startS 1) 2 }}
readinessProbe:
  httpGet:
    path: /readyz
    port: health
  periodSeconds: 5
  timeoutSeconds: 2
  failureThreshold: 2
livenessProbe:
  httpGet:
    path: /healthz
    port: health
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: {{ div (add .Values.probes.hangS 9) 10 }}
{{- end -}}

{{- define "crossfade.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "crossfade.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop:
    - ALL
{{- end -}}

{{- define "crossfade.ports" -}}
{{- range $name, $port := .ports }}
- name: {{ $name }}
  containerPort: {{ $port }}
{{- end }}
- name: health
  containerPort: 8081
{{- if .shared.telemetry.prometheus }}
- name: metrics
  containerPort: 9464
{{- end }}
{{- end -}}

{{/* Volumes. flags: "required" (the pod waits for the first document), "optional", or "" */}}
{{- define "crossfade.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 256Mi
{{- if .flags }}
- name: flags
  configMap:
    name: {{ .shared.flags.configMap }}
    optional: {{ eq .flags "optional" }}
    items:
      - key: flags.json
        path: flags.json
{{- end }}
{{- if and .listens .shared.tls.secretName }}
- name: tls
  secret:
    secretName: {{ .shared.tls.secretName }}
    defaultMode: 0440
{{- end }}
{{- end -}}

{{/* The whole directory is mounted, never a subPath: a subPath doesn't follow changes. */}}
{{- define "crossfade.mounts" -}}
- name: tmp
  mountPath: /tmp
{{- if .flags }}
- name: flags
  mountPath: /etc/crossfade/flags
  readOnly: true
{{- end }}
{{- if and .listens .shared.tls.secretName }}
- name: tls
  mountPath: /etc/crossfade/tls
  readOnly: true
{{- end }}
{{- end -}}

{{/* What says where a pod may run. Call with root, service. */}}
{{- define "crossfade.placing" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  {{- $labels := include "crossfade.selector" . }}
  {{- range $key, $when := .root.Values.spread }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: {{ $when }}
    labelSelector:
      matchLabels:
        {{- $labels | nindent 8 }}
  {{- end }}
{{- end -}}

{{- define "crossfade.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "crossfade.serviceAccountName" .root }}
  labels:
    {{- include "crossfade.labels" . | nindent 4 }}
  {{- with .root.Values.serviceAccount }}
  {{- if or .roleArn .annotations }}
  annotations:
    {{- with .roleArn }}
    eks.amazonaws.com/role-arn: {{ . | quote }}
    {{- end }}
    {{- with .annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  {{- end }}
automountServiceAccountToken: false
{{- end -}}

{{- define "crossfade.disruption" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "crossfade.fullname" .root }}
  labels:
    {{- include "crossfade.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ .root.Values.disruption.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "crossfade.selector" . | nindent 6 }}
{{- end -}}

{{/* Ports that the Service has; the container's names. Headless for the replicator, which is only asked for its state. */}}
{{- define "crossfade.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "crossfade.fullname" .root }}
  labels:
    {{- include "crossfade.labels" . | nindent 4 }}
spec:
  type: ClusterIP
  {{- if .headless }}
  clusterIP: None
  {{- end }}
  selector:
    {{- include "crossfade.selector" . | nindent 4 }}
  ports:
    {{- range $name, $port := .ports }}
    - name: {{ $name }}
      port: {{ $port }}
      targetPort: {{ $name }}
      {{- if eq $name "grpc" }}
      appProtocol: kubernetes.io/h2c
      {{- end }}
    {{- end }}
    - name: health
      port: 8081
      targetPort: health
    {{- if .shared.telemetry.prometheus }}
    - name: metrics
      port: 9464
      targetPort: metrics
    {{- end }}
{{- end -}}

{{- define "crossfade.serviceMonitor" -}}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ include "crossfade.fullname" .root }}
  labels:
    {{- include "crossfade.labels" . | nindent 4 }}
    {{- with .shared.telemetry.monitorLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  selector:
    matchLabels:
      {{- include "crossfade.selector" . | nindent 6 }}
  endpoints:
    - port: metrics
      path: /metrics
      interval: {{ .shared.telemetry.scrapeInterval }}
{{- end -}}

{{/* Who may call, and whom the pod may call. ports: those that `from` may reach. more: further egress rules, YAML. */}}
{{- define "crossfade.networkPolicy" -}}
{{- $policy := .shared.networkPolicy }}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "crossfade.fullname" .root }}
  labels:
    {{- include "crossfade.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "crossfade.selector" . | nindent 6 }}
  policyTypes:
    - Ingress
    - Egress
  ingress:
    {{- if and .ports .from }}
    - from:
        {{- toYaml .from | nindent 8 }}
      ports:
        {{- range $name, $port := .ports }}
        - port: {{ $name }}
        {{- end }}
    {{- end }}
    # `helm test` asks for the health page; the kubelet's probes need no rule
    - from:
        - podSelector:
            matchLabels:
              app.kubernetes.io/part-of: crossfade
              app.kubernetes.io/component: helm-test
      ports:
        - port: health
        {{- range $name, $port := .ports }}
        - port: {{ $name }}
        {{- end }}
    {{- if and .shared.telemetry.prometheus $policy.monitoring }}
    - from:
        {{- toYaml $policy.monitoring | nindent 8 }}
      ports:
        - port: metrics
    {{- end }}
  egress:
    - to:
        - namespaceSelector: {}
          podSelector:
            matchLabels:
              k8s-app: kube-dns
      ports:
        - port: 53
          protocol: UDP
        - port: 53
          protocol: TCP
    # DynamoDB, Kinesis, S3, CloudWatch, STS: by VPC endpoints if you name their addresses
    - to:
        {{- range $policy.awsCidrs }}
        - ipBlock:
            cidr: {{ . }}
        {{- end }}
      ports:
        - port: 443
    {{- if and .redis (or .shared.redis.url .shared.redis.urlSecret.name) }}
    - to:
        {{- toYaml $policy.redis | nindent 8 }}
      ports:
        - port: {{ .shared.redis.port }}
    {{- end }}
    {{- if .shared.telemetry.otlpEndpoint }}
    - to:
        {{- toYaml $policy.otlp | nindent 8 }}
      ports:
        - port: {{ (split ":" (urlParse .shared.telemetry.otlpEndpoint).host)._1 | default "4317" }}
    {{- end }}
    {{- with .more }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end -}}
